"""The audit log, and what belongs to the gateway: people, and whether strangers may sign up."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import Any

import msgspec

from llm_router.domain.account import House, Person
from llm_router.domain.errors import InvalidRequest
from llm_router.edge.api.desk import Desk
from llm_router.edge.api.pages import page_of
from llm_router.edge.api.table import ApiRoute, Ask, Body, Loaded, Reply, Stream
from llm_router.engine.auditing import described_act
from llm_router.engine.moments import iso_time
from llm_router.engine.rolls import find, some
from llm_router.ports import Directory

LINES = "application/x-ndjson"
EXPORT_PAGE = 500


class ActEntry(Reply, frozen=True, kw_only=True):
    """Something that somebody did. ``hash`` binds it to all entries before it."""

    seq: int
    at: str
    account: str
    actor: str
    actor_name: str
    action: str
    object: str
    before: Any
    after: Any
    ip: str
    hash: str


class ActPage(Reply, frozen=True, kw_only=True):
    data: list[ActEntry]
    has_more: bool
    next: str | None


class LogCheck(Reply, frozen=True, kw_only=True):
    ok: bool
    acts: int
    hash: str | None


class PersonEntry(Reply, frozen=True, kw_only=True):
    id: str
    email: str
    name: str
    operator: bool
    disabled: str | None
    created: str


class PersonPage(Reply, frozen=True, kw_only=True):
    data: list[PersonEntry]
    has_more: bool
    next: str | None


class PatchPerson(Body, frozen=True, kw_only=True):
    name: str | None = None
    operator: bool | None = None
    disabled: bool | None = None


class HouseEntry(Reply, frozen=True, kw_only=True):
    """``sign_up``: strangers may make themselves an account; ``public_pages``: anybody sees prices and status."""

    sign_up: bool
    public_pages: bool


class PatchHouse(Body, frozen=True, kw_only=True):
    sign_up: bool | None = None
    public_pages: bool | None = None


async def load_person(desk: Desk, parameters: Mapping[str, str]) -> Loaded | None:
    person = await find(desk.directory, Person, parameters["person"])
    return None if person is None else Loaded(account="", value=person)


async def list_acts(ask: Ask) -> dict[str, object]:
    return await _acts(ask, ask.account)


async def list_all_acts(ask: Ask) -> dict[str, object]:
    return await _acts(ask, None)


async def _acts(ask: Ask, account: str | None) -> dict[str, object]:
    after = ask.after() or "0"
    if not (after.isascii() and after.isdigit() and len(after) < 16):
        raise InvalidRequest("'after' must be the next of the page before.", param="after")
    found = await ask.desk.directory.acts(account, int(after), ask.limit() + 1)
    page = page_of([described_act(entry) for entry in found], ask.limit(), "seq")
    return {**page, "next": None if page["next"] is None else str(page["next"])}


async def check_log(ask: Ask) -> dict[str, msgspec.Raw]:
    return await ask.desk.run("audit.check", ask.by, {})


async def export_acts(ask: Ask) -> Stream:
    return _exported(ask, ask.account)


async def export_all_acts(ask: Ask) -> Stream:
    return _exported(ask, None)


def _exported(ask: Ask, account: str | None) -> Stream:
    """In pieces, each read when the one before is sent."""
    return Stream(pieces=_lines(ask.desk.directory, account), content_type=LINES, filename="audit.jsonl")


async def _lines(directory: Directory, account: str | None) -> AsyncGenerator[bytes, None]:
    before = 0
    while found := await directory.acts(account, before, EXPORT_PAGE):
        yield b"".join(msgspec.json.encode(described_act(entry)) + b"\n" for entry in found)
        before = found[-1].seq
    if not before:
        yield b""  # so that there is an answer


async def list_people(ask: Ask) -> dict[str, object]:
    found = await some(ask.desk.directory, Person, after=ask.after(), limit=ask.limit() + 1)
    return page_of([person_entry(each) for each in found], ask.limit())


async def show_person(ask: Ask) -> dict[str, object]:
    return person_entry(ask.loaded)


async def patch_person(ask: Ask) -> dict[str, object]:
    body: PatchPerson = ask.body
    changed = await ask.desk.people.change_person(
        ask.loaded, ask.by, title=body.name, operator=body.operator, disabled=body.disabled
    )
    return person_entry(changed)


def person_entry(person: Person) -> dict[str, object]:
    return {
        "id": person.id,
        "email": person.email,
        "name": person.title,
        "operator": person.operator,
        "disabled": None if person.disabled_ms is None else iso_time(person.disabled_ms),
        "created": iso_time(person.created_ms),
    }


async def show_house(ask: Ask) -> dict[str, object]:
    return _house(await ask.desk.people.house())


async def patch_house(ask: Ask) -> dict[str, object]:
    body: PatchHouse = ask.body
    return _house(
        await ask.desk.people.change_house(ask.by, sign_up=body.sign_up, public_pages=body.public_pages)
    )


def _house(house: House) -> dict[str, object]:
    return {"sign_up": house.sign_up, "public_pages": house.public_pages}


_PAGE = (("after", "the next of the page before"), ("limit", "1 to 200"))

HOUSE_ROUTES = (
    ApiRoute(
        method="GET", path="/api/v1/audit", handler=list_acts, summary="Who did what in an account, the newest first.",
        permission="audit:read", reply=ActPage, parameters=_PAGE,
    ),
    ApiRoute(
        method="GET", path="/api/v1/audit/export", handler=export_acts, permission="audit:read", media=(LINES,),
        summary="All of it as JSON lines, the newest first.",
    ),
    ApiRoute(
        method="GET", path="/api/v1/gateway/audit", handler=list_all_acts, summary="Who did what, in all accounts.",
        permission="house:read", house=True, reply=ActPage, parameters=_PAGE,
    ),
    ApiRoute(
        method="GET", path="/api/v1/gateway/audit/export", handler=export_all_acts, permission="house:read",
        house=True, media=(LINES,), summary="The same of all accounts.",
    ),
    ApiRoute(
        method="GET", path="/api/v1/gateway/audit/check", handler=check_log, permission="house:read", house=True,
        summary="Calculate the chain of the log again: how many acts there are, and the last one's hash.",
        reply=LogCheck,
    ),
    ApiRoute(
        method="GET", path="/api/v1/gateway/people", handler=list_people, summary="Everybody who can sign in.",
        permission="people:read", house=True, reply=PersonPage, parameters=_PAGE,
    ),
    ApiRoute(
        method="GET", path="/api/v1/gateway/people/{person}", handler=show_person, summary="A person.",
        permission="people:read", house=True, loads=load_person, what="person", reply=PersonEntry,
    ),
    ApiRoute(
        method="PATCH", path="/api/v1/gateway/people/{person}", handler=patch_person,
        summary="Rename somebody, make them an operator or not, let them sign in or not.",
        permission="people:write", house=True, loads=load_person, what="person", body=PatchPerson, reply=PersonEntry,
    ),
    ApiRoute(
        method="GET", path="/api/v1/gateway/settings", handler=show_house, summary="What the operator has decided.",
        permission="house:read", house=True, reply=HouseEntry,
    ),
    ApiRoute(
        method="PATCH", path="/api/v1/gateway/settings", handler=patch_house, summary="Decide it.",
        permission="house:write", house=True, body=PatchHouse, reply=HouseEntry,
    ),
)  # fmt: skip
