"""The prices that something was charged by: written when first used, never changed."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from hashlib import sha256

import msgspec

from llm_router.adapters.sqlite.schema import digest_of, proof_with
from llm_router.domain.price import Price
from llm_router.domain.price_rule import PriceRule
from llm_router.domain.record import ExchangeRecord

PUBLISHED = "SELECT version, body FROM price_versions"
PUBLISH = "INSERT OR IGNORE INTO price_versions VALUES (?, ?, ?)"

ADD_RULE = "INSERT INTO price_rules VALUES (?, ?, ?)"

_rules = msgspec.json.Decoder(PriceRule)
_decoder = msgspec.json.Decoder(Price)


_UNKNOWN = digest_of("")


class KnownPrices:
    """The published prices of a store, in memory."""

    def __init__(self, rows: Iterable[tuple[str, str]]) -> None:
        """Begin with the (version, JSON) of what is published."""
        self._texts = dict(rows)
        self._digests: dict[str | None, bytes] = {}
        self._seen: dict[str, Price] = {}

    def add(self, price: Price) -> str | None:
        """Know a price; return its text if it has to be written, None if it was known.

        Raises:
            ValueError: that version was published with other rates.
        """
        if self._seen.get(price.version) is price:
            return None
        text = self._texts.get(price.version)
        if text is not None:
            if figures(_decoder.decode(text)) != figures(price):
                raise ValueError(f"the price version {price.version} was published with other rates")
            self._seen[price.version] = price
            return None
        text = self._texts[price.version] = msgspec.json.encode(price).decode()
        self._seen[price.version] = price
        return text

    def forget(self, version: str) -> None:
        """It could not be written."""
        self._texts.pop(version, None)
        self._digests.pop(version, None)
        self._seen.pop(version, None)

    def proof_of(self, record: ExchangeRecord, text: bytes) -> bytes:
        """What :func:`llm_router.adapters.sqlite.schema.proof_of` says of the text of a record and its prices."""
        digests = self._digests
        if record.price_version in digests and not record.other_prices:
            return sha256(sha256(text).digest() + digests[record.price_version]).digest()
        return proof_with(text.decode(), [self._digest(version) for version in versions_of(record)])

    def _digest(self, version: str) -> bytes:
        """That of "" for one that is not known."""
        text = self._texts.get(version)
        if text is None:
            return _UNKNOWN
        digest = self._digests[version] = digest_of(text)
        return digest


def read_rules(connection: sqlite3.Connection) -> list[PriceRule]:
    """The published rules in their order."""
    return [
        _rules.decode(body) for (body,) in connection.execute("SELECT body FROM price_rules ORDER BY number")
    ]


def versions_of(record: ExchangeRecord) -> list[str]:
    """The versions that a record was charged by: its own, then those of other models."""
    own = [] if record.price_version is None else [record.price_version]
    return own if not record.other_prices else own + [version for _, version in record.other_prices]


def decode_price(text: str) -> Price:
    """
    Raises:
        msgspec.ValidationError: it is none.
    """
    return _decoder.decode(text)


def figures(price: Price) -> Price:
    """What a version stands for, wherever it was read."""
    return msgspec.structs.replace(price, source=None, valid_from=None)
