"""Signing in and out, one's own sessions, password and second factor."""

from __future__ import annotations

from llm_router.access.permissions import PLAIN_SCOPES
from llm_router.domain.account import Person, Role, SignIn
from llm_router.domain.errors import Forbidden, InvalidRequest, NotFound, RouterError, SignInRefused
from llm_router.edge.api.cookies import (
    clear_cookie,
    clear_state,
    own_path,
    set_cookie,
    state_cookie,
    state_of,
    trouble_cookie,
)
from llm_router.edge.api.desk import Desk
from llm_router.edge.api.house import person_entry
from llm_router.edge.api.table import Answer, ApiRoute, Ask, Body, Proof, Reply
from llm_router.engine.moments import iso_time
from llm_router.engine.newcomers import Newcomers
from llm_router.engine.oidc import Oidc
from llm_router.engine.people import email_of
from llm_router.engine.rolls import find
from llm_router.engine.sign_in import Opened
from llm_router.engine.sso import CALLBACK

ISSUER = "LLM Router"


class Password(Proof, frozen=True, kw_only=True):
    email: str
    password: str


class Code(Proof, frozen=True, kw_only=True):
    """``code``: of the authenticator, or one for recovery."""

    code: str


class SetUp(Proof, frozen=True, kw_only=True):
    token: str
    email: str
    name: str
    password: str


class Join(Proof, frozen=True, kw_only=True):
    token: str
    name: str
    password: str


class SignUp(Proof, frozen=True, kw_only=True):
    """``name``, ``password``: where no mail is configured; else they are said by who opens the link."""

    email: str
    account: str
    name: str | None = None
    password: str | None = None


class Address(Body, frozen=True, kw_only=True):
    email: str


class NewPassword(Proof, frozen=True, kw_only=True):
    token: str
    password: str


class ChangePassword(Proof, frozen=True, kw_only=True):
    current: str
    password: str


class Begun(Reply, frozen=True, kw_only=True):
    """``second_factor``: a code is still to be given. ``mailed``: a link was mailed, and nothing has begun yet."""

    second_factor: bool
    mailed: bool = False


class Me(Reply, frozen=True, kw_only=True):
    """Who asks. ``permissions``: by account, what they may do there; the operator has those of the house, too.
    ``teams``: by account, the titles of those that a person is in.
    ``sandbox``: the gateway runs with simulated providers."""

    id: str
    name: str
    kind: str
    email: str | None
    operator: bool
    second_factor: bool
    accounts: dict[str, Role | None]
    permissions: dict[str, list[str]]
    teams: dict[str, list[str]]
    house: list[str]
    scopes: list[str] | None
    sandbox: bool


class SessionEntry(Reply, frozen=True, kw_only=True):
    id: str
    how: str
    ip: str
    agent: str
    created: str
    seen: str
    expires: str
    current: bool


class SessionList(Reply, frozen=True, kw_only=True):
    data: list[SessionEntry]


class Way(Reply, frozen=True, kw_only=True):
    """How one can sign in here, and whether one has. ``mail``: links are mailed, to who signs up as well."""

    signed_in: bool
    password: bool
    sign_up: bool
    mail: bool
    set_up: bool
    oidc: str | None


class Totp(Reply, frozen=True, kw_only=True):
    secret: str
    uri: str


class Codes(Reply, frozen=True, kw_only=True):
    """Codes for recovery, each good for once, shown this once."""

    codes: list[str]


def _agent(ask: Ask) -> str:
    return ask.request.headers.get("user-agent", "")


def _begun(ask: Ask, opened: Opened) -> Answer:
    cookie = set_cookie(opened.token, ask.desk.origin)
    return Answer(value={"second_factor": opened.sign_in.pending}, cookies=(cookie,))


async def ways(ask: Ask) -> dict[str, object]:
    """How one can sign in here, and whether one has."""
    return {
        "signed_in": ask.who is not None,
        "password": True,
        "sign_up": (await ask.desk.people.house()).sign_up,
        "mail": ask.desk.mails,
        "set_up": await ask.desk.sign_ins.is_new(),
        "oidc": await _issuer_name(ask.desk),
    }


async def sign_in(ask: Ask) -> Answer:
    opened, _ = await ask.desk.sign_ins.with_password(
        ask.body.email, ask.body.password, ask.by, _agent(ask), ask.sign_in
    )
    return _begun(ask, opened)


