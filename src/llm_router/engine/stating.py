"""The operator's commands on statements."""

from __future__ import annotations

import asyncio

import msgspec

from llm_router.billing.statements import Statement
from llm_router.domain.errors import InvalidRequest, NotFound
from llm_router.engine.operator import (
    DEFAULT_ACCOUNT,
    Arguments,
    Context,
    Result,
    account_name,
    check_account,
)
from llm_router.engine.receipting import papers_of
from llm_router.engine.statements import OUT_OF_ORDER


class ShowStatement(Arguments, frozen=True, kw_only=True):
    """``statements.show``: a month (``2026-11``) as issued, else as it stands now."""

    month: str
    account: str = DEFAULT_ACCOUNT


class IssueStatements(Arguments, frozen=True, kw_only=True):
    """``statements.issue``. ``account`` None is every account with something in its books."""

    month: str
    account: str | None = None


class ListStatements(Arguments, frozen=True, kw_only=True):
    """``statements.list``."""

    account: str = DEFAULT_ACCOUNT


async def show_statement(arguments: ShowStatement, context: Context) -> Result:
    """One statement, with amounts in picodollars.

    Raises:
        NotFound: there is no such account.
    """
    statements, account = papers_of(context).statements, account_name(arguments.account)
    await check_account(account, context)
    shown = await statements.show(account, arguments.month)
    return {"statement": msgspec.to_builtins(shown)}


async def issue_statements(arguments: IssueStatements, context: Context) -> Result:
    """Issue a month of one account, or of all that have anything in their books and can have it issued."""
    statements = papers_of(context).statements
    if arguments.account is not None:
        made = await statements.issue(account_name(arguments.account), arguments.month)
        return {"statements": [await _issued_row(made)], "skipped": []}
    rows: list[dict[str, object]] = []
    skipped: list[dict[str, object]] = []
    if context.treasury is None:
        raise InvalidRequest(
            "name the account: the store of this gateway does not list them", param="account"
        )
    for account, _, _ in await context.treasury.books.accounts():
        try:
            rows.append(await _issued_row(await statements.issue(account, arguments.month)))
        except NotFound:
            pass  # nothing in its books yet
        except InvalidRequest as error:
            if error.code != OUT_OF_ORDER:
                raise
            skipped.append({"account": account, "why": error.message})
    return {"statements": rows, "skipped": skipped}


async def list_statements(arguments: ListStatements, context: Context) -> Result:
    """What was issued for an account."""
    issued = await papers_of(context).statements.issued(account_name(arguments.account))
    return {"statements": [_row(statement) for statement in issued]}


async def _issued_row(statement: Statement) -> dict[str, object]:
    """What was issued, and why it cannot be a PDF here, if it cannot."""
    from llm_router.engine.statement_pdf import pdf_doubt

    return {**_row(statement), "pdf_doubt": await asyncio.to_thread(pdf_doubt, statement)}


def _row(statement: Statement) -> dict[str, object]:
    return {
        "account": statement.account,
        "month": statement.month,
        "number": statement.number,
        "issued_ms": statement.issued_ms,
        "used_pusd": statement.charged_pusd,
        "closing_pusd": statement.closing_pusd,
    }
