"""Experiments: the traffic of a preset or a model, split into arms.

An experiment that has begun never changes: what it says is part of what its figures are kept under.
"""

from __future__ import annotations

import hashlib
from typing import Literal

import msgspec

Kind = Literal["ab", "canary", "shadow"]
Sticky = Literal["user", "session", "key", "request"]
Billed = Literal["operator", "customer"]

ARMS_MAX = 8
WEIGHT_MAX = 1_000_000


class Arm(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a part of the requests gets. One that says nothing leaves them as they are.

    Attributes:
        weight: its part of the sum of all weights; of a shadow it has no meaning.
        model: a model string in place of the one that was asked for.
        system, parameters, provider, dial: as of a preset: what a request says itself goes before them.
    """

    name: str
    weight: int = 1
    model: str | None = None
    system: str | None = None
    parameters: dict[str, msgspec.Raw] = {}
    provider: dict[str, msgspec.Raw] = {}
    dial: float | None = None

    @property
    def plain(self) -> bool:
        """Whether it leaves requests as they are."""
        return (
            self.model is None
            and self.system is None
            and self.dial is None
            and not (self.parameters or self.provider)
        )


class Guard(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """When a canary is stopped: its error rate is worse than the first arm's by more than ``margin``, beyond
    doubt, and it has had ``requests_min`` requests."""

    requests_min: int = 20
    margin: float = 0.0


class Experiment(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One experiment.

    Attributes:
        of: ``@NAME`` of a preset, or a model string as clients write it.
        arms: the first is what the others are compared with.
        sticky: what keeps its arm: the person, the session, the API key, or each request for itself.
        share: of a shadow: the part of the users, sessions, keys or requests that are copied.
        concurrency: of a shadow: copies under way at the same time, in each process.
        billed: of a shadow: who pays for the copies.
        guard: of a canary.
        created_ms: Unix time; 0 in the configuration.
    """

    name: str
    of: str
    kind: Kind = "ab"
    arms: tuple[Arm, ...] = ()
    sticky: Sticky = "user"
    share: float = 1.0
    concurrency: int = 4
    billed: Billed = "operator"
    guard: Guard = Guard()
    description: str | None = None
    created_ms: int = 0

    @property
    def run(self) -> str:
        """What its figures are kept under: another definition is another run."""
        said = msgspec.json.encode(_said(msgspec.structs.replace(self, description=None)), order="sorted")
        return f"{self.name}:{hashlib.sha256(said).hexdigest()[:12]}"


def _said(value: object) -> object:
    """What differs from the defaults: the same wherever it was read from, and after fields were added."""
    if isinstance(value, tuple):
        return [_said(each) for each in value]
    if not isinstance(value, msgspec.Struct):
        return value
    fields = {
        f.name: getattr(value, f.name) for f in msgspec.structs.fields(type(value)) if not _usual(value, f)
    }
    return {name: _said(each) for name, each in fields.items()}


def _usual(value: msgspec.Struct, field: msgspec.structs.FieldInfo) -> bool:
    found = getattr(value, field.name)
    return found == {} if field.default_factory is dict else bool(found == field.default)


class Ending(msgspec.Struct, frozen=True, kw_only=True):
    """That a run is over. ``by``: ``operator`` or ``guard``."""

    ended_ms: int
    by: Literal["operator", "guard"]
    reason: str