async def oidc_begin(ask: Ask) -> Answer:
    """Send the browser to the issuer. The state goes into a cookie: only this browser can bring it back."""
    back = own_path(ask.request.parameter("back"))
    try:
        url, state = await (await _oidc(ask)).begin(f"{ask.desk.link_origin(ask.request)}{CALLBACK}", back)
    except RouterError as error:
        return _told(ask, error)
    return Answer(status=302, location=url, cookies=(state_cookie(state, ask.desk.origin),))


async def oidc_callback(ask: Ask) -> Answer:
    """The browser comes back from the issuer."""
    try:
        return await _from_issuer(ask)
    except RouterError as error:
        return _told(ask, error)


def _told(ask: Ask, error: RouterError) -> Answer:
    """Lead a person to the page for signing in, which says what went wrong; a program gets the error itself.

    Raises:
        RouterError: no browser asks for a page.
    """
    if "text/html" not in ask.request.headers.get("accept", ""):
        raise error
    origin = ask.desk.origin
    return Answer(
        status=302, location="/sign-in", cookies=(clear_state(origin), trouble_cookie(error.message, origin))
    )


async def _from_issuer(ask: Ask) -> Answer:
    """
    Raises:
        RouterError: nobody is let in.
    """
    oidc, request = await _oidc(ask), ask.request
    state, code = request.parameter("state"), request.parameter("code")
    if state is None or state != state_of(request, ask.desk.origin):
        raise SignInRefused("This sign-in was not begun in this browser: begin again.", code="sign_in_stale")
    if code is None:
        raise SignInRefused("The issuer let nobody in.", code="issuer_failed")
    opened, back = await oidc.finish(
        state, code, f"{ask.desk.link_origin(request)}{CALLBACK}", ask.by, _agent(ask)
    )
    cookies = (set_cookie(opened.token, ask.desk.origin), clear_state(ask.desk.origin))
    return Answer(status=302, location=back, cookies=cookies)


async def _issuer_name(desk: Desk) -> str | None:
    """What people read on the button; None where nobody can sign in so now."""
    try:
        found = await desk.oidc()
    except RouterError:  # whoever signs in by password has to get in all the same
        return None
    return None if found is None else found.rules.name


async def _oidc(ask: Ask) -> Oidc:
    found = await ask.desk.oidc()
    if found is None:
        raise NotFound("No issuer to sign in at is configured here.")
    return found


async def second_factor(ask: Ask) -> Answer:
    person, old = _person(ask), ask.sign_in
    if old is None or not old.pending:
        raise Forbidden("No second factor is asked for now.")
    return _begun(ask, await ask.desk.sign_ins.second_factor(person, ask.body.code, ask.by, _agent(ask), old))


async def sign_out(ask: Ask) -> Answer:
    if ask.sign_in is not None:
        await ask.desk.sign_ins.end(ask.sign_in, ask.by)
    return Answer(value={"signed_out": True}, cookies=(clear_cookie(ask.desk.origin),))


async def set_up(ask: Ask) -> Answer:
    """Make the first operator by the link that the gateway printed."""
    body: SetUp = ask.body
    return _begun(
        ask,
        await ask.desk.sign_ins.set_up(body.token, body.email, body.name, body.password, ask.by, _agent(ask)),
    )


async def join(ask: Ask) -> Answer:
    """Take an invitation up as somebody new, or the link that was mailed to who signs up."""
    body: Join = ask.body
    opened, _ = await Newcomers(ask.desk.sign_ins).join(
        body.token, body.name, body.password, ask.by, _agent(ask)
    )
    return _begun(ask, opened)


async def sign_up(ask: Ask) -> Answer:
    """Make oneself an account. Where mail is configured the answer is the same whether the address is known or not: a
    link is mailed, and who opens it has the address."""
    body: SignUp = ask.body
    email = email_of(body.email)
    await Newcomers(ask.desk.sign_ins).check_sign_up(ask.by)
    await _check_domain(ask.desk, email)
    if ask.desk.mails:
        account = await ask.desk.people.new_name(body.account)
        ask.desk.background(_mail_sign_up(ask, email, account))
        return Answer(value={"second_factor": False, "mailed": True})
    if body.name is None or body.password is None:
        raise InvalidRequest(
            "No mail leaves here: send a name and a password, too.",
            param="name" if body.name is None else "password",
        )
    return _begun(
        ask,
        await Newcomers(ask.desk.sign_ins).sign_up(
            email, body.name, body.account, body.password, ask.by, _agent(ask)
        ),
    )


