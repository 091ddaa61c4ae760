"""A store of years: keys, exchanges and their entries in bulk, as the ledger would have written them.

Half of all exchanges are of one account, whose keys are as many as those of any other. Each hour has exchanges of
KEYS_A_BLOCK keys, each of them of all MODELS and all TAGS.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import NamedTuple

import msgspec
from ledger import RECORD

from llm_router.adapters.sqlite.folding import FOLD
from llm_router.adapters.sqlite.keys import CREATE, key_values
from llm_router.adapters.sqlite.prices import PUBLISH
from llm_router.adapters.sqlite.replies import file_replies
from llm_router.adapters.sqlite.schema import GENESIS, digest_of, entry_hash, proof_with
from llm_router.domain.key import Key
from llm_router.domain.price import Price, Rates

BLOCK = 10_000
"""Exchanges that are written at once; they belong to one hour and KEYS_A_BLOCK keys."""
KEYS_A_BLOCK = 100
MODELS = tuple(
    (f"{provider}-{size}", provider)
    for provider in ("anthropic", "openai")
    for size in ("large", "small", "tiny")
)
TAGS: tuple[tuple[str, ...], ...] = ((), ("app",), ("app", "batch"))
TEAMS, USERS = 7, 500
GRANT = 10**13
HOLD = 250_000_000_000
HOUR_MS = 3_600_000
YEAR_MS = 365 * 24 * HOUR_MS
SCATTER = 0x9E3779B97F4A7C15F39CC061
"""Odd: times it, modulo 2**96, numbers become ids that are all different and in no order."""
PRICE = Price(version="bench@1", rates=Rates(input=3_000_000, cache_read=300_000, output=15_000_000))
"""What the lines of a record's cost come to."""
PRICE_TEXT = msgspec.json.encode(PRICE).decode()


