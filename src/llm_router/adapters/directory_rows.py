"""Rows of the directory as its stores keep them, and the links of the log of acts."""

from __future__ import annotations

import hashlib

import msgspec

from llm_router.domain.account import (
    Account,
    Act,
    AuditEntry,
    Credentials,
    Handshake,
    Identity,
    Invitation,
    Link,
    Member,
    Noun,
    Person,
    Repeat,
    SignIn,
    Team,
    Tries,
)

GENESIS = bytes(32)
"""What the first act's hash is chained to."""

Row = tuple[str, str, str, str, str | None, int, int | None, str]
"""kind, id, account, person, name, version, expires_ms, body."""

read_noun = msgspec.json.Decoder(Noun).decode
_read_act = msgspec.json.Decoder(Act).decode


def kind_of(noun: Noun | type[Noun]) -> str:
    """The kind of a row: the tag of its class."""
    tag = noun.__struct_config__.tag
    assert isinstance(tag, str)
    return tag


def row_of(noun: Noun) -> Row:
    account, person, name, expires_ms = _found_by(noun)
    body = msgspec.json.encode(noun).decode()
    return (kind_of(noun), noun.id, account, person, name, noun.version, expires_ms, body)


def _found_by(noun: Noun) -> tuple[str, str, str | None, int | None]:
    """Account, person, further name and end of a row."""
    match noun:
        case Account(id=id_):
            return id_, "", None, None
        case Person(id=id_, email=email):
            return "", id_, email, None
        case Member(account=account, person=person):
            return account, person, None, None
        case Team(account=account, title=title):
            return account, "", f"{account}/{title}", None
        case Invitation(account=account, digest=digest, expires_ms=expires_ms):
            return account, "", digest, expires_ms
        case SignIn(person=person, digest=digest, expires_ms=expires_ms):
            return "", person, digest, expires_ms
        case Link(person=of, digest=digest, expires_ms=expires_ms):
            return "", "" if of is None else of, digest, expires_ms
        case Identity(person=person):
            return "", person, None, None
        case Handshake(expires_ms=expires_ms) | Tries(expires_ms=expires_ms) | Repeat(expires_ms=expires_ms):
            return "", "", None, expires_ms
        case Credentials(id=id_):
            return "", id_, None, None
        case _:
            return "", "", None, None


def act_text(act: Act) -> str:
    """An act as it is kept."""
    return msgspec.json.encode(act).decode()


def act_hash(previous: bytes, seq: int, text: str) -> bytes:
    """The link of an act: SHA-256 of the link before, its number and its text."""
    return hashlib.sha256(previous + b"%d:" % seq + text.encode()).digest()


def entry_of(seq: int, text: str, hash_: bytes) -> AuditEntry:
    return AuditEntry(seq=seq, act=_read_act(text), hash=hash_.hex())


class ActChain:
    """Checks the acts one after the other, from the first on."""

    def __init__(self) -> None:
        self.seq = 0
        self._head = GENESIS

    def check(self, seq: int, text: str, hash_: bytes) -> None:
        """
        Raises:
            ValueError: it is not the next, or was changed.
        """
        self.seq += 1
        self._head = act_hash(self._head, self.seq, text)
        if seq != self.seq or self._head != hash_:
            raise ValueError(f"the audit log does not fit together at number {self.seq}")
