"""Whole replies, errors and retries, against a scripted gateway."""

from __future__ import annotations

import base64
import http.client
import json
import socket
from pathlib import Path
from typing import Any

import pytest
from client_kit import Script
from scripted_gateway import ScriptedGateway, cut, drip, reply, send, silence, stream

import llm_router_client
from llm_router_client import LLMRouterClient, LLMRouterError

HI = [{"role": "user", "content": "hi"}]
KEY = "sk-secret-1"
GOOD = {
    "id": "chatcmpl-1",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello."}, "finish_reason": "stop"}],
    "usage": {"total_tokens": 5, "cost": 0.00025, "credits_remaining": 4.5},
}
LIMITED = {"error": {"message": "slow down", "type": "rate_limit_error", "code": "rate_limit_exceeded"}}


def client_of(server: ScriptedGateway, **options: Any) -> LLMRouterClient:
    return LLMRouterClient(KEY, server.url, **options)


def test_a_reply_comes_as_it_is(scripted: Script) -> None:
    server = scripted(reply(200, GOOD))
    assert client_of(server).chat("m", HI, 0.5, 10, 0.9, seed=3, stop=None) == GOOD
    line, headers, body = server.requests[0]
    assert line == "POST /v1/chat/completions HTTP/1.1"
    assert headers["authorization"] == f"Bearer {KEY}"
    assert body == {
        "model": "m",
        "messages": HI,
        "temperature": 0.5,
        "max_tokens": 10,
        "top_p": 0.9,
        "seed": 3,
        "stop": None,
    }


def test_an_error_comes_as_a_dict(scripted: Script) -> None:
    body = {"message": "Model 'x' is not available", "type": "t", "code": "model_not_found", "nearest": ["y"]}
    got = client_of(scripted(reply(404, {"error": body}))).chat("x", HI)
    assert got == {"error": {**body, "status": 404}}


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        (b"<html>Bad gateway</html>", "http_502", "without an explanation"),
        (b"", "http_502", "without an explanation"),
        ({"error": "no route"}, "http_502", "no route"),
        ({"error": {"message": "m", "code": 402}}, "402", "m"),
        ({"error": {"message": "m", "type": "weird"}}, "weird", "m"),
        ({"detail": "m"}, "http_502", "without an explanation"),
    ],
)
def test_errors_of_other_servers(scripted: Script, body: Any, code: str, words: str) -> None:
    got = client_of(scripted(reply(502, body)), max_retries=0).chat("m", HI)["error"]
    assert (got["code"], got["status"]) == (code, 502)
    assert words in got["message"]


@pytest.mark.parametrize("body", [b"<html>hi</html>", b"", [1], {"status": "ok"}, b"[" * 100_000, b'"\xff"'])
def test_what_is_no_answer_is_an_error(scripted: Script, body: Any) -> None:
    got = client_of(scripted(reply(200, body))).chat("m", HI)["error"]
    assert got["code"] == "NETWORK_ERROR"
    assert "LLM_ROUTER_BASE_URL" in got["message"]


def test_an_error_with_status_200_is_an_error(scripted: Script) -> None:
    got = client_of(scripted(reply(200, {"error": {"message": "m", "code": "c"}, "choices": []}))).chat(
        "m", HI
    )
    assert got["error"]["code"] == "c"
    whole = client_of(scripted(reply(200, {**GOOD, "error": None}))).chat("m", HI)
    assert whole == GOOD


def test_a_redirect_is_not_followed(scripted: Script) -> None:
    server = scripted(reply(307, b"", location="http://elsewhere.invalid/"))
    got = client_of(server).chat("m", HI)["error"]
    assert (got["code"], got["status"]) == ("http_307", 307)
    assert "LLM_ROUTER_BASE_URL" in got["message"]
    with pytest.raises(LLMRouterError, match="LLM_ROUTER_BASE_URL"):
        list(client_of(server).chat_stream("m", HI))
    assert len(server.requests) == 2


