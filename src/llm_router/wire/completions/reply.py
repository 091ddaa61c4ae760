"""Replies of chat models as ``text_completion`` objects."""

from __future__ import annotations

from typing import Any

import msgspec

from llm_router.domain.errors import RouterError
from llm_router.wire.chat import Media, Opaque, Raw, Refusal, Text, Thinking, ToolCall
from llm_router.wire.dialect import Bill, ReplyContext
from llm_router.wire.dialects.openai_chat import DIALECT as CHAT
from llm_router.wire.dialects.openai_chat.usage import usage_object
from llm_router.wire.events import (
    Choice,
    Event,
    Finish,
    Finished,
    LogProbs,
    OpaqueSeen,
    PartDelta,
    PartOpened,
    Reply,
    Started,
)
from llm_router.wire.lenient import mapping
from llm_router.wire.loss import Loss, Losses
from llm_router.wire.verbatim import value

DONE = b"data: [DONE]\n\n"
_TEXTS = ("text", "refusal")


def _head(id_: str, created_s: int, model: str, context: ReplyContext) -> dict[str, Any]:
    return {
        "id": id_ if id_.startswith("cmpl-") else context.reply_id,
        "object": "text_completion",
        "created": created_s or context.created_s,
        "model": model or context.model,
    }


def _prompt(context: ReplyContext) -> str:
    """The prompt, where the client wants it before the text."""
    prompt = value(context.echo.get("prompt"))
    if isinstance(prompt, list):
        prompt = prompt[0]
    return prompt if isinstance(prompt, str) else ""


def _word(finish: Finish) -> str:
    return "stop" if finish is Finish.TOOL_CALLS else finish.value


def _lose(form: str, losses: Losses) -> None:
    losses.add(
        {"thinking": "reasoning", "tool_call": "tool_calls"}.get(form, form), "a completion is text alone"
    )


def encode_reply(reply: Reply, context: ReplyContext, bill: Bill) -> tuple[bytes, tuple[Loss, ...]]:
    """A whole reply, and what of it is not text."""
    losses = Losses()
    for seen in reply.opaque:
        losses.add(seen.name, "a completion is text alone")
    body = {
        **_head(reply.id, reply.created_s, reply.model, context),
        "choices": [_choice(choice, context, losses) for choice in reply.choices],
        "usage": usage_object(bill),
    }
    return msgspec.json.encode(body), tuple(losses.found)


def _choice(choice: Choice, context: ReplyContext, losses: Losses) -> dict[str, Any]:
    before, text = _prompt(context), ""
    for part in choice.parts:
        match part:
            case Text() | Refusal():
                text += part.text
            case Thinking():
                _lose("thinking", losses)
            case ToolCall():
                _lose("tool_call", losses)
            case Media():
                _lose(part.form, losses)
            case Opaque():
                _lose(part.name, losses)
    logprobs = None if choice.logprobs is None else completion_logprobs(choice.logprobs, len(before))
    return _member(choice.index, before + text, logprobs, choice.finish, choice.native_finish)


def _member(
    index: int, text: str, logprobs: object, finish: Finish | None, native: str | None
) -> dict[str, Any]:
    word = None if finish is None else _word(finish)
    member = {"text": text, "index": index, "logprobs": logprobs, "finish_reason": word}
    if native is not None and native != word:
        member["native_finish_reason"] = native
    return member


def completion_logprobs(content: Raw, offset: int) -> dict[str, Any]:
    """Log probabilities of chat in the four lists of completions; ``offset`` of the first token's text."""
    listed = value(content)
    items = [mapping(item) for item in listed] if isinstance(listed, list) else []
    offsets = []
    for item in items:
        offsets.append(offset)
        offset += len(str(item.get("token", "")))
    return {
        "tokens": [item.get("token", "") for item in items],
        "token_logprobs": [item.get("logprob") for item in items],
        "top_logprobs": [
            {
                str(top["token"]): top.get("logprob")
                for top in map(mapping, item.get("top_logprobs") or ())
                if "token" in top
            }
            for item in items
        ],
        "text_offset": offsets,
    }


class CompletionStreamEncoder:
    """See :class:`wire.dialect.StreamEncoder`."""

    def __init__(self, context: ReplyContext) -> None:
        self._context = context
        self._head: dict[str, Any] | None = None
        self._forms: dict[tuple[int, int], str] = {}
        self._begun: dict[int, int] = {}  # choice -> characters of its text that have their log probabilities
        self._lost = Losses()
        self.losses: list[Loss] = self._lost.found

    def encode(self, event: Event) -> bytes:
        match event:
            case Started():
                self._head = _head(event.id, event.created_s, event.model, self._context)
            case PartOpened():
                self._forms[event.choice, event.part] = event.form
                if event.form not in _TEXTS:
                    _lose(event.name if event.form == "opaque" else event.form, self._lost)
            case PartDelta() if event.text and self._forms.get((event.choice, event.part)) in _TEXTS:
                return self._echo(event.choice) + self._chunk(
                    _member(event.choice, event.text, None, None, None)
                )
            case LogProbs():
                return self._logprobs(event)
            case Finished():
                member = _member(event.choice, "", None, event.reason, event.native)
                return self._echo(event.choice) + self._chunk(member)
            case OpaqueSeen():
                self._lost.add(event.name, "a completion is text alone")
        return b""

    def finish(self, bill: Bill) -> bytes:
        if not self._context.usage_chunk:
            return DONE
        body = {**self._members(), "choices": [], "usage": usage_object(bill)}
        return b"data: " + msgspec.json.encode(body) + b"\n\n" + DONE

    def fail(self, error: RouterError, request_id: str) -> bytes:
        failure = msgspec.json.decode(CHAT.encode_error(error, request_id), type=dict[str, Raw])
        return b"data: " + msgspec.json.encode({**self._members(), "choices": [], **failure}) + b"\n\n"

    def _members(self) -> dict[str, Any]:
        if self._head is None:
            self._head = _head("", 0, "", self._context)
        return self._head

    def _chunk(self, member: dict[str, Any]) -> bytes:
        return b"data: " + msgspec.json.encode({**self._members(), "choices": [member]}) + b"\n\n"

    def _echo(self, choice: int) -> bytes:
        """The prompt before the first text of a choice, where it is wanted."""
        if choice in self._begun:
            return b""
        prompt = _prompt(self._context)
        self._begun[choice] = len(prompt)
        return self._chunk(_member(choice, prompt, None, None, None)) if prompt else b""

    def _logprobs(self, event: LogProbs) -> bytes:
        out = self._echo(event.choice)
        lists = completion_logprobs(event.content, self._begun[event.choice])
        self._begun[event.choice] += sum(len(str(token)) for token in lists["tokens"])
        return out + self._chunk(_member(event.choice, "", lists, None, None))
