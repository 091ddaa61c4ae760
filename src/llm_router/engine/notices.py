"""Notices: written down when something happens, sent until they are taken or given up.

Several processes may look after the same books. Who finds an account low writes that down under the
account's name, which one of them can, and that one tells; who sends a notice first moves it on by one
version, which one of them can, and that one sends. A process that dies in between leaves what it was
about to do to whoever looks next.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Mapping, Sequence

import msgspec

from llm_router.domain.errors import InvalidRequest
from llm_router.domain.money import format_usd
from llm_router.engine.alert_targets import AlertTargets
from llm_router.engine.moments import iso_time
from llm_router.ports import Clock, Document, Notice, NoticeChannel, NoticeRefused, TreasuryBooks

KIND = "notice"
LOW = "low_balance"
"""Documents of accounts that were found low, until they are not any more."""

OPEN_MAX = 1000
"""Notices that may wait; what happens beyond is said on standard error only."""

AT_ONCE = 20
TRIES = 12
PAUSE_MS = 10_000
PAUSE_MAX_MS = 3_600_000
CLAIM_MS = 60_000
"""What a process took up and did not end for so long, another takes up: that one has died."""

WATCH_MS = 30_000
"""How often all accounts are looked at."""


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What is shown of a way of the configuration: where it leads."""

    url: str | None = None
    to: tuple[str, ...] = ()


class _Waiting(msgspec.Struct, frozen=True, kw_only=True):
    notice: Notice
    channel: str
    tries: int = 0
    next_ms: int = 0


