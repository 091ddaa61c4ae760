"""The operator's commands on what was used."""

from __future__ import annotations

from llm_router.engine.operator import Arguments, Context, Result, account_name
from llm_router.engine.receipting import papers_of
from llm_router.engine.reports import Place


class ShowUsage(Arguments, frozen=True, kw_only=True):
    """``usage.show``. ``account`` None is all of them; times are ISO 8601, ``to`` is no part of it."""

    by: tuple[str, ...] = ("model",)
    account: str | None = None
    from_: str | None = None
    to: str | None = None


class ExportUsage(Arguments, frozen=True, kw_only=True):
    """``usage.export``: one page, behind the exchange ``after``."""

    account: str | None = None
    from_: str | None = None
    to: str | None = None
    after: Place | None = None


async def show_usage(arguments: ShowUsage, context: Context) -> Result:
    """Sums of what was used."""
    reports = papers_of(context).reports
    account = None if arguments.account is None else account_name(arguments.account)
    span = reports.span(arguments.from_, arguments.to)
    return await reports.summary(span, arguments.by, account, operator=True)


async def export_usage(arguments: ExportUsage, context: Context) -> Result:
    """A page of exchanges. ``next`` is the ``after`` of the following page, None at the end."""
    reports = papers_of(context).reports
    account = None if arguments.account is None else account_name(arguments.account)
    span = reports.span(arguments.from_, arguments.to)
    rows, after = await reports.page(span, account, arguments.after, operator=True)
    return {"rows": rows, "next": after}
