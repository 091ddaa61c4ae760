"""The canonical reply: a stream of events, or its fold, a :class:`Reply`.

A part is addressed by (choice, part); several may be open at once, since parallel tool calls
interleave. The grammar of one stream:

    Started (PartOpened PartDelta* PartClosed | LogProbs | UsageSeen | OpaqueSeen)* Finished+ UsageSeen* Ended
    ... or, at any place, Failed, after which nothing comes.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

import msgspec

from llm_router.domain.errors import UpstreamError
from llm_router.domain.usage import Usage
from llm_router.wire.chat import Citation, Part, Raw


class Finish(StrEnum):
    """Why a choice ended, towards the client. Failures are :class:`Failed`, never a finish."""

    STOP = "stop"
    LENGTH = "length"
    TOOL_CALLS = "tool_calls"
    CONTENT_FILTER = "content_filter"


class _Event(msgspec.Struct, frozen=True, kw_only=True):
    pass


class Started(_Event, frozen=True, kw_only=True):
    """The reply begins. Empty strings and 0 mean that the provider did not say."""

    id: str = ""
    model: str = ""
    created_s: int = 0
    extras: dict[str, Raw] = {}


class PartOpened(_Event, frozen=True, kw_only=True):
    """A part begins. ``id`` and ``name`` are the tool call's; ``redacted`` that of a Thinking part.

    An ``opaque`` part carries all of itself in ``raw`` (its type in ``name``) and gets no deltas.
    A ``media`` part carries base64 in ``data``.
    """

    choice: int = 0
    part: int
    form: Literal["text", "thinking", "tool_call", "refusal", "media", "opaque"]
    id: str = ""
    name: str = ""
    custom: bool = False
    signature: str | None = None
    redacted: str | None = None
    media_type: str | None = None
    data: str | None = None
    dialect: str | None = None
    raw: Raw | None = None


class PartDelta(_Event, frozen=True, kw_only=True):
    """More of an open part: text, reasoning text, refusal text, or JSON text of arguments."""

    choice: int = 0
    part: int
    text: str = ""
    citation: Citation | None = None


class PartClosed(_Event, frozen=True, kw_only=True):
    """A part is whole. A ``signature`` given here belongs to the whole part."""

    choice: int = 0
    part: int
    signature: str | None = None


class LogProbs(_Event, frozen=True, kw_only=True):
    """OpenAI-shaped logprobs items of a choice, verbatim: a JSON array for ``content``."""

    choice: int = 0
    content: Raw


class UsageSeen(_Event, frozen=True, kw_only=True):
    """The usage so far, in full: of several, the last one is right; they are never added.

    ``usage`` None: the provider sent counts that cannot be true (negative, absurd, textual).
    """

    usage: Usage | None


class Finished(_Event, frozen=True, kw_only=True):
    """A choice ended. ``native`` is the provider's own word."""

    choice: int = 0
    reason: Finish
    native: str | None = None
    stop_sequence: str | None = None
    message: str | None = None  # the provider's explanation of a refusal or block


class OpaqueSeen(_Event, frozen=True, kw_only=True):
    """A stream event or reply member that only ``dialect`` understands, verbatim."""

    dialect: str
    name: str
    raw: Raw


class Failed(_Event, frozen=True, kw_only=True):
    """The provider reported an error inside the stream, or the stream broke. Terminal."""

    error: UpstreamError


class Ended(_Event, frozen=True, kw_only=True):
    """Proof that the stream is complete. Terminal.

    ``flags``: what was wrong with it and could be passed over.
    """

    flags: tuple[str, ...] = ()


Event = (
    Started
    | PartOpened
    | PartDelta
    | PartClosed
    | LogProbs
    | UsageSeen
    | Finished
    | OpaqueSeen
    | Failed
    | Ended
)


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    index: int = 0
    parts: tuple[Part, ...] = ()
    finish: Finish = Finish.STOP
    native_finish: str | None = None
    stop_sequence: str | None = None
    finish_message: str | None = None
    logprobs: Raw | None = None  # OpenAI-shaped JSON array


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """A whole reply. ``usage`` None: the provider reported none (or nonsense, see ``flags``)."""

    id: str = ""
    model: str = ""
    created_s: int = 0
    choices: tuple[Choice, ...] = ()
    usage: Usage | None = None
    extras: dict[str, Raw] = {}
    opaque: tuple[OpaqueSeen, ...] = ()
    flags: tuple[str, ...] = ()
