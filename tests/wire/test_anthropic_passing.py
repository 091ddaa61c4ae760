"""The same-dialect path: bytes stay as they came, but for what must change."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import anthropic_kit as kit
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_router.domain.errors import Overloaded, UpstreamKind
from llm_router.domain.model import Quirk
from llm_router.domain.usage import Usage
from llm_router.wire.chat import Raw
from llm_router.wire.dialect import Fetched, Relay
from llm_router.wire.dialects.anthropic_messages import DIALECT


def _relay(chunks: list[bytes]) -> tuple[Relay, bytes]:
    relay = DIALECT.pass_relay(kit.CONTEXT)
    out = b"".join([relay.feed(chunk) for chunk in chunks]) + relay.close()
    return relay, out


def _without_bill(data: bytes) -> bytes:
    found = data.replace(b',"cost":0.0000345,"credits_remaining":9.000000000001', b"")
    assert found != data
    return found


@given(st.sampled_from(kit.REPLIES), st.lists(st.integers(0, 5000), max_size=12))
@settings(max_examples=60, deadline=None)
def test_streams_pass_byte_for_byte_but_for_the_bill(name: str, cuts: list[int]) -> None:
    data = kit.stream_bytes(name)
    places = sorted({0, *(cut % (len(data) + 1) for cut in cuts), len(data)})
    relay, out = _relay([data[a:b] for a, b in pairwise(places)])
    assert relay.observed.ended
    assert relay.observed.error is None
    assert _without_bill(out + relay.finish(kit.BILL)) == data


@pytest.mark.parametrize("name", kit.REPLIES)
def test_what_is_observed_is_what_the_decoder_reads(name: str) -> None:
    relay, _ = _relay([kit.stream_bytes(name)])
    reply = kit.decode_stream(kit.stream_bytes(name))
    seen = relay.observed
    assert seen.usage == reply.usage
    assert (seen.finish, seen.native_finish) == (
        reply.choices[0].finish.value,
        reply.choices[0].native_finish,
    )
    assert (seen.upstream_id, seen.upstream_model) == (reply.id, reply.model)
    assert seen.reply_id == reply.id
    whole = DIALECT.pass_reply(kit.reply_bytes(name), kit.CONTEXT).observed
    assert (whole.usage, whole.finish, whole.native_finish) == (seen.usage, seen.finish, seen.native_finish)
    assert whole.ended
    assert whole.content_started


def test_nothing_goes_out_before_content() -> None:
    pieces = kit.stream_bytes("text").split(b"\n\n")
    relay = DIALECT.pass_relay(kit.CONTEXT)
    for piece in pieces[:3]:  # message_start, content_block_start, ping
        assert relay.feed(piece + b"\n\n") == b""
    assert not relay.observed.content_started
    assert relay.observed.usage == Usage(input_tokens=21, output_tokens=1, service_tier="standard")
    out = relay.feed(pieces[3] + b"\n\n")
    assert relay.observed.content_started
    assert [event for event, _ in kit.frames(out)] == [
        "message_start", "content_block_start", "ping", "content_block_delta",
    ]  # fmt: skip


def test_the_usage_message_is_held_until_the_bill() -> None:
    relay, out = _relay([kit.stream_bytes("text")])
    assert b"message_delta" not in out
    last = kit.frames(relay.finish(kit.BILL))
    assert [event for event, _ in last] == ["message_delta", "message_stop"]
    assert last[0][1]["usage"] == {
        "input_tokens": 21, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": 12,
        "cost": 0.0000345, "credits_remaining": 9.000000000001,
    }  # fmt: skip


@pytest.mark.parametrize("name", ["text", "empty", "tools"])
def test_a_cut_is_seen(name: str) -> None:
    data = kit.stream_bytes(name)
    proof = data.index(b"\n", data.index(b"data:", data.index(b"event: message_delta")))
    for cut in [*range(0, proof, 3), *range(proof - 3, len(data))]:
        relay, out = _relay([data[:cut]])
        seen = relay.observed
        assert seen.ended == (cut >= proof)
        assert (seen.error is None) == seen.ended
        assert data.startswith(out)
        if seen.error is not None:
            assert seen.error.kind is UpstreamKind.TRUNCATED
        else:
            kit.grammar(out + relay.finish(kit.BILL))


def test_noise_of_other_hosts_is_put_right() -> None:
    data = kit.stream_bytes("text")
    bodies = [line[6:] for line in data.split(b"\n") if line.startswith(b"data: ")]
    noisy = b": OPENROUTER PROCESSING\r\n\r\n" + b"".join(b"data: " + body + b"\r\n\r\n" for body in bodies)
    noisy = noisy.replace(b"\r\n\r\n", b"\r\n\r\ndata: still on it\r\n\r\n", 3).replace(
        b"data: still on it\r\n\r\n", b"", 2
    )
    relay, out = _relay([noisy + b"event: data\ndata: [DONE]\n\n"])
    assert relay.observed.ended
    assert _without_bill(out + relay.finish(kit.BILL)) == data


def test_missing_id_and_model_are_filled_in() -> None:
    data = kit.sse(
        {
            "type": "message_start",
            "message": {"id": "", "type": "message", "role": "assistant", "content": []},
        },
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hi"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_stop"},
    )
    relay, out = _relay([data])
    message = kit.frames(out)[0][1]["message"]
    assert (message["id"], message["model"]) == ("msg_minted", "claude-public")
    assert relay.observed.reply_id == "msg_minted"
    last = kit.frames(relay.finish(kit.BILL))
    assert last[0][1]["delta"] == {"stop_reason": "end_turn", "stop_sequence": None}
    assert last[0][1]["usage"]["output_tokens"] == 12
    assert last[1][0] == "message_stop"


def test_errors_are_observed_and_not_passed() -> None:
    pieces = kit.stream_bytes("text").split(b"\n\n")
    error = kit.sse({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}})
    early, out = _relay([b"\n\n".join(pieces[:2]) + b"\n\n" + error])
    assert out == b""
    assert early.observed.error is not None
    assert early.observed.error.kind is UpstreamKind.OVERLOADED
    late, out = _relay([b"\n\n".join(pieces[:5]) + b"\n\n" + error + b"\n\n".join(pieces[5:])])
    assert b"error" not in out
    assert out.endswith(pieces[4] + b"\n\n")
    assert late.observed.error is not None
    ((event, body),) = kit.frames(late.fail(Overloaded("Later."), "req_2"))
    assert (event, body["request_id"]) == ("error", "req_2")


def test_only_preamble_is_no_answer() -> None:
    relay = DIALECT.pass_relay(kit.CONTEXT)
    ping = kit.sse({"type": "ping", "pad": "x" * 100_000})
    for _ in range(12):
        relay.feed(ping)
    assert relay.observed.error is not None
    assert relay.observed.error.kind is UpstreamKind.MALFORMED


@given(st.lists(st.binary(max_size=60), max_size=12))
def test_noise_never_raises(chunks: list[bytes]) -> None:
    relay, out = _relay(chunks)
    assert out == b""
    assert relay.observed.error is not None


@pytest.mark.parametrize("name", kit.REPLIES)
def test_whole_replies_keep_every_value(name: str) -> None:
    body = kit.reply_bytes(name)
    out = DIALECT.pass_reply(body, kit.CONTEXT).finish(kit.BILL)
    before = msgspec.json.decode(body, type=dict[str, Raw])
    after = msgspec.json.decode(out, type=dict[str, Raw])
    assert list(before) == list(after)
    for member in before:
        if member != "usage":
            assert bytes(before[member]) == bytes(after[member])
    usage = json.loads(bytes(after["usage"]))
    assert usage.pop("cost") == 0.0000345
    assert usage.pop("credits_remaining") == 9.000000000001
    assert usage == json.loads(bytes(before["usage"]))


def test_a_host_s_own_cost_is_overwritten() -> None:
    body = b'{"id":"gen-1","content":[],"usage":{"input_tokens":1,"output_tokens":1,"cost":{"total":9}}}'
    found = json.loads(DIALECT.pass_reply(body, kit.CONTEXT).finish(kit.BILL))
    assert found["usage"]["cost"] == 0.0000345
    assert found["id"] == "gen-1"
    assert (found["type"], found["role"], found["model"]) == ("message", "assistant", "claude-public")
    assert found["stop_reason"] == "end_turn"


def _edit(body: dict[str, Any], **changes: Any) -> tuple[bytes, list[str]]:
    fetched = changes.pop("fetched", {})
    inspected = DIALECT.inspect(json.dumps(body).encode(), None, None)
    data, losses = DIALECT.edit_request(inspected, kit.target("upstream-model", **changes), fetched)
    return data, [loss.field for loss in losses]


@pytest.mark.parametrize("name", kit.REQUESTS)
def test_only_the_model_changes(name: str) -> None:
    body = kit.request_bytes(name)
    data, losses = DIALECT.edit_request(DIALECT.inspect(body, None, None), kit.target("upstream-model"), {})
    assert losses == ()
    before = msgspec.json.decode(body, type=dict[str, Raw])
    after = msgspec.json.decode(data, type=dict[str, Raw])
    assert list(before) == list(after)
    assert bytes(after["model"]) == b'"upstream-model"'
    assert all(bytes(before[k]) == bytes(after[k]) for k in before if k != "model")


def test_quirks_are_applied_and_declared() -> None:
    body = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}], "temperature": 1}
    quirks = (
        Quirk(edit="drop", field="temperature", why="refused"),
        Quirk(edit="drop", field="model", why="in the path"),
        Quirk(edit="set", field="anthropic_version", value=Raw(b'"vertex-2023-10-16"'), why="required"),
    )
    data, losses = _edit(body, quirks=quirks)
    assert json.loads(data) == {
        "max_tokens": 9, "messages": body["messages"], "anthropic_version": "vertex-2023-10-16",
    }  # fmt: skip
    assert losses == ["temperature", "model"]


def test_fetched_media_replace_their_urls_and_nothing_else() -> None:
    def image(url: str) -> dict[str, Any]:
        return {
            "type": "image",
            "source": {"type": "url", "url": url},
            "cache_control": {"type": "ephemeral"},
        }

    content = [
        {"type": "text", "text": "see", "n": 1.50},
        image("https://x.example/a"),
        image("https://x.example/b"),
        {"type": "document", "source": {"type": "url", "url": "https://x.example/t"}, "title": "T"},
        {"type": "tool_result", "tool_use_id": "t", "content": [image("https://x.example/a")]},
    ]
    body = {
        "model": "m",
        "max_tokens": 9,
        "messages": [{"role": "user", "content": content}, {"role": "user", "content": "x"}],
    }
    fetched = {
        "https://x.example/a": Fetched(media_type="image/png", data="AAAA"),
        "https://x.example/t": Fetched(media_type="text/plain", data="aGVsbG8="),
    }
    data, _ = _edit(body, fetched=fetched)
    found = json.loads(data)["messages"]
    png = {**image(""), "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}
    assert found[0]["content"] == [
        content[0],
        png,
        content[2],
        {
            "type": "document",
            "source": {"type": "text", "media_type": "text/plain", "data": "hello"},
            "title": "T",
        },
        {"type": "tool_result", "tool_use_id": "t", "content": [png]},
    ]
    assert found[1] == {"role": "user", "content": "x"}
