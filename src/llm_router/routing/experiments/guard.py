"""Whether a canary is clearly worse. Looked at all the time, so that only anytime intervals will do."""

from __future__ import annotations

from llm_router.domain.experiment import Experiment
from llm_router.routing.experiments.chance import always
from llm_router.routing.experiments.figures import Figures

GUARD_ALPHA = 0.01
"""At most so likely is it that an arm which is no worse is ever stopped: half of it for each side's interval."""


def worse(experiment: Experiment, figures: Figures) -> str | None:
    """Why the canary must end; None if it need not.

    Every request counts for itself here: a canary that was stopped without need costs less than one that goes
    on failing.
    """
    first, guard = experiment.arms[0], experiment.guard
    base = figures.arm(first.name)
    known = always(base.total("errors"), base.total("requests"), GUARD_ALPHA / 2)
    for arm in experiment.arms[1:]:
        seen = figures.arm(arm.name)
        requests, errors = seen.total("requests"), seen.total("errors")
        if requests < guard.requests_min:
            continue
        if always(errors, requests, GUARD_ALPHA / 2).low > known.high + guard.margin:
            rate = f"{base.total('errors')} of {base.total('requests')}"
            return f"{errors} of {requests} requests failed with arm '{arm.name}', {rate} with '{first.name}'"
    return None
