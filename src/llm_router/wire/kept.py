"""Turns of the model as they were made, for clients that do not send all of them back.

A :class:`Kept` holds what the maker of a turn wants to see again: signatures, encrypted reasoning,
blocks of server tools, each at its place. :func:`names_of` says by what the turn is known when it
comes back, :func:`lacks` whether anything of it is missing there, and :func:`merged` puts it in.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator

import msgspec

from llm_router.wire.chat import (
    CacheMark,
    ChatRequest,
    Media,
    Message,
    Opaque,
    Part,
    Raw,
    Refusal,
    Text,
    Thinking,
    ToolCall,
)
from llm_router.wire.verbatim import NOT_JSON, value

MEMBERS = "message members"
"""Name of the Opaque part that stands for members of a message, verbatim."""

NAMES_MAX = 16
"""Names of one turn; a turn with more calls is known by its first ones."""

SIGNED = frozenset(("anthropic_messages", "openai_responses", "gemini_generate", "bedrock_converse"))
"""Dialects whose reasoning is only wanted back with the state that proves it. Others want the text
back between a call and its result: https://api-docs.deepseek.com/guides/thinking_mode"""

_CITED = frozenset(("anthropic_messages", "bedrock_converse"))
"""Dialects that take citations back."""

_PREFIX = re.compile(r"^(chatcmpl|call|toolu|tooluse|tool|fc|functions|srvtoolu)[-_.]*", re.IGNORECASE)
_NOT_ALNUM = re.compile(r"[^A-Za-z0-9]")
_STRONG_CHARS = 9
_STRONG_DISTINCT = 5


