"""``[routing]`` as the engine has it."""

from __future__ import annotations

from collections.abc import Mapping

from llm_router.domain.errors import InvalidRequest
from llm_router.domain.experiment import Arm, Experiment, Guard
from llm_router.domain.preset import Preset
from llm_router.engine.experimenting import check_experiment
from llm_router.engine.presets import check_preset
from llm_router.routing.auto.tasks import Task
from llm_router.routing.hedging import WHOLE_BP, HedgeRules
from llm_router.routing.rules import RoutingRules, Rule, Sticking
from llm_router.routing.strategies import SUFFIXED
from llm_router.settings.check import json_value
from llm_router.settings.problems import Problems
from llm_router.settings.schema import (
    ExperimentTable,
    HedgingTable,
    PresetTable,
    RoutingTable,
    RuleTable,
    TaskTable,
)


def routing_rules(
    table: RoutingTable,
    presets: Mapping[str, PresetTable],
    experiments: Mapping[str, ExperimentTable],
    problems: Problems,
) -> RoutingRules:
    """How deployments are chosen."""
    return RoutingRules(
        strategy=table.strategy,
        candidates_max=table.candidates_max,
        sticky=Sticking(ttl_s=float(table.sticky.ttl_s), entries_max=table.sticky.entries_max),
        models=tuple((pattern, _rule(rule)) for pattern, rule in table.models.items()),
        keys={id_: _rule(rule) for id_, rule in table.keys.items()},
        dial=None if table.dial is None else float(table.dial),
        auto_models=table.auto_models,
        presets={name: _preset(name, preset, problems) for name, preset in presets.items()},
        experiments=_experiments(experiments, problems),
        tasks={name: _task(task) for name, task in table.tasks.items()},
        hedging=_hedging(table.hedging),
        single_flight=table.single_flight,
        successors=table.successors,
    )


def _preset(name: str, table: PresetTable, problems: Problems) -> Preset:
    """A preset of the file; what cannot be is reported."""
    path = ("presets", name)
    preset = Preset(name=name)
    try:
        preset = Preset(
            name=name,
            models=table.models,
            system=table.system,
            parameters={key: json_value(value) for key, value in table.parameters.items()},
            provider={key: json_value(value) for key, value in table.provider.items()},
            dial=None if table.dial is None else float(table.dial),
            description=table.description,
        )
        check_preset(preset)
    except InvalidRequest as error:
        problems.add(path, error.message)
    except (TypeError, ValueError):
        problems.add(path, "holds a value that JSON has no word for")
    return preset


def _experiments(tables: Mapping[str, ExperimentTable], problems: Problems) -> dict[str, Experiment]:
    """The experiments of the file; what cannot be is reported, and that two want the same requests."""
    found: dict[str, Experiment] = {}
    taken: dict[str, str] = {}
    for name, table in tables.items():
        path = ("experiments", name)
        try:
            experiment = _experiment(name, table)
            check_experiment(experiment)
        except InvalidRequest as error:
            problems.add(path, error.message)
            continue
        except (TypeError, ValueError):
            problems.add(path, "holds a value that JSON has no word for")
            continue
        if (other := taken.setdefault(experiment.of, name)) != name:
            problems.add((*path, "of"), f"is what the experiment '{other}' is of already")
        found[name] = experiment
    return found


def _experiment(name: str, table: ExperimentTable) -> Experiment:
    return Experiment(
        name=name,
        of=table.of,
        kind=table.kind,
        arms=tuple(
            Arm(
                name=arm.name,
                weight=arm.weight,
                model=arm.model,
                system=arm.system,
                parameters={key: json_value(value) for key, value in arm.parameters.items()},
                provider={key: json_value(value) for key, value in arm.provider.items()},
                dial=None if arm.dial is None else float(arm.dial),
            )
            for arm in table.arms
        ),
        sticky=table.sticky,
        share=float(table.share),
        concurrency=table.concurrency,
        billed=table.billed,
        guard=Guard(requests_min=table.guard.requests_min, margin=float(table.guard.margin)),
        description=table.description,
    )


def _rule(table: RuleTable) -> Rule:
    return Rule(strategy=table.strategy, dial=None if table.dial is None else float(table.dial))


def _hedging(table: HedgingTable) -> HedgeRules:
    return HedgeRules(
        mode=table.mode,
        percentile=float(table.percentile),
        share_bp=round(table.extra_percent_max * WHOLE_BP / 100),
        models=tuple(table.models.items()),
        keys=table.keys,
        presets=table.presets,
    )


def _task(table: TaskTable) -> Task:
    return Task(
        strengths=table.strengths,
        sees=table.sees,
        reasoning=table.reasoning,
        open_weights=table.open_weights,
        tier_min=table.tier_min,
        models=table.models,
        strategy=SUFFIXED.get(table.strategy, table.strategy),
        dial=None if table.dial is None else float(table.dial),
    )
