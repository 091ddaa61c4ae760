"""Keys: made, read, changed, rotated, revoked, by people and by management keys.

The members and paths are those of OpenRouter, so that its clients work, and our own beside them:
https://openrouter.ai/docs/api-reference/api-keys/list-api-keys
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from llm_router.access.grants import check_held, check_key_grant, check_spending_grant, held_bound, own_place
from llm_router.billing.rollups import COUNTS
from llm_router.domain.account import KeyScope, Person
from llm_router.domain.errors import Forbidden, InvalidRequest
from llm_router.domain.key import Key, Limits, Priority
from llm_router.domain.money import MAX_PUSD, format_usd
from llm_router.edge.api.desk import Desk
from llm_router.edge.api.money import check_other_key, has_budget
from llm_router.edge.api.table import Answer, ApiRoute, Ask, Body, Dollars, Loaded, Reply
from llm_router.engine.key_changes import OVERLAP_S_DEFAULT
from llm_router.engine.key_limits import RESETS, Reset
from llm_router.engine.keys import (
    allowed_models,
    allowed_providers,
    describe_key,
    ranges_of,
    scopes_of,
)
from llm_router.engine.moments import iso_time, parse_expiry
from llm_router.engine.operator import dollars
from llm_router.engine.teams import team_title

HOUR_MS = 3_600_000
_COST = COUNTS.index("cost")

USED_DAYS = 31
"""So long before today is looked for a key's last use: as far as a month goes back."""

_RESETS: dict[str, str | None] = {window.value: reset for window, reset in RESETS.items()}


class MakeKey(Body, frozen=True, kw_only=True):
    """A new key.

    Attributes:
        limit: dollars that it may spend, in all or in each ``limit_reset``.
        expires, expires_at: a span ("30d") or a time; the latter is OpenRouter's word for it.
        account, workspace_id: whose it is, if that is to be said here, too.
        tags: what all its requests are called in reports, beside what they say themselves.
        include_byok_in_limit: only false is offered: what is asked with keys of the account's own is no part of a limit.
    """

    name: str
    limit: Dollars | None = None
    limit_reset: Reset | None = None
    include_byok_in_limit: bool = False
    workspace_id: str | None = None
    expires_at: str | None = None
    expires: str | None = None
    account: str | None = None
    team: str | None = None
    user: str | None = None
    scopes: tuple[KeyScope, ...] | None = None
    models: tuple[str, ...] | None = None
    providers: tuple[str, ...] | None = None
    ip_ranges: tuple[str, ...] | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrency: int | None = None
    usage_chunk: bool = True
    strict: bool = False
    priority: Priority = "interactive"
    tags: tuple[str, ...] | None = None


class PatchKey(Body, frozen=True, kw_only=True):
    """What is to change of a key; what is left out stays. ``old_text_until``: null ends the text before the last
    rotation now. ``version``: as it was read, to be sure."""

    name: str | UnsetType = UNSET
    disabled: bool | UnsetType = UNSET
    limit: Dollars | UnsetType | None = UNSET
    limit_reset: Reset | UnsetType | None = UNSET
    include_byok_in_limit: bool | UnsetType = UNSET
    expires: str | UnsetType | None = UNSET
    team: str | UnsetType | None = UNSET
    user: str | UnsetType | None = UNSET
    scopes: tuple[KeyScope, ...] | UnsetType | None = UNSET
    models: tuple[str, ...] | UnsetType | None = UNSET
    providers: tuple[str, ...] | UnsetType | None = UNSET
    ip_ranges: tuple[str, ...] | UnsetType | None = UNSET
    requests_per_minute: int | UnsetType | None = UNSET
    tokens_per_minute: int | UnsetType | None = UNSET
    concurrency: int | UnsetType | None = UNSET
    usage_chunk: bool | UnsetType = UNSET
    strict: bool | UnsetType = UNSET
    priority: Priority | UnsetType = UNSET
    tags: tuple[str, ...] | UnsetType | None = UNSET
    old_text_until: UnsetType | None = UNSET
    version: int | None = None


