"""The operator's commands on experiments."""

from __future__ import annotations

from typing import Any

import msgspec

from llm_router.domain.errors import InvalidRequest, NotFound
from llm_router.domain.experiment import (
    ARMS_MAX,
    WEIGHT_MAX,
    Arm,
    Billed,
    Ending,
    Experiment,
    Guard,
    Kind,
    Sticky,
)
from llm_router.domain.preset import NAME
from llm_router.engine.experiments import ENDINGS, FIGURES, KIND, Kept, end_run
from llm_router.engine.moments import iso_time
from llm_router.engine.operator import Arguments, Context, Result
from llm_router.engine.presets import NOT_PARAMETERS
from llm_router.engine.saved import check_known, check_parameters
from llm_router.ports import Document, TreasuryBooks
from llm_router.routing.experiments.figures import Figures
from llm_router.routing.experiments.report import report
from llm_router.routing.query import read_query

EXPERIMENTS_MAX = 1000


class ArmArguments(Arguments, frozen=True, kw_only=True):
    """One arm, as a command names it."""

    name: str
    weight: int = 1
    model: str | None = None
    system: str | None = None
    parameters: dict[str, Any] = {}
    provider: dict[str, Any] = {}
    dial: float | None = None


class CreateExperiment(Arguments, frozen=True, kw_only=True):
    """``experiments.create``."""

    name: str
    of: str
    kind: Kind = "ab"
    arms: tuple[ArmArguments, ...] = ()
    sticky: Sticky = "user"
    share: float = 1.0
    concurrency: int = 4
    billed: Billed = "operator"
    requests_min: int = 20
    margin: float = 0.0
    description: str | None = None


class NamedExperiment(Arguments, frozen=True, kw_only=True):
    """``experiments.show``, ``experiments.stop``, ``experiments.report``."""

    name: str
    reason: str | None = None


async def create_experiment(arguments: CreateExperiment, context: Context) -> Result:
    """Begin an experiment.

    Raises:
        InvalidRequest: it cannot be, or one of that name, or of the same preset or model, is running.
    """
    books = _books(context)
    experiment = Experiment(
        name=arguments.name,
        of=arguments.of,
        kind=arguments.kind,
        arms=tuple(_arm(each) for each in arguments.arms),
        sticky=arguments.sticky,
        share=arguments.share,
        concurrency=arguments.concurrency,
        billed=arguments.billed,
        guard=Guard(requests_min=arguments.requests_min, margin=arguments.margin),
        description=arguments.description,
        created_ms=context.clock.now_ms(),
    )
    check_experiment(experiment)
    models = [arm.model for arm in experiment.arms if arm.model is not None]
    named = models if experiment.of.startswith("@") else [experiment.of, *models]
    check_known(named, context.snapshot(), context.configured().tasks)
    warnings = check_parameters([name for arm in experiment.arms for name in arm.parameters])
    await _check_free(experiment, context)
    known = await books.document(KIND, experiment.name)
    document = Document(
        kind=KIND,
        id=experiment.name,
        account="",
        version=1 if known is None else known.version + 1,
        open=True,
        created_ms=experiment.created_ms,
        body=msgspec.json.encode(experiment),
    )
    if not await books.put_document(document):
        raise InvalidRequest(
            "the experiment is being made by others at the same time; look at it, and try again"
        )
    made = await _shown(experiment, books)
    return {**made, "warnings": list(warnings)} if warnings else made


async def list_experiments(arguments: Arguments, context: Context) -> Result:
    """All experiments, those that are over too."""
    books = _books(context)
    return {"experiments": [await _shown(each, books) for each in await _all(context)]}


async def show_experiment(arguments: NamedExperiment, context: Context) -> Result:
    """One experiment.

    Raises:
        NotFound: there is none of that name.
    """
    return await _shown(await _named(arguments.name, context), _books(context))


async def stop_experiment(arguments: NamedExperiment, context: Context) -> Result:
    """End an experiment: its requests are served as if there were none. What was counted stays.

    Raises:
        NotFound: there is none of that name.
        InvalidRequest: it is over already.
    """
    books = _books(context)
    experiment = await _named(arguments.name, context)
    reason = arguments.reason or "stopped by the operator"
    ending = Ending(ended_ms=context.clock.now_ms(), by="operator", reason=reason[:500])
    if not await end_run(books, experiment, ending):
        raise InvalidRequest(f"the experiment '{experiment.name}' is over already", param="name")
    return await _shown(experiment, books)


async def report_experiment(arguments: NamedExperiment, context: Context) -> Result:
    """What an experiment came to until now.

    Raises:
        NotFound: there is none of that name.
    """
    books = _books(context)
    experiment = await _named(arguments.name, context)
    known = await books.document(FIGURES, experiment.run)
    figures = Figures() if known is None else msgspec.json.decode(known.body, type=Kept).figures
    return {**await _shown(experiment, books), **report(experiment, figures)}


def check_experiment(experiment: Experiment) -> None:
    """Refuse what can be no experiment.

    Raises:
        InvalidRequest: says what to change.
    """
    if not NAME.fullmatch(experiment.name):
        raise InvalidRequest("an experiment's name has 1 to 64 letters, digits and . _ -", param="name")
    _check_of(experiment.of)
    arms = experiment.arms
    if not 2 <= len(arms) <= ARMS_MAX:
        raise InvalidRequest(
            f"an experiment has 2 to {ARMS_MAX} arms, the first of them to compare with", param="arms"
        )
    if len({arm.name for arm in arms}) < len(arms):
        raise InvalidRequest("two arms have the same name", param="arms")
    for arm in arms:
        _check_arm(arm)
    if experiment.kind != "shadow" and sum(arm.weight for arm in arms) == 0:
        raise InvalidRequest("no arm has a weight", param="arms")
    if not 0 < experiment.share <= 1:
        raise InvalidRequest("share must be above 0 and at most 1", param="share")
    if not 1 <= experiment.concurrency <= 1000:
        raise InvalidRequest("concurrency must be from 1 to 1000", param="concurrency")
    if not 1 <= experiment.guard.requests_min <= 10**6:
        raise InvalidRequest("guard.requests_min must be from 1 to 1000000", param="requests_min")
    if not 0 <= experiment.guard.margin < 1:
        raise InvalidRequest("guard.margin must be at least 0 and below 1", param="margin")