def fill(path: Path, *, keys: int, accounts: int, records: int, now_ms: int) -> float:
    """Add them to a store that nobody has open; the seconds that it took.

    The last hour of them is the one before ``now_ms``. The chain of hashes, the sums by the hour, their folds,
    the balances and the price of the records are right, so that the store opens as any, and ``ledger verify``
    proves it. Syncing is off meanwhile. What comes with every record is cheap: its text is put together of
    pieces that the other records of its hour share, and nothing is sorted or read again at the end.
    """
    begin = time.monotonic()
    connection = sqlite3.connect(path, isolation_level=None)
    for pragma in (
        "journal_mode = DELETE",
        "synchronous = OFF",
        "cache_size = -400000",
        "journal_mode = OFF",
    ):
        connection.execute(f"PRAGMA {pragma}")
    later = _take_away(connection)
    connection.execute("BEGIN")
    connection.execute(PUBLISH, (PRICE.version, PRICE_TEXT, now_ms))
    _fill_accounts(connection, accounts)
    _fill_keys(connection, keys, accounts, now_ms - YEAR_MS)
    connection.execute("COMMIT")
    _fill_exchanges(connection, keys, accounts, records, now_ms // HOUR_MS)
    for sql in later:
        connection.execute(sql)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.close()
    with path.open("rb") as file:
        os.fsync(file.fileno())
    return time.monotonic() - begin


class Census(NamedTuple):
    """How much is in a store."""

    keys: int
    accounts: int
    records: int


def census(path: Path) -> Census:
    """Of a store that nobody has open."""
    connection = sqlite3.connect(path)
    found = connection.execute(
        "SELECT (SELECT count(*) FROM keys), (SELECT count(*) FROM accounts), "
        "(SELECT coalesce(max(number), 0) FROM exchanges)"
    ).fetchone()
    connection.close()
    return Census(*found)


def _take_away(connection: sqlite3.Connection) -> list[str]:
    """What slows the filling most: the indexes of keys, and the trigger that looks for the last entry at each
    new one. The statements that make them again."""
    rows = connection.execute(
        "SELECT type, name, sql FROM sqlite_schema WHERE sql IS NOT NULL "
        "AND (type = 'index' AND tbl_name = 'keys' OR name = 'entries_gapless')"
    ).fetchall()
    for kind, name, _ in rows:
        connection.execute(f"DROP {kind} {name}")
    return [sql for _, _, sql in rows]


def _account(number: int) -> str:
    return f"acct_{number:08d}"


def _key_id(number: int) -> str:
    return f"key_{number:016d}"


def _fill_accounts(connection: sqlite3.Connection, accounts: int) -> None:
    connection.executemany(
        "INSERT INTO accounts (id, posted, held) VALUES (?, 0, 0)",
        ((_account(number),) for number in range(accounts)),
    )


def _fill_keys(connection: sqlite3.Connection, keys: int, accounts: int, created_ms: int) -> None:
    def rows() -> Iterator[tuple[object, ...]]:
        for number in range(keys):
            key = Key(
                id=_key_id(number), account=_account(number % accounts), name="bench", prefix="sk-lr-ben",
                created_ms=created_ms,
            )  # fmt: skip
            yield key_values(key, hashlib.sha256(b"bench %d" % number).digest())

    connection.executemany(CREATE, rows())


def _fill_exchanges(
    connection: sqlite3.Connection, keys: int, accounts: int, records: int, to_hour: int
) -> None:
    """Hour by hour, each filed and folded as a gateway does while it serves."""
    end = Chain(connection)
    first_hour = to_hour - -(-records // BLOCK)
    for first in range(0, records, BLOCK):
        block = first // BLOCK
        hour = first_hour + block
        connection.execute("BEGIN")
        _fill_hour(
            connection,
            end,
            _keys_of(block, keys, accounts),
            accounts,
            range(first, min(first + BLOCK, records)),
            hour,
        )
        connection.execute("COMMIT")
        file_replies(connection)
        connection.execute(FOLD, (hour + 1,))


class Chain:
    """The end of the entries, and those that are to be added."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        last = connection.execute("SELECT seq, hash FROM entries ORDER BY seq DESC LIMIT 1").fetchone()
        self.seq, self.head = last or (0, GENESIS)
        self.entries: list[tuple[object, ...]] = []

    def add(
        self, ref: str, account: str, amount: int, kind: str, now_ms: int, note: str, proof: bytes | None
    ) -> None:
        self.seq = seq = self.seq + 1
        self.head = head = entry_hash(self.head, seq, ref, account, amount, kind, now_ms, note, proof)
        self.entries.append((seq, ref, account, amount, kind, now_ms, note, head, proof))

    def write(self, connection: sqlite3.Connection) -> None:
        """The entries, and what they make of the balances."""
        posted: dict[str, int] = {}
        for _, _, account, amount, *_ in self.entries:
            posted[account] = posted.get(account, 0) + amount
        connection.executemany("INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", self.entries)
        connection.executemany(
            "UPDATE accounts SET posted = posted + ? WHERE id = ?",
            [(amount, account) for account, amount in posted.items()],
        )
        self.entries.clear()


def _fill_hour(
    connection: sqlite3.Connection,
    end: Chain,
    key_numbers: list[int],
    accounts: int,
    numbers: range,
    hour: int,
) -> None:
    hour_ms, price, cost = hour * HOUR_MS, [digest_of(PRICE_TEXT)], RECORD.cost_pusd
    kinds = list(product(key_numbers, MODELS, TAGS))
    made = [
        (
            _account(number % accounts),
            _key_id(number),
            model[0],
            *_pieces(number, model, tags, accounts, hour_ms),
        )
        for number, model, tags in kinds
    ]
    for number in key_numbers:
        end.add(
            f"credit:fill-{hour}-{number}", _account(number % accounts), GRANT, "grant", hour_ms, "", None
        )
    exchanges = []
    for at in numbers:
        account, key, model, before, between, after = made[at % len(made)]
        exchange_id, reply = f"gen-{at:026d}", f"chatcmpl-{at * SCATTER & 2**96 - 1:024x}"
        text = f"{before}{exchange_id}{between}{reply}{after}"
        end.add(f"use:{exchange_id}", account, -cost, "use", hour_ms, PRICE.version, proof_with(text, price))
        exchanges.append((exchange_id, account, key, reply, hour_ms, model, 200, HOLD, cost, text))
    end.write(connection)
    connection.executemany(
        "INSERT INTO exchanges (id, account, key, reply_id, created_ms, model, status, hold, cost, record) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        exchanges,
    )
    counts = [0] * len(kinds)
    for at in numbers:
        counts[at % len(kinds)] += 1
    _fill_rollups(connection, hour, kinds, counts, accounts)


def _keys_of(block: int, keys: int, accounts: int) -> list[int]:
    """The keys of an hour: half of them the large account's, which is the first."""
    half, own = KEYS_A_BLOCK // 2, keys // accounts
    large = [(block * half + number) % own * accounts for number in range(half)]
    others = [(block * half + number) % keys for number in range(half)]
    return list(dict.fromkeys(large + others))


def _pieces(
    number: int, model: tuple[str, str], tags: tuple[str, ...], accounts: int, now_ms: int
) -> tuple[str, str, str]:
    """A record's text before its id, between that and the id of its reply, and after it."""
    record = msgspec.structs.replace(
        RECORD,
        price_version=PRICE.version,
        reply_id="REPLY",
        id="EXCHANGE",
        account=_account(number % accounts),
        key=_key_id(number),
        team=f"team{number % TEAMS}",
        user=f"user{number % USERS}",
        tags=tags,
        model=model[0],
        provider=model[1],
        created_ms=now_ms,
    )
    before, rest = msgspec.json.encode(record).decode().split("EXCHANGE")
    between, after = rest.split("REPLY")
    return before, between, after


def _fill_rollups(
    connection: sqlite3.Connection,
    hour: int,
    kinds: list[tuple[int, tuple[str, str], tuple[str, ...]]],
    counts: list[int],
    accounts: int,
) -> None:
    usage = RECORD.usage
    assert usage is not None
    assert RECORD.first_token_ms is not None
    each = (
        1, 0, usage.input_tokens + usage.cache_read_tokens, usage.cache_read_tokens, usage.output_tokens,
        RECORD.cost_pusd, 0, 0, RECORD.first_token_ms, 1, RECORD.duration_ms,
    )  # fmt: skip
    connection.executemany(
        f"INSERT INTO rollups VALUES ({', '.join('?' * 19)})",
        (
            (hour, _account(number % accounts), _key_id(number), f"team{number % TEAMS}", f"user{number % USERS}",
             *model, ",".join(tags), *(value * count for value in each))
            for (number, model, tags), count in zip(kinds, counts, strict=True)
            if count
        ),
    )  # fmt: skip
