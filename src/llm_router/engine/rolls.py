"""Typed reads of the directory, and acts as changes of its rows tell them."""

from __future__ import annotations

import hashlib
from typing import TypeVar

import msgspec

from llm_router.domain.account import Act, Actor, Noun
from llm_router.domain.errors import IdempotencyConflict
from llm_router.engine.auditing import json_of
from llm_router.ports import Directory

_T = TypeVar("_T", bound=msgspec.Struct)

_HIDDEN = ("digest", "password", "totp", "totp_new", "totp_step", "recovery")


def kind_of(noun: type[msgspec.Struct]) -> str:
    """The kind of a class of rows: its tag."""
    tag = noun.__struct_config__.tag
    assert isinstance(tag, str)
    return tag


async def find(directory: Directory, noun: type[_T], id_: str) -> _T | None:
    """A row by its id."""
    found = await directory.find(kind_of(noun), id_)
    return found if isinstance(found, noun) else None


async def named(directory: Directory, noun: type[_T], name: str) -> _T | None:
    """A row by its other name."""
    found = await directory.named(kind_of(noun), name)
    return found if isinstance(found, noun) else None


async def some(
    directory: Directory,
    noun: type[_T],
    *,
    account: str = "",
    person: str = "",
    after: str = "",
    limit: int = 1000,
) -> list[_T]:
    """Rows of a kind by id."""
    rows = await directory.rows(kind_of(noun), account=account, person=person, after=after, limit=limit)
    return [row for row in rows if isinstance(row, noun)]


async def every(directory: Directory, noun: type[_T], *, account: str = "", person: str = "") -> list[_T]:
    """All rows of a kind, page after page."""
    found: list[_T] = []
    after = ""
    while page := await some(directory, noun, account=account, person=person, after=after):
        found += page
        if len(page) < 1000:
            break
        after = page[-1].id  # type: ignore[attr-defined]
    return found


def digest(token: str) -> str:
    """What is kept of a token. A plain hash is enough: it holds 256 random bits."""
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()


def act(
    by: Actor,
    now_ms: int,
    action: str,
    *,
    account: str = "",
    object_: str = "",
    before: Noun | None = None,
    after: Noun | None = None,
    note: dict[str, object] | None = None,
) -> Act:
    """An act on a row: what it was and became, or ``note`` where there is no row to show."""
    return Act(
        at_ms=now_ms,
        account=account,
        actor=by.id,
        actor_name=by.name,
        action=action,
        object=object_ or ("" if (of := after or before) is None else of.id),
        before=None if before is None else _shown(before),
        after=json_of(note) if note is not None else None if after is None else _shown(after),
        ip=by.ip,
    )


def _shown(noun: Noun) -> str:
    members: dict[str, object] = msgspec.to_builtins(noun)
    return json_of({name: value for name, value in members.items() if name not in _HIDDEN})


def overtaken(what: str) -> IdempotencyConflict:
    """Somebody else was faster."""
    return IdempotencyConflict(
        f"{what} was changed meanwhile: read it again, and repeat the change.", code="overtaken"
    )
