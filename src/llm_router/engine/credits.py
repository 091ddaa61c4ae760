"""The operator's commands on credits, and on what is kept for an account."""

from __future__ import annotations

from llm_router.domain.errors import InvalidRequest
from llm_router.domain.money import MAX_PUSD, format_usd
from llm_router.engine.operator import (
    DEFAULT_ACCOUNT,
    Arguments,
    Context,
    Result,
    account_name,
    amount_of,
    check_account,
    dollars,
    label,
    ref_of,
    remaining,
)
from llm_router.engine.orders import owed_pusd


class AddCredits(Arguments, frozen=True, kw_only=True):
    """``credits.add``. ``amount`` is plain decimal dollars; a ``ref`` books once, however often sent."""

    amount: str
    account: str = DEFAULT_ACCOUNT
    reason: str = "added by the operator"
    ref: str | None = None


class ShowCredits(Arguments, frozen=True, kw_only=True):
    """``credits.show``."""

    account: str = DEFAULT_ACCOUNT


class Forget(Arguments, frozen=True, kw_only=True):
    """``forget``."""

    account: str


async def add_credits(arguments: AddCredits, context: Context) -> Result:
    """Book credits to an account, once per reference. ``booked`` is false where it was done before.

    Raises:
        InvalidRequest: the amount is no positive number of dollars, or an argument is malformed.
    """
    account = account_name(arguments.account)
    amount_pusd = amount_of(arguments.amount)
    reason = label(arguments.reason, "reason")
    ref = context.new_id("adj") if arguments.ref is None else ref_of(arguments.ref)
    before_pusd = await context.books.balance(account)
    if before_pusd + amount_pusd > MAX_PUSD:
        raise InvalidRequest(
            f"an account holds at most {format_usd(MAX_PUSD)} dollars; '{account}' has {format_usd(before_pusd)}",
            param="amount",
        )
    known = await context.books.credited(ref)
    await context.books.credit(account, amount_pusd, ref, reason, context.clock.now_ms())
    result: Result = {
        "account": account,
        "amount": dollars(amount_pusd),
        "ref": ref,
        "booked": not known,
        "credits_remaining": await remaining(account, context),
        **await debt(account, context),
    }
    if not await context.keyring.of_account(account, "", 1):
        result["warnings"] = [
            f"no key spends from the account '{account}' yet; "
            f"llm-router keys create --name NAME --account {account} makes one"
        ]
    return result


async def show_credits(arguments: ShowCredits, context: Context) -> Result:
    """What an account has left.

    Raises:
        NotFound: no key belongs to it and nothing was ever booked to it.
    """
    account = account_name(arguments.account)
    await check_account(account, context)
    left, keys = await remaining(account, context), await context.keyring.count(account)
    result: Result = {"account": account, "credits_remaining": left, "keys": keys}
    return result | await debt(account, context)


async def debt(account: str, context: Context) -> Result:
    """``owed``, where something was taken back of the account's payments that it had not any more."""
    owed = 0 if context.treasury is None else await owed_pusd(context.treasury.books, account)
    return {"owed": dollars(owed)} if owed else {}


async def forget(arguments: Forget, context: Context) -> Result:
    """Delete the state of earlier turns that is kept for an account. All else of it stays.

    Raises:
        InvalidRequest: nothing is kept by this gateway.
        ServerError: it could not be deleted.
    """
    account = account_name(arguments.account)
    if context.side_car is None:
        raise InvalidRequest(
            "this gateway keeps nothing (side_car.enabled is false); what it kept before is the file "
            "side-car.db of its data folder, which you can delete",
            code="side_car_disabled",
        )
    await context.side_car.forget(account)
    return {"account": account, "forgotten": True}