class Kept(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One turn of the model.

    Attributes:
        maker: see :func:`~llm_router.wire.makers.maker_of`.
        dialect: in which it was made; model: the provider's id of the model that made it.
        members: state members of the message as the dialect spelled them, where reasoning parts would
            not be exact (they then stand for all of it); None where they are.
    """

    maker: str
    dialect: str
    model: str
    parts: tuple[Part, ...]
    members: dict[str, Raw] | None = None


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """A turn of the model in a request: the messages from ``first`` to before ``end``, all of the assistant.

    ``before`` is the text that the user said last before it.
    """

    first: int
    end: int
    parts: tuple[Part, ...]
    before: str


_DECODER = msgspec.json.Decoder(Kept)


def pack(kept: Kept) -> bytes | None:
    """The turn as bytes; None if it cannot be written (a lone surrogate somewhere)."""
    try:
        return msgspec.json.encode(kept)
    except UnicodeEncodeError:
        return None


def unpack(data: bytes) -> Kept | None:
    """The turn; None if these bytes are of another version."""
    try:
        return _DECODER.decode(data)
    except NOT_JSON:
        return None


def turns_of(request: ChatRequest) -> Iterator[Turn]:
    """The turns of the model, in order."""
    before, messages, at = "", request.messages, 0
    while at < len(messages):
        if messages[at].role != "assistant":
            before = _said_by_user(messages[at]) or before
            at += 1
            continue
        end = at
        while end < len(messages) and messages[end].role == "assistant":
            end += 1
        parts = tuple(part for message in messages[at:end] for part in message.parts)
        yield Turn(first=at, end=end, parts=parts, before=before)
        at = end


def last_said(request: ChatRequest) -> str:
    """What the user said last: ``before`` of the turn that answers the request."""
    texts = (_said_by_user(message) for message in reversed(request.messages))
    return next((text for text in texts if text), "")


def _said_by_user(message: Message) -> str:
    return _text(message.parts) if message.role == "user" else ""


# -- by what a turn is known -----------------------------------------------------------------------


def names_of(parts: tuple[Part, ...], before: str, maker: str) -> list[bytes]:
    """Names of a turn, the best first; none for a turn that shows nothing.

    The id of a call names the turn alone if it looks random. Some providers number their calls or
    call them after the function: then, as for turns without calls, it is what the turn shows, with
    what the user said before it and its maker (models that are compared may say the same). White
    space does not count, since clients trim and join texts.
    """
    calls = [part for part in parts if isinstance(part, ToolCall)]
    names = [b"call " + call.id.encode("utf-8", "replace") for call in calls if _is_random(call)]
    text = _text(parts)
    if text or calls:
        shown = [maker, text, before, *(field for call in calls for field in (call.name, _arguments(call)))]
        data = msgspec.json.encode([field.encode("utf-8", "replace") for field in shown])
        names = [*names[: NAMES_MAX - 1], b"turn " + hashlib.sha256(data).digest()]
    return list(dict.fromkeys(names))


def _is_random(call: ToolCall) -> bool:
    bare = _PREFIX.sub("", call.id.replace(call.name, "") if call.name else call.id)
    rest = _NOT_ALNUM.sub("", bare)
    return len(rest) >= _STRONG_CHARS and len(set(rest)) >= _STRONG_DISTINCT


def _arguments(call: ToolCall) -> str:
    if call.custom:
        return "".join(call.arguments.split())
    found = value(call.arguments.encode("utf-8", "replace"))
    if found is None:
        return "".join(call.arguments.split())
    return msgspec.json.encode(found, order="deterministic").decode()


def _text(parts: tuple[Part, ...]) -> str:
    shown = "".join(part.text for part in parts if isinstance(part, Text | Refusal))
    return "".join(shown.split())


# -- what is missing -------------------------------------------------------------------------------


def holds_state(kept: Kept) -> bool:
    """Whether the maker of the turn wants anything of it back that a client may not send."""
    return bool(kept.members) or any(map(_state, wanted_parts(kept)))


def wanted_parts(kept: Kept) -> tuple[Part, ...]:
    """The turn without reasoning that nobody wants back."""
    if kept.members is not None and not any(name.startswith("reasoning") for name in kept.members):
        return tuple(part for part in kept.parts if not isinstance(part, Thinking))
    called = any(isinstance(part, ToolCall) for part in kept.parts)
    return tuple(
        part
        for part in kept.parts
        if not isinstance(part, Thinking)
        or part.signature is not None
        or part.redacted is not None
        or (called and kept.dialect not in SIGNED and part.text)
    )


def _state(part: Part) -> str:
    """What of a part must not be missing; "" if that is nothing."""
    match part:
        case Thinking():
            return part.redacted or part.signature or "".join(part.text.split())
        case Opaque():
            return f"{part.dialect} {part.name}"
        case ToolCall() | Media():
            return part.signature or ""
        case Text():
            cited = any(cite.raw is not None and cite.dialect in _CITED for cite in part.citations)
            return part.signature or ("citations" if cited else "")
    return ""


def lacks(sent: tuple[Part, ...], kept: Kept) -> bool:
    """Whether a turn that came back misses state."""
    known = {state for part in sent if (state := _state(part))}
    return any(state not in known for part in wanted_parts(kept) if (state := _state(part)))


def without_state(parts: tuple[Part, ...], dialect: str) -> tuple[Part, ...]:
    """The turn without the opaque state of a dialect: it is another maker's, who speaks the same dialect."""
    return tuple(bare for part in parts if (bare := _bare(part, dialect)) is not None)


def _bare(part: Part, dialect: str) -> Part | None:
    match part:
        case Thinking() if _is_of(part.origin, dialect):
            return None
        case Opaque() if part.dialect == dialect:
            return None
        case ToolCall() | Text() | Media() if part.signature is not None and _is_of(part.origin, dialect):
            return msgspec.structs.replace(part, signature=None, origin=None)
    return part


def _is_of(origin: str | None, dialect: str) -> bool:
    return origin is not None and (origin == dialect or origin.startswith(f"{dialect}/"))


# -- putting it back -------------------------------------------------------------------------------


def merged(sent: tuple[Part, ...], kept: Kept, dialect: str) -> tuple[Part, ...]:
    """The turn as the client wants it, with its state back in place, for a deployment of ``dialect``.

    The order is that in which the turn was made. What the client changed stays changed: its text,
    its arguments, calls that it left out or put in.
    """
    return _Merge(sent, _parts_for(kept, dialect)).run()


def _parts_for(kept: Kept, dialect: str) -> tuple[Part, ...]:
    """The parts that a deployment of ``dialect`` takes; another dialect of the same maker takes signed text."""
    parts = wanted_parts(kept)
    if dialect == kept.dialect:
        if kept.members:
            rest = tuple(part for part in parts if not isinstance(part, Thinking))
            return (Opaque(dialect=dialect, name=MEMBERS, raw=Raw(msgspec.json.encode(kept.members))), *rest)
        return parts
    return tuple(
        msgspec.structs.replace(part, origin=dialect) if isinstance(part, Thinking) else part
        for part in parts
        if isinstance(part, Text | Refusal)
        or (isinstance(part, Thinking) and part.redacted is None)
        or isinstance(part, ToolCall)
    )


class _Merge:
    def __init__(self, sent: tuple[Part, ...], made: tuple[Part, ...]) -> None:
        self._made = made
        self._same_text = _text(sent) == _text(made)
        self._texts = [part for part in sent if isinstance(part, Text | Refusal)]
        self._calls = [part for part in sent if isinstance(part, ToolCall)]
        self._media = [part for part in sent if isinstance(part, Media)]
        mine = {bytes(part.raw) for part in made if isinstance(part, Opaque)}
        self._rest = [p for p in sent if isinstance(p, Opaque) and not _repeats(p, made, mine)]
        ids = {part.id for part in made if isinstance(part, ToolCall)}
        self._by_id = any(call.id in ids for call in self._calls)
        self._cache = next((p.cache for p in reversed(self._texts) if isinstance(p, Text) and p.cache), None)

    def run(self) -> tuple[Part, ...]:
        out: list[Part] = []
        for part in self._made:
            match part:
                case Text() | Refusal():
                    out += self._text(part)
                case ToolCall():
                    out += self._call(part)
                case Media():
                    out += self._medium(part)
                case _:
                    out.append(part)
        if self._same_text:
            _mark(out, self._cache)
        else:
            out += self._texts
        return (*out, *self._rest, *self._media, *self._calls)

    def _text(self, part: Text | Refusal) -> list[Part]:
        if self._same_text:
            return [part]
        texts, self._texts = self._texts, []
        return [*texts]

    def _call(self, part: ToolCall) -> list[Part]:
        """The client's own call: by its id, or where the client gave ids of its own, by its place."""
        found = next((c for c in self._calls if c.id == part.id), None)
        if found is None and not self._by_id:
            found = next((c for c in self._calls if c.name == part.name), None)
        if found is None:
            return []
        self._calls = [call for call in self._calls if call is not found]
        same = _arguments(found) == _arguments(part)  # then byte for byte, for the provider's cache
        found = msgspec.structs.replace(found, arguments=part.arguments if same else found.arguments)
        if part.signature is None:
            return [found]
        return [msgspec.structs.replace(found, signature=part.signature, origin=part.origin)]

    def _medium(self, part: Media) -> list[Part]:
        if not self._media:
            return []
        found = self._media.pop(0)
        return [msgspec.structs.replace(found, signature=part.signature, origin=part.origin)]


def _repeats(part: Opaque, made: tuple[Part, ...], raws: set[bytes]) -> bool:
    """Whether the client sent back what is put in anyway, perhaps spelled otherwise."""
    if bytes(part.raw) in raws:
        return True
    return any(isinstance(m, Opaque) and (m.dialect, m.name) == (part.dialect, part.name) for m in made)


def _mark(parts: list[Part], cache: CacheMark | None) -> None:
    """Give the client's cache mark to the last text."""
    if cache is None:
        return
    for at in range(len(parts) - 1, -1, -1):
        part = parts[at]
        if isinstance(part, Text):
            parts[at] = msgspec.structs.replace(part, cache=cache)
            return


def replaced(request: ChatRequest, turns: dict[int, tuple[Turn, tuple[Part, ...]]]) -> ChatRequest:
    """The request with other parts in some turns, which are keyed by their first message."""
    messages: list[Message] = []
    at = 0
    while at < len(request.messages):
        message = request.messages[at]
        if at in turns:
            turn, parts = turns[at]
            messages.append(msgspec.structs.replace(message, parts=parts))
            at = turn.end
        else:
            messages.append(message)
            at += 1
    return msgspec.structs.replace(request, messages=tuple(messages))