class TurnKey(Body, frozen=True, kw_only=True):
    """``overlap_s``: how long the old text works on."""

    overlap_s: int = OVERLAP_S_DEFAULT


class KeyEntry(Reply, frozen=True, kw_only=True):
    """A key. ``hash`` is its id; the text is not stored and not shown. ``last_used_at``: the hour, today, or else the
    day (UTC) of its last request within 31 days; null: there was none. ``held``: bounds that who made it makes narrower
    alone, and others set."""

    hash: str
    id: str
    name: str
    label: str
    disabled: bool
    status: str
    account: str
    scopes: list[str] | None
    limit: float | None
    limit_remaining: float | None
    limit_reset: str | None
    usage: float
    usage_daily: float
    usage_weekly: float
    usage_monthly: float
    created_at: str
    updated_at: str | None
    expires_at: str | None
    last_used_at: str | None
    tags: list[str]
    held: list[str]


class KeyPage(Reply, frozen=True, kw_only=True):
    """``next``: for ``after``; null on the last page."""

    data: list[KeyEntry]
    has_more: bool
    next: str | None


class OneKey(Reply, frozen=True, kw_only=True):
    data: KeyEntry


class NewKey(Reply, frozen=True, kw_only=True):
    """``key``: its text, shown this once."""

    data: KeyEntry
    key: str


class Deleted(Reply, frozen=True, kw_only=True):
    deleted: bool


async def load_key(desk: Desk, parameters: Mapping[str, str]) -> Loaded | None:
    key = await desk.keyring.get(parameters["hash"])
    return None if key is None else Loaded(account=key.account, value=key)


async def list_keys(ask: Ask) -> dict[str, object]:
    """A page of the account's keys. OpenRouter's ``offset`` is heard where there is no ``after``."""
    limit, account = ask.limit(), ask.account
    after = ask.after() or await _behind(ask, account)
    page = list(await ask.desk.keyring.of_account(account, after, limit + 1))
    shown = page[:limit]
    figures = await _figures(ask, account)
    more = len(page) > limit
    return {
        "data": [figures.entry(key) for key in shown],
        "has_more": more,
        "next": shown[-1].id if more else None,
    }


async def _behind(ask: Ask, account: str) -> str:
    text = ask.request.parameter("offset") or "0"
    if not (text.isascii() and text.isdigit() and len(text) < 6):
        raise InvalidRequest("'offset' must be a number of keys.", param="offset")
    if not (offset := int(text)):
        return ""
    before = await ask.desk.keyring.of_account(account, "", offset)
    return before[-1].id if before else ""


async def show_key(ask: Ask) -> dict[str, object]:
    return {"data": (await _figures(ask, ask.account)).entry(ask.loaded)}


async def own_key(ask: Ask) -> dict[str, object]:
    """GET /api/v1/key: the key that asks, as OpenRouter tells it. Nothing here bounds regions or free models: -1.

    https://openrouter.ai/docs/api-reference/api-keys/get-current-api-key
    """
    key = ask.subject.key
    if key is None:
        raise InvalidRequest("Send an API key: this tells of the key that asks.")
    entry = (await _figures(ask, key.account)).entry(key)
    budgets = await _budgets_of(ask, key)
    return {
        "data": {
            **entry,
            "budgets": budgets,
            "effective_budget": min(
                budgets, key=lambda each: Decimal(bytes(each["remaining_usd"]).decode()), default=None
            ),
            "allowed_data_regions": ["global"],
            "free_model_daily_requests": {"limit": -1, "remaining": -1, "used": 0},
            "organization_id": None,
            "is_free_tier": False,
            "is_provisioning_key": key.scopes is not None and KeyScope.KEYS in key.scopes,
            "is_management_key": key.scopes is not None and KeyScope.KEYS in key.scopes,
            "rate_limit": {
                "requests": -1 if key.limits.requests_per_minute is None else key.limits.requests_per_minute,
                "interval": "1m",
                "note": "-1: this key has no limit of requests of its own",
            },
        }
    }


