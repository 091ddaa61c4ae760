"""What presets and experiments name, held against what there is: models, tasks, parameters."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from difflib import get_close_matches

from llm_router.catalog.snapshot import Snapshot
from llm_router.domain.errors import InvalidRequest, ModelNotFound
from llm_router.routing.auto.tasks import TASKS
from llm_router.routing.query import is_auto, read_query
from llm_router.routing.rules import RoutingRules
from llm_router.wire.parameters import misspelt, unknown


def check_known(models: Iterable[str], snapshot: Snapshot, tasks: Collection[str]) -> None:
    """Refuse models and tasks that there are not: a request for them could only fail.

    Args:
        tasks: those of the configuration.

    Raises:
        InvalidRequest: with the nearest.
    """
    for model in models:
        for asked in read_query(model, {}).names:
            if is_auto(asked.name):
                _check_task(asked.name, (*TASKS, *tasks))
                continue
            try:
                snapshot.resolve(asked.name)
            except ModelNotFound as error:
                raise InvalidRequest(error.message, param="models", details=error.details) from None


def _check_task(name: str, known: Collection[str]) -> None:
    word = name.partition(":")[2]
    if word and word not in known:
        near = ", ".join(f"auto:{n}" for n in get_close_matches(word[:60], known, 3) or dict.fromkeys(known))
        raise InvalidRequest(f"there is no task '{name[:60]}'; nearest: {near}", param="models")


def check_parameters(names: Collection[str]) -> tuple[str, ...]:
    """Refuse misspelt parameters; return a word about each of the others that is not known.

    Those are taken, since providers have parameters of their own.

    Raises:
        InvalidRequest: with the name that was meant.
    """
    for name in names:
        if (meant := misspelt(name)) is not None:
            raise InvalidRequest(
                f"there is no parameter '{name[:64]}'; did you mean '{meant}'?", param="parameters"
            )
    return unknown(names)


def doubtful(rules: RoutingRules, snapshot: Snapshot) -> Iterator[str]:
    """A word about each model, task and parameter of the configuration's presets and experiments that there is not.

    They are no mistakes of the file: a model may come with the next catalogue.
    """
    for name, preset in rules.presets.items():
        yield from _doubts(f"presets.{name}", preset.models, preset.parameters, rules, snapshot)
    for name, experiment in rules.experiments.items():
        if not experiment.of.startswith("@"):
            yield from _doubts(f"experiments.{name}", (experiment.of,), (), rules, snapshot)
        for arm in experiment.arms:
            models = () if arm.model is None else (arm.model,)
            yield from _doubts(f"experiments.{name}, arm {arm.name}", models, arm.parameters, rules, snapshot)


def _doubts(
    place: str, models: Iterable[str], parameters: Iterable[str], rules: RoutingRules, snapshot: Snapshot
) -> Iterator[str]:
    for model in models:
        try:
            check_known((model,), snapshot, rules.tasks)
        except InvalidRequest as error:
            yield f"{place}: {error.message}"
    for word in unknown(parameters):
        yield f"{place}: {word}"
