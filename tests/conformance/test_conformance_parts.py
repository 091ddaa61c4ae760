"""The parts that judge: the catalogue of checks, the reading of streams and bytes, pace, choice, and the report."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from llm_router.conformance import (
    ALL_CHECKS,
    APIS,
    Options,
    Unreachable,
    Verdict,
    as_json,
    render,
    run,
    select,
    sse,
)
from llm_router.conformance.case import Case, Failed, Skipped
from llm_router.conformance.checks.chat_stream import judge_pace
from llm_router.conformance.choose import choose
from llm_router.conformance.target import Target
from llm_router.conformance.transport import Connection, NoReply, Reply, Request

GET = Request(method="GET", path="/", headers=(), body=None)
KEY = "sk-secret-0123456789"


def _target(url: str = "http://127.0.0.1:9") -> Target:
    return Target(
        url, KEY, models={}, timeout_s=5, clock=lambda: 0, sleep=lambda _: None, environ={}
    )  # fmt: skip


@contextmanager
def _server(answer: Callable[[bytes], bytes]) -> Iterator[str]:
    """A server that answers each connection's first request with these bytes, and closes."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                head = b""
                while b"\r\n\r\n" not in head and (data := connection.recv(65536)):
                    head += data
                connection.sendall(answer(head))

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(10)


def _read(data: bytes, request: Request = GET) -> Reply:
    with _server(lambda head: data) as url:
        connection = Connection(url, timeout_s=5, clock=lambda: 0, context=None)
        try:
            connection.send(request)
            return connection.read(request)
        finally:
            connection.close()


# -- the catalogue ---------------------------------------------------------------------------------


def test_ids_are_unique_and_each_check_says_what_why_and_where() -> None:
    assert len({check.id for check in ALL_CHECKS}) == len(ALL_CHECKS) > 500
    for check in ALL_CHECKS:
        assert check.id == f"{check.api}.{check.group}.{check.id.split('.', 2)[2]}"
        assert check.title
        assert check.why.endswith("."), check.id
        assert check.source.startswith("https://")


@pytest.mark.parametrize("api", APIS)
def test_each_api_has_its_checks(api: str) -> None:
    assert len(select([api], [f"{api}.*"])) >= 60
    assert [check.api for check in select([api], [f"{api}.basics.offered"])] == [api]


# -- bytes -----------------------------------------------------------------------------------------


def test_a_sound_reply_has_no_faults() -> None:
    reply = _read(b"HTTP/1.1 200 OK\r\nContent-Type: a/b; c=d\r\ncontent-length: 2\r\n\r\n{}")
    assert (reply.status, reply.media_type, reply.json, reply.faults) == (200, "a/b", {}, [])


def test_chunks_and_interim_replies_are_read() -> None:
    head = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    reply = _read(head + b"2\r\nab\r\n3;x=y\r\ncde\r\n0\r\nx-trailer: 1\r\n\r\n")
    assert (reply.body, reply.faults, reply.interim) == (b"abcde", [], (100,))


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"content-length: 5\r\n\r\nab", "broke off"),
        (b"transfer-encoding: chunked\r\n\r\n2\r\nab\r\n", "broke off"),
        (b"transfer-encoding: chunked\r\n\r\nzz\r\n", "no size"),
        (b"transfer-encoding: chunked\r\n\r\n1\r\nabc\r\n", "longer than it says"),
        (b"transfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n0\r\n\r\n", "both"),
    ],
)
def test_unsound_framing_is_a_fault(data: bytes, fault: str) -> None:
    reply = _read(b"HTTP/1.1 200 OK\r\n" + data)
    assert any(fault in text for text in reply.faults), reply.faults


@pytest.mark.parametrize("data", [b"", b"hello\r\n\r\n", b"HTTP/1.1\r\n\r\n", b"HTTP/1.1 200 OK\r\nx: y\r\n"])
def test_what_is_no_reply_is_said(data: bytes) -> None:
    with pytest.raises(NoReply):
        _read(data)


def test_nan_is_no_json() -> None:
    assert Reply(request=GET, status=200, headers=(), pieces=[(0, b'{"a": NaN}')]).json is None


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"data: a\n", "no blank line"),
        (b"data: a\n\ndata: b", "no end"),
        (b"data: \xff\n\n", "UTF-8"),
        (b"\xef\xbb\xbfdata: a\n\n", "byte order"),
        (b"hello\n\n", "no field"),
        (b"event: x\n\n", "no data"),
        (b"data: a\ndata: b\n\n", "several"),
    ],
)
def test_unsound_events_are_faults(data: bytes, fault: str) -> None:
    found = sse.parse(data).faults
    assert any(fault in text for text in found), found


def test_sound_events_are_not() -> None:
    found = sse.parse(b': ping\n\nevent: x\ndata: {"a": 1}\n\nid: 1\ndata:b\r\n\r\n')
    assert (found.faults, found.comments) == ([], 1)
    assert [(e.name, e.data, e.json) for e in found.events] == [
        ("x", '{"a": 1}', {"a": 1}),
        (None, "b", None),
    ]


def _paced(*pieces: tuple[int, bytes]) -> Reply:
    return Reply(request=GET, status=200, headers=(), pieces=list(pieces))


def test_a_stream_that_was_held_back_is_told_from_one_that_was_not() -> None:
    chunk = b'data: {"choices": []}\n\n'
    case = Case(_target())
    judge_pace(case, _paced(*((number * 200_000, chunk) for number in range(1, 11))))
    with pytest.raises(Failed, match="before most of the time"):
        judge_pace(case, _paced((3_000_000, chunk * 10)))
    with pytest.raises(Skipped, match="too quickly"):
        judge_pace(case, _paced((3_000, chunk * 10)))


