"""What the audit log says of a command: who, what, on what, what it was and became. Never a secret."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from llm_router.domain.account import Act, Actor, AuditEntry, Intent
from llm_router.domain.errors import NotFound
from llm_router.engine.moments import iso_time
from llm_router.engine.operator import Arguments, Context, Result, read
from llm_router.ports import Directory

_READING = frozenset({"list", "show", "export", "versions", "report", "attempts", "history"})
# What links are made is logged where they are made.
_READS = frozenset({"models", "audit.check", "deployments", "explain", "receipts.keys", "routes.rehearse"})

_SELF_LOGGED = ("accounts.", "members.", "teams.", "invitations.", "settings.", "people.")
"""How commands begin whose change and act are one write (:mod:`llm_router.engine.people`)."""

_SECRET = frozenset({"key", "secret", "code", "password", "token", "text", "address"})
"""Members that are no word for the log. A key's text stands under ``key``, once; an address may open a webhook."""

_LISTS = {
    "budgets.set": ("budgets.list", "budgets"),
    "limits.set": ("limits.list", "limits"),
    "alerts.change": ("alerts.list", "alerts"),
    "alerts.remove": ("alerts.list", "alerts"),
}
"""Commands that may change what is there already, and where it is listed."""

_SHOWN = {"sso.set": "sso.show", "sso.remove": "sso.show"}
"""Commands that may change the one thing of its kind, and what shows it."""

UNTOLD = "not known: it was begun, and the gateway ended or lost its disk before it could tell"

UNTOLD_MS = 15 * 60_000
"""Nobody is at a command for so long: what was begun earlier and not told is logged by another process."""
_BARE = frozenset({"bodies.read"})
"""Commands whose result is no word for the log: what somebody said, and may want deleted."""

Commands = Mapping[str, tuple[type[Arguments], Callable[[Any, Context], Awaitable[Result]]]]


def is_read(command: str) -> bool:
    """Whether nothing is to be logged of a command: it changes nothing, or logs it itself. One that nobody knows
    of changes something."""
    return command in _READS or command.startswith(_SELF_LOGGED) or command.rpartition(".")[2] in _READING


async def state_before(
    command: str, arguments: Mapping[str, object], context: Context, commands: Commands
) -> list[Any]:
    """What there was that the command may change."""
    if command.startswith("keys.") and "id" in arguments:
        kind, show = commands["keys.show"]
        try:
            return [await show(read(kind, {"id": arguments["id"]}), context)]
        except NotFound:  # the command itself will say so
            return []
    if command in _SHOWN:
        kind, show = commands[_SHOWN[command]]
        return [await show(read(kind, {}), context)]
    if command in _LISTS:
        listing, member = _LISTS[command]
        kind, run = commands[listing]
        named = {} if "account" not in arguments else {"account": arguments["account"]}
        found = (await run(read(kind, named), context))[member]
        return found if isinstance(found, list) else []
    return []


def act_of(
    command: str, arguments: Mapping[str, object], before: list[Any], result: Result, by: Actor, now_ms: int
) -> Act:
    """The act that a command was."""
    if command in _BARE:
        result = {name: value for name, value in result.items() if name in ("id", "key")}
    removed = command.endswith((".remove", ".delete")) and not command.startswith("bodies.")
    named = _named(arguments, result, ("id", "name"))
    was = next((each for each in before if _called(each) == named), result if removed else None)
    account = result.get("account", arguments.get("account", ""))
    return Act(
        at_ms=now_ms,
        account=str(account or ""),
        actor=by.id,
        actor_name=by.name,
        action=command,
        object=_object(command, arguments, result),
        before=None if was is None else json_of(was),
        after=None if removed else json_of({**arguments, **result}),
        ip=by.ip,
    )


_NAMING = ("id", "name", "provider", "voucher", "issuer", "user", "account")
"""Members that name what a command was done to, the narrowest first."""


def _object(command: str, arguments: Mapping[str, object], result: Mapping[str, object]) -> str:
    """What a command was done to: a row, or else the account whose books or settings it changed."""
    if command.startswith("bodies.") and arguments.get("id") is None and arguments.get("key") is not None:
        return str(arguments["key"])  # the id of a key, and not its text
    made = result.get("vouchers")
    if isinstance(made, list | tuple) and made:
        return str(made[0]["id"]) if len(made) == 1 else f"{len(made)} vouchers"
    return _named(arguments, result, _NAMING)


def _named(arguments: Mapping[str, object], result: Mapping[str, object], members: tuple[str, ...]) -> str:
    """The first of these members that has a value; empty if none has."""
    for name in members:
        for told in (result, arguments):
            if (value := told.get(name)) is not None and value != "":
                return str(value)
    return ""


def _called(row: Mapping[str, object]) -> str:
    """The id of a row, or its name where it has no other."""
    return str(row.get("id", row.get("name")))


def act_begun(
    command: str, arguments: Mapping[str, object], before: list[Any], by: Actor, now_ms: int
) -> Act:
    """The act that a command is about to be: ``after`` is what was asked for."""
    named = _named(arguments, {}, ("id", "name"))
    was = next((each for each in before if _called(each) == named), None)
    act = act_of(command, arguments, [], {}, by, now_ms)
    return msgspec.structs.replace(
        act, before=None if was is None else json_of(was), after=json_of(arguments)
    )


async def recover_intents(directory: Directory, began_before_ms: int) -> int:
    """Log what was begun before that moment and never told to have ended: its process died, or could not write
    any more. Return how many acts there were.

    Raises:
        LedgerUnavailable: the directory cannot be read or written.
    """
    found = 0
    for noun in await directory.rows("intent"):
        assert isinstance(noun, Intent), "asked for by kind"
        if noun.act.at_ms >= began_before_ms:
            continue
        asked = None if noun.act.after is None else msgspec.Raw(noun.act.after.encode())
        act = msgspec.structs.replace(noun.act, after=json_of({"outcome": UNTOLD, "asked": asked}))
        found += await directory.write([], [("intent", noun.id)], [act])
    return found


def described_act(entry: AuditEntry) -> dict[str, object]:
    """An act in its place, as the API and commands tell it."""
    act = entry.act
    return {
        "seq": entry.seq,
        "at": iso_time(act.at_ms),
        "account": act.account,
        "actor": act.actor,
        "actor_name": act.actor_name,
        "action": act.action,
        "object": act.object,
        "before": None if act.before is None else msgspec.Raw(act.before.encode()),
        "after": None if act.after is None else msgspec.Raw(act.after.encode()),
        "ip": act.ip,
        "hash": entry.hash,
    }


def json_of(value: object) -> str:
    """Plain data as JSON, without what is secret."""
    return msgspec.json.encode(_open(value)).decode()


def _open(value: object) -> object:
    if isinstance(value, Mapping):
        return {name: _open(part) for name, part in value.items() if name not in _SECRET}
    if isinstance(value, list | tuple):
        return [_open(part) for part in value]
    return value
