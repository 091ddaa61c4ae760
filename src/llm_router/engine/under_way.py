"""The exchanges that run now, in all processes: who watches sees them, and may end one."""

from __future__ import annotations

from llm_router.domain.errors import InvalidRequest, NotFound
from llm_router.engine.moments import iso_time
from llm_router.engine.operator import Arguments, Context, Result, account_name
from llm_router.engine.tracks import Track


class ListUnderWay(Arguments, frozen=True, kw_only=True):
    """``requests.list``. ``account`` None is all of them."""

    account: str | None = None


class EndOne(Arguments, frozen=True, kw_only=True):
    """``requests.end``. ``id``: of the exchange; ``account``: whose it must be, None: anybody's."""

    id: str
    account: str | None = None


def shown(track: Track, now_ms: int) -> dict[str, object]:
    """An exchange under way, as it is told between processes."""
    key, candidate = track.key, track.candidate
    return {
        "id": track.id,
        "account": None if key is None else key.account,
        "key": None if key is None else key.id,
        "key_name": None if key is None else key.name,
        "asked_model": track.asked_model,
        "model": None if candidate is None else candidate.deployment.model,
        "provider": None if candidate is None else candidate.provider.id,
        "stream": track.inspected is not None and track.inspected.stream,
        "begun": iso_time(track.created_ms),
        "running_ms": max(0, now_ms - track.created_ms),
        "first_token_ms": track.first_token_ms,
        "answering": track.content_sent,
    }


async def list_under_way(arguments: ListUnderWay, context: Context) -> Result:
    """Requests that are being answered, the longest first.

    Raises:
        InvalidRequest: no gateway runs.
    """
    if context.under_way is None:
        raise _nobody()
    account = None if arguments.account is None else account_name(arguments.account)
    rows = [row for process in await context.under_way() for row in process]
    wanted = [row for row in rows if account is None or row["account"] == account]
    return {"requests": sorted(wanted, key=lambda row: str(row["begun"]))}


async def end_one(arguments: EndOne, context: Context) -> Result:
    """End a request: its client gets an error, and is charged nothing.

    Raises:
        NotFound: there is none of that id, or it ends by itself.
        InvalidRequest: no gateway runs.
    """
    if context.end_one is None:
        raise _nobody()
    own = arguments.account is None or await _is_of(arguments.id, arguments.account, context)
    if not (own and await context.end_one(arguments.id)):
        raise NotFound(f"no request '{arguments.id[:100]}' runs; it may have ended meanwhile")
    return {"id": arguments.id, "ended": True}


async def _is_of(id_: str, account: str, context: Context) -> bool:
    assert context.under_way is not None, "a gateway runs"
    found = [row for process in await context.under_way() for row in process if row["id"] == id_]
    return bool(found) and found[0]["account"] == account


def _nobody() -> InvalidRequest:
    return InvalidRequest(
        "no gateway runs on this data folder; only a running one has requests", code="not_running"
    )
