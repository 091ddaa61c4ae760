"""The tables of money in and out, checked and resolved."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from urllib.parse import urlsplit

from llm_router.billing.own_keys import OwnKeyFee
from llm_router.domain.money import PUSD_PER_USD
from llm_router.settings.problems import Problems
from llm_router.settings.result import AlertSettings, StripeSettings
from llm_router.settings.schema import AlertsTable, ByokTable, StripeTable
from llm_router.settings.secrets import Secret, SecretError, read_reference

LOCAL_HOSTS = ("127.0.0.1", "::1", "localhost")


class SecretReader:
    """Reads the credentials that tables name. ``read`` False leaves them aside, unread."""

    def __init__(self, environ: Mapping[str, str], folder: Path, problems: Problems, *, read: bool) -> None:
        self._environ = environ
        self._folder = folder
        self._problems = problems
        self._read = read

    def secret(self, reference: str, path: tuple[str | int, ...]) -> Secret | None:
        """The credential; None, and a problem, where there is none."""
        if not self._read:
            return None
        try:
            return read_reference(reference, self._environ, self._folder)
        except SecretError as error:
            self._problems.add(path, str(error))
            return None


def stripe_settings(table: StripeTable, secrets: SecretReader, problems: Problems) -> StripeSettings | None:
    """None where Stripe is not configured, or its credentials are left aside."""
    if table.key is None:
        if table.webhook_secrets or table.success_url is not None:
            problems.add(("stripe", "key"), 'is missing; write it like "env:STRIPE_SECRET_KEY"')
        return None
    if table.success_url is None:
        problems.add(("stripe", "success_url"), "is missing: where customers come back to after paying")
    for name in ("success_url", "cancel_url", "base_url"):
        _check_url(getattr(table, name), name, problems)
    low, high = (
        _cents(table.amount_min, "amount_min", problems),
        _cents(table.amount_max, "amount_max", problems),
    )
    if low < 50:
        problems.add(("stripe", "amount_min"), "must be 0.5 or more, the least that Stripe takes")
    if high < low:
        problems.add(("stripe", "amount_max"), "is less than amount_min")
    key = secrets.secret(table.key, ("stripe", "key"))
    signers = [
        secrets.secret(text, ("stripe", "webhook_secrets", n)) for n, text in enumerate(table.webhook_secrets)
    ]
    if key is None or table.success_url is None:
        return None
    return StripeSettings(
        key=key,
        webhook_secrets=tuple(secret for secret in signers if secret is not None),
        success_url=table.success_url,
        cancel_url=table.success_url if table.cancel_url is None else table.cancel_url,
        cents_min=low,
        cents_max=high,
        by_keys=table.by_keys,
        tolerance_s=table.tolerance_s,
        base_url=table.base_url.rstrip("/"),
    )


def alert_settings(table: AlertsTable, secrets: SecretReader, problems: Problems) -> AlertSettings:
    """Report what is missing of a way that was begun."""
    low = None if table.low_balance is None else table.low_balance * PUSD_PER_USD
    if low is not None and low != int(low):
        problems.add(("alerts", "low_balance"), "has more than 12 digits behind the point")
    _together(table, ("webhook_url", "webhook_secret"), problems)
    # Links are mailed to who asks for them: a server needs nobody whom alerts go to.
    _together(table, ("smtp_host", "mail_from", *(("mail_to",) if table.mail_to else ())), problems)
    _together(table, ("smtp_user", "smtp_password"), problems)
    for address in (*table.mail_to, *((table.mail_from,) if table.mail_from is not None else ())):
        if "@" not in address or not address.isprintable():
            problems.add(
                ("alerts", "mail_to" if address in table.mail_to else "mail_from"), "must be addresses"
            )
    if table.smtp_user is not None and table.smtp_security == "none" and table.smtp_host not in LOCAL_HOSTS:
        problems.add(("alerts", "smtp_security"), "must not be none: the password would be sent in clear")
    return AlertSettings(
        low_pusd=None if low is None else int(low),
        webhook_url=table.webhook_url,
        webhook_secret=_optional(secrets, table.webhook_secret, "webhook_secret"),
        allow_hosts=tuple(host.lower() for host in table.allow_hosts),
        mail_to=table.mail_to,
        mail_from=table.mail_from,
        smtp_host=table.smtp_host,
        smtp_port=table.smtp_port,
        smtp_security=table.smtp_security,
        smtp_user=table.smtp_user,
        smtp_password=_optional(secrets, table.smtp_password, "smtp_password"),
    )


def _optional(secrets: SecretReader, reference: str | None, name: str) -> Secret | None:
    return None if reference is None else secrets.secret(reference, ("alerts", name))


def _together(table: AlertsTable, names: tuple[str, ...], problems: Problems) -> None:
    missing = [name for name in names if not getattr(table, name)]
    if len(missing) < len(names):
        for name in missing:
            problems.add(("alerts", name), f"is missing: {names[0]} and the like need it")


def own_key_fee(table: ByokTable, problems: Problems) -> OwnKeyFee | None:
    """None where accounts may have no provider keys of their own."""
    ppm, request_pusd = table.fee_percent * 10_000, table.fee_request * PUSD_PER_USD
    if ppm != int(ppm):
        problems.add(("byok", "fee_percent"), "has more than 4 digits behind the point")
    if request_pusd != int(request_pusd):
        problems.add(("byok", "fee_request"), "has more than 12 digits behind the point")
    return OwnKeyFee(ppm=int(ppm), request_pusd=int(request_pusd)) if table.enabled else None


def _check_url(url: str | None, name: str, problems: Problems) -> None:
    if url is None:
        return
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = urlsplit("")
    local = parts.hostname in LOCAL_HOSTS
    if not parts.hostname or parts.scheme not in ("https", "http"):
        problems.add(("stripe", name), "must be an https:// address")
    elif parts.scheme == "http" and name == "base_url" and not local:
        problems.add(("stripe", name), "must be https:// unless it is on this machine")


def _cents(amount: Decimal, name: str, problems: Problems) -> int:
    cents = amount * 100
    if cents != int(cents):
        problems.add(("stripe", name), "has more than 2 digits behind the point")
    return int(cents)
