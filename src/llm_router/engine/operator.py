"""What the operator's commands share: what they work on, and how their arguments are read.

Results are JSON objects; amounts in them are exact JSON numbers of US dollars, times ISO 8601 in UTC.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import TYPE_CHECKING, Protocol, TypeVar

import msgspec

from llm_router.billing.budgets import Spend
from llm_router.billing.pricing import PriceList
from llm_router.catalog.snapshot import Snapshot
from llm_router.domain.account import COMMAND_LINE, Actor
from llm_router.domain.budget import Budget
from llm_router.domain.errors import InvalidRequest, NotFound
from llm_router.domain.key import Key
from llm_router.domain.limit import Limit
from llm_router.domain.money import MAX_PUSD, format_usd, parse_usd
from llm_router.engine.papers import Papers
from llm_router.engine.treasury import Treasury
from llm_router.ports import Books, Clock, Directory, Keyring, PriceRules, SideCar
from llm_router.routing.rules import RoutingRules

if TYPE_CHECKING:  # which works on accounts by what is read here
    from llm_router.engine.bodying import BodyDesk
    from llm_router.engine.gateway_keys import GatewayKeys
    from llm_router.engine.rehearsing import Rehearsal
    from llm_router.engine.sign_in import SignIns
    from llm_router.engine.sso import SsoKeeper

DEFAULT_ACCOUNT = "default"
NAME_CHARS_MAX = 100
LIMIT_MAX = 10**9

_ACCOUNT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")

_REF = re.compile(r"[!-~]{1,200}")

OWN_REFS = ("pay:", "voucher:")
"""How references begin that no operator may give."""

Result = dict[str, object]


class OperatorBooks(Books, Protocol):
    """Books that an operator can ask more of than an exchange has to."""

    async def credited(self, ref: str) -> bool:
        """Whether a grant or adjustment was booked under that reference."""
        ...

    async def budgets(self, account: str, now_ms: int) -> list[Spend]:
        """How the budgets of an account stand, in the order in which they were made."""
        ...

    async def set_budget(self, budget: Budget, now_ms: int) -> None:
        """Make a budget, or give the one of that id another amount.

        Raises:
            ValueError: it cannot be, see :meth:`llm_router.billing.budgets.Budgets.put`.
        """
        ...

    async def limits(self, account: str) -> list[Limit]:
        """The limits of an account, in the order in which they were made."""
        ...

    async def set_limit(self, limit: Limit) -> None:
        """Make a limit, or replace the one of that id; it holds for the next request.

        Raises:
            ValueError: it cannot be, see :func:`llm_router.domain.limit.check_limit`.
        """
        ...

    async def remove_limit(self, limit_id: str) -> Limit | None:
        """Remove a limit; None if there is none of that id."""
        ...

    async def remove_budget(self, budget_id: str) -> Budget | None:
        """Remove a budget; None if there is none of that id."""
        ...

    async def write_key(
        self, key: Key, digest: bytes | None, budget: Budget | None, removed: str | None, now_ms: int
    ) -> bool:
        """Write a key together with its budget: all of it, or nothing.

        Args:
            key: of version 1 with a ``digest`` it is new; else it is changed as by :meth:`Keyring.change`.
            budget: made, or given another amount. removed: id of one that goes.

        Returns:
            False, and nothing is written, if the store holds another version of the key.

        Raises:
            ValueError: the key's id or digest exists already, or the budget cannot be.
            LedgerUnavailable: nothing was written.
        """
        ...


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """What the commands work on.

    Attributes:
        snapshot: the catalogue of now; active: ids of the providers that can be called now.
        new_key_text, new_id: from :mod:`llm_router.adapters.keymaker`.
        starting_pusd: credit of the account of the very first key.
        health: how the deployments stand, by each process that serves requests; None where no gateway runs.
        under_way: the exchanges that run now, by each process; end_one: ends one, False if there is none; both
            None where no gateway runs.
        side_car: what is kept of conversations; None where that is switched off.
        treasury: vouchers, payments and what else concerns accounts; None where the store has no room
            for that.
        papers: receipts, reports, statements; None where the store has no room for them.
        price_rules: what the operator sells at; reprice: tells the running gateway of a new list.
        configured: presets and experiments of the configuration.
        directory: accounts, people and the audit log; None logs nothing. sign_ins: how they sign in.
        gateway_keys: the gateway's own keys at providers that the store holds; rekey: has the running gateway
            call with them.
        bodies: what is kept of what was said; None where no gateway has it open.
        sso: where people sign in at an issuer; None where no gateway runs.
        rehearse: what a changed configuration would come to: TOML, and whether it is all of it. Raises InvalidRequest
            with its problems. None where no gateway runs.
        by: who asks for the command.
        reload: reads the configuration again and says what came of it; None where no gateway runs.
    """

    keyring: Keyring
    books: OperatorBooks
    clock: Clock
    snapshot: Callable[[], Snapshot]
    active: Callable[[], Collection[str]]
    new_key_text: Callable[[], str]
    new_id: Callable[[str], str]
    starting_pusd: int
    reload: Callable[[], Awaitable[Mapping[str, object]]] | None = None
    health: Callable[[], Awaitable[list[list[dict[str, object]]]]] | None = None
    under_way: Callable[[], Awaitable[list[list[dict[str, object]]]]] | None = None
    end_one: Callable[[str], Awaitable[bool]] | None = None
    side_car: SideCar | None = None
    treasury: Treasury | None = None
    papers: Papers | None = None
    price_rules: PriceRules | None = None
    reprice: Callable[[PriceList], None] | None = None
    configured: Callable[[], RoutingRules] = RoutingRules
    directory: Directory | None = None
    sign_ins: SignIns | None = None
    gateway_keys: GatewayKeys | None = None
    rekey: Callable[[], Awaitable[None]] | None = None
    bodies: BodyDesk | None = None
    sso: SsoKeeper | None = None
    rehearse: Callable[[str, bool], Awaitable[Rehearsal]] | None = None
    by: Actor = COMMAND_LINE


class Arguments(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


_T = TypeVar("_T", bound=Arguments)


class Nothing(Arguments, frozen=True, kw_only=True):
    """A command without arguments."""


def read(kind: type[_T], arguments: Mapping[str, object]) -> _T:
    """The arguments of a command.

    Raises:
        InvalidRequest: they are not what the command takes.
    """
    try:
        return msgspec.convert(arguments, kind)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"the arguments are wrong: {error}") from None


def account_name(text: str) -> str:
    """The name of an account.

    Raises:
        InvalidRequest: it can be none.
    """
    if not _ACCOUNT.fullmatch(text):
        raise InvalidRequest(
            "account must be 1 to 64 letters, digits and . _ @ - and begin with a letter or digit",
            param="account",
        )
    return text


def label(text: str, param: str) -> str:
    """A text for people, without blanks around it.

    Raises:
        InvalidRequest: it is empty, too long or unprintable.
    """
    name = text.strip()
    if not name or len(name) > NAME_CHARS_MAX or not name.isprintable():
        raise InvalidRequest(f"{param} must be 1 to {NAME_CHARS_MAX} printable characters", param=param)
    return name


def limit_of(value: int | None, param: str) -> int | None:
    """A bound, or None.

    Raises:
        InvalidRequest: it is out of range.
    """
    if value is not None and not 1 <= value <= LIMIT_MAX:
        raise InvalidRequest(f"{param} must be from 1 to {LIMIT_MAX}", param=param)
    return value


def amount_of(text: str) -> int:
    """Picodollars of a positive amount of dollars.

    Raises:
        InvalidRequest: it is none.
    """
    try:
        amount_pusd = parse_usd(text.strip().removeprefix("$"))
    except ValueError:
        raise InvalidRequest("amount must be dollars such as 5 or 12.50", param="amount") from None
    if not 0 < amount_pusd <= MAX_PUSD:
        raise InvalidRequest(
            f"amount must be more than 0 and at most {format_usd(MAX_PUSD)} dollars", param="amount"
        )
    return amount_pusd


def ref_of(text: str) -> str:
    """An operator's own reference of a booking.

    Raises:
        InvalidRequest: it can be none.
    """
    if not _REF.fullmatch(text):
        raise InvalidRequest("ref must be 1 to 200 visible ASCII characters", param="ref")
    if text.startswith(OWN_REFS):
        raise InvalidRequest(
            f"a ref may not begin with {' or '.join(OWN_REFS)}: such bookings the gateway makes itself",
            param="ref",
        )
    return text


async def check_account(account: str, context: Context) -> None:
    """Refuse a name that nothing stands for: it is a mistake, not an empty account.

    Raises:
        NotFound: no key belongs to it and nothing was ever booked to it.
    """
    if await context.keyring.of_account(account, "", 1):
        return
    books = None if context.treasury is None else context.treasury.books
    if await context.books.balance(account) == 0 and not (books and await books.entries(account, 1)):
        raise NotFound(f"there is no account '{account}': it has neither a key nor credits")


async def has_key(account: str, id_: str, context: Context) -> bool:
    """Whether an account has the key of that id."""
    key = await context.keyring.get(id_)
    return key is not None and key.account == account


async def remaining(account: str, context: Context) -> msgspec.Raw:
    """What an account has available, in dollars."""
    return dollars(await context.books.balance(account))


def dollars(pusd: int) -> msgspec.Raw:
    """An exact JSON number of dollars."""
    return msgspec.Raw(format_usd(pusd).encode())
