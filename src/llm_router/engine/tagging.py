"""What a client calls its requests: tags, to make reports by.

They come with a header, are kept in the record, and are part of the place in the sums that an exchange is counted
at. So that nobody can make those sums as many as the requests, each account has room for so many sets of tags a
day; what comes beyond is counted together, under OTHER.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from llm_router.domain.errors import InvalidRequest
from llm_router.privacy.redact import holds_credential

HEADERS = ("x-llm-router-tags", "x-litellm-tags")
"""Ours, and the one that LiteLLM's clients send (https://docs.litellm.ai/docs/proxy/request_tags)."""

TAGS_MAX = 8
SETS_MAX = 1000
"""Of an account in a day (UTC), in each process."""
ROOM_MAX = 100_000
"""Of all accounts together."""

DAY_MS = 86_400_000

_TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,63}")


def tags_of(headers: Mapping[str, str], own: tuple[str, ...] = ()) -> tuple[str, ...]:
    """The tags of a request, with its key's ``own``, sorted, each once; the key's alone if it says nothing.

    Raises:
        InvalidRequest: they are too many, or not what a tag may be.
    """
    text = headers.get(HEADERS[0])
    name = HEADERS[0]
    if text is None:
        text, name = headers.get(HEADERS[1]), HEADERS[1]
        if text is None:
            return own
    if holds_credential(text):
        raise InvalidRequest(f"{name} holds what looks like a key; it was not kept.", param=name)
    tags = tags_named(text.split(","), name)
    return tuple(sorted({*tags, *own})) if own else tags


def tags_named(texts: Sequence[str], name: str) -> tuple[str, ...]:
    """Tags, sorted, each once. ``name``: where they stand.

    Raises:
        InvalidRequest: they are too many, or not what a tag may be.
    """
    tags = sorted({part for each in texts if (part := each.strip())})
    for tag in tags:
        if _TAG.fullmatch(tag) is None:
            raise InvalidRequest(
                f"{name} holds '{tag[:64]}': a tag has 1 to 64 letters, digits and ._:/@+-, and begins with a letter "
                "or a digit; separate tags by commas.",
                param=name,
            )
    if len(tags) > TAGS_MAX:
        raise InvalidRequest(f"{name} holds {len(tags)} tags: send at most {TAGS_MAX}.", param=name)
    return tuple(tags)


class TagRoom:
    """Which sets of tags were counted by themselves today."""

    def __init__(self) -> None:
        self._day = -1
        self._sets: dict[str, set[tuple[str, ...]]] = {}
        self._count = 0

    def take(self, account: str, tags: tuple[str, ...], now_ms: int) -> bool:
        """Whether there is room for them."""
        day = now_ms // DAY_MS
        if day != self._day:
            self._day, self._sets, self._count = day, {}, 0
        known = self._sets.setdefault(account, set())
        if tags in known:
            return True
        if len(known) >= SETS_MAX or self._count >= ROOM_MAX:
            return False
        known.add(tags)
        self._count += 1
        return True
