"""The same dialect on both sides: bytes pass, what strict clients choke on is mended, the bill is added."""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec
import pytest
import responses_kit as kit
from hypothesis import given
from hypothesis import strategies as st
from responses_reader import read_response, read_stream

from llm_router.domain.errors import Overloaded, UpstreamError, UpstreamKind
from llm_router.domain.usage import Provenance, Usage
from llm_router.wire.dialect import Bill, Relay
from llm_router.wire.dialects.openai_responses import DIALECT

BILLED = re.compile(rb',"cost":[0-9.e-]+,"credits_remaining":[0-9.e-]+')
CLEAN = [
    "text", "refusal", "reasoning_summary", "reasoning_hidden", "calls", "whole_arguments", "custom_call",
    "image", "cut_call", "filtered", "unknown", "phases", "call_members", "logprobs",
]  # fmt: skip
"""Cases with nothing to mend but their usage's details."""

LOOSE = (
    "items_only",
    "last_event_only",
    "no_numbers",
    "interleaved",
    "whole_arguments",
    "cut_call",
    "late_sources",
)
"""Cases whose events repeat less than the grammar says, or in another order: clients bear it."""


def relayed(data: bytes, cut: int = 23) -> tuple[bytes, Relay]:
    relay = DIALECT.pass_relay(kit.CONTEXT)
    out = b"".join(relay.feed(data[n : n + cut]) for n in range(0, len(data), cut))
    if not (relay.observed.ended or relay.observed.error):
        out += relay.close()
    return out, relay


def passed(case: dict[str, Any], **framing: Any) -> tuple[bytes, Relay]:
    out, relay = relayed(kit.stream_bytes(case, **framing))
    assert relay.observed.ended
    return out + relay.finish(kit.BILL), relay


@pytest.mark.parametrize("name", CLEAN)
def test_what_is_right_keeps_its_bytes(name: str) -> None:
    case = kit.BY_NAME[name]
    out, _ = passed(case)
    told = case["events"][-1]
    usage = {**told["response"]["usage"]}
    usage["input_tokens_details"] = {"cached_tokens": 0, "cache_write_tokens": 0}
    wanted = {
        **case,
        "events": [*case["events"][:-1], {**told, "response": {**told["response"], "usage": usage}}],
    }
    assert BILLED.sub(b"", out) == kit.stream_bytes(wanted)


@pytest.mark.parametrize("case", kit.params(failing=False))
def test_what_passes_is_strict_and_says_the_same(case: dict[str, Any]) -> None:
    out, relay = passed(case)
    if case["name"] not in LOOSE:
        read_stream(out, passed=True)
    before = kit.folded(kit.decode(kit.stream_bytes(case))).reply()
    after = kit.folded(kit.decode(out)).reply()
    if case["usage"] != {"none": True}:
        assert after.usage == before.usage
    assert after.choices == before.choices
    seen = relay.observed
    assert (seen.finish, seen.native_finish) == (case["finish"], case["native"])
    assert seen.usage == kit.usage_of(case["usage"])
    assert (seen.upstream_id, seen.upstream_model, seen.reply_id) == ("resp_tide", "harbor-1", "resp_tide")
    shown = {"text": 1, "refusal": 1, "call": 3, "custom": 3}
    counted = sum(len(row[shown[row[0]]]) for row in case["parts"] if row[0] in shown)
    names = sum(len(row[2]) for row in case["parts"] if row[0] in ("call", "custom"))
    names += sum(len(row[1]) for row in case["parts"] if row[0] == "opaque")
    assert seen.output_chars == counted + names
    assert seen.reasoning_chars == sum(len(row[1]) for row in case["parts"] if row[0] == "thinking")


@pytest.mark.parametrize("case", kit.params(failing=True))
def test_a_failing_stream_fails_in_the_apis_own_words(case: dict[str, Any]) -> None:
    out, relay = relayed(kit.stream_bytes(case))
    error = relay.observed.error
    assert error is not None
    assert error.kind == case["error"]
    assert not relay.observed.ended
    assert b"response.failed" not in out
    read = read_stream(out + relay.fail(error, "req_1"), passed=True)
    assert read.status == "failed"
    assert read.response["error"]["message"] == error.message
    assert read.response["id"] == "resp_tide"


