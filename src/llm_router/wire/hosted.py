"""Tools that the provider runs itself, as far as they cost something: what a request allows of them.

A tool that the client runs costs its tokens and no more. One that the provider runs may be billed by the piece,
and what it finds is read by the model as input, again with each further use.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from llm_router.domain.price import TOOL
from llm_router.domain.usage import Usage
from llm_router.wire.dialect import Beside

USES_DEFAULT: Final = 5
"""Uses of a tool that are held for where the request does not bound them."""

USES_MAX: Final = 100
"""Uses of a tool that are held for at most."""

LOOKUP_TOKENS: Final = 20_000
"""Held for what one search, fetched page or other use of a hosted tool brings as input. One search comes to some
8,000 to 17,000 tokens; of many, each may be read again with the later ones."""

VIDEO_TOKENS: Final = 1_000_000
"""A video that only its provider can see: about an hour (https://ai.google.dev/gemini-api/docs/video-understanding)."""

FILE_TOKENS: Final = 50_000
"""Any other file that only its provider can see."""

IMAGE_TOKENS: Final[Mapping[object, int]] = {"low": 408, "medium": 1_584}
"""Output tokens of a drawn image by its quality (https://platform.openai.com/docs/guides/image-generation)."""

IMAGE_TOKENS_MAX: Final = 6_240


NAME_CHARS_MAX: Final = 64
"""Of a tool; whoever has one by a longer name is not known here."""


def uses(value: object) -> int:
    """How often a tool may be used, by what the request says of it."""
    if isinstance(value, bool) or not isinstance(value, int):
        return USES_DEFAULT
    return min(max(value, 0), USES_MAX)


def image_tokens(quality: object) -> int:
    """Output tokens of one drawn image at most."""
    return IMAGE_TOKENS.get(quality, IMAGE_TOKENS_MAX) if isinstance(quality, str) else IMAGE_TOKENS_MAX


class Hosted:
    """Adds up what a request allows."""

    def __init__(self) -> None:
        self.unseen_tokens = 0
        self._searches = 0
        self._lookups = 0
        self._tools: dict[str, Usage] = {}

    def unseen(self, form: str) -> None:
        """A file that is known here neither by its bytes nor by an address that anybody can read."""
        if form != "image":  # images count by the piece
            self.unseen_tokens += VIDEO_TOKENS if form == "video" else FILE_TOKENS

    def search(self, most: object = None) -> None:
        """Searches of the web that are billed by the piece."""
        self._searches += uses(most)
        self._lookups += uses(most)

    def lookup(self, most: object = None) -> None:
        """A tool that costs what it adds to the input."""
        self._lookups += uses(most)

    def tool(self, name: str, most: object = None, quality: object = None) -> None:
        """A tool with a price of its own."""
        name, count = name[:NAME_CHARS_MAX], uses(most)
        self._lookups += count
        if name == "image_generation":
            each = image_tokens(quality)
            self._tools[name] = Usage(output_image_tokens=count * each)
        else:
            self._tools[name] = Usage(web_searches=count)

    def needs(self) -> set[str]:
        """What is needed of whoever answers."""
        return {f"{TOOL}{name}" for name in self._tools}

    def beside(self) -> Beside | None:
        """All of it; None if it is nothing."""
        if not (self.unseen_tokens or self._lookups):
            return None
        return Beside(
            unseen_tokens=self.unseen_tokens,
            lookup_tokens=LOOKUP_TOKENS * min(self._lookups, USES_MAX),
            searches=self._searches,
            tools=tuple(sorted(self._tools.items(), key=lambda item: item[0])),
        )
