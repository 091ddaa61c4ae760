"""The operator's command on auto top-up."""

from __future__ import annotations

from llm_router.billing.payments import PUSD_PER_CENT
from llm_router.domain.errors import InvalidRequest
from llm_router.engine.auto_topup import AutoTopup, AutoTopups
from llm_router.engine.moments import iso_time, parse_span
from llm_router.engine.operator import (
    DEFAULT_ACCOUNT,
    Arguments,
    Context,
    Result,
    account_name,
    amount_of,
    dollars,
)

EVERY_MS_MIN = 60_000


class SetAuto(Arguments, frozen=True, kw_only=True):
    """``credits.auto``. With threshold and amount it is set, with ``off`` ended, else shown."""

    account: str = DEFAULT_ACCOUNT
    threshold: str | None = None
    amount: str | None = None
    every: str = "1h"
    off: bool = False


async def set_auto(arguments: SetAuto, context: Context) -> Result:
    """Set, end or show the auto top-up of an account.

    Raises:
        InvalidRequest: no payments are configured, no card is saved, or an argument is out of range.
    """
    account = account_name(arguments.account)
    auto = _auto(context)
    if arguments.off:
        held = await auto.stop(account, "switched off")
    elif arguments.threshold is None and arguments.amount is None:
        held = await auto.get(account)
    else:
        held = await auto.set(account, _wish(arguments))
    return {"account": account, "auto_topup": None if held is None else describe_auto(held)}


def _wish(arguments: SetAuto) -> AutoTopup:
    if arguments.threshold is None or arguments.amount is None:
        raise InvalidRequest("threshold and amount belong together", param="threshold")
    cents, rest = divmod(amount_of(arguments.amount), PUSD_PER_CENT)
    if rest:
        raise InvalidRequest("amount must be whole cents", param="amount")
    every_ms = parse_span(arguments.every, "every")
    if every_ms < EVERY_MS_MIN:
        raise InvalidRequest("every must be 1m or more", param="every")
    return AutoTopup(threshold_pusd=amount_of(arguments.threshold), cents=cents, every_ms=every_ms)


def _auto(context: Context) -> AutoTopups:
    auto = None if context.treasury is None else context.treasury.auto
    if auto is None:
        raise InvalidRequest(
            "this needs a running gateway with payments ([stripe] in its configuration)", code="not_running"
        )
    return auto


def describe_auto(held: AutoTopup) -> Result:
    """An auto top-up as the API and commands tell it."""
    return {
        "threshold": dollars(held.threshold_pusd),
        "amount": dollars(held.cents * PUSD_PER_CENT),
        "every_s": held.every_ms // 1000,
        "enabled": held.disabled is None,
        "disabled": held.disabled,
        "last_charge": None if held.tried_ms is None else iso_time(held.tried_ms),
    }
