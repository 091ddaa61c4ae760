"""The exchanges that run now, in all processes: who watches sees them, and may end one."""

from __future__ import annotations

from llm_router.billing.tokens import tokens_of_chars
from llm_router.domain.errors import InvalidRequest, NotFound
from llm_router.domain.price import cost_lines
from llm_router.domain.usage import Provenance, Usage
from llm_router.engine.moments import iso_time
from llm_router.engine.operator import Arguments, Context, Result, account_name, dollars
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
        **_so_far(track),
    }


def _so_far(track: Track) -> dict[str, object]:
    """Estimates of what was delivered by now, from its characters, and of what that costs with its input."""
    admitted, candidate = track.admitted, track.candidate
    if track.delivery is None or admitted is None or candidate is None:
        return {"output_tokens": 0, "cost_pusd": 0}
    seen = track.delivery.observed
    counted = Usage(
        input_tokens=admitted.input_tokens_expected,
        output_tokens=tokens_of_chars(seen.output_chars),
        reasoning_tokens=tokens_of_chars(seen.reasoning_chars),
        provenance=Provenance.ESTIMATED,
    )
    tokens, price = counted.completion_tokens, candidate.deployment.price
    lines = () if price is None or tokens == 0 else cost_lines(price, counted)
    return {"output_tokens": tokens, "cost_pusd": sum(line.amount_pusd for line in lines)}


async def list_under_way(arguments: ListUnderWay, context: Context) -> Result:
    """Requests that are being answered, the longest first.

    Raises:
        InvalidRequest: no gateway runs.
    """
    if context.under_way is None:
        raise _nobody()
    account = None if arguments.account is None else account_name(arguments.account)
    rows = [row for process in await context.under_way() for row in process]
    wanted = [_told(row) for row in rows if account is None or row["account"] == account]
    return {"requests": sorted(wanted, key=lambda row: str(row["begun"]))}


def _told(row: dict[str, object]) -> dict[str, object]:
    """The row with dollars, as all commands tell them."""
    cost_pusd = row["cost_pusd"]
    assert isinstance(cost_pusd, int)
    return {name: value for name, value in row.items() if name != "cost_pusd"} | {"cost": dollars(cost_pusd)}


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
