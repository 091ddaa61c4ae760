"""Declared losses: what a translation could not say. Told to the client, refused in strict mode."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec


class Loss(msgspec.Struct, frozen=True, kw_only=True):
    """``field`` names what was lost in the client's own words ("logit_bias", "messages[].name").

    ``why`` is a short reason, shown in strict mode and in the documentation's table.
    """

    field: str
    why: str


def loss_header(losses: Iterable[Loss]) -> str:
    """The value of ``x-llm-router-losses``: the distinct fields, comma separated, in order."""
    return ", ".join(dict.fromkeys(loss.field for loss in losses))


class Losses:
    """Declared losses of one request or reply, each told once."""

    def __init__(self) -> None:
        self.found: list[Loss] = []

    def add(self, field: str, why: str) -> None:
        loss = Loss(field=field, why=why)
        if loss not in self.found:
            self.found.append(loss)
