"""Inference by people who have signed in, without a key of theirs: what the dashboard's playground asks.

Such a request is charged to one account, in which the person's role must allow it, as if by a key that bears the
person's name: without a text, made for this request and kept nowhere. It is bounded by everything that bounds a new key
of that person: the account's credit, budgets and limits, those of the user (the e-mail address), and those of the
team. Who is in several says for which of them the request is: else a second one would free of the first one's bounds.
"""

from __future__ import annotations

from llm_router.access.subject import Subject, check, missing
from llm_router.domain.account import Account, Actor
from llm_router.domain.errors import Forbidden, InvalidRequest, NotFound, SignInRefused
from llm_router.domain.key import Key
from llm_router.edge.api.cookies import check_origin, cookie_of
from llm_router.edge.api.desk import Desk
from llm_router.edge.api.table import Ask, account_of
from llm_router.edge.guard import MODELS, USE, address_of
from llm_router.edge.http import Request
from llm_router.engine.rolls import find
from llm_router.engine.teams import team_title
from llm_router.ports import Directory

PREFIX = "session:"
"""The id of such a key is this and the person's: no key that is made has one like it."""


async def visitor_key(desk: Desk, request: Request, permission: str) -> Key | None:
    """The key that a request with a session's cookie stands for; None if it has no such cookie, or asks for
    something else than models: what people may read and change is the API's to decide, under /api/v1.

    Raises:
        SignInRefused: the session has ended, or lacks its second factor.
        Forbidden: a page of another site may have asked, or the person's role does not allow it.
        NotFound, InvalidRequest: the account is not theirs, or not named; the team is to be named.
    """
    token = cookie_of(request, desk.origin)
    if token is None or permission not in (USE, MODELS):
        return None
    if request.method not in ("GET", "HEAD"):
        check_origin(request, desk.origin)
    found = await desk.sign_ins.subject(token)
    if found is None:
        raise SignInRefused("This session has ended: sign in again.", code="session_ended")
    subject, sign_in = found
    if sign_in.pending:
        raise SignInRefused("A second factor is still to be given.", code="second_factor_required")
    ask = Ask(
        desk,
        request,
        {},
        Actor(id=subject.id, name=subject.name, ip=address_of(request, desk.trusted_proxies)),
    )
    ask.who = subject
    account = account_of(ask)
    check(subject, permission, account)
    await _check_open(desk.directory, account)
    team = await _team(desk.directory, subject, account, request, permission)
    return Key(
        id=f"{PREFIX}{subject.id}",
        account=account,
        name=f"playground of {subject.name}",
        prefix="",
        created_ms=sign_in.created_ms,
        team=team,
        user=subject.name,
    )


async def _check_open(directory: Directory, account: str) -> None:
    """Refuse an account that is closed, or was never made (an operator may name any).

    Raises:
        NotFound, Forbidden
    """
    found = await find(directory, Account, account)
    if found is None:
        raise NotFound(missing(f"account '{account[:100]}'"))
    if found.closed_ms is not None:
        raise Forbidden(f"The account '{account}' is closed.")


async def _team(
    directory: Directory, subject: Subject, account: str, request: Request, permission: str
) -> str | None:
    """The title of the team whose budgets and limits bind a request: the one that is named, or the only one.

    Raises:
        InvalidRequest: there are several and none is named, or there is none of that name.
        Forbidden: it is not theirs, and they make no keys for others.
    """
    teams, named = subject.teams.get(account, ()), request.parameter("team")
    if named is None:
        if len(teams) > 1 and permission == USE and request.method not in ("GET", "HEAD"):
            raise InvalidRequest(
                f"You are in several teams: say for which of them you ask, ?team=NAME of {', '.join(teams[:20])}.",
                param="team",
            )
        return teams[0] if len(teams) == 1 else None
    title = await team_title(directory, account, named, "team")
    if title not in teams and "member:write" not in subject.permissions(account):
        raise Forbidden(f"You are not in the team '{title}'.", param="team")
    return title
