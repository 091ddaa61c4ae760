"""The operator's commands on alerts: the ways in which they leave, and whether they arrive."""

from __future__ import annotations

from llm_router.domain.errors import NotFound
from llm_router.engine.moments import iso_time
from llm_router.engine.notices import Notices
from llm_router.engine.operator import Arguments, Context, Nothing, Result


class TryAlert(Arguments, frozen=True, kw_only=True):
    """``alerts.try``: by one of the ways that ``alerts.list`` names."""

    name: str


async def list_alerts(arguments: Nothing, context: Context) -> Result:
    """The ways in which alerts leave, what waits, and how the last try of this gateway ended."""
    notices = _notices(context)
    waiting = await notices.waiting() if notices.channels else {}
    return {"alerts": [_described(notices, name, waiting.get(name, 0)) for name in notices.channels]}


async def try_alert(arguments: TryAlert, context: Context) -> Result:
    """Send a test by one of them, now.

    Raises:
        NotFound: there is no such way.
    """
    notices = _notices(context)
    if arguments.name not in notices.channels:
        known = (
            ", ".join(notices.channels)
            or "none: [alerts] of the configuration names a webhook or a mail server"
        )
        raise NotFound(f"alerts do not leave by '{arguments.name[:100]}'; there is {known}", param="name")
    problem = await notices.try_out(arguments.name)
    return {"name": arguments.name, "delivered": problem is None, "problem": problem}


def _described(notices: Notices, name: str, waiting: int) -> Result:
    last = notices.last(name)
    return {
        "name": name,
        "waiting": waiting,
        "last_tried": None if last is None else iso_time(last[0]),
        "delivered": None if last is None else last[1] is None,
        "problem": None if last is None else last[1],
    }


def _notices(context: Context) -> Notices:
    if context.treasury is None:
        raise NotFound("this gateway sends no alerts")
    return context.treasury.notices