def test_a_cut_reply_is_an_error_and_not_asked_for_again(scripted: Script, pauses: list[float]) -> None:
    data = json.dumps(GOOD).encode()
    for script in (
        reply(200, data, content_length=str(len(data) + 1)),
        reply(200, data[:-1], content_length=str(len(data))),
        cut(stream(data, content_type="application/json")),
        [send(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\nx-cut")],
        [send(b"NONSENSE\r\n\r\n")],
        [],
    ):
        server = scripted(script)
        got = client_of(server).chat("m", HI)["error"]
        assert got["code"] == "NETWORK_ERROR", got
        assert "may have been charged" in got["message"]
        assert len(server.requests) == 1
    assert pauses == []


def test_a_refusal_before_the_body_was_taken_is_read(
    scripted: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    send_all = http.client.HTTPConnection.request

    def broken(self: http.client.HTTPConnection, method: str, url: str, body: bytes, headers: Any) -> None:
        send_all(self, method, url, None, headers)
        raise BrokenPipeError

    monkeypatch.setattr(http.client.HTTPConnection, "request", broken)
    server = scripted(reply(413, {"error": {"message": "m", "code": "payload_too_large"}}))
    assert client_of(server).chat("m", HI)["error"]["code"] == "payload_too_large"


def test_a_chunked_reply_is_read_whole(scripted: Script) -> None:
    data = json.dumps(GOOD).encode()
    server = scripted(stream(data[:7], data[7:], content_type="application/json"))
    assert client_of(server).chat("m", HI) == GOOD


def test_a_read_only_request_is_repeated_after_a_lost_connection(
    scripted: Script, pauses: list[float]
) -> None:
    server = scripted([], reply(200, {"data": []}))
    assert client_of(server).list_models() == {}
    assert len(server.requests) == 2


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 504])
def test_passing_failures_are_tried_again(scripted: Script, pauses: list[float], status: int) -> None:
    server = scripted(reply(status, LIMITED), reply(status, LIMITED), reply(200, GOOD))
    assert client_of(server).chat("m", HI) == GOOD
    assert len(pauses) == 2
    assert 0 < pauses[0] <= 0.5
    assert 0 < pauses[1] <= 1.0
    assert server.requests[0][2] == server.requests[2][2]


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 413, 501])
def test_lasting_failures_are_not(scripted: Script, pauses: list[float], status: int) -> None:
    server = scripted(reply(status, LIMITED))
    assert client_of(server).chat("m", HI)["error"]["status"] == status
    assert (len(server.requests), pauses) == (1, [])


def test_tries_are_bounded(scripted: Script, pauses: list[float]) -> None:
    server = scripted(reply(503, LIMITED))
    assert client_of(server, max_retries=3).chat("m", HI)["error"]["code"] == "rate_limit_exceeded"
    assert len(server.requests) == 4


def test_the_gateway_decides_on_retries(scripted: Script, pauses: list[float]) -> None:
    never = scripted(reply(503, LIMITED, x_should_retry="false"))
    assert "error" in client_of(never).chat("m", HI)
    assert len(never.requests) == 1
    always = scripted(reply(400, LIMITED, x_should_retry="true"), reply(200, GOOD))
    assert client_of(always).chat("m", HI) == GOOD


def test_the_pause_is_the_gateways(scripted: Script, pauses: list[float]) -> None:
    server = scripted(
        reply(429, LIMITED, retry_after="7"),
        reply(429, LIMITED, retry_after="2", retry_after_ms="1500"),
        reply(429, LIMITED, retry_after="60"),
        reply(200, GOOD),
    )
    assert client_of(server, max_retries=3).chat("m", HI) == GOOD
    assert 60 <= pauses[2] <= 60.25
    assert 7 <= pauses[0] <= 7.25
    assert 1.5 <= pauses[1] <= 1.75


