"""The command line, in a process of its own: what it prints where, and how it ends."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from client_kit import CLIENT, Script
from scripted_gateway import DONE, ScriptedGateway, choice, event, reply, silence, stream

GOOD = {"id": "x", "choices": [{"message": {"content": "lö “ok” \ud83d"}}], "usage": {"cost": 0.5}}
WHOLE = stream(choice({"content": "lö "}), choice({"content": "“ok”"}), choice({}, "stop"), DONE)
BROKEN = {"error": {"message": "it broke", "code": "upstream_error"}}


def start(server: ScriptedGateway | None, *words: str, **variables: str) -> subprocess.Popen[bytes]:
    environ = {"AISA_API_KEY": "sk-1", "LLM_ROUTER_BASE_URL": server.url if server else "http://127.0.0.1:9"}
    return subprocess.Popen(
        [sys.executable, "-W", "error", str(CLIENT), *words],
        env={"PYTHONIOENCODING": "ascii", **environ, **variables},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=_heed_interrupts,
    )


def _heed_interrupts() -> None:
    """A job in the background begins with interrupts ignored, and so do its children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def run(
    server: ScriptedGateway | None, *words: str, stdin: bytes = b"", **variables: str
) -> tuple[int, str, str]:
    process = start(server, *words, **variables)
    out, err = process.communicate(stdin, timeout=60)
    return process.returncode, out.decode("utf-8"), err.decode("utf-8")


def refused(*words: str, stdin: bytes = b"", **variables: str) -> dict[str, Any]:
    status, out, err = run(None, *words, stdin=stdin, **variables)
    assert status == 1
    assert "Traceback" not in err
    error: dict[str, Any] = json.loads(out)["error"]
    return error


def test_chat(scripted: Script) -> None:
    server = scripted(reply(200, GOOD))
    words = ["chat", "-m", "m", "--message", "hällo", "-s", "be brief", "-t", "0.5", "--max-tokens", "7"]
    status, out, err = run(server, *words)
    assert (status, json.loads(out), err) == (0, GOOD, "")
    assert "lö “ok”" in out  # whatever encoding the terminal has
    assert server.requests[0][2] == {
        "model": "m",
        "messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hällo"}],
        "temperature": 0.5,
        "max_tokens": 7,
    }


def test_messages_from_argument_file_and_standard_input(scripted: Script, tmp_path: Path) -> None:
    server = scripted(reply(200, GOOD))
    messages = [{"role": "user", "content": "ä"}, {"role": "assistant", "content": "b"}]
    text = json.dumps(messages, ensure_ascii=False)
    (tmp_path / "messages.json").write_text(text, encoding="utf-8-sig")
    for source, stdin in ((text, b""), (f"@{tmp_path / 'messages.json'}", b""), ("-", text.encode())):
        status, _, _ = run(server, "chat", "-m", "m", "--messages", source, "-s", "s", stdin=stdin)
        assert status == 0
        assert server.requests[-1][2]["messages"] == [{"role": "system", "content": "s"}, *messages]


@pytest.mark.parametrize("text", ["nonsense", "{}", "[]", "[1]", '"hi"', "@/absent", "-", "[" * 100_000])
def test_messages_that_are_none(text: str) -> None:
    error = refused("chat", "-m", "m", "--messages", text, stdin=b"\xff")
    assert error["code"] == "INVALID_INPUT"
    assert "--messages" in error["message"]


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["paint"],
        ["chat"],
        ["chat", "-m", "m"],
        ["chat", "--message", "hi"],
        ["chat", "-m", "m", "--message", "a", "--messages", "[]"],
        ["chat", "-m", "m", "--message", "a", "-t", "warm"],
        ["chat", "-m", "m", "--message", "a", "--max-tokens", "many"],
        ["vision", "-m", "m", "-p", "p"],
        ["vision", "-m", "m", "-i", "/absent.png", "-p", "p"],
        ["compare", "--models", " , ", "-m", "hi"],
        ["models", "--pretty"],
    ],
)
def test_wrong_words(words: list[str]) -> None:
    assert refused(*words)["code"] == "INVALID_INPUT"


