"""The laws of every bridge: each dialect behind, each in front, at any cut of the bytes.

A new dialect is covered by its row in the registry; there is nothing to add here.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_router.domain.errors import UpstreamError
from llm_router.domain.usage import Usage
from llm_router.sandbox.app import FORMS
from llm_router.sandbox.native import Codec
from llm_router.wire import chat, events
from llm_router.wire.dialect import Behind, Bill, Dialect, ReplyContext
from llm_router.wire.dialects.registry import DIALECTS
from llm_router.wire.fold import fold, unfold
from llm_router.wire.relay import BridgeRelay

FRONTS = [d for d in DIALECTS.values() if isinstance(d, Dialect)]
SPEAKERS: dict[str, Dialect | Codec] = {front.name: front for front in FRONTS} | {
    form.dialect.name: form.dialect for form in FORMS.values() if isinstance(form.dialect, Codec)
}
"""Who speaks as a provider of each dialect does; of those that clients do not speak, the sandbox."""

PAIRS = list(itertools.product(FRONTS, DIALECTS.values()))
IDS = [f"{front.name}<-{behind.name}" for front, behind in PAIRS]
CONTEXT = ReplyContext(reply_id="chatcmpl-law", model="m", created_s=1_700_000_000)
BILL = Bill(
    usage=Usage(input_tokens=7, output_tokens=5), cost_pusd=123_000_000, credits_remaining_pusd=10**12
)

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)
names = st.from_regex(r"[a-z][a-z_]{0,12}", fullmatch=True)
arguments = st.dictionaries(
    st.sampled_from(["city", "n", "é"]), texts | st.integers(-(2**31), 2**31), max_size=3
)


@st.composite
def replies(draw: st.DrawFn) -> events.Reply:
    """A reply as any model may give it: perhaps reasoning, perhaps text, perhaps calls."""
    parts: list[chat.Part] = []
    if draw(st.booleans()):
        parts.append(chat.Thinking(text=draw(texts)))
    if draw(st.booleans()):
        parts.append(chat.Text(text=draw(texts)))
    calls = draw(st.lists(st.tuples(names, arguments), max_size=3))
    for number, (name, values) in enumerate(calls):
        parts.append(chat.ToolCall(id=f"call_{number}abc", name=name, arguments=json.dumps(values)))
    if not parts:
        parts.append(chat.Text(text=draw(texts)))
    finish = (
        events.Finish.TOOL_CALLS
        if calls
        else draw(st.sampled_from([events.Finish.STOP, events.Finish.LENGTH]))
    )
    return events.Reply(
        id="upstream-1",
        model="m",
        created_s=1_700_000_000,
        choices=(events.Choice(parts=tuple(parts), finish=finish),),
        usage=Usage(input_tokens=7, output_tokens=5),
    )


def essence(reply: events.Reply) -> tuple[object, ...]:
    """What no bridge may change."""
    assert len(reply.choices) == 1
    parts = reply.choices[0].parts
    return (
        "".join(p.text for p in parts if isinstance(p, chat.Text)),
        "".join(p.text for p in parts if isinstance(p, chat.Thinking)),
        [(p.name, json.loads(p.arguments)) for p in parts if isinstance(p, chat.ToolCall)],
        reply.choices[0].finish,
    )


def spoken(dialect: Behind, reply: events.Reply) -> bytes:
    """The reply as a provider of that dialect streams it."""
    encoder = SPEAKERS[dialect.name].stream_encoder(CONTEXT)
    body = b"".join(encoder.encode(event) for event in unfold(reply) if not isinstance(event, events.Ended))
    return body + encoder.finish(BILL)


def pieces(data: bytes, marks: list[int]) -> Iterator[bytes]:
    places = sorted({mark % (len(data) + 1) for mark in marks} | {0, len(data)})
    for start, end in itertools.pairwise(places):
        yield data[start:end]


def heard(dialect: Behind, data: bytes) -> events.Reply:
    decoder = dialect.stream_decoder()
    return fold([*decoder.feed(data), *decoder.close()])


def carried(front: Dialect, behind: Behind, data: bytes, marks: list[int]) -> tuple[bytes, BridgeRelay]:
    relay = BridgeRelay(behind.stream_decoder(), front.stream_encoder(CONTEXT))
    out = b"".join(relay.feed(piece) for piece in pieces(data, marks))
    out += relay.close() if not relay.observed.ended else b""
    return out, relay


@pytest.mark.parametrize(("front", "behind"), PAIRS, ids=IDS)
@settings(max_examples=40)
@given(reply=replies(), marks=st.lists(st.integers(0, 5000), max_size=12))
def test_a_bridge_keeps_what_was_said(
    front: Dialect, behind: Behind, reply: events.Reply, marks: list[int]
) -> None:
    out, relay = carried(front, behind, spoken(behind, reply), marks)
    assert relay.observed.error is None
    assert relay.observed.ended
    got = heard(front, out + relay.finish(BILL))
    assert essence(got) == essence(reply)
    assert got.usage is not None
    assert (got.usage.prompt_tokens, got.usage.completion_tokens) == (7, 5)


@pytest.mark.parametrize(("front", "behind"), PAIRS, ids=IDS)
@settings(max_examples=15)
@given(reply=replies(), marks=st.lists(st.integers(0, 5000), max_size=12))
def test_no_cut_changes_a_byte(front: Dialect, behind: Behind, reply: events.Reply, marks: list[int]) -> None:
    data = spoken(behind, reply)
    whole, one = carried(front, behind, data, [])
    cut, other = carried(front, behind, data, marks)
    assert whole + one.finish(BILL) == cut + other.finish(BILL)


@pytest.mark.parametrize(("front", "behind"), PAIRS, ids=IDS)
@settings(max_examples=25)
@given(reply=replies(), share=st.floats(0, 1, exclude_max=True))
def test_a_truncated_stream_never_looks_finished(
    front: Dialect, behind: Behind, reply: events.Reply, share: float
) -> None:
    data = spoken(behind, reply)
    cut = data[: int(len(data) * share)]
    out, relay = carried(front, behind, cut, [])
    if relay.observed.ended:  # only its last marker was cut off: then nothing of the answer may be missing
        assert essence(heard(front, out + relay.finish(BILL))) == essence(reply)
        return
    assert relay.observed.error is not None
    out += relay.fail(relay.observed.error, "gen-1")
    with pytest.raises(UpstreamError):
        heard(front, out)


@pytest.mark.parametrize(("front", "behind"), PAIRS, ids=IDS)
@settings(max_examples=15)
@given(reply=replies())
def test_whole_and_streamed_say_the_same(front: Dialect, behind: Behind, reply: events.Reply) -> None:
    body, _ = SPEAKERS[behind.name].encode_reply(reply, CONTEXT, BILL)
    whole = behind.decode_reply(body)
    assert essence(whole) == essence(heard(behind, spoken(behind, reply)))
    again, _ = front.encode_reply(whole, CONTEXT, BILL)
    assert essence(front.decode_reply(again)) == essence(reply)
