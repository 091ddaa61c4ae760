"""Whom the rules of faults name: told in words, and checked against what there is."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from difflib import get_close_matches
from fnmatch import fnmatchcase

from llm_router.catalog.snapshot import Snapshot
from llm_router.sandbox.faults.rules import Rule
from llm_router.settings.problems import ConfigError

KINDS_SHOWN = 4


def told(rule: Rule) -> str:
    """A rule in one line, for people."""
    names = [kind.name for kind in rule.kinds]
    more = f" and {len(names) - KINDS_SHOWN} more" if len(names) > KINDS_SHOWN else ""
    words = [", ".join(names[:KINDS_SHOWN]) + more]
    words += [
        f"{what} {', '.join(patterns)}"
        for what, patterns in (
            ("provider", rule.providers),
            ("model", rule.models),
            ("deployment", rule.deployments),
            ("dialect", rule.dialects),
        )
        if patterns
    ]
    if not (rule.providers or rule.models or rule.deployments or rule.dialects):
        words.append("all providers")
    if rule.stream is not None:
        words.append("streams only" if rule.stream else "whole answers only")
    if rule.share < 1:
        words.append(f"{rule.share:.0%} of the requests")
    if rule.every > 1:
        words.append(f"one in {rule.every}")
    if rule.first is not None:
        words.append(f"the first {rule.first}")
    if rule.from_s > 0 or rule.to_s != float("inf"):
        words.append(
            f"from {rule.from_s:g} s" + ("" if rule.to_s == float("inf") else f" to {rule.to_s:g} s")
        )
    return "; ".join(words)


def check_names(rules: Iterable[Rule], named: str, snapshot: Snapshot) -> None:
    """Refuse patterns that fit nothing of a gateway.

    Raises:
        ConfigError: each with the nearest that there is.
    """
    deployments = [d for model in snapshot.models.values() for d in model.deployments]
    models = {*snapshot.models, *(name for d in deployments for name in d.names)}
    problems = [
        f"{named}: fault {number}: {problem}"
        for number, rule in enumerate(rules, 1)
        for what, patterns, known in (
            ("provider", rule.providers, snapshot.providers),
            ("model", rule.models, models),
            ("deployment", rule.deployments, {d.id for d in deployments}),
        )
        for problem in _unfit(what, patterns, known)
    ]
    if problems:
        raise ConfigError(tuple(problems))


def _unfit(what: str, patterns: Iterable[str], known: Collection[str]) -> Iterable[str]:
    for pattern in patterns:
        if pattern in known or any(fnmatchcase(name, pattern) for name in known):
            continue
        near = get_close_matches(pattern, known, 3)
        yield f"there is no {what} {pattern!r}" + (f"; nearest: {', '.join(near)}" if near else "")
