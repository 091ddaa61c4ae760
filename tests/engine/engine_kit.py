"""A world for the engine: every port is a fake that records what happened, and each await can be struck.

The n-th await of an exchange is where :class:`World` may cancel it (``strike``), once or several times.
Like the real store, the fake books make their move at once, before they wait for it to be durable.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from typing import Any

import msgspec

from llm_router.adapters.memory.books import MemoryBooks
from llm_router.adapters.memory.counters import MemoryCounters
from llm_router.adapters.memory.sessions import MemorySessions
from llm_router.adapters.memory.side_car import MemorySideCar
from llm_router.adapters.sealing import Sealer
from llm_router.billing.ledger import Ledger, Wanted, booked
from llm_router.catalog.schema import CatalogData
from llm_router.catalog.snapshot import compile_snapshot
from llm_router.domain.budget import Payer, Scope
from llm_router.domain.errors import InvalidRequest, LedgerUnavailable, UpstreamError, UpstreamKind
from llm_router.domain.experiment import Experiment
from llm_router.domain.key import Key, key_digest
from llm_router.domain.limit import Admission, Limit, LimitKind
from llm_router.domain.model import Capabilities, Deployment, Model, Provider
from llm_router.domain.price import Price, Rates
from llm_router.domain.record import ExchangeRecord
from llm_router.engine.admit import Call
from llm_router.engine.exchange import Engine
from llm_router.engine.experiments import Experiments
from llm_router.engine.operator import Context
from llm_router.engine.state import State
from llm_router.ports import Deadlines, Settled, UpstreamRequest
from llm_router.routing.retry import RetryRules
from llm_router.routing.rules import RoutingRules
from llm_router.wire.dialect import Fetched
from llm_router.wire.dialects.registry import DIALECTS
from llm_router.wire.operations import SPOKEN

KEY = b"sk-lr-test"
GRANT = 10**12
SECRET = "provider-secret-0123456789abcdef"


def provider(id_: str, dialect: str = "openai_chat", **more: Any) -> Provider:
    more = {"docs_url": f"http://{id_}.test/docs", **more}
    return Provider(id=id_, name=id_.title(), base_url=f"http://{id_}.test/v1", dialect=dialect, **more)


def deployment(model: str, provider_id: str, *, priced: bool = True, **more: Any) -> Deployment:
    price = Price(version=f"{provider_id}-1", rates=Rates(input=1_000_000, output=2_000_000))
    return Deployment(
        id=f"{provider_id}/{model}", model=model, provider=provider_id, upstream_model="up",
        price=price if priced else None, **more,
    )  # fmt: skip


def model(id_: str, *providers: str, deployments: tuple[Deployment, ...] = (), **can: Any) -> Model:
    capabilities = Capabilities(**{"tools": True, "input_modalities": ("text", "image"), **can})
    found = deployments or tuple(deployment(id_, p) for p in providers)
    return Model(
        id=id_, name=id_, family="Test", developer="Test", capabilities=capabilities, deployments=found
    )


class FakeClock:
    """Moves on by a millisecond with each look."""

    def __init__(self) -> None:
        self._us = 1_700_000_000_000_000

    def now_ms(self) -> int:
        return self.monotonic_us() // 1000

    def monotonic_us(self) -> int:
        self._us += 1000
        return self._us


class FakeBooks:
    """The port Books. ``down`` makes every move fail; ``fail_next`` the next so many settlements."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.ledger = Ledger()
        self.ledger.credit("acme", GRANT)
        self.records: dict[str, ExchangeRecord] = {}
        self.holds: list[str] = []
        self.settlements: list[ExchangeRecord] = []
        self.down = False
        self.fail_settlements = 0

    def available(self, account: str) -> int:
        return self.ledger.available(account)

    async def balance(self, account: str) -> int:
        return self.available(account)

    async def affordable(self, payer: Payer, now_ms: int) -> int:
        return max(0, self.ledger.affordable(payer, now_ms))

    async def hold(
        self, exchange_id: str, payer: Payer, amount_pusd: int, price_version: str, now_ms: int
    ) -> int:
        if self.down:
            raise LedgerUnavailable("down")
        hold = self.ledger.hold(exchange_id, payer, amount_pusd, now_ms)
        self.holds.append(exchange_id)
        await self._world.step("books.hold")
        return hold.available_pusd

    async def hold_all(self, wanted: Sequence[Wanted], payer: Payer, now_ms: int) -> int:
        if self.down:
            raise LedgerUnavailable("down")
        self.ledger.hold_all(wanted, payer, now_ms)
        self.holds += [each.exchange_id for each in wanted]
        await self._world.step("books.hold")
        return self.ledger.available(payer.account)

    async def settle(self, record: ExchangeRecord) -> Settled:
        if record.id in self.records:
            charged_pusd = self.records[record.id].cost_pusd
            return Settled(charged_pusd=charged_pusd, remaining_pusd=self.available(record.account))
        if self.down or self.fail_settlements:
            self.fail_settlements = max(0, self.fail_settlements - 1)
            raise LedgerUnavailable("down")
        settlement = self.ledger.settle(record.id, record.payer, record.cost_pusd, record.created_ms)
        self.records[record.id] = booked(record, settlement)
        self.settlements.append(record)
        await self._world.step("books.settle")
        return Settled(charged_pusd=settlement.charged_pusd, remaining_pusd=settlement.remaining_pusd)

    async def credit(self, account: str, amount_pusd: int, ref: str, reason: str, now_ms: int) -> int:
        return self.ledger.credit(account, amount_pusd).remaining_pusd

    async def generation(self, account: str, id_: str) -> ExchangeRecord | None:
        return self.records.get(id_)


