"""The keys of an account that is closed: refused until it is opened again."""

from __future__ import annotations

import asyncio

import msgspec

from llm_router.domain.account import Account
from llm_router.domain.errors import Forbidden
from llm_router.domain.key import Key
from llm_router.engine.operator import Context
from llm_router.engine.rolls import find

_PAGE = 200
_TRIES = 5
"""Of a key that somebody else changes at the same moment."""


async def check_open(account: str, context: Context) -> None:
    """Refuse what an account that is closed gets no more.

    Raises:
        Forbidden
    """
    found = None if context.directory is None else await find(context.directory, Account, account)
    if found is not None and found.closed_ms is not None:
        raise Forbidden(f"The account '{account}' is closed.", code="account_closed")


async def hold_keys(account: str, closed: bool, context: Context) -> None:
    """Have all keys of an account refused, or as they were before. Doing it again finishes what was cut off."""
    after = ""
    while page := await context.keyring.of_account(account, after, _PAGE):
        await asyncio.gather(*(_hold(key, closed, context) for key in page))
        after = page[-1].id


async def _hold(key: Key, closed: bool, context: Context) -> None:
    found: Key | None = key
    for _ in range(_TRIES):
        if found is None or found.revoked_ms is not None or (found.disabled_before is not None) == closed:
            return
        if await context.keyring.change(_held(found, closed)):
            return
        found = await context.keyring.get(key.id)


def _held(key: Key, closed: bool) -> Key:
    disabled, before = (True, key.disabled) if closed else (bool(key.disabled_before), None)
    return msgspec.structs.replace(key, disabled=disabled, disabled_before=before, version=key.version + 1)
