"""How deployments and the keys of their providers stand, for operators: ``llm-router deployments``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from llm_router.domain.errors import InvalidRequest
from llm_router.domain.money import format_usd
from llm_router.engine.moments import iso_time
from llm_router.engine.operator import Arguments, Context, Result
from llm_router.engine.probing import Probed, Probes
from llm_router.engine.state import State
from llm_router.engine.trying import Trying
from llm_router.routing.health import SIZES_TOKENS, HealthView

SIZE_NAMES = (
    *(f"under_{tokens}" for tokens in SIZES_TOKENS),
    f"from_{SIZES_TOKENS[-1]}",
)
"""Of the classes of input, in tokens."""


Standing = dict[str, Any]
"""A row of :func:`standings`."""


class ListDeployments(Arguments, frozen=True, kw_only=True):
    """``every``: those that were never called too."""

    every: bool = False


def standings(trying: Trying, probes: Probes, state: State, now_ms: int) -> list[dict[str, object]]:
    """Every deployment that can be called, and what this process knows of it; the keys of its provider where
    there are several."""
    rows: list[dict[str, object]] = []
    for model in state.snapshot.models.values():
        for deployment in model.deployments:
            if deployment.provider not in state.active or deployment.price is None:
                continue
            pool = state.key_pools.get(deployment.provider, ())
            keys = trying.ring.states(deployment.provider, pool, now_ms)
            rows.append(
                {
                    "deployment": deployment.id,
                    "provider": deployment.provider,
                    "model": model.id,
                    **_shown(trying.health.view(deployment.id, now_ms)),
                    "limit": (lane := trying.gate.lanes.view(deployment.id)).limit,
                    "shed": lane.shed,
                    "probes": _probes(probes.probed.get(deployment.id)),
                    "called": deployment.id in trying.health,
                    "keys": [
                        {"key": key.mark, "back": _moment(key.back_ms), "reason": key.why} for key in keys
                    ],
                }
            )
    return rows


def _shown(view: HealthView) -> dict[str, object]:
    shown: dict[str, object] = msgspec.structs.asdict(view)
    shown["back"] = _moment(view.back_ms)
    del shown["back_ms"]
    shown["ttft_ms"] = dict(zip(SIZE_NAMES, view.ttft_ms, strict=True))
    return shown


def _probes(probed: Probed | None) -> dict[str, object] | None:
    if probed is None:
        return None
    return {"calls": probed.calls, "failed": probed.failed, "cost": format_usd(probed.cost_pusd)}


def _moment(at_ms: int | None) -> str | None:
    return None if at_ms is None else iso_time(at_ms)


def together(processes: Sequence[Sequence[Standing]]) -> list[Standing]:
    """What several processes know of each deployment as one row. Calls add up; a part that failed and a speed
    are means by calls; whoever refuses a deployment makes it unavailable."""
    rows: dict[str, list[Standing]] = {}
    for standings_ in processes:
        for row in standings_:
            rows.setdefault(row["deployment"], []).append(row)
    return [_joined(found) for found in rows.values()]


def _joined(rows: list[Standing]) -> Standing:
    first = max(rows, key=lambda row: (not row["available"], row["calls"]))
    times = [row["ttft_ms"] for row in rows]
    return {
        **first,
        "in_flight": sum(row["in_flight"] for row in rows),
        "calls": sum(row["calls"] for row in rows),
        "called": any(row["called"] for row in rows),
        "error_rate": _mean(rows, [row["error_rate"] for row in rows]),
        "tokens_per_s": _mean(rows, [row["tokens_per_s"] for row in rows]),
        "ttft_ms": {name: _mean(rows, [each[name] for each in times]) for name in SIZE_NAMES},
    }


def _mean(rows: list[Standing], values: list[float | None]) -> float | None:
    """By the calls that each value comes from; None if none is known."""
    known = [
        (value, max(1, row["calls"])) for row, value in zip(rows, values, strict=True) if value is not None
    ]
    weight = sum(calls for _, calls in known)
    return sum(value * calls for value, calls in known) / weight if known else None


async def list_deployments(arguments: ListDeployments, context: Context) -> Result:
    """How the deployments stand, in each process that serves requests.

    Raises:
        InvalidRequest: no gateway runs.
    """
    if context.health is None:
        raise InvalidRequest(
            "no gateway runs on this data folder; only a running one knows how its deployments fare",
            code="not_running",
        )
    wanted: Callable[[dict[str, object]], bool] = lambda row: arguments.every or row["called"] is True  # noqa: E731
    processes = await context.health()
    return {
        "processes": [
            {"process": number, "deployments": [row for row in rows if wanted(row)]}
            for number, rows in enumerate(processes, start=1)
        ]
    }
