"""Presets: a saved set of models, parameters, wishes about providers and a system prompt, by name and version."""

from __future__ import annotations

import re

import msgspec

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Preset(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One version of a preset.

    Attributes:
        version: from 1; 0 is that of the configuration, which has one alone.
        models: model strings, in order; () leaves the model to the request.
        system: the system prompt of requests that have none.
        parameters: members that are filled in where a request leaves them out, by OpenAI's names.
        provider: OpenRouter's ``provider`` object; what the request says itself goes before it.
        dial: of ``auto``.
        created_ms: Unix time.
        deleted: from this version on there is no such preset.
    """

    name: str
    version: int = 0
    models: tuple[str, ...] = ()
    system: str | None = None
    parameters: dict[str, msgspec.Raw] = {}
    provider: dict[str, msgspec.Raw] = {}
    dial: float | None = None
    description: str | None = None
    created_ms: int = 0
    deleted: bool = False
