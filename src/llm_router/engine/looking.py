"""The operator's look into the log of an account."""

from __future__ import annotations

from llm_router.billing.search import Filter
from llm_router.domain.errors import InvalidRequest
from llm_router.engine.logs import page_of_log
from llm_router.engine.operator import DEFAULT_ACCOUNT, Arguments, Context, Result, account_name
from llm_router.engine.receipting import papers_of

LIMIT_MAX = 200


class ListExchanges(Arguments, frozen=True, kw_only=True):
    """``exchanges.list``: the newest first. ``after``: the ``next`` of the page before; times are ISO 8601."""

    account: str = DEFAULT_ACCOUNT
    key: str | None = None
    team: str | None = None
    user: str | None = None
    model: str | None = None
    provider: str | None = None
    tag: str | None = None
    session: str | None = None
    failed: bool | None = None
    from_: str = "1970-01-01"
    to: str | None = None
    after: str | None = None
    limit: int = 50


async def list_exchanges(arguments: ListExchanges, context: Context) -> Result:
    """A page of an account's exchanges.

    Raises:
        InvalidRequest: an argument is out of its range.
    """
    if not 1 <= arguments.limit <= LIMIT_MAX:
        raise InvalidRequest(f"limit must be from 1 to {LIMIT_MAX}", param="limit")
    wanted = Filter(
        key=arguments.key,
        team=arguments.team,
        user=arguments.user,
        model=arguments.model,
        provider=arguments.provider,
        tag=arguments.tag,
        session=arguments.session,
        failed=arguments.failed,
    )
    papers = papers_of(context)
    span = papers.reports.span(arguments.from_, arguments.to)
    account = account_name(arguments.account)
    return await page_of_log(papers.books, account, wanted, span, arguments.after, arguments.limit)
