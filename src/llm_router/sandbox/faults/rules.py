"""Which request is struck by which fault: rules with patterns, shares, counts and times."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase

import msgspec

from llm_router.sandbox.faults.kind import Kind, Options

Patterns = tuple[str, ...]


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """One ``[[fault]]`` of a file. All that it says must hold; what it does not say always holds.

    Attributes:
        kinds: committed in turn.
        providers, models, deployments, dialects: glob patterns; empty are all.
        stream: only streamed requests, or only others; None is both.
        share: the part of the requests that is struck, from 0 to 1.
        every: only each such request; first: only so many, counted among those that match.
        from_s, to_s: since the start.
    """

    kinds: tuple[Kind, ...]
    options: Options = Options()
    providers: Patterns = ()
    models: Patterns = ()
    deployments: Patterns = ()
    dialects: Patterns = ()
    stream: bool | None = None
    share: float = 1.0
    every: int = 1
    first: int | None = None
    from_s: float = 0.0
    to_s: float = float("inf")

    @property
    def is_door(self) -> bool:
        """It is no matter of single requests: nobody listens."""
        return self.kinds[0].door


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """A request at a simulated provider.

    Attributes:
        provider: as ``/at/NAME`` says it, else the form's name.
        dialect: by its name and its form's.
        models, deployments: all names that they have.
    """

    provider: str
    dialect: tuple[str, ...]
    models: tuple[str, ...]
    deployments: tuple[str, ...]
    stream: bool


Known = Callable[[str, str], Iterable[tuple[str, str]]]
"""The gateway's models and deployments by provider and the provider's name of the model."""


class Faults:
    """The rules of a running sandbox, with what they have counted.

    Shares are drawn with ``seed``: the same requests in the same order are struck alike.
    """

    def __init__(self, rules: Iterable[Rule], *, seed: int = 0, known: Known | None = None) -> None:
        self.rules = tuple(rules)
        self.known = known
        self._struck = [rule for rule in self.rules if not rule.is_door]
        self._seen = [0] * len(self._struck)
        self._hits = [0] * len(self._struck)
        self._dice = [random.Random(f"{seed} {at}") for at in range(len(self._struck))]  # noqa: S311

    @property
    def doors(self) -> tuple[Rule, ...]:
        """The rules by which nobody listens."""
        return tuple(rule for rule in self.rules if rule.is_door)

    def strike(self, target: Target, now_s: float) -> tuple[Kind, Options] | None:
        """What the request is struck by: the first rule that holds. Counts the request."""
        found: tuple[Kind, Options] | None = None
        for at, rule in enumerate(self._struck):
            if found is not None or not (rule.from_s <= now_s < rule.to_s) or not matches(rule, target):
                continue
            self._seen[at] += 1
            if rule.first is not None and self._hits[at] >= rule.first:
                continue
            if self._seen[at] % rule.every or self._dice[at].random() >= rule.share:
                continue
            kind = rule.kinds[self._hits[at] % len(rule.kinds)]
            self._hits[at] += 1
            if kind.streams if target.stream else kind.wholes:
                found = kind, rule.options
        return found


def matches(rule: Rule, target: Target) -> bool:
    """Whether the patterns of a rule take a request."""
    if rule.stream is not None and rule.stream is not target.stream:
        return False
    return (
        _any(rule.providers, (target.provider,))
        and _any(rule.models, target.models)
        and _any(rule.deployments, target.deployments)
        and _any(rule.dialects, target.dialect)
    )


def _any(patterns: Patterns, names: Iterable[str]) -> bool:
    return not patterns or any(fnmatchcase(name, p) for name in names for p in patterns)
