"""How the parts of signing in are put together: for the gateway, its workers and the command line alike."""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

from llm_router.adapters.installation import installation_secret
from llm_router.adapters.keymaker import new_code, new_id, new_secret, new_token
from llm_router.adapters.notices import MailChannel, MailSettings
from llm_router.adapters.passwords import Argon2Passwords
from llm_router.adapters.sealing import Sealer
from llm_router.engine.oidc import Oidc
from llm_router.engine.people import People
from llm_router.engine.sign_in import SignIns
from llm_router.ports import Books, Clock, Directory, Keyring, Notice
from llm_router.settings.result import AlertSettings, OidcSettings

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

    def _get(self) -> Sealer:
        if self._sealer is None:
            self._sealer = Sealer(installation_secret(self._data_dir), self._purpose)
        return self._sealer


def build_people(directory: Directory, clock: Clock, keyring: Keyring, books: Books) -> People:
    """Accounts and members over a directory; names that keys or credit belong to are taken."""

    async def taken(account: str) -> bool:
        return bool(await keyring.of_account(account, "", 1)) or await books.balance(account) != 0

    return People(directory, clock, new_id=new_id, new_token=new_token, taken=taken)


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


def build_oidc(settings: OidcSettings | None, sign_ins: SignIns) -> Oidc | None:
    """Signing in at an issuer; None where none is configured."""
    if settings is None:
        return None
    from llm_router.adapters.oidc import HttpIssuer  # what it takes is loaded by who has an issuer

    rules, secret = settings.rules, settings.client_secret
    issuer = HttpIssuer(
        rules.issuer, rules.client_id, None if secret is None else secret.reveal(), sign_ins.people.clock
    )
    return Oidc(sign_ins, issuer, rules, new_token=new_token)


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
