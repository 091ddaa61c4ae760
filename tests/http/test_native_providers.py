"""Cohere and Ollama behind the gateway, named by the configuration file alone."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from decimal import Decimal

import pytest
from gateway_kit import Gateway, chat_body, closing, read_stream
from scripted_upstream import Peer, ScriptedUpstream, answers, head, http, sse

pytestmark = pytest.mark.slow

LINES = [
    json.dumps({"model": "up", "message": {"role": "assistant", "content": text}, "done": False}).encode()
    + b"\n"
    for text in ("Hello", " there")
]
LAST = b'{"model":"up","message":{"content":""},"done":true,"done_reason":"stop","prompt_eval_count":7,"eval_count":5}\n'
EVENTS = [
    sse({"type": "message-start", "id": "r-1", "delta": {"message": {"role": "assistant"}}}, "message-start"),
    sse({"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": "Hello"}}}}, "content-delta"),
    sse({"type": "message-end", "delta": {"finish_reason": "COMPLETE", "usage": {
        "billed_units": {"input_tokens": 7, "output_tokens": 5}, "tokens": {"input_tokens": 400, "output_tokens": 6}}}}, "message-end"),
]  # fmt: skip


@pytest.fixture(scope="module")
def native(scripted: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    lines = ["[credits]", "starting = 1000"]
    for place, dialect in (("co", "cohere_chat"), ("ol", "ollama_chat")):
        lines += [f"[providers.{place}]", f'dialect = "{dialect}"', 'auth = "none"', "key_required = false"]
        lines += [f'base_url = "http://127.0.0.1:{scripted.port}/{place}"']
        lines += [f"[models.m{place}]", "price = { input_per_mtok = 1, output_per_mtok = 2 }"]
        lines += [f"[[models.m{place}.deployments]]", f'provider = "{place}"', 'upstream_model = "up"']
    gateway = Gateway(tmp_path_factory.mktemp("native"), config="\n".join(lines))
    yield gateway
    assert gateway.stop() == 0


class Step:
    """An Ollama that says the rest only when the client has the first word."""

    def __init__(self) -> None:
        self.heard = threading.Event()

    async def __call__(self, peer: Peer) -> None:
        await peer.send(head(200, type_="application/x-ndjson"), LINES[0])
        assert await asyncio.to_thread(self.heard.wait, 10), "the first word was kept back"
        await peer.send(LINES[1], LAST)


def test_lines_reach_the_client_one_by_one(native: Gateway, upstream: ScriptedUpstream) -> None:
    step = Step()
    upstream.play("ol", step)
    body = json.dumps(chat_body("mol", stream=True)).encode()
    headers = {"content-type": "application/json", "authorization": f"Bearer {native.key}"}
    with closing(native.connect()) as connection:
        connection.request("POST", "/v1/chat/completions", body, headers)
        reply = connection.getresponse()
        data = b""
        while b"Hello" not in data:
            piece = reply.read1()
            assert piece, data
            data += piece
        step.heard.set()
        data += reply.read()
    answer = read_stream(reply.status, {"content-type": "text/event-stream"}, data, broken=False)
    assert (answer.text, answer.done) == ("Hello there", True)
    assert answer.usage["cost"] == Decimal("0.000017")
    (seen,) = upstream.at("ol")
    assert seen.path == "/ol/api/chat"
    assert seen.json == {"model": "up", "messages": [{"role": "user", "content": "hi"}], "stream": True}


def test_a_whole_reply_of_each(native: Gateway, upstream: ScriptedUpstream) -> None:
    last = json.loads(LAST)
    last["message"]["content"] = "Hello"
    upstream.play("ol", answers(http(200, json.dumps(last).encode())))
    usage = {"billed_units": {"input_tokens": 7, "output_tokens": 5}}
    whole = {
        "id": "r-1",
        "message": {"content": [{"type": "text", "text": "Hello"}]},
        "finish_reason": "COMPLETE",
        "usage": usage,
    }
    upstream.play("co", answers(http(200, json.dumps(whole).encode())))
    for model in ("mol", "mco"):
        reply = native.chat(model).json
        assert reply["choices"][0]["message"]["content"] == "Hello"
        assert Decimal(str(reply["usage"]["cost"])) == Decimal("0.000017")
    assert upstream.at("co")[0].path == "/co/v2/chat"


def test_a_stream_of_cohere_that_is_cut(native: Gateway, upstream: ScriptedUpstream) -> None:
    upstream.play("co", answers(head(200), *EVENTS))
    answer = native.stream("mco")
    assert (answer.text, answer.done) == ("Hello", True)
    upstream.play("co", answers(head(200), *EVENTS[:2]))
    answer = native.stream("mco")
    assert answer.failure is not None
    assert not answer.done


def test_errors_keep_their_status(native: Gateway, upstream: ScriptedUpstream) -> None:
    upstream.play("co", answers(http(401, b'{"id":"1","message":"invalid api token"}')))
    upstream.play("ol", answers(http(404, b'{"error":"model \\"up\\" not found, try pulling it first"}')))
    for model, status, code in (("mco", 401, "upstream_authentication"), ("mol", 404, "model_not_found")):
        for streamed in (False, True):
            answer = native.ask(streamed, model)
            assert (answer.status, answer.error["code"]) == (status, code)
