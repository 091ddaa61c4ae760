"""What an account has kept of what was said: by which rules, to read, and to delete."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from llm_router.domain.bodies import BYTES_DEFAULT, DAYS_DEFAULT, Redactable
from llm_router.edge.api.logs import has_exchange
from llm_router.edge.api.table import ApiRoute, Ask, Body, Reply


class Rule(Reply, frozen=True, kw_only=True):
    """How bodies are kept. ``share``: from 0 (none) to 1; ``files``: whether they are kept too."""

    share: float
    redact: list[str]
    patterns: list[str]
    files: bool
    bytes_max: int
    retention_days: int


class Kept(Reply, frozen=True, kw_only=True):
    """``rule``: of the account, null where nothing is kept; ``keys``: of keys that differ, by their ids.

    ``kept``: of how many exchanges there is something; ``size_bytes``: on the disk.
    """

    account: str
    rule: Rule | None
    keys: dict[str, Rule]
    kept: int
    size_bytes: int
    oldest: str | None


class RuleChange(Reply, frozen=True, kw_only=True):
    account: str
    key: str | None
    rule: Rule | None


class SetRule(Body, frozen=True, kw_only=True):
    """The rule of the account, or of one ``key``. What is left out is as by default."""

    key: str | None = None
    share: float = 1.0
    redact: tuple[Redactable, ...] = ()
    patterns: tuple[str, ...] = ()
    files: bool = False
    bytes_max: int = BYTES_DEFAULT
    retention_days: int = DAYS_DEFAULT


class Deletion(Body, frozen=True, kw_only=True):
    """What is to be deleted: that to which all that is named applies; ``everything`` where nothing is named.

    ``responses``: kept responses and conversations too, as far as they can be told by what is named.
    """

    id: str | None = None
    key: str | None = None
    user: str | None = None
    before: str | None = None
    everything: bool = False
    responses: bool = True


class Deleted(Reply, frozen=True, kw_only=True):
    """``deleted``: exchanges; ``responses_deleted``: null where none were looked for."""

    account: str
    deleted: int
    responses_deleted: int | None


class Forgotten(Reply, frozen=True, kw_only=True):
    account: str
    forgotten: bool


class Side(Reply, frozen=True, kw_only=True):
    """A request. ``body``: JSON, or a text where it is none or was cut; ``size_bytes``: as it came; ``redacted``: how
    much was taken out of it, by its kind; these and ``files_left_out`` are missing where the first versions kept it."""

    body: Any
    size_bytes: int
    truncated: bool
    redacted: dict[str, int] | UnsetType = UNSET
    files_left_out: int | UnsetType = UNSET


class AnswerSide(Side, frozen=True, kw_only=True):
    """An answer. ``streamed``: it was put together from a stream; ``complete``: all of it went out."""

    status: int
    streamed: bool
    complete: bool


class Content(Reply, frozen=True, kw_only=True):
    """What was said in an exchange. ``redacted``: how much was taken out of both, by its kind."""

    object: str
    id: str
    key: str
    created: str
    expires: str
    api: str
    request: Side
    response: AnswerSide
    redacted: dict[str, int]
    files_left_out: int


async def show(ask: Ask) -> dict[str, object]:
    return {**await ask.desk.run("bodies.show", ask.by, {"account": ask.account})}


async def set_rule(ask: Ask) -> dict[str, object]:
    body: SetRule = ask.body
    return {**await ask.desk.run("bodies.set", ask.by, {**msgspec.to_builtins(body), "account": ask.account})}


async def unset_rule(ask: Ask) -> dict[str, object]:
    named = {"account": ask.account, "key": ask.request.parameter("key")}
    return {**await ask.desk.run("bodies.unset", ask.by, named)}


async def read(ask: Ask) -> dict[str, object]:
    """Each reading stands in the audit log."""
    named = {"account": ask.account, "id": ask.parameters["id"]}
    return {**await ask.desk.run("bodies.read", ask.by, named)}


async def delete_one(ask: Ask) -> dict[str, object]:
    named = {"account": ask.account, "id": ask.parameters["id"]}
    return {**await ask.desk.run("bodies.delete", ask.by, named)}


async def delete(ask: Ask) -> dict[str, object]:
    body: Deletion = ask.body
    return {
        **await ask.desk.run("bodies.delete", ask.by, {**msgspec.to_builtins(body), "account": ask.account})
    }


async def forget(ask: Ask) -> dict[str, object]:
    return {**await ask.desk.run("forget", ask.by, {"account": ask.account})}


CONTENT_ROUTES = (
    ApiRoute(
        method="GET", path="/api/v1/content", handler=show, permission="settings:read", reply=Kept,
        summary="What the account has kept of requests and answers, and by which rules.",
    ),
    ApiRoute(
        method="PUT", path="/api/v1/content/rule", handler=set_rule, permission="content:write", body=SetRule,
        reply=RuleChange, summary="Have requests and answers kept, of the account or of one key.",
    ),
    ApiRoute(
        method="DELETE", path="/api/v1/content/rule", handler=unset_rule, permission="content:write",
        parameters=(("key", "of this key alone"),), reply=RuleChange,
        summary="Keep nothing any more; of a key, what its account says.",
    ),
    ApiRoute(
        method="POST", path="/api/v1/content/delete", handler=delete, permission="content:write", body=Deletion,
        reply=Deleted, summary="Delete what is kept: of an exchange, a key, a user, before a time, or everything.",
    ),
    ApiRoute(
        method="POST", path="/api/v1/content/forget", handler=forget, permission="content:write", reply=Forgotten,
        summary="Delete the state of earlier turns that is kept for the account (thinking signatures and the like).",
    ),
    ApiRoute(
        method="GET", path="/api/v1/exchanges/{id}/content", handler=read, holds=has_exchange, permission="content:read", reply=Content,
        summary="What was said in an exchange, as it is kept. It is noted who read it.",
    ),
    ApiRoute(
        method="DELETE", path="/api/v1/exchanges/{id}/content", handler=delete_one, holds=has_exchange, permission="content:write",
        reply=Deleted, summary="Delete what is kept of an exchange.",
    ),
)  # fmt: skip
