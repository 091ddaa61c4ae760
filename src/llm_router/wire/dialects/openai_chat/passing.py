"""The same dialect on both sides: what is right passes as it came, what is wrong is mended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llm_router.domain.errors import RouterError
from llm_router.wire import events
from llm_router.wire.again import TRIES_MAX, Again
from llm_router.wire.dialect import Bill, Observed, PassedReply, ReplyContext, StreamEncoder
from llm_router.wire.dialects.openai_chat.alike import passed_again
from llm_router.wire.dialects.openai_chat.body import MendedBody, mend_body
from llm_router.wire.dialects.openai_chat.chunks import Chunk, ChunkMender
from llm_router.wire.dialects.openai_chat.errors import malformed
from llm_router.wire.dialects.openai_chat.legacy import ONE_CALL, legacy_message
from llm_router.wire.dialects.openai_chat.mend import has_substance
from llm_router.wire.dialects.openai_chat.quick import quick_reply
from llm_router.wire.dialects.openai_chat.usage import passed_usage
from llm_router.wire.loss import Loss
from llm_router.wire.openaierrors import error_members
from llm_router.wire.relay import PREAMBLE_BYTES_MAX, caught_up
from llm_router.wire.verbatim import encode

DONE = b"data: [DONE]\n\n"


class PassRelay:
    """A stream in this dialect, relayed in this dialect. See :class:`wire.dialect.Relay`."""

    def __init__(self, context: ReplyContext) -> None:
        self._context = context
        self._mender = ChunkMender(
            reply_id=context.reply_id, model=context.model, created_s=context.created_s
        )
        self._held = bytearray()
        self.again: Again | None = None
        self._tries = 0
        self.observed = Observed()

    def feed(self, data: bytes) -> bytes:
        again = self.again
        return (b"" if again is None else again.tell(data)) or self._thorough(data)

    def _thorough(self, data: bytes) -> bytes:
        mender, again = self._mender, self.again
        mender.output_chars = self.observed.output_chars
        if again is not None:
            self._tries = 0 if again.used else self._tries
            self.again = None
        chunks = mender.feed(data)
        out = self._take(chunks)
        if out and len(chunks) == 1 and self._tries < TRIES_MAX and mender.whole:
            self._tries += 1
            if not self._context.legacy_functions:
                self.again = passed_again(data, chunks[0], mender, self.observed)
        return out

    def close(self) -> bytes:
        self._mender.output_chars = self.observed.output_chars
        return self._take(self._mender.close())

    def finish(self, bill: Bill) -> bytes:
        mender = self._mender
        out = bytes(self._held)
        self._held.clear()
        if self._context.usage_chunk:
            usage = passed_usage(mender.usage, mender.reading, bill)
            out += Chunk(
                {**mender.head.members(), **mender.head.extras, "choices": [], "usage": usage}, None
            ).frame()
        return out + DONE

    def fail(self, error: RouterError, request_id: str) -> bytes:
        held = bytes(self._held)
        self._held.clear()
        rest = b"".join(chunk.frame() for chunk in self._shaped(self._mender.release()))
        return held + rest + error_frame(self._mender.head.members(), error, request_id)

    def handover(self, encoder: StreamEncoder, told: Sequence[events.Event]) -> StreamEncoder:
        return caught_up(encoder, told)

    def _take(self, chunks: list[Chunk]) -> bytes:
        seen, mender = self.observed, self._mender
        out = b"".join([chunk.frame() for chunk in self._shaped(chunks)])
        self._observe(chunks)
        if mender.error is not None:
            seen.error = mender.error
        elif mender.done:
            seen.ended = True
        if seen.content_started or seen.ended:
            if self._held:
                out = bytes(self._held) + out
                self._held.clear()
            return out
        self._held += out
        if len(self._held) > PREAMBLE_BYTES_MAX and seen.error is None:
            seen.error = malformed("no content, only preamble")
        return b""

    def _shaped(self, chunks: list[Chunk]) -> list[Chunk]:
        if not self._context.legacy_functions:
            return chunks
        return [_legacy_chunk(chunk, self.observed.losses) for chunk in chunks]

    def _observe(self, chunks: list[Chunk]) -> None:
        seen, mender = self.observed, self._mender
        if not seen.content_started:
            seen.content_started = mender.output_chars + mender.reasoning_chars > 0 or any(
                has_substance(choice["delta"]) for chunk in chunks for choice in chunk.body["choices"]
            )
        seen.output_chars, seen.reasoning_chars = mender.output_chars, mender.reasoning_chars
        seen.usage = mender.reading.usage
        if mender.flags:
            seen.flags[:] = mender.flags
        if mender.head.id is not None:
            seen.reply_id = mender.head.id
        seen.upstream_id, seen.upstream_model = (
            mender.head.upstream_id or None,
            mender.head.upstream_model or None,
        )
        if mender.done and seen.finish is None:
            seen.finish, seen.native_finish = mender.first_finish()


def _legacy_chunk(chunk: Chunk, losses: list[Loss]) -> Chunk:
    """Tool calls as the function_call of the legacy style, which knows one call a choice."""
    choices = chunk.body["choices"]
    if not any("tool_calls" in c["delta"] or c["finish_reason"] == "tool_calls" for c in choices):
        return chunk
    return Chunk({**chunk.body, "choices": [_legacy_choice(choice, losses) for choice in choices]}, None)


def _legacy_choice(choice: dict[str, Any], losses: list[Loss]) -> dict[str, Any]:
    delta = {name: value for name, value in choice["delta"].items() if name != "tool_calls"}
    for call in choice["delta"].get("tool_calls", ()):
        if call["index"] == 0 and "function" in call:
            delta["function_call"] = call["function"]
        elif ONE_CALL not in losses:
            losses.append(ONE_CALL)
    finish = choice["finish_reason"]
    return {**choice, "delta": delta, "finish_reason": "function_call" if finish == "tool_calls" else finish}


class PassedBody:
    """A whole reply in this dialect, awaiting its bill."""

    def __init__(self, mended: MendedBody, observed: Observed) -> None:
        self._mended = mended
        self.observed = observed

    def finish(self, bill: Bill) -> bytes:
        mended = self._mended
        usage = passed_usage(mended.raw_usage, mended.reading, bill)
        return encode({**mended.members, "choices": mended.choices, "usage": usage})


def pass_reply(body: bytes, context: ReplyContext) -> PassedReply:
    """A whole reply, mended.

    Raises:
        UpstreamError: it is an error in place of a reply, or no reply at all.
    """
    quick = None if context.legacy_functions else quick_reply(body)
    if quick is not None:
        return quick
    mended = mend_body(body, reply_id=context.reply_id, model=context.model, created_s=context.created_s)
    losses: list[Loss] = []
    if context.legacy_functions:
        for choice in mended.choices:
            choice["finish_reason"] = legacy_message(choice["message"], choice["finish_reason"], losses)
    first = mended.choices[0] if mended.choices else {}
    return PassedBody(
        mended,
        Observed(
            content_started=True,
            ended=True,
            usage=mended.reading.usage,
            finish=first.get("finish_reason"),
            native_finish=mended.native_finish,
            output_chars=mended.output_chars,
            reasoning_chars=mended.reasoning_chars,
            upstream_id=mended.upstream_id or None,
            upstream_model=mended.upstream_model or None,
            reply_id=mended.members["id"],
            flags=list(mended.flags),
            losses=losses,
        ),
    )


def error_frame(head: dict[str, Any], error: RouterError, request_id: str) -> bytes:
    """An error in mid-stream: a chunk with an ``error`` member, after which there is no end marker.

    OpenAI's clients raise on it (openai-python, ``_streaming.py``).
    """
    return Chunk({**head, "choices": [], "error": error_members(error, request_id)}, None).frame()
