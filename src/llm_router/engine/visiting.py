"""The operator's commands on who may sign in: the link of the first start, and one for who forgot a password."""

from __future__ import annotations

from llm_router.domain.account import COMMAND_LINE, Person
from llm_router.domain.errors import InvalidRequest, NotFound
from llm_router.engine.moments import iso_time
from llm_router.engine.operator import Arguments, Context, Nothing, Result
from llm_router.engine.rolls import every
from llm_router.engine.sign_in import SignIns


class ResetPassword(Arguments, frozen=True, kw_only=True):
    """``people.reset``."""

    email: str


async def list_people(arguments: Nothing, context: Context) -> Result:
    """Everybody who can sign in."""
    people = await every(_sign_ins(context).people.directory, Person)
    return {
        "people": [
            {
                "id": person.id,
                "email": person.email,
                "name": person.title,
                "operator": person.operator,
                "disabled": None if person.disabled_ms is None else iso_time(person.disabled_ms),
                "created": iso_time(person.created_ms),
            }
            for person in people
        ]
    }


async def setup_link(arguments: Nothing, context: Context) -> Result:
    """A link by which the first operator is made; those before it stop working.

    Raises:
        InvalidRequest: somebody is operator already.
    """
    token = await _sign_ins(context).setup_link()
    if token is None:
        raise InvalidRequest("somebody runs this gateway already; llm-router people reset gives them a link")
    return {"path": f"/set-up#{token}"}


async def reset_link(arguments: ResetPassword, context: Context) -> Result:
    """A link by which somebody sets a new password.

    Raises:
        NotFound: nobody of that address can sign in.
    """
    found = await _sign_ins(context).reset_link(arguments.email, COMMAND_LINE)
    if found is None:
        raise NotFound(f"nobody with the address '{arguments.email[:100]}' can sign in")
    person, token = found
    return {"person": person.id, "email": person.email, "path": f"/reset#{token}"}


def _sign_ins(context: Context) -> SignIns:
    if context.sign_ins is None:
        raise InvalidRequest("nobody can sign in at this gateway", code="not_supported")
    return context.sign_ins