async def make_key(ask: Ask) -> Answer:
    """Make a key, with its limit, in one step."""
    body: MakeKey = ask.body
    _check_byok(body.include_byok_in_limit)
    if {body.account, body.workspace_id} - {None, ask.account}:
        raise InvalidRequest("Name the account once: ?account=NAME.", param="account")
    expires = body.expires if body.expires is not None else body.expires_at
    team, user = await _team(ask, body.team), body.user
    if (teams := await _own_teams(ask)) is not None:
        team, user = own_place(_person(ask), teams, team, user)
    body = msgspec.structs.replace(body, team=team, user=user)
    wanted = _wanted(ask, body, expires)
    check_key_grant(ask.subject, wanted)
    await _check_spending(ask, wanted, limit=False)
    arguments = {name: value for name in _OWN if (value := getattr(body, name)) is not None}
    arguments |= {"account": ask.account, "by": ask.subject.id}
    if expires is not None:
        arguments["expires"] = expires
    if body.limit is not None:
        arguments |= {"limit": _limit(body.limit), "limit_reset": body.limit_reset}
    made = await ask.desk.run("keys.create", ask.by, arguments)
    id_, text = msgspec.json.decode(made["id"], type=str), msgspec.json.decode(made["key"], type=str)
    return Answer(value={**await _entry(ask, id_), "key": text}, status=201)


def _check_byok(wanted: bool | UnsetType) -> None:
    """
    Raises:
        InvalidRequest: limits would have to count what the account's own keys at providers pay.
    """
    if wanted is True:
        raise InvalidRequest(
            "include_byok_in_limit can only be false: what is asked with the account's own keys is paid at its "
            "provider and is no part of a key's limit. Leave it out, and bound such use by requests_per_minute or "
            "tokens_per_minute.",
            param="include_byok_in_limit",
        )


_OWN = (
    "name", "team", "user", "scopes", "models", "providers", "ip_ranges", "requests_per_minute",
    "tokens_per_minute", "concurrency", "usage_chunk", "strict", "priority", "tags",
)  # fmt: skip


async def patch_key(ask: Ask) -> dict[str, object]:
    """Change a key and its limit, in one step. Who changes one must be able to give all that it had and all that
    it gets."""
    body: PatchKey = ask.body
    key: Key = ask.loaded
    _check_own(ask, key)
    check_key_grant(ask.subject, key)
    _check_byok(body.include_byok_in_limit)
    changes: dict[str, Any] = {
        name: value
        for name in (*_OWN, "disabled", "expires", "limit_reset", "old_text_until")
        if (value := getattr(body, name)) is not UNSET
    }
    if (team := changes.get("team")) not in (None, key.team):
        changes["team"] = await _team(ask, team)
    await _check_place(ask, changes)
    after = _changed(ask, key, changes)
    check_key_grant(ask.subject, after)
    if _for_itself(ask):
        check_held(key, after)
        await _check_held_limit(ask, key, body)
    for each in (key, after):
        await _check_spending(ask, each, limit=body.limit is not UNSET or body.limit_reset is not UNSET)
    if body.limit is not UNSET:
        changes["limit"] = None if body.limit is None else _limit(body.limit)
    if changes:
        version = key.version if body.version is None else body.version
        await ask.desk.run("keys.change", ask.by, {"id": key.id, "version": version, **changes})
    return await _entry(ask, key.id)


async def rotate_key(ask: Ask) -> Answer:
    """Give a key another text."""
    key: Key = ask.loaded
    _check_own(ask, key)
    check_key_grant(ask.subject, key)
    await _check_spending(ask, key, limit=False)
    turned = await ask.desk.run(
        "keys.rotate", ask.by, {"id": key.id, "overlap_s": ask.body.overlap_s, "version": key.version}
    )
    return Answer(value={**await _entry(ask, key.id), "key": msgspec.json.decode(turned["key"], type=str)})


async def revoke_key(ask: Ask) -> dict[str, object]:
    """Refuse a key from now on, for good."""
    _check_own(ask, ask.loaded)
    await check_other_key(ask, ask.loaded.id)
    await ask.desk.run("keys.revoke", ask.by, {"id": ask.loaded.id})
    return {"deleted": True}


def _for_itself(ask: Ask) -> bool:
    """Whether somebody asks who makes keys for their own use alone."""
    return ask.subject.key is None and "member:write" not in ask.subject.permissions(ask.account)


