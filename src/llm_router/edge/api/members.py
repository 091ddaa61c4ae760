"""Accounts, members, teams and invitations."""

from __future__ import annotations

from collections.abc import Mapping

from llm_router.domain.account import Account, Invitation, Member, Person, Role, Team, given_here, member_id
from llm_router.domain.errors import InvalidRequest, NotFound
from llm_router.edge.api.desk import Desk
from llm_router.edge.api.money import check_gives_roles
from llm_router.edge.api.pages import page_of
from llm_router.edge.api.table import Answer, ApiRoute, Ask, Body, Loaded, Reply, said
from llm_router.engine.moments import iso_time
from llm_router.engine.rolls import find, some


class AccountEntry(Reply, frozen=True, kw_only=True):
    """``role``: of who asks; null for the operator who is no member."""

    id: str
    title: str
    created: str | None
    closed: str | None
    role: str | None = None


class AccountList(Reply, frozen=True, kw_only=True):
    data: list[AccountEntry]
    has_more: bool
    next: str | None


class MakeAccount(Body, frozen=True, kw_only=True):
    """``id``: what keys and books know it by, for good."""

    id: str
    title: str


class PatchAccount(Body, frozen=True, kw_only=True):
    title: str | None = None
    closed: bool | None = None


class MemberEntry(Reply, frozen=True, kw_only=True):
    """``role_from_groups``: groups at the issuer gave the role, and can take it."""

    person: str
    email: str
    name: str
    role: Role
    role_from_groups: bool
    teams: list[str]
    created: str


class MemberPage(Reply, frozen=True, kw_only=True):
    data: list[MemberEntry]
    has_more: bool
    next: str | None


class PatchMember(Body, frozen=True, kw_only=True):
    role: Role | None = None
    teams: tuple[str, ...] | None = None


class TeamEntry(Reply, frozen=True, kw_only=True):
    id: str
    account: str
    title: str
    created: str


class TeamPage(Reply, frozen=True, kw_only=True):
    data: list[TeamEntry]
    has_more: bool
    next: str | None


class MakeTeam(Body, frozen=True, kw_only=True):
    title: str


class InvitationEntry(Reply, frozen=True, kw_only=True):
    """``url``: the link, shown once, where it was not ``mailed``."""

    id: str
    account: str
    email: str
    role: Role
    teams: list[str]
    by: str
    created: str
    expires: str
    url: str | None = None
    mailed: bool | None = None


class InvitationPage(Reply, frozen=True, kw_only=True):
    data: list[InvitationEntry]
    has_more: bool
    next: str | None


class MakeInvitation(Body, frozen=True, kw_only=True):
    email: str
    role: Role
    teams: tuple[str, ...] = ()


class Done(Reply, frozen=True, kw_only=True):
    deleted: bool


async def load_account(desk: Desk, parameters: Mapping[str, str]) -> Loaded | None:
    id_ = parameters["account"]
    if not await desk.people.is_there(id_):
        return None
    return Loaded(account=id_, value=await desk.people.account(id_))


async def load_team(desk: Desk, parameters: Mapping[str, str]) -> Loaded | None:
    team = await find(desk.directory, Team, parameters["team"])
    return None if team is None else Loaded(account=team.account, value=team)


async def load_invitation(desk: Desk, parameters: Mapping[str, str]) -> Loaded | None:
    found = await find(desk.directory, Invitation, parameters["invitation"])
    return None if found is None else Loaded(account=found.account, value=found)


async def list_accounts(ask: Ask) -> dict[str, object]:
    """The accounts of who asks; of the operator all that were described or named by keys and credit."""
    if ask.subject.operator:
        found = await some(ask.desk.directory, Account, after=ask.after(), limit=ask.limit() + 1)
        return page_of([_account(ask, each) for each in found], ask.limit())
    accounts = [await ask.desk.people.account(id_) for id_ in ask.subject.accounts()]
    return {"data": [_account(ask, each) for each in accounts], "has_more": False, "next": None}


async def make_account(ask: Ask) -> Answer:
    """Only the operator makes accounts; who signs up gets their own. The maker becomes its owner."""
    body: MakeAccount = ask.body
    account = await ask.desk.people.create_account(body.id, body.title, ask.subject.person, ask.by)
    return Answer(value={**_account(ask, account), "role": Role.OWNER}, status=201)


async def show_account(ask: Ask) -> dict[str, object]:
    return _account(ask, ask.loaded)


async def patch_account(ask: Ask) -> dict[str, object]:
    await ask.desk.run("accounts.change", ask.by, {"id": ask.account, **said(ask.body)})
    return _account(ask, await ask.desk.people.account(ask.account))


