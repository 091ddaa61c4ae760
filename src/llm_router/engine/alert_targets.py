"""Ways in which alerts leave that the operator names while the gateway runs: sealed documents beside the ledger.

They are read when something is told or sent, which is rare, and kept nowhere else: so all processes and nodes go
by the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Literal
from urllib.parse import urlsplit

import msgspec

from llm_router.domain.errors import IdempotencyConflict, InvalidRequest, NotFound
from llm_router.engine.own_keys import Seals
from llm_router.ports import Clock, Document, NoticeChannel, TreasuryBooks

KIND = "alert_target"
TARGETS_MAX = 50
SECRET_CHARS_MIN, SECRET_CHARS_MAX = 16, 200
URL_CHARS_MAX = 2000
RECIPIENTS_MAX = 20
SHOWN_CHARS_MAX = 12
"""Longer parts of a path may be what opens a webhook, and are not shown."""

TYPES: Mapping[str, str] = {
    "credits.low": "The balance of an account fell below `low_balance` of the configuration.",
    "auto_topup.disabled": "The auto top-up of an account failed, and was ended.",
}
"""What can be told of."""

RESERVED = ("webhook", "mail")
"""What those of the configuration are called."""

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")
_EMAIL = re.compile(r"[!-?A-~]{1,64}@[A-Za-z0-9.-]{1,180}")
_SECRET = re.compile(rf"[!-~]{{{SECRET_CHARS_MIN},{SECRET_CHARS_MAX}}}")


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """A way, as it is sealed.

    Attributes:
        url, secret: of a webhook, and what its notices are signed with. to: addresses, of mail.
        types: what it is told of; () is everything.
    """

    name: str
    kind: Literal["webhook", "mail"]
    created_ms: int
    url: str | None = None
    secret: str | None = None
    to: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    enabled: bool = True

    def __repr__(self) -> str:
        return f"Target(name={self.name!r}, kind={self.kind!r}, ***)"

    def wants(self, type_: str) -> bool:
        """Whether it is told of that."""
        return self.enabled and (not self.types or type_ in self.types)


class AlertTargets:
    """Those in the store.

    Options:
        configured: names of those that the configuration has.
        channel: how notices leave by one. Raises InvalidRequest where it cannot be, and says why.
    """

    def __init__(
        self,
        *,
        books: TreasuryBooks,
        clock: Clock,
        seals: Callable[[], Seals],
        configured: tuple[str, ...],
        channel: Callable[[Target], NoticeChannel],
    ) -> None:
        self._books = books
        self._clock = clock
        self._seals = seals
        self._configured = configured
        self.channel = channel

    async def all(self) -> dict[str, Target | None]:
        """By name; None is one that cannot be opened, since it was sealed with the secret of another installation."""
        found = await self._books.documents(KIND)
        return {document.id: self._opened(document) for document in found}

    async def get(self, name: str) -> Target | None:
        """None if there is none that can be opened."""
        document = await self._books.document(KIND, name)
        return None if document is None else self._opened(document)

    async def add(self, target: Target) -> Target:
        """Keep a new one.

        Raises:
            InvalidRequest: it cannot be.
            IdempotencyConflict: there is one of that name.
        """
        if not _NAME.fullmatch(target.name):
            raise InvalidRequest(
                "name must be 1 to 40 small letters, digits, - and _, and begin with a letter or digit",
                param="name",
            )
        made = self._checked(target)
        there = await self._books.documents(KIND)
        if target.name in RESERVED:
            raise InvalidRequest(
                f"'{target.name}' is what one of the configuration is called: take another name", param="name"
            )
        if any(document.id == target.name for document in there):
            raise _taken(target.name)
        if len(there) >= TARGETS_MAX:
            raise InvalidRequest(f"there may be {TARGETS_MAX} of them; remove one", param="name")
        if not await self._put(made, 1):
            raise _taken(target.name)
        return made

    async def change(self, name: str, change: Callable[[Target], Target]) -> Target:
        """Keep another in its place; one of the configuration can only be changed there.

        Raises:
            NotFound: there is none.
            InvalidRequest: what it becomes cannot be.
            IdempotencyConflict: somebody else was faster.
        """
        document = await self._found(name)
        before = self._opened(document)
        if before is None:
            raise InvalidRequest(f"'{name}' cannot be opened here any more: remove it, and add it anew")
        after = self._checked(change(before))
        if not await self._put(after, document.version + 1):
            raise IdempotencyConflict(
                f"'{name}' was changed meanwhile: read it again, and repeat the change.", code="overtaken"
            )
        return after

    async def remove(self, name: str) -> None:
        """Delete one; what waits for it is not sent any more.

        Raises:
            NotFound: there is none.
        """
        await self._found(name)
        await self._books.remove_document(KIND, name)

    async def _found(self, name: str) -> Document:
        if name in self._configured:
            raise IdempotencyConflict(
                f"'{name}' stands in the configuration ([alerts]), and is changed there", code="configured"
            )
        document = await self._books.document(KIND, name)
        if document is None:
            raise NotFound(f"alerts do not leave by '{name[:100]}'", param="name")
        return document

    def _checked(self, target: Target) -> Target:
        """
        Raises:
            InvalidRequest
        """
        for type_ in target.types:
            if type_ not in TYPES:
                raise InvalidRequest(
                    f"nothing is told of '{type_[:100]}'; there is {', '.join(TYPES)}", param="types"
                )
        if target.kind == "mail":
            target = _checked_mail(target)
        elif target.to:
            raise InvalidRequest("to belongs to mail: a webhook has url", param="to")
        elif target.url is None or len(target.url) > URL_CHARS_MAX:
            raise InvalidRequest(f"url must be an address of at most {URL_CHARS_MAX} characters", param="url")
        elif target.secret is None or not _SECRET.fullmatch(target.secret):
            raise InvalidRequest(
                f"secret must be {SECRET_CHARS_MIN} to {SECRET_CHARS_MAX} visible characters without blanks",
                param="secret",
            )
        self.channel(target)
        return target

    async def _put(self, target: Target, version: int) -> bool:
        seals = self._seals()
        document = Document(
            kind=KIND,
            id=target.name,
            account="",
            version=version,
            open=False,
            created_ms=self._clock.now_ms(),
            body=seals.seal("", seals.key("", target.name.encode()), msgspec.json.encode(target)),
        )
        return await self._books.put_document(document)

    def _opened(self, document: Document) -> Target | None:
        seals = self._seals()
        value = seals.open("", seals.key("", document.id.encode()), document.body)
        return None if value is None else msgspec.json.decode(value, type=Target)


def _checked_mail(target: Target) -> Target:
    if target.url is not None or target.secret is not None:
        raise InvalidRequest("url and secret belong to a webhook: mail has to", param="url")
    if not 1 <= len(target.to) <= RECIPIENTS_MAX:
        raise InvalidRequest(f"to must be 1 to {RECIPIENTS_MAX} addresses", param="to")
    if not all(_EMAIL.fullmatch(each) for each in target.to):
        raise InvalidRequest("to must be addresses such as ada@example.com", param="to")
    return target


def _taken(name: str) -> IdempotencyConflict:
    return IdempotencyConflict(f"alerts leave by '{name}' already: take another name", code="taken")


def shown_url(url: str) -> str:
    """A webhook's address without what may open it: its query, and long parts of its path."""
    parts = urlsplit(url)
    path = "/".join(each if len(each) <= SHOWN_CHARS_MAX else "..." for each in parts.path.split("/"))
    return f"{parts.scheme}://{parts.netloc}{path}{'?...' if parts.query else ''}"