async def _check_held_limit(ask: Ask, key: Key, body: PatchKey) -> None:
    """Refuse that who made a key spends more by it than somebody who manages the keys of others lets it.

    Raises:
        Forbidden
    """
    if "limit" not in key.held or (body.limit is UNSET and body.limit_reset is UNSET):
        return
    held = (await _figures(ask, key.account)).budgets.get(key.id)
    if held is None:
        return
    if body.limit_reset is not UNSET and body.limit_reset != _RESETS[held.window]:
        raise held_bound("limit_reset")
    if body.limit is None or (body.limit is not UNSET and Decimal(_limit(body.limit)) > held.amount):
        raise held_bound("limit")


def _check_own(ask: Ask, key: Key) -> None:
    """Who may make keys for use alone touches only those that they made."""
    if not _for_itself(ask):
        return
    if key.by != ask.subject.id:
        raise Forbidden("Your role may change the keys that you made, and this one is somebody else's.")


async def _team(ask: Ask, named: str | None) -> str | None:
    """The title of the team that a body names."""
    return None if named is None else await team_title(ask.desk.directory, ask.account, named, "team")


async def _own_teams(ask: Ask) -> tuple[str, ...] | None:
    """The teams of who makes keys for their own use alone; None for who makes them for others, too."""
    if not _for_itself(ask):
        return None
    return (await ask.desk.people.member(ask.account, ask.subject.id)).teams


def _person(ask: Ask) -> Person:
    assert ask.subject.person is not None, "asked for before"
    return ask.subject.person


async def _check_place(ask: Ask, changes: dict[str, Any]) -> None:
    """Refuse that a key for somebody's own use gets another's team or user, or none."""
    if not {"team", "user"} & set(changes) or (teams := await _own_teams(ask)) is None:
        return
    person = _person(ask)
    if "user" in changes:
        changes["user"] = own_place(person, (), None, changes["user"])[1]
    if "team" in changes:
        changes["team"] = own_place(person, teams, changes["team"], None)[0]


async def _check_spending(ask: Ask, key: Key, *, limit: bool) -> None:
    """Refuse that an API key with a limit in dollars gets around it. ``limit``: that of the key is to change."""
    maker = ask.subject.key
    if maker is None or not await has_budget(ask, maker):
        return
    check_spending_grant(maker, key)
    if limit and key.id == maker.id:
        raise Forbidden("An API key does not change its own limit.", param="limit")


def _wanted(ask: Ask, body: MakeKey, expires: str | None) -> Key:
    """The key as it would be, as far as rights go."""
    snapshot = ask.desk.snapshot()
    return Key(
        id="",
        account=ask.account,
        name=body.name,
        prefix="",
        created_ms=0,
        scopes=None if body.scopes is None else scopes_of(body.scopes),
        models=None if body.models is None else allowed_models(body.models, snapshot),
        providers=None if body.providers is None else allowed_providers(body.providers, snapshot),
        ip_ranges=None if body.ip_ranges is None else ranges_of(body.ip_ranges),
        expires_ms=None if expires is None else parse_expiry(expires, ask.desk.clock.now_ms()),
        team=body.team,
        user=body.user,
        limits=Limits(
            requests_per_minute=body.requests_per_minute,
            tokens_per_minute=body.tokens_per_minute,
            concurrency=body.concurrency,
        ),
    )


def _changed(ask: Ask, key: Key, changes: dict[str, Any]) -> Key:
    snapshot, new = ask.desk.snapshot(), dict[str, Any]()
    for name, read in (
        ("scopes", scopes_of),
        ("models", lambda names: allowed_models(names, snapshot)),
        ("providers", lambda names: allowed_providers(names, snapshot)),
        ("ip_ranges", ranges_of),
    ):
        if name in changes:
            new[name] = None if changes[name] is None else read(changes[name])
    if "expires" in changes:
        text = changes["expires"]
        new["expires_ms"] = None if text is None else parse_expiry(text, ask.desk.clock.now_ms())
    new |= {name: changes[name] for name in ("team", "user", "disabled", "priority") if name in changes}
    bounds = {name: changes[name] for name in Limits.__struct_fields__ if name in changes}
    return msgspec.structs.replace(key, limits=msgspec.structs.replace(key.limits, **bounds), **new)


