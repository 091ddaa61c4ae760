"""How the parts of signing in are put together: for the gateway, its workers and the command line alike."""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from llm_router.adapters.installation import installation_secret
from llm_router.adapters.keymaker import new_code, new_id, new_secret, new_token
from llm_router.adapters.notices import MailChannel, MailSettings
from llm_router.adapters.passwords import Argon2Passwords
from llm_router.adapters.sealing import SSO, Sealer
from llm_router.adapters.upstream.url import parse_url
from llm_router.engine.oidc import Oidc, OidcRules
from llm_router.engine.people import People
from llm_router.engine.sign_in import SignIns
from llm_router.engine.sso import SsoKeeper
from llm_router.ports import Books, Clock, Directory, IssuerCheck, Keyring, Notice, TreasuryBooks
from llm_router.settings.result import AlertSettings, OidcSettings

if TYPE_CHECKING:
    from llm_router.adapters.oidc import HttpIssuer

SECOND_FACTORS = "second factors"
REPEATS = "repeated requests"
"""The purposes of sealing."""


class Seals:
    """Binds secrets to a name, as text; the secret of the installation is read with the first."""

    def __init__(self, data_dir: Path, purpose: str) -> None:
        self._data_dir = data_dir
        self._purpose = purpose
        self._sealer: Sealer | None = None

    def seal(self, name: str, value: bytes) -> str:
        return base64.b64encode(self._get().seal(name, b"", value)).decode()

    def unseal(self, name: str, text: str) -> bytes | None:
        """The value; None if it was not sealed for that name here."""
        return self._get().open(name, b"", base64.b64decode(text))

    def mark(self, name: str, value: bytes) -> str:
        """A keyed digest."""
        return self._get().key(name, value).hex()

    def _get(self) -> Sealer:
        if self._sealer is None:
            self._sealer = Sealer(installation_secret(self._data_dir), self._purpose)
        return self._sealer


def build_people(directory: Directory, clock: Clock, keyring: Keyring, books: Books) -> People:
    """Accounts and members over a directory; names that keys or credit belong to are taken."""

    async def taken(account: str) -> bool:
        return bool(await keyring.of_account(account, "", 1)) or await books.balance(account) != 0

    return People(directory, clock, new_id=new_id, new_token=new_token, taken=taken, key_of=keyring.get)


def build_sign_ins(people: People, data_dir: Path) -> SignIns:
    """Signing in, with secrets sealed for that installation."""
    seals = Seals(data_dir, SECOND_FACTORS)
    return SignIns(
        people,
        Argon2Passwords(),
        new_token=new_token,
        new_code=new_code,
        new_secret=new_secret,
        seal=seals.seal,
        unseal=seals.unseal,
    )


def build_sso(
    settings: OidcSettings | None, hosts: tuple[str, ...], books: TreasuryBooks, clock: Clock, data_dir: Path
) -> SsoKeeper:
    """Where people sign in at an issuer. ``hosts``: of issuers set while it runs that need not be public."""

    async def examine(rules: OidcRules, secret: str | None, told: bool) -> list[IssuerCheck]:
        return await _issuer(rules, secret, clock, hosts, told).examine(rules.scopes)

    return SsoKeeper(
        books=books,
        clock=clock,
        seals=lambda: Sealer(installation_secret(data_dir), SSO),
        examine=examine,
        check_address=lambda address: issuer_problem(address, hosts),
        configured=None if settings is None else settings.rules,
        secret=None
        if settings is None or settings.client_secret is None
        else settings.client_secret.reveal(),
    )


class Issuers:
    """Signing in at the issuer that holds now, by what the keeper knows of it."""

    def __init__(self, keeper: SsoKeeper, sign_ins: SignIns, hosts: tuple[str, ...]) -> None:
        self._keeper = keeper
        self._sign_ins = sign_ins
        self._hosts = hosts
        self._known: tuple[int, int, Oidc] | None = None

    async def now(self) -> Oidc | None:
        """None where there is none. An issuer that stays the same keeps what it was found to be.

        Raises:
            InvalidRequest: the one that was set cannot be opened.
        """
        if self._keeper.configured is not None:
            if self._known is None:
                made = self._made(self._keeper.configured, self._keeper.configured_secret, False)
                self._known = (0, 0, made)
            return self._known[2]
        stored = await self._keeper.stored()
        if stored is None:
            self._known = None
            return None
        if self._known is None or self._known[:2] != (stored.version, stored.changed_ms):
            made = self._made(stored.rules, stored.secret, True)
            self._known = (stored.version, stored.changed_ms, made)
        return self._known[2]

    def _made(self, rules: OidcRules, secret: str | None, told: bool) -> Oidc:
        issuer = _issuer(rules, secret, self._sign_ins.people.clock, self._hosts, told)
        return Oidc(self._sign_ins, issuer, rules, new_token=new_token)


def _issuer(
    rules: OidcRules, secret: str | None, clock: Clock, hosts: tuple[str, ...], told: bool
) -> HttpIssuer:
    """``told``: by the API, and so it may not lead into the network."""
    from llm_router.adapters.oidc import HttpIssuer  # what it takes is loaded by who has an issuer

    return HttpIssuer(
        rules.issuer, rules.client_id, secret, clock, hosts=hosts if told else None, plain=hosts
    )


def issuer_problem(address: str, hosts: tuple[str, ...]) -> str | None:
    """What is wrong with the address of an issuer that is set while the gateway runs; None: nothing."""
    try:
        url = parse_url(address)
    except ValueError as error:
        return f"cannot be used: {error}"
    if "?" in url.target:
        return "must have no query: it is the address as the issuer's tokens name it"
    if not url.origin.secure and not {url.origin.label, url.origin.host} & set(hosts):
        return "must be https://, unless [oidc] allow_hosts of the configuration names its host"
    return None


def build_mailer(alerts: AlertSettings, clock: Clock) -> Callable[[str, str, str], Awaitable[None]] | None:
    """Mail to people, by the server that notices leave by; None where there is none."""
    if alerts.smtp_host is None or alerts.mail_from is None:
        return None
    host, sender, password = alerts.smtp_host, alerts.mail_from, alerts.smtp_password

    async def mail(to: str, subject: str, text: str) -> None:
        settings = MailSettings(
            host=host,
            port=alerts.smtp_port,
            security=alerts.smtp_security,
            sender=sender,
            to=(to,),
            user=alerts.smtp_user,
            password=None if password is None else password.reveal(),
        )
        created = datetime.fromtimestamp(clock.now_ms() / 1000, UTC).isoformat()
        notice = Notice(
            id=new_id("mail"), type="mail", account="", created=created, subject=subject, text=text, data={}
        )
        await MailChannel(settings).send(notice)

    return mail