async def _check_domain(desk: Desk, email: str) -> None:
    """
    Raises:
        Forbidden: addresses of that domain come through the issuer.
    """
    oidc = await desk.oidc()
    if oidc is not None and email.rpartition("@")[2] in oidc.rules.domains:
        raise Forbidden(f"Addresses of that domain sign in with {oidc.rules.name}.", code="issuer_only")


async def _mail_sign_up(ask: Ask, email: str, account: str) -> None:
    token = await Newcomers(ask.desk.sign_ins).sign_up_link(email, account)
    origin = ask.desk.origin
    if token is None:
        text = (
            f"Somebody asked for an account here with your address, and you have one. Sign in:\n\n{origin}/sign-in\n\n"
            "If you did not ask for it, do nothing.\n"
        )
    else:
        text = (
            f"Make your account {account} within a day by this link:\n\n{origin}/sign-up#{token}\n\n"
            "If you did not ask for it, do nothing.\n"
        )
    await ask.desk.send(email, "Your account", text)


async def forgot(ask: Ask) -> dict[str, object]:
    """Have a link mailed. The answer is the same whether there is such a person or not."""
    ask.desk.background(_mail_reset(ask, ask.body.email))
    return {"mailed": ask.desk.mails}


async def _mail_reset(ask: Ask, email: str) -> None:
    if not ask.desk.mails:
        return
    found = await ask.desk.sign_ins.reset_link(email, ask.by)
    if found is not None:
        person, token = found
        await ask.desk.send(
            person.email,
            "A new password",
            f"Set a new password within an hour by this link:\n\n{ask.desk.origin}/reset#{token}\n\n"
            "If you did not ask for it, do nothing.\n",
        )


async def reset(ask: Ask) -> dict[str, object]:
    """Set a password by a link; all sessions end."""
    await ask.desk.sign_ins.reset(ask.body.token, ask.body.password, ask.by)
    return {"changed": True}


async def me(ask: Ask) -> dict[str, object]:
    """Who asks, and what they may do where."""
    subject, person = ask.subject, ask.subject.person
    key = subject.key
    scopes = None if key is None else list(PLAIN_SCOPES if key.scopes is None else key.scopes)
    return {
        "id": subject.id,
        "name": subject.name if person is None else person.title,
        "kind": "key" if person is None else "person",
        "email": None if person is None else person.email,
        "operator": subject.operator,
        "second_factor": person is not None and await ask.desk.sign_ins.has_totp(person),
        "accounts": {account: subject.roles.get(account) for account in subject.accounts()},
        "permissions": {account: sorted(subject.permissions(account)) for account in subject.accounts()},
        "teams": {account: list(teams) for account, teams in subject.teams.items()},
        "house": sorted(subject.house()),
        "scopes": scopes,
        "sandbox": ask.desk.sandbox,
    }


async def patch_me(ask: Ask) -> dict[str, object]:
    """Give oneself another name."""
    changed = await ask.desk.people.change_person(_person(ask), ask.by, title=ask.body.name)
    return person_entry(changed)


class PatchMe(Body, frozen=True, kw_only=True):
    name: str


async def change_password(ask: Ask) -> dict[str, object]:
    """Set another password; all other sessions end."""
    assert ask.sign_in is not None
    body: ChangePassword = ask.body
    await ask.desk.sign_ins.change_password(_person(ask), body.current, body.password, ask.by, ask.sign_in.id)
    return {"changed": True}


async def sessions(ask: Ask) -> dict[str, object]:
    current = ask.sign_in
    return {
        "data": [
            {
                "id": each.id,
                "how": each.how,
                "ip": each.ip,
                "agent": each.agent,
                "created": iso_time(each.created_ms),
                "seen": iso_time(each.seen_ms),
                "expires": iso_time(each.expires_ms),
                "current": current is not None and each.id == current.id,
            }
            for each in await ask.desk.sign_ins.sessions(ask.subject.id)
        ]
    }


async def end_session(ask: Ask) -> dict[str, object]:
    """End one of one's own sessions."""
    found = await find(ask.desk.directory, SignIn, ask.parameters["session"])
    if found is None or found.person != ask.subject.id:
        raise NotFound(f"There is no session '{ask.parameters['session'][:100]}'.")
    await ask.desk.sign_ins.end(found, ask.by)
    return {"deleted": True}