class FakeKeyring:
    def __init__(self, world: World) -> None:
        self._world = world
        self.keys = {key_digest(KEY): Key(id="key_1", account="acme", name="k", prefix="sk", created_ms=0)}

    async def find(self, digest: bytes) -> Key | None:
        await self._world.step("keyring.find")
        return self.keys.get(digest)

    async def create(self, key: Key, digest: bytes) -> None:
        self.keys[digest] = key

    async def list(self) -> list[Key]:
        return list(self.keys.values())

    async def some(self, limit: int) -> list[Key]:
        return list(self.keys.values())[:limit]

    async def count(self, account: str) -> int:
        return sum(key.account == account for key in self.keys.values())

    async def revoke(self, key_id: str, now_ms: int) -> Key | None:
        raise NotImplementedError

    async def get(self, key_id: str) -> Key | None:
        return next((key for key in self.keys.values() if key.id == key_id), None)

    async def of_account(self, account: str, after: str, limit: int) -> list[Key]:
        raise NotImplementedError

    async def change(self, key: Key) -> bool:
        raise NotImplementedError

    async def rotate(self, key: Key, digest: bytes) -> bool:
        raise NotImplementedError


class CountingCounters(MemoryCounters):
    """The real counters, and how often they were asked. Each question is an await of its own."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world
        self.admitted = 0
        self.released = 0

    async def admit(self, ticket: str, limits: Sequence[Limit], tokens: int, now_ms: int) -> Admission:
        admission = await super().admit(ticket, limits, tokens, now_ms)
        self.admitted += admission.refused is None
        await self._world.step("counters.admit")
        return admission

    async def release(self, ticket: str, tokens_used: int, now_ms: int) -> None:
        await super().release(ticket, tokens_used, now_ms)
        self.released += 1

    @property
    def busy(self) -> int:
        """Places that are taken now."""
        return len(self._tally.busy())


class FakeRules:
    """The key is held to one limit that no test meets, so that its place is taken and given back."""

    def __init__(self) -> None:
        self.limits: list[Limit] = [
            Limit(
                id="lim_1",
                account="acme",
                scope=Scope.ACCOUNT,
                scope_id="acme",
                kind=LimitKind.CONCURRENCY,
                amount=1000,
            )
        ]

    async def limits_of(self, payer: Payer) -> Sequence[Limit]:
        return self.limits


class FakeReply:
    """A provider's reply: pieces, and an exception at the end if there is one."""

    def __init__(
        self,
        world: World,
        status: int,
        pieces: list[bytes],
        error: UpstreamError | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._world = world
        self.status = status
        self.headers: Mapping[str, str] = headers or {}
        self._pieces = pieces
        self._error = error
        self.closed = 0

    def expect_content(self, *, more: bool) -> None: ...

    async def chunks(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            await self._world.step("reply.chunk")
            yield piece
        if self._error is not None:
            raise self._error

    async def read(self, bytes_max: int) -> bytes:
        await self._world.step("reply.read")
        if self._error is not None:
            raise self._error
        return b"".join(self._pieces)

    async def close(self) -> None:
        self.closed += 1


Answering = Callable[["World"], FakeReply]


class FakeUpstream:
    """Answers by provider; what is not scripted refuses the connection."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.scripts: dict[str, list[Answering]] = {}
        self.requests: list[UpstreamRequest] = []
        self.replies: list[FakeReply] = []

    @property
    def asked(self) -> list[str]:
        """The providers that were called, in order."""
        return [request.url.split("/")[2].split(".")[0] for request in self.requests]

    async def send(self, request: UpstreamRequest, deadlines: Deadlines) -> FakeReply:
        self.requests.append(request)
        scripts = self.scripts.get(self.asked[-1])
        await self._world.step("upstream.send")
        if not scripts:
            raise UpstreamError("refused", kind=UpstreamKind.UNAVAILABLE, sent=False)
        reply = (scripts.pop(0) if len(scripts) > 1 else scripts[0])(self._world)
        self.replies.append(reply)
        return reply

    async def close(self) -> None: ...


class FakeFetcher:
    def __init__(self, world: World) -> None:
        self._world = world
        self.urls: list[str] = []
        self.refuse = False

    async def fetch(self, url: str) -> Fetched:
        self.urls.append(url)
        await self._world.step("fetcher.fetch")
        if self.refuse:
            raise InvalidRequest("not there")
        return Fetched(media_type="image/png", data="aGk=")


class FakeClient:
    """What the client got. ``leave_at``: it is gone from the so-many-th write on."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.started = False
        self.last_sent_s = 0.0
        self.status: int | None = None
        self.headers: dict[str, str] = {}
        self.data = b""
        self.writes = 0
        self.beats = 0
        self.finished = False
        self.leave_at: int | None = None
        self.on_beat: Callable[[int], None] = lambda count: None

    async def start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        assert not self.started, "started twice"
        self.started = True
        self.status = status
        self.headers = {name.decode(): value.decode("latin-1") for name, value in headers}

    async def send(self, data: bytes) -> None:
        await self._write(data)

    async def finish(self, data: bytes = b"") -> None:
        await self._write(data)
        self.finished = True

    async def beat(self, status: int, headers: list[tuple[bytes, bytes]], data: bytes) -> None:
        assert not self.finished, "a heartbeat after the end"
        if not self.started:
            await self.start(status, headers)
        self.data += data
        self.beats += 1
        self.on_beat(self.beats)

    async def _write(self, data: bytes) -> None:
        assert self.started
        assert not self.finished, "bytes after the end"
        self.writes += 1
        if self.leave_at is not None and self.writes >= self.leave_at:
            raise ConnectionError("gone")
        self.data += data
        await self._world.step("client.write")

    @property
    def json(self) -> Any:
        return json.loads(self.data)

    @property
    def chunks(self) -> list[Any]:
        lines = self.data.split(b"\n\n")
        return [json.loads(line[6:]) for line in lines if line.startswith(b"data: {")]

    @property
    def error(self) -> Any:
        if self.headers["content-type"] == "application/json":
            return self.json["error"]
        return next((chunk["error"] for chunk in self.chunks if "error" in chunk), None)


class FakeTelemetry:
    def __init__(self) -> None:
        self.records: list[ExchangeRecord] = []

    def exchange(self, record: ExchangeRecord) -> None:
        self.records.append(record)


class World:
    """One engine with all its ports, and what happened to them.

    Attributes:
        steps: the awaits of the exchange so far, by name.
        dice: what every throw comes to; pauses: the seconds that were waited between attempts.
        documents: what experiments keep; configured: those of the configuration; said: what operators hear.
        strike: called with (number of the await, task) at each of them.
    """

    def __init__(self, *models: Model, providers: tuple[Provider, ...] = (), **state: Any) -> None:
        self.steps: list[str] = []
        self.strike: Callable[[int, asyncio.Task[Any]], None] = lambda number, task: None
        self.books = FakeBooks(self)
        self.keyring = FakeKeyring(self)
        self.counters = CountingCounters(self)
        self.rules = FakeRules()
        self.upstream = FakeUpstream(self)
        self.fetcher = FakeFetcher(self)
        self.telemetry = FakeTelemetry()
        self.side_car = MemorySideCar(Sealer(bytes(32), "test"), bytes_max=10**6, ttl_ms=10**6)
        self.documents = MemoryBooks()
        self.configured: dict[str, Experiment] = {}
        self.said: list[str] = []
        self.client = FakeClient(self)
        self.task: asyncio.Task[Any] | None = None
        known = providers or PROVIDERS
        snapshot = compile_snapshot(
            CatalogData(as_of="2026-01-01", providers=(), models=(), prices=()),
            providers=known,
            models=models or MODELS,
        )
        options = {
            "heartbeat_s": 0.0,
            "retries": RetryRules(repeats_max=0),
            **state,
        }
        self.dice = 0.5
        self.pauses: list[float] = []
        self._ids = iter(range(10**6))
        self.engine = Engine(
            state=State(
                snapshot=snapshot,
                provider_keys=dict.fromkeys((p.id for p in known), SECRET),
                active=frozenset(p.id for p in known),
                **options,
            ),
            dialects=SPOKEN,
            books=self.books,
            keyring=self.keyring,
            rules=self.rules,
            counters=self.counters,
            sessions=MemorySessions(),
            upstream=self.upstream,
            fetcher=self.fetcher,
            clock=FakeClock(),
            telemetry=self.telemetry,
            new_id=lambda: f"gen-{next(self._ids):04}",
            dice=lambda: self.dice,
            pause=self._pause,
            side_car=self.side_car,
            experiments=Experiments(
                self.documents, FakeClock(), "node-1", lambda: self.configured, self.said.append
            ),
        )

    async def step(self, name: str) -> None:
        """An await of the exchange. Others get their turn, and the exchange may be struck."""
        task = asyncio.current_task()
        if task is self.task:
            self.steps.append(name)
            self.strike(len(self.steps), task)
        await asyncio.sleep(0)

    async def _pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        await self.step("pause")

    async def serve(self, body: dict[str, Any] | bytes | None = None, **call: Any) -> None:
        """Run one exchange to its end, cancelled or not."""
        self.task = asyncio.ensure_future(self.engine.serve(self.call(body, **call), self.client))
        await asyncio.wait([self.task])
        if not self.task.cancelled() and (error := self.task.exception()) is not None:
            raise error

    async def until(self, condition: Callable[[], bool]) -> None:
        """Let others run until something is so."""
        for _ in range(10_000):
            if condition():
                return
            await asyncio.sleep(0)
        raise AssertionError("it never came to be")

    async def upkeep_done(self) -> None:
        """Wait until no hold is open any more and nothing is left to do beside the exchanges."""
        await self.until(lambda: self.books.ledger.open_holds() == 0)
        await self.until(lambda: self.engine.upkeep._task is None)
        await self.engine.close()

    def call(self, body: dict[str, Any] | bytes | None = None, **members: Any) -> Call:
        raw = body if isinstance(body, bytes) else json.dumps(ask("m1") if body is None else body).encode()
        defaults: dict[str, Any] = {
            "operation": "chat", "dialect": DIALECTS["openai_chat"], "body": raw, "credential": KEY,
            "headers": {}, "started_us": 1_700_000_000_000_000,
        }  # fmt: skip
        return Call(**(defaults | members))

    @property
    def record(self) -> ExchangeRecord:
        """The one record of the one exchange."""
        (record,) = self.telemetry.records
        return record

    def check(self) -> None:
        """What holds after any exchange, whatever happened to it."""
        books = self.books
        assert books.ledger.open_holds() == 0, "a hold stayed open"
        ids = [record.id for record in books.settlements]
        assert len(ids) == len(set(ids)), "settled twice"
        assert set(books.holds) <= set(ids), "a hold without its settlement"
        assert self.counters.admitted == self.counters.released
        assert self.counters.busy == 0
        assert all(reply.closed for reply in self.upstream.replies), "a reply stayed open"
        spent = sum(record.cost_pusd for record in books.records.values())
        assert books.available("acme") == GRANT - spent
        assert len(self.telemetry.records) <= 1
        assert self.engine._running == {}


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine to its end, bounded; complain of what it leaves running."""

    async def bounded() -> None:
        async with asyncio.timeout(20):
            await main
        for _ in range(5):  # abandoned generators are closed by the loop
            await asyncio.sleep(0)
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, f"still running: {left}"

    asyncio.run(bounded())


# Replies.


def ask(model_: str, *, stream: bool = False, **members: Any) -> dict[str, Any]:
    return {"model": model_, "stream": stream, "messages": [{"role": "user", "content": "hi"}], **members}


def whole(text: str = "Hello there", tokens: tuple[int, int] | None = (10, 5)) -> bytes:
    body: dict[str, Any] = {
        "id": "chatcmpl-up", "object": "chat.completion", "created": 1, "model": "up",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
    }  # fmt: skip
    if tokens is not None:
        body["usage"] = {
            "prompt_tokens": tokens[0],
            "completion_tokens": tokens[1],
            "total_tokens": sum(tokens),
        }
    return json.dumps(body).encode()


def events(*texts: str, tokens: tuple[int, int] | None = (10, 5)) -> list[bytes]:
    def chunk(**members: Any) -> bytes:
        common = {"id": "chatcmpl-up", "object": "chat.completion.chunk", "created": 1, "model": "up"}
        return b"data: " + json.dumps({**common, **members}).encode() + b"\n\n"

    def delta(value: dict[str, Any], finish: str | None = None) -> bytes:
        return chunk(choices=[{"index": 0, "delta": value, "finish_reason": finish}])

    said = [
        delta({"role": "assistant"}),
        *(delta({"content": text}) for text in texts or ("Hello", " there")),
    ]
    said.append(delta({}, "stop"))
    if tokens is not None:
        usage = {"prompt_tokens": tokens[0], "completion_tokens": tokens[1], "total_tokens": sum(tokens)}
        said.append(chunk(choices=[], usage=usage))
    return [*said, b"data: [DONE]\n\n"]


def answer(*pieces: bytes, status: int = 200, error: UpstreamError | None = None) -> Answering:
    return lambda world: FakeReply(world, status, list(pieces), error)


def refusal(status: int, message: str = "no", **headers: str) -> Answering:
    body = json.dumps({"error": {"message": message, "type": "t", "code": None}}).encode()
    return lambda world: FakeReply(world, status, [body], None, headers)


CUT = UpstreamError("cut", kind=UpstreamKind.TRUNCATED)

PROVIDERS = (
    *(provider(f"p{n}", takes_urls=("image",)) for n in range(1, 7)),
    provider("anth", "anthropic_messages"),
    provider("gem", "gemini_generate"),
)
MODELS = (
    model("m1", "p1"),
    model("m2", "p1", "p2"),
    model("m6", "p1", "p2", "p3", "p4", "p5", "p6"),
    model("mixed", "anth", "gem", "p1"),
    model("claude", "anth"),
    model("sees", "anth", "gem"),
)


def anthropic_whole(text: str = "Hello there") -> bytes:
    return msgspec.json.encode(
        {
            "id": "msg_up", "type": "message", "role": "assistant", "model": "up", "stop_reason": "end_turn",
            "content": [{"type": "text", "text": text}], "usage": {"input_tokens": 10, "output_tokens": 5},
        }
    )  # fmt: skip


def commands_of(world: World, treasury: Any, configured: RoutingRules | None = None) -> Context:
    """What commands work on that need no keys, no books and no audit log."""
    nothing: Any = None
    return Context(
        keyring=nothing,
        books=nothing,
        clock=FakeClock(),
        snapshot=lambda: world.engine.state.snapshot,
        active=tuple,
        new_key_text=str,
        new_id=str,
        starting_pusd=0,
        treasury=treasury,
        configured=lambda: RoutingRules() if configured is None else configured,
    )
