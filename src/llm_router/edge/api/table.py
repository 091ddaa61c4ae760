"""The route table of the API: one row an endpoint, with what it takes to be allowed.

Rights are decided before a handler runs. A row whose path names an object says how that object is found
(``loads``): its own account decides, and what is not there is told like what one may not see.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, get_args

import msgspec

from llm_router.access.subject import Subject, check, check_house, missing
from llm_router.domain import late
from llm_router.domain.account import Actor, SignIn
from llm_router.domain.errors import InvalidRequest, NotFound
from llm_router.domain.money import format_usd, parse_usd, pusd_of
from llm_router.edge.http import Request

if TYPE_CHECKING:
    from llm_router.edge.api.desk import Desk

PAGE_DEFAULT, PAGE_MAX = 50, 200

JSON = "application/json"

Who = Literal["anybody", "person", "subject"]
"""Who may ask at all: also who has not signed in; a person in a session; a person or a key."""


class Body(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a request says. Members that nobody knows are mistakes."""


class Dollars:
    """An amount that a body names: a JSON number, or text such as ``12.50``."""

    __slots__ = ("pusd",)

    def __init__(self, pusd: int) -> None:
        self.pusd = pusd

    @property
    def text(self) -> str:
        """As the commands take it."""
        return format_usd(self.pusd)


def _read_member(kind: type, value: object) -> Any:
    assert kind is Dollars
    if isinstance(value, str):
        return Dollars(parse_usd(value))
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise ValueError("an amount of dollars is a number, or text such as 12.50")
    return Dollars(pusd_of(Decimal(value)))


@cache
def _decoder(kind: type[Body]) -> msgspec.json.Decoder[Body]:
    amounts = any(Dollars in (field.type, *get_args(field.type)) for field in msgspec.structs.fields(kind))
    if not amounts:  # numbers of members that go on as they are stay numbers
        return msgspec.json.Decoder(kind)
    return msgspec.json.Decoder(kind, dec_hook=_read_member, float_hook=Decimal)


def read_body(raw: bytes, kind: type[Body]) -> Body:
    """
    Raises:
        msgspec.ValidationError, msgspec.DecodeError, UnicodeDecodeError, RecursionError: it is no such body.
    """
    return _decoder(kind).decode(raw or b"{}")


class Proof(Body, frozen=True, kw_only=True):
    """A request with a password, a code or the token of a link. No digest of it is kept: it could be guessed from it
    at leisure. So an Idempotency-Key means nothing here: a repeated one is a new one."""


