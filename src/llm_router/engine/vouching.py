"""The operator's commands on vouchers and payments, and adjustments by hand."""

from __future__ import annotations

from llm_router.domain.errors import InvalidRequest
from llm_router.domain.money import MAX_PUSD, format_usd, parse_usd
from llm_router.engine.moments import parse_expiry
from llm_router.engine.operator import (
    DEFAULT_ACCOUNT,
    Arguments,
    Context,
    Nothing,
    Result,
    account_name,
    amount_of,
    dollars,
    label,
    ref_of,
    remaining,
)
from llm_router.engine.orders import all_orders
from llm_router.engine.orders import describe as describe_order
from llm_router.engine.treasury import Treasury
from llm_router.engine.vouchers import Vouchers, describe

COUNT_MAX = 1000
"""Vouchers made at once."""

NO_TREASURY = "the store of this gateway keeps no vouchers, payments or provider keys of accounts"


class CreateVouchers(Arguments, frozen=True, kw_only=True):
    """``vouchers.create``. ``amount`` is plain decimal dollars, of each; ``expires`` a span or a time."""

    amount: str
    count: int = 1
    expires: str | None = None
    note: str = ""


class RevokeVoucher(Arguments, frozen=True, kw_only=True):
    """``vouchers.revoke``."""

    id: str


class RedeemVoucher(Arguments, frozen=True, kw_only=True):
    """``vouchers.redeem``."""

    code: str
    account: str = DEFAULT_ACCOUNT


class ListPayments(Arguments, frozen=True, kw_only=True):
    """``payments.list``."""

    account: str | None = None


class Adjust(Arguments, frozen=True, kw_only=True):
    """``credits.adjust``. ``amount`` may be negative; ``reason`` and ``actor`` stand in the books."""

    amount: str
    reason: str
    actor: str
    account: str = DEFAULT_ACCOUNT
    ref: str | None = None


async def create_vouchers(arguments: CreateVouchers, context: Context) -> Result:
    """Make vouchers. The answer holds their codes, this once.

    Raises:
        InvalidRequest: an argument is out of its range.
    """
    amount_pusd = amount_of(arguments.amount)
    if not 1 <= arguments.count <= COUNT_MAX:
        raise InvalidRequest(f"count must be from 1 to {COUNT_MAX}", param="count")
    now_ms = context.clock.now_ms()
    made = await _vouchers(context).create(
        amount_pusd,
        arguments.count,
        note=label(arguments.note, "note") if arguments.note else "",
        expires_ms=None if arguments.expires is None else parse_expiry(arguments.expires, now_ms),
    )
    return {"amount": dollars(amount_pusd), "vouchers": [{"id": v.id, "code": code} for code, v in made]}


async def list_vouchers(arguments: Nothing, context: Context) -> Result:
    """Every voucher with its state, the oldest first; without codes, which are stored nowhere."""
    now_ms = context.clock.now_ms()
    return {"vouchers": [describe(*pair, now_ms) for pair in await _vouchers(context).all()]}


async def revoke_voucher(arguments: RevokeVoucher, context: Context) -> Result:
    """Refuse a voucher from now on.

    Raises:
        NotFound, InvalidRequest: there is none of that id, or it was redeemed.
    """
    voucher = await _vouchers(context).revoke(arguments.id)
    return {"id": voucher.id, "amount": dollars(voucher.amount_pusd), "status": "withdrawn"}


async def redeem_voucher(arguments: RedeemVoucher, context: Context) -> Result:
    """Book a voucher to an account, as its key could.

    Raises:
        NotFound, InvalidRequest: there is no such voucher, or it cannot be redeemed.
    """
    account = account_name(arguments.account)
    redeemed = await _vouchers(context).redeem(account, arguments.code)
    return {
        "account": account,
        "voucher": redeemed.voucher.id,
        "amount": dollars(redeemed.voucher.amount_pusd),
        "credits_remaining": dollars(redeemed.available_pusd),
    }


async def adjust(arguments: Adjust, context: Context) -> Result:
    """Add to an account or take from it, with who did it and why in the books, once per reference.

    Raises:
        InvalidRequest: the amount is 0 or no number, or an argument is missing or malformed.
        InsufficientCredits: less than that is available to take.
    """
    account = account_name(arguments.account)
    amount_pusd = _signed(arguments.amount)
    note = f"{label(arguments.reason, 'reason')} (by {label(arguments.actor, 'actor')})"
    ref = context.new_id("adj") if arguments.ref is None else ref_of(arguments.ref)
    known = await context.books.credited(ref)
    await context.books.credit(account, amount_pusd, ref, note, context.clock.now_ms())
    return {
        "account": account,
        "amount": dollars(amount_pusd),
        "ref": ref,
        "note": note,
        "booked": not known,
        "credits_remaining": await remaining(account, context),
    }


async def list_payments(arguments: ListPayments, context: Context) -> Result:
    """The orders of credit, of one account or of all, the oldest first."""
    account = None if arguments.account is None else account_name(arguments.account)
    return {
        "payments": [describe_order(order) for order in await all_orders(_treasury(context).books, account)]
    }


def _treasury(context: Context) -> Treasury:
    if context.treasury is None:
        raise InvalidRequest(NO_TREASURY, code="not_supported")
    return context.treasury


def _vouchers(context: Context) -> Vouchers:
    return _treasury(context).vouchers


def _signed(text: str) -> int:
    plain = text.strip().replace("$", "", 1)
    try:
        amount_pusd = parse_usd(plain)
    except ValueError:
        raise InvalidRequest("amount must be dollars such as 5, 12.50 or -3", param="amount") from None
    if amount_pusd == 0 or abs(amount_pusd) > MAX_PUSD:
        raise InvalidRequest(
            f"amount must not be 0, nor more than {format_usd(MAX_PUSD)} dollars", param="amount"
        )
    return amount_pusd
