"""Prices as they were: the list is written down whenever it changes, and can be looked up by model."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

import msgspec

from llm_router.billing.price_history import History, noted, steps_of
from llm_router.billing.pricing import PriceList
from llm_router.catalog.snapshot import Snapshot
from llm_router.domain.budget import Payer
from llm_router.domain.errors import InvalidRequest, LedgerUnavailable
from llm_router.engine.moments import iso_time
from llm_router.engine.operator import DEFAULT_ACCOUNT, Arguments, Context, Result
from llm_router.engine.pricing import figures_of
from llm_router.ports import Clock, Document, TreasuryBooks

KIND, ID = "price_history", "list"
LOOK_S = 5.0
"""Pause between two looks at whether the list is another one."""

TRIES = 5
_decoder = msgspec.json.Decoder(History)


class ShowHistory(Arguments, frozen=True, kw_only=True):
    """``prices.history``: of a model, to whom."""

    model: str
    account: str = DEFAULT_ACCOUNT
    team: str | None = None
    key: str | None = None


async def keep_prices_noted(books: TreasuryBooks, clock: Clock, snapshot: Callable[[], Snapshot]) -> None:
    """Write the list down whenever it has changed. Runs until it is cancelled."""
    seen: Snapshot | None = None
    while True:
        found = snapshot()
        if found is not seen:
            with contextlib.suppress(LedgerUnavailable):  # the next look tries again
                await note_prices(books, found, clock.now_ms())
                seen = found
        await asyncio.sleep(LOOK_S)


async def note_prices(books: TreasuryBooks, snapshot: Snapshot, now_ms: int) -> bool:
    """Write down what is new in the list; False if nothing is.

    Raises:
        LedgerUnavailable: the store cannot be read or written.
    """
    deployments = [each for model in snapshot.models.values() for each in model.deployments]
    for _ in range(TRIES):
        document = await books.document(KIND, ID)
        before: History = {} if document is None else _decoder.decode(document.body)
        after = noted(before, deployments, now_ms)
        if after == before:
            return False
        new = Document(
            kind=KIND,
            id=ID,
            account="",
            version=1 if document is None else document.version + 1,
            open=False,
            created_ms=now_ms if document is None else document.created_ms,
            body=msgspec.json.encode(after),
        )
        if await books.put_document(new):
            return True
    return False  # other nodes wrote theirs all the time; the next look tells


async def show_history(arguments: ShowHistory, context: Context) -> Result:
    """What somebody paid for a model at each provider, from when on, the newest first.

    Raises:
        ModelNotFound: there is no such model.
        InvalidRequest: this gateway's store keeps no price rules.
    """
    if context.price_rules is None or context.treasury is None:
        raise InvalidRequest("this gateway's store keeps no price rules", code="not_supported")
    model = context.snapshot().find(arguments.model)
    payer = Payer(account=arguments.account, key=arguments.key or "", team=arguments.team)
    prices = PriceList(await context.price_rules.price_rules())
    document = await context.treasury.books.document(KIND, ID)
    history: History = {} if document is None else _decoder.decode(document.body)
    now_ms = context.clock.now_ms()
    return {
        "model": model.id,
        "account": arguments.account,
        "team": arguments.team,
        "key": arguments.key,
        "providers": [
            {
                "id": deployment.provider,
                "history": [
                    {
                        "from": iso_time(step.from_ms),
                        "price": figures_of(step.price),
                        "cost": figures_of(step.cost),
                    }
                    for step in steps_of(deployment, history.get(deployment.id, ()), prices, payer, now_ms)
                ],
            }
            for deployment in model.deployments
        ],
    }
