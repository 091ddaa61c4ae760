"""What the tests of dialects that no client speaks share: feeding, cutting, and comparing by meaning."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from llm_router.domain.errors import UpstreamError
from llm_router.domain.model import Capabilities
from llm_router.domain.usage import Usage
from llm_router.wire import chat, events
from llm_router.wire.dialect import Behind, Bill, Dialect, ReplyContext, Target
from llm_router.wire.dialects.registry import DIALECTS
from llm_router.wire.fold import fold
from llm_router.wire.relay import BridgeRelay

FRONTS = [dialect for dialect in DIALECTS.values() if isinstance(dialect, Dialect)]
CONTEXT = ReplyContext(reply_id="chatcmpl-minted", model="public", created_s=1_700_000_000)
ALL = Capabilities(tools=True, json_object=True, json_schema=True, reasoning=True)


def target(dialect: Behind, **changes: Any) -> Target:
    able = changes.pop("capabilities", ALL)
    return Target(provider="p", model="upstream-model", dialect=dialect.name, capabilities=able, **changes)


def request(*messages: chat.Message, **members: Any) -> chat.ChatRequest:
    asked = messages or (user("Hi"),)
    return chat.ChatRequest(model="public", messages=asked, dialect="openai_chat", **members)


def user(*parts: str | chat.Part) -> chat.Message:
    return chat.Message(
        role="user", parts=tuple(chat.Text(text=p) if isinstance(p, str) else p for p in parts)
    )


def assistant(*parts: str | chat.Part) -> chat.Message:
    return msgspec.structs.replace(user(*parts), role="assistant")


def result(call_id: str, text: str, **members: Any) -> chat.Message:
    content = (chat.Text(text=text),) if text else ()
    return chat.Message(role="tool", parts=(chat.ToolResult(call_id=call_id, content=content, **members),))


def tool(name: str, schema: Any = None, **members: Any) -> chat.Tool:
    parameters = None if schema is None else chat.Raw(json.dumps(schema).encode())
    return chat.Tool(name=name, parameters=parameters, **members)


def encoded(behind: Behind, asked: chat.ChatRequest, **changes: Any) -> tuple[dict[str, Any], set[str]]:
    """The upstream body, and the fields that were lost."""
    body, losses = behind.encode_request(asked, target(behind, **changes))
    return json.loads(body), {loss.field for loss in losses}


def cuts(data: bytes, marks: Iterable[int]) -> Iterator[bytes]:
    places = sorted({mark % (len(data) + 1) for mark in marks} | {0, len(data)})
    for start, end in itertools.pairwise(places):
        yield data[start:end]


def decode(behind: Behind, pieces: Iterable[bytes]) -> list[events.Event]:
    decoder = behind.stream_decoder()
    out = [event for piece in pieces for event in decoder.feed(piece)]
    return out + decoder.close()


def merged(told: list[events.Event]) -> list[events.Event]:
    """Events with neighbouring texts of one part joined: cuts may not even change their number, but
    whole replies tell a text at once."""
    out: list[events.Event] = []
    for event in told:
        last = out[-1] if out else None
        if (
            isinstance(event, events.PartDelta)
            and isinstance(last, events.PartDelta)
            and last.part == event.part
            and event.citation is None
            and last.citation is None
        ):
            out[-1] = events.PartDelta(part=event.part, text=last.text + event.text)
        else:
            out.append(event)
    return out


def grammar(told: list[events.Event]) -> None:
    """Assert the grammar of one stream that ended."""
    assert isinstance(told[0], events.Started)
    assert isinstance(told[-1], events.Ended)
    opened: set[int] = set()
    closed: set[int] = set()
    finished = 0
    for event in told[1:-1]:
        match event:
            case events.PartOpened():
                assert event.part not in opened | closed
                assert not finished
                opened.add(event.part)
            case events.PartDelta():
                assert event.part in opened
            case events.PartClosed():
                opened.remove(event.part)
                closed.add(event.part)
            case events.Finished():
                finished += 1
            case events.UsageSeen() | events.LogProbs() | events.OpaqueSeen():
                pass
            case _:
                raise AssertionError(event)
    assert not opened
    assert finished == 1


def failure(told: list[events.Event]) -> UpstreamError:
    """The error that ends these events."""
    last = told[-1]
    assert isinstance(last, events.Failed)
    assert not any(isinstance(event, events.Ended) for event in told)
    return last.error


def essence(reply: events.Reply) -> tuple[object, ...]:
    """What no bridge may change."""
    (choice,) = reply.choices
    return (
        "".join(p.text for p in choice.parts if isinstance(p, chat.Text)),
        "".join(p.text for p in choice.parts if isinstance(p, chat.Thinking)).replace("\n", ""),
        [(p.name, _parsed(p.arguments)) for p in choice.parts if isinstance(p, chat.ToolCall)],
        choice.finish,
    )


def _parsed(arguments: str) -> object:
    try:
        return json.loads(arguments)
    except ValueError:
        return "cut"


def through(front: Dialect, behind: Behind, pieces: Iterable[bytes]) -> tuple[bytes, BridgeRelay]:
    """A stream as a client of ``front`` gets it, without its end."""
    relay = BridgeRelay(behind.stream_decoder(), front.stream_encoder(CONTEXT))
    out = b"".join([relay.feed(piece) for piece in pieces])
    return out + (b"" if relay.observed.ended else relay.close()), relay


def bill(usage: Usage | None) -> Bill:
    return Bill(usage=usage, cost_pusd=123_000_000, credits_remaining_pusd=10**12)


def heard(front: Dialect, data: bytes) -> events.Reply:
    return fold(decode(front, [data]))
