"""The operator's commands on receipts."""

from __future__ import annotations

from llm_router.domain.errors import InvalidRequest
from llm_router.engine.operator import (
    DEFAULT_ACCOUNT,
    Arguments,
    Context,
    Nothing,
    Result,
    account_name,
    check_account,
)
from llm_router.engine.papers import Papers

PAGE_MAX = 1000


class ExportReceipts(Arguments, frozen=True, kw_only=True):
    """``receipts.export``: one page of them, behind the number ``after``."""

    account: str = DEFAULT_ACCOUNT
    after: int = 0


def papers_of(context: Context) -> Papers:
    """
    Raises:
        InvalidRequest: the store has no room for papers.
    """
    if context.papers is None:
        raise InvalidRequest("the store of this gateway issues no papers")
    return context.papers


async def export_receipts(arguments: ExportReceipts, context: Context) -> Result:
    """A page of an account's receipts. ``next`` is the ``after`` of the following page, None at the end.

    Raises:
        NotFound: there is no such account.
    """
    account = account_name(arguments.account)
    await check_account(account, context)
    if arguments.after < 0:
        raise InvalidRequest("after must be 0 or more", param="after")
    page = await papers_of(context).receipts.page(account, arguments.after, PAGE_MAX)
    return {"receipts": page["data"], "next": page["last_number"] if page["has_more"] else None}


async def receipt_keys(arguments: Nothing, context: Context) -> Result:
    """The public keys that verify receipts."""
    return papers_of(context).receipts.keys()


async def rotate_keys(arguments: Nothing, context: Context) -> Result:
    """Sign with a new key from now on."""
    signer = papers_of(context).receipts.signer
    id_ = signer.rotate()
    return {"id": id_, "keys": len(signer.public())}
