"""Plain requests and replies on their way from one dialect to another: turns of text, and an answer of text.

Most traffic is that. It has no parts, tools, state or citations to carry over, so it needs none of the canonical form
(:mod:`wire.chat`, :mod:`wire.events`): what one dialect reads here the other writes in one typed pass. A dialect that
has anything else to say of a request or a reply says None, and it goes the thorough way.

Where these ways give a result it is what the thorough one would have given.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from llm_router.domain.usage import Usage
from llm_router.wire.events import Finish


class PlainTurn(msgspec.Struct, forbid_unknown_fields=True):
    """What one side said."""

    role: Literal["system", "user", "assistant"]
    content: str


class PlainRequest(msgspec.Struct):
    """Turns of text, with the options that most dialects have; None where the client says nothing.

    Attributes:
        max_tokens: the output limit.
    """

    model: str
    messages: list[PlainTurn]
    temperature: int | float | None = None
    top_p: int | float | None = None
    frequency_penalty: int | float | None = None
    presence_penalty: int | float | None = None
    max_tokens: int | None = None
    seed: int | None = None
    stream: bool | None = None


class PlainReply(msgspec.Struct, frozen=True):
    """An answer of text that is not empty. ``id`` and ``model`` are empty where the provider does not say."""

    id: str
    model: str
    text: str
    finish: Finish
    native_finish: str
    usage: Usage
