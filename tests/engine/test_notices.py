"""Low balances, auto top-up, and how notices leave: signed webhooks under the SSRF rules, and mail."""

from __future__ import annotations

import asyncio
import json
import socketserver
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import msgspec
import pytest

from llm_router.adapters.keymaker import new_code, new_id
from llm_router.adapters.memory.books import MemoryBooks
from llm_router.adapters.notices import MailChannel, MailSettings, WebhookChannel
from llm_router.adapters.upstream.post import GuardedPost
from llm_router.billing.payments import PUSD_PER_CENT
from llm_router.billing.stripe import verify
from llm_router.domain.errors import InvalidRequest, PaymentDeclined, PaymentUnavailable
from llm_router.domain.money import PUSD_PER_USD
from llm_router.engine import notices as rules
from llm_router.engine.alert_targets import AlertTargets, Target
from llm_router.engine.auto_topup import FAILURES_MAX, AutoTopup
from llm_router.engine.payments import CARD, Card, PaymentRules, Payments
from llm_router.engine.treasury import Treasury
from llm_router.ports import Document, Notice, NoticeRefused

USD = PUSD_PER_USD
HOUR_MS = 3_600_000


class HandClock:
    def __init__(self) -> None:
        self.ms = 1_800_000_000_000

    def now_ms(self) -> int:
        return self.ms

    def monotonic_us(self) -> int:
        return self.ms * 1000


class Channel:
    """A channel that can be broken."""

    name = "test"

    def __init__(self) -> None:
        self.got: list[Notice] = []
        self.broken = False
        self.tries = 0

    async def send(self, notice: Notice) -> None:
        self.tries += 1
        if self.broken:
            raise NoticeRefused("closed")
        self.got.append(notice)


