"""Recorded exchanges of Azure, Vertex AI and Bedrock's InvokeModel through the placements of their dialects.

What was sent is what we would send: the URL and the body of the recorded request come from the
client's side of it. What came back is read like the dialect's own.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from llm_router.domain.errors import UpstreamError
from llm_router.wire import events
from llm_router.wire.dialect import Dialect, ReplyContext, Target
from llm_router.wire.dialects.registry import DIALECTS
from llm_router.wire.placement import placed

RECORDINGS = Path(__file__).parents[2] / ".." / "shared" / "recordings" / "dev"
PLACES = {
    "azure/chat_completions": ("openai_chat", "azure_deployments", "/openai/deployments/"),
    "vertex/messages": ("anthropic_messages", "vertex_claude", "/publishers/anthropic/models/"),
    "vertex/generate_content": ("gemini_generate", None, "/publishers/google/models/"),
    "vertex/stream_generate_content": ("gemini_generate", None, "/publishers/google/models/"),
    "bedrock/invoke": ("anthropic_messages", "bedrock_claude", "/model/"),
    "bedrock/invoke_stream": ("anthropic_messages", "bedrock_claude", "/model/"),
}
CONTEXT = ReplyContext(reply_id="msg_ours", model="our-model", created_s=1_700_000_000)
CUTS = (1, 61, 10**9)


def cases() -> list[Any]:
    found = []
    for place in PLACES:
        for path in sorted(RECORDINGS.glob(f"{place}/*.json")):
            record = json.loads(path.read_text())
            body = (record.get("request") or {}).get("body")
            ours = isinstance(body, dict) and (
                "bedrock" not in place or "anthropic_version" in body or "anthropic.claude" in str(body)
            )
            if ours and PLACES[place][2] in unquote(record["request"]["path"]):
                found.append(pytest.param(place, record, id=record["id"]))
    return found


CASES = cases()
pytestmark = pytest.mark.skipif(not CASES, reason="the recordings are not beside the project")


def dialect_of(place: str) -> Any:
    name, placement, _ = PLACES[place]
    return placed(DIALECTS[name], placement)


def model_of(place: str, path: str) -> str:
    """The model in the recorded path."""
    tail = unquote(path).partition(PLACES[place][2])[2]
    for end in ("/invoke", "/chat/completions", ":generate", ":stream", ":raw"):
        tail = tail.partition(end)[0]
    return tail


def is_stream(record: dict[str, Any]) -> bool:
    return "tream" in record["request"]["path"] or record["request"]["body"].get("stream") is True


@pytest.mark.parametrize(("place", "record"), CASES)
def test_the_address_and_the_body_are_those_that_were_sent(place: str, record: dict[str, Any]) -> None:
    dialect: Dialect[Any, Any] = dialect_of(place)
    path, body = record["request"]["path"], record["request"]["body"]
    model, stream = model_of(place, path), is_stream(record)
    mark = PLACES[place][2]
    before = "/openai" if place.startswith("azure") else path.partition(mark)[0]
    base = f"https://host.test{before}" + (mark.rstrip("/") if place.startswith("vertex") else "")
    parts = urlsplit(dialect.upstream_url(base, "chat", model, stream))
    assert unquote(parts.path) == unquote(path).replace("//", "/")
    asked = {name: value for name, value in body.items() if name != "anthropic_version"}
    if place.startswith("bedrock"):
        asked["stream"] = stream
    if "model" not in asked and not place.startswith(("vertex/g", "vertex/s")):
        asked = {"model": "ours", **asked}
    target = Target(provider="p", model=model, dialect=dialect.name)
    inspected = dialect.inspect(json.dumps(asked).encode(), "ours", stream)
    sent, losses = dialect.edit_request(inspected, target, {})
    assert losses == ()
    if dialect.place is not None:
        sent, headers, losses = dialect.place(sent, {"anthropic-version": "2023-06-01"}, "chat")
        assert (headers, losses) == ({} if dialect.name == "anthropic_messages" else headers, ())
    expected = dict(body)
    if place.startswith("azure"):
        expected["model"] = model
        if stream:
            expected["stream_options"] = {**body.get("stream_options", {}), "include_usage": True}
    elif dialect.name == "anthropic_messages":
        version = "bedrock-2023-05-31" if "bedrock" in place else "vertex-2023-10-16"
        assert json.loads(sent).pop("anthropic_version") == version
    assert json.loads(sent) == expected


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize(
    ("place", "record"), [case for case in CASES if "invoke_stream" in str(case.values[0])]
)
def test_streams_come_out_of_their_framing(place: str, record: dict[str, Any], cut: int) -> None:
    response, dialect = record["response"], dialect_of(place)
    if "eventstream_b64" not in response:
        said = json.dumps(response["body"]).encode()
        error = dialect.decode_error(response["status"], response["headers"], said)
        assert error.status == response["status"]
        return
    data = base64.b64decode(response["eventstream_b64"])
    unframer = dialect.unframe()
    inner = b"".join(unframer.feed(data[at : at + cut]) for at in range(0, len(data), cut))
    decoder = dialect.stream_decoder()
    seen = [*decoder.feed(inner), *decoder.close()]
    if "anthropic_version" in record["request"]["body"]:
        assert isinstance(seen[-1], events.Ended), seen[-1]
        assert any(isinstance(event, events.UsageSeen) and event.usage is not None for event in seen)
        relay = dialect.pass_relay(CONTEXT)
        out = relay.feed(inner) + relay.close()
        assert relay.observed.ended
        assert b"content_block_delta" in out


@pytest.mark.parametrize(("place", "record"), [case for case in CASES if case.values[0] == "bedrock/invoke"])
def test_whole_replies_of_invoke(place: str, record: dict[str, Any]) -> None:
    response, dialect = record["response"], dialect_of(place)
    body = json.dumps(response["body"]).encode()
    if response["status"] != 200:
        assert (
            dialect.decode_error(response["status"], response["headers"], body).status == response["status"]
        )
        return
    reply = dialect.decode_reply(body)
    assert reply.usage is not None
    assert reply.choices[0].finish is not None


def test_a_damaged_stream_is_told_after_what_came_before() -> None:
    found = [case.values[1] for case in CASES if "eventstream_b64" in case.values[1]["response"]]
    if not found:
        pytest.skip("no stream of InvokeModel among the recordings")
    data = bytearray(base64.b64decode(found[0]["response"]["eventstream_b64"]))
    data[-1] ^= 1
    unframer = dialect_of("bedrock/invoke_stream").unframe()
    assert b"message_start" in unframer.feed(bytes(data))
    with pytest.raises(UpstreamError, match="checksum"):
        unframer.feed(b"")
