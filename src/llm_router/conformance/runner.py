"""Run the checks: a few at a time, each with its verdict."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fnmatch import fnmatchcase

from llm_router.conformance.case import Case, Check, Failed, Skipped, Verdict, brief
from llm_router.conformance.catalog import ALL_CHECKS, APIS, HTTP
from llm_router.conformance.choose import Missing, choose, offered
from llm_router.conformance.target import Spent, Target
from llm_router.conformance.transport import Clock, NoReply, Reply

UNREADABLE = (LookupError, TypeError, ValueError, AttributeError, RecursionError)
"""What reading a reply raises that has another shape than every known one."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """What is to be checked.

    Attributes:
        apis: those named; None: all that the target offers.
        models: by API.
        only: patterns of check ids; empty: all.
        concurrency: checks at the same time.
    """

    base_url: str
    key: str
    apis: tuple[str, ...] | None = None
    models: Mapping[str, str]
    only: tuple[str, ...] = ()
    concurrency: int = 4
    timeout_s: float = 60.0


@dataclass(frozen=True, kw_only=True)
class Result:
    """A check's verdict. ``reply`` is what shows a failure; ``why`` says why it was skipped."""

    check: Check
    verdict: Verdict
    expected: str = ""
    got: str = ""
    why: str = ""
    reply: Reply | None = None


@dataclass(frozen=True, kw_only=True)
class Report:
    """A run's outcome. ``missing``: APIs that could not be checked, and why."""

    base_url: str
    key: str
    origin: str
    models: Mapping[str, str]
    missing: Mapping[str, str]
    results: tuple[Result, ...]
    spent: Spent
    duration_us: int

    def count(self, verdict: Verdict) -> int:
        return sum(result.verdict is verdict for result in self.results)

    @property
    def score(self) -> float | None:
        """Passed of those that could be judged; None where none could be."""
        passed, failed = self.count(Verdict.PASSED), self.count(Verdict.FAILED)
        return passed / (passed + failed) if passed + failed else None


def select(apis: Sequence[str], only: Sequence[str]) -> tuple[Check, ...]:
    """The checks of these APIs whose id matches one of the patterns."""
    wanted = {*apis, HTTP}
    return tuple(
        check
        for check in ALL_CHECKS
        if check.api in wanted and (not only or any(fnmatchcase(check.id, pattern) for pattern in only))
    )


def run(
    options: Options,
    *,
    clock: Clock,
    sleep: Callable[[float], None],
    environ: Mapping[str, str],
    progress: Callable[[Result], None] | None = None,
) -> Report:
    """Run the checks against a target.

    Args:
        clock: monotonic microseconds.
        progress: called with each result as it comes, from one thread at a time.

    Raises:
        Unreachable: nobody answers, or no model can be chosen.
    """
    started_us = clock()
    apis = options.apis or tuple(APIS)
    target = Target(
        options.base_url, options.key, models=dict(options.models), timeout_s=options.timeout_s,
        clock=clock, sleep=sleep, environ=dict(environ),
    )  # fmt: skip
    checks = select(apis, options.only)
    used = [api for api in apis if any(check.api in (api, HTTP) for check in checks)]
    choose(target, used)
    missing = {api: found for api in used if (found := offered(target, api)) is not None}
    target.apis = tuple(api for api in used if api not in missing)
    target.first = next(iter(target.apis), used[0])
    lock = threading.Lock()

    def judge(check: Check) -> Result:
        api = target.first if check.api == HTTP else check.api
        result = _judge(check, target, missing.get(api), named=options.apis is not None)
        if progress is not None:
            with lock:
                progress(result)
        return result

    with ThreadPoolExecutor(options.concurrency) as pool:
        results = tuple(pool.map(judge, checks))
    return Report(
        base_url=options.base_url, key=options.key, origin=target.origin + target.prefix,
        models={api: target.models[api] for api in used if api not in missing},
        missing={api: found.why for api, found in missing.items()},
        results=results, spent=target.spent, duration_us=clock() - started_us,
    )  # fmt: skip


def _judge(check: Check, target: Target, missing: Missing | None, *, named: bool) -> Result:
    """An API that was asked for by name must be there; any other may be absent, but not broken."""
    if missing is not None:
        offers = check.id.endswith(".basics.offered")
        if not offers or (missing.absent and not named):
            return Result(check=check, verdict=Verdict.SKIPPED, why=missing.why)
    case = Case(target)
    try:
        check.run(case)
    except Skipped as skipped:
        return Result(check=check, verdict=Verdict.SKIPPED, why=str(skipped))
    except Failed as failed:
        if case.lost:
            return Result(check=check, verdict=Verdict.SKIPPED, why=case.lost)
        return Result(
            check=check, verdict=Verdict.FAILED, expected=failed.expected, got=failed.got,
            reply=failed.reply or case.last,
        )  # fmt: skip
    except NoReply as error:
        return Result(
            check=check, verdict=Verdict.FAILED, expected="a reply", got=str(error), reply=case.last
        )
    except UNREADABLE as error:  # a check reads what it was not told to expect otherwise
        shown = brief(case.last.text) if case.last is not None else ""
        return Result(
            check=check, verdict=Verdict.FAILED, expected="a reply of the usual shape",
            got=f"{type(error).__name__} {error} in {shown}", reply=case.last,
        )  # fmt: skip
    return Result(check=check, verdict=Verdict.PASSED)
