"""What requests of the fast lane ask of the ledger's process, many in one frame and answered the same way.

A request is two moves: it enters (counted against its limits and held for, in one step), and is charged, which
gives its places in the limits back; what is not charged leaves by a move of its own. Each is encoded by itself,
since one that cannot be written must not keep the others back; what a turn of the event loop brings leaves in one
frame, and so do the answers.

What many requests have in common (who pays, the limits, the price) is said once, as a :class:`Kind` with a
number, before the first of them.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from llm_router.adapters.shared.calls import CALL_S
from llm_router.adapters.shared.failures import Failure, raised
from llm_router.adapters.shared.link import Link
from llm_router.domain.budget import Payer
from llm_router.domain.limit import UNLIMITED, Admission, Limit
from llm_router.domain.price import Price
from llm_router.domain.record import ExchangeRecord
from llm_router.ports import Entered, Landing, Settled

HOLD_S = 10.0
"""How long a client waits to hear whether it has credit."""

KINDS_MAX = 4096
"""Kinds of requests that have a number; beyond it all are said anew."""


class Kind(msgspec.Struct, frozen=True, array_like=True, tag=0):
    """What the requests that name its number have in common, from now on."""

    number: int
    payer: Payer
    limits: tuple[Limit, ...]
    price_version: str


class Enter(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """A request enters."""

    number: int
    kind: int
    exchange_id: str
    amount_pusd: int
    tokens: int
    now_ms: int


class Charge(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """A request is settled, and leaves; ``record``: JSON."""

    number: int
    record: bytes


class Leave(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """A request has ended that was not charged by a move: its places are free. Nobody waits for an answer."""

    exchange_id: str
    tokens_used: int
    now_ms: int


class Publish(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """A price is to be kept before anything is held by it. Nobody waits for an answer."""

    price: Price
    now_ms: int


Move = Kind | Enter | Charge | Leave | Publish


class Held(msgspec.Struct, frozen=True, array_like=True, tag=0):
    """What became of a request that entered; ``admission``: None where it had no limits."""

    number: int
    admission: Admission | None
    failure: Failure | None = None

    def entered(self) -> Entered:
        return Entered(
            admission=UNLIMITED if self.admission is None else self.admission,
            refusal=None if self.failure is None else raised(self.failure),
        )


class Charged(msgspec.Struct, frozen=True, array_like=True, tag=1):
    number: int
    charged_pusd: int
    remaining_pusd: int

    def settled(self) -> Settled:
        return Settled(charged_pusd=self.charged_pusd, remaining_pusd=self.remaining_pusd)


class Uncharged(msgspec.Struct, frozen=True, array_like=True, tag=2):
    number: int
    failure: Failure


Answer = Held | Charged | Uncharged

encode = msgspec.msgpack.Encoder().encode
decode_moves = msgspec.msgpack.Decoder(list[Move]).decode
_answers = msgspec.msgpack.Decoder(list[Answer])
_record = msgspec.json.Encoder().encode


class Moves:
    """A worker's end of it. ``void``: tells that nobody heard of a hold in time."""

    def __init__(self, link: Link, void: Callable[[str], None]) -> None:
        self._link = link
        self._kinds: dict[tuple[Payer, tuple[Limit, ...], str], int] = {}
        link.hear, link.undo = self._hear, void

    def enter(
        self,
        exchange_id: str,
        payer: Payer,
        amount_pusd: int,
        price_version: str,
        limits: tuple[Limit, ...],
        tokens: int,
        now_ms: int,
        landing: Landing,
    ) -> None:
        """As the port PromptEntrance says."""
        link = self._link
        link.check_room()
        kind = self._kinds.get((payer, limits, price_version))
        if kind is None:
            kind = self._say(payer, limits, price_version)
        number = link.expect(landing, HOLD_S, exchange_id)
        link.post(encode(Enter(number, kind, exchange_id, amount_pusd, tokens, now_ms)))

    def charge(self, record: ExchangeRecord, landing: Landing) -> None:
        """Settle, and give the places back; ``landing`` hears of :class:`Settled`.

        Raises:
            LedgerUnavailable: nothing was asked, and ``landing`` hears nothing.
            UnicodeEncodeError: there is a character in it that is none; nothing was asked.
        """
        text, link = _record(record), self._link
        link.check_room()
        link.post(encode(Charge(link.expect(landing, CALL_S), text)))

    def leave(self, exchange_id: str, tokens_used: int, now_ms: int) -> None:
        """Give its places back."""
        self._link.post(encode(Leave(exchange_id, tokens_used, now_ms)))

    def _say(self, payer: Payer, limits: tuple[Limit, ...], price_version: str) -> int:
        kinds = self._kinds
        if len(kinds) >= KINDS_MAX:
            kinds.clear()
        number = len(kinds)
        self._link.post(encode(Kind(number, payer, limits, price_version)))
        kinds[payer, limits, price_version] = number  # it has been said: else it is tried again
        return number

    def _hear(self, body: msgspec.Raw) -> None:
        asked = self._link.asked
        for answer in _answers.decode(body):
            found = asked.pop(answer.number, None)
            if found is None or (landing := found[0]).done():
                continue
            if type(answer) is Held:
                landing.set_result(answer.entered())
            elif type(answer) is Charged:
                landing.set_result(answer.settled())
            else:
                assert type(answer) is Uncharged
                landing.set_exception(raised(answer.failure))
