"""The operator's commands on alerts: the ways in which they leave, and whether they arrive.

A way of the configuration is called ``webhook`` or ``mail`` and is only shown; the others are made here.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from llm_router.domain.errors import InvalidRequest, NotFound
from llm_router.engine.alert_targets import TYPES, AlertTargets, Target, shown_url
from llm_router.engine.moments import iso_time
from llm_router.engine.notices import Notices
from llm_router.engine.operator import Arguments, Context, Nothing, Result

SEALED_ELSEWHERE = "it was sealed with the secret of another installation, and cannot be opened: add it anew"


class NamedAlert(Arguments, frozen=True, kw_only=True):
    """``alerts.show``, ``alerts.remove``, ``alerts.try``: of the ways that ``alerts.list`` names."""

    name: str


class AddAlert(Arguments, frozen=True, kw_only=True):
    """``alerts.add``. ``address``: of a webhook; ``secret``: what its notices are signed with, None has one made.
    ``to``: of mail. ``types``: what it is told of; [] is everything."""

    name: str
    kind: Literal["webhook", "mail"]
    address: str | None = None
    secret: str | None = None
    to: list[str] = []
    types: list[str] = []
    enabled: bool = True

    def __repr__(self) -> str:
        return f"AddAlert(name={self.name!r}, ***)"


class ChangeAlert(Arguments, frozen=True, kw_only=True):
    """``alerts.change``: what is None stays. ``new_secret``: another one is made."""

    name: str
    address: str | None = None
    secret: str | None = None
    new_secret: bool = False
    to: list[str] | None = None
    types: list[str] | None = None
    enabled: bool | None = None

    def __repr__(self) -> str:
        return f"ChangeAlert(name={self.name!r}, ***)"


async def list_alerts(arguments: Nothing, context: Context) -> Result:
    """The ways in which alerts leave, what waits, and how the last try of this gateway ended."""
    notices = _notices(context)
    stored = {} if notices.targets is None else await notices.targets.all()
    waiting = await notices.waiting() if notices.channels or stored else {}
    rows = [_described(notices, name, _of_file(notices, name), waiting) for name in notices.channels]
    rows += [_described(notices, name, _of_store(target), waiting) for name, target in stored.items()]
    return {"alerts": rows, "types": [{"type": type_, "what": what} for type_, what in TYPES.items()]}


async def show_alert(arguments: NamedAlert, context: Context) -> Result:
    """One of them.

    Raises:
        NotFound: there is no such way.
    """
    rows = (await list_alerts(Nothing(), context))["alerts"]
    assert isinstance(rows, list), "made above"
    for row in rows:
        if row["name"] == arguments.name:
            return dict(row)
    raise await _unknown(arguments.name, _notices(context))


async def add_alert(arguments: AddAlert, context: Context) -> Result:
    """Have alerts leave in one more way. A secret that the gateway made is told once, here.

    Raises:
        InvalidRequest: it cannot be.
        IdempotencyConflict: there is one of that name.
    """
    made = None
    if arguments.kind == "webhook" and arguments.secret is None:
        made = _new_secret(context)
    target = Target(
        name=arguments.name,
        kind=arguments.kind,
        created_ms=context.clock.now_ms(),
        url=arguments.address,
        secret=made or arguments.secret,
        to=tuple(arguments.to),
        types=tuple(arguments.types),
        enabled=arguments.enabled,
    )
    added = await _targets(context).add(target)
    return {**_described(_notices(context), added.name, _of_store(added), {}), "secret": made}


async def change_alert(arguments: ChangeAlert, context: Context) -> Result:
    """Change a way. A secret that the gateway made is told once, here.

    Raises:
        NotFound: there is none.
        InvalidRequest: what it becomes cannot be.
        IdempotencyConflict: it stands in the configuration, or somebody else was faster.
    """
    if arguments.new_secret and arguments.secret is not None:
        raise InvalidRequest("either secret or new_secret", param="new_secret")
    made = _new_secret(context) if arguments.new_secret else None
    wanted = {
        "url": arguments.address,
        "secret": made or arguments.secret,
        "to": None if arguments.to is None else tuple(arguments.to),
        "types": None if arguments.types is None else tuple(arguments.types),
        "enabled": arguments.enabled,
    }
    changes = {name: value for name, value in wanted.items() if value is not None}
    changed = await _targets(context).change(
        arguments.name, lambda target: msgspec.structs.replace(target, **changes)
    )
    notices = _notices(context)
    return {**_described(notices, changed.name, _of_store(changed), await notices.waiting()), "secret": made}


async def remove_alert(arguments: NamedAlert, context: Context) -> Result:
    """Have no more alerts leave that way; what waits for it is not sent.

    Raises:
        NotFound: there is none.
        IdempotencyConflict: it stands in the configuration.
    """
    await _targets(context).remove(arguments.name)
    return {"name": arguments.name, "removed": True}


async def try_alert(arguments: NamedAlert, context: Context) -> Result:
    """Send a test by one of them, now, whether it is enabled or not.

    Raises:
        NotFound: there is no such way.
    """
    notices = _notices(context)
    way = await notices.way(arguments.name)
    if way is None:
        raise await _unknown(arguments.name, notices)
    problem = way if isinstance(way, str) else await notices.try_out(way)
    return {"name": arguments.name, "delivered": problem is None, "problem": problem}


def _new_secret(context: Context) -> str:
    """A secret of webhooks: ``whsec_`` and 190 random bits."""
    return context.new_id("whsec") + context.new_id("").removeprefix("_")


async def _unknown(name: str, notices: Notices) -> NotFound:
    stored = () if notices.targets is None else tuple(await notices.targets.all())
    known = ", ".join((*notices.channels, *stored))
    return NotFound(
        f"alerts do not leave by '{name[:100]}'; there is {known or 'none yet: add one, or name one in [alerts]'}",
        param="name",
    )


def _of_file(notices: Notices, name: str) -> Result:
    told = notices.told[name]
    return {
        "kind": name,
        "source": "config",
        "url": None if told.url is None else shown_url(told.url),
        "to": list(told.to) if name == "mail" else None,
        "types": [],
        "enabled": True,
        "created": None,
        "unreadable": False,
    }


def _of_store(target: Target | None) -> Result:
    if target is None:
        return {
            "kind": None, "source": "stored", "url": None, "to": None, "types": [], "enabled": False,
            "created": None, "unreadable": True,
        }  # fmt: skip
    return {
        "kind": target.kind,
        "source": "stored",
        "url": None if target.url is None else shown_url(target.url),
        "to": list(target.to) if target.kind == "mail" else None,
        "types": list(target.types),
        "enabled": target.enabled,
        "created": iso_time(target.created_ms),
        "unreadable": False,
    }


def _described(notices: Notices, name: str, way: Result, waiting: dict[str, int]) -> Result:
    last = notices.last(name)
    problem = None if last is None else last[1]
    shown = {member: value for member, value in way.items() if member != "unreadable"}
    return {
        "name": name,
        **shown,
        "waiting": waiting.get(name, 0),
        "last_tried": None if last is None else iso_time(last[0]),
        "delivered": None if last is None else last[1] is None,
        "problem": SEALED_ELSEWHERE if way["unreadable"] else problem,
    }


def _targets(context: Context) -> AlertTargets:
    targets = _notices(context).targets
    if targets is None:
        raise InvalidRequest("this gateway's store keeps no ways for alerts", code="not_supported")
    return targets


def _notices(context: Context) -> Notices:
    if context.treasury is None:
        raise NotFound("this gateway sends no alerts")
    return context.treasury.notices
