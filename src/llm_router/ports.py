"""What the engine needs of the world, on one page. Adapters implement it; tests fake it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from enum import IntEnum
from typing import Any, Protocol, runtime_checkable

import msgspec

from llm_router.billing.ledger import Entry, Wanted
from llm_router.billing.search import ANY, Filter, Found
from llm_router.billing.sessions import Calls, Granted
from llm_router.domain.account import Act, AuditEntry, Noun
from llm_router.domain.bodies import BodiesHeld, StoredBody, Withdrawal
from llm_router.domain.budget import Payer
from llm_router.domain.errors import UpstreamError
from llm_router.domain.key import Key
from llm_router.domain.limit import Admission, Limit
from llm_router.domain.own_key import OwnKey
from llm_router.domain.price import Price
from llm_router.domain.price_rule import PriceRule
from llm_router.domain.record import ExchangeRecord
from llm_router.domain.session import SessionLimits
from llm_router.domain.stored import StoredConversation, StoredResponse
from llm_router.wire.cut import Pieces
from llm_router.wire.dialect import Fetched


class Clock(Protocol):
    """The only source of time."""

    def now_ms(self) -> int:
        """Unix time in milliseconds."""
        ...

    def monotonic_us(self) -> int:
        """A clock that never jumps, in microseconds."""
        ...


class Keyring(Protocol):
    """API keys by digest."""

    async def find(self, digest: bytes) -> Key | None:
        """The key with that SHA-256 digest, whatever its state; None if there is none."""
        ...

    async def create(self, key: Key, digest: bytes) -> None: ...

    async def list(self) -> list[Key]: ...

    async def some(self, limit: int) -> Sequence[Key]:
        """Up to so many keys, whichever they are: all of them if there are no more."""
        ...

    async def count(self, account: str) -> int:
        """How many keys an account has, revoked ones too."""
        ...

    async def revoke(self, key_id: str, now_ms: int) -> Key | None:
        """Revoke by id; None if there is no such key. Effective for the next request."""
        ...

    async def get(self, key_id: str) -> Key | None:
        """The key of that id, whatever its state."""
        ...

    async def of_account(self, account: str, after: str, limit: int) -> Sequence[Key]:
        """The keys of an account in the order of their creation, behind the one with the id ``after``
        (empty: from the first on)."""
        ...

    async def change(self, key: Key) -> bool:
        """Write a key whose version is one more than the stored one, for the next request; all but its
        account, its text and whether it is revoked. False, and nothing is written, if the store holds
        another version or none."""
        ...

    async def rotate(self, key: Key, digest: bytes) -> bool:
        """As :meth:`change`, and give the key another text. The one that it had works until
        ``key.old_until_ms``, and not at all if that is None; those before it do not work any more.

        Raises:
            ValueError: another key has that digest.
        """
        ...


class Directory(Protocol):
    """Accounts, the people in them, and the log of what they did.

    All methods raise LedgerUnavailable when the store cannot be read or written.
    """

    async def find(self, kind: str, id_: str) -> Noun | None:
        """The row of that kind (the tag of its class) and id."""
        ...

    async def named(self, kind: str, name: str) -> Noun | None:
        """The row of a kind by its other name, which is its own alone: a person by e-mail address; what
        is opened by a token, by its digest."""
        ...

    async def rows(
        self, kind: str, *, account: str = "", person: str = "", after: str = "", limit: int = 1000
    ) -> list[Noun]:
        """Those of a kind by id, behind ``after``: of an account, of a person, of both, or all of them."""
        ...

    async def write(self, puts: list[Noun], removes: list[tuple[str, str]], acts: list[Act]) -> bool:
        """Write rows, remove rows (kind, id) and log acts: all of it, or nothing.

        Return False, and nothing is written, if a row's version is not one more than the stored one (1:
        there is none yet), its name is taken, or a row to be removed is not there.
        """
        ...

    async def purge(self, now_ms: int) -> int:
        """Remove what has expired; return how many rows."""
        ...

    async def acts(self, account: str | None, before: int, limit: int) -> list[AuditEntry]:
        """The last acts, the newest first, with numbers under ``before`` (0: from the last on): of an
        account, of the gateway itself (empty), or all of them (None)."""
        ...

    async def check_acts(self) -> int:
        """Calculate all links of the log again; return how many acts there are.

        Raises:
            ValueError: names the first act that does not fit.
        """
        ...


class Issuer(Protocol):
    """An issuer of OpenID Connect.

    All methods raise SignInRefused when it does not answer as it must.
    """

    async def authorization_url(self) -> str:
        """Where browsers are sent to sign in."""
        ...

    async def claims(self, code: str, verifier: str, redirect_uri: str, nonce: str) -> dict[str, Any]:
        """What it says of who has signed in: the claims of an id_token that is verified."""
        ...


class IssuerCheck(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that signing in at an issuer needs.

    Attributes:
        check: ``description``, ``issuer``, ``endpoints``, ``keys``, ``signing``, ``pkce``, ``scopes``, ``client``.
        found: what there was. problem: what is wrong, and what to do; None: nothing.
    """

    check: str
    ok: bool
    found: str | None = None
    problem: str | None = None