@pytest.mark.parametrize(
    ("after", "timeout", "told"),
    [("61", 600, 61.0), ("30", 20, 30.0), ("soon", 0.2, None), ("-1", 0.2, None)],
)
def test_pauses_that_are_too_long_are_left_to_the_caller(
    scripted: Script, pauses: list[float], after: str, timeout: float, told: float | None
) -> None:
    server = scripted(reply(429, LIMITED, retry_after=after))
    got = client_of(server, timeout=timeout).chat("m", HI)["error"]
    assert got.get("retry_after") == told
    assert (len(server.requests), pauses) == (1, [])


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def test_no_gateway(pauses: list[float]) -> None:
    url = f"http://user:pw@127.0.0.1:{free_port()}/v1"
    got = LLMRouterClient(KEY, url).chat("m", HI)["error"]
    assert got["code"] == "NETWORK_ERROR"
    assert "llm-router serve" in got["message"]
    assert "pw" not in got["message"]
    assert "status" not in got
    assert len(pauses) == 2


def test_a_gateway_that_comes_up_is_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    started: list[ScriptedGateway] = []

    def start(_: float) -> None:
        started.append(ScriptedGateway(reply(200, GOOD), port=port))

    monkeypatch.setattr(llm_router_client.time, "sleep", start)
    try:
        assert LLMRouterClient(KEY, f"http://127.0.0.1:{port}").chat("m", HI) == GOOD
    finally:
        started[0].close()


def test_an_unknown_host_is_asked_once(monkeypatch: pytest.MonkeyPatch, pauses: list[float]) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    got = LLMRouterClient(KEY, "https://gateway.invalid/v1").chat("m", HI)["error"]
    assert got["code"] == "NETWORK_ERROR"
    assert "Name or service not known" in got["message"]
    assert pauses == []


def test_a_host_that_is_no_name() -> None:
    got = LLMRouterClient(KEY, "http://a..b").chat("m", HI)["error"]
    assert got["code"] == "NETWORK_ERROR"