def _account(ask: Ask, account: Account) -> dict[str, object]:
    return {
        "id": account.id,
        "title": account.title,
        "created": iso_time(account.created_ms) if account.version else None,
        "closed": None if account.closed_ms is None else iso_time(account.closed_ms),
        "role": ask.subject.roles.get(account.id),
    }


async def list_members(ask: Ask) -> dict[str, object]:
    after = ask.after()
    found = await some(
        ask.desk.directory,
        Member,
        account=ask.account,
        after=member_id(ask.account, after) if after else "",
        limit=ask.limit() + 1,
    )
    return page_of([await _member(ask, member) for member in found], ask.limit(), "person")


async def _member(ask: Ask, member: Member) -> dict[str, object]:
    person = await find(ask.desk.directory, Person, member.person)
    return {
        "person": member.person,
        "email": "" if person is None else person.email,
        "name": "" if person is None else person.title,
        "role": member.role,
        "role_from_groups": member.role is not given_here(member),
        "teams": list(member.teams),
        "created": iso_time(member.created_ms),
    }


async def _named_member(ask: Ask) -> Member:
    return await ask.desk.people.member(ask.account, ask.parameters["person"])


async def show_member(ask: Ask) -> dict[str, object]:
    return await _member(ask, await _named_member(ask))


async def patch_member(ask: Ask) -> dict[str, object]:
    await check_gives_roles(ask)
    member = await ask.desk.people.change_member(
        ask.subject, await _named_member(ask), ask.by, role=ask.body.role, teams=ask.body.teams
    )
    return await _member(ask, member)


async def remove_member(ask: Ask) -> dict[str, object]:
    await check_gives_roles(ask)
    await ask.desk.people.remove_member(ask.subject, await _named_member(ask), ask.by)
    return {"deleted": True}


async def leave(ask: Ask) -> dict[str, object]:
    """Leave an account oneself."""
    account = ask.parameters["account"]
    if account not in ask.subject.roles:
        raise NotFound(f"There is no account '{account[:100]}'.")
    member = await ask.desk.people.member(account, ask.subject.id)
    await ask.desk.people.remove_member(ask.subject, member, ask.by)
    return {"deleted": True}


async def list_teams(ask: Ask) -> dict[str, object]:
    found = await some(
        ask.desk.directory, Team, account=ask.account, after=ask.after(), limit=ask.limit() + 1
    )
    return page_of([_team(team) for team in found], ask.limit())


async def make_team(ask: Ask) -> Answer:
    team = await ask.desk.people.create_team(ask.account, ask.body.title, ask.by)
    return Answer(value=_team(team), status=201)


async def show_team(ask: Ask) -> dict[str, object]:
    return _team(ask.loaded)


async def remove_team(ask: Ask) -> dict[str, object]:
    await ask.desk.people.remove_team(ask.loaded, ask.by)
    return {"deleted": True}


def _team(team: Team) -> dict[str, object]:
    return {"id": team.id, "account": team.account, "title": team.title, "created": iso_time(team.created_ms)}


async def list_invitations(ask: Ask) -> dict[str, object]:
    found = await some(
        ask.desk.directory, Invitation, account=ask.account, after=ask.after(), limit=ask.limit() + 1
    )
    return page_of([_invitation(each) for each in found], ask.limit())


async def make_invitation(ask: Ask) -> Answer:
    """Invite somebody. The link is mailed where mail is configured, and shown to nobody else: who opens it has the mail
    of that address. Otherwise the answer holds it, this once."""
    body: MakeInvitation = ask.body
    await check_gives_roles(ask)
    invitation, token = await ask.desk.people.invite(
        ask.subject, ask.account, body.email, body.role, body.teams, ask.by
    )
    url = f"{ask.desk.link_origin(ask.request)}/join#{token}"
    mailed = await ask.desk.send(
        invitation.email,
        f"You are invited to {ask.account}",
        f"{ask.by.name} invites you to the account {ask.account}. Open this link within a week:\n\n{url}\n",
    )
    if mailed:
        await ask.desk.people.mailed(invitation)
    shown = None if mailed else url
    return Answer(value={**_invitation(invitation), "url": shown, "mailed": mailed}, status=201)


async def show_invitation(ask: Ask) -> dict[str, object]:
    return _invitation(ask.loaded)


async def withdraw(ask: Ask) -> dict[str, object]:
    await ask.desk.people.withdraw(ask.loaded, ask.by)
    return {"deleted": True}


