"""How hard requests are tried, when deployments are passed over, how long each model may take."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping

import msgspec

from llm_router.ports import Deadlines
from llm_router.routing.chains import KINDS, Chains, FallbackRules
from llm_router.routing.concurrency import ConcurrencyRules
from llm_router.routing.continuing import Continuing
from llm_router.routing.health import HealthRules, ProbeRules
from llm_router.routing.retry import RetryRules
from llm_router.settings.schema import (
    ChainsTable,
    ConcurrencyTable,
    ContinuationTable,
    FallbacksTable,
    HealthTable,
    ModelTable,
    ProbesTable,
    RetriesTable,
    TimeoutsTable,
)


def retry_rules(table: RetriesTable) -> RetryRules:
    return RetryRules(
        attempts_max=table.attempts_max,
        repeats_max=table.repeats_max,
        budget=float(table.budget_percent) / 100,
        reserve=table.reserve,
        backoff_s=float(table.backoff_s),
        backoff_s_max=float(table.backoff_max_s),
        wait_s_max=float(table.wait_max_s),
    )


def health_rules(table: HealthTable) -> HealthRules:
    return HealthRules(
        enabled=table.enabled,
        failures_max=table.failures_max,
        error_rate_max=float(table.error_percent_max) / 100,
        calls_min=table.calls_min,
        window_s=float(table.window_s),
        open_s=float(table.open_s),
        open_s_max=float(table.open_max_s),
        slow_start_s=float(table.slow_start_s),
        ejected_share_max=float(table.ejected_percent_max) / 100,
    )


def probe_rules(table: ProbesTable) -> ProbeRules:
    return ProbeRules(deployments=table.deployments, interval_s=float(table.interval_s))


def concurrency_rules(table: ConcurrencyTable) -> ConcurrencyRules:
    return ConcurrencyRules(
        enabled=table.enabled,
        least=table.least,
        most=tuple(table.most.items()),
        latency_factor=float(table.latency_factor),
        queue_max=table.queue_max,
        wait_s_max=float(table.wait_max_s),
    )


def fallback_rules(table: FallbacksTable) -> FallbackRules:
    return FallbackRules(
        every=_chains(table),
        models={id_: _chains(chains) for id_, chains in table.models.items()},
        keys={id_: _chains(chains) for id_, chains in table.keys.items()},
        presets={name: _chains(chains) for name, chains in table.presets.items()},
    )


def unknown_models(table: FallbacksTable, known: Container[str]) -> Iterator[str]:
    """A word about each name in a chain that nothing answers to."""
    places = {"routing.fallbacks": table} | {
        f'routing.fallbacks.{kind}."{id_}"': chains
        for kind, tables in (("models", table.models), ("keys", table.keys), ("presets", table.presets))
        for id_, chains in tables.items()
    }
    for place, chains in places.items():
        for kind in KINDS:
            for name in getattr(chains, kind) or ():
                if name not in known:
                    yield f"{place}.{kind}: there is no model '{name}', so it is passed over"


def _chains(table: ChainsTable) -> Chains:
    return Chains(general=table.general, context=table.context, content_policy=table.content_policy)


def continuing(table: ContinuationTable) -> Continuing:
    return Continuing(
        mode=table.mode,
        times_max=table.times_max,
        models=tuple(table.models.items()),
        keys=table.keys,
        presets=table.presets,
    )


def deadlines(table: TimeoutsTable) -> Deadlines:
    """Those of all models that have none of their own."""
    return Deadlines(
        connect_s=float(table.connect_s),
        first_byte_s=float(table.first_byte_s),
        idle_s=float(table.idle_s),
        whole_s=None if table.whole_s is None else float(table.whole_s),
        total_s=float(table.total_s),
    )


def deadlines_by_model(tables: Mapping[str, ModelTable], usual: Deadlines) -> dict[str, Deadlines]:
    """Those of the models that have their own; what they leave out is as usual."""
    found: dict[str, Deadlines] = {}
    for id_, table in tables.items():
        if table.timeouts is not None:
            own = {n: float(v) for n, v in msgspec.structs.asdict(table.timeouts).items() if v is not None}
            found[id_] = msgspec.structs.replace(usual, **own, own=tuple(own))
    return found
