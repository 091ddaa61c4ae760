"""Passwords, second factors, links that work once and sessions, through the API in this process."""

from __future__ import annotations

import asyncio

import pytest
from api_kit import World, ask, run

from llm_router.access import totp
from llm_router.adapters.passwords import Argon2Passwords
from llm_router.domain.account import COMMAND_LINE, Person
from llm_router.edge.api.cookies import own_path
from llm_router.engine.rolls import named
from llm_router.ports import Turn

PASSWORD = "correct horse battery"
ADA = "ada@example.com"


def play(tmp_path, scenario, *, new: bool = False):
    """Run a scenario in a world whose operator is Ada."""

    async def main():
        world = await World.open(tmp_path)
        try:
            api = world.api()
            if not new:
                token = await world.sign_ins.setup_link()
                answer = await set_up(api, token)
                assert answer.status == 200, answer.json
            return await scenario(world, api)
        finally:
            await world.close()

    return run(main())


async def set_up(api, token, **changes):
    body = {"token": token, "email": ADA, "name": "Ada", "password": PASSWORD, **changes}
    return await ask(api, "POST", "/api/v1/set-up", body=body)


async def sign_in(api, email=ADA, password=PASSWORD, **options):
    body = {"email": email, "password": password}
    return await ask(api, "POST", "/api/v1/sign-in", body=body, **options)


def token_of(answer):
    assert answer.status == 200, answer.json
    return answer.headers["set-cookie"].partition(";")[0].partition("=")[2]


def test_the_setup_link_makes_one_operator_once(tmp_path):
    async def scenario(world, api):
        first = await world.sign_ins.setup_link()
        second = await world.sign_ins.setup_link()
        assert (await set_up(api, first)).status == 404  # a later start made another
        assert (await set_up(api, second, password="short")).status == 400
        assert (await set_up(api, second, email="nobody")).status == 400
        answers = await asyncio.gather(*(set_up(api, second, email=f"a{n}@example.com") for n in range(3)))
        assert sorted(answer.status for answer in answers) in (
            [200, 404, 404],
            [200, 404, 409],
            [200, 409, 409],
        )
        assert await world.sign_ins.setup_link() is None
        token = next(token_of(answer) for answer in answers if answer.status == 200)
        me = await ask(api, "GET", "/api/v1/me", session=token)
        assert (me.json["operator"], me.json["accounts"]) == (True, {"default": "owner"})

    play(tmp_path, scenario, new=True)


def test_an_expired_setup_link_is_none(tmp_path):
    async def scenario(world, api):
        token = await world.sign_ins.setup_link()
        world.clock.now += 25 * 3_600_000
        assert (await set_up(api, token)).status == 404

    play(tmp_path, scenario, new=True)


def test_the_cookie_is_for_http_alone_and_another_with_each_sign_in(tmp_path):
    async def scenario(world, api):
        first, second = await sign_in(api), await sign_in(api)
        assert token_of(first) != token_of(second)
        for word in ("HttpOnly", "SameSite=Lax", "Path=/"):
            assert word in first.headers["set-cookie"]
        # who signs in again in the same browser has the old session no more
        third = await sign_in(api, session=token_of(second))
        assert (await ask(api, "GET", "/api/v1/me", session=token_of(second))).status == 401
        assert (await ask(api, "GET", "/api/v1/me", session=token_of(third))).status == 200

    play(tmp_path, scenario)


def test_wrong_and_unknown_are_told_alike_and_have_to_wait_alike(tmp_path):
    async def scenario(world, api):
        told = {}
        for email in (ADA, "nobody@example.com"):
            told[email] = [await sign_in(api, email, "wrong password", peer=email) for _ in range(7)]
        shown = [
            [(a.status, a.json["code"], a.json["message"]) for a in answers] for answers in told.values()
        ]
        assert shown[0] == shown[1]
        assert [a.status for a in told[ADA]] == [401] * 5 + [429] * 2
        assert (await sign_in(api, peer="elsewhere")).status == 429  # the right one, too
        world.clock.now += 15_000
        assert (await sign_in(api, peer="elsewhere")).status == 200
        assert (await sign_in(api, password="wrong again")).status == 401  # counted from the beginning

    play(tmp_path, scenario)