class Token(Body, frozen=True, kw_only=True):
    token: str


async def accept(ask: Ask) -> dict[str, object]:
    """Take an invitation up as who has signed in."""
    person = ask.subject.person
    if person is None:
        raise InvalidRequest("Sign in: invitations are for people.")
    invitation = await ask.desk.people.invitation(ask.body.token)
    member = await ask.desk.people.accept(invitation, person, [], ask.by)
    return {"account": member.account, "role": member.role}


def _invitation(invitation: Invitation) -> dict[str, object]:
    return {
        "id": invitation.id,
        "account": invitation.account,
        "email": invitation.email,
        "role": invitation.role,
        "teams": list(invitation.teams),
        "by": invitation.by,
        "created": iso_time(invitation.created_ms),
        "expires": iso_time(invitation.expires_ms),
    }


_PAGE = (("after", "the next of the page before"), ("limit", "1 to 200"))

MEMBER_ROUTES = (
    ApiRoute(
        method="GET", path="/api/v1/accounts", handler=list_accounts, summary="The accounts of who asks.",
        reply=AccountList, parameters=_PAGE,
    ),
    ApiRoute(
        method="POST", path="/api/v1/accounts", handler=make_account, summary="Make an account.",
        who="person", permission="accounts:write", house=True, body=MakeAccount, reply=AccountEntry, status=201,
    ),
    ApiRoute(
        method="GET", path="/api/v1/accounts/{account}", handler=show_account, summary="An account.",
        permission="account:read", loads=load_account, what="account", reply=AccountEntry,
    ),
    ApiRoute(
        method="PATCH", path="/api/v1/accounts/{account}", handler=patch_account,
        summary="Rename, close or open an account.",
        permission="account:write", loads=load_account, what="account", body=PatchAccount, reply=AccountEntry,
    ),
    ApiRoute(
        method="POST", path="/api/v1/accounts/{account}/leave", handler=leave, summary="Leave an account.",
        who="person", reply=Done,
    ),
    ApiRoute(
        method="GET", path="/api/v1/members", handler=list_members, summary="The members of an account.",
        permission="member:read", reply=MemberPage, parameters=_PAGE,
    ),
    ApiRoute(
        method="GET", path="/api/v1/members/{person}", handler=show_member, summary="A member.",
        permission="member:read", reply=MemberEntry,
    ),
    ApiRoute(
        method="PATCH", path="/api/v1/members/{person}", handler=patch_member,
        summary="Give a member another role or other teams.",
        permission="member:write", body=PatchMember, reply=MemberEntry,
    ),
    ApiRoute(
        method="DELETE", path="/api/v1/members/{person}", handler=remove_member, summary="Remove a member.",
        permission="member:write", reply=Done,
    ),
    ApiRoute(
        method="GET", path="/api/v1/teams", handler=list_teams, summary="The teams of an account.",
        permission="team:read", reply=TeamPage, parameters=_PAGE,
    ),
    ApiRoute(
        method="POST", path="/api/v1/teams", handler=make_team, summary="Make a team.",
        permission="team:write", body=MakeTeam, reply=TeamEntry, status=201,
    ),
    ApiRoute(
        method="GET", path="/api/v1/teams/{team}", handler=show_team, summary="A team.",
        permission="team:read", loads=load_team, what="team", reply=TeamEntry,
    ),
    ApiRoute(
        method="DELETE", path="/api/v1/teams/{team}", handler=remove_team, summary="Remove a team.",
        permission="team:write", loads=load_team, what="team", reply=Done,
    ),
    ApiRoute(
        method="GET", path="/api/v1/invitations", handler=list_invitations, summary="Open invitations.",
        permission="member:read", reply=InvitationPage, parameters=_PAGE,
    ),
    ApiRoute(
        method="POST", path="/api/v1/invitations", handler=make_invitation, summary="Invite somebody.",
        permission="member:write", body=MakeInvitation, reply=InvitationEntry, status=201,
    ),
    ApiRoute(
        method="GET", path="/api/v1/invitations/{invitation}", handler=show_invitation, summary="An invitation.",
        permission="member:read", loads=load_invitation, what="invitation", reply=InvitationEntry,
    ),
    ApiRoute(
        method="DELETE", path="/api/v1/invitations/{invitation}", handler=withdraw,
        summary="Take an invitation back.",
        permission="member:write", loads=load_invitation, what="invitation", reply=Done,
    ),
    ApiRoute(
        method="POST", path="/api/v1/me/invitations", handler=accept,
        summary="Take an invitation up.", who="person", body=Token,
    ),
)  # fmt: skip