class Api:
    """Stripe, as far as cards are charged."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.posts: list[Mapping[str, Any]] = []

    async def post(self, path: str, members: Mapping[str, object], idempotency_key: str) -> dict[str, Any]:
        self.posts.append(members)
        if self.error is not None:
            raise self.error
        made = {"id": f"pi_{len(self.posts)}", "status": "succeeded", "amount_received": members["amount"]}
        return {**made, "currency": "usd", "metadata": members["metadata"]}

    async def get(self, path: str) -> dict[str, Any]:
        raise AssertionError("not asked")


class World:
    def __init__(self) -> None:
        self.clock, self.books, self.channel, self.api = HandClock(), MemoryBooks(), Channel(), Api()
        payments = Payments(
            books=self.books,
            api=self.api,
            clock=self.clock,
            new_id=new_id,
            rules=PaymentRules(
                webhook_secrets=("s",), livemode=False, success_url="https://a.example", cancel_url="https://a.example",
                cents_min=500, cents_max=10_000, tolerance_s=300, by_keys=True,
            ),
        )  # fmt: skip
        self.treasury = Treasury(
            books=self.books,
            clock=self.clock,
            new_code=new_code,
            new_id=new_id,
            payments=payments,
            channels=[self.channel],
            low_pusd=5 * USD,
        )

    async def save_card(self) -> None:
        body = json.dumps({"customer": "cus_1", "method": "pm_1"}).encode()
        card = Document(kind=CARD, id="acme", account="acme", version=1, open=False, created_ms=1, body=body)
        await self.books.put_document(card)

    async def credit(self, pusd: int) -> None:
        await self.books.credit("acme", pusd, new_id("r"), "test", self.clock.ms)

    async def later(self, ms: int) -> None:
        self.clock.ms += ms
        await self.treasury.round()
        await self.treasury.round()


def play(scenario: Callable[[World], Awaitable[None]]) -> None:
    asyncio.run(scenario(World()))  # type: ignore[arg-type]


def test_a_low_balance_is_told_once_until_it_has_recovered() -> None:
    async def scenario(world: World) -> None:
        await world.credit(6 * USD)
        await world.later(60_000)
        assert world.channel.got == []
        await world.credit(-2 * USD)
        for _ in range(4):
            await world.later(60_000)
        assert [(n.type, n.account, n.data["credits_remaining"]) for n in world.channel.got] == [
            ("credits.low", "acme", "4")
        ]
        await world.credit(3 * USD)
        await world.later(60_000)
        await world.credit(-3 * USD)
        await world.later(60_000)
        assert len(world.channel.got) == 2

    play(scenario)


class SlowBooks(MemoryBooks):
    """Books that others reach between any two steps."""

    async def document(self, kind: str, id_: str) -> Document | None:
        await asyncio.sleep(0)
        return await super().document(kind, id_)

    async def documents(self, kind: str, **options: Any) -> list[Document]:
        found = await super().documents(kind, **options)
        await asyncio.sleep(0)
        return found

    async def put_document(self, document: Document) -> bool:
        await asyncio.sleep(0)
        return await super().put_document(document)


class Nodes:
    """Several processes over the same books."""

    def __init__(self, count: int = 3) -> None:
        self.clock, self.books, self.channel = HandClock(), SlowBooks(), Channel()
        self.nodes = [self.node() for _ in range(count)]

    def node(self) -> rules.Notices:
        return rules.Notices(
            books=self.books, clock=self.clock, new_id=new_id, channels=[self.channel], low_pusd=5 * USD
        )

    async def later(self, ms: int) -> None:
        self.clock.ms += ms
        for _ in range(2):
            await asyncio.gather(*(node.watch() for node in self.nodes))
            await asyncio.gather(*(node.deliver() for node in self.nodes))


def test_several_processes_tell_of_a_low_balance_once() -> None:
    async def scenario() -> None:
        world = Nodes()
        for number in (1, 2, 3):
            await world.books.credit("acme", 4 * USD, f"low{number}", "", 1)
            for _ in range(4):
                await world.later(60_000)
            assert len(world.channel.got) == number
            await world.books.credit("acme", 4 * USD, f"high{number}", "", 1)
            await world.later(60_000)
            await world.books.credit("acme", -8 * USD, f"spent{number}", "", 1)
        assert len({notice.id for notice in world.channel.got}) == 3

    asyncio.run(scenario())


def test_what_a_dead_process_was_about_to_tell_is_told_once_by_another() -> None:
    async def scenario() -> None:
        world = Nodes()
        await world.books.credit("acme", 4 * USD, "r", "", 1)
        dying = world.nodes.pop()

        async def die(*words: object) -> None:
            raise OSError("killed")

        dying.tell = die  # type: ignore[method-assign]
        with pytest.raises(OSError, match="killed"):
            await dying.watch()
        await world.later(30_000)
        assert world.channel.got == []
        for _ in range(4):
            await world.later(60_000)
        assert len(world.channel.got) == 1

    asyncio.run(scenario())


def test_a_notice_that_a_dead_process_was_sending_is_sent_by_another() -> None:
    async def scenario() -> None:
        world = Nodes()
        await world.nodes[0].tell("credits.low", "acme", "subject", "text", {})
        [document] = await world.books.documents(rules.KIND)

        async def hang(notice: Notice) -> None:
            await asyncio.Event().wait()

        world.channel.send = hang  # type: ignore[method-assign]
        dying = asyncio.create_task(world.nodes[0].deliver())
        for _ in range(20):  # turns of the loop: it hangs by then
            await asyncio.sleep(0)
        assert await world.books.document(rules.KIND, document.id) != document, "it was not taken up"
        dying.cancel()
        await asyncio.wait([dying])
        del world.channel.send
        await world.later(rules.CLAIM_MS - 1)
        assert world.channel.got == []
        await world.later(1)
        assert len(world.channel.got) == 1

    asyncio.run(scenario())


def test_a_notice_is_tried_again_ever_later_and_given_up(capsys: pytest.CaptureFixture[str]) -> None:
    async def scenario(world: World) -> None:
        world.channel.broken = True
        await world.credit(USD)
        await world.later(60_000)
        assert world.channel.tries == 1
        await world.later(rules.PAUSE_MS - 1)
        assert world.channel.tries == 1
        await world.later(1)
        assert world.channel.tries == 2
        await world.later(rules.PAUSE_MS)  # twice as long now
        assert world.channel.tries == 2
        for _ in range(30):
            await world.later(rules.PAUSE_MAX_MS)
        assert world.channel.tries == rules.TRIES
        assert await world.books.documents(rules.KIND) == []

    play(scenario)
    assert "given up" in capsys.readouterr().err


def test_a_saved_card_is_charged_below_the_threshold_at_most_so_often() -> None:
    async def scenario(world: World) -> None:
        auto = world.treasury.auto
        assert auto is not None
        wish = AutoTopup(threshold_pusd=10 * USD, cents=2000, every_ms=HOUR_MS)
        with pytest.raises(InvalidRequest, match="no saved card"):
            await auto.set("acme", wish)
        await world.save_card()
        await auto.set("acme", wish)
        await world.later(1000)
        assert len(world.api.posts) == 1
        assert world.api.posts[0]["off_session"] is True
        assert await world.books.balance("acme") == 2000 * PUSD_PER_CENT
        await world.credit(-15 * USD)
        await auto.set("acme", wish)  # no way around the pause
        await world.later(HOUR_MS - 1001)
        assert len(world.api.posts) == 1
        await world.later(1001)
        assert len(world.api.posts) == 2
        assert await world.books.balance("acme") == 25 * USD
        await world.later(HOUR_MS)
        assert len(world.api.posts) == 2

    play(scenario)


def test_a_declined_card_ends_it_with_a_notice() -> None:
    async def scenario(world: World) -> None:
        auto = world.treasury.auto
        assert auto is not None
        await world.save_card()
        await auto.set("acme", AutoTopup(threshold_pusd=10 * USD, cents=2000, every_ms=HOUR_MS))
        world.api.error = PaymentDeclined("The payment was declined (expired_card).")
        for _ in range(3):
            await world.later(HOUR_MS)
        assert len(world.api.posts) == 1
        assert "auto_topup.disabled" in [n.type for n in world.channel.got]
        held = await auto.get("acme")
        assert held is not None
        assert "expired_card" in (held.disabled or "")

    play(scenario)


def test_a_silent_stripe_ends_it_after_some_tries() -> None:
    async def scenario(world: World) -> None:
        auto = world.treasury.auto
        assert auto is not None
        await world.save_card()
        await auto.set("acme", AutoTopup(threshold_pusd=10 * USD, cents=2000, every_ms=HOUR_MS))
        world.api.error = PaymentUnavailable("silent")
        for _ in range(6):
            await world.later(HOUR_MS)
        assert len(world.api.posts) == FAILURES_MAX
        assert await world.books.balance("acme") == 0

    play(scenario)


def notice() -> Notice:
    return Notice(
        id="ntc_1", type="credits.low", account="acme", created="2026-11-22T23:00:00Z",
        subject="The account acme has $1 left", text="The account acme has $1 left.", data={"credits_remaining": "1"},
    )  # fmt: skip


@contextmanager
def http_server(status: int) -> Iterator[tuple[int, list[tuple[bytes, str]]]]:
    seen: list[tuple[bytes, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            seen.append((body, self.headers["llm-router-signature"]))
            self.send_response(status)
            self.send_header("location", "http://127.0.0.1:1/")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server.server_address[1], seen
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def webhook(url: str, *allow: str) -> WebhookChannel:
    return WebhookChannel(post=GuardedPost(allow_hosts=allow), url=url, secret="s3cret", clock=HandClock())


def test_a_webhook_is_signed() -> None:
    with http_server(204) as (port, seen):
        asyncio.run(webhook(f"http://127.0.0.1:{port}/hook", f"127.0.0.1:{port}").send(notice()))
    [(body, header)] = seen
    verify(header, body, ["s3cret"], HandClock().now_ms() // 1000, 0)
    assert json.loads(body)["data"] == {"credits_remaining": "1"}


@pytest.mark.parametrize("status", [301, 400, 500])
def test_what_is_not_taken_is_not_delivered(status: int) -> None:
    with http_server(status) as (port, seen), pytest.raises(NoticeRefused, match=str(status)):
        asyncio.run(webhook(f"http://127.0.0.1:{port}/", f"127.0.0.1:{port}").send(notice()))
    assert len(seen) == 1


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f.1",
        "0",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "169.254.169.254",
        "10.0.0.1",
    ],
)
def test_addresses_that_are_not_public_are_refused(host: str) -> None:
    with http_server(200) as (port, seen), pytest.raises(NoticeRefused):
        asyncio.run(webhook(f"http://{host}:{port}/").send(notice()))
    assert seen == []


class _Smtp(socketserver.StreamRequestHandler):
    """As much of a mail server as takes one message."""

    def handle(self) -> None:
        said: list[bytes] = self.server.said  # type: ignore[attr-defined]
        self.wfile.write(b"220 here\r\n")
        data = False
        while line := self.rfile.readline():
            said.append(line)
            if data:
                if line == b".\r\n":
                    data = False
                    self.wfile.write(b"250 taken\r\n")
                continue
            word = line.split()[0].upper()
            if word == b"DATA":
                data = True
                self.wfile.write(b"354 go on\r\n")
            elif word == b"QUIT":
                self.wfile.write(b"221 bye\r\n")
                return
            else:
                self.wfile.write(b"250 ok\r\n")


@contextmanager
def smtp_server() -> Iterator[tuple[int, list[bytes]]]:
    server = socketserver.TCPServer(("127.0.0.1", 0), _Smtp)
    said: list[bytes] = []
    server.said = said  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server.server_address[1], said
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def mail(port: int, security: str) -> MailChannel:
    settings = MailSettings(
        host="127.0.0.1", port=port, security=security, sender="router@a.example", to=("ann@a.example", "bob@a.example"),
        user=None if security == "none" else "u", password=None if security == "none" else "pass-canary",
    )  # fmt: skip
    return MailChannel(settings)


def test_mail_reaches_everybody() -> None:
    with smtp_server() as (port, said):
        asyncio.run(mail(port, "none").send(notice()))
    text = b"".join(said)
    assert text.count(b"rcpt TO:<") == 2
    assert b"Subject: The account acme has $1 left" in text
    assert parsedate_to_datetime(text.split(b"Date: ")[1].split(b"\r\n")[0].decode()).year >= 2020


def test_without_starttls_nothing_is_said_where_it_is_asked_for() -> None:
    with smtp_server() as (port, said), pytest.raises(NoticeRefused) as refused:
        asyncio.run(mail(port, "starttls").send(notice()))
    text = b"".join(said)
    assert b"acme" not in text
    assert b"AUTH" not in text
    assert "canary" not in str(refused.value)


def test_a_card_of_the_store_is_read_as_it_was_saved() -> None:
    async def scenario(world: World) -> None:
        await world.save_card()
        assert world.treasury.payments is not None
        assert await world.treasury.payments.card("acme") == Card(customer="cus_1", method="pm_1")

    play(scenario)


class Glass:
    """Seals nothing."""

    def key(self, account: str, name: bytes) -> bytes:
        return name

    def seal(self, account: str, key: bytes, value: bytes) -> bytes:
        return key + b"|" + value

    def open(self, account: str, key: bytes, sealed: bytes) -> bytes | None:
        return sealed.removeprefix(key + b"|") if sealed.startswith(key + b"|") else None


def test_ways_that_are_added_while_it_runs_are_told_of_what_they_want_by_any_process() -> None:
    async def scenario() -> None:
        world, made = Nodes(1), {}

        def channel(target: Target) -> Channel:
            made.setdefault(target.name, Channel())
            made[target.name].name = target.name
            return made[target.name]

        def node() -> rules.Notices:
            targets = AlertTargets(
                books=world.books, clock=world.clock, seals=Glass, configured=(), channel=channel
            )
            return rules.Notices(
                books=world.books, clock=world.clock, new_id=new_id, low_pusd=5 * USD, targets=targets
            )

        first, second = node(), node()
        for name, types in (("ops", ("credits.low",)), ("all", ()), ("cards", ("auto_topup.disabled",))):
            await first.targets.add(
                Target(name=name, kind="webhook", created_ms=1, url="https://x", secret="s" * 16, types=types)
            )
        await world.books.credit("acme", 4 * USD, "r", "", 1)
        await second.watch()
        assert await first.waiting() == {"ops": 1, "all": 1}
        await first.targets.change("all", lambda target: msgspec.structs.replace(target, enabled=False))
        await first.deliver()
        assert {name: len(each.got) for name, each in made.items()} == {"ops": 1, "all": 0, "cards": 0}
        assert await first.waiting() == {}

    asyncio.run(scenario())