def said(body: Body) -> dict[str, Any]:
    """The members of a body, without those that are null."""
    return {name: value for name, value in msgspec.structs.asdict(body).items() if value is not None}


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """What an answer says."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """An answer with more than a body.

    Attributes:
        cookies: values of Set-Cookie headers.
        location: where the browser is to go.
    """

    value: object = None
    status: int | None = None
    cookies: tuple[str, ...] = ()
    location: str | None = None


class Stream(msgspec.Struct, frozen=True, kw_only=True):
    """An answer in pieces, each made when the one before is sent; given up when the client leaves.

    Attributes:
        filename: under which a browser keeps it; None: it is read as it comes.
        over: what is said in place of the next piece to who may not read it any more; such an answer is looked at
            before each piece. None: it breaks off, and is looked at from time to time.
    """

    pieces: AsyncGenerator[bytes, None]
    content_type: str
    filename: str | None = None
    over: bytes | None = None


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    """An object that a path names, and whose it is."""

    account: str
    value: Any


class Ask:
    """A request that is allowed, as its handler has it.

    Attributes:
        subject: who asks. account: in which account; loaded: the object that the path names.
        by: the same for the audit log. sign_in: the session, of a person in a browser.
    """

    def __init__(self, desk: Desk, request: Request, parameters: Mapping[str, str], by: Actor) -> None:
        self.desk = desk
        self.request = request
        self.parameters = parameters
        self.by = by
        self.account = ""
        self.loaded: Any = None
        self.body: Any = None
        self.who: Subject | None = None
        self.sign_in: SignIn | None = None

    @property
    def subject(self) -> Subject:
        """Who asks."""
        assert self.who is not None, "rows for anybody have none"
        return self.who

    def check(self, permission: str, what: str | None = None) -> None:
        """Refuse what the subject may not do in the account of the request.

        Raises:
            NotFound, Forbidden
        """
        check(self.subject, permission, self.account, what)

    def limit(self) -> int:
        """How many rows of a page are asked for.

        Raises:
            InvalidRequest
        """
        text = self.request.parameter("limit")
        if text is None:
            return PAGE_DEFAULT
        if not (text.isascii() and text.isdigit() and len(text) < 6 and 1 <= int(text) <= PAGE_MAX):
            raise InvalidRequest(f"'limit' must be from 1 to {PAGE_MAX}.", param="limit")
        return int(text)

    def after(self) -> str:
        """The cursor of the page before."""
        return self.request.parameter("after") or ""


Handler = Callable[[Ask], Awaitable[object]]
Holds = Callable[[Ask, str], Awaitable[bool]]
Loader = Callable[["Desk", Mapping[str, str]], Awaitable[Loaded | None]]


class ApiRoute(msgspec.Struct, frozen=True, kw_only=True):
    """One endpoint.

    Attributes:
        path: exact, or with ``{name}`` for one part of the path.
        permission: what it takes; None for what is the asker's own.
        house: the permission is one of the gateway and not of an account.
        loads: finds the object that the path names; what: the word for it.
        holds: whether an account has the object that the path names, where only its account finds it.
        body: the type of the request's body; None if it has none. reply: that of the answer.
        status: of an answer that is none of an error. media: what it can come as.
        parameters: of the query, with what they are.
        pending: a session that still lacks its second factor may ask, too.
        fixed: the answer is the same for everybody, for as long as the process lives.
    """

    method: str
    path: str
    handler: Handler
    summary: str
    who: Who = "subject"
    permission: str | None = None
    house: bool = False
    loads: Loader | None = None
    holds: Holds | None = None
    what: str = ""
    body: type[Body] | None = None
    reply: Any = dict[str, Any]
    status: int = 200
    media: tuple[str, ...] = (JSON,)
    parameters: tuple[tuple[str, str], ...] = ()
    pending: bool = False
    fixed: bool = False

    @property
    def writes(self) -> bool:
        return self.method != "GET"

    @property
    def once(self) -> bool:
        """Whether an Idempotency-Key is heard."""
        return self.writes and not (self.body is not None and issubclass(self.body, Proof))

    @property
    def of_account(self) -> bool:
        """Whether an account can be named by the query."""
        return (
            self.permission is not None
            and not self.house
            and self.loads is None
            and "{account}" not in self.path
        )


class ApiTable:
    """Finds the row of a request."""

    def __init__(self, routes: tuple[ApiRoute, ...]) -> None:
        self.routes = routes
        self._patterns = [
            (late.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]{1,300})", r.path)), r) for r in routes
        ]

    def find(self, method: str, path: str) -> tuple[ApiRoute | None, dict[str, str], set[str]]:
        """The row and its path parameters; else the methods that the path does take."""
        methods: set[str] = set()
        for pattern, route in self._patterns:
            match = pattern.fullmatch(path)
            if match is not None:
                if route.method == method:
                    return route, match.groupdict(), set()
                methods.add(route.method)
        return None, {}, methods


async def admit(route: ApiRoute, ask: Ask) -> None:
    """Find the account and the object of a request, and refuse what the subject may not do with them.

    Raises:
        NotFound, Forbidden, InvalidRequest
    """
    if route.permission is None:
        return
    what = f"{route.what} '{next(iter(ask.parameters.values()))[:100]}'" if route.what else None
    if route.house:
        check_house(ask.subject, route.permission, what)
        if route.loads is None:
            return
    if route.loads is None:
        ask.account = ask.parameters.get("account") or await _account_of_object(route, ask) or account_of(ask)
        check(ask.subject, route.permission, ask.account)
        if route.writes and ask.subject.operator and not await ask.desk.people.is_there(ask.account):
            raise NotFound(missing(f"account '{ask.account[:100]}'"))
        return
    loaded = await route.loads(ask.desk, ask.parameters)
    if loaded is None:
        raise NotFound(missing(what or "such object"))
    ask.account, ask.loaded = loaded.account, loaded.value
    if not route.house:
        check(ask.subject, route.permission, loaded.account, what)


async def _account_of_object(route: ApiRoute, ask: Ask) -> str | None:
    """The account of who is in several that has what the path names; None where an account is said, or need not be.

    Raises:
        NotFound: none has it in which the subject may see it.
    """
    own = ask.subject.accounts()
    if route.holds is None or len(own) < 2 or ask.request.parameter("account") is not None:
        return None
    assert route.permission is not None, "of an account"
    sees = route.permission.partition(":")[0] + ":read"
    for account in own:
        if sees in ask.subject.permissions(account) and await route.holds(ask, account):
            return account
    raise NotFound(f"Your accounts have no such thing as '{next(iter(ask.parameters.values()))[:100]}'.")


def account_of(ask: Ask) -> str:
    """The account that a request is about: named by the query, or the only one of who asks.

    Raises:
        InvalidRequest: there are several.
        NotFound: there is none.
    """
    named = ask.request.parameter("account")
    if named is not None:
        return named
    own = ask.subject.accounts()
    if len(own) == 1:
        return own[0]
    if not own and not ask.subject.operator:
        raise NotFound("You are a member of no account: ask for an invitation.")
    raise InvalidRequest(
        f"Say which account: ?account=NAME{' of ' + ', '.join(own[:20]) if own else ''}.", param="account"
    )
