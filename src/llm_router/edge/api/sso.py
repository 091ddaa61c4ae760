"""Where people sign in at an issuer. What the configuration says of it is only shown."""

from __future__ import annotations

from typing import Any

import msgspec

from llm_router.domain.account import Role
from llm_router.edge.api.table import ApiRoute, Ask, Body, Reply, said
from llm_router.engine.sso import CALLBACK


class SsoEntry(Reply, frozen=True, kw_only=True):
    """``source``: ``config``, ``stored`` or null. ``kept``: something was set here; it waits while the configuration
    names an issuer. ``redirect_uri``: what the issuer has to know. ``domains``: of the addresses that may sign in; []
    is any. ``problem``: why what was set cannot be used."""

    source: str | None
    kept: bool
    name: str
    issuer: str | None
    client_id: str | None
    client_secret_set: bool
    scopes: str
    account: str
    groups_claim: str
    roles: dict[str, str]
    default_role: str | None
    operators: list[str]
    domains: list[str]
    emails_verified: bool
    redirect_uri: str
    changed: str | None
    problem: str | None


class SetSso(Body, frozen=True, kw_only=True):
    """All of it: what is absent has its default. ``client_secret``: null keeps the one of before, if it is of the same
    client of the same issuer; "" is none. ``roles``: of groups."""

    issuer: str
    client_id: str
    client_secret: str | None = None
    name: str | None = None
    scopes: str | None = None
    account: str | None = None
    groups_claim: str | None = None
    roles: dict[str, Role] | None = None
    default_role: Role | None = None
    operators: list[str] | None = None
    domains: list[str] | None = None
    emails_verified: bool | None = None

    def __repr__(self) -> str:
        return f"SetSso(issuer={self.issuer!r}, ***)"


class TestSso(Body, frozen=True, kw_only=True):
    """``issuer``: null is the one that holds now."""

    issuer: str | None = None


class SsoCheck(Reply, frozen=True, kw_only=True):
    """``found``: what there was; ``problem``: what is wrong, and what to do."""

    check: str
    ok: bool
    found: str | None
    problem: str | None


class SsoTested(Reply, frozen=True, kw_only=True):
    ok: bool
    issuer: str
    checks: list[SsoCheck]


class SsoRemoved(Reply, frozen=True, kw_only=True):
    removed: bool


async def show_sso(ask: Ask) -> dict[str, object]:
    return _entry(ask, await ask.desk.run("sso.show", ask.by, {}))


async def set_sso(ask: Ask) -> dict[str, object]:
    wanted: dict[str, Any] = said(ask.body)
    if "client_secret" in wanted:
        wanted["secret"] = wanted.pop("client_secret")
    return _entry(ask, await ask.desk.run("sso.set", ask.by, wanted))


async def remove_sso(ask: Ask) -> dict[str, bool]:
    await ask.desk.run("sso.remove", ask.by, {})
    return {"removed": True}


async def test_sso(ask: Ask) -> dict[str, msgspec.Raw]:
    return await ask.desk.run("sso.test", ask.by, said(ask.body))


def _entry(ask: Ask, shown: dict[str, msgspec.Raw]) -> dict[str, object]:
    """What the command shows, with the address by which browsers come back."""
    told = {name: value for name, value in shown.items() if name not in ("id", "redirect_path")}
    return {**told, "redirect_uri": f"{ask.desk.link_origin(ask.request)}{CALLBACK}"}


_READS: dict[str, Any] = {"permission": "house:read", "house": True}
_WRITES: dict[str, Any] = {"permission": "house:write", "house": True}

SSO_ROUTES = (
    ApiRoute(
        method="GET", path="/api/v1/gateway/sso", handler=show_sso, reply=SsoEntry, **_READS,
        summary="Where people sign in at an issuer, and who decides that; never the secret.",
    ),
    ApiRoute(
        method="PUT", path="/api/v1/gateway/sso", handler=set_sso, body=SetSso, reply=SsoEntry, **_WRITES,
        summary="Have people sign in at an issuer from now on.",
    ),
    ApiRoute(
        method="DELETE", path="/api/v1/gateway/sso", handler=remove_sso, reply=SsoRemoved, **_WRITES,
        summary="Forget the issuer that was set.",
    ),
    ApiRoute(
        method="POST", path="/api/v1/gateway/sso/test", handler=test_sso, body=TestSso, reply=SsoTested, **_WRITES,
        summary="Ask an issuer whether one can sign in there, and say what is wrong.",
    ),
)  # fmt: skip