# Limits in dollars are budgets of the key


def _limit(limit: Dollars) -> str:
    """Dollars as the commands take them.

    Raises:
        InvalidRequest: it is negative or too large.
    """
    if not 0 <= limit.pusd <= MAX_PUSD:
        raise InvalidRequest(f"'limit' must be from 0 to {format_usd(MAX_PUSD)} dollars.", param="limit")
    return limit.text


_INTERVALS = {"day": "daily", "week": "weekly", "month": "monthly", "lifetime": None}
_SCOPES = {"account": "workspace", "team": "team", "user": "member", "key": "key_limit"}


_read_rows = msgspec.json.Decoder(list[dict[str, Any]], float_hook=Decimal).decode


async def _budgets_of(ask: Ask, key: Key) -> list[dict[str, Any]]:
    """The budgets that bound a key, the widest first; those that are not its own only if it may read them."""
    may_read = "budget:read" in ask.subject.permissions(key.account)
    places = {"account": key.account, "team": key.team, "user": key.user} if may_read else {}
    found: dict[str, list[dict[str, Any]]] = {scope: [] for scope in _SCOPES}
    listed = await ask.desk.run("budgets.list", ask.by, {"account": key.account})
    for row in _read_rows(listed["budgets"]):
        scope = row["scope"]
        if {**places, "key": key.id}.get(scope) == row["scope_id"]:
            found[scope].append(_budget_entry(row))
    return [each for scope in _SCOPES for each in found[scope]]


def _budget_entry(row: dict[str, Any]) -> dict[str, Any]:
    (spend,) = row["spends"]
    return {
        "budget_id": row["id"],
        "guardrail_id": None,
        "include_byok": False,
        "limit_usd": _number(Decimal(row["amount"])),
        "remaining_usd": _number(Decimal(spend["left"])),
        "reset_interval": _INTERVALS.get(row["window"], row["window"]),
        "resets_at": spend["resets"],
        "scope": _SCOPES[row["scope"]],
        "spend_usd": _number(Decimal(spend["spent"])),
    }


