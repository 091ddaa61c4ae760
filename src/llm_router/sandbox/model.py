"""The simulated model: a pure function from a chat request to a reply.

The same request gives the same answer, streamed or not, in every dialect that can say it.
"""

from __future__ import annotations

import hashlib

import msgspec

from llm_router.sandbox import tokens
from llm_router.sandbox.answer import json_answer, text_answer, wants_json
from llm_router.sandbox.prompt import Prompt
from llm_router.sandbox.reasoning import Thoughts, think
from llm_router.sandbox.signature import mint, signs_calls
from llm_router.sandbox.tooling import Call, decide_calls, is_forced
from llm_router.wire import chat
from llm_router.wire.events import Choice, Finish, Reply

CHOICES_MAX = 128
"""As many as OpenAI's API gives."""

TOP_LOGPROBS_MAX = 20

CALL_OVERHEAD_TOKENS = 4
"""What a tool call costs beside its name and arguments."""

_SIGNED = ("anthropic_messages", "bedrock_converse")
"""Dialects of providers that sign their reasoning, and say a word before they call tools."""

_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """A reply without its usage, and the output it took in tokens."""

    reply: Reply
    output_tokens: int
    reasoning_tokens: int


def simulate(prompt: Prompt, *, empty: bool = False) -> Answer:
    """Answer a request; ``empty``: with nothing, which providers do at times."""
    count = max(1, min(prompt.request.n, CHOICES_MAX))
    drafts = [_Draft(prompt, index, empty) for index in range(count)]
    choices = tuple(draft.choice() for draft in drafts)
    return Answer(
        reply=Reply(model=prompt.request.model, choices=choices),
        output_tokens=sum(draft.output_tokens for draft in drafts),
        reasoning_tokens=sum(draft.reasoning_tokens for draft in drafts),
    )