class Turn(IntEnum):
    """Whose password is looked at first, where there is too much to do."""

    FIRST = 0  # who was here before, or is
    NEXT = 1  # who says so
    LAST = 2  # who is new


class Passwords(Protocol):
    """Hashes of passwords."""

    async def hash(self, password: str, turn: Turn) -> str:
        """
        Raises:
            Overloaded: too many wait already.
        """
        ...

    async def verify(self, hash_: str | None, password: str, turn: Turn) -> bool:
        """Whether it is the password of that hash. None is never, and takes as long to say.

        Raises:
            Overloaded: too many wait already.
        """
        ...


class Settled(msgspec.Struct, frozen=True, kw_only=True):
    """A settlement: what was charged, and what the account has available after it."""

    charged_pusd: int
    remaining_pusd: int


class Books(Protocol):
    """The ledger. Amounts are picodollars. Every method returns only when its effect is durable."""

    async def hold(
        self, exchange_id: str, payer: Payer, amount_pusd: int, price_version: str, now_ms: int
    ) -> int:
        """Reserve credits for an exchange, within all budgets of the payer; return what the account then
        has available.

        Raises:
            InsufficientCredits: with ``details`` {"needed", "available"}, ``available_pusd`` for
                another try and ``reachable_pusd`` for one after others have settled; nothing was
                reserved.
            LedgerUnavailable: the store cannot promise durability now.
        """
        ...

    async def hold_all(self, wanted: Sequence[Wanted], payer: Payer, now_ms: int) -> int:
        """Reserve credits for several exchanges of one payer in one step: all of it or nothing. As
        :meth:`hold` otherwise; an error speaks of the sum.

        Raises:
            LedgerUnavailable: some of it may be reserved: settle each of them.
        """
        ...

    async def settle(self, record: ExchangeRecord) -> Settled:
        """Resolve the hold of ``record.id``: charge ``record.cost_pusd`` and write the record, in one
        transaction. A cost of 0 voids the hold. Idempotent by exchange id. Of a cost above hold, balance
        and budgets, the rest is absorbed and the written record says so.
        """
        ...

    async def balance(self, account: str) -> int:
        """What is available to an account: posted minus held."""
        ...

    async def affordable(self, payer: Payer, now_ms: int) -> int:
        """The largest hold that would be granted to a payer now: the account's credit within all budgets."""
        ...

    async def credit(self, account: str, amount_pusd: int, ref: str, reason: str, now_ms: int) -> int:
        """Book a grant or adjustment once per ``ref``; return the balance."""
        ...

    async def generation(self, account: str, id_: str) -> ExchangeRecord | None:
        """A settled exchange of that account, by exchange id or reply id."""
        ...


class Landing(Protocol):
    """Who is told, in the event loop, what became of a write: a future, or what stands in its place."""

    def done(self) -> bool:
        """Whether nobody wants to know any more."""
        ...

    def set_result(self, result: Any, /) -> None: ...

    def set_exception(self, exception: BaseException, /) -> None: ...

    def exception(self) -> BaseException | None: ...


