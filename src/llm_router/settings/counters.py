"""Where limits are counted."""

from __future__ import annotations

from llm_router.settings.payments import SecretReader
from llm_router.settings.problems import Problems
from llm_router.settings.result import CounterSettings
from llm_router.settings.schema import CountersTable

SCHEMES = ("redis://", "rediss://", "unix://", "valkey://", "valkeys://")
"""Ways to the server that counts limits."""


def counter_settings(table: CountersTable, secrets: SecretReader, problems: Problems) -> CounterSettings:
    """The server's address may hold a password, so it is named like one."""
    path = ("counters", "url")
    url = None if table.url is None else secrets.secret(table.url, path)
    if url is not None and not url.reveal().startswith(SCHEMES):
        problems.add(path, f"must begin with one of {', '.join(SCHEMES)}")
    return CounterSettings(url=url, timeout_s=float(table.timeout_s), local_share=float(table.local_share))
