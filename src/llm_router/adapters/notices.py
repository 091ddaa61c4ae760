"""How notices leave: as signed webhooks and as e-mail."""

from __future__ import annotations

import asyncio
import ssl
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from llm_router.adapters.upstream.post import GuardedPost, PostFailed
from llm_router.billing.stripe import signature
from llm_router.ports import Clock, Notice, NoticeRefused

if TYPE_CHECKING:
    from email.message import EmailMessage

SMTP_S = 15.0
"""For each step of a conversation with a mail server."""


class WebhookChannel:
    """Posts notices as JSON, signed as Stripe signs its events, with the name ``llm-router-signature``."""

    def __init__(
        self, *, post: GuardedPost, url: str, secret: str, clock: Clock, name: str = "webhook"
    ) -> None:
        self.name = name
        self._post = post
        self._url = url
        self._secret = secret
        self._clock = clock

    async def send(self, notice: Notice) -> None:
        body = msgspec.json.encode(notice)
        at_s = self._clock.now_ms() // 1000
        headers = (
            ("content-type", "application/json"),
            ("llm-router-signature", f"t={at_s},v1={signature(body, self._secret, at_s)}"),
        )
        try:
            await self._post.post(self._url, headers, body)
        except PostFailed as error:
            raise NoticeRefused(str(error)) from None


class MailSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Attributes: security: ``starttls``, ``tls`` or ``none`` (in clear)."""

    host: str
    port: int
    security: str
    sender: str
    to: tuple[str, ...]
    user: str | None = None
    password: str | None = None

    def __repr__(self) -> str:
        return f"MailSettings(host={self.host!r}, ***)"


class MailChannel:
    """Sends notices by SMTP, in a thread. Where TLS is asked for, nothing is said without it."""

    def __init__(
        self, settings: MailSettings, context: ssl.SSLContext | None = None, *, name: str = "mail"
    ) -> None:
        self.name = name
        self._settings = settings
        self._context = context

    async def send(self, notice: Notice) -> None:
        try:
            await asyncio.to_thread(self._send, notice)
        except OSError as error:  # smtplib's own are such too
            raise NoticeRefused(f"the mail server did not take it ({type(error).__name__})") from None

    def _send(self, notice: Notice) -> None:
        import smtplib  # loaded by those who send mail

        settings = self._settings
        context = self._tls() if settings.security != "none" else None
        if settings.security == "tls":
            client: smtplib.SMTP = smtplib.SMTP_SSL(
                settings.host, settings.port, timeout=SMTP_S, context=context
            )
        else:
            client = smtplib.SMTP(settings.host, settings.port, timeout=SMTP_S)
        with client:
            if settings.security == "starttls":
                client.starttls(context=context)
            if settings.user is not None and settings.password is not None:
                client.login(settings.user, settings.password)
            client.send_message(self._message(notice))

    def _tls(self) -> ssl.SSLContext:
        return ssl.create_default_context() if self._context is None else self._context

    def _message(self, notice: Notice) -> EmailMessage:
        from email.message import EmailMessage
        from email.utils import format_datetime

        message = EmailMessage()
        message["From"] = self._settings.sender
        message["To"] = ", ".join(self._settings.to)
        message["Subject"] = notice.subject
        message["Date"] = format_datetime(datetime.fromisoformat(notice.created))
        message["Message-ID"] = f"<{notice.id}@llm-router>"
        message.set_content(notice.text)
        return message
