"""``[routing]`` as the engine has it."""

from __future__ import annotations

from llm_router.routing.auto.tasks import Task
from llm_router.routing.rules import RoutingRules, Rule, Sticking
from llm_router.settings.schema import RoutingTable, RuleTable, TaskTable


def routing_rules(table: RoutingTable) -> RoutingRules:
    """How deployments are chosen."""
    return RoutingRules(
        strategy=table.strategy,
        candidates_max=table.candidates_max,
        sticky=Sticking(ttl_s=float(table.sticky.ttl_s), entries_max=table.sticky.entries_max),
        models=tuple((pattern, _rule(rule)) for pattern, rule in table.models.items()),
        keys={id_: _rule(rule) for id_, rule in table.keys.items()},
        dial=None if table.dial is None else float(table.dial),
        auto_models=table.auto_models,
        tasks={name: _task(task) for name, task in table.tasks.items()},
    )


def _rule(table: RuleTable) -> Rule:
    return Rule(strategy=table.strategy, dial=None if table.dial is None else float(table.dial))


def _task(table: TaskTable) -> Task:
    return Task(
        strengths=table.strengths,
        sees=table.sees,
        reasoning=table.reasoning,
        open_weights=table.open_weights,
        tier_min=table.tier_min,
        models=table.models,
        strategy=table.strategy,
        dial=None if table.dial is None else float(table.dial),
    )
