"""What an operator configures of routing: data, read from ``[routing]`` and ``[presets]``."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Literal

import msgspec

from llm_router.domain.experiment import Experiment
from llm_router.domain.model import SuccessorRule
from llm_router.domain.preset import Preset
from llm_router.routing.auto.tasks import Task
from llm_router.routing.hedging import HedgeMode, HedgeRules

StrategyName = Literal["priority", "weighted", "cheapest", "fastest", "balanced", "least_busy"]


class Sticking(msgspec.Struct, frozen=True, kw_only=True):
    """How long a session stays where its prompt is in the cache; 0 is not at all."""

    ttl_s: float = 600.0
    entries_max: int = 10_000


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """What holds for some requests; None leaves it to the more general rule.

    Attributes:
        dial: of ``auto``, 0 (cheapest) to 10 (best).
    """

    strategy: StrategyName | None = None
    dial: float | None = None


class RoutingRules(msgspec.Struct, frozen=True, kw_only=True):
    """All of it.

    Attributes:
        strategy: of requests for which nothing else is said.
        candidates_max: deployments in one plan; the hold covers the dearest of them.
        models: glob of public ids -> rule, the first that fits.
        keys: id of a key -> rule, which goes before that of a model.
        dial: of ``auto``, where nothing else is said.
        auto_models: what ``auto`` chooses from: globs of public ids; () is the cheapest few of each quality.
        tasks: the operator's own, by the name behind ``auto:``.
        presets, experiments: those of the configuration, by name.
        hedging: when a second call is made beside a late one.
        successors: which may answer in the place of a model past its shutdown.
        single_flight: whether requests that are the same at the same time share one call.
    """

    strategy: StrategyName = "priority"
    candidates_max: int = 8
    sticky: Sticking = Sticking()
    models: tuple[tuple[str, Rule], ...] = ()
    keys: Mapping[str, Rule] = MappingProxyType({})
    dial: float | None = None
    auto_models: tuple[str, ...] = ()
    tasks: Mapping[str, Task] = MappingProxyType({})
    presets: Mapping[str, Preset] = MappingProxyType({})
    hedging: HedgeRules = HedgeRules()
    successors: SuccessorRule = "any"
    single_flight: HedgeMode = "off"
    experiments: Mapping[str, Experiment] = MappingProxyType({})

    @property
    def plain(self) -> bool:
        """Whether every request is served in the catalogue's order, unless it says otherwise itself."""
        return self.strategy == "priority" and not self.models and not self.keys

    def strategy_of(self, model: str, key: str) -> StrategyName:
        """The strategy of a request of that key for that model."""
        own = self.keys.get(key)
        if own is not None and own.strategy is not None:
            return own.strategy
        for pattern, rule in self.models:
            if rule.strategy is not None and fnmatchcase(model, pattern):
                return rule.strategy
        return self.strategy