# -- choosing, running, reporting ------------------------------------------------------------------


def _json(text: str, status: str = "200 OK") -> bytes:
    return f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {len(text)}\r\n\r\n{text}".encode()


LIST = (
    '{"data": [{"id": "gpt-image-1"}, {"id": "text-embedding-3-large"}, {"id": "big-model"}, {"id": "o3-mini"},'
    ' {"id": "small-mini"}, {"id": 5}]}'
)


def test_a_cheap_model_that_chats_is_chosen() -> None:
    with _server(lambda head: _json(LIST)) as url:
        target = _target(url)
        choose(target, ("chat", "embeddings"))
    assert target.models == {"chat": "small-mini", "embeddings": "text-embedding-3-large"}


def test_prices_and_abilities_are_looked_at() -> None:
    able = '"capabilities": {"tools": true, "vision": true, "json_schema": true}'
    listed = (
        f'{{"data": [{{"id": "a", "pricing": {{"prompt": "0.2", "completion": "0.3"}}, {able}}},'
        f' {{"id": "b", "pricing": {{"prompt": "0.1", "completion": "0.1"}}, {able}}},'
        ' {"id": "c", "pricing": {"prompt": "0.01", "completion": "0.1"}, "capabilities": {"vision": true}},'
        f' {{"id": "d", "pricing": {{"prompt": "0", "completion": "0"}}, {able}}},'
        f' {{"id": "e", "available": false, "pricing": {{"prompt": "0.01", "completion": "0"}}, {able}}}]}}'
    )
    with _server(lambda head: _json(listed)) as url:
        target = _target(url)
        choose(target, ("chat",))
    assert target.models == {"chat": "b"}


def test_embeddings_without_an_embedding_model_are_absent() -> None:
    with _server(lambda head: _json('{"data": [{"id": "small-mini"}]}')) as url:
        report = _run(url, "embeddings.basics.offered")
    assert report.results[0].verdict is Verdict.SKIPPED
    assert "--model embeddings=NAME" in report.missing["embeddings"]


def test_without_a_list_a_model_must_be_said() -> None:
    with (
        _server(lambda head: _json("{}", "404 Not Found")) as url,
        pytest.raises(Unreachable, match="--model"),
    ):
        choose(_target(url), ("chat",))
    with pytest.raises(Unreachable, match="no connection"):
        choose(_target(), ("chat",))


def _run(url: str, *only: str, **options: Any) -> Any:
    settings = Options(base_url=url, key=KEY, only=only, models={"chat": "m"}, timeout_s=5, **options)
    return run(settings, clock=lambda: 0, sleep=lambda _: None, environ={})


def test_a_target_of_nonsense_fails_and_breaks_nothing() -> None:
    with _server(lambda head: _json('{"choices": [{"message": 5}], "usage": [], "data": [5]}')) as url:
        report = _run(url, apis=("chat",))
    assert report.count(Verdict.FAILED) > 100
    assert len(report.results) == len(select(["chat"], []))


def test_an_api_that_was_named_must_be_there() -> None:
    with _server(lambda head: _json('{"error": {"message": "no"}}', "404 Not Found")) as url:
        named = _run(url, "chat.basics.*", apis=("chat",))
    verdicts = {result.check.id: result.verdict for result in named.results}
    assert verdicts.pop("chat.basics.offered") is Verdict.FAILED
    assert set(verdicts.values()) == {Verdict.SKIPPED}
    assert named.score == 0
    assert "404" in named.missing["chat"]


def test_an_api_that_was_not_named_may_be_absent_but_not_broken() -> None:
    verdicts = {}
    for status in ("404 Not Found", "402 Payment Required"):
        with _server(lambda head, status=status: _json('{"error": {"message": "no"}}', status)) as url:  # type: ignore[misc]
            (result,) = _run(url, "chat.basics.offered").results
            verdicts[status[:3]] = result.verdict
    assert verdicts == {"404": Verdict.SKIPPED, "402": Verdict.FAILED}


def test_a_refused_key_is_said() -> None:
    refusal = _json('{"error": {"message": "wrong key"}}', "401 Unauthorized")
    with _server(lambda head: refusal) as url, pytest.raises(Unreachable, match="refuses the key: wrong key"):
        choose(_target(url), ("chat",))


def test_too_many_requests_are_waited_out() -> None:
    waits: list[float] = []
    answers = iter([b"HTTP/1.1 429 Slow\r\nretry-after: 7\r\ncontent-length: 0\r\n\r\n", _json("{}")])
    with _server(lambda head: next(answers)) as url:
        target = Target(
            url, KEY, models={}, timeout_s=5, clock=lambda: 0, sleep=waits.append, environ={}
        )  # fmt: skip
        assert target.ask("chat", {}).status == 200
    assert waits == [7.0]
    assert target.spent.requests == 2


def test_the_key_is_in_no_report() -> None:
    def echo(head: bytes) -> bytes:
        return _json(f'{{"echo": "{KEY}"}}')

    with _server(echo) as url:
        report = _run(url, "chat.whole.*", "chat.basics.*", apis=("chat",))
    assert report.count(Verdict.FAILED) > 20
    for text in (render(report, colour=True, verbose=True), render(report, colour=False), as_json(report)):
        assert KEY not in text
        assert "$KEY" in text
    assert "\x1b[" not in render(report, colour=False)
    assert "\x1b[" in render(report, colour=True)
