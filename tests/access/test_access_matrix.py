"""Every row of the API, for every role and every scope, on one's own objects and on another account's."""

from __future__ import annotations

import msgspec
import pytest
from api_kit import ACCOUNTS, World, ask, path_of, rows, run, stubbed

from llm_router.access.permissions import OBJECTS, OPERATOR, ROLES, SCOPES
from llm_router.domain.account import KeyScope, Member, Role, member_id
from llm_router.edge.api.openapi import describe
from llm_router.edge.api.routes import API_TABLE

ROWS = [pytest.param(row, id=f"{row.method} {row.path}") for row in rows()]


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """What each subject is answered by each row, asked once each: (row, subject, account) -> status."""

    async def main():
        world = await World.open(tmp_path_factory.mktemp("matrix"))
        try:
            await world.fill()
            found = {}
            for row in API_TABLE.routes:
                api = world.api((stubbed(row),))
                for account in ACCOUNTS:
                    path = path_of(row, account)
                    for name, how in subjects():
                        answer = await ask(api, row.method, path, **how)
                        found[row.method, row.path, name, account] = answer.status
            return found
        finally:
            await world.close()

    return run(main())


def subjects():
    """Those of acme, and those of no account."""
    for role in Role:
        yield f"role {role}", {"session": f"acme-{role.value}"}
    for scope in KeyScope:
        yield f"scope {scope}", {"key": f"acme-{scope.value}"}
    yield "operator", {"session": "operator"}
    yield "stranger", {"session": "stranger"}
    yield "nobody", {}


def permitted(who):
    kind, _, name = who.partition(" ")
    if kind == "role":
        return ROLES[Role(name)]
    if kind == "scope":
        return SCOPES[KeyScope(name)]
    return OPERATOR if who == "operator" else frozenset()


def expected(row, who, account):
    """What the table of rights comes to, told once more and in other words."""
    if row.who == "anybody":
        return 200
    if who == "nobody":
        return 401
    if row.who == "person" and who.startswith("scope"):
        return 403
    if row.permission is None:
        return 200
    has = permitted(who) if who == "operator" or (account == "acme" and who != "stranger") else frozenset()
    if row.house:
        return 200 if who == "operator" else 404 if row.what else 403
    if row.permission in has:
        return 200
    if not has:
        return 404
    sees = f"{row.permission.partition(':')[0]}:read" in has
    return 403 if sees or row.loads is None else 404


@pytest.mark.parametrize("row", ROWS)
def test_role_by_route_by_object(row, answers):
    wrong = []
    for who, _ in subjects():
        for account in ACCOUNTS:
            if "{person}" in row.path and row.house:
                account = "acme"
            status = answers[row.method, row.path, who, account]
            if status != expected(row, who, account):
                wrong.append((who, account, status, expected(row, who, account)))
    assert not wrong


def test_nobody_outside_learns_whether_an_object_is_there(tmp_path):
    async def main():
        world = await World.open(tmp_path)
        try:
            await world.fill()
            for row in API_TABLE.routes:
                if row.loads is None:
                    continue
                api = world.api((stubbed(row),))
                there = path_of(row, "bolt")
                id_ = there.split("/")[4 if "gateway" not in there else 5].partition("?")[0]
                absent = there.replace(id_, "absent")
                for name, how in subjects():
                    if name in ("operator",):
                        continue
                    real = await ask(api, row.method, there, **how)
                    none = await ask(api, row.method, absent, **how)
                    assert real.status == none.status, (row.path, name)
                    assert real.json["code"] == none.json["code"]
                    assert real.json["message"].replace(id_, "absent") == none.json["message"]
        finally:
            await world.close()

    run(main())


def test_what_is_named_by_its_id_is_found_in_all_accounts_of_who_asks(tmp_path):
    async def in_bolt(asked, account):
        return account == "bolt"

    async def main():
        world = await World.open(tmp_path)
        try:
            await world.fill()
            both = [
                Member(
                    id=member_id(a, "usr_stranger"), account=a, person="usr_stranger", role=role, created_ms=1
                )
                for a, role in (("acme", Role.OWNER), ("bolt", Role.BILLING))
            ]
            assert await world.directory.write(both, [], [])
            for path, status in (
                ("/api/v1/budgets/{id}", 200),
                ("/api/v1/limits/{id}", 403),  # seen, but not allowed
                ("/api/v1/requests/{id}", 404),  # who pays sees no requests
                ("/api/v1/exchanges/{id}/content", 404),
            ):
                (row,) = (r for r in API_TABLE.routes if (r.path, r.method) == (path, "DELETE"))
                assert row.holds is not None
                api = world.api((msgspec.structs.replace(stubbed(row), holds=in_bolt),))
                place = path.replace("{id}", "id")
                assert (await ask(api, "DELETE", place, session="stranger")).status == status, path
                said = await ask(api, "DELETE", f"{place}?account=acme", session="stranger")
                assert said.status == 200
        finally:
            await world.close()

    run(main())


def test_every_row_asks_for_a_known_permission():
    known = set(OPERATOR)
    for row in API_TABLE.routes:
        assert row.permission is None or row.permission in known, row.path
        if row.permission is not None and not row.house:
            # What it pays for a model is an account's own.
            assert row.permission.partition(":")[0] in (*OBJECTS, "model")
            assert row.writes == row.permission.endswith(":write"), row.path
        if row.permission is None:  # what is one's own, or anybody's
            assert row.who != "subject" or row.path in ("/api/v1/me", "/api/v1/key", "/api/v1/accounts"), (
                row.path
            )


@pytest.mark.parametrize(
    ("path", "body", "told"),
    [
        ("teams", {"titel": "red"}, "Did you mean 'title'? Its members are: title."),
        ("teams", {"name": "red"}, "`name`. Its members are: title."),
        ("accounts", {"identifier": "x", "title": "X"}, "Its members are: id, title."),
        (
            "gateway/credits",
            {"acount": "x", "amount": 1},
            "Did you mean 'account'? Its members are: account, amount,",
        ),
    ],
)
def test_a_member_that_nobody_knows_is_answered_with_those_that_there_are(tmp_path, path, body, told):
    async def main():
        world = await World.open(tmp_path)
        try:
            await world.fill()
            place = f"/api/v1/{path}?account=acme"
            answer = await ask(world.api(), "POST", place, session="operator", body=body)
            assert answer.status == 400
            assert told in answer.json["message"]
        finally:
            await world.close()

    run(main())


def test_amounts_are_described_as_they_are_taken():
    schemas = describe(API_TABLE.routes)["components"]["schemas"]
    assert schemas["GiveCredit"]["properties"]["amount"]["type"] == ["number", "string"]
    limit = schemas["MakeKey"]["properties"]["limit"]["anyOf"]
    assert {"type": ["number", "string"], "format": "decimal"} in limit


def test_rows_are_found_by_one_path_each():
    places = [(row.method, row.path) for row in API_TABLE.routes]
    assert len(places) == len(set(places))