def _check_of(of: str) -> None:
    if not of or "|" in of or " " in of:
        raise InvalidRequest("an experiment is of '@PRESET' or of one model, as clients write it", param="of")
    query = read_query(of, {})
    if of.startswith("@") != (not query.names) or ("@" in of and query.names):
        raise InvalidRequest("an experiment is of '@PRESET' or of one model, as clients write it", param="of")
    if query.preset is not None and (query.preset.version is not None or of != f"@{query.preset.name}"):
        raise InvalidRequest("an experiment is of the newest version of a preset: '@NAME'", param="of")


def _check_arm(arm: Arm) -> None:
    if not NAME.fullmatch(arm.name):
        raise InvalidRequest("an arm's name has 1 to 64 letters, digits and . _ -", param="arms")
    if not 0 <= arm.weight <= WEIGHT_MAX:
        raise InvalidRequest(f"the weight of arm '{arm.name}' must be from 0 to {WEIGHT_MAX}", param="arms")
    if arm.model is not None:
        read_query(arm.model, {})
    for name in arm.parameters:
        if name in NOT_PARAMETERS:
            raise InvalidRequest(f"'{name}' is no parameter that an arm may fill in", param="parameters")
    if arm.dial is not None and not 0 <= arm.dial <= 10:
        raise InvalidRequest("dial must be from 0 (cheapest) to 10 (best)", param="dial")
    read_query("x", {"provider": {name: msgspec.json.decode(raw) for name, raw in arm.provider.items()}})


def _arm(arguments: ArmArguments) -> Arm:
    return Arm(
        name=arguments.name,
        weight=arguments.weight,
        model=arguments.model,
        system=arguments.system,
        parameters={name: msgspec.Raw(msgspec.json.encode(v)) for name, v in arguments.parameters.items()},
        provider={name: msgspec.Raw(msgspec.json.encode(v)) for name, v in arguments.provider.items()},
        dial=arguments.dial,
    )


async def _check_free(experiment: Experiment, context: Context) -> None:
    """
    Raises:
        InvalidRequest: its name or its traffic is taken, or there is nothing to go back to when it ends.
    """
    books = _books(context)
    for other in await _all(context):
        running = await books.document(ENDINGS, other.run) is None
        if other.name == experiment.name and (running or other.created_ms == 0):
            raise InvalidRequest(f"there is an experiment '{other.name}' already", param="name")
        if running and other.of == experiment.of:
            raise InvalidRequest(
                f"the experiment '{other.name}' has the requests for '{other.of}'; stop it first", param="of"
            )
    if experiment.of.startswith("@"):
        name = experiment.of[1:]
        if name not in context.configured().presets and await books.document("preset", name) is None:
            raise InvalidRequest(f"there is no preset '{experiment.of}'", param="of")
    else:
        query = read_query(experiment.of, {})
        if not query.names[0].name.startswith("auto"):
            context.snapshot().find(query.names[0].name)


async def _all(context: Context) -> list[Experiment]:
    """Those of the configuration, then the stored ones that have other names."""
    found = dict(context.configured().experiments)
    after = ""
    while page := await _books(context).documents(KIND, after=after):
        for document in page:
            found.setdefault(document.id, msgspec.json.decode(document.body, type=Experiment))
        after = page[-1].id
    return list(found.values())


async def _named(name: str, context: Context) -> Experiment:
    own = context.configured().experiments.get(name)
    if own is not None:
        return own
    known = await _books(context).document(KIND, name)
    if known is None:
        raise NotFound(f"there is no experiment '{name[:64]}'", param="name")
    return msgspec.json.decode(known.body, type=Experiment)


async def _shown(experiment: Experiment, books: TreasuryBooks) -> Result:
    """An experiment as the operator sees it."""
    known = await books.document(ENDINGS, experiment.run)
    ending = None if known is None else msgspec.json.decode(known.body, type=Ending)
    shown: Result = {
        "name": experiment.name,
        "of": experiment.of,
        "kind": experiment.kind,
        "state": "running" if ending is None else "over",
        "sticky": experiment.sticky,
        "description": experiment.description,
        "created": None if experiment.created_ms == 0 else iso_time(experiment.created_ms),
        "ended": None if ending is None else iso_time(ending.ended_ms),
        "ended_by": None if ending is None else ending.by,
        "reason": None if ending is None else ending.reason,
        "definition": {
            "arms": [msgspec.structs.asdict(arm) for arm in experiment.arms],
        },
    }
    if experiment.kind == "shadow":
        shown["definition"] |= {  # type: ignore[operator]
            "share": experiment.share,
            "concurrency": experiment.concurrency,
            "billed": experiment.billed,
        }
    if experiment.kind == "canary":
        shown["definition"] |= {"guard": msgspec.structs.asdict(experiment.guard)}  # type: ignore[operator]
    return shown


def _books(context: Context) -> TreasuryBooks:
    if context.treasury is None:
        raise InvalidRequest("this store has no room for experiments")
    return context.treasury.books
