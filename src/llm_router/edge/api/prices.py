"""What a model cost an account before."""

from __future__ import annotations

from typing import Any

import msgspec

from llm_router.edge.api.table import ApiRoute, Ask, Reply


class PriceStep(Reply, frozen=True, kw_only=True):
    """``price``: dollars per million tokens from then on; null: none, and nobody was served."""

    from_: str = msgspec.field(name="from")
    price: dict[str, Any] | None


class ProviderHistory(Reply, frozen=True, kw_only=True):
    """``history``: the newest first."""

    id: str
    history: list[PriceStep]


class PriceHistory(Reply, frozen=True, kw_only=True):
    model: str
    account: str
    providers: list[ProviderHistory]


async def show_history(ask: Ask) -> dict[str, object]:
    """As the account paid; what the operator paid is no word of it."""
    key = ask.subject.key
    wanted = {"model": ask.parameters["id"], "account": ask.account}
    if key is not None:
        wanted["key"] = key.id
        if key.team is not None:
            wanted["team"] = key.team
    found = await ask.desk.run("prices.history", ask.by, wanted)
    providers = msgspec.json.decode(found["providers"], type=list[dict[str, msgspec.Raw]])
    return {
        "model": found["model"],
        "account": found["account"],
        "providers": [
            {
                "id": row["id"],
                "history": [
                    {name: step[name] for name in ("from", "price")}
                    for step in _changes(
                        msgspec.json.decode(row["history"], type=list[dict[str, msgspec.Raw]])
                    )
                ],
            }
            for row in providers
        ],
    }


def _changes(steps: list[dict[str, msgspec.Raw]]) -> list[dict[str, msgspec.Raw]]:
    """Without those that changed only what the operator paid."""
    return [
        step
        for step, before in zip(steps, [*steps[1:], None], strict=True)
        if before is None or before["price"] != step["price"]
    ]


PRICE_ROUTES = (
    ApiRoute(
        method="GET",
        path="/api/v1/models/{id}/prices",
        handler=show_history,
        permission="model:read",
        reply=PriceHistory,
        summary="What a model cost the account at each provider, from when on, the newest first.",
    ),
)
