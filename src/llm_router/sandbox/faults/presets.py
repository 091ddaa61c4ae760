"""Outages that need no file: ``--faults outage:openai``, ``--faults flaky``."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec


class Preset(msgspec.Struct, frozen=True, kw_only=True):
    """``toml``: a file of rules, in each of which the provider that is named takes its place."""

    about: str
    toml: str


PRESETS: Mapping[str, Preset] = {
    "outage": Preset(
        about="every request fails at once: errors 503 and 502, closed and reset connections",
        toml='[[fault]]\nkind = ["unavailable", "html-502", "close", "reset"]\n',
    ),
    "brownout": Preset(
        about="a third of the requests is refused for too much load, another third is slow",
        toml='[[fault]]\nshare = 0.33\nkind = "overloaded"\n[[fault]]\nshare = 0.5\nkind = "slow-first-byte"\nseconds = 3\n',
    ),
    "flaky": Preset(
        about="every fifth request fails, in another way each time",
        toml="[[fault]]\nevery = 5\n"
        'kind = ["server-error", "reset-in-body", "429-seconds", "truncated", "close-in-head", "html", "broken-json"]\n',
    ),
    "slow": Preset(
        about="every second request waits five seconds for its first byte",
        toml='[[fault]]\nevery = 2\nkind = "slow-first-byte"\nseconds = 5\n',
    ),
    "stall": Preset(
        about="every third stream falls silent in its middle, for ever",
        toml='[[fault]]\nevery = 3\nkind = "stall"\nstream = true\n',
    ),
    "limits": Preset(
        about="half of the requests get 429, with waits told in all ways",
        toml='[[fault]]\nevery = 2\nkind = ["429-seconds", "429-ms", "429-date", "429-body", "429-no-hint"]\n',
    ),
}
