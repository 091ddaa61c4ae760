"""Events that are told again without being read are told as the thorough way tells them, and observed alike."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_router.wire.again import EVENTS_BYTES_MAX, MARK, TRIES_MAX
from llm_router.wire.dialect import Bill, Dialect, Relay, ReplyContext
from llm_router.wire.dialects.anthropic_messages import DIALECT as CLAUDE
from llm_router.wire.dialects.gemini_generate import DIALECT as GEMINI
from llm_router.wire.dialects.openai_chat import DIALECT as OPENAI
from llm_router.wire.relay import BridgeRelay

CONTEXT = ReplyContext(reply_id="chatcmpl-ours", model="our-model", created_s=1_700_000_000)

Way = tuple[Callable[[], Relay], Callable[["Spoken"], bytes]]


class Spoken(msgspec.Struct):
    """An event of a stream to be. ``text``: as it stands in the JSON, quotation marks included."""

    text: bytes
    odd: int = 0
    padding: str = ""


TEXTS = st.one_of(
    st.text(max_size=12).map(lambda text: json.dumps(text).encode()),
    st.text(st.characters(codec="utf-8"), max_size=12).map(
        lambda text: json.dumps(text, ensure_ascii=False).encode()
    ),
    st.sampled_from(
        [
            b'" token"', b'""', b'"\\ud83d"', b'"\\ude00 and"', b'"\\u00e9\\/"', b'"\xff"', b'"\xed\xa0\x80"', b'"\t"',
            b'"\\"},\\"logprobs\\":null"', b'"\\"}}\\n\\n"', b'"\\\\"', b'"\\x"', b'"a","content":"b"', b'"}', b"null",
            b'["x"]', json.dumps(MARK).encode(), b'"DONE"', b'"\\\\ud83d"',
        ]
    ),
)  # fmt: skip
EVENTS = st.builds(
    Spoken,
    text=st.just(b'" token"') | TEXTS,
    odd=st.sampled_from([0] * 12 + list(range(1, 20))),
    padding=st.sampled_from(
        ["abc", "x1", "", 'q\\"', "-", 'a","usage":{"prompt_tokens":3,"completion_tokens":4},"z":"']
    ),
)

SHELL = '{"id":"chatcmpl-1","object":"chat.completion.chunk","created":17,"model":"m",%s"choices":[%s]%s}'
CHOICE = '{"index":0,"delta":{%s},"finish_reason":null}'


def openai(event: Spoken, *, head: str = "", rest: str = "", delta: str = '"content":TEXT') -> bytes:
    """A chunk, in one of several oddities."""
    choice = CHOICE % delta
    match event.odd:
        case 1:
            return b": still there\n\n"
        case 2:
            rest = ',"usage":{"prompt_tokens":3,"completion_tokens":4}'
        case 3:
            choice = CHOICE % (delta + ',"reasoning_content":"hm"')
        case 4:
            choice = (
                CHOICE
                % '"tool_calls":[{"index":0,"id":"c1","type":"function","function":{"name":"f","arguments":"{}"}}]'
            )
        case 5:
            choice = choice.replace("null}", '"stop"}')
        case 6:
            choice = choice.replace('"index":0', '"index":1')
        case 7:
            choice = f"{choice},{choice}"
        case 8:
            choice = choice.replace(
                '"finish_reason"', '"logprobs":{"content":[{"token":"a"}]},"finish_reason"'
            )
        case 9:
            rest = ',"x_extra":7,"service_tier":"flex"'
        case 10:
            choice, rest = "", ',"citations":["https://example.org"]'
        case 11:
            choice = CHOICE % (delta + ',"refusal":null,"role":"assistant"')
        case 12:
            head = '"content":"beside",'
        case 13:
            return b'data: {"error":{"message":"no more"}}\n\n'
        case 14:
            return b'data: {"broken\n\n'
        case 15:
            return b"data: [DONE]\n\n"
        case 16:
            choice = choice.replace('"index":0', '"index":0,"message":{"content":"whole"}')
        case 17:
            choice = CHOICE % (delta + ',"reasoning_details":[{"type":"reasoning.text","text":"deep"}]')
        case 18:
            choice = CHOICE % (delta + "," + delta)
        case 19:
            choice = CHOICE % delta.replace(":", " : ")
    padding = rest.replace("PADDING", event.padding)
    return b"data: " + (SHELL % (head, choice, padding)).encode().replace(b"TEXT", event.text) + b"\n\n"


def blurred(event: Spoken) -> bytes:
    return openai(event, rest=',"obfuscation":"PADDING"')


def mended(event: Spoken) -> bytes:
    """As servers write that repeat the role, and call the model otherwise each time."""
    return openai(event, delta='"role":"assistant","content":TEXT,"tool_calls":null', head='"provider":"P",')


def carried(event: Spoken) -> bytes:
    return openai(event).replace(b"\n", b"\r\n")


CLAUDE_HEAD = (
    b'event: message_start\ndata: {"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant",'
    b'"model":"m","content":[],"stop_reason":null,"usage":{"input_tokens":3,"output_tokens":1}}}\n\n'
)


def claude(event: Spoken, form: str = "text") -> bytes:
    """A piece of a block, in one of several oddities."""
    key = {"text": "text", "thinking": "thinking", "input_json": "partial_json"}[form]
    body = f'{{"type":"content_block_delta","index":0,"delta":{{"type":"{form}_delta","{key}":TEXT}}}}'
    kind = "content_block_delta"
    match event.odd:
        case 1:
            kind, body = "ping", '{"type":"ping"}'
        case 2:
            kind, body = (
                "message_delta",
                '{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":9}}',
            )
        case 3:
            kind, body = "content_block_stop", '{"type":"content_block_stop","index":0}'
        case 4:
            kind, body = "message_stop", '{"type":"message_stop"}'
        case 5:
            kind, body = "error", '{"type":"error","error":{"type":"overloaded_error","message":"no"}}'
        case 6:
            body = body.replace('"index":0', '"index":1')
        case 7:
            body = body.replace('"index":0', '"index":0,"more":1')
        case 8:
            body = body.replace(f"{form}_delta", "text_delta" if form != "text" else "thinking_delta")
        case 9:
            kind, body = (
                kind,
                '{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"s"}}',
            )
        case 10:
            body = body.replace("content_block_delta", "message_start")
        case 11:
            return b"data: {broken\n\n"
        case 12:
            return f": still there\n\ndata: {body}\n\n".encode().replace(b"TEXT", event.text)
        case 13:
            kind, body = (
                "content_block_start",
                '{"type":"content_block_start","index":1,"content_block":{"type":"text","text":""}}',
            )
        case 14:
            body = body.replace(":TEXT", ':TEXT,"cited":{}')
        case 15:
            body = body.replace(":", ": ")
        case 16:
            kind = "other"
        case 17 | 18:
            cited = '{"type":"web_search_result_location","cited_text":"x","url":"https://e.org","title":"t"}'
            body = f'{{"type":"content_block_delta","index":0,"delta":{{"type":"citations_delta","citation":{cited}}}}}'
    return f"event: {kind}\ndata: {body}\n\n".encode().replace(b"TEXT", event.text)


def claude_starts(block: bytes) -> bytes:
    return (
        CLAUDE_HEAD
        + b'event: content_block_start\ndata: {"type":"content_block_start","index":0,"content_block":%b}\n\n'
        % block
    )


GROUNDED = (
    '"groundingMetadata":{"groundingChunks":[{"web":{"uri":"https://e.org","title":"t"}}],"groundingSupports":'
    '[{"segment":{"startIndex":10,"endIndex":15,"text":"token"},"groundingChunkIndices":[0]}]},"index"'
)


def gemini(event: Spoken, thought: str = "") -> bytes:
    """A message, in one of several oddities."""
    part = f'{{"text":TEXT{thought}}}'
    candidate = f'{{"content":{{"parts":[{part}],"role":"model"}},"index":0}}'
    meta, rest = '{"promptTokenCount":3,"candidatesTokenCount":4,"totalTokenCount":7}', ""
    match event.odd:
        case 1:
            return b": still there\r\n\r\n"
        case 2:
            meta = meta.replace("4", "5")
        case 3:
            candidate = candidate.replace('"index"', '"finishReason":"STOP","index"')
        case 4:
            candidate = candidate.replace(part, f"{part},{part}")
        case 5:
            candidate = candidate.replace('"index":0', '"index":1')
        case 6:
            candidate = f"{candidate},{candidate}"
        case 7:
            candidate = candidate.replace(part, '{"functionCall":{"name":"f","args":{}}}')
        case 8:
            candidate = candidate.replace(":TEXT", ':TEXT,"thoughtSignature":"c2ln"')
        case 9:
            candidate = candidate.replace(":TEXT", ':TEXT,"thought":true')
        case 10:
            rest = ',"promptFeedback":{}'
        case 11:
            rest = ',"text":"beside"'
        case 12:
            return b'data: {"error":{"code":503,"message":"no","status":"UNAVAILABLE"}}\r\n\r\n'
        case 13:
            candidate = candidate.replace('"index"', GROUNDED)
        case 14:
            candidate = candidate.replace(',"index":0', "")
        case 15:
            return b"data: {broken\r\n\r\n"
        case 16:
            candidate = candidate.replace(":TEXT", ':TEXT,"thought":1')
    members = f'"candidates":[{candidate}],"usageMetadata":{meta},"modelVersion":"m","responseId":"r1"{rest}'
    return f"data: {{{members}}}\r\n\r\n".encode().replace(b"TEXT", event.text)


def bridge(behind: Dialect, front: Dialect) -> Callable[[], Relay]:
    return lambda: BridgeRelay(behind.stream_decoder(), front.stream_encoder(CONTEXT))


def begun(make: Callable[[], Relay], head: bytes) -> Callable[[], Relay]:
    """The relay, when that has come."""

    def made() -> Relay:
        relay = make()
        relay.feed(head)
        return relay

    return made


TEXT, THOUGHT = b'{"type":"text","text":""}', b'{"type":"thinking","thinking":"","signature":""}'
TOOL = b'{"type":"tool_use","id":"toolu_1","name":"f","input":{}}'


def claude_way(form: str, block: bytes, front: Dialect) -> Way:
    make = (lambda: CLAUDE.pass_relay(CONTEXT)) if front is CLAUDE else bridge(CLAUDE, front)
    return begun(make, claude_starts(block)), partial(claude, form=form)


WAYS: dict[str, Way] = {
    "claude": claude_way("text", TEXT, CLAUDE),
    "claude, thinking": claude_way("thinking", THOUGHT, CLAUDE),
    "claude, calling": claude_way("input_json", TOOL, CLAUDE),
    "claude to openai": claude_way("text", TEXT, OPENAI),
    "claude to openai, thinking": claude_way("thinking", THOUGHT, OPENAI),
    "claude to openai, calling": claude_way("input_json", TOOL, OPENAI),
    "claude to gemini": claude_way("text", TEXT, GEMINI),
    "claude to gemini, thinking": claude_way("thinking", THOUGHT, GEMINI),
    "gemini to openai": (bridge(GEMINI, OPENAI), gemini),
    "gemini to openai, thinking": (bridge(GEMINI, OPENAI), partial(gemini, thought=',"thought":true')),
    "gemini to claude": (bridge(GEMINI, CLAUDE), gemini),
    "gemini to gemini": (bridge(GEMINI, GEMINI), gemini),
    "openai to claude": (bridge(OPENAI, CLAUDE), openai),
    "openai, padded, to claude": (bridge(OPENAI, CLAUDE), blurred),
    "openai to gemini": (bridge(OPENAI, GEMINI), openai),
    "openai, mended, to openai": (bridge(OPENAI, OPENAI), mended),
    "openai": (lambda: OPENAI.pass_relay(CONTEXT), openai),
    "openai, padded": (lambda: OPENAI.pass_relay(CONTEXT), blurred),
    "openai, mended": (lambda: OPENAI.pass_relay(CONTEXT), mended),
    "openai, CRLF": (lambda: OPENAI.pass_relay(CONTEXT), carried),
}


def told_again(relay: Relay, data: bytes) -> bytes:
    return b"" if relay.again is None else relay.again.tell(data)


def thorough(relay: Relay) -> Relay:
    """The same relay, but it recognises nothing."""
    relay._tries = TRIES_MAX  # type: ignore[attr-defined]
    return relay


def said(relay: Relay, pieces: Iterable[bytes]) -> list[Any]:
    """All that a relay gives and observes, piece by piece, to its end."""
    out: list[Any] = []
    for piece in pieces:
        out.append((relay.feed(piece), seen_of(relay)))
        if relay.observed.ended or relay.observed.error:
            break
    else:
        out.append((relay.close(), seen_of(relay)))
    error = relay.observed.error
    if error is not None:
        return [*out, relay.fail(error, "gen-1")]
    return [*out, relay.finish(Bill(usage=relay.observed.usage, cost_pusd=1, credits_remaining_pusd=2))]


def seen_of(relay: Relay) -> Any:
    seen = msgspec.structs.asdict(relay.observed)
    return seen | {"error": str(seen["error"]), "flags": [*seen["flags"]], "losses": [*seen["losses"]]}


@st.composite
def streams(draw: st.DrawFn, write: Callable[[Spoken], bytes]) -> list[bytes]:
    """The pieces of a stream: mostly one event each, else several, or cut anywhere."""
    events = [write(event) for event in draw(st.lists(EVENTS, max_size=14))]
    joints = draw(st.lists(st.sampled_from(["", "", "", "join", "cut"]), min_size=14, max_size=14))
    pieces = [write(Spoken(b'"Once"')), write(Spoken(b'" upon"'))]
    for event, joint in zip(events, joints, strict=False):
        if joint == "join":
            pieces[-1] += event
        elif joint == "cut":
            at = draw(st.integers(0, len(event)))
            pieces += [event[:at], event[at:]]
        else:
            pieces.append(event)
    return [piece for piece in pieces if piece]


@pytest.mark.parametrize("name", WAYS)
@settings(max_examples=300)
@given(data=st.data())
def test_told_again_is_told_the_same(name: str, data: st.DataObject) -> None:
    make, write = WAYS[name]
    pieces = data.draw(streams(write))
    assert said(make(), pieces) == said(thorough(make()), pieces)


@pytest.mark.parametrize("name", WAYS)
def test_usual_events_are_not_read_again(name: str) -> None:
    make, write = WAYS[name]
    relay, other = make(), thorough(make())
    for piece in (write(Spoken(b'"Once"')), write(Spoken(b'" upon"'))):
        assert relay.feed(piece) == other.feed(piece)
    texts = [b'" a"', b'" time"', b'"\xe6\x97\xa5"', b'"\\n\\"\\ud83d\\ude00"']
    for padding, text in enumerate(texts):
        event = write(Spoken(text, padding="p" * padding))
        assert told_again(relay, event) == other.feed(event) != b""
        assert seen_of(relay) == seen_of(other)
    several = b"".join(write(Spoken(text)) for text in texts)
    assert told_again(relay, several) == other.feed(several) != b""
    assert seen_of(relay) == seen_of(other)


@pytest.mark.parametrize("name", WAYS)
def test_what_is_not_the_same_is_left_alone(name: str) -> None:
    make, write = WAYS[name]
    relay = make()
    assert told_again(relay, write(Spoken(b'"Once"'))) == b""
    for piece in (write(Spoken(b'"Once"')), write(Spoken(b'" upon"'))):
        relay.feed(piece)
    before = seen_of(relay)
    usual = write(Spoken(b'" a"'))
    for other in (
        usual[:-1],
        usual + b"d",
        usual + write(Spoken(b'""')),
        write(Spoken(b'"%b"' % (b"a" * EVENTS_BYTES_MAX))),
    ):
        assert told_again(relay, other) == b""
        assert seen_of(relay) == before
    assert told_again(relay, usual) != b""


def test_a_stream_whose_events_all_differ_is_not_looked_at_for_ever() -> None:
    relay = OPENAI.pass_relay(CONTEXT)
    for number in range(3 * TRIES_MAX):
        relay.feed(openai(Spoken(b'"a"'), rest=f',"at":{number}'))
    assert relay.again is None
    assert told_again(relay, openai(Spoken(b'"a"'), rest=f',"at":{number}')) == b""
