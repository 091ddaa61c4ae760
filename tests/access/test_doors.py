"""Who guesses waits; who was here before does not wait for the guesses of others, nor for newcomers."""

from __future__ import annotations

import asyncio

import pytest
from api_kit import World, ask, run

from llm_router.access.addresses import network_of
from llm_router.access.tries import FREE_NEW
from llm_router.adapters.passwords import WAITING_MAX, Places
from llm_router.domain.account import Person
from llm_router.domain.errors import Overloaded
from llm_router.engine.rolls import named
from llm_router.ports import Turn

PASSWORD = "correct horse battery"
ADA = "ada@example.com"
HOME = "198.51.100.7"


def play(tmp_path, scenario, *, mail: bool = False):
    """Run a scenario in a world whose operator is Ada, who signed in from home."""

    async def main():
        world = await World.open(tmp_path)
        try:
            api = world.api(mail=mail)
            token = await world.sign_ins.setup_link()
            body = {"token": token, "email": ADA, "name": "Ada", "password": PASSWORD}
            begun = await ask(api, "POST", "/api/v1/set-up", body=body, peer=HOME)
            await ask(api, "PATCH", "/api/v1/gateway/settings", session=begun.session, body={"sign_up": True})
            return await scenario(world, api, begun.session)
        finally:
            await world.close()

    run(main())


async def sign_in(api, email=ADA, password=PASSWORD, **options):
    return await ask(api, "POST", "/api/v1/sign-in", body={"email": email, "password": password}, **options)


async def guess(api, times, **options):
    return [(await sign_in(api, password="wrong password", **options)).status for _ in range(times)]


def test_strangers_lock_nobody_out_who_was_there_before(tmp_path):
    async def scenario(world, api, session):
        for n in range(10):
            await guess(api, 3, peer=f"192.0.2.{n}")
        assert (await sign_in(api, peer="203.0.113.1")).status == 429
        assert (await sign_in(api, peer=HOME)).status == 200
        body = {"current": PASSWORD, "password": "another long password"}
        assert (await ask(api, "POST", "/api/v1/me/password", session=session, body=body)).status == 200
        assert (await sign_in(api, password="another long password", peer="203.0.113.1")).status == 429

    play(tmp_path, scenario)


def test_who_was_there_before_does_not_guess_for_ever_either(tmp_path):
    async def scenario(world, api, session):
        assert await guess(api, 7, peer=HOME) == [401] * 5 + [429] * 2
        assert (await sign_in(api, peer=HOME)).status == 429
        assert (await sign_in(api, peer="203.0.113.1")).status == 200
        world.clock.now += 15_000
        assert (await sign_in(api, peer=HOME)).status == 200
        assert await guess(api, 6, peer=HOME) == [401] * 5 + [429]

    play(tmp_path, scenario)


def test_an_open_session_does_not_guess_for_ever(tmp_path):
    async def scenario(world, api, session):
        body = {"current": "wrong password", "password": "another long password"}
        told = [
            (await ask(api, "POST", "/api/v1/me/password", session=session, body=body)).status
            for _ in range(7)
        ]
        assert told == [401] * 5 + [429] * 2

    play(tmp_path, scenario)


def test_a_place_is_known_for_a_while(tmp_path):
    async def scenario(world, api, session):
        world.clock.now += 89 * 86_400_000
        await guess(api, 6, peer="192.0.2.1")
        assert (await sign_in(api, peer=HOME)).status == 200
        world.clock.now += 91 * 86_400_000
        await guess(api, 6, peer="192.0.2.1")
        assert (await sign_in(api, peer=HOME)).status == 429

    play(tmp_path, scenario)


def test_a_right_password_alone_makes_no_place_known(tmp_path):
    """Where a second factor is to follow."""

    async def scenario(world, api, session):
        person = await named(world.directory, Person, ADA)
        await world.sign_ins.begin_totp(person, "x")
        known = await world.sign_ins._credentials(person)
        from msgspec.structs import replace

        confirmed = replace(known, totp=known.totp_new, version=known.version + 1)
        assert await world.directory.write([confirmed], [], [])
        assert (await sign_in(api, peer="203.0.113.1")).json == {"second_factor": True}
        assert not (await world.sign_ins.doors.of(ADA, "203.0.113.1")).known
        assert (await world.sign_ins.doors.of(ADA, HOME)).known

    play(tmp_path, scenario)


def test_addresses_of_one_network_count_together(tmp_path):
    async def scenario(world, api, session):
        told = [
            (await sign_in(api, f"w{n}@example.com", "wrong password", peer=f"2001:db8:1:2::{n:x}")).status
            for n in range(32)
        ]
        assert told == [401] * 30 + [429] * 2
        assert await guess(api, 1, peer="2001:db8:1:3::1") == [401]

    play(tmp_path, scenario)


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:DB8:1:2::", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("unix", "unix"),
    ],
)
def test_what_one_caller_has_at_least(address, network):
    assert network_of(address) == network


