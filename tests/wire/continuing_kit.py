"""An answer whose stream is cut, and a scripted model that goes on with it: both sides of the seam on one bench."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from llm_router.domain.errors import UpstreamError
from llm_router.domain.usage import Usage
from llm_router.wire import chat, events
from llm_router.wire.chat import ChatRequest, Message, ResponseFormat, Text
from llm_router.wire.continuing.anchor import anchor
from llm_router.wire.continuing.asking import Asked, asked
from llm_router.wire.continuing.relay import ContinuedRelay
from llm_router.wire.continuing.told import Told, Transcript
from llm_router.wire.dialect import Bill, Relay, ReplyContext, Target
from llm_router.wire.dialects.registry import DIALECTS
from llm_router.wire.fold import fold, unfold
from llm_router.wire.relay import BridgeRelay
from llm_router.wire.toolsback import ToolsBack

FRONTS = ("openai_chat", "anthropic_messages", "gemini_generate", "openai_responses")
BILL = Bill(usage=Usage(input_tokens=1, output_tokens=1), cost_pusd=1, credits_remaining_pusd=1)

Script = Callable[[str, str, str], str]
"""What a model says, of (all that was told, the last words it was given, the rest)."""

SCRIPTS: dict[str, Script] = {
    "repeats the last words": lambda told, last, rest: last + rest,
    "begins anew": lambda told, last, rest: told + rest,
    "apologises": lambda told, last, rest: "Sure, here is the rest:\n\n" + last + rest,
}


def context(front: str) -> ReplyContext:
    prefix = DIALECTS[front].reply_id_prefix
    return ReplyContext(reply_id=prefix + "0123456789abcdef", model="m", created_s=1)


def pieces_of(events_: Iterable[events.Event], chars: int = 5) -> list[events.Event]:
    """The events with their texts in small pieces."""
    out: list[events.Event] = []
    for event in events_:
        if isinstance(event, events.PartDelta) and len(event.text) > chars:
            cuts = range(0, len(event.text), chars)
            out += [msgspec.structs.replace(event, text=event.text[at : at + chars]) for at in cuts]
        else:
            out.append(event)
    return out


def stream_of(behind: str, reply: events.Reply, chars: int = 5) -> list[bytes]:
    """The pieces of a stream in which a provider of the dialect gives the reply."""
    encoder = DIALECTS[behind].stream_encoder(context(behind))
    out = [encoder.encode(event) for event in pieces_of(unfold(reply), chars)]
    return [piece for piece in (*out, encoder.finish(BILL)) if piece]


def reply_of(*parts: chat.Part, finish: events.Finish = events.Finish.STOP) -> events.Reply:
    return events.Reply(
        id="r1",
        model="up",
        created_s=1,
        choices=(events.Choice(parts=parts, finish=finish),),
        usage=BILL.usage,
    )


def read(front: str, data: bytes) -> events.Reply:
    """What a client makes of a stream; raises what the stream fails with."""
    decoder = DIALECTS[front].stream_decoder()
    found = [*decoder.feed(data), *decoder.close()]
    assert isinstance(found[-1], events.Ended | events.Failed), "the stream has no end"
    return fold(found)


def relay_of(front: str, behind: str) -> Relay:
    if front == behind:
        return DIALECTS[front].pass_relay(context(front))
    decoder, encoder = DIALECTS[behind].stream_decoder(), DIALECTS[front].stream_encoder(context(front))
    return BridgeRelay(decoder, encoder, ToolsBack({}))


def visible(reply: events.Reply) -> tuple[str, list[tuple[str, Any]], str]:
    """Its text, its calls and how it ended."""
    choice = reply.choices[0]
    text = "".join(part.text for part in choice.parts if isinstance(part, chat.Text))
    calls = [
        (part.name, json.loads(part.arguments or "{}"))
        for part in choice.parts
        if isinstance(part, chat.ToolCall)
    ]
    return text, calls, choice.finish.value


class Bench:
    """A stream that was cut behind some bytes.

    Attributes:
        sent: what the client has; told: the same as parts.
        going: the relay of the continuation.
    """

    def __init__(self, front: str, behind: str, data: bytes) -> None:
        self.front = front
        relay, transcript = relay_of(front, behind), Transcript(DIALECTS[behind].stream_decoder)
        transcript.hear(data)
        self.sent = relay.feed(data)
        self.seen = relay.observed
        if not (self.seen.ended or self.seen.error):
            self.sent += relay.close()
        told, shown = transcript.told(ToolsBack({}))
        self.told: Told = told
        if self.seen.reply_id is not None:
            shown = [
                msgspec.structs.replace(event, id=self.seen.reply_id)
                if isinstance(event, events.Started)
                else event
                for event in shown
            ]
        encoder = relay.handover(DIALECTS[front].stream_encoder(context(front)), shown)
        self.going = ContinuedRelay(told, encoder, self.seen.reply_id)

    def ask(self, *, json_mode: bool = False, prefill: bool = False) -> Asked:
        format_ = ResponseFormat(mode="json_object") if json_mode else None
        request = ChatRequest(
            model="m", messages=(Message(role="user", parts=(Text(text="hi"),)),), dialect=self.front,
            response_format=format_,
        )  # fmt: skip
        target = Target(provider="mistral", model="up", dialect="openai_chat")
        found = asked(self.told, request, target, limit=None, prefill=prefill)
        self.going.begin(found)
        return found

    def go_on(self, behind: str, reply: events.Reply, *, chars: int = 3) -> bytes:
        """Feed the continuation; return all that the client got.

        Raises:
            UpstreamError: it failed.
        """
        self.going.read(DIALECTS[behind].stream_decoder(), ToolsBack({}, mark="c"))
        out = b""
        for piece in stream_of(behind, reply, chars):
            out += self.going.feed(piece)
        if not self.going.observed.ended:
            out += self.going.close()
        if self.going.observed.error is not None:
            raise self.going.observed.error
        return self.sent + out + self.going.finish(BILL)


def scripted(bench: Bench, found: Asked, whole: events.Reply, script: Script) -> events.Reply:
    """What the scripted model answers when it is asked to go on so that the whole becomes ``whole``."""
    text, calls, finish = visible(whole)
    told = bench.told.text
    left = [call for call in whole.choices[0].parts if isinstance(call, chat.ToolCall)]
    done = [part for part in bench.told.calls if part.whole]
    left = left[len(done) :]
    if found.way == "call":
        return reply_of(*left, finish=events.Finish.TOOL_CALLS)
    rest = text[len(told) :]
    said = rest if found.way in ("prefill", "again") else script(told, anchor(told), rest)
    if found.anew:
        said = text
    parts = (*((chat.Text(text=said),) if said else ()), *left)
    return reply_of(*parts, finish=events.Finish(finish) if not calls or left else events.Finish.STOP)


__all__ = ["BILL", "FRONTS", "SCRIPTS", "Bench", "UpstreamError"]
