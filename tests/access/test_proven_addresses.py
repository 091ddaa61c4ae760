"""Whose address it is: what somebody set before it was proven ends when its owner comes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from api_kit import World, ask, run

from llm_router.access import totp
from llm_router.domain.account import COMMAND_LINE, Member, Person, Role, member_id
from llm_router.engine.oidc import Oidc, OidcRules
from llm_router.engine.rolls import find, named

PASSWORD = "known to the squatter"
BOSS = "boss@corp.example"
CLAIMS = {"sub": "b1", "email": BOSS, "email_verified": True, "groups": ["ops"]}


class Issuer:
    """Says of whoever comes what it was told to."""

    claims_: dict[str, Any]

    async def authorization_url(self) -> str:
        return "https://idp.example/auth"

    async def claims(self, code: str, verifier: str, redirect_uri: str, nonce: str) -> dict[str, Any]:
        return self.claims_


class Scene:
    def __init__(self, world: World, mail: bool, rules: dict[str, Any]) -> None:
        self.world, self.api, self.issuer = world, world.api(mail=mail), Issuer()
        said = {"roles": {"admins": Role.ADMIN, "devs": Role.DEVELOPER}, "operators": ("ops",), **rules}
        world.oidc = Oidc(
            world.sign_ins,
            self.issuer,
            OidcRules(name="IdP", issuer="https://idp.example", client_id="gw", account="acme", **said),
            new_token=world._token,
        )

    async def post(self, path: str, body: Any = None, **options: Any) -> Any:
        return await ask(self.api, "POST", f"/api/v1{path}", body=body, **options)

    async def get(self, path: str, session: str) -> Any:
        return await ask(self.api, "GET", f"/api/v1{path}", session=session)

    async def comes(self, **claims: Any) -> Any:
        """Somebody comes from the issuer."""
        self.issuer.claims_ = {**CLAIMS, **claims}
        _, state = await self.world.oidc.begin("https://gw.example/back", "/")
        path = f"/api/v1/sign-in/oidc/callback?code=c&state={state}"
        return await ask(
            self.api, "GET", path, headers={"cookie": f"llm_router_session_state={state}"}, peer="203.0.113.9"
        )

    async def invite(self, email: str = BOSS, role: str = "viewer") -> Any:
        """An admin invites somebody: the answer."""
        return await self.post(
            "/invitations?account=bolt", {"email": email, "role": role}, session="bolt-admin"
        )

    async def join(self, url: str) -> Any:
        return await self.post(
            "/join", {"token": url.partition("#")[2].split()[0], "name": "N", "password": PASSWORD}
        )

    async def person(self, email: str = BOSS) -> Person:
        found = await named(self.world.directory, Person, email)
        assert found is not None
        return found

    async def acts(self) -> list[str]:
        return [entry.act.action for entry in await self.world.directory.acts(None, 0, 50)][::-1]


def play(tmp_path: Any, scenario: Any, *, mail: bool = False, **rules: Any) -> None:
    async def main() -> None:
        world = await World.open(tmp_path)
        try:
            await world.fill()
            await scenario(Scene(world, mail, rules))
        finally:
            await world.close()

    run(main())


def session_of(answer: Any) -> str:
    assert answer.status in (200, 302), answer.json
    return str(answer.session)


async def sign_in(scene: Scene, password: str = PASSWORD, **options: Any) -> Any:
    return await scene.post("/sign-in", {"email": BOSS, "password": password}, **options)


def test_who_joined_by_a_link_that_was_shown_loses_the_address_to_its_owner(tmp_path):
    async def scenario(scene):
        squatter = session_of(await scene.join((await scene.invite()).json["url"]))
        begun = await scene.post("/me/second-factor", session=squatter)
        assert begun.status == 200
        code = totp.code_at(bytes(range(20)), scene.world.clock.now // totp.STEP_MS)
        assert (await scene.post("/me/second-factor/confirm", {"code": code}, session=squatter)).status == 200
        pending = session_of(await sign_in(scene))
        _, link = await scene.world.sign_ins.reset_link(BOSS, COMMAND_LINE)
        assert (await scene.person()).proven is False

        owner = session_of(await scene.comes())
        told = (await scene.get("/me", owner)).json
        assert (told["operator"], told["second_factor"], told["accounts"]) == (
            True,
            False,
            {"bolt": "viewer"},
        )
        assert (await scene.person()).proven is True
        for session in (squatter, pending):
            assert (await scene.get("/me", session)).status == 401
        assert (await sign_in(scene)).status == 401
        new = {"token": link, "password": "another long password"}
        assert (await scene.post("/password/reset", new)).status == 404
        acts = await scene.acts()
        assert acts.index("people.reclaim") < acts.index("people.change")

        again = session_of(await scene.comes())  # nothing is taken a second time
        assert (await scene.get("/me", owner)).status == 200
        assert (await scene.get("/me", again)).status == 200
        assert (await scene.acts()).count("people.reclaim") == 1

    play(tmp_path, scenario)


def test_who_signed_up_loses_the_address_to_its_owner(tmp_path):
    async def scenario(scene):
        await ask(scene.api, "PATCH", "/api/v1/gateway/settings", session="operator", body={"sign_up": True})
        body = {"email": BOSS, "name": "B", "account": "mine", "password": PASSWORD}
        squatter = session_of(await scene.post("/sign-up", body))
        session_of(await scene.comes())
        assert (await scene.get("/me", squatter)).status == 401
        assert (await sign_in(scene)).status == 401

    play(tmp_path, scenario)


def test_addresses_of_the_issuers_domains_sign_up_there_alone(tmp_path):
    async def scenario(scene):
        await ask(scene.api, "PATCH", "/api/v1/gateway/settings", session="operator", body={"sign_up": True})
        body = {"email": BOSS, "name": "B", "account": "mine", "password": PASSWORD}
        refused = await scene.post("/sign-up", body)
        assert (refused.status, refused.json["code"]) == (403, "issuer_only")
        assert (await scene.post("/sign-up", {**body, "email": "a@other.example"})).status == 200

    play(tmp_path, scenario, domains=("corp.example",))


def test_a_mailed_invitation_proves_the_address_and_is_shown_to_nobody(tmp_path):
    async def scenario(scene):
        made = await scene.invite()
        assert (made.json["mailed"], made.json["url"]) == (True, None)
        ((to, text),) = scene.world.mails
        assert to == BOSS
        joined = session_of(await scene.join(text))
        assert (await scene.person()).proven is True
        session_of(await scene.comes())
        assert (await scene.get("/me", joined)).status == 200
        assert (await sign_in(scene)).status == 200
        assert "people.reclaim" not in await scene.acts()

    play(tmp_path, scenario, mail=True)


def test_a_mailed_link_for_a_new_password_proves_the_address(tmp_path):
    async def scenario(scene):
        squatter = session_of(await scene.join((await scene.invite()).json["url"]))
        await scene.post("/me/second-factor", session=squatter)
        code = totp.code_at(bytes(range(20)), scene.world.clock.now // totp.STEP_MS)
        await scene.post("/me/second-factor/confirm", {"code": code}, session=squatter)
        scene.api = scene.world.api(mail=True)
        await scene.post("/password/forgot", {"email": BOSS})
        await asyncio.gather(*scene.api.desk.tasks)
        ((_, text),) = scene.world.mails
        new = {"token": text.partition("#")[2].split()[0], "password": "of the owner alone"}
        assert (await scene.post("/password/reset", new)).status == 200
        assert (await scene.get("/me", squatter)).status == 401
        own = await sign_in(scene, "of the owner alone")
        assert own.json == {"second_factor": False}
        session_of(await scene.comes())
        assert (await scene.get("/me", session_of(own))).status == 200

    play(tmp_path, scenario)


def test_a_link_of_the_operator_proves_it_too_but_leaves_a_second_factor(tmp_path):
    async def scenario(scene):
        squatter = session_of(await scene.join((await scene.invite()).json["url"]))
        await scene.post("/me/second-factor", session=squatter)
        code = totp.code_at(bytes(range(20)), scene.world.clock.now // totp.STEP_MS)
        await scene.post("/me/second-factor/confirm", {"code": code}, session=squatter)
        for factor in (True, False):
            _, token = await scene.world.sign_ins.reset_link(BOSS, COMMAND_LINE)
            new = {"token": token, "password": "of the owner alone"}
            assert (await scene.post("/password/reset", new)).status == 200
            assert (await scene.person()).proven is not factor
            if factor:
                scene.world.clock.now += totp.STEP_MS
                pending = session_of(await sign_in(scene, "of the owner alone"))
                code = totp.code_at(bytes(range(20)), scene.world.clock.now // totp.STEP_MS)
                session = session_of(await scene.post("/sign-in/code", {"code": code}, session=pending))
                scene.world.clock.now += totp.STEP_MS
                code = totp.code_at(bytes(range(20)), scene.world.clock.now // totp.STEP_MS)
                end = await scene.post("/me/second-factor/end", {"code": code}, session=session)
                assert end.status == 200

    play(tmp_path, scenario)


def test_a_password_that_is_looked_at_meanwhile_opens_nothing(tmp_path):
    async def scenario(scene):
        await scene.join((await scene.invite()).json["url"])
        verify = scene.world.sign_ins.passwords.verify

        async def slow(*arguments):
            right = await verify(*arguments)
            session_of(await scene.comes())
            return right

        scene.world.sign_ins.passwords.verify = slow
        assert (await sign_in(scene)).status == 401
        boss = await scene.person()
        assert [each.how for each in await scene.world.sign_ins.sessions(boss.id)] == ["IdP"]

    play(tmp_path, scenario)


# What groups gave, groups take


async def roles(scene: Scene, answer: Any) -> Any:
    return (await scene.get("/me", session_of(answer))).json["accounts"]


def test_what_groups_gave_ends_with_them(tmp_path):
    async def scenario(scene):
        first = await scene.comes(groups=["admins", "ops"])
        assert await roles(scene, first) == {"acme": "admin"}
        assert (await scene.person()).operator is True
        assert await roles(scene, await scene.comes(groups=["devs"])) == {"acme": "developer"}
        assert (await scene.person()).operator is False
        gone = await scene.comes(groups=[])
        assert (gone.status, "groups" in gone.json["message"]) == (403, True)
        assert (await scene.get("/me", session_of(first))).json["accounts"] == {}
        assert (await scene.acts()).count("members.remove") == 1
        assert await roles(scene, await scene.comes(groups=["devs"])) == {"acme": "developer"}

    play(tmp_path, scenario)


def test_what_people_gave_stays_without_groups(tmp_path):
    async def scenario(scene):
        boss = await scene.world.people.invite(scene_operator(), "acme", BOSS, Role.VIEWER, (), COMMAND_LINE)
        await scene.join(f"#{boss[1]}")
        assert await roles(scene, await scene.comes(groups=["admins"])) == {"acme": "admin"}
        listed = await scene.get("/members?account=acme", "operator")
        shown = {row["email"]: row["role_from_groups"] for row in listed.json["data"]}
        assert (shown[BOSS], shown["acme-admin@example.com"]) == (True, False)
        assert await roles(scene, await scene.comes(groups=[])) == {"acme": "viewer"}
        person = (await scene.person()).id
        session_of(await scene.comes(groups=["admins"]))
        changed = await ask(
            scene.api, "PATCH", f"/api/v1/members/{person}?account=acme", session="operator",
            body={"role": "billing"},
        )  # fmt: skip
        assert changed.json["role"] == "billing"
        assert await roles(scene, await scene.comes(groups=["admins"])) == {"acme": "admin"}
        assert await roles(scene, await scene.comes(groups=[])) == {"acme": "billing"}

    play(tmp_path, scenario)


def scene_operator() -> Any:
    from llm_router.engine.housekeeping import OPERATOR

    return OPERATOR


def test_the_last_owner_and_the_last_operator_stay(tmp_path):
    async def scenario(scene):
        directory = scene.world.directory
        session_of(await scene.comes(groups=["owners", "ops"]))
        operator = await find(directory, Person, "usr_operator")
        assert operator is not None
        me = await scene.person()
        owner = member_id("acme", "usr_acme-owner")
        member = await find(directory, Member, owner)
        assert member is not None
        await scene.world.people.remove_member(scene_operator(), member, COMMAND_LINE)
        await scene.world.people.change_person(operator, COMMAND_LINE, operator=False)
        answer = await scene.comes(groups=[])
        assert await roles(scene, answer) == {"acme": "owner"}
        assert (await scene.person()).operator is True
        assert await directory.write(scene.world.signed_in("next", "acme", Role.OWNER), [], [])
        found = await find(directory, Person, "usr_next")
        assert found is not None
        await scene.world.people.change_person(found, COMMAND_LINE, operator=True)
        assert (await scene.comes(groups=[])).status == 403
        assert await find(directory, Member, member_id("acme", me.id)) is None

    play(tmp_path, scenario, roles={"owners": Role.OWNER})


def test_groups_that_are_to_be_asked_for_elsewhere_change_nothing(tmp_path):
    async def scenario(scene):
        assert await roles(scene, await scene.comes(groups=["admins"])) == {"acme": "admin"}
        more = {"groups": None, "_claim_names": {"groups": "src1"}}
        assert await roles(scene, await scene.comes(**more)) == {"acme": "admin"}
        assert (await scene.comes(groups=None)).status == 403

    play(tmp_path, scenario)


def test_no_group_is_called_none(tmp_path):
    async def scenario(scene):
        assert (await scene.comes(groups=None)).status == 403

    play(tmp_path, scenario, roles={"None": Role.ADMIN})


@pytest.mark.parametrize("group", ["devs", "admins"])
def test_an_account_that_groups_give_no_more_is_left(tmp_path, group):
    async def scenario(scene):
        session_of(await scene.comes(groups=[group]))
        other = OidcRules(
            name="IdP",
            issuer="https://idp.example",
            client_id="gw",
            account="bolt",
            roles={group: Role.VIEWER},
        )
        scene.world.oidc = Oidc(scene.world.sign_ins, scene.issuer, other, new_token=scene.world._token)
        assert await roles(scene, await scene.comes(groups=[group])) == {"bolt": "viewer"}

    play(tmp_path, scenario)
