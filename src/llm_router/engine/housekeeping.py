"""The operator's commands on accounts and who is in them, on what is decided for all, and on the audit log.

Each change and its act are one write, as for people who have signed in (:mod:`llm_router.engine.people`): here
the operator does it, on the gateway's own machine.
"""

from __future__ import annotations

from llm_router.access.subject import Subject
from llm_router.domain.account import (
    COMMAND_LINE,
    Account,
    House,
    Invitation,
    Member,
    Person,
    Role,
    Team,
    member_id,
)
from llm_router.domain.errors import InvalidRequest, NotFound
from llm_router.engine.auditing import described_act
from llm_router.engine.closing import hold_keys
from llm_router.engine.moments import iso_time
from llm_router.engine.operator import Arguments, Context, Nothing, Result, account_name
from llm_router.engine.people import People, email_of
from llm_router.engine.rolls import every, find, named
from llm_router.ports import Directory

OPERATOR = Subject(id=COMMAND_LINE.id, name=COMMAND_LINE.name, operator=True)
ACTS_MAX = 1000


class MakeAccount(Arguments, frozen=True, kw_only=True):
    """``accounts.create``. ``owner``: the address of somebody who can sign in."""

    id: str
    title: str | None = None
    owner: str | None = None


class ChangeAccount(Arguments, frozen=True, kw_only=True):
    """``accounts.change``."""

    id: str
    title: str | None = None
    closed: bool | None = None


class OfAccount(Arguments, frozen=True, kw_only=True):
    """What lists something of an account."""

    account: str


class ChangeMember(Arguments, frozen=True, kw_only=True):
    """``members.change``. ``email``: of the member."""

    account: str
    email: str
    role: Role | None = None
    teams: tuple[str, ...] | None = None


class NamedMember(Arguments, frozen=True, kw_only=True):
    """``members.remove``."""

    account: str
    email: str


class Invite(Arguments, frozen=True, kw_only=True):
    """``members.invite``."""

    account: str
    email: str
    role: Role
    teams: tuple[str, ...] = ()


class NamedRow(Arguments, frozen=True, kw_only=True):
    """``teams.remove``, ``invitations.remove``."""

    id: str


class MakeTeam(Arguments, frozen=True, kw_only=True):
    """``teams.create``."""

    account: str
    title: str


class ChangePerson(Arguments, frozen=True, kw_only=True):
    """``people.change``."""

    email: str
    name: str | None = None
    operator: bool | None = None
    disabled: bool | None = None


class ChangeSettings(Arguments, frozen=True, kw_only=True):
    """``settings.change``."""

    sign_up: bool | None = None
    public_pages: bool | None = None


class ListActs(Arguments, frozen=True, kw_only=True):
    """``audit.list``: the newest first, with numbers under ``before``; of an account, or all of them."""

    account: str | None = None
    before: int = 0
    limit: int = 100


async def list_accounts(arguments: Nothing, context: Context) -> Result:
    """Accounts that were described, and those that keys alone name."""
    known = {each.id: each for each in await every(_directory(context), Account)}
    counts: dict[str, int] = {}
    for key in await context.keyring.list():
        counts[key.account] = counts.get(key.account, 0) + (key.revoked_ms is None)
    names = sorted({*known, *counts})
    people = _people(context)
    return {
        "accounts": [{**_account(await people.account(id_)), "keys": counts.get(id_, 0)} for id_ in names]
    }


async def create_account(arguments: MakeAccount, context: Context) -> Result:
    """Make an account, with an owner or without.

    Raises:
        InvalidRequest: the name is none, or taken.
        NotFound: nobody of that address can sign in.
    """
    owner = None if arguments.owner is None else await _person(arguments.owner, context)
    title = arguments.id if arguments.title is None else arguments.title
    return _account(await _people(context).create_account(arguments.id, title, owner, context.by))


async def change_account(arguments: ChangeAccount, context: Context) -> Result:
    """Rename, close or open an account. The keys of one that is closed are refused."""
    changed = await _people(context).change_account(
        account_name(arguments.id), context.by, title=arguments.title, closed=arguments.closed
    )
    if arguments.closed is not None:
        await hold_keys(changed.id, arguments.closed, context)
    return _account(changed)


async def list_members(arguments: OfAccount, context: Context) -> Result:
    """Who is in an account, and as what."""
    members = await every(_directory(context), Member, account=account_name(arguments.account))
    return {"members": [await _member(member, context) for member in members]}


async def change_member(arguments: ChangeMember, context: Context) -> Result:
    """Give a member another role or other teams."""
    member = await _named_member(arguments.account, arguments.email, context)
    changed = await _people(context).change_member(
        OPERATOR, member, context.by, role=arguments.role, teams=arguments.teams
    )
    return await _member(changed, context)


async def remove_member(arguments: NamedMember, context: Context) -> Result:
    """Take somebody out of an account."""
    member = await _named_member(arguments.account, arguments.email, context)
    shown = await _member(member, context)
    await _people(context).remove_member(OPERATOR, member, context.by)
    return {**shown, "removed": True}


async def invite(arguments: Invite, context: Context) -> Result:
    """Offer somebody a membership. The answer holds the path of the link, this once."""
    invitation, token = await _people(context).invite(
        OPERATOR,
        account_name(arguments.account),
        arguments.email,
        arguments.role,
        arguments.teams,
        context.by,
    )
    return {**_invitation(invitation), "path": f"/join#{token}"}