def test_many_tries_at_the_same_time_all_count(tmp_path):
    async def scenario(world, api):
        answers = await asyncio.gather(*(sign_in(api, password=f"guess {n}") for n in range(20)))
        assert sorted(a.status for a in answers) == [401] * 5 + [429] * 15

    play(tmp_path, scenario)


def test_one_address_of_the_network_guesses_for_many_people_but_not_for_ever(tmp_path):
    async def scenario(world, api):
        answers = [await sign_in(api, f"p{n}@example.com", "wrong password") for n in range(32)]
        assert [a.status for a in answers] == [401] * 30 + [429] * 2
        assert (await sign_in(api, peer="198.51.100.1")).status == 200

    play(tmp_path, scenario)


def test_sessions_are_listed_ended_and_die_of_age(tmp_path):
    async def scenario(world, api):
        first, second = token_of(await sign_in(api)), token_of(await sign_in(api))
        listed = (await ask(api, "GET", "/api/v1/me/sessions", session=first)).json["data"]
        assert len(listed) == 3  # with that of the setup
        other = next(each for each in listed if not each["current"])
        path = f"/api/v1/me/sessions/{other['id']}"
        assert (await ask(api, "DELETE", path, session=first)).status == 200
        assert (await ask(api, "DELETE", path, session=first)).status == 404
        out = await ask(api, "POST", "/api/v1/sign-out", session=second)
        assert "Max-Age=0" in out.headers["set-cookie"]
        assert (await ask(api, "GET", "/api/v1/me", session=second)).json["code"] == "session_ended"
        world.clock.now += 2 * 86_400_000
        assert (await ask(api, "GET", "/api/v1/me", session=first)).status == 200
        world.clock.now += 3 * 86_400_000
        assert (await ask(api, "GET", "/api/v1/me", session=first)).status == 401

    play(tmp_path, scenario)


def test_a_session_lasts_two_weeks_however_much_it_is_used(tmp_path):
    async def scenario(world, api):
        token = token_of(await sign_in(api))
        for _ in range(13):
            world.clock.now += 86_400_000
            assert (await ask(api, "GET", "/api/v1/me", session=token)).status == 200
        world.clock.now += 86_400_000
        assert (await ask(api, "GET", "/api/v1/me", session=token)).status == 401

    play(tmp_path, scenario)


def test_a_link_sets_a_password_once_and_ends_all_sessions(tmp_path):
    async def scenario(world, api):
        session = token_of(await sign_in(api))
        assert await world.sign_ins.reset_link("nobody@example.com", COMMAND_LINE) is None
        _, old = await world.sign_ins.reset_link(ADA, COMMAND_LINE)
        _, token = await world.sign_ins.reset_link(ADA, COMMAND_LINE)

        async def reset(token, password="another long password"):
            return await ask(
                api, "POST", "/api/v1/password/reset", body={"token": token, "password": password}
            )

        assert (await reset(old)).status == 404
        assert (await reset(token, "short")).status == 400
        assert (await reset(token)).status == 200
        assert (await reset(token)).status == 404
        assert (await ask(api, "GET", "/api/v1/me", session=session)).status == 401
        assert (await sign_in(api)).status == 401
        assert (await sign_in(api, password="another long password")).status == 200

    play(tmp_path, scenario)


def test_a_changed_password_keeps_this_session_alone(tmp_path):
    async def scenario(world, api):
        here, there = token_of(await sign_in(api)), token_of(await sign_in(api))
        body = {"current": "wrong password", "password": "another long password"}
        assert (await ask(api, "POST", "/api/v1/me/password", session=here, body=body)).status == 401
        body["current"] = PASSWORD
        assert (await ask(api, "POST", "/api/v1/me/password", session=here, body=body)).status == 200
        assert (await ask(api, "GET", "/api/v1/me", session=here)).status == 200
        assert (await ask(api, "GET", "/api/v1/me", session=there)).status == 401

    play(tmp_path, scenario)


