"""The operator's command that lists what providers were asked for, to be compared with what they bill."""

from __future__ import annotations

from collections.abc import Iterator

from llm_router.domain.record import AttemptRecord, ExchangeRecord
from llm_router.domain.usage import Provenance
from llm_router.engine.operator import Arguments, Context, Result
from llm_router.engine.receipting import papers_of
from llm_router.engine.reports import Place

UNSETTLED_MAX = 10_000


class ListAttempts(Arguments, frozen=True, kw_only=True):
    """``reconcile.attempts``: a page of them, of some providers, of exchanges admitted in [from_, to)."""

    providers: tuple[str, ...]
    from_: str
    to: str
    after: Place | None = None


async def list_attempts(arguments: ListAttempts, context: Context) -> Result:
    """Attempts that a provider may bill to the operator, and with the first page what nobody settled."""
    papers = papers_of(context)
    span = papers.reports.span(arguments.from_, arguments.to)
    records, after = await papers.reports.records(span, None, arguments.after)
    rows = [row for record in records for row in _rows(record, frozenset(arguments.providers))]
    lost: list[dict[str, object]] = []
    if arguments.after is None:
        names = tuple(f"{provider}/" for provider in arguments.providers)
        lost = [
            {"id": one.id, "at_ms": one.created_ms, "price_version": one.price_version}
            for one in await papers.books.unsettled(*span, UNSETTLED_MAX)
            if one.price_version.startswith(names)
        ]
    return {"attempts": rows, "unsettled": lost, "next": after}


def _rows(record: ExchangeRecord, providers: frozenset[str]) -> Iterator[dict[str, object]]:
    for place, attempt in enumerate(record.attempts):
        if attempt.provider in providers and not attempt.byok:  # that of an account's own key is not ours
            row = _row(record, attempt, last=place == len(record.attempts) - 1)
            if row is not None:
                yield row


def _row(record: ExchangeRecord, attempt: AttemptRecord, *, last: bool) -> dict[str, object] | None:
    """None for what no provider bills: it refused, or did not answer."""
    usage = attempt.usage
    estimated = False
    if usage is None and last and record.usage.provenance is not Provenance.NONE:
        usage = record.usage
        estimated = usage.provenance is not Provenance.REPORTED
    unknown = usage is None and attempt.outcome in ("aborted", "outrun", "unknown")
    if usage is None and not unknown and attempt.outcome != "delivered":
        return None
    return {
        "id": attempt.upstream_id,
        "exchange": record.id,
        "at_ms": attempt.started_ms,
        "model": attempt.upstream_model,
        "input_tokens": None if usage is None else usage.prompt_tokens,
        "output_tokens": None if usage is None else usage.completion_tokens,
        "cost_pusd": attempt.operator_cost_pusd,
        "estimated": estimated,
        "unknown": unknown,
    }