def test_nothing_goes_out_before_content() -> None:
    relay = DIALECT.pass_relay(kit.CONTEXT)
    frames = kit.stream_bytes(kit.BY_NAME["text"]).split(b"\n\n")
    for frame in frames[:4]:
        assert relay.feed(frame + b"\n\n") == b""
    assert not relay.observed.content_started
    assert relay.feed(frames[4] + b"\n\n").startswith(b"event: response.created\n")
    assert relay.observed.content_started


def test_a_stream_without_content_is_whole_too() -> None:
    case = {"events": [*kit.BY_NAME["text"]["events"][:2]]}
    last = {**kit.BY_NAME["text"]["events"][-1], "sequence_number": 2}
    last["response"] = {**last["response"], "output": []}
    out, relay = relayed(kit.stream_bytes({"events": [*case["events"], last]}))
    assert out == b""
    assert read_stream(relay.finish(kit.BILL)).response["output"] == []


def test_endless_preamble_is_given_up() -> None:
    relay = DIALECT.pass_relay(kit.CONTEXT)
    relay.feed(
        b'data: {"type":"response.created","response":{"id":"resp_1","x":"' + b"x" * 2**20 + b'"}}\n\n'
    )
    assert relay.observed.error is not None
    assert relay.observed.error.kind is UpstreamKind.MALFORMED
    assert relay.feed(b"data: {}\n\n") == b""


@pytest.mark.parametrize("case", kit.params(failing=False))
def test_a_cut_stream_never_looks_finished(case: dict[str, Any]) -> None:
    data = kit.stream_bytes(case)
    start = data.rindex(b'{"type":"response.')
    for cut in range(start - 40, start + 60, 7):
        out, relay = relayed(data[:cut])
        assert relay.observed.error is not None
        assert relay.observed.error.kind is UpstreamKind.TRUNCATED
        assert b"response.completed" not in out


@given(case=st.sampled_from(kit.CASES), cut=st.integers(1, 3000))
def test_no_cut_changes_what_passes(case: dict[str, Any], cut: int) -> None:
    data = kit.stream_bytes(case)
    one, first = relayed(data, len(data))
    two, second = relayed(data, cut)
    if first.observed.ended:
        one, two = one + first.finish(kit.BILL), two + second.finish(kit.BILL)
    assert one == two


# -- what is mended --------------------------------------------------------------------------------


def test_events_are_numbered_and_the_end_marker_is_left_out() -> None:
    out, _ = passed(kit.BY_NAME["no_numbers"])
    numbers = [json.loads(n) for n in re.findall(rb'"sequence_number":(\d+)', out)]
    assert numbers == list(range(len(kit.BY_NAME["no_numbers"]["events"]) - 1))
    assert b"[DONE]" not in out


def test_wrong_numbers_are_put_right() -> None:
    for shift in (1, -3, 100):
        events = [
            {**e, "sequence_number": e["sequence_number"] + shift} for e in kit.BY_NAME["text"]["events"]
        ]
        assert passed({"events": events})[0] == passed(kit.BY_NAME["text"])[0]


def test_an_item_keeps_the_id_it_was_announced_with() -> None:
    read = read_stream(passed(kit.BY_NAME["changing_ids"])[0], passed=True)
    assert read.response["output"][0]["id"] == "x0"


def test_content_is_counted_from_zero() -> None:
    read = read_stream(passed(kit.BY_NAME["content_from_one"])[0], passed=True)
    assert read.text == "First place."


def test_a_reply_id_of_another_form_is_replaced_everywhere() -> None:
    data = kit.stream_bytes(kit.BY_NAME["text"]).replace(b'"resp_tide"', b'"gen-123"')
    out, relay = relayed(data)
    out += relay.finish(kit.BILL)
    assert read_stream(out).response["id"] == "resp_own1"
    assert (relay.observed.reply_id, relay.observed.upstream_id) == ("resp_own1", "gen-123")
    assert b"gen-123" not in out


def test_a_missing_event_name_or_type_is_filled_in() -> None:
    unnamed, _ = passed(kit.BY_NAME["text"], named=False)
    assert unnamed == passed(kit.BY_NAME["text"])[0]
    untyped = re.sub(rb'\{"type":"response.output_text.delta",', b"{", kit.stream_bytes(kit.BY_NAME["text"]))
    out, relay = relayed(untyped)
    assert read_stream(out + relay.finish(kit.BILL)).text == "The tide turns."


