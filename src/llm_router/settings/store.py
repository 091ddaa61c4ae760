"""The table ``[store]``, checked and resolved."""

from __future__ import annotations

from urllib.parse import urlsplit

from llm_router.settings.payments import SecretReader
from llm_router.settings.problems import Problems
from llm_router.settings.result import StoreSettings
from llm_router.settings.schema import StoreTable

SCHEMES = ("postgresql", "postgres")


def store_settings(table: StoreTable, secrets: SecretReader, problems: Problems) -> StoreSettings | None:
    """Where the credits and keys are; None for the file in the data folder."""
    if table.url is None:
        if table.password is not None:
            problems.add(("store", "url"), "is missing: which database the password is for")
        return None
    try:
        parts = urlsplit(table.url)
        right = parts.scheme in SCHEMES and len(parts.path) > 1
        password = parts.password
    except ValueError:
        right, password = False, None
    if not right:
        problems.add(("store", "url"), "must be like postgresql://USER@HOST:5432/DATABASE")
    elif password is not None or "password=" in parts.query:
        problems.add(
            ("store", "url"), 'holds a password; write it under password, as "env:NAME" or "file:PATH"'
        )
    secret = None if table.password is None else secrets.secret(table.password, ("store", "password"))
    return StoreSettings(url=table.url, password=secret)
