"""What a check is, and what it says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from llm_router.conformance.api import message_of
from llm_router.conformance.transport import Reply

if TYPE_CHECKING:
    from llm_router.conformance.target import Target

SHOWN = 240
"""Characters of what was got that are shown."""


LIMIT_SMALL = 16
"""Output tokens of a request that is to be cut; no API takes fewer everywhere."""

LOSSES = "x-llm-router-losses"
"""Where LLM Router declares what the model's provider has no word for; others have no such header."""

LOSABLE: dict[str, frozenset[str]] = {
    "stop sequences": frozenset({"stop", "stop_sequences", "stopSequences"}),
    "n": frozenset({"n"}),
    "logprobs": frozenset({"logprobs", "top_logprobs"}),
    "parallel_tool_calls": frozenset({"parallel_tool_calls"}),
    "tools": frozenset({"tools", "tool_choice"}),
    "tool_choice required": frozenset({"tool_choice"}),
    "legacy functions": frozenset({"function_call", "functions", "tool_choice"}),
    "response_format json_object": frozenset({"response_format"}),
    "response_format json_schema": frozenset({"response_format"}),
    "JSON": frozenset({"response_format"}),
    "schemas": frozenset({"response_format", "text"}),
}
"""What a feature is called there. A check of it that fails is then a skip, since the loss was declared."""


class Severity(StrEnum):
    """How much a failure matters. ``must``: clients break. ``should``: clients are worse off."""

    MUST = "must"
    SHOULD = "should"


class Verdict(StrEnum):
    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"


class Failed(Exception):
    """The target is wrong: what was expected, what it did, and the reply that shows it."""

    def __init__(self, expected: str, got: str, reply: Reply | None = None) -> None:
        super().__init__(f"expected {expected}, got {got}")
        self.expected, self.got, self.reply = expected, got, reply


class Skipped(Exception):
    """Nothing can be said: the target does not offer what the check is about."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """One check.

    Attributes:
        id: ``api.group.name``, stable over versions.
        title: what must be so, in the present tense.
        why: what breaks otherwise.
        source: where it is written.
    """

    id: str
    api: str
    group: str
    title: str
    why: str
    source: str
    severity: Severity
    run: Callable[[Case], None]


class Case:
    """A check at work: it asks, it expects, it fails or skips by raising.

    Attributes:
        last: the reply that was looked at last.
        lost: what the target declared that it cannot do; a failure is a skip then.
    """

    def __init__(self, target: Target) -> None:
        self.target = target
        self.last: Reply | None = None
        self.lost = ""

    # asking

    def ask(self, api: str, body: object, *, stream: bool = False, **options: Any) -> Reply:
        """Send a request and read its whole reply; the same request is sent once only.

        Args:
            options: see :meth:`~llm_router.conformance.target.Target.ask`.
        """
        self.last = self.target.ask(api, body, stream=stream, **options)
        return self.last

    def answer(self, api: str, body: object, *, stream: bool = False, feature: str = "") -> Reply:
        """The same, of a request that must succeed. With ``feature``, a refusal is a skip.

        Raises:
            Failed: it did not succeed.
            Skipped: the target does not offer the feature.
        """
        reply = self.ask(api, body, stream=stream)
        if reply.ok:
            lost = {entry.strip().partition(".")[0] for entry in (reply.header(LOSSES) or "").split(",")}
            if lost & LOSABLE.get(feature, frozenset()):
                self.lost = f"the target declares that it loses {feature} with this model"
            return reply
        said = f"{reply.status} {brief(message_of(reply) or reply.text)}"
        if feature and reply.status in (400, 403, 404, 405, 415, 422, 501):
            raise Skipped(f"the target refuses {feature}: {said}")
        raise Failed("a successful reply", said, reply)

    # judging

    def expect(self, truth: object, expected: str, got: object, reply: Reply | None = None) -> None:
        if not truth:
            raise Failed(expected, brief(got) if isinstance(got, str) else show(got), reply or self.last)

    def equal(self, what: str, got: object, expected: object) -> None:
        same = got == expected and type(got) is type(expected)
        self.expect(same, f"{what} {show(expected)}", show(got))

    def one_of(self, what: str, got: object, allowed: Sequence[object]) -> None:
        self.expect(got in allowed, f"{what} one of {', '.join(map(show, allowed))}", show(got))

    def text(self, what: str, got: object) -> str:
        self.expect(isinstance(got, str) and got, f"{what} to be a string that is not empty", got)
        return str(got)

    def count(self, what: str, got: object) -> int:
        whole = isinstance(got, int) and not isinstance(got, bool) and got >= 0
        self.expect(whole, f"{what} to be a whole number from 0 on", got)
        assert isinstance(got, int)
        return got

    def limited(self, tokens: object) -> None:
        """Skip if the model came to an end by itself before ``LIMIT_SMALL``.

        Raises:
            Skipped: it did.
        """
        if isinstance(tokens, int) and tokens < LIMIT_SMALL - 2:
            raise Skipped("the model came to an end before the limit")

    def skip(self, why: str) -> None:
        raise Skipped(why)

    def skip_unless(self, truth: object, why: str) -> None:
        if not truth:
            raise Skipped(why)


def show(value: object) -> str:
    import json

    try:
        return brief(json.dumps(value, ensure_ascii=False))
    except (TypeError, ValueError):
        return brief(repr(value))


def brief(text: str) -> str:
    """One short line, safe for a terminal."""
    line = "".join(c if c.isprintable() else "?" for c in " ".join(text.split()))
    return line if len(line) <= SHOWN else f"{line[:SHOWN]}..."


class Suite:
    """The checks of one API and group, in the order in which they are declared."""

    def __init__(self, api: str, group: str, source: str) -> None:
        self._api, self._group, self._source = api, group, source
        self._checks: list[Check] = []

    def check(
        self, name: str, title: str, why: str, *, should: bool = False, source: str | None = None
    ) -> Callable[[Callable[[Case], None]], Callable[[Case], None]]:
        """Declare the decorated function as a check."""

        def declare(run: Callable[[Case], None]) -> Callable[[Case], None]:
            self.add(name, title, why, run, should=should, source=source)
            return run

        return declare

    def add(
        self,
        name: str,
        title: str,
        why: str,
        run: Callable[[Case], None],
        *,
        should: bool = False,
        source: str | None = None,
    ) -> None:
        self._checks.append(
            Check(
                id=f"{self._api}.{self._group}.{name}",
                api=self._api,
                group=self._group,
                title=title,
                why=why,
                source=source or self._source,
                severity=Severity.SHOULD if should else Severity.MUST,
                run=run,
            )
        )

    @property
    def checks(self) -> tuple[Check, ...]:
        return tuple(self._checks)
