"""Amazon Bedrock behind the gateway: signed requests, binary streams, money, and its failures."""

from __future__ import annotations

import importlib.util
import json
import struct
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from gateway_kit import Gateway
from scripted_upstream import Peer, ScriptedUpstream, Seen, answers, head, http

from llm_router.wire import sigv4

pytestmark = pytest.mark.slow

MODEL = "eu.anthropic.claude-x-v1:0"
SECRET, SESSION = "Secret0of0the0test0only/+ab", "IQoJb3JpZ2luX3Rlc3Q="
PAIR = f"AKIAEXAMPLE0EXAMPLE0:{SECRET}:{SESSION}"
TOKEN = "ABSKdGhlLWtleS1vZi10aGUtdGVzdA=="


@pytest.fixture(scope="module")
def bedrock(scripted: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    lines = ["[credits]", "starting = 1000"]
    for place, key in (("br", "PAIR"), ("bt", "TOKEN")):
        lines += [f"[providers.{place}]", 'dialect = "bedrock_converse"', 'auth = "sigv4"']
        lines += ['auth_name = "eu-west-1"', f'key = "env:BEDROCK_{key}"']
        lines += [f'base_url = "http://127.0.0.1:{scripted.port}/{place}"']
        lines += [f"[models.m{place}]", "price = { input_per_mtok = 1, output_per_mtok = 2 }"]
        lines += [f"[[models.m{place}.deployments]]", f'provider = "{place}"', f'upstream_model = "{MODEL}"']
    environ = {"BEDROCK_PAIR": PAIR, "BEDROCK_TOKEN": TOKEN}
    gateway = Gateway(tmp_path_factory.mktemp("bedrock"), config="\n".join(lines), environ=environ)
    yield gateway
    assert gateway.stop() == 0


def message(type_: str, name: str, body: Any) -> bytes:
    """A message of the event stream, written by its specification."""
    texts = ((f":{type_}-type", name), (":content-type", "application/json"), (":message-type", type_))
    headers = b"".join(
        bytes([len(key)]) + key.encode() + b"\x07" + struct.pack(">H", len(text)) + text.encode()
        for key, text in texts
    )
    payload = json.dumps(body).encode()
    prelude = struct.pack(">II", 16 + len(headers) + len(payload), len(headers))
    data = prelude + struct.pack(">I", zlib.crc32(prelude)) + headers + payload
    return data + struct.pack(">I", zlib.crc32(data))


EVENTS = [
    message("event", "messageStart", {"role": "assistant", "p": "abc"}),
    message("event", "contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "Hel"}, "p": "a"}),
    message("event", "contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "lo"}, "p": "abcdefg"}),
    message("event", "contentBlockStop", {"contentBlockIndex": 0}),
    message("event", "messageStop", {"stopReason": "end_turn"}),
    message("event", "metadata", {"usage": {"inputTokens": 7, "outputTokens": 5, "totalTokens": 12}, "metrics": {"latencyMs": 1}}),
]  # fmt: skip
WHOLE = {
    "output": {"message": {"role": "assistant", "content": [{"text": "Hello"}]}},
    "stopReason": "end_turn",
    "usage": {"inputTokens": 7, "outputTokens": 5, "totalTokens": 12},
}
STREAM = head(200, type_="application/vnd.amazon.eventstream")
COST = Decimal("0.000017")


def refused(status: int, name: str, text: str) -> bytes:
    type_ = f"x-amzn-errortype: {name}:http://internal.amazon.com/coral/com.amazon.bedrock/"
    return http(status, json.dumps({"message": text}).encode(), type_)


def check_signature(seen: Seen) -> None:
    """The request as it arrived is the request that was signed, now, with the right key."""
    headers = seen.headers
    sent = dict(piece.split("=", 1) for piece in headers["authorization"].partition(" ")[2].split(", "))
    names = sent["SignedHeaders"].split(";")
    assert {"host", "content-type", "x-amz-date", "x-amz-security-token"} <= set(names)
    signed_at = datetime.strptime(headers["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    assert abs(datetime.now(UTC) - signed_at) < timedelta(minutes=2)
    url = f"http://{headers['host']}{seen.path}"
    given = {name: headers[name] for name in names if not name.startswith("x-amz")}
    pair = sigv4.parse_credentials(PAIR)
    assert pair is not None
    again = sigv4.sign(
        "POST", url, given, seen.body,
        credentials=pair, region="eu-west-1", service="bedrock", amz_date=headers["x-amz-date"],
    )  # fmt: skip
    assert again["authorization"] == headers["authorization"]
    if importlib.util.find_spec("botocore") is not None:
        assert sent["Signature"] == _signature_by_aws(url, {name: headers[name] for name in names}, seen.body)


def _signature_by_aws(url: str, headers: dict[str, str], body: bytes) -> str:
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    request = AWSRequest(method="POST", url=url, data=body, headers=headers)
    request.context["timestamp"] = headers["x-amz-date"]
    signer = SigV4Auth(Credentials("AKIAEXAMPLE0EXAMPLE0", SECRET, SESSION), "bedrock", "eu-west-1")
    found: str = signer.signature(signer.string_to_sign(request, signer.canonical_request(request)), request)
    return found


def test_a_stream_in_pieces_of_any_size(bedrock: Gateway, upstream: ScriptedUpstream) -> None:
    data = b"".join(EVENTS)
    for size in (1, 50, len(data)):
        upstream.play("br", answers(STREAM, *(data[i : i + size] for i in range(0, len(data), size))))
        answer = bedrock.stream("mbr")
        assert (answer.text, answer.done, answer.usage["cost"]) == ("Hello", True, COST)
    seen = upstream.at("br")[0]
    assert seen.path == "/br/model/eu.anthropic.claude-x-v1%3A0/converse-stream"
    assert seen.json == {"messages": [{"role": "user", "content": [{"text": "hi"}]}]}
    assert seen.headers["accept"] == "application/vnd.amazon.eventstream"
    check_signature(seen)


def test_a_whole_reply(bedrock: Gateway, upstream: ScriptedUpstream) -> None:
    upstream.play("br", answers(http(200, json.dumps(WHOLE).encode())))
    reply = bedrock.chat("mbr", max_tokens=9, temperature=0.5).json
    assert reply["choices"][0]["message"]["content"] == "Hello"
    assert reply["usage"]["cost"] == COST
    (seen,) = upstream.at("br")
    assert seen.json["inferenceConfig"] == {"maxTokens": 9, "temperature": 0.5}
    check_signature(seen)


def test_a_bedrock_api_key_goes_as_a_bearer_token(bedrock: Gateway, upstream: ScriptedUpstream) -> None:
    upstream.play("bt", answers(http(200, json.dumps(WHOLE).encode())))
    assert bedrock.chat("mbt").status == 200
    (seen,) = upstream.at("bt")
    assert seen.headers["authorization"] == f"Bearer {TOKEN}"
    assert not [name for name in seen.headers if name.startswith("x-amz")]


def test_a_client_of_the_messages_api(bedrock: Gateway, upstream: ScriptedUpstream) -> None:
    upstream.play("br", answers(STREAM, *EVENTS))
    body = {"model": "mbr", "max_tokens": 50, "stream": True, "messages": [{"role": "user", "content": "hi"}]}
    answer = bedrock.send("POST", "/v1/messages", json.dumps(body).encode())
    assert answer.status == 200
    assert b'"text":"Hel"' in answer.body
    assert b"message_stop" in answer.body


def test_an_exception_before_the_first_word_is_a_status(bedrock: Gateway, upstream: ScriptedUpstream) -> None:
    said = {"message": "Too many requests, please wait before trying again."}
    upstream.play("br", answers(STREAM, EVENTS[0], message("exception", "throttlingException", said)))
    answer = bedrock.stream("mbr")
    assert (answer.status, answer.error["code"]) == (429, "rate_limit_exceeded")


@pytest.mark.parametrize(
    "rest",
    [
        (message("exception", "modelStreamErrorException", {"message": "The model broke off."}),),
        (EVENTS[2][:-1] + b"?",),
        (EVENTS[2][:20],),
        (),
    ],
    ids=["exception", "damaged", "cut", "ended"],
)
def test_a_stream_that_breaks_never_looks_finished(
    bedrock: Gateway, upstream: ScriptedUpstream, rest: tuple[bytes, ...]
) -> None:
    upstream.play("br", answers(STREAM, *EVENTS[:2], *rest))
    answer = bedrock.stream("mbr")
    assert (answer.status, answer.text, answer.done) == (200, "Hel", False)
    assert answer.failure is not None


def test_errors_by_their_header(bedrock: Gateway, upstream: ScriptedUpstream) -> None:
    for status, name, text, code in (
        (403, "UnrecognizedClientException", "The security token is invalid.", "upstream_authentication"),
        (
            404,
            "ResourceNotFoundException",
            "This model version has reached the end of its life.",
            "model_not_found",
        ),
        (429, "ThrottlingException", "Slow down.", "rate_limit_exceeded"),
        (503, "ServiceUnavailableException", "Later.", "upstream_overloaded"),
    ):
        upstream.play("br", answers(refused(status, name, text)))
        for streamed in (False, True):
            answer = bedrock.ask(streamed, "mbr")
            assert (answer.status, answer.error["code"]) == (status, code)
            assert text in answer.error["message"]


def test_nothing_of_the_credential_comes_back(bedrock: Gateway, upstream: ScriptedUpstream) -> None:
    async def echo(peer: Peer) -> None:
        said = peer.seen.headers["authorization"] + " " + peer.seen.headers["x-amz-security-token"]
        await peer.send(refused(403, "AccessDeniedException", f"You sent {said}"))

    upstream.play("br", echo)
    text = bedrock.chat("mbr").body.decode()
    assert "AKIAEXAMPLE" not in text
    assert SECRET not in text
    assert SESSION not in text
