"""Bodies of requests and answers that accounts want kept: noted on the way, worked on after it.

What is kept is said by rules (a document of the store for each account, all of them in memory). While there is none,
no request pays for it. An exchange whose account or key has one, and whose id belongs to its share, gets a tape. When
it is over, and settled, the tape goes into a queue that is bounded; one thread assembles, redacts and cuts, and the
store seals. An answer neither waits for any of it nor fails by it: what finds no room is counted, told, and not kept.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec

from llm_router.domain.bodies import BodyRules, StoredBody, is_sampled
from llm_router.domain.errors import InvalidRequest, LedgerUnavailable
from llm_router.domain.record import ExchangeRecord
from llm_router.engine.taping import Tape, Taped
from llm_router.engine.tracks import Track
from llm_router.ports import BodyStore, Clock, Document, TreasuryBooks
from llm_router.privacy.assemble import assembled
from llm_router.privacy.content import Cleaner, Side
from llm_router.privacy.linear import PatternError, TooHard
from llm_router.privacy.redact import Redactor
from llm_router.wire.dialect import Bill, ReplyContext, Spoken
from llm_router.wire.lenient import mapping

KIND = "body_rules"
WRITE_TRIES = 5

WAITING_MAX = 1000
WAITING_BYTES_MAX = 64 * 1024 * 1024
"""What may wait to be worked on in one process."""

REST_S_MAX = 5.0
"""The thread rests as long as it worked, up to that: it must not take a processor from those who answer requests."""

TOLD_EVERY_S = 60.0
CLOSE_S = 5.0
DAY_MS = 86_400_000

UNRECORDED = (401, 429)
CHAT = "chat"


class BodyPolicy:
    """The rules of all accounts, in memory.

    Attributes:
        quiet: there is none at all, so that nobody has to look.
    """

    def __init__(self, books: TreasuryBooks, clock: Clock) -> None:
        self._books = books
        self._clock = clock
        self._known: dict[str, BodyRules] = {}
        self._stale = True
        self._loading = asyncio.Lock()
        self.quiet = False

    def forget(self) -> None:
        """They may have changed elsewhere: the next request loads them."""
        self._stale, self.quiet = True, False

    async def load(self) -> None:
        """
        Raises:
            LedgerUnavailable: they could not be read.
        """
        async with self._loading:
            await self._load()

    async def _load(self) -> None:
        self._stale = False  # who forgets while this reads makes it be done again
        known: dict[str, BodyRules] = {}
        try:
            after = ""
            while page := await self._books.documents(KIND, after=after):
                for document in page:
                    known[document.id] = _read(document)
                after = page[-1].id
        except BaseException:
            self._stale = True
            raise
        self._adopt(known)

    def _adopt(self, known: dict[str, BodyRules]) -> None:
        self._known = known
        if not self._stale:
            self.quiet = not known

    def may_keep(self, account: str) -> bool:
        """Whether anything of an account may have to be kept."""
        return self._stale or account in self._known

    async def of(self, account: str) -> BodyRules:
        """
        Raises:
            LedgerUnavailable: they were to be loaded anew, and could not be.
        """
        if self._stale:
            async with self._loading:
                if self._stale:
                    await self._load()
        return self._known.get(account, _NO_RULES)

    async def change(self, account: str, change: Callable[[BodyRules], BodyRules]) -> BodyRules:
        """Give an account other rules; they hold for the next request.

        Raises:
            InvalidRequest: others change them again and again.
        """
        for _ in range(WRITE_TRIES):
            known = await self._books.document(KIND, account)
            rules = change(_NO_RULES if known is None else _read(known))
            if rules == _NO_RULES:
                if known is None or await self._books.remove_document(KIND, account):
                    self._adopt({name: each for name, each in self._known.items() if name != account})
                    return rules
                continue
            document = Document(
                kind=KIND,
                id=account,
                account=account,
                version=1 if known is None else known.version + 1,
                open=False,
                created_ms=self._clock.now_ms(),
                body=msgspec.json.encode(rules),
            )
            if await self._books.put_document(document):
                self._adopt({**self._known, account: rules})
                return rules
        raise InvalidRequest("the rules are being changed by others; try again")


_NO_RULES = BodyRules()


def _read(document: Document) -> BodyRules:
    return msgspec.json.decode(document.body, type=BodyRules)


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """An exchange that is over, as the thread takes it."""

    tape: Tape
    record: ExchangeRecord
    front: Spoken
    context: ReplyContext
    json_array: bool

    @property
    def size_bytes(self) -> int:
        return len(self.tape.request) + sum(map(len, self.tape.answer))


class BodyKeeper:
    """Keeps what is to be kept. One per process that serves requests.

    Args:
        secrets: credentials of this gateway's, which must not be kept whatever they look like.

    Attributes:
        kept: how many exchanges were; dropped: how many were not although they should have been, by the reason.
    """

    def __init__(
        self,
        *,
        policy: BodyPolicy,
        store: BodyStore,
        clock: Clock,
        secrets: Callable[[], Iterable[str]],
        say: Callable[[str], object],
        pause: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self.policy = policy
        self.store = store
        self.kept = 0
        self.dropped: dict[str, int] = {}
        self._clock = clock
        self._secrets = secrets
        self._say = say
        self._pause = pause
        self._waiting: deque[Job] = deque()
        self._waiting_bytes = 0
        self._task: asyncio.Task[None] | None = None
        self._thread: ThreadPoolExecutor | None = None
        self._told_us: int | None = None
        self._untold = 0

    @property
    def load(self) -> dict[str, int]:
        """What there is to tell of it."""
        return {
            "bodies_waiting": len(self._waiting),
            "bodies_kept": self.kept,
            "bodies_dropped": sum(self.dropped.values()),
        }

    async def begin(self, track: Track) -> None:
        """Note what is said and told from now on, if it is to be kept. The key must be known."""
        assert track.key is not None
        try:
            rule = (await self.policy.of(track.key.account)).of(track.key.id)
        except LedgerUnavailable:
            self._drop("rules unknown")
            return
        if rule is not None and is_sampled(track.id, rule.share):
            track.tape = Tape(rule, track.call.body)
            track.client = Taped(track.client, track.tape)

    def keep(self, track: Track) -> None:
        """An exchange with a tape is over: have it worked on."""
        tape, record = track.tape, track.record
        track.tape = None
        if tape is None or record is None or record.status in UNRECORDED:
            return
        inspected = track.inspected
        job = Job(
            tape=tape,
            record=record,
            front=track.call.dialect,
            context=track.context(),
            json_array=inspected is not None and inspected.json_array,
        )
        size = job.size_bytes
        if len(self._waiting) >= WAITING_MAX or self._waiting_bytes + size > WAITING_BYTES_MAX:
            self._drop("queue full")
            return
        self._waiting.append(job)
        self._waiting_bytes += size
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._work(), name="bodies")

    async def idle(self) -> None:
        """Return when nothing waits."""
        while self._task is not None:
            await asyncio.wait((self._task,))

    async def close(self) -> None:
        """Keep what waits, as far as there is time."""
        if self._task is not None:
            await asyncio.wait((self._task,), timeout=CLOSE_S)
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))
            self._drop("the gateway stopped", max(1, len(self._waiting)))
        if self._untold:
            self._tell()
        if self._thread is not None:
            self._thread.shutdown(wait=False, cancel_futures=True)

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="bodies")
        try:
            while self._waiting:
                job = self._waiting.popleft()
                self._waiting_bytes -= job.size_bytes
                began_us = self._clock.monotonic_us()
                work = loop.run_in_executor(self._thread, prepare, job, tuple(self._secrets()))
                await asyncio.wait((work,))
                took_s = (self._clock.monotonic_us() - began_us) / 1_000_000
                await self._store(work)
                await self._pause(min(took_s, REST_S_MAX))
        finally:
            self._task = None

    async def _store(self, work: asyncio.Future[StoredBody]) -> None:
        error = work.exception()
        if error is not None:  # one odd body must not end the keeping of all others
            hard = isinstance(error, TooHard | PatternError)
            self._drop("patterns too hard" if hard else f"a fault of ours ({type(error).__name__})")
            return
        try:
            if await self.store.put(work.result()):
                self.kept += 1
        except LedgerUnavailable:
            self._drop("store unavailable")

    def _drop(self, reason: str, count: int = 1) -> None:
        self.dropped[reason] = self.dropped.get(reason, 0) + count
        self._untold += count
        now_us = self._clock.monotonic_us()
        if self._told_us is None or now_us - self._told_us >= TOLD_EVERY_S * 1_000_000:
            self._told_us = now_us
            self._tell()

    def _tell(self) -> None:
        why = ", ".join(f"{reason}: {count}" for reason, count in self.dropped.items())
        self._say(f"bodies of {self._untold} exchanges were not kept, though they should be (in all: {why})")
        self._untold = 0


def prepare(job: Job, secrets: Iterable[str] = ()) -> StoredBody:
    """The bodies of an exchange as they are stored. Runs in a thread.

    Raises:
        PatternError, TooHard: the account's patterns cannot be applied.
    """
    tape, record, rule = job.tape, job.record, job.tape.rule
    cleaner = Cleaner(rule, redactor := Redactor(rule.redact, rule.patterns, secrets))
    answer, streamed, whole = b"".join(tape.answer), False, tape.whole and not tape.overflow
    if record.stream and record.operation == CHAT and tape.status == 200:
        streamed = True
        bill = Bill(usage=record.usage, cost_pusd=record.cost_pusd, credits_remaining_pusd=0)
        answer, ended = assembled(job.front, answer, job.context, bill, json_array=job.json_array)
        whole = whole and ended
    request = _side(cleaner, tape.request, tape.too_long)
    response = _side(cleaner, answer, tape.overflow)
    content = {
        "api": record.dialect,
        "request": request,
        "response": {
            "status": tape.status or record.status,
            "streamed": streamed,
            "complete": whole and not record.client_gone,
            **response,
        },
        "redacted": redactor.counts,
        "files_left_out": cleaner.files,
    }
    return StoredBody(
        account=record.account,
        id=record.id,
        key=record.key,
        users=_users(tape.request, record),
        created_ms=record.created_ms,
        expires_ms=record.created_ms + rule.retention_days * DAY_MS,
        content=msgspec.json.encode(content),
    )


def _side(cleaner: Cleaner, data: bytes, too_long: bool) -> dict[str, Any]:
    counts, files = dict(cleaner.counts), cleaner.files
    side = Side(truncated=True) if too_long else cleaner.side(data)
    return {
        "body": side.body,
        "size_bytes": side.size_bytes,
        "truncated": side.truncated,
        "redacted": {
            kind: more for kind, count in cleaner.counts.items() if (more := count - counts.get(kind, 0))
        },
        "files_left_out": cleaner.files - files,
    }


def _users(request: bytes, record: ExchangeRecord) -> tuple[str, ...]:
    """Who the exchange was made for: the user of its key, and those that the request names."""
    try:
        body: Mapping[str, Any] = mapping(msgspec.json.decode(request))
    except (msgspec.DecodeError, RecursionError):
        body = {}
    named = (
        record.user,
        body.get("user"),
        body.get("safety_identifier"),
        mapping(body.get("metadata")).get("user_id"),
    )
    return tuple(dict.fromkeys(each for each in named if isinstance(each, str) and each))
