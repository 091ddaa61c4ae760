"""Inference by people who have signed in, without a key of theirs: what the dashboard's playground asks.

Such a request is charged to one account, in which the person's role must allow it, as if by a key that bears the
person's name: without a text, made for this request and kept nowhere. It is bounded by everything that bounds a new key
of that person: the account's credit, budgets and limits, those of the user (the e-mail address), and those of the
team, of who is in exactly one.
"""

from __future__ import annotations

from llm_router.access.subject import Subject, check, missing
from llm_router.domain.account import Account, Actor, Member, member_id
from llm_router.domain.errors import Forbidden, NotFound, SignInRefused
from llm_router.domain.key import Key
from llm_router.edge.api.cookies import check_origin, cookie_of
from llm_router.edge.api.desk import Desk
from llm_router.edge.api.table import Ask, account_of
from llm_router.edge.guard import MODELS, USE, address_of
from llm_router.edge.http import Request
from llm_router.engine.rolls import find
from llm_router.ports import Directory

PREFIX = "session:"
"""The id of such a key is this and the person's: no key that is made has one like it."""


async def visitor_key(desk: Desk, request: Request, permission: str) -> Key | None:
    """The key that a request with a session's cookie stands for; None if it has no such cookie, or asks for
    something else than models: what people may read and change is the API's to decide, under /api/v1.

    Raises:
        SignInRefused: the session has ended, or lacks its second factor.
        Forbidden: a page of another site may have asked, or the person's role does not allow it.
        NotFound, InvalidRequest: the account is not theirs, or not named.
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
    return await _key(desk.directory, subject, account, sign_in.created_ms)


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


async def _key(directory: Directory, subject: Subject, account: str, created_ms: int) -> Key:
    member = await find(directory, Member, member_id(account, subject.id))
    teams = () if member is None else member.teams
    return Key(
        id=f"{PREFIX}{subject.id}",
        account=account,
        name=f"playground of {subject.name}",
        prefix="",
        created_ms=created_ms,
        team=teams[0] if len(teams) == 1 else None,
        user=subject.name,
    )
