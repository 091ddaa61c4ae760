"""Ids of tool calls in the alphabet that a provider takes, unique over a conversation."""

from __future__ import annotations

import hashlib
import re


class CallIds:
    """Maps the client's ids to the provider's.

    An id that fits is kept. Others become a digest of themselves behind ``prefix``, so that the same
    conversation always gives the same request (and hits the prompt cache).
    """

    def __init__(self, fits: re.Pattern[str], prefix: str) -> None:
        self._fits = fits
        self._prefix = prefix
        self._wire: dict[str, str] = {}
        self._used: set[str] = set()

    def of_call(self, call_id: str) -> str:
        """The id of a call; another one where an earlier call had the same."""
        wire, number = self._fitting(call_id), 1
        while wire in self._used:
            number += 1
            wire = self._digest(f"{call_id}#{number}")
        self._used.add(wire)
        self._wire[call_id] = wire
        return wire

    def knows(self, call_id: str) -> bool:
        """Whether a call had this id."""
        return call_id in self._wire

    def of_result(self, call_id: str) -> str:
        """The id of the latest call that had this one."""
        return self._wire.get(call_id) or self._fitting(call_id)

    def _fitting(self, call_id: str) -> str:
        return call_id if self._fits.fullmatch(call_id) else self._digest(call_id)

    def _digest(self, text: str) -> str:
        return self._prefix + hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:24]