def test_no_key_no_address_no_gateway() -> None:
    assert refused("models", AISA_API_KEY="")["code"] == "AUTH_ERROR"
    assert refused("models", AISA_API_KEY="a b")["code"] == "AUTH_ERROR"
    assert refused("models", LLM_ROUTER_BASE_URL="localhost:4040")["code"] == "INVALID_INPUT"
    assert refused("chat", "-m", "m", "--message", "a", "--stream")["code"] == "NETWORK_ERROR"


def test_the_gateways_own_code(scripted: Script) -> None:
    server = scripted(reply(404, {"error": {"message": "m", "code": "model_not_found"}}))
    for words in (
        ["chat", "-m", "m", "--message", "a"],
        ["chat", "-m", "m", "--message", "a", "--stream"],
        ["models"],
    ):
        status, out, err = run(server, *words)
        assert (status, err) == (1, "")
        assert json.loads(out) == {"error": {"code": "model_not_found", "message": "m", "status": 404}}


def test_a_stream_is_text_and_its_facts_stand_aside(scripted: Script) -> None:
    status, out, err = run(scripted(WHOLE), "chat", "-m", "m", "--message", "a", "--stream")
    assert (status, out) == (0, "lö “ok”\n")
    assert json.loads(err) == {"id": "chatcmpl-1", "model": "m", "finish_reason": "stop", "usage": {}}


@pytest.mark.parametrize(
    ("last", "code"), [(event(BROKEN), "upstream_error"), (b": cut\n\n", "STREAM_ERROR")]
)
def test_a_stream_that_broke_says_so_in_its_last_line(scripted: Script, last: bytes, code: str) -> None:
    server = scripted(stream(choice({"content": "half an ans"}), last))
    status, out, err = run(server, "chat", "-m", "m", "--message", "a", "--stream")
    assert status == 1
    text, line = out.splitlines()
    assert text == "half an ans"
    assert json.loads(line)["error"]["code"] == code
    assert "partial" not in json.loads(line)  # it stands above
    assert json.loads(err) == json.loads(line)


def test_compare(scripted: Script) -> None:
    server = scripted(reply(200, GOOD))
    status, out, _ = run(server, "compare", "--models", "a, b,,a", "-m", "hi")
    assert status == 0
    assert list(json.loads(out)) == ["a", "b"]
    paths = [line.split()[1] for line, _, _ in server.requests]  # asked of the gateway once, which cannot
    assert paths == ["/v1/compare", "/v1/chat/completions", "/v1/chat/completions"]


def test_compare_fails_if_every_model_does(scripted: Script) -> None:
    server = scripted(reply(402, {"error": {"message": "m", "code": "insufficient_credits"}}))
    status, out, _ = run(server, "compare", "--models", "a,b", "-m", "hi")
    assert status == 1
    got = json.loads(out)
    assert got["error"]["code"] == "insufficient_credits"
    assert [got["results"][name]["success"] for name in "ab"] == [False, False]


def test_one_model_a_line(scripted: Script) -> None:
    page = {"data": [{"id": "a", "family": "F"}, {"id": "b", "family": "F"}, {"id": "c", "family": "G"}]}
    status, out, _ = run(scripted(reply(200, page)), "models")
    assert status == 0
    assert [[m["id"] for m in models] for models in json.loads(out).values()] == [["a", "b"], ["c"]]
    assert sum('"id"' in line for line in out.splitlines()) == 3
    status, out, _ = run(scripted(reply(200, {"data": []})), "models")
    assert json.loads(out) == {}


def test_help() -> None:
    status, out, _ = run(None, "--help")
    assert status == 0
    assert "AISA_API_KEY" in out


def test_an_interrupt_is_clean(scripted: Script) -> None:
    for words in (
        ["chat", "-m", "m", "--message", "a", "--stream"],
        ["compare", "--models", "a,b", "-m", "hi"],
    ):
        server = scripted([silence])
        process = start(server, *words)
        server.asked.wait(20)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
        assert (process.returncode, err) == (130, b"")


def test_a_reader_that_went_is_no_error(scripted: Script) -> None:
    many = [choice({"content": "x" * 5000})] * 100
    process = start(scripted(stream(*many, DONE)), "chat", "-m", "m", "--message", "a", "--stream")
    assert process.stdout is not None
    assert process.stdout.read(10) == b"x" * 10
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == b""
    assert process.wait(timeout=20) == 141
    process.stderr.close()
    assert process.stdin is not None
    process.stdin.close()
