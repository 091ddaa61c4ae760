"""A run's outcome as text for people, and as JSON for programs. The key is in neither."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby

from llm_router.conformance.case import Check, Severity, Verdict, brief
from llm_router.conformance.catalog import TITLES
from llm_router.conformance.runner import Report, Result
from llm_router.conformance.transport import Request

BODY_SHOWN = 1200
"""Characters of a body that a curl line shows."""

Paint = Callable[[str, str], str]
"""Text in a style: ``(style, text)``."""

_MARKS = {Verdict.PASSED: ("green", "✓"), Verdict.FAILED: ("red", "✗"), Verdict.SKIPPED: ("yellow", "-")}
_CODES = {"green": "32", "red": "31", "yellow": "33", "bold": "1", "dim": "2", "cyan": "36"}


def plain(style: str, text: str) -> str:
    return text


def coloured(style: str, text: str) -> str:
    return f"\x1b[{_CODES[style]}m{text}\x1b[0m"


def render(report: Report, *, colour: bool, verbose: bool = False) -> str:
    """The report for people.

    Args:
        verbose: name every check, not only those that failed.
    """
    paint: Paint = coloured if colour else plain
    lines = [*_head(report, paint), *_groups(report, paint, verbose)]
    lines += [*_failures(report, paint), *_skips(report, paint), *_foot(report, paint)]
    return hide("\n".join(lines), report.key)


def hide(text: str, key: str) -> str:
    """The text without the key."""
    return text.replace(key, "$KEY") if key else text


def _head(report: Report, paint: Paint) -> Iterator[str]:
    yield ""
    yield paint("bold", f"Conformance of {report.origin}")
    yield ""
    for api, model in report.models.items():
        yield f"  {api.ljust(12)}{brief(model)}"
    for api, why in report.missing.items():
        yield f"  {api.ljust(12)}{paint('yellow', 'not checked')}: {why}"


def _groups(report: Report, paint: Paint, verbose: bool) -> Iterator[str]:
    for api, of_api in groupby(report.results, key=lambda result: result.check.api):
        results = list(of_api)
        if api in report.missing and all(r.verdict is Verdict.SKIPPED for r in results):
            continue
        yield ""
        yield paint("bold", TITLES[api])
        for group, found in groupby(results, key=lambda result: result.check.group):
            yield from _group(group, list(found), paint, verbose)


def _group(name: str, results: Sequence[Result], paint: Paint, verbose: bool) -> Iterator[str]:
    passed = sum(r.verdict is Verdict.PASSED for r in results)
    failed = sum(r.verdict is Verdict.FAILED for r in results)
    skipped = len(results) - passed - failed
    style, mark = _MARKS[Verdict.FAILED if failed else Verdict.PASSED if passed else Verdict.SKIPPED]
    counts = f"{passed:>4} of {passed + failed:<4}" if passed + failed else " " * 12
    more = f"  {paint('red', f'{failed} failed')}" if failed else ""
    more += f"  {paint('yellow', f'{skipped} skipped')}" if skipped else ""
    yield f"  {paint(style, mark)} {name.ljust(14)}{counts}{more}".rstrip()
    if verbose:
        for result in results:
            style, mark = _MARKS[result.verdict]
            yield f"      {paint(style, mark)} {result.check.id.ljust(38)} {paint('dim', result.check.title)}"


def _failures(report: Report, paint: Paint) -> Iterator[str]:
    failures = [result for result in report.results if result.verdict is Verdict.FAILED]
    if failures:
        yield ""
        yield paint("bold", "Failed")
    for result in failures:
        check = result.check
        weight = "" if check.severity is Severity.MUST else paint("dim", " (should)")
        yield ""
        yield f"  {paint('red', '✗')} {paint('bold', check.id)}{weight}  {check.title}"
        yield f"      expected  {result.expected}"
        yield f"      got       {result.got}"
        yield f"      why       {check.why}"
        yield f"      source    {check.source}"
        if result.reply is not None:
            yield f"      request   {paint('cyan', curl(report, result.reply.request))}"


def _skips(report: Report, paint: Paint) -> Iterator[str]:
    skips = [
        result
        for result in report.results
        if result.verdict is Verdict.SKIPPED and result.check.api not in report.missing
    ]
    if skips:
        yield ""
        yield paint("bold", "Skipped")
    for why, found in groupby(sorted(skips, key=lambda r: r.why), key=lambda result: result.why):
        yield f"  {paint('yellow', '-')} {why}"
        for result in found:
            yield f"      {result.check.id}"


def _foot(report: Report, paint: Paint) -> Iterator[str]:
    passed, failed = report.count(Verdict.PASSED), report.count(Verdict.FAILED)
    score = "nothing to judge" if report.score is None else f"{_percent(report)} %"
    style = "red" if failed or report.score is None else "green"
    yield ""
    yield paint(style, paint("bold", f"Score {score}")) + (
        f"  {passed} passed, {failed} failed, {report.count(Verdict.SKIPPED)} skipped"
    )
    yield paint("dim", _spent(report))
    yield ""


def _percent(report: Report) -> str:
    """Rounded down, so that 100 says that nothing failed."""
    passed, failed = report.count(Verdict.PASSED), report.count(Verdict.FAILED)
    tenths = passed * 1000 // (passed + failed)
    return str(tenths // 10) if tenths % 10 == 0 else f"{tenths // 10}.{tenths % 10}"


def _spent(report: Report) -> str:
    spent = report.spent
    cost = f", cost ${spent.cost_usd}" if spent.cost_usd is not None else ""
    tokens = f"{spent.input_tokens} input and {spent.output_tokens} output tokens"
    return f"{spent.requests} requests in {report.duration_us / 1e6:.1f} s, {tokens}{cost}"


def curl(report: Report, request: Request) -> str:
    """The request as a command line, with ``$KEY`` in place of the key."""
    words = ["curl", "-X", request.method] if request.method != "GET" else ["curl"]
    words.append(_quote(report.origin.removesuffix(_prefix(report)) + request.path, report.key))
    for name, value in request.headers:
        if name.lower() not in ("user-agent", "accept", "connection"):
            words += ["-H", _quote(f"{name}: {value}", report.key)]
    if request.body is not None:
        text = request.body[:BODY_SHOWN].decode("utf-8", "replace")
        cut = "" if len(request.body) <= BODY_SHOWN else f" # cut: the body has {len(request.body)} bytes"
        words += ["--data-raw", _quote(text, report.key) + cut]
    return " ".join(words)


def _prefix(report: Report) -> str:
    _, _, rest = report.origin.partition("://")
    return rest[rest.find("/") :] if "/" in rest else ""


def _quote(text: str, key: str) -> str:
    """In single quotes; the key's place is left open for the shell's variable."""
    quoted = "'" + text.replace("'", "'\\''") + "'"
    return quoted.replace(key, "'\"$KEY\"'") if key else quoted


def as_json(report: Report) -> str:
    """The report for programs. Members are only added, never renamed."""
    value = {
        "target": report.origin,
        "models": dict(report.models),
        "not_checked": dict(report.missing),
        "score": report.score,
        "passed": report.count(Verdict.PASSED),
        "failed": report.count(Verdict.FAILED),
        "skipped": report.count(Verdict.SKIPPED),
        "requests": report.spent.requests,
        "input_tokens": report.spent.input_tokens,
        "output_tokens": report.spent.output_tokens,
        "cost_usd": report.spent.cost_usd,
        "duration_s": round(report.duration_us / 1e6, 3),
        "checks": [_entry(report, result) for result in report.results],
    }
    return hide(json.dumps(value, indent=2, ensure_ascii=False), report.key)


def _entry(report: Report, result: Result) -> dict[str, object]:
    entry: dict[str, object] = {**describe(result.check), "verdict": result.verdict.value}
    if result.verdict is Verdict.SKIPPED:
        entry["reason"] = result.why
    if result.verdict is Verdict.FAILED:
        entry |= {"expected": result.expected, "got": result.got}
        entry["curl"] = None if result.reply is None else curl(report, result.reply.request)
    return entry


def describe(check: Check) -> dict[str, object]:
    """What a check is, for lists."""
    return {
        "id": check.id, "api": check.api, "group": check.group, "title": check.title,
        "why": check.why, "source": check.source, "severity": check.severity.value,
    }  # fmt: skip
