"""Which arm a request gets: by the hash of what it sticks to, in exact proportion to the weights.

The hash is a point of a line of 2**64. The arms divide the line in their order, each as long as its weight, so
that of two arms one that grows keeps all that it had. Points of different experiments have nothing to do with
each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from itertools import accumulate

from llm_router.domain.experiment import Arm, Experiment

SPACE = 2**64

GROUPS = 64
"""Into so many groups those who keep an arm are put, for what is said of chance: see :mod:`.figures`."""


def point_of(experiment: str, unit: str, purpose: str = "arm") -> int:
    """Where a user, session, key or request stands on the line of an experiment."""
    said = "\0".join((experiment, purpose, unit)).encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(said, digest_size=8).digest())


def pick(weights: Sequence[int], point: int, space: int = SPACE) -> int:
    """The number of the arm that a point of ``range(space)`` belongs to.

    Raises:
        ValueError: no arm has a weight.
    """
    total = sum(weights)
    if total <= 0:
        raise ValueError("no arm has a weight")
    at = point * total // space
    return next(number for number, end in enumerate(accumulate(weights)) if at < end)


def arm_of(experiment: Experiment, unit: str) -> Arm | None:
    """The arm that serves it; None if it has no part in the experiment.

    A shadow's requests are served by the first arm, in ``share`` of the cases.
    """
    point = point_of(experiment.name, unit)
    if experiment.kind == "shadow":
        return experiment.arms[0] if point < int(experiment.share * SPACE) else None
    return experiment.arms[pick([arm.weight for arm in experiment.arms], point)]


def group_of(experiment: str, unit: str) -> int:
    """The group of a unit. It has nothing to do with the arm."""
    return point_of(experiment, unit, "group") % GROUPS