class _Low(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An account that was found low. ``notice``: the id of what is told of it."""

    notice: str | None = None


_decoder = msgspec.json.Decoder(_Waiting)
_low_decoder = msgspec.json.Decoder(_Low)


class Notices:
    """Options: low_pusd: a balance below it is told of, once until it has been above again; None is never.
    channels: the ways of the configuration; told: what is shown of them, by name. targets: further ways, which the
    store holds."""

    def __init__(
        self,
        *,
        books: TreasuryBooks,
        clock: Clock,
        new_id: Callable[[str], str],
        channels: Sequence[NoticeChannel] = (),
        low_pusd: int | None = None,
        targets: AlertTargets | None = None,
        told: Mapping[str, Told] | None = None,
    ) -> None:
        self.targets = targets
        self.told = {name: Told() for name in (channel.name for channel in channels)} | dict(told or {})
        self._books = books
        self._clock = clock
        self._new_id = new_id
        self._channels = {channel.name: channel for channel in channels}
        self._low_pusd = low_pusd
        self._low: set[str] | None = None  # None: not read yet
        self._begun: set[str] = set()  # low, and told of by another process, if it lives
        self._watched_ms: int | None = None
        self._last: dict[str, tuple[int, str | None]] = {}

    @property
    def channels(self) -> tuple[str, ...]:
        """The ways in which notices leave that the configuration names."""
        return tuple(self._channels)

    def last(self, channel: str) -> tuple[int, str | None] | None:
        """When this process last tried that way, and what was wrong with it; None: not yet."""
        return self._last.get(channel)

    async def waiting(self) -> dict[str, int]:
        """How many notices wait for each way."""
        found: dict[str, int] = {}
        for document in await self._books.documents(KIND, open_only=True, limit=2 * OPEN_MAX):
            channel = _decoder.decode(document.body).channel
            found[channel] = found.get(channel, 0) + 1
        return found

    async def way(self, name: str) -> NoticeChannel | str | None:
        """How notices leave by that name, or why they cannot; None: by none such."""
        channel = self._channels.get(name)
        if channel is not None or self.targets is None:
            return channel
        target = await self.targets.get(name)
        if target is None:
            return "it cannot be opened here: add it anew" if name in await self.targets.all() else None
        try:
            return self.targets.channel(target)
        except InvalidRequest as error:  # what it needs of the configuration is not there any more
            return error.message

    async def try_out(self, way: NoticeChannel) -> str | None:
        """Send a notice that is none, now; return what is wrong with that way, None if it was taken."""
        now_ms = self._clock.now_ms()
        notice = Notice(
            id=self._new_id("ntc"),
            type="test",
            account="",
            created=iso_time(now_ms),
            subject="A test of the alerts of LLM Router",
            text="Somebody tries whether alerts arrive. They do.",
            data={},
        )
        return await self._tried(way, notice)

    async def _tried(self, way: NoticeChannel, notice: Notice) -> str | None:
        problem = None
        try:
            await way.send(notice)
        except NoticeRefused as error:
            problem = str(error)
        self._last[way.name] = (self._clock.now_ms(), problem)
        return problem

    async def tell(
        self, type_: str, account: str, subject: str, text: str, data: dict[str, str], id_: str | None = None
    ) -> None:
        """Write a notice down for every channel, once under one id; without a channel say it on standard error."""
        now_ms = self._clock.now_ms()
        waiting = await self._books.documents(KIND, open_only=True, limit=OPEN_MAX)
        names = [*self._channels, *await self._wanting(type_)]
        if not names or len(waiting) >= OPEN_MAX:
            print(f"notice {type_}: {subject}", file=sys.stderr)
            return
        notice = Notice(
            id=self._new_id("ntc") if id_ is None else id_,
            type=type_,
            account=account,
            created=iso_time(now_ms),
            subject=subject,
            text=text,
            data=data,
        )
        for name in names:
            document = Document(
                kind=KIND,
                id=f"{notice.id}.{name}",
                account=account,
                version=1,
                open=True,
                created_ms=now_ms,
                body=msgspec.json.encode(_Waiting(notice=notice, channel=name)),
            )
            await self._books.put_document(document)

    async def _wanting(self, type_: str) -> list[str]:
        """The ways of the store that are told of that."""
        if self.targets is None:
            return []
        found = await self.targets.all()
        return [name for name, target in found.items() if target is not None and target.wants(type_)]

    async def deliver(self) -> None:
        """Send what is due, some at once."""
        now_ms = self._clock.now_ms()
        due: list[tuple[Document, _Waiting]] = []
        for document in await self._books.documents(KIND, open_only=True, limit=2 * OPEN_MAX):
            waiting = _decoder.decode(document.body)
            if abs(waiting.next_ms - now_ms) > PAUSE_MAX_MS or waiting.next_ms <= now_ms:
                due.append((document, waiting))
        await asyncio.gather(*(self._send(document, waiting) for document, waiting in due[:AT_ONCE]))

    async def watch(self) -> None:
        """Tell of the accounts whose balance has fallen below the threshold since the last look."""
        now_ms = self._clock.now_ms()
        low_pusd = self._low_pusd
        if low_pusd is None or (self._watched_ms is not None and abs(now_ms - self._watched_ms) < WATCH_MS):
            return
        self._watched_ms = now_ms
        low = await self._known_low()
        for account, posted, _ in await self._books.accounts():
            if posted < low_pusd and account not in low:
                (low if await self._found_low(account, posted, low_pusd) else self._begun).add(account)
            elif posted >= low_pusd and account in low | self._begun:
                await self._books.remove_document(LOW, account)
                low.discard(account)
                self._begun.discard(account)

    async def _found_low(self, account: str, posted_pusd: int, low_pusd: int) -> bool:
        """Tell of it, if nobody else does; False if somebody else is about to, and may have died of it."""
        now_ms = self._clock.now_ms()
        known = await self._books.document(LOW, account)
        if known is not None and not known.open:
            return True
        if known is not None and abs(now_ms - known.created_ms) < CLAIM_MS:
            return False
        found = _Low() if known is None else _low_decoder.decode(known.body)
        found = found if found.notice is not None else _Low(notice=self._new_id("ntc"))
        claim = Document(
            kind=LOW,
            id=account,
            account=account,
            version=1 if known is None else known.version + 1,
            open=True,
            created_ms=now_ms,
            body=msgspec.json.encode(found),
        )
        if not await self._books.put_document(claim):
            return False
        await self._tell_low(account, posted_pusd, low_pusd, found)
        await self._books.put_document(msgspec.structs.replace(claim, version=claim.version + 1, open=False))
        return True

    async def _tell_low(self, account: str, posted_pusd: int, low_pusd: int, found: _Low) -> None:
        left, threshold = format_usd(posted_pusd), format_usd(low_pusd)
        await self.tell(
            "credits.low",
            account,
            f"The account {account} has ${left} left",
            f"The account {account} has ${left} left, less than the threshold of ${threshold}.\n\n"
            "Requests that the balance does not cover are refused.",
            {"credits_remaining": left, "threshold": threshold},
            found.notice,
        )

    async def _known_low(self) -> set[str]:
        if self._low is None:
            found: set[str] = set()
            after = ""
            while page := await self._books.documents(LOW, after=after):
                found |= {document.id for document in page if not document.open}
                after = page[-1].id
            self._low = found
        return self._low

    async def _send(self, document: Document, waiting: _Waiting) -> None:
        way = await self._open_way(waiting.channel)
        held = msgspec.structs.replace(waiting, next_ms=self._clock.now_ms() + CLAIM_MS)
        document = msgspec.structs.replace(
            document, version=document.version + 1, body=msgspec.json.encode(held)
        )
        if not await self._books.put_document(document):
            return  # another process sends it
        if way is not None:  # else it was taken away meanwhile
            problem = way if isinstance(way, str) else await self._tried(way, waiting.notice)
            if problem is not None:
                await self._later(document, waiting, problem)
                return
        await self._books.remove_document(KIND, document.id)

    async def _open_way(self, name: str) -> NoticeChannel | str | None:
        """The same as :meth:`way`, but for one that is switched off."""
        if name not in self._channels and self.targets is not None:
            target = await self.targets.get(name)
            if target is not None and not target.enabled:
                return None
        return await self.way(name)

    async def _later(self, document: Document, waiting: _Waiting, why: str) -> None:
        tries = waiting.tries + 1
        if tries >= TRIES:
            print(f"notice given up after {TRIES} tries ({why}): {waiting.notice.subject}", file=sys.stderr)
            await self._books.remove_document(KIND, document.id)
            return
        pause_ms = min(PAUSE_MAX_MS, PAUSE_MS * 2**waiting.tries)
        again = msgspec.structs.replace(waiting, tries=tries, next_ms=self._clock.now_ms() + pause_ms)
        await self._books.put_document(
            msgspec.structs.replace(document, version=document.version + 1, body=msgspec.json.encode(again))
        )
