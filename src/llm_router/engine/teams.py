"""What teams are called in the books: by their titles, whichever way somebody names them."""

from __future__ import annotations

from llm_router.domain.account import Team
from llm_router.domain.errors import InvalidRequest
from llm_router.engine.operator import label
from llm_router.engine.rolls import find, named, some
from llm_router.ports import Directory


async def team_of(directory: Directory, account: str, text: str) -> Team | None:
    """A team of an account by its title or its id."""
    found = await named(directory, Team, f"{account}/{text}")
    if found is None:
        found = await find(directory, Team, text)
    return found if found is not None and found.account == account else None


async def team_title(directory: Directory | None, account: str, text: str, param: str) -> str:
    """The title of a team that is named by its title or its id.

    An account without teams takes any text: there, teams are what the keys say.

    Raises:
        InvalidRequest: the account has teams, and this is none of them; or it can be no team's title.
    """
    title = label(text, param)
    if directory is None:
        return title
    found = await team_of(directory, account, title)
    if found is not None:
        return found.title
    if await some(directory, Team, account=account, limit=1):
        raise InvalidRequest(
            f"the account '{account}' has no team '{title}': name one that it has, or make it first",
            param=param,
        )
    return title