@pytest.mark.parametrize(
    "script",
    [
        [silence],
        [drip(b"H")],
        [send(b"HTTP/1.1 200 OK\r\n"), drip(b"x: y\r\n")],
        [send(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n"), drip(b" ")],
        [send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"), drip(b"0")],
        [drip(b"HTTP/1.1 100 Continue\r\n\r\n")],
    ],
)
def test_the_time_of_a_call_is_bounded(scripted: Script, script: Any) -> None:
    got = client_of(scripted(script), timeout=0.3, max_retries=0).chat("m", HI)["error"]
    assert got["code"] == "NETWORK_ERROR"
    assert "0.3 s is over" in got["message"] or "silent" in got["message"]


def test_an_error_without_its_whole_body_is_that_error(scripted: Script) -> None:
    script = [send(b"HTTP/1.1 500 X\r\ncontent-length: 99999\r\n\r\n"), drip(b" ")]
    got = client_of(scripted(script), timeout=0.3).chat("m", HI)["error"]
    assert (got["code"], got["status"]) == ("http_500", 500)


def test_a_host_that_takes_no_connection_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    allowed: list[float] = []

    def connect(address: Any, timeout: float, *_: object) -> None:
        allowed.append(timeout)
        raise TimeoutError

    monkeypatch.setattr(socket, "create_connection", connect)
    for timeout in (600.0, 5.0):
        got = LLMRouterClient(KEY, timeout=timeout, max_retries=0).chat("m", HI)["error"]
        assert got["code"] == "NETWORK_ERROR"
        assert "silent" in got["message"]
    assert allowed[0] == llm_router_client.CONNECT_S_MAX
    assert 0 < allowed[1] <= 5


def test_an_endless_reply_is_cut(scripted: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llm_router_client, "REPLY_BYTES_MAX", 100_000)
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n"
    got = client_of(scripted([send(head), drip(b" " * 10_000)])).chat("m", HI)["error"]
    assert got["code"] == "NETWORK_ERROR"
    assert "only a part" in got["message"]


def test_no_error_holds_the_key(scripted: Script) -> None:
    body = {"error": {"message": f"bad key {KEY}", "code": "invalid_api_key", "detail": [KEY]}}
    assert KEY not in str(client_of(scripted(reply(401, body))).chat("m", HI))
    assert KEY not in str(client_of(scripted(reply(401, {"error": KEY}))).chat("m", HI))
    for bad in (f"{KEY}\n{KEY}", f"{KEY} x", f"{KEY}é"):
        with pytest.raises(ValueError, match="AISA_API_KEY") as raised:
            LLMRouterClient(bad)
        assert KEY not in str(raised.value)


def test_a_key_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    for empty in (None, "", " "):
        with pytest.raises(ValueError, match="set the environment variable AISA_API_KEY"):
            LLMRouterClient(empty)
    monkeypatch.setenv("AISA_API_KEY", " sk-env\n")
    assert LLMRouterClient()._http.key == "sk-env"


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("http://h:1", "http://h:1/v1"),
        ("http://h:1/", "http://h:1/v1"),
        ("http://h:1/v1/", "http://h:1/v1"),
        ("https://u:p@h/api/v1", "https://h/api/v1"),
        ("https://h/api", "https://h/api/v1"),
        ("http://[::1]:4040", "http://[::1]:4040/v1"),
        (None, "http://127.0.0.1:4040/v1"),
    ],
)
def test_base_urls(given: str | None, used: str) -> None:
    assert LLMRouterClient(KEY, given)._http.base.geturl() == used


@pytest.mark.parametrize(
    "url",
    ["h:4040", "ftp://h", "http://", "http://h:0", "http://h:99999", "http://h/?a=b", "http://h/#a",
     "http://h/ä", "http://h/a b", "http://[::1", "http://h\r\nx: y/"],
)  # fmt: skip
def test_bad_base_urls(url: str) -> None:
    with pytest.raises(ValueError, match="LLM_ROUTER_BASE_URL"):
        LLMRouterClient(KEY, url)


def test_the_base_url_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLM_ROUTER_BASE_URL", "http://h:9")
    assert LLMRouterClient(KEY)._http.base.geturl() == "http://h:9/v1"


@pytest.mark.parametrize("options", [{"timeout": 0}, {"idle_timeout": -1}, {"max_retries": -1}])
def test_bad_options(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="max_retries"):
        LLMRouterClient(KEY, **options)


def test_what_has_no_json_form_is_not_sent(scripted: Script) -> None:
    client = client_of(scripted(reply(200, GOOD)))
    for bad in (object(), float("nan"), {1, 2}):
        assert client.chat("m", HI, seed=bad)["error"]["code"] == "INVALID_INPUT"
        assert client.chat("m", HI, stream=True, seed=bad)["error"]["code"] == "INVALID_INPUT"


def test_vision_takes_urls_as_they_are(scripted: Script) -> None:
    server = scripted(reply(200, GOOD))
    for url in ("https://x.invalid/a.png", "data:image/png;base64,AAAA"):
        assert client_of(server).vision("m", url, "what?", max_tokens=9) == GOOD
        content = server.requests[-1][2]["messages"][0]["content"]
        assert content == [
            {"type": "text", "text": "what?"},
            {"type": "image_url", "image_url": {"url": url}},
        ]
        assert server.requests[-1][2]["max_tokens"] == 9


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("png", b"\x89PNG\r\n\x1a\nxx"),
        ("jpeg", b"\xff\xd8\xff\xe0"),
        ("gif", b"GIF89a"),
        ("webp", b"RIFF\0\0\0\0WEBPVP8 "),
    ],
)
def test_vision_sends_files(scripted: Script, tmp_path: Path, kind: str, data: bytes) -> None:
    server = scripted(reply(200, GOOD))
    (tmp_path / "picture.txt").write_bytes(data)
    assert client_of(server).vision("m", str(tmp_path / "picture.txt"), "what?") == GOOD
    url = server.requests[0][2]["messages"][0]["content"][1]["image_url"]["url"]
    assert url == f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def test_vision_refuses_what_is_no_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llm_router_client, "IMAGE_BYTES_MAX", 1 << 20)
    client = LLMRouterClient(KEY)
    (tmp_path / "text").write_text("root:x:0:0")
    (tmp_path / "empty").write_text("")
    (tmp_path / "large").write_bytes(b"GIF89a" + bytes(1 << 20))
    told = {
        "text": "no PNG",
        "empty": "no PNG",
        "large": "larger than 1 MiB",
        "absent": "no file",
        ".": "no file",
    }
    for name, words in told.items():
        got = client.vision("m", str(tmp_path / name), "what?")["error"]
        assert got["code"] == "INVALID_INPUT"
        assert words in got["message"]
    assert client.vision("m", "a\0b", "what?")["error"]["code"] == "INVALID_INPUT"


