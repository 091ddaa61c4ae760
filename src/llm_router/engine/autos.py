"""``auto`` and ``auto:TASK``: which models are offered, and which of them is worth its price for this prompt.

pool ──── the models of the task that the key may use; of each quality the cheapest few
  offer ── what passed the filters, at the forecast cost of this very request
    order ─ routing/auto, with the dial of the request, the key, the task or the configuration
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase

from llm_router.domain.errors import ModelNotAllowed, ModelNotFound, ProviderNotConfigured
from llm_router.domain.key import Key
from llm_router.domain.model import Model
from llm_router.engine.admit import Call
from llm_router.engine.auto import read_dial
from llm_router.engine.state import State
from llm_router.routing.auto.artefact import Artefact, decode_artefact, shipped
from llm_router.routing.auto.choose import DIAL, Choice, Offer
from llm_router.routing.auto.features import prompt_of
from llm_router.routing.auto.router import AutoRouter
from llm_router.routing.auto.tasks import TASKS, Task, fits, lacking
from llm_router.routing.eligible import Bounds, within
from llm_router.routing.plan import Candidate, Judged
from llm_router.wire.dialect import Inspected

OF_A_TIER = 3
"""Models of each quality tier that are offered where the configuration names none: the cheapest."""

POOLS_MAX = 1024

_ANY = Task()

_Place = tuple[str, tuple[str, ...] | None, frozenset[str], Bounds | None]


class Autos:
    """Chooses models. One per process."""

    def __init__(self) -> None:
        self._router: AutoRouter | None = None
        self._state: State | None = None
        self._pools: dict[_Place, tuple[str, ...]] = {}

    @property
    def router(self) -> AutoRouter:
        """The router with its weights, which are read when the first request asks for it."""
        if self._router is None:
            self._router = AutoRouter(decode_artefact(shipped()))
        return self._router

    def prepare(self, artefact: Artefact) -> None:
        """Take the weights, if no request asked for them before."""
        if self._router is None:
            self._router = AutoRouter(artefact)

    @property
    def used(self) -> bool:
        """Whether any request asked for it yet."""
        return self._router is not None

    def pool(
        self, state: State, key: Key, name: str, needs: frozenset[str], bounds: Bounds | None = None
    ) -> tuple[str, ...]:
        """Ids of the models that ``auto`` or ``auto:TASK`` chooses from. ``bounds``: whom they may be asked of.

        Raises:
            ModelNotFound: there is no such task.
            ModelNotAllowed, ProviderNotConfigured: the key may use none of them, or none can be called.
        """
        if self._state is not state:
            self._state, self._pools = state, {}
        place = (name, key.models, needs, bounds)
        found = self._pools.get(place)
        if found is None:
            found = _pool(state, key, name, needs, bounds)
            if len(self._pools) < POOLS_MAX:
                self._pools[place] = found
        return found

    def choose(
        self,
        state: State,
        call: Call,
        inspected: Inspected,
        name: str,
        groups: Sequence[tuple[Candidate, Judged]],
        dial: float,
    ) -> Choice:
        """Order the first candidates of the models by what they are worth."""
        task = task_of(state, name)
        prompt, system = prompt_of(call.dialect.decode_request(inspected).messages)
        offers = [
            Offer(
                id=candidate.deployment.id,
                model=candidate.model.id,
                cost_pusd=judged.cost_pusd if judged.cost_pusd is not None else 0,
                quality_tier=candidate.model.quality_tier,
                fits=fits(task, candidate.model, inspected.needs),
            )
            for candidate, judged in groups
        ]
        return self.router.choose(self.router.read(prompt, system), offers, dial)

    def made(self, choice: Choice) -> None:
        """A request that was so chosen for is really made."""
        self.router.made(choice)


def task_of(state: State, name: str) -> Task:
    """What ``auto`` or ``auto:TASK`` asks for.

    Raises:
        ModelNotFound: there is no such task; with the nearest.
    """
    _, colon, word = name.partition(":")
    if not colon:
        return _ANY
    known = {**TASKS, **state.routing.tasks}
    task = known.get(word)
    if task is None:
        near = get_close_matches(word[:60], known, n=3, cutoff=0.4) or list(known)
        raise ModelNotFound(
            f"There is no task 'auto:{word[:60]}'. Nearest: {', '.join(f'auto:{n}' for n in near)}.",
            param="model",
            details={"nearest": [f"auto:{n}" for n in near]},
        )
    return task


def dial_of(
    state: State, call: Call, inspected: Inspected, key: Key, task: Task, preset: float | None
) -> float:
    """Between cost (0) and quality (10): of the request, its preset, its key, the task or the configuration.

    Raises:
        InvalidRequest: what the request sets is no such number.
    """
    own = state.routing.keys.get(key.id)
    asked = read_dial(call, inspected)
    for found in (asked, preset, None if own is None else own.dial, task.dial, state.routing.dial):
        if found is not None:
            return found
    return DIAL


def _pool(state: State, key: Key, name: str, needs: frozenset[str], bounds: Bounds | None) -> tuple[str, ...]:
    task, patterns = task_of(state, name), state.routing.auto_models
    known = [m for m in state.snapshot.models.values() if lacking(task, m) is None]
    if patterns and not task.models:
        known = [m for m in known if any(fnmatchcase(m.id, p) for p in patterns)]
    allowed = [m for m in known if key.models is None or any(fnmatchcase(m.id, p) for p in key.models)]
    if known and not allowed:
        raise ModelNotAllowed(
            f"This API key may use none of the models that '{name}' chooses from.", param="model"
        )
    priced = [(m, price) for m in allowed if (price := _least(m, state, bounds)) is not None]
    if not priced and bounds is not None:  # the filters say why of each
        priced = [(m, price) for m in allowed if (price := _least(m, state, None)) is not None]
    if not priced:
        raise ProviderNotConfigured(
            f"No provider is configured here for any model that '{name}' chooses from.", param="model"
        )
    able = [(m, price) for m, price in priced if _able(m, needs)] or priced
    if patterns or task.models:
        return tuple(m.id for m, _ in able)
    return tuple(m.id for m in _cheapest(able))


def _cheapest(able: Sequence[tuple[Model, int]]) -> list[Model]:
    """The cheapest few of each tier; those of no known quality only if there are no others."""
    tiers: dict[int, list[tuple[int, int, Model]]] = {}
    for at, (model, price) in enumerate(able):
        if model.quality_tier is not None:
            tiers.setdefault(model.quality_tier, []).append((price, at, model))
    chosen = [each[2] for tier in sorted(tiers) for each in sorted(tiers[tier])[:OF_A_TIER]]
    return chosen or [model for model, _ in able[:OF_A_TIER]]


def _least(model: Model, state: State, bounds: Bounds | None) -> int | None:
    """The price of the cheapest deployment that may be called: of three tokens in and one out."""
    snapshot = state.snapshot
    prices = [
        3 * d.price.rates.input + d.price.rates.output
        for d in model.deployments
        if d.provider in state.active
        and d.price is not None
        and (
            bounds is None
            or within(bounds, model, d, snapshot.providers[d.provider], snapshot.provider_named, state.active)
        )
    ]
    return min(prices, default=None)


def _able(model: Model, needs: frozenset[str]) -> bool:
    """Whether the catalogue says that the model can do what the request needs."""
    can = model.capabilities
    for need in needs:
        if need in ("image", "audio", "video", "file") and not can.sees(need):
            return False
        if (need == "tools" and not can.tools) or (need == "json_schema" and not can.json_schema):
            return False
    return True