async def list_invitations(arguments: OfAccount, context: Context) -> Result:
    """Invitations that nobody has taken up."""
    found = await every(_directory(context), Invitation, account=account_name(arguments.account))
    return {"invitations": [_invitation(each) for each in found]}


async def remove_invitation(arguments: NamedRow, context: Context) -> Result:
    """Take an invitation back.

    Raises:
        NotFound
    """
    found = await find(_directory(context), Invitation, arguments.id)
    if found is None:
        raise NotFound(f"there is no invitation '{arguments.id[:100]}'")
    await _people(context).withdraw(found, context.by)
    return {**_invitation(found), "removed": True}


async def list_teams(arguments: OfAccount, context: Context) -> Result:
    """The teams of an account."""
    found = await every(_directory(context), Team, account=account_name(arguments.account))
    return {"teams": [_team(team) for team in found]}


async def create_team(arguments: MakeTeam, context: Context) -> Result:
    """Make a team."""
    account = account_name(arguments.account)
    return _team(await _people(context).create_team(account, arguments.title, context.by))


async def remove_team(arguments: NamedRow, context: Context) -> Result:
    """Remove a team, and its members from it.

    Raises:
        NotFound
    """
    found = await find(_directory(context), Team, arguments.id)
    if found is None:
        raise NotFound(f"there is no team '{arguments.id[:100]}'")
    await _people(context).remove_team(found, context.by)
    return {**_team(found), "removed": True}


async def change_person(arguments: ChangePerson, context: Context) -> Result:
    """Rename somebody, make them an operator or not, let them sign in or not."""
    person = await _person(arguments.email, context)
    changed = await _people(context).change_person(
        person,
        context.by,
        title=arguments.name,
        operator=arguments.operator,
        disabled=arguments.disabled,
    )
    return {
        "id": changed.id,
        "email": changed.email,
        "name": changed.title,
        "operator": changed.operator,
        "disabled": None if changed.disabled_ms is None else iso_time(changed.disabled_ms),
    }


async def show_settings(arguments: Nothing, context: Context) -> Result:
    """What the operator has decided for all."""
    return _house(await _people(context).house())


async def change_settings(arguments: ChangeSettings, context: Context) -> Result:
    """Decide it."""
    people = _people(context)
    return _house(
        await people.change_house(context.by, sign_up=arguments.sign_up, public_pages=arguments.public_pages)
    )


def _house(house: House) -> Result:
    return {"sign_up": house.sign_up, "public_pages": house.public_pages}


async def list_acts(arguments: ListActs, context: Context) -> Result:
    """Who did what, the newest first.

    Raises:
        InvalidRequest: so many are not shown at once.
    """
    if not 1 <= arguments.limit <= ACTS_MAX or arguments.before < 0:
        raise InvalidRequest(f"limit must be from 1 to {ACTS_MAX}", param="limit")
    found = await _directory(context).acts(arguments.account, arguments.before, arguments.limit)
    return {"acts": [described_act(entry) for entry in found]}


async def check_acts(arguments: Nothing, context: Context) -> Result:
    """Calculate the chain of the audit log again. ``hash``: of the last act of those that were looked at.

    Raises:
        InvalidRequest: names the first act that does not fit.
    """
    directory = _directory(context)
    try:
        acts = await directory.check_acts()
        found = await directory.acts(None, acts + 1, 1)
        return {"ok": True, "acts": acts, "hash": found[0].hash if found else None}
    except ValueError as error:
        raise InvalidRequest(f"the audit log was changed: {error}", code="audit_changed") from None


def _account(account: Account) -> dict[str, object]:
    return {
        "id": account.id,
        "title": account.title,
        "created": iso_time(account.created_ms) if account.version else None,
        "closed": None if account.closed_ms is None else iso_time(account.closed_ms),
    }


async def _member(member: Member, context: Context) -> dict[str, object]:
    person = await find(_directory(context), Person, member.person)
    return {
        "account": member.account,
        "email": "" if person is None else person.email,
        "name": "" if person is None else person.title,
        "role": member.role.value,
        "teams": list(member.teams),
        "since": iso_time(member.created_ms),
    }


def _invitation(invitation: Invitation) -> dict[str, object]:
    return {
        "id": invitation.id,
        "account": invitation.account,
        "email": invitation.email,
        "role": invitation.role.value,
        "teams": list(invitation.teams),
        "expires": iso_time(invitation.expires_ms),
    }


def _team(team: Team) -> dict[str, object]:
    return {"id": team.id, "account": team.account, "title": team.title, "created": iso_time(team.created_ms)}


async def _person(email: str, context: Context) -> Person:
    found = await named(_directory(context), Person, email_of(email))
    if found is None:
        raise NotFound(f"nobody with the address '{email[:100]}' can sign in")
    return found


async def _named_member(account: str, email: str, context: Context) -> Member:
    person = await _person(email, context)
    found = await find(_directory(context), Member, member_id(account_name(account), person.id))
    if found is None:
        raise NotFound(f"{person.email} is no member of the account '{account}'")
    return found


def _people(context: Context) -> People:
    if context.sign_ins is None:
        raise InvalidRequest("this gateway keeps no accounts", code="not_supported")
    return context.sign_ins.people


def _directory(context: Context) -> Directory:
    return _people(context).directory
