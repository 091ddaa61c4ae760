"""Which changes of the configuration wait for a restart."""

from __future__ import annotations

from collections.abc import Iterator

from llm_router.settings.result import Settings

_AT_START = {
    "server": ("host", "port", "data_dir", "body_bytes_max", "drain_s", "concurrency_max", "access_log"),
    "fetch": ("bytes_max", "timeout_s", "allow_hosts"),
}
"""Keys that are read once, when the gateway starts."""


def needs_restart(old: Settings, new: Settings) -> tuple[str, ...]:
    """The keys that changed but take effect only at the next start, dotted."""
    return tuple(_changed(old, new))


def _changed(old: Settings, new: Settings) -> Iterator[str]:
    for section, keys in _AT_START.items():
        for key in keys:
            if getattr(getattr(old, section), key) != getattr(getattr(new, section), key):
                yield f"{section}.{key}"
    if old.credits.starting_pusd != new.credits.starting_pusd:
        yield "credits.starting"