@runtime_checkable
class PromptBooks(Protocol):
    """Books that are asked without waiting, and tell later what became durable."""

    def hold_now(
        self,
        exchange_id: str,
        payer: Payer,
        amount_pusd: int,
        price_version: str,
        now_ms: int,
        landing: Landing,
    ) -> None:
        """As :meth:`Books.hold`; ``landing`` hears when it is durable, or of InsufficientCredits or
        LedgerUnavailable if it will not be.

        Raises:
            InsufficientCredits, LedgerUnavailable: that is known at once: nothing was held, and ``landing`` hears
                nothing.
        """
        ...

    def settle_now(self, record: ExchangeRecord, landing: Landing) -> None:
        """As :meth:`Books.settle`, for an exchange that holds and is settled by nobody else; ``landing`` hears
        of :class:`Settled`, or of an error: it may be booked even so, and settling again does no harm.

        Raises:
            LedgerUnavailable: nothing was booked, and ``landing`` hears nothing.
        """
        ...


class Entered(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a request that was counted against its limits and held for in one step.

    Attributes:
        admission: one with a refusal counted and held nothing.
        refusal: why there is no hold though the request was counted; None if there is one.
    """

    admission: Admission
    refusal: Exception | None = None


@runtime_checkable
class PromptEntrance(Protocol):
    """Books and counters that are asked together, without waiting: where they are elsewhere, one way for both.
    ``settle_now`` of such books gives back the places that the exchange has in its limits, once it is settled."""

    def enter_now(
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
        """As :meth:`PromptCounters.admit_now` and, if that refuses nothing, :meth:`PromptBooks.hold_now`;
        ``landing`` hears of :class:`Entered`, or of LedgerUnavailable: then the request may have been counted, and
        its hold is taken back.

        Raises:
            LedgerUnavailable: nothing was asked, and ``landing`` hears nothing.
        """
        ...

    def leave_now(self, exchange_id: str, tokens_used: int, now_ms: int) -> None:
        """As :meth:`PromptCounters.release_now`, for an exchange that was not settled."""
        ...


@runtime_checkable
class PromptKeyring(Protocol):
    """Keys that are in memory."""

    def find_now(self, digest: bytes) -> Key | None:
        """The key of that digest, if it is there."""
        ...


@runtime_checkable
class PromptRules(Protocol):
    """Limits that are in memory."""

    def limits_now(self, payer: Payer) -> Sequence[Limit] | None:
        """As :meth:`LimitRules.limits_of`; None where they have to be asked for."""
        ...


class PriceBook(Protocol):
    """The prices that something was charged by, kept for good so that it can be calculated again."""

    def publish(self, price: Price, now_ms: int) -> None:
        """Keep a price under its version, unless it is kept. Durable no later than any hold or settlement
        that is asked for afterwards.

        Raises:
            ValueError: that version was published with other rates.
        """
        ...


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """Where an account stands: what was ever added (less what was taken back), the sum of all its
    entries, and what running requests hold of it."""

    credited_pusd: int
    posted_pusd: int
    held_pusd: int


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """A durable note of the treasury: an order, a voucher, a setting of an account.

    Attributes:
        account: whom it concerns; empty while it concerns nobody.
        version: 1, 2, 3 and so on, one more with each change.
        open: something is left to do about it.
        body: JSON.
    """

    kind: str
    id: str
    account: str
    version: int
    open: bool
    created_ms: int
    body: bytes


class TreasuryBooks(Books, Protocol):
    """Books that keep the treasury's documents beside the money, and show what was booked.

    All methods raise LedgerUnavailable when the store cannot be read or written.
    """

    async def standing(self, account: str) -> Standing:
        """Of one moment."""
        ...

    async def life(self) -> str:
        """The name of this run of the books: of the process that owns a file, of the node of a database."""
        ...

    async def is_over(self, life: str) -> bool:
        """Whether a run is known to be over, and never comes again."""
        ...

    async def accounts(self) -> list[tuple[str, int, int]]:
        """(account, posted, held) of every account, by name."""
        ...

    async def credited(self, ref: str) -> bool:
        """Whether a grant or adjustment was booked under that reference."""
        ...

    async def entries(self, account: str, limit: int, before: str | None = None) -> list[Entry]:
        """The account's last entries, the newest first; those before that with the ref ``before``.

        Raises:
            InvalidRequest: the account has no entry of that ref.
        """
        ...

    def owe(self, account: str, owed_pusd: int) -> None:
        """Refuse holds of an account as long as it owes more than 0. In memory."""
        ...

    async def document(self, kind: str, id_: str) -> Document | None: ...

    async def put_document(self, document: Document) -> bool:
        """Write a document whose version is one more than the stored one (1: there is none yet).

        False, and nothing is written, if the store holds another version.
        """
        ...

    async def remove_document(self, kind: str, id_: str) -> bool:
        """False if there is none."""
        ...

    async def documents(
        self,
        kind: str,
        *,
        account: str | None = None,
        open_only: bool = False,
        after: str = "",
        limit: int = 1000,
    ) -> list[Document]:
        """Those of a kind by id, beginning behind ``after``."""
        ...


class Paper(msgspec.Struct, frozen=True, kw_only=True):
    """Something that was issued, and stays as it was: a receipt, a statement, an invoice.

    Attributes:
        series: what it is numbered in, such as ``receipts/ACCOUNT``.
        number: 1, 2, 3 and so on without a gap in its series.
        id: what it is about; there is one of it in a series.
        body: JSON.
    """

    series: str
    number: int
    id: str
    account: str
    created_ms: int
    body: str


class Booked(msgspec.Struct, frozen=True, kw_only=True):
    """An entry of the books with its hash there, and the exchange that it charges, if it does."""

    entry: Entry
    hash: bytes
    record: ExchangeRecord | None = None


Sums = tuple[tuple[str, ...], tuple[int, ...]]
"""What is summed up, and its sums in the order of :data:`llm_router.billing.rollups.COUNTS`."""


class MonthBooks(msgspec.Struct, frozen=True, kw_only=True):
    """A stretch of an account's books, all of one moment.

    Attributes:
        credited_pusd: what was credited in all before it; used_pusd: what was used in all before it.
        earlier_credited_pusd, earlier_used_pusd: the same before another, earlier point in time.
        credits: its entries that are no use, in their order.
        models: its use by model.
    """

    credited_pusd: int
    used_pusd: int
    earlier_credited_pusd: int
    earlier_used_pusd: int
    credits: tuple[Entry, ...]
    models: tuple[Sums, ...]


class Unsettled(msgspec.Struct, frozen=True, kw_only=True):
    """An exchange whose process died before it could settle it: its provider may have been called.

    Attributes:
        price_version: of the dearest deployment that could have answered; it begins with its name.
    """

    id: str
    account: str
    held_pusd: int
    price_version: str
    created_ms: int


class PaperBooks(Protocol):
    """What papers are made from, and where they are kept.

    All methods raise LedgerUnavailable when the store cannot be read or written.
    """

    async def booked(self, account: str, after: str | None, limit: int) -> list[Booked]:
        """The account's entries in the order in which they were booked, behind the one with that ref."""
        ...

    async def exchanges(
        self, account: str, from_ms: int, to_ms: int, after: tuple[int, str] | None, limit: int
    ) -> list[ExchangeRecord]:
        """The account's exchanges that were admitted in [from_ms, to_ms), by (created_ms, id), behind ``after``."""
        ...

    async def unsettled(self, from_ms: int, to_ms: int, limit: int) -> list[Unsettled]:
        """Exchanges that were admitted in [from_ms, to_ms) and that nobody settled, by time."""
        ...

    async def newest(
        self,
        account: str,
        wanted: Filter,
        from_ms: int,
        to_ms: int,
        before: tuple[int, str] | None,
        limit: int,
    ) -> Found:
        """The account's exchanges of that kind that were admitted in [from_ms, to_ms), the newest first, behind
        ``before``; see :mod:`llm_router.billing.search` for how far one look goes."""
        ...

    async def sums(
        self,
        by: tuple[str, ...],
        from_hour: int,
        to_hour: int,
        account: str | None,
        wanted: Filter = ANY,
    ) -> list[Sums]:
        """The sums of the hours [from_hour, to_hour), by ``account``, ``key``, ``team``, ``user``, ``model``,
        ``provider``, ``tags``, ``hour`` and ``day`` (Unix time in hours, days), in the order of what they are of.
        Of the filter, what there are sums of counts."""
        ...

    async def fold(self, before_hour: int) -> bool:
        """Add up the next hour before that one which is in no fold yet (:mod:`llm_router.billing.folds`); False
        if there is none. What :meth:`sums` says is the same before and after."""
        ...

    async def month(self, account: str, from_ms: int, to_ms: int, earlier_ms: int) -> MonthBooks:
        """What was booked in [from_ms, to_ms), by admission; all of them full hours."""
        ...

    async def add_papers(self, papers: list[Paper]) -> bool:
        """Issue papers, all or none, for good. False, and nothing is written, if the first is not the next
        of its series, or there is one of that id."""
        ...

    async def paper(self, series: str, id_: str) -> Paper | None: ...

    async def last_paper(self, series: str) -> Paper | None:
        """The one with the highest number."""
        ...

    async def papers(self, series: str, after: int, limit: int) -> list[Paper]:
        """Those of a series by number, behind that one."""
        ...


class PaymentApi(Protocol):
    """Stripe's API, or what plays it."""

    async def post(self, path: str, members: Mapping[str, object], idempotency_key: str) -> dict[str, Any]:
        """Make an object; the same key makes it once.

        Raises:
            PaymentDeclined: the customer's bank said no.
            PaymentUnavailable: it cannot be reached, or refuses this gateway.
        """
        ...

    async def get(self, path: str) -> dict[str, Any]:
        """Read an object. Raises as :meth:`post`, and NotFound."""
        ...


class PriceRules(Protocol):
    """What the operator sells at: rules that are added, and never changed."""

    async def price_rules(self) -> list[PriceRule]:
        """All of them in the order of their publication."""
        ...

    async def add_price_rule(self, rule: PriceRule, prices: Iterable[Price]) -> None:
        """Publish a rule, with the prices that it makes.

        Raises:
            LedgerUnavailable: it was not written.
        """
        ...


class OwnKeys(Protocol):
    """Customers' own keys at providers."""

    async def of(self, account: str) -> Mapping[str, OwnKey]:
        """By provider id. Asked for with every request: from memory."""
        ...

    def now(self, account: str) -> Mapping[str, OwnKey] | None:
        """The same at once; None where they have to be asked for."""
        ...


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """Something that an operator should know, as it leaves.

    Attributes:
        type: ``credits.low``, ``auto_topup.disabled``.
        subject, text: in words.
        data: the same for programs; amounts are text, exact to the digit.
    """

    id: str
    type: str
    account: str
    created: str
    subject: str
    text: str
    data: dict[str, str]


class NoticeRefused(Exception):
    """A notice could not be delivered now; the message says why, without secrets."""


class NoticeChannel(Protocol):
    """One way in which notices leave."""

    @property
    def name(self) -> str: ...

    async def send(self, notice: Notice) -> None:
        """
        Raises:
            NoticeRefused: try again later.
        """
        ...


class ResponseStore(Protocol):
    """Responses kept for their clients. What has expired is not found, whether it is purged yet or not.

    All methods raise LedgerUnavailable when the store cannot be read or written.
    """

    async def put(self, response: StoredResponse) -> None:
        """Keep a response, in place of the one with its account and id if there is one."""
        ...

    async def get(self, account: str, id_: str, now_ms: int) -> StoredResponse | None: ...

    async def chain(self, account: str, id_: str, now_ms: int, bytes_max: int) -> list[StoredResponse]:
        """The response and those that it follows, the oldest first, without their events.

        The first of them names a ``previous`` if that one is not there any more, or if the chain is
        longer than ``bytes_max``.
        """
        ...

    async def holding(self, account: str, item_id: str, now_ms: int) -> StoredResponse | None:
        """The newest response that has an item of that id."""
        ...

    async def delete(self, account: str, id_: str, now_ms: int) -> bool:
        """Delete a response for good; False if there is none."""
        ...

    async def unfinished(self) -> list[StoredResponse]:
        """Those of all accounts that are still being made, or were when their process ended."""
        ...

    async def put_conversation(self, conversation: StoredConversation) -> None: ...

    async def conversation(self, account: str, id_: str, now_ms: int) -> StoredConversation | None: ...

    async def change_conversation(
        self, account: str, id_: str, now_ms: int, change: Callable[[StoredConversation], StoredConversation]
    ) -> StoredConversation | None:
        """Replace a conversation by what ``change`` makes of it, in one step; None if there is none.

        ``change`` may run in another thread: it must be pure.
        """
        ...

    async def delete_conversation(self, account: str, id_: str, now_ms: int) -> bool: ...

    async def withdraw(self, account: str, user: str | None, before_ms: int) -> int:
        """Delete the finished responses of an account that began before, and its conversations; of a ``user``,
        the responses to requests that named it. Return how many."""
        ...

    async def purge(self, now_ms: int, bytes_max: int) -> int:
        """Delete what has expired, then the oldest finished responses, then the conversations that would
        expire first, until all together take at most ``bytes_max``; return how many."""
        ...


class BodyStore(Protocol):
    """Bodies of exchanges, for accounts that want them kept: sealed, and apart from the ledger.

    All methods raise LedgerUnavailable when the store cannot be read or written.
    """

    async def put(self, body: StoredBody) -> bool:
        """Keep the bodies of an exchange; False, and nothing is kept, if they were withdrawn meanwhile."""
        ...

    async def get(self, account: str, id_: str, now_ms: int) -> StoredBody | None:
        """Those of an exchange that has not expired. Their ``users`` are left out.

        Raises:
            ServerError: they cannot be opened: the key that they were sealed with is gone.
        """
        ...

    async def withdraw(self, which: Withdrawal) -> int:
        """Delete for good; return how many. What is put later, and is of that, is not kept either."""
        ...

    async def held(self, account: str, now_ms: int) -> BodiesHeld:
        """What is kept of an account."""
        ...

    async def purge(self, now_ms: int) -> int:
        """Delete what has expired, and the keys with which nothing is sealed any more; return how many bodies."""
        ...

    async def rotate(self) -> str:
        """Seal with a new key from now on; return its name. What is there stays readable."""
        ...


class OtherRuns(Protocol):
    """Background responses that other processes of this gateway make."""

    async def cancel(self, account: str, id_: str) -> None:
        """End it, if any makes it; return when its last state is kept."""
        ...


class LimitRules(Protocol):
    """The limits that were made. In memory or a cache of it: asked for every request."""

    async def limits_of(self, payer: Payer) -> Sequence[Limit]:
        """Those of the payer's account, team, user and key, whatever model they are for."""
        ...


class Counters(Protocol):
    """What is counted against limits. All limits of a request move in one step, or none."""

    async def admit(self, ticket: str, limits: Sequence[Limit], tokens: int, now_ms: int) -> Admission:
        """Count one request of about so many tokens, under a name of its own.

        When the wait is cancelled or fails, whether it was counted is not known: release it then too.

        Raises:
            LedgerUnavailable: nobody can say now.
        """
        ...

    async def release(self, ticket: str, tokens_used: int, now_ms: int) -> None:
        """The request ended: free its places, correct its tokens. On its way in one synchronous step, so
        that cancelling the wait does not lose it. Of a ticket that is not open it does nothing.
        """
        ...

    def problem(self) -> str | None:
        """Why limits are not exact now; None if they are."""
        ...

    async def close(self) -> None: ...


class Gauge(Protocol):
    """Limits that many requests are counted against."""

    def admit(self, ticket: str, tokens: int, now_ms: int) -> Admission:
        """As :meth:`Counters.admit`."""
        ...


@runtime_checkable
class PromptCounters(Protocol):
    """Counters that answer at once."""

    def gauge(self, limits: Sequence[Limit]) -> Gauge:
        """What counts requests against these limits together."""
        ...

    def admit_now(self, ticket: str, limits: Sequence[Limit], tokens: int, now_ms: int) -> Admission:
        """As :meth:`Counters.admit`."""
        ...

    def release_now(self, ticket: str, tokens_used: int, now_ms: int) -> None:
        """As :meth:`Counters.release`."""
        ...


class SessionBook(Protocol):
    """What sessions have used, of all processes that share it."""

    async def begin(
        self,
        step: str,
        account: str,
        name: str,
        limits: SessionLimits,
        tokens: int,
        calls: Calls | None,
        worst_pusd: int,
        now_ms: int,
    ) -> Granted:
        """Count a step under a name of its own, see :meth:`llm_router.billing.sessions.Session.begin`.

        When the wait is cancelled or fails, whether it was counted is not known: end it then too. That
        of a step that did not begin changes nothing.

        Raises:
            SessionBrake: it may not begin; nothing was counted.
            LedgerUnavailable: nobody can say now.
        """
        ...

    def end(self, step: str, account: str, name: str, counted: bool, tokens: int, cost_pusd: int) -> None:
        """A step has ended. Known to every step that begins here later; what cannot be written now is
        written as soon as it can be."""
        ...


class Deadlines(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds.

    Attributes:
        first_byte_s: to the first byte, and of a stream to its first content.
        idle_s: bounds the gap between two chunks, silence_s that between two that bring content.
        whole_s: one attempt at a reply that is not streamed; None: what the exchange has left.
        total_s: the whole call.
        own: names of those that stand in the configuration of one model: they count as they are.
    """

    connect_s: float = 5.0
    first_byte_s: float = 60.0
    idle_s: float = 30.0
    silence_s: float = 300.0
    whole_s: float | None = None
    total_s: float = 600.0
    own: tuple[str, ...] = ()


class UpstreamRequest(msgspec.Struct, frozen=True, kw_only=True):
    method: str
    url: str
    headers: tuple[tuple[str, str], ...]
    body: bytes


class UpstreamReply(Protocol):
    """A reply whose head is read. Must be closed; closing early aborts the call at the provider."""

    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> Mapping[str, str]:
        """Lower-case names; several values are joined by ", "."""
        ...

    def chunks(self) -> AsyncIterator[bytes]:
        """The decoded body, as it comes.

        Raises:
            UpstreamError: TIMEOUT (idle, total) or TRUNCATED (the connection broke).
        """
        ...

    def expect_content(self, *, more: bool) -> None:
        """Bytes alone are not enough from now on: by the first-byte deadline some must have been content, or
        within ``silence_s`` from now if ``more``. Said again whenever content came."""
        ...

    async def read(self, bytes_max: int) -> bytes:
        """The whole decoded body.

        Raises:
            UpstreamError: as for chunks; MALFORMED when it exceeds ``bytes_max``.
        """
        ...

    async def close(self) -> None: ...


class Upstream(Protocol):
    """HTTP towards providers: pooled, with deadlines, no redirects, no proxies from the environment."""

    async def send(self, request: UpstreamRequest, deadlines: Deadlines) -> UpstreamReply:
        """Send and wait for the head of the reply (1xx are skipped).

        Raises:
            UpstreamError: UNAVAILABLE (refused, reset, DNS, TLS; ``sent`` says whether a byte left)
                or TIMEOUT (connect, first byte) or MALFORMED (not HTTP).
        """
        ...

    async def close(self) -> None: ...


class Listener(Protocol):
    """Who is told when something has come of a reply that is under way."""

    def on_upstream(self) -> None:
        """Bytes of the body, its end, or its failure. Called in the event loop; must not raise."""
        ...

    def on_more(self, data: bytes) -> bool:
        """Bytes of the body with nothing untaken before them: whether they were taken at once, as more of the same
        content. If not, they wait to be taken, and :meth:`on_upstream` follows. Must not raise."""
        ...


class LiveReply(UpstreamReply, Protocol):
    """A reply that is listened to instead of awaited.

    Attributes:
        complete: its body has come whole; failure: it will not; stale: nothing came, because the provider had
            closed the connection before: the request may be sent again.
    """

    @property
    def complete(self) -> bool: ...

    @property
    def failure(self) -> UpstreamError | None: ...

    @property
    def stale(self) -> bool: ...

    @property
    def whole(self) -> bytes | None:
        """All of the body, if it has come at once and as it is; None otherwise. It can still be taken. Not to be asked
        where something was taken before."""
        ...

    def take(self) -> bytes:
        """What has come of the body since the last time.

        Raises:
            UpstreamError: MALFORMED.
        """
        ...

    def expect(self, within_s: float) -> None:
        """More must come within that time, else it fails with a timeout."""
        ...

    def abort(self) -> None:
        """Close it, and its connection if it is not complete."""
        ...


class Prepared(Protocol):
    """A request without its body, made ready once for all that go to the same place."""

    def launch(
        self, body: bytes | Pieces, deadlines: Deadlines, total_s: float, listener: Listener
    ) -> LiveReply:
        """Send it at once if a connection is ready, else as soon as one is made; that it could not be made is the
        reply's failure. ``body``: its pieces are not copied where that can be. ``total_s``: how long all of it may
        take from now."""
        ...


@runtime_checkable
class PromptUpstream(Protocol):
    """An upstream that sends without being waited for."""

    def prepare(self, request: UpstreamRequest) -> Prepared:
        """Make a request's address and headers ready; its body does not matter.

        Raises:
            UpstreamError: UNAVAILABLE: they may not be sent.
        """
        ...


class Fetcher(Protocol):
    """Fetches media from URLs that clients name, under the SSRF rules."""

    async def fetch(self, url: str) -> Fetched:
        """
        Raises:
            InvalidRequest: the URL is refused, unreachable, too large or of no supported type.
        """
        ...


MACHINE_CREDENTIALS = "metadata"
"""Stands for the service account of this machine: on Google's own, the metadata server knows it."""


class Tokens(Protocol):
    """Makes bearer tokens of credentials that are not sent themselves, and renews them in time."""

    async def token(self, credential: str) -> str:
        """The token of Google credentials: their JSON, or ``metadata`` for those of this machine.

        Raises:
            UpstreamError: AUTHENTICATION: they are refused; UNAVAILABLE: nobody answers.
        """
        ...


class Client(Protocol):
    """The caller's end of an exchange, as the engine sees it.

    ``start`` is called at most once and before ``send``. All of them may wait for a slow reader and
    raise ConnectionError when the client has gone.

    Attributes:
        started: the status is out.
        last_sent_s: event-loop time of the last bytes sent.
    """

    @property
    def started(self) -> bool: ...

    @property
    def last_sent_s(self) -> float: ...

    async def start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None: ...

    async def send(self, data: bytes) -> None: ...

    async def finish(self, data: bytes = b"") -> None:
        """The last bytes; the reply is complete."""
        ...

    async def beat(self, status: int, headers: list[tuple[bytes, bytes]], data: bytes) -> None:
        """Start if not started, and send ``data``, unless other bytes are being sent right now."""
        ...


class SideCar(Protocol):
    """State that a provider wants back and that clients do not carry: sealed, bounded, for a time.

    Losing a value is never an error. An account reaches its own values only.
    """

    def owns(self, account: str) -> bool:
        """Whether anything may be kept for the account. In memory."""
        ...

    def put(self, account: str, names: Sequence[bytes], value: bytes, now_ms: int) -> None:
        """Keep ``value`` under all of its names (at least one). Readable at once, written behind."""
        ...

    async def get(self, account: str, names: Sequence[bytes], now_ms: int) -> dict[bytes, bytes | None]:
        """What is known of the names: the value, or None for one that is kept no more."""
        ...

    async def forget(self, account: str) -> None:
        """Delete all that is kept for the account; returns when it is gone from the disk too."""
        ...


class Telemetry(Protocol):
    def exchange(self, record: ExchangeRecord) -> None:
        """Tell the world of a finished exchange. Must not block or raise."""
        ...
