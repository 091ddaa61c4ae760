"""Where people sign in at an issuer: what the configuration says, else what the operator said while it runs.

What he said is one sealed document beside the ledger, read when somebody signs in: so it holds at once, for all
processes and nodes.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from llm_router.domain.account import Role
from llm_router.domain.errors import IdempotencyConflict, InvalidRequest, NotFound
from llm_router.engine.moments import iso_time
from llm_router.engine.oidc import OidcRules
from llm_router.engine.operator import Arguments, Context, Nothing, Result, account_name, label
from llm_router.engine.own_keys import Seals
from llm_router.ports import Clock, Document, IssuerCheck, TreasuryBooks

KIND, ID = "sso", "issuer"

CALLBACK = "/api/v1/sign-in/oidc/callback"
"""Where issuers send browsers back to."""

TEXT_CHARS_MAX = 500
NAMES_MAX = 200
SECRET_CHARS_MAX = 2000
UNREADABLE = "it was sealed with the secret of another installation, and cannot be opened: set it again"

_DOMAIN = re.compile(r"(?!-)[a-z0-9-]{1,63}(\.[a-z0-9-]{1,63})+")
_VISIBLE = re.compile(r"[!-~]+")


class StoredSso(msgspec.Struct, frozen=True, kw_only=True):
    """What is sealed. ``version``: of the document that it was opened from."""

    rules: OidcRules
    secret: str | None = None
    changed_ms: int
    version: int = 0

    def __repr__(self) -> str:
        return f"StoredSso(rules={self.rules!r}, ***)"


Examine = Callable[[OidcRules, str | None, bool], Awaitable[list[IssuerCheck]]]
"""Asks an issuer whether it is one. The secret is sent along if there is one; True: its address is an operator's word
over the API, and may not lead into the network."""

CheckAddress = Callable[[str], str | None]
"""What is wrong with the address of an issuer; None: nothing."""


class SsoKeeper:
    """Options: configured: the rules of the configuration, which go first; secret: whether it names one."""

    def __init__(
        self,
        *,
        books: TreasuryBooks,
        clock: Clock,
        seals: Callable[[], Seals],
        examine: Examine,
        check_address: CheckAddress,
        configured: OidcRules | None = None,
        secret: str | None = None,
    ) -> None:
        self.configured = configured
        self.configured_secret = secret
        self.examine = examine
        self._books = books
        self._clock = clock
        self._seals = seals
        self._check_address = check_address

    async def stored(self) -> StoredSso | None:
        """What the operator said; None: nothing.

        Raises:
            InvalidRequest: it cannot be opened.
        """
        document = await self._books.document(KIND, ID)
        if document is None:
            return None
        seals = self._seals()
        value = seals.open("", seals.key("", ID.encode()), document.body)
        if value is None:
            raise InvalidRequest(f"The issuer that was set is not known: {UNREADABLE}.", code="unreadable")
        found = msgspec.json.decode(value, type=StoredSso)
        return msgspec.structs.replace(found, version=document.version)

    async def put(self, rules: OidcRules, secret: str | None) -> StoredSso:
        """Keep an issuer in place of another.

        Args:
            secret: None keeps the one of before, if it is of the same client of the same issuer; "" is none.

        Raises:
            InvalidRequest: it cannot be.
            IdempotencyConflict: the configuration names one, or somebody else was faster.
        """
        self.check_free()
        problem = self._check_address(rules.issuer)
        if problem is not None:
            raise InvalidRequest(f"issuer {problem}", param="issuer")
        document = await self._books.document(KIND, ID)
        if secret is None:
            secret = await self._secret_of(rules)
        kept = StoredSso(rules=rules, secret=secret or None, changed_ms=self._clock.now_ms())
        version = 1 if document is None else document.version + 1
        seals = self._seals()
        body = seals.seal("", seals.key("", ID.encode()), msgspec.json.encode(kept))
        written = await self._books.put_document(
            Document(
                kind=KIND, id=ID, account="", version=version, open=False, created_ms=kept.changed_ms, body=body
            )
        )  # fmt: skip
        if not written:
            raise IdempotencyConflict(
                "The issuer was changed meanwhile: read it again, and repeat the change.", code="overtaken"
            )
        return kept

    async def remove(self) -> None:
        """
        Raises:
            NotFound: nothing is kept.
        """
        if not await self._books.remove_document(KIND, ID):
            raise NotFound("No issuer was set while the gateway runs.")

    def check_free(self) -> None:
        """
        Raises:
            IdempotencyConflict: the configuration decides.
        """
        if self.configured is not None:
            raise IdempotencyConflict(
                "The issuer stands in the configuration ([oidc]), and is changed there.", code="configured"
            )

    async def _secret_of(self, rules: OidcRules) -> str | None:
        """The secret of before, which goes to nobody but the issuer that it was given for."""
        try:
            before = await self.stored()
        except InvalidRequest:  # it is being replaced
            return None
        same = before is not None and (
            (before.rules.issuer, before.rules.client_id) == (rules.issuer, rules.client_id)
        )
        return before.secret if same and before is not None else None


class SetSso(Arguments, frozen=True, kw_only=True):
    """``sso.set``. ``secret``: None keeps the one of before, "" is none. ``domains``: of e-mail addresses that may
    sign in; [] is any."""

    issuer: str
    client_id: str
    secret: str | None = None
    name: str = "SSO"
    scopes: str = "openid email profile"
    account: str = "default"
    groups_claim: str = "groups"
    roles: dict[str, Role] = {}
    default_role: Role | None = None
    operators: list[str] = []
    domains: list[str] = []
    emails_verified: bool = False

    def __repr__(self) -> str:
        return f"SetSso(issuer={self.issuer!r}, ***)"


class TestSso(Arguments, frozen=True, kw_only=True):
    """``sso.test``. ``issuer``: None is the one that holds."""

    issuer: str | None = None


async def show_sso(arguments: Nothing, context: Context) -> Result:
    """Where people sign in, and who decides that; never the secret."""
    keeper = _keeper(context)
    problem, stored = None, None
    try:
        stored = await keeper.stored()
    except InvalidRequest:
        problem = UNREADABLE
    kept = stored is not None or problem is not None
    if keeper.configured is not None:
        shown = _shown(keeper.configured, keeper.configured_secret is not None)
        return {**shown, "source": "config", "kept": kept, "changed": None, "problem": None}
    if stored is None:
        return {
            **_NONE,
            "source": "stored" if kept else None,
            "kept": kept,
            "changed": None,
            "problem": problem,
        }
    changed = iso_time(stored.changed_ms)
    shown = _shown(stored.rules, stored.secret is not None)
    return {**shown, "source": "stored", "kept": True, "changed": changed, "problem": None}


async def set_sso(arguments: SetSso, context: Context) -> Result:
    """Have people sign in at an issuer from now on.

    Raises:
        InvalidRequest: it cannot be.
        IdempotencyConflict: the configuration decides, or somebody else was faster.
    """
    await _keeper(context).put(_rules(arguments), _secret(arguments.secret))
    return await show_sso(Nothing(), context)


async def remove_sso(arguments: Nothing, context: Context) -> Result:
    """Forget the issuer; what the configuration says holds again.

    Raises:
        NotFound: nothing is kept.
    """
    await _keeper(context).remove()
    return {"id": "sso", "removed": True}


async def test_sso(arguments: TestSso, context: Context) -> Result:
    """Ask an issuer whether one can sign in there, as far as it tells without somebody who does.

    Raises:
        NotFound: none is set, and none is named.
    """
    keeper = _keeper(context)
    rules, secret, told = keeper.configured, keeper.configured_secret, False
    if rules is None and (stored := await keeper.stored()) is not None:
        rules, secret, told = stored.rules, stored.secret, True
    if arguments.issuer is not None and (rules is None or arguments.issuer != rules.issuer):
        rules, secret, told = (
            OidcRules(name="", issuer=_text(arguments.issuer, "issuer"), client_id=""),
            None,
            True,
        )
    if rules is None:
        raise NotFound("No issuer is set: name one.", param="issuer")
    checks = await keeper.examine(rules, secret, told)
    return {
        "ok": all(check.ok for check in checks),
        "issuer": rules.issuer,
        "checks": [msgspec.structs.asdict(check) for check in checks],
    }


def _rules(said: SetSso) -> OidcRules:
    """
    Raises:
        InvalidRequest
    """
    if "openid" not in said.scopes.split():
        raise InvalidRequest("scopes must name openid", param="scopes")
    for param, names in (("roles", said.roles), ("operators", said.operators), ("domains", said.domains)):
        if len(names) > NAMES_MAX or any(len(each) > TEXT_CHARS_MAX or not each for each in names):
            raise InvalidRequest(
                f"{param} must be at most {NAMES_MAX} names of 1 to {TEXT_CHARS_MAX} characters", param=param
            )
    domains = tuple(each.strip().lower().removeprefix("@") for each in said.domains)
    for domain in domains:
        if not _DOMAIN.fullmatch(domain):
            raise InvalidRequest("domains must be names such as example.com", param="domains")
    return OidcRules(
        name=label(said.name, "name"),
        issuer=_text(said.issuer, "issuer"),
        client_id=_text(said.client_id, "client_id"),
        scopes=said.scopes,
        account=account_name(said.account),
        groups_claim=_text(said.groups_claim, "groups_claim"),
        roles=said.roles,
        default_role=said.default_role,
        operators=tuple(said.operators),
        domains=domains,
        emails_verified=said.emails_verified,
    )


def _text(text: str, param: str) -> str:
    if len(text) > TEXT_CHARS_MAX or not _VISIBLE.fullmatch(text):
        raise InvalidRequest(
            f"{param} must be 1 to {TEXT_CHARS_MAX} visible characters without blanks", param=param
        )
    return text


def _secret(text: str | None) -> str | None:
    if not text:
        return text
    secret = text.strip()
    if len(secret) > SECRET_CHARS_MAX or not _VISIBLE.fullmatch(secret):
        raise InvalidRequest(
            "the secret holds blanks, line breaks or characters that no secret has", param="client_secret"
        )
    return secret


def _shown(rules: OidcRules, secret: bool) -> Result:
    told: dict[str, Any] = msgspec.to_builtins(rules)
    return {"id": "sso", **told, "client_secret_set": secret, "redirect_path": CALLBACK}


_NONE: Result = {
    **_shown(OidcRules(name="SSO", issuer="", client_id=""), False),
    "issuer": None,
    "client_id": None,
}


def _keeper(context: Context) -> SsoKeeper:
    if context.sso is None:
        raise InvalidRequest("this gateway's store keeps no issuer", code="not_supported")
    return context.sso