def test_bare_citations_get_the_members_that_clients_read() -> None:
    data = kit.stream_bytes(kit.BY_NAME["search"]).replace(b'"start_index":0,"end_index":4,', b"")
    out, relay = relayed(data)
    read = read_stream(out + relay.finish(kit.BILL), passed=True)
    assert (read.notes[0]["start_index"], read.notes[0]["title"]) == (0, "Tides")
    body = json.dumps(kit.last_response(kit.BY_NAME["search"])).replace('"start_index": 0, ', "").encode()
    whole = read_response(DIALECT.pass_reply(body, kit.CONTEXT).finish(kit.BILL), passed=True)
    assert whole.notes[0]["start_index"] == 0


# -- the bill --------------------------------------------------------------------------------------


def test_the_bill_is_exact_and_another_cost_stays_beside_it() -> None:
    usage = b'"usage":{"input_tokens":9,"cost":0.25,"is_byok":false,'
    data = kit.stream_bytes(kit.BY_NAME["text"]).replace(b'"usage":{"input_tokens":9,', usage)
    out, relay = relayed(data)
    bill = Bill(usage=relay.observed.usage, cost_pusd=123_456_789, credits_remaining_pusd=10**13 + 1)
    out += relay.finish(bill)
    assert b'"cost":0.000123456789,"credits_remaining":10.000000000001' in out
    told = read_stream(out).usage
    assert (told["upstream_cost"], told["is_byok"]) == (0.25, False)


def test_counts_of_our_own_replace_what_was_not_told() -> None:
    bill = Bill(
        usage=Usage(input_tokens=3, output_tokens=2, provenance=Provenance.COUNTED),
        cost_pusd=0, credits_remaining_pusd=0,
    )  # fmt: skip
    _, relay = relayed(kit.stream_bytes(kit.BY_NAME["no_usage"]))
    told = json.loads(relay.finish(bill).partition(b"data: ")[2])["response"]["usage"]
    assert (told["input_tokens"], told["total_tokens"], told["estimated"]) == (3, 5, True)


def test_counts_that_cannot_be_true_are_flagged() -> None:
    data = kit.stream_bytes(kit.BY_NAME["text"]).replace(b'"input_tokens":9', b'"input_tokens":-9')
    _, relay = relayed(data)
    assert relay.observed.usage is None
    assert relay.observed.flags == ["usage_invalid"]


# -- whole replies ---------------------------------------------------------------------------------


@pytest.mark.parametrize("case", kit.params(failing=False))
def test_a_whole_reply_passes(case: dict[str, Any]) -> None:
    told = kit.last_response(case)
    reply = DIALECT.pass_reply(json.dumps(told).encode(), kit.CONTEXT)
    data = reply.finish(msgspec.structs.replace(kit.BILL, usage=reply.observed.usage))
    read = read_response(data, passed=True)
    assert {**read.response, "usage": None} == {**told, "usage": None}
    assert read.usage["cost"] == 0.0015
    if told["usage"] is not None:
        assert (
            told["usage"].items()
            <= {**read.usage, "input_tokens_details": told["usage"]["input_tokens_details"]}.items()
        )
    seen = reply.observed
    assert (seen.ended, seen.content_started, seen.reply_id) == (True, True, "resp_tide")
    assert (seen.finish, seen.usage) == (case["finish"], kit.usage_of(case["usage"]))


def test_missing_members_of_a_whole_reply_are_filled_in() -> None:
    body = b'{"id":"0c1f","output":[],"status":"completed","created_at":0}'
    reply = DIALECT.pass_reply(body, kit.CONTEXT)
    read = read_response(reply.finish(kit.BILL), passed=True)
    assert (read.response["id"], read.response["model"]) == ("resp_own1", "harbor-public")
    assert read.response["created_at"] == kit.CONTEXT.created_s
    assert (reply.observed.upstream_id, reply.observed.reply_id) == ("0c1f", "resp_own1")


def test_a_failure_of_ours_in_mid_stream() -> None:
    data = kit.stream_bytes(kit.BY_NAME["text"])
    relay = DIALECT.pass_relay(kit.CONTEXT)
    out = relay.feed(data[: data.index(b"turns.") + 60])
    out += relay.fail(Overloaded("Stopping."), "req_1")
    read = read_stream(out, passed=True)
    assert (read.status, read.response["error"]["code"]) == ("failed", "server_error")
    bare = DIALECT.pass_relay(kit.CONTEXT).fail(UpstreamError("x", kind=UpstreamKind.TIMEOUT), "r")
    assert json.loads(bare.partition(b"data: ")[2])["response"]["id"] == "resp_own1"