async def begin_totp(ask: Ask) -> dict[str, object]:
    """A secret for an authenticator, not in use before it is confirmed."""
    if await ask.desk.sign_ins.has_totp(_person(ask)):
        raise Forbidden("There is a second factor already: end it first, by a code of it.")
    secret, uri = await ask.desk.sign_ins.begin_totp(_person(ask), ISSUER)
    return {"secret": secret, "uri": uri}


async def confirm_totp(ask: Ask) -> dict[str, object]:
    if await ask.desk.sign_ins.has_totp(_person(ask)):
        raise Forbidden("There is a second factor already: end it first, by a code of it.")
    return {"codes": list(await ask.desk.sign_ins.confirm_totp(_person(ask), ask.body.code, ask.by))}


async def end_totp(ask: Ask) -> dict[str, object]:
    assert ask.sign_in is not None
    await ask.desk.sign_ins.end_totp(_person(ask), ask.body.code, ask.by, ask.sign_in.id)
    return {"deleted": True}


def _person(ask: Ask) -> Person:
    person = ask.subject.person
    assert person is not None, "rows for persons admit nobody else"
    return person


ME_ROUTES = (
    ApiRoute(
        method="GET", path="/api/v1/sign-in/oidc", handler=oidc_begin, summary="Sign in at the issuer.",
        who="anybody", status=302, parameters=(("back", "a path of the gateway's own to go to afterwards"),),
    ),
    ApiRoute(
        method="GET", path=CALLBACK, handler=oidc_callback, summary="Where the issuer sends the browser.",
        who="anybody", status=302, parameters=(("state", "as it was given"), ("code", "the issuer's")),
    ),
    ApiRoute(
        method="GET", path="/api/v1/sign-in", handler=ways, summary="How one can sign in here.", who="anybody",
        reply=Way,
    ),
    ApiRoute(
        method="POST", path="/api/v1/sign-in", handler=sign_in, summary="Sign in by e-mail address and password.",
        who="anybody", body=Password, reply=Begun,
    ),
    ApiRoute(
        method="POST", path="/api/v1/sign-in/code", handler=second_factor, summary="Give the second factor.",
        who="person", pending=True, body=Code, reply=Begun,
    ),
    ApiRoute(
        method="POST", path="/api/v1/sign-out", handler=sign_out, summary="End this session.", who="person",
        pending=True,
    ),
    ApiRoute(
        method="POST", path="/api/v1/set-up", handler=set_up,
        summary="Make the first operator by the link of the first start.", who="anybody", body=SetUp, reply=Begun,
    ),
    ApiRoute(
        method="POST", path="/api/v1/sign-up", handler=sign_up,
        summary="Make oneself an account, where the operator lets strangers.", who="anybody", body=SignUp,
        reply=Begun,
    ),
    ApiRoute(
        method="POST", path="/api/v1/join", handler=join, summary="Take an invitation up as somebody new.",
        who="anybody", body=Join, reply=Begun,
    ),
    ApiRoute(
        method="POST", path="/api/v1/password/forgot", handler=forgot, summary="Have a link for a new password mailed.",
        who="anybody", body=Address,
    ),
    ApiRoute(
        method="POST", path="/api/v1/password/reset", handler=reset, summary="Set a password by a link.",
        who="anybody", body=NewPassword,
    ),
    ApiRoute(method="GET", path="/api/v1/me", handler=me, summary="Who asks, and what they may do.", reply=Me),
    ApiRoute(
        method="PATCH", path="/api/v1/me", handler=patch_me, summary="Give oneself another name.", who="person",
        body=PatchMe,
    ),
    ApiRoute(
        method="POST", path="/api/v1/me/password", handler=change_password, summary="Set another password.",
        who="person", body=ChangePassword,
    ),
    ApiRoute(
        method="GET", path="/api/v1/me/sessions", handler=sessions, summary="One's own sessions.", who="person",
        reply=SessionList,
    ),
    ApiRoute(
        method="DELETE", path="/api/v1/me/sessions/{session}", handler=end_session, summary="End a session.",
        who="person",
    ),
    ApiRoute(
        method="POST", path="/api/v1/me/second-factor", handler=begin_totp,
        summary="A secret for an authenticator.", who="person", reply=Totp,
    ),
    ApiRoute(
        method="POST", path="/api/v1/me/second-factor/confirm", handler=confirm_totp,
        summary="Put it in use; codes for recovery are shown once.", who="person", body=Code, reply=Codes,
    ),
    ApiRoute(
        method="POST", path="/api/v1/me/second-factor/end", handler=end_totp,
        summary="Do without a second factor.", who="person", body=Code,
    ),
)  # fmt: skip