def test_models_by_family(scripted: Script) -> None:
    page = [
        {"id": "a", "family": "F", "available": True, "price_per_mtok": {"input": 1.5, "output": 6}},
        {"id": "b", "family": "F", "available": False},
        {"id": "c", "family": "F", "status": "shutdown"},
        {"id": "d", "owned_by": "someone", "object": "model"},
        "nonsense",
    ]
    client = client_of(scripted(reply(200, {"object": "list", "data": page})))
    families = client.list_models()
    assert {family: [m["id"] for m in models] for family, models in families.items()} == {
        "F": ["a"],
        "someone": ["d"],
    }
    assert families["F"][0]["price_per_mtok"] == {"input": 1.5, "output": 6}
    assert families["someone"][0]["price_per_mtok"] == {"input": None, "output": None}
    assert [m["id"] for m in client.list_models(include_unavailable=True)["F"]] == ["a", "b", "c"]


def test_models_and_generations_fail_as_dicts(scripted: Script) -> None:
    client = client_of(scripted(reply(401, {"error": {"message": "m", "code": "invalid_api_key"}})))
    assert client.list_models()["error"]["code"] == "invalid_api_key"
    assert client.generation("x")["error"]["code"] == "invalid_api_key"


def test_the_id_of_a_generation_is_quoted(scripted: Script) -> None:
    server = scripted(reply(200, {"id": "a/../b?c"}))
    assert client_of(server).generation("a/../b?c") == {"id": "a/../b?c"}
    assert server.requests[0][0] == "GET /v1/generations/a%2F..%2Fb%3Fc HTTP/1.1"


def test_an_http_proxy_of_the_system_is_used(scripted: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = scripted(reply(200, GOOD))
    monkeypatch.setenv("http_proxy", f"http://user:p%40ss@127.0.0.1:{proxy.port}")
    monkeypatch.setenv("no_proxy", "direct.invalid")
    assert LLMRouterClient(KEY, "http://gateway.invalid:81").chat("m", HI) == GOOD
    line, headers, _ = proxy.requests[0]
    assert line == "POST http://gateway.invalid:81/v1/chat/completions HTTP/1.1"
    assert headers["host"] == "gateway.invalid:81"
    assert base64.b64decode(headers["proxy-authorization"].removeprefix("Basic ")) == b"user:p@ss"
    own = scripted(reply(200, GOOD))
    assert client_of(own).chat("m", HI) == GOOD  # never by a proxy: it is this machine
    assert len(proxy.requests) == 1


def test_a_tunnel_through_a_proxy(scripted: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = scripted(reply(403, b"no"))
    monkeypatch.setenv("https_proxy", f"127.0.0.1:{proxy.port}")
    got = LLMRouterClient(KEY, "https://gateway.invalid", max_retries=0).chat("m", HI)["error"]
    assert got["code"] == "NETWORK_ERROR"
    assert "403" in got["message"]
    line, headers, _ = proxy.requests[0]
    assert line.startswith("CONNECT gateway.invalid:443 ")
    assert "authorization" not in headers


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:1", "http://127.0.0.1:port", "http://["])
def test_a_proxy_that_cannot_be_used(monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    monkeypatch.setenv("https_proxy", proxy)
    got = LLMRouterClient(KEY, "https://gateway.invalid").chat("m", HI)["error"]
    assert got["code"] == "NETWORK_ERROR"
    assert "NO_PROXY" in got["message"]