class _Draft:
    """One choice under construction; ``_left`` is what the token limit still allows."""

    def __init__(self, prompt: Prompt, index: int, empty: bool) -> None:
        self._prompt = prompt
        self._empty = empty
        self._request = prompt.request
        self._index = index
        self._left = prompt.request.max_tokens
        self._parts: list[chat.Part] = []
        self._finish = Finish.STOP
        self._stop_sequence: str | None = None
        self._said = ""
        self.output_tokens = 0
        self.reasoning_tokens = 0

    def choice(self) -> Choice:
        if self._prompt.directives.refuse:
            return self._refusal()
        if not self._empty:
            self._fill()
        return Choice(
            index=self._index,
            parts=tuple(self._parts),
            finish=self._finish,
            stop_sequence=self._stop_sequence,
            logprobs=self._logprobs(),
        )

    def _fill(self) -> None:
        thoughts = think(self._prompt)
        if thoughts is not None and not self._think(thoughts):
            return
        calls, resumed = decide_calls(self._prompt), self._prompt.resumption
        if not calls:
            self._say(self._text(), signed=thoughts is not None)
            return
        self._announce(calls[0])
        calls = calls if resumed is None else calls[resumed.calls :]
        if not calls:
            self._say("done.", signed=False)
        elif self._finish is Finish.STOP and self._stop_sequence is None:
            self._call(calls, signed=thoughts is not None or signs_calls(self._request.model))

    def _announce(self, call: Call) -> None:
        """The word before calls, of those who say one; or the rest of it."""
        text, resumed = f"[simulated {self._prompt.name}] I will call {call.name}.", self._prompt.resumption
        if is_forced(self._prompt):
            return
        if resumed is not None and resumed.begun and resumed.repeated:
            self._say(resumed.said(text), signed=False)
        elif resumed is None and self._request.dialect in _SIGNED:
            self._say(text, signed=False)

    def _text(self) -> str:
        text = self._whole_text()
        return text if self._prompt.resumption is None else self._prompt.resumption.said(text)

    def _whole_text(self) -> str:
        if wants_json(self._prompt):
            return json_answer(self._prompt)
        return text_answer(self._prompt, self._index)

    def _think(self, thoughts: Thoughts) -> bool:
        """Reason; False if the token limit ended it."""
        text = self._afford(thoughts.text)
        self.reasoning_tokens += tokens.count(text)
        dialect = self._request.dialect
        if dialect in _SIGNED:
            shown = text if thoughts.shown else ""
            if self._prompt.directives.redacted:
                sealed = mint("redacted", self._salt("redacted"))
                self._parts.append(chat.Thinking(redacted=sealed, origin=dialect))
            else:
                signature = mint(shown, self._salt("thinking"))
                self._parts.append(chat.Thinking(text=shown, signature=signature, origin=dialect))
        elif dialect == "openai_responses":
            state, id_ = mint("responses", self._salt("thinking")), f"rs_{self._salt('id').hex()[:32]}"
            shown = text if thoughts.shown else ""
            self._parts.append(chat.Thinking(text=shown, signature=state, id=id_, origin=dialect))
        elif thoughts.shown and text:
            self._parts.append(chat.Thinking(text=text, origin=dialect))
        return self._finish is Finish.STOP

    def _say(self, text: str, *, signed: bool) -> None:
        text = self._stopped(text)
        text = self._afford(text)
        if self._finish is Finish.LENGTH:
            self._stop_sequence = None
        self._said = text
        self.output_tokens += tokens.count(text)
        gemini = self._request.dialect == "gemini_generate"
        signature = mint("gemini", self._salt("text")) if signed and gemini else None
        if text or signature:
            origin = self._request.dialect if signature else None
            self._parts.append(chat.Text(text=text, signature=signature, origin=origin))

    def _call(self, calls: tuple[Call, ...], *, signed: bool) -> None:
        gemini = self._request.dialect == "gemini_generate"
        for number, call in enumerate(calls):
            size = tokens.count(call.name) + CALL_OVERHEAD_TOKENS
            if self._left is not None and self._left < size:
                self._finish = Finish.LENGTH
                return
            self._left = None if self._left is None else self._left - size
            arguments = self._afford(call.arguments)
            cut = self._finish is Finish.LENGTH
            if cut and self._request.dialect != "openai_chat":
                return  # only OpenAI's form delivers cut arguments
            self.output_tokens += size + tokens.count(arguments)
            self._parts.append(
                chat.ToolCall(
                    id=self._call_id(number),
                    name=call.name,
                    arguments=arguments,
                    custom=call.custom,
                    signature=mint("gemini", self._salt("call"))
                    if signed and gemini and not number
                    else None,
                    origin="gemini_generate" if signed and gemini and not number else None,
                )
            )
            if cut:
                return
        self._finish = Finish.TOOL_CALLS

    def _refusal(self) -> Choice:
        """Decline, the way the dialect's provider does."""
        dialect = self._request.dialect
        if dialect not in ("anthropic_messages", "gemini_generate", "bedrock_converse"):
            text = f"[simulated {self._prompt.name}] I can't help with that, because the prompt ordered a refusal."
            self.output_tokens += tokens.count(text)
            worded = chat.Refusal(text=text) if dialect.startswith("openai") else chat.Text(text=text)
            return Choice(index=self._index, parts=(worded,))
        return Choice(index=self._index, finish=Finish.CONTENT_FILTER)

    def _stopped(self, text: str) -> str:
        """The text up to the first stop sequence in it."""
        hits = [(text.find(stop), stop) for stop in self._request.stop if stop and stop in text]
        if not hits:
            return text
        at, self._stop_sequence = min(hits)
        return text[:at]

    def _afford(self, text: str) -> str:
        """The text as far as the token limit goes; a cut makes the finish ``length``."""
        if self._left is None:
            return text
        parts = tokens.pieces(text)
        if len(parts) > self._left:
            self._finish = Finish.LENGTH
            parts = parts[: self._left]
        self._left -= len(parts)
        return "".join(parts)

    def _salt(self, purpose: str) -> bytes:
        return self._prompt.digest + f"{purpose} {self._index}".encode()

    def _call_id(self, number: int) -> str:
        """An id in the provider's own form; Gemini's API gives none."""
        if self._request.dialect == "gemini_generate":
            return ""
        raw = hashlib.sha256(self._salt(f"call {number}")).digest()
        name = "".join(_ALPHABET[byte % len(_ALPHABET)] for byte in raw[:24])
        prefix = {"anthropic_messages": "toolu_01", "bedrock_converse": "tooluse_"}
        return prefix.get(self._request.dialect, "call_") + name[:22]

    def _logprobs(self) -> chat.Raw | None:
        """OpenAI-shaped logprobs of the text, plausible and always the same."""
        if not self._request.logprobs:
            return None
        top = max(0, min(self._request.top_logprobs or 0, TOP_LOGPROBS_MAX))
        return chat.Raw(msgspec.json.encode([_logprob(piece, top) for piece in tokens.pieces(self._said)]))


def _logprob(piece: str, top: int) -> dict[str, object]:
    first = _scored(piece, piece, 0)
    others = [_scored(piece, f"{piece[:1]}{_ALPHABET[26 + rank]}", rank) for rank in range(1, top)]
    return {**first, "top_logprobs": [first, *others] if top else []}


def _scored(piece: str, token: str, rank: int) -> dict[str, object]:
    chance = hashlib.sha256(piece.encode()).digest()[0]
    logprob = -round(0.001 + chance / 1024 + 1.5 * rank, 6)
    return {"token": token, "logprob": logprob, "bytes": list(token.encode())}
