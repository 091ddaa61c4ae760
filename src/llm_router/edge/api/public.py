"""What anybody may see where the operator lets them: the prices, and whether the models can be asked. Members see the
latter always, with who rests.

Nothing for anybody tells of providers: who resells need not say where they buy.
"""

from __future__ import annotations

from typing import Any

import msgspec

from llm_router.catalog.listing import per_mtok
from llm_router.domain.errors import NotFound
from llm_router.domain.model import Model
from llm_router.edge.api.desk import Desk
from llm_router.edge.api.table import ApiRoute, Ask, Reply
from llm_router.engine.moments import iso_time

BELIEVED_MS = 10_000
"""How long what was found of the models is told again: however many ask, the processes are asked once."""


class PublicModel(Reply, frozen=True, kw_only=True):
    """A model that can be asked. ``price_per_mtok``: dollars a million tokens, exact."""

    id: str
    name: str
    developer: str
    context_length: int | None
    max_output_tokens: int | None
    input_modalities: list[str]
    operations: list[str]
    price_per_mtok: dict[str, Any]


class PublicPrices(Reply, frozen=True, kw_only=True):
    data: list[PublicModel]


class PublicStatus(Reply, frozen=True, kw_only=True):
    """``models``: how many can be asked in all; ``unavailable``: those of them that nobody answers for now."""

    status: str
    checked: str
    models: int
    unavailable: list[dict[str, str]]


class RestingDeployment(Reply, frozen=True, kw_only=True):
    """Who is not asked now. ``back``: when it is tried again; null: not known."""

    model: str
    provider: str
    back: str | None


class ModelsStatus(Reply, frozen=True, kw_only=True):
    """``unavailable``: ids of models that nobody answers for now."""

    checked: str
    unavailable: list[str]
    resting: list[RestingDeployment]


async def prices(ask: Ask) -> dict[str, object]:
    await _check_open(ask.desk)
    return {"data": [_entry(model) for model in ask.desk.offered()]}


async def status(ask: Ask) -> dict[str, object]:
    await _check_open(ask.desk)
    return (await _standing(ask))["public"]


async def models_status(ask: Ask) -> dict[str, object]:
    """The same truth as :func:`status`, for who may list the models, and with the providers."""
    return (await _standing(ask))["members"]


async def _standing(ask: Ask) -> dict[str, dict[str, object]]:
    """What both are told, found anew every few seconds at most."""
    desk, now_ms = ask.desk, ask.desk.clock.now_ms()
    known = desk.told.get("status")
    if known is not None and 0 <= now_ms - known[0] < BELIEVED_MS:
        return known[1]
    found = await desk.run("deployments", ask.by, {"every": True})
    processes = msgspec.json.decode(found["processes"], type=list[dict[str, Any]])
    resting = {r["deployment"]: r for p in processes for r in p["deployments"] if not r["available"]}
    offered = desk.offered()
    gone = [m for m in offered if all(d.id in resting for d in m.deployments)]
    checked = iso_time(now_ms)
    told: dict[str, dict[str, object]] = {
        "public": {
            "status": "up" if not gone else "down" if len(gone) == len(offered) else "degraded",
            "checked": checked,
            "models": len(offered),
            "unavailable": [{"id": model.id, "name": model.name} for model in gone],
        },
        "members": {
            "checked": checked,
            "unavailable": [model.id for model in gone],
            "resting": [
                {name: row[name] for name in ("model", "provider", "back")} for row in resting.values()
            ],
        },
    }
    desk.told["status"] = (now_ms, told)
    return told


async def _check_open(desk: Desk) -> None:
    """
    Raises:
        NotFound: the operator shows no such pages.
    """
    if not (await desk.people.house()).public_pages:
        raise NotFound("This gateway has no public pages.")


def _entry(model: Model) -> dict[str, object]:
    shown = per_mtok(model.deployments[0].price)
    assert shown is not None, "only what has a price is offered"
    return {
        "id": model.id,
        "name": model.name,
        "developer": model.developer,
        "context_length": model.context_tokens,
        "max_output_tokens": model.output_tokens_max,
        "input_modalities": list(model.capabilities.input_modalities),
        "operations": list(model.operations),
        "price_per_mtok": {
            name: rate for name, rate in shown.items() if name not in ("version", "valid_from")
        },
    }


PUBLIC_ROUTES = (
    ApiRoute(
        method="GET", path="/api/v1/public/prices", handler=prices, who="anybody", reply=PublicPrices,
        summary="The models and their prices, for anybody, where the operator shows them.",
    ),
    ApiRoute(
        method="GET", path="/api/v1/public/status", handler=status, who="anybody", reply=PublicStatus,
        summary="Whether the models can be asked now, for anybody, where the operator shows it.",
    ),
    ApiRoute(
        method="GET", path="/api/v1/models/status", handler=models_status, permission="model:read", reply=ModelsStatus,
        summary="Which models nobody answers for now, and which providers of theirs rest.",
    ),
)  # fmt: skip