def code(world, step: int = 0) -> str:
    return totp.code_at(bytes(range(20)), world.clock.now // totp.STEP_MS + step)


async def with_second_factor(world, api):
    session = token_of(await sign_in(api))
    begun = await ask(api, "POST", "/api/v1/me/second-factor", session=session)
    assert begun.json["uri"].startswith("otpauth://totp/")
    confirm = "/api/v1/me/second-factor/confirm"
    assert (await ask(api, "POST", confirm, session=session, body={"code": "000000"})).status == 401
    codes = await ask(api, "POST", confirm, session=session, body={"code": code(world)})
    assert len(set(codes.json["codes"])) == 10
    return session, codes.json["codes"]


def test_a_second_factor_is_asked_for_and_no_code_is_taken_twice(tmp_path):
    async def scenario(world, api):
        _, codes = await with_second_factor(world, api)

        async def give(session, code):
            return await ask(api, "POST", "/api/v1/sign-in/code", session=session, body={"code": code})

        begun = await sign_in(api)
        assert begun.json == {"second_factor": True}
        pending = token_of(begun)
        for path in ("/api/v1/me", "/api/v1/keys", "/api/v1/me/sessions"):
            refused = await ask(api, "GET", path, session=pending)
            assert (refused.status, refused.json["code"]) == (401, "second_factor_required")
        assert (await give(pending, code(world))).status == 401  # the one that confirmed it
        world.clock.now += totp.STEP_MS
        done = await give(pending, code(world))
        token = token_of(done)
        assert token != pending
        assert (await ask(api, "GET", "/api/v1/me", session=pending)).status == 401
        assert (await ask(api, "GET", "/api/v1/me", session=token)).json["second_factor"] is True
        again = token_of(await sign_in(api))
        assert (await give(again, code(world))).status == 401
        assert (await give(again, codes[0].lower())).status == 200
        assert (await give(token_of(await sign_in(api)), codes[0])).status == 401

    play(tmp_path, scenario)


def test_codes_are_not_guessed(tmp_path):
    async def scenario(world, api):
        await with_second_factor(world, api)
        pending = token_of(await sign_in(api))
        answers = [
            await ask(api, "POST", "/api/v1/sign-in/code", session=pending, body={"code": f"{n:06}"})
            for n in range(7)
        ]
        assert [a.status for a in answers] == [401] * 5 + [429] * 2

    play(tmp_path, scenario)


def test_a_second_factor_ends_by_a_code_alone(tmp_path):
    async def scenario(world, api):
        session, codes = await with_second_factor(world, api)
        assert (await ask(api, "POST", "/api/v1/me/second-factor", session=session)).status == 403
        end = "/api/v1/me/second-factor/end"
        assert (await ask(api, "POST", end, session=session, body={"code": "000000"})).status == 401
        assert (await ask(api, "POST", end, session=session, body={"code": codes[1]})).status == 200
        assert (await sign_in(api)).json == {"second_factor": False}

    play(tmp_path, scenario)


def test_other_sites_cannot_have_a_browser_act(tmp_path):
    async def scenario(world, api):
        session = token_of(await sign_in(api))

        async def change(**options):
            return await ask(
                api, "PATCH", "/api/v1/gateway/settings", session=session, body={"sign_up": True}, **options
            )

        assert (await change(csrf=False)).json["code"] == "csrf"
        for origin in ("https://evil.example", "null", "http://gateway.example.evil.example"):
            assert (await change(headers={"origin": origin})).json["code"] == "csrf"
        assert (await change(headers={"origin": "http://gateway.example"})).status == 200
        assert (await sign_in(api, headers={"origin": "https://evil.example"})).status == 403

    play(tmp_path, scenario)


@pytest.mark.parametrize(
    ("asked", "path"),
    [
        ("/keys?x=1", "/keys?x=1"),
        ("//evil.example", "/"),
        ("/\\evil.example", "/"),
        ("https://evil.example", "/"),
        ("/a\nb", "/"),
        (None, "/"),
        ("", "/"),
    ],
)
def test_no_link_leads_elsewhere(asked, path):
    assert own_path(asked) == path


def test_strangers_sign_up_only_where_they_may(tmp_path):
    async def scenario(world, api):
        body = {"email": "eve@example.com", "name": "Eve", "account": "eve", "password": PASSWORD}
        assert (await ask(api, "POST", "/api/v1/sign-up", body=body)).json["code"] == "sign_up_closed"
        ada = token_of(await sign_in(api))
        await ask(api, "PATCH", "/api/v1/gateway/settings", session=ada, body={"sign_up": True})
        for wrong in ({"account": "default"}, {"account": "no good"}, {"email": ADA}, {"password": "short"}):
            assert (await ask(api, "POST", "/api/v1/sign-up", body={**body, **wrong})).status == 400, wrong
        eve = token_of(await ask(api, "POST", "/api/v1/sign-up", body=body))
        me = (await ask(api, "GET", "/api/v1/me", session=eve)).json
        assert (me["accounts"], me["operator"]) == ({"eve": "owner"}, False)

    play(tmp_path, scenario)


def test_who_is_disabled_is_out_at_once_and_the_last_operator_stays(tmp_path):
    async def scenario(world, api):
        ada = token_of(await sign_in(api))
        person = await named(world.directory, Person, ADA)
        mine = f"/api/v1/gateway/people/{person.id}"
        for change in ({"operator": False}, {"disabled": True}):
            refused = await ask(api, "PATCH", mine, session=ada, body=change)
            assert refused.json["code"] == "last_operator"
        assert await world.directory.write(world.signed_in("bob", "default"), [], [])
        assert (await ask(api, "GET", "/api/v1/me", session="bob")).status == 200
        path = "/api/v1/gateway/people/usr_bob"
        assert (await ask(api, "PATCH", path, session=ada, body={"disabled": True})).status == 200
        assert (await ask(api, "GET", "/api/v1/me", session="bob")).status == 401

    play(tmp_path, scenario)


def test_what_people_do_stands_in_the_log_without_secrets(tmp_path):
    async def scenario(world, api):
        session, codes = await with_second_factor(world, api)
        await ask(api, "PATCH", "/api/v1/gateway/settings", session=session, body={"sign_up": True})
        log = (await ask(api, "GET", "/api/v1/gateway/audit", session=session)).json["data"]
        told = [entry["action"] for entry in log]
        for action in ("people.create", "sessions.begin", "second_factor.begin", "house.change"):
            assert action in told
        change = next(entry for entry in log if entry["action"] == "house.change")
        assert (change["before"]["sign_up"], change["after"]["sign_up"]) == (False, True)
        assert (change["actor_name"], change["ip"]) == (ADA, "192.0.2.1")
        text = repr(log)
        assert not any(secret in text for secret in (PASSWORD, session, codes[0], "digest"))
        assert await world.directory.check_acts() == len(log)

    play(tmp_path, scenario)


def test_passwords_are_argon2id():
    pytest.importorskip("argon2")

    async def main():
        passwords = Argon2Passwords()
        hashed = await passwords.hash(PASSWORD, Turn.NEXT)
        assert hashed.startswith("$argon2id$")
        assert await passwords.verify(hashed, PASSWORD, Turn.NEXT)
        assert not await passwords.verify(hashed, PASSWORD + "!", Turn.NEXT)
        assert not await passwords.verify(None, "nobody has this password", Turn.NEXT)
        assert not await passwords.verify("no hash", PASSWORD, Turn.NEXT)

    run(main())


def test_codes_are_those_of_the_standard():
    """The vectors of https://www.rfc-editor.org/rfc/rfc6238#appendix-B, six digits of them."""
    secret = b"12345678901234567890"
    for at_s, expected in (
        (59, "287082"),
        (1111111109, "081804"),
        (1234567890, "005924"),
        (20000000000, "353130"),
    ):
        assert totp.code_at(secret, at_s // 30) == expected
    assert totp.secret_of(totp.secret_text(secret)) == secret
