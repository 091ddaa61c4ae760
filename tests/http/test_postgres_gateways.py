"""Two gateways on one PostgreSQL database, the second with two workers: one credit, one set of keys."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from gateway_kit import Answer, Gateway, until
from scripted_upstream import SECRETS, Peer, ScriptedUpstream, answers, config_for, good, http, whole
from stripe_stub import KEY as STRIPE_KEY
from stripe_stub import SECRET, StripeStub, deliver

from llm_router.domain.errors import RouterError

sys.path.insert(0, str(Path(__file__).parents[1] / "stores"))
from postgres_server import Server, binaries, new_database, server

O = "openai_chat"  # noqa: E741
COST = Decimal("0.00002")
NORMAL = {"connect_s": 5, "first_byte_s": 20, "idle_s": 20, "total_s": 60}
OWN = "own-canary-77b1"
HELLO = answers(http(200, whole(O)))


class Pair:
    """The gateways, and the command line on their database."""

    def __init__(self, folder: Path, scripted: ScriptedUpstream, stripe: StripeStub) -> None:
        self.database = new_database()
        more = f'[store]\nurl = "{server().url(self.database)}"\n[byok]\nfee_percent = 5\n'
        more += f'[stripe]\nkey = "env:STRIPE"\nwebhook_secrets = ["env:HOOK"]\nbase_url = "{stripe.url}"\n'
        more += 'success_url = "https://shop.example/thanks"\n'
        environ = {"STRIPE": STRIPE_KEY, "HOOK": SECRET}
        config = config_for(scripted, NORMAL, more)
        for name in ("first", "second"):
            (folder / name).mkdir()
        self.first = Gateway(folder / "first", config=config, environ=environ)
        data = folder / "second" / "data"
        data.mkdir(mode=0o700)
        shutil.copy(self.first.data_dir / "installation.key", data)  # for the sealed keys of customers
        # Its operator sells one model at another price: each charges by its own configuration.
        other = config.replace(
            '[models."ma"]\nprice = { input_per_mtok = 1,', '[models."ma"]\nprice = { input_per_mtok = 9,'
        )
        self.second = Gateway(folder / "second", "--workers", "2", config=other, environ=environ)
        self.second.key = self.first.key
        self.both = (self.first, self.second)
        self._environ = environ

    def cli(self, *words: str, status: int = 0) -> Any:
        place = ["--data-dir", str(self.first.data_dir), "--config", str(self.first.config), "--json"]
        done = subprocess.run(
            [sys.executable, "-m", "llm_router.cli", *words, *place],
            env={"PATH": os.environ["PATH"], "HOME": str(self.first.folder), **self._environ},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == status, done.stderr + done.stdout
        return json.loads(done.stdout, parse_float=Decimal)

    def account(self, name: str, credit: str = "5") -> str:
        """A key, made on the first, of an account with credit, booked on the second."""
        self.second.command("credits.add", account=name, amount=credit)
        return self.first.new_key(name, account=name)


@pytest.fixture(scope="module")
def stripe() -> Iterator[StripeStub]:
    stub = StripeStub()
    yield stub
    stub.close()


@pytest.fixture(scope="module")
def pair(
    scripted: ScriptedUpstream, stripe: StripeStub, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pair]:
    server()  # or skip
    pair = Pair(tmp_path_factory.mktemp("pair"), scripted, stripe)
    yield pair
    proof = pair.cli("ledger", "verify")
    for gateway in pair.both:
        assert gateway.stop() == 0
    assert proof["ok"], proof


def ask(gateway: Gateway, method: str, path: str, key: str, body: object = None) -> Answer:
    data = None if body is None else json.dumps(body).encode()
    return gateway.send(method, path, data, key=key)


def charged(gateway: Gateway, key: str, model: str = "mo", **more: Any) -> Decimal:
    answer = gateway.chat(model, key=key, **more)
    assert answer.status == 200, answer.body
    return Decimal(answer.json["usage"]["cost"])


def test_a_key_made_on_one_is_known_on_both_and_refused_by_both(
    pair: Pair, upstream: ScriptedUpstream
) -> None:
    upstream.play("o1", HELLO)
    pair.second.command("credits.add", account="keys", amount="5")
    made = pair.first.command("keys.create", name="k", account="keys")
    for gateway in pair.both:
        for _ in range(6):  # each of its workers
            assert charged(gateway, made["key"]) == COST
            assert gateway.credits("keys") == pair.first.credits("keys")
    assert pair.first.credits("keys") == 5 - 12 * COST
    pair.second.command("keys.revoke", id=made["id"])
    assert {pair.second.chat("mo", key=made["key"]).status for _ in range(8)} == {401}
    until(lambda: pair.first.chat("mo", key=made["key"]).status == 401)
    other = pair.first.command("keys.create", name="k2", account="keys")
    assert [charged(pair.second, other["key"]) for _ in range(6)] == [COST] * 6
    pair.first.command("keys.revoke", id=other["id"])
    until(lambda: {pair.second.chat("mo", key=other["key"]).status for _ in range(8)} == {401})


def test_a_budget_is_exact_over_both(pair: Pair, upstream: ScriptedUpstream) -> None:
    gate, statuses = threading.Event(), list[int]()

    async def held_back(peer: Peer) -> None:
        await asyncio.to_thread(gate.wait)
        await peer.send(http(200, whole(O)))

    def one(number: int) -> None:
        statuses.append(pair.both[number % 2].chat("mo", key=key, max_tokens=10).status)

    upstream.play("o1", held_back)
    poor = pair.first.new_key("poor", account="poor")
    needed = pair.first.chat("mo", key=poor, max_tokens=10).error["needed"]  # the hold of such a request
    key = pair.account("budgeted")
    pair.first.command("budgets.set", account="budgeted", amount=str(7 * needed))
    try:
        with ThreadPoolExecutor(24) as pool:
            pool.map(one, range(24))
            until(lambda: statuses == [402] * 17)
            assert len(upstream.wait(7)) == 7
            gate.set()
    finally:
        gate.set()
    assert Counter(statuses) == {200: 7, 402: 17}
    for gateway in pair.both:
        assert gateway.credits("budgeted") == 5 - 7 * COST
        assert (
            gateway.command("budgets.list", account="budgeted")["budgets"][0]["spends"][0]["spent"]
            == 7 * COST
        )


def test_records_credits_and_entries_are_read_on_both(pair: Pair, upstream: ScriptedUpstream) -> None:
    upstream.play("o1", HELLO, good(O, True))
    key = pair.account("read")
    answer = pair.first.chat("mo", key=key)
    stream = pair.first.stream("mo", key=key)
    assert stream.usage["cost"] == COST
    for gateway in pair.both:
        assert Decimal(gateway.generation(answer.id, key)["cost_pusd"]) == COST * 10**12
        shown = ask(gateway, "GET", "/v1/credits", key).json["data"]
        assert shown["credits_remaining"] == 5 - 2 * COST
        assert [e["kind"] for e in ask(gateway, "GET", "/v1/credits/entries", key).json["data"]] == [
            "use", "use", "grant",
        ]  # fmt: skip
        estimate = ask(gateway, "POST", "/v1/estimate", key, {"model": "mo", "messages": []})
        assert estimate.status in (200, 400), estimate.body


def test_a_voucher_is_redeemed_once(pair: Pair) -> None:
    keys = [pair.account(f"redeem{n}") for n in range(4)]
    (made,) = pair.first.command("vouchers.create", amount="2.5")["vouchers"]

    def one(number: int) -> int:
        gateway = pair.both[number % 2]
        return ask(gateway, "POST", "/v1/credits/redeem", keys[number], {"code": made["code"]}).status

    with ThreadPoolExecutor(4) as pool:
        assert Counter(pool.map(one, range(4))) == {200: 1, 400: 3}
    assert sum(pair.second.credits(f"redeem{n}") for n in range(4)) == Decimal("22.5")


def test_wrong_codes_of_vouchers_are_counted_over_both(pair: Pair) -> None:
    key = pair.account("guessing")

    def guess(number: int) -> int:
        return ask(pair.both[number % 2], "POST", "/v1/credits/redeem", key, {"code": "AAAA-BBBB"}).status

    assert [guess(number) for number in range(12)] == [404] * 10 + [429] * 2


def test_a_session_has_one_ceiling_over_both_and_their_workers(
    pair: Pair, upstream: ScriptedUpstream
) -> None:
    upstream.play("o1", HELLO)
    key = pair.account("agents")

    def step(number: int, *, cost: str | None = None) -> Answer:
        headers = {"x-session-id": "s1" if cost is None else "s2", "x-session-max-steps": "9"}
        headers |= {} if cost is None else {"x-session-max-cost": cost}
        return pair.both[number % 2].chat("mo", key=key, headers=headers, max_tokens=10)

    with ThreadPoolExecutor(8) as pool:
        statuses = Counter(answer.status for answer in pool.map(step, range(20)))
    assert statuses == {200: 9, 409: 11}
    needed = step(0, cost=str(COST)).error["needed"]  # of such a request
    most = needed + 2 * COST
    answers: list[Answer] = []

    def served(number: int) -> bool:
        """What the step before held may still count for the other node, which hears of its end a moment later."""
        answer = step(number, cost=str(most))
        if answer.status == 200:
            answers.append(answer)
        return answer.status == 200

    for number in range(3):
        until(lambda number=number: served(number))  # type: ignore[misc]
    refused = step(3, cost=str(most))
    assert (refused.status, refused.error["brake"]) == (409, "cost")
    assert sum(Decimal(a.json["usage"]["cost"]) for a in answers) == 3 * COST


def test_adjustments_limits_and_prices_hold_on_both(pair: Pair, upstream: ScriptedUpstream) -> None:
    upstream.play("o1", HELLO)
    key = pair.account("ruled")
    pair.cli("credits", "adjust", "--account", "ruled", "--amount=-4", "--reason", "r", "--actor", "me")
    assert pair.second.credits("ruled") == 1
    pair.first.command("prices.publish", percent="50", scope="account", account="ruled")
    until(lambda: charged(pair.second, key) == COST * 3 / 2)
    assert [charged(pair.second, key) for _ in range(6)] == [COST * 3 / 2] * 6
    pair.second.command("limits.set", account="ruled", kind="requests", amount=1, window="day")
    until(lambda: pair.first.chat("mo", key=key).status == 429)


def test_each_charges_by_its_own_configuration(pair: Pair, upstream: ScriptedUpstream) -> None:
    upstream.play("a1", answers(http(200, whole("anthropic_messages"))))
    key = pair.account("apart")
    assert charged(pair.first, key, "ma") == COST
    assert charged(pair.second, key, "ma") == COST + 10 * 8 * Decimal("0.000001")


def test_own_keys_of_customers_hold_on_both(pair: Pair, upstream: ScriptedUpstream) -> None:
    upstream.play("o1", HELLO)
    key = pair.account("own")
    pair.first.command("byok.set", account="own", provider="o1", secret=OWN)
    until(lambda: charged(pair.second, key) == COST / 20)
    assert [charged(pair.second, key) for _ in range(6)] == [COST / 20] * 6
    upstream.reset()
    upstream.play("o1", HELLO)
    assert charged(pair.first, key) == COST / 20
    pair.second.command("byok.remove", account="own", provider="o1")
    until(lambda: charged(pair.first, key) == COST)
    assert {seen.headers["authorization"] for seen in upstream.at("o1")} == {
        f"Bearer {OWN}",
        f"Bearer {SECRETS['o1']}",
    }


def test_a_payment_ordered_on_one_may_be_told_to_the_other(pair: Pair, stripe: StripeStub) -> None:
    key = pair.account("paying")
    order = ask(pair.first, "POST", "/v1/credits/checkout", key, {"amount": "10"})
    assert order.status == 200, order.body
    session = stripe.objects[order.json["session"]]
    paid = {**session, "payment_status": "paid", "payment_intent": "pi_9"}
    event = stripe.event("checkout.session.completed", paid)
    for gateway in (pair.second, pair.first, pair.second):
        assert deliver(gateway, event).status == 200
    assert pair.first.credits("paying") == 15


def test_responses_are_kept_by_the_gateway_that_made_them(pair: Pair, upstream: ScriptedUpstream) -> None:
    upstream.play("o1", HELLO)
    key = pair.account("kept")
    for gateway in pair.both:
        made = ask(gateway, "POST", "/v1/responses", key, {"model": "mo", "input": "hi"})
        assert made.status == 200, made.body
        assert ask(gateway, "GET", f"/v1/responses/{made.json['id']}", key).status == 200
        wish = {"model": "mo", "input": "hi", "background": True}
        path = f"/v1/responses/{ask(gateway, 'POST', '/v1/responses', key, wish).json['id']}"
        until(lambda at=gateway, path=path: ask(at, "GET", path, key).json["status"] == "completed")
    assert pair.first.credits("kept") == 5 - 4 * COST


@pytest.mark.parametrize(
    "words",
    [
        ("keys", "list"),
        ("credits", "show"),
        ("budgets", "list"),
        ("limits", "list"),
        ("prices", "list"),
        ("vouchers", "list"),
        ("payments", "list"),
        ("byok", "list"),
        ("ledger", "verify"),
        ("ledger", "orphans"),
        ("migrate",),
    ],
    ids=" ".join,
)
def test_every_command_that_shows_something_works(pair: Pair, words: tuple[str, ...]) -> None:
    assert isinstance(pair.cli(*words), dict)


def test_workers_outlive_a_database_that_is_away(upstream: ScriptedUpstream, tmp_path: Path) -> None:
    """An idle gateway notices it by itself; commands fail and cost no worker; it comes back by itself."""
    server()  # or skip
    place = binaries()
    assert place is not None
    own = Server(place)
    own.sql("postgres", "CREATE DATABASE books")
    more = f'[store]\nurl = "{own.url("books")}"\n'
    gateway = Gateway(tmp_path, "--workers", "2", config=config_for(upstream, NORMAL, more))
    upstream.play("o1", HELLO)
    ready = lambda: Counter(gateway.get("/readyz").status for _ in range(8))  # noqa: E731 - each of its workers
    try:
        assert charged(gateway, gateway.key) == COST
        own.stop(signal.SIGQUIT)
        until(lambda: ready() == {503: 8})
        with pytest.raises(RouterError, match="database"):
            gateway.command("credits.show", account="default")
        assert {gateway.chat("mo").status for _ in range(8)} == {503}
        own.start()
        until(lambda: ready() == {200: 8})
        until(lambda: gateway.chat("mo").status == 200)
        assert charged(gateway, gateway.key) == COST
        assert "ended by" not in gateway.log.text
    finally:
        gateway.stop()
        own.remove()


def test_a_database_that_goes_away_under_load_loses_and_doubles_nothing(
    upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    """Before it is back nothing is held, and who was told of a cost was charged it, once."""
    server()  # or skip
    place = binaries()
    assert place is not None
    own = Server(place)
    own.sql("postgres", "CREATE DATABASE books")
    more = f'[store]\nurl = "{own.url("books")}"\n'
    gateway = Gateway(tmp_path, config=config_for(upstream, NORMAL, more))
    told: list[tuple[str, Decimal]] = []
    statuses: Counter[int] = Counter()
    upstream.play("o1", HELLO)
    stop = threading.Event()

    def client() -> None:
        while not stop.is_set():
            answer = gateway.chat("mo", max_tokens=10)
            statuses[answer.status] += 1
            if answer.status == 200:
                told.append((answer.id, Decimal(answer.json["usage"]["cost"])))

    threads = [threading.Thread(target=client, daemon=True) for _ in range(6)]
    try:
        for thread in threads:
            thread.start()
        until(lambda: len(told) >= 40)
        own.stop(signal.SIGQUIT)
        until(lambda: statuses[503] >= 6)
        assert gateway.get("/readyz").status == 503
        own.start()
        before = len(told)
        until(lambda: len(told) >= before + 40)
        stop.set()
        for thread in threads:
            thread.join()
        assert set(statuses) == {200, 503}
        assert {gateway.generation(id_)["cost_pusd"] for id_, _ in told} == {int(COST * 10**12)}
        words = [
            "ledger",
            "verify",
            "--json",
            "--data-dir",
            str(gateway.data_dir),
            "--config",
            str(gateway.config),
        ]
        until(lambda: gateway.get("/v1/credits").json["data"]["held"] == 0)
        proof = subprocess.run(
            [sys.executable, "-m", "llm_router.cli", *words], capture_output=True, text=True, check=True
        )
        assert json.loads(proof.stdout)["ok"]
        charged = own.sql(
            "books", "SELECT count(*), count(DISTINCT ref) FROM llm_router.entries WHERE kind = 'use'"
        )
        uses, different = map(int, charged.split("|"))
        assert uses == different >= len(told) == len(dict(told))
        assert gateway.credits() == 1000 - uses * COST
    finally:
        stop.set()
        gateway.stop()
        own.remove()