# Signing up


def new(n: int, **more):
    return {"email": f"n{n}@example.com", "account": f"n{n}", "name": "N", "password": PASSWORD, **more}


async def sign_up(api, body, **options):
    return await ask(api, "POST", "/api/v1/sign-up", body=body, **options)


def test_nobody_makes_accounts_without_end(tmp_path):
    async def scenario(world, api, session):
        told = [(await sign_up(api, new(n), peer=f"2001:db8::{n:x}")).status for n in range(FREE_NEW + 2)]
        assert told == [200] * FREE_NEW + [429] * 2
        assert (await sign_up(api, new(100), peer="192.0.2.1")).status == 200

    play(tmp_path, scenario)


def test_without_mail_a_password_is_needed_and_taken_is_told(tmp_path):
    async def scenario(world, api, session):
        refused = await sign_up(api, {"email": "n@example.com", "account": "n", "name": "N"})
        assert (refused.status, "password" in refused.json["message"]) == (400, True)
        assert (await sign_up(api, new(1, email=ADA))).json["code"] == "taken"
        assert (await sign_up(api, new(1, account="default"))).json["code"] == "taken"

    play(tmp_path, scenario)


def test_with_mail_nobody_learns_who_is_there(tmp_path):
    async def scenario(world, api, session):
        told = []
        for email in (ADA, "new@example.com"):
            answer = await sign_up(api, {"email": email, "account": f"of-{email[:3]}"})
            told.append((answer.status, answer.json, answer.session))
            await asyncio.gather(*api.desk.tasks)
        assert told == [(200, {"second_factor": False, "mailed": True}, "")] * 2
        (to_ada, for_ada), (to_new, for_new) = world.mails
        assert (to_ada, to_new) == (ADA, "new@example.com")
        assert "/sign-in" in for_ada
        assert "#" not in for_ada
        link = for_new.partition("/sign-up#")[2].split()[0]
        body = {"token": link, "name": "New", "password": PASSWORD}
        assert (await ask(api, "POST", "/api/v1/join", body={**body, "password": "short"})).status == 400
        joined = await ask(api, "POST", "/api/v1/join", body=body)
        me = (await ask(api, "GET", "/api/v1/me", session=joined.session)).json
        assert (me["email"], me["accounts"]) == ("new@example.com", {"of-new": "owner"})
        person = await named(world.directory, Person, "new@example.com")
        assert person.proven is True
        assert (await ask(api, "POST", "/api/v1/join", body=body)).status == 404
        taken = await sign_up(api, {"email": "third@example.com", "account": "of-new"})
        assert taken.json["code"] == "taken"  # names of accounts are no secret

    play(tmp_path, scenario, mail=True)


def test_nobodys_mailbox_is_filled_by_strangers(tmp_path):
    async def scenario(world, api, session):
        for n in range(6):
            answer = await sign_up(api, {"email": "new@example.com", "account": f"n{n}"}, peer=f"192.0.2.{n}")
            assert answer.status == 200
            await asyncio.gather(*api.desk.tasks)
        assert len(world.mails) == 3

    play(tmp_path, scenario, mail=True)


# Places for work


def test_who_was_here_before_goes_before_newcomers():
    async def main():
        places, order = Places(1), []

        async def work(turn, name):
            async with places.taken(turn):
                order.append(name)
                await asyncio.sleep(0)

        async with places.taken(Turn.NEXT):
            waiting = []
            for turn, name in (
                (Turn.LAST, "new"),
                (Turn.NEXT, "says so"),
                (Turn.FIRST, "known"),
                (Turn.NEXT, "too"),
            ):
                waiting.append(asyncio.create_task(work(turn, name)))
                await asyncio.sleep(0)
        await asyncio.gather(*waiting)
        assert order == ["known", "says so", "too", "new"]

    run(main())


def test_newcomers_are_refused_before_others_are_and_places_come_back():
    async def main():
        places = Places(2)

        async def hold(turn):
            async with places.taken(turn):
                await asyncio.Event().wait()

        tasks = [asyncio.create_task(hold(Turn.LAST)) for _ in range(2 + WAITING_MAX[Turn.LAST])]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            await hold(Turn.LAST)
        more = asyncio.create_task(hold(Turn.NEXT))
        await asyncio.sleep(0)
        assert not more.done()
        for task in [*tasks, more]:
            task.cancel()
        await asyncio.gather(*tasks, more, return_exceptions=True)
        for _ in range(3):
            async with places.taken(Turn.LAST), places.taken(Turn.LAST):
                pass

    run(main())