class _Budget(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    window: str
    amount: Decimal
    left: Decimal


class _Figures(msgspec.Struct, frozen=True, kw_only=True):
    """What the keys of an account have spent, and may spend."""

    now_ms: int
    budgets: dict[str, _Budget]
    spent: dict[str, dict[str, int]]
    used_ms: dict[str, int]

    def entry(self, key: Key) -> dict[str, object]:
        budget, described = self.budgets.get(key.id), describe_key(key, self.now_ms)
        spent = {name: dollars(by.get(key.id, 0)) for name, by in self.spent.items()}
        return {
            **described,
            "hash": key.id,
            "label": f"{key.prefix}...",
            "disabled": key.disabled or key.revoked_ms is not None,
            "limit": None if budget is None else _number(budget.amount),
            "limit_remaining": None if budget is None else _number(budget.left),
            "limit_reset": None if budget is None else _RESETS.get(budget.window),
            "include_byok_in_limit": False,
            **spent,
            **_OWN_KEYS_USE,
            "created_at": iso_time(key.created_ms),
            "updated_at": None if key.rotated_ms is None else iso_time(key.rotated_ms),
            "expires_at": described["expires"],
            "last_used_at": iso_time(self.used_ms[key.id]) if key.id in self.used_ms else None,
            "creator_user_id": key.by,
            "external_user": key.user,
            "workspace_id": key.account,
        }


_OWN_KEYS_USE = dict.fromkeys(
    ("byok_usage", "byok_usage_daily", "byok_usage_weekly", "byok_usage_monthly"), 0
)
"""What is asked at providers with keys of the account's own costs nothing here but what ``usage`` counts."""


def _number(amount: Decimal) -> msgspec.Raw:
    return msgspec.Raw(format(amount, "f").encode())


async def _entry(ask: Ask, id_: str) -> dict[str, object]:
    key = await ask.desk.keyring.get(id_)
    assert key is not None, "keys are never deleted"
    return {"data": (await _figures(ask, key.account)).entry(key)}


async def _figures(ask: Ask, account: str) -> _Figures:
    desk = ask.desk
    now_ms = desk.clock.now_ms()
    hour = now_ms // HOUR_MS
    budgets: dict[str, _Budget] = {}
    for row in await desk.rows("budgets.list", ask.by, {"account": account}, "budgets"):
        if msgspec.json.decode(row["scope"]) == "key" and msgspec.json.decode(row["window"]) in _RESETS:
            spends = msgspec.json.decode(row["spends"], type=list[dict[str, msgspec.Raw]])
            amount = msgspec.json.decode(row["amount"], type=Decimal)
            left = msgspec.json.decode(spends[0]["left"], type=Decimal) if spends else amount
            budget = _Budget(
                id=msgspec.json.decode(row["id"]),
                window=msgspec.json.decode(row["window"]),
                amount=amount,
                left=left,
            )
            budgets.setdefault(msgspec.json.decode(row["scope_id"]), budget)
    day = hour - hour % 24
    sums = await desk.papers.sums(("key",), 0, hour + 1, account)
    spent = {"usage": {of[0]: counts[_COST] for of, counts in sums}}
    days = await desk.papers.sums(("key", "day"), day - USED_DAYS * 24, day, account)
    hours = await desk.papers.sums(("key", "hour"), day, hour + 1, account)
    used_ms: dict[str, int] = {}
    begins = {
        "usage_daily": day,
        "usage_weekly": day - (day // 24 + 3) % 7 * 24,
        "usage_monthly": _month_of(now_ms),
    }
    spent |= {name: {} for name in begins}
    for rows, unit in ((days, 24), (hours, 1)):
        for (key, number), counts in rows:
            at = int(number) * unit
            used_ms[key] = max(used_ms.get(key, 0), at * HOUR_MS)
            for name, begin in begins.items():
                if at >= begin:
                    spent[name][key] = spent[name].get(key, 0) + counts[_COST]
    return _Figures(now_ms=now_ms, budgets=budgets, spent=spent, used_ms=used_ms)


def _month_of(now_ms: int) -> int:
    """The first hour of the month, UTC."""
    from datetime import UTC, datetime

    now = datetime.fromtimestamp(now_ms / 1000, UTC)
    return int(datetime(now.year, now.month, 1, tzinfo=UTC).timestamp()) // 3600


_PAGE = (("after", "the next of the page before"), ("limit", "1 to 200"), ("offset", "keys to leave out"))

KEY_ROUTES = (
    ApiRoute(method="GET", path="/api/v1/key", handler=own_key, summary="The key that asks.", reply=OneKey),
    ApiRoute(
        method="GET", path="/api/v1/keys", handler=list_keys, summary="The account's keys.",
        permission="key:read", reply=KeyPage, parameters=_PAGE,
    ),
    ApiRoute(
        method="POST", path="/api/v1/keys", handler=make_key, summary="Make a key; its text is shown once.",
        permission="key:write", body=MakeKey, reply=NewKey, status=201,
    ),
    ApiRoute(
        method="GET", path="/api/v1/keys/{hash}", handler=show_key, summary="A key.",
        permission="key:read", loads=load_key, what="key", reply=OneKey,
    ),
    ApiRoute(
        method="PATCH", path="/api/v1/keys/{hash}", handler=patch_key, summary="Change a key.",
        permission="key:write", loads=load_key, what="key", body=PatchKey, reply=OneKey,
    ),
    ApiRoute(
        method="DELETE", path="/api/v1/keys/{hash}", handler=revoke_key, summary="Revoke a key.",
        permission="key:write", loads=load_key, what="key", reply=Deleted,
    ),
    ApiRoute(
        method="POST", path="/api/v1/keys/{hash}/rotate", handler=rotate_key,
        summary="Give a key another text, shown once; the old one works on for a while.",
        permission="key:write", loads=load_key, what="key", body=TurnKey, reply=NewKey,
    ),
)  # fmt: skip
