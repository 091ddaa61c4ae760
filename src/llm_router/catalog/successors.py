"""What stands in for a model past its shutdown, and at which price."""

from __future__ import annotations

from collections.abc import Collection

from llm_router.catalog.resolve import Resolved
from llm_router.catalog.snapshot import Snapshot
from llm_router.domain.errors import ModelNotFound
from llm_router.domain.model import Model, SuccessorRule
from llm_router.domain.money import format_usd
from llm_router.domain.price import Rates

TOKENS_PER_MTOK = 10**6


def check_successor(rule: SuccessorRule, snapshot: Snapshot, resolved: Resolved) -> None:
    """Refuse what a name came to, if it is a successor that the operator does not want.

    Raises:
        ModelNotFound: names the successor, so that it can be asked for.
    """
    if resolved.via != "successor" or rule == "any":
        return
    asked = snapshot.find(resolved.asked)
    if rule == "not_dearer" and dearer(asked, resolved.model) is False:
        return
    raise ModelNotFound(
        f"Model '{asked.id}' was shut down{_when(asked)} and nobody serves it any more. Its successor "
        f"'{resolved.model.id}' {_compared(asked, resolved.model)}, and this gateway puts "
        f"{'no successor' if rule == 'none' else 'no dearer one'} in its place: ask for '{resolved.model.id}' itself.",
        param="model",
        details={"nearest": [resolved.model.id]},
    )


def answers(rule: SuccessorRule, snapshot: Snapshot, model: Model, active: Collection[str]) -> Model | None:
    """The model that answers to this one's id: itself, its successor, or None where that is not wanted."""
    resolved = snapshot.resolve(model.id, active=active)
    try:
        check_successor(rule, snapshot, resolved)
    except ModelNotFound:
        return None
    return resolved.model


def dearer(asked: Model, heir: Model) -> bool | None:
    """Whether a token of either kind costs more at the successor's first provider; None if that is not known."""
    before, after = _rates(asked), _rates(heir)
    if before is None or after is None:
        return None
    return after.input > before.input or after.output > before.output


def told(asked: Model, heir: Model) -> str:
    """The succession in one sentence, with both prices."""
    return (
        f"{asked.id} was shut down{_when(asked)} and nobody serves it any more; its successor {heir.id} answers, "
        f"which {_compared(asked, heir)}"
    )


def _when(model: Model) -> str:
    return "" if model.shutdown is None else f" on {model.shutdown}"


def _compared(asked: Model, heir: Model) -> str:
    before, after = _rates(asked), _rates(heir)
    if before is None or after is None:
        return "has a price of its own"
    verdict = "is dearer" if dearer(asked, heir) else "is not dearer"
    return f"{verdict} ({_shown(after)}; it was {_shown(before)})"


def _shown(rates: Rates) -> str:
    mtok = (format_usd(rate * TOKENS_PER_MTOK) for rate in (rates.input, rates.output))
    return "${} in, ${} out per million tokens".format(*mtok)


def _rates(model: Model) -> Rates | None:
    """Those of the catalogue at the first provider that has a price."""
    return next((d.price.rates for d in model.deployments if d.price is not None), None)
