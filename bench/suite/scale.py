"""A store of years: keys, exchanges and their entries in bulk, as the ledger would have written them.

Half of all exchanges are of one account, whose keys are as many as those of any other. Each hour has exchanges of
KEYS_A_BLOCK keys, each of them of all MODELS and all TAGS.
"""

from __future__ import annotations

import hashlib
import sqlite3
import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import msgspec
from ledger import RECORD

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
FIRST_MS = 1_700_000_000_000
HOUR_MS = 3_600_000
PRICE = Price(version="bench@1", rates=Rates(input=3_000_000, cache_read=300_000, output=15_000_000))
"""What the lines of a record's cost come to."""
PRICE_TEXT = msgspec.json.encode(PRICE).decode()


def fill(path: Path, *, keys: int, accounts: int, records: int, first_ms: int = FIRST_MS) -> float:
    """Add them to a store that nobody has open; the seconds that it took. ``first_ms``: the first hour of them.

    The chain of hashes, the sums by the hour, the balances and the price of the records are right, so that
    the store opens as any, and ``ledger verify`` proves it. Syncing is off meanwhile.
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
    connection.execute(PUBLISH, (PRICE.version, PRICE_TEXT, FIRST_MS))
    _fill_accounts(connection, accounts)
    _fill_keys(connection, keys, accounts)
    _fill_exchanges(connection, keys, accounts, records, first_ms)
    connection.execute("COMMIT")
    for sql in later:
        connection.execute(sql)
    file_replies(connection)
    connection.execute(
        "UPDATE meta SET value = (SELECT max(hour) + 1 FROM rollups) WHERE name = 'folded'"
    )  # all of them, as a gateway does while it serves
    connection.execute("PRAGMA journal_mode = WAL")
    connection.close()
    return time.monotonic() - begin


def _take_away(connection: sqlite3.Connection) -> list[str]:
    """Triggers and secondary indexes of what is filled; they are made again from the whole."""
    rows = connection.execute(
        "SELECT type, name, sql FROM sqlite_schema WHERE type IN ('index', 'trigger') AND sql IS NOT NULL "
        "AND tbl_name IN ('entries', 'exchanges', 'keys', 'rollups')"
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


def _fill_keys(connection: sqlite3.Connection, keys: int, accounts: int) -> None:
    def rows() -> Iterator[tuple[object, ...]]:
        for number in range(keys):
            key = Key(
                id=_key_id(number), account=_account(number % accounts), name="bench", prefix="sk-lr-ben",
                created_ms=FIRST_MS,
            )  # fmt: skip
            yield key_values(key, hashlib.sha256(b"bench %d" % number).digest())

    connection.executemany(CREATE, rows())


def _fill_exchanges(
    connection: sqlite3.Connection, keys: int, accounts: int, records: int, first_ms: int
) -> None:
    seq, head = connection.execute("SELECT seq, hash FROM entries ORDER BY seq DESC LIMIT 1").fetchone() or (
        0,
        GENESIS,
    )
    posted: dict[str, int] = {}
    entries: list[tuple[object, ...]] = []
    price = digest_of(PRICE_TEXT)

    def enter(
        ref: str, account: str, amount: int, kind: str, now_ms: int, note: str, proof: bytes | None
    ) -> None:
        nonlocal seq, head
        seq += 1
        head = entry_hash(head, seq, ref, account, amount, kind, now_ms, note, proof)
        entries.append((seq, ref, account, amount, kind, now_ms, note, head, proof))
        posted[account] = posted.get(account, 0) + amount

    for first in range(0, records, BLOCK):
        block, hour_ms = first // BLOCK, first_ms + first // BLOCK * HOUR_MS
        key_numbers = _keys_of(block, keys, accounts)
        kinds = list(product(key_numbers, MODELS, TAGS))
        texts = [_record_text(*kind, accounts, hour_ms) for kind in kinds]
        for number in key_numbers:
            enter(
                f"credit:fill-{block}-{number}",
                _account(number % accounts),
                GRANT,
                "grant",
                hour_ms,
                "",
                None,
            )
        exchanges = []
        counts = [0] * len(kinds)
        for at in range(first, min(first + BLOCK, records)):
            kind = at % len(kinds)
            number, (model, _), _ = kinds[kind]
            exchange_id, account = f"gen-{at:026d}", _account(number % accounts)
            reply = f"chatcmpl-{hashlib.blake2b(exchange_id.encode(), digest_size=12).hexdigest()}"
            text = texts[kind].replace("EXCHANGE", exchange_id).replace("REPLY", reply)
            enter(
                f"use:{exchange_id}",
                account,
                -RECORD.cost_pusd,
                "use",
                hour_ms,
                PRICE.version,
                proof_with(text, [price]),
            )
            exchanges.append(
                (exchange_id, account, _key_id(number), reply, hour_ms, model, 200,
                 250_000_000_000, RECORD.cost_pusd, text)
            )  # fmt: skip
            counts[kind] += 1
        connection.executemany("INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", entries)
        entries.clear()
        connection.executemany(
            "INSERT INTO exchanges (id, account, key, reply_id, created_ms, model, status, hold, cost, record) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            exchanges,
        )
        _fill_rollups(connection, hour_ms // HOUR_MS, kinds, counts, accounts)
    connection.executemany(
        "UPDATE accounts SET posted = posted + ? WHERE id = ?",
        ((amount, account) for account, amount in posted.items()),
    )
    connection.execute("UPDATE accounts SET proved = posted")
    connection.execute("UPDATE meta SET value = ? WHERE name = 'proved_seq'", (seq,))


def _keys_of(block: int, keys: int, accounts: int) -> list[int]:
    """The keys of an hour: half of them the large account's, which is the first."""
    half, own = KEYS_A_BLOCK // 2, keys // accounts
    large = [(block * half + number) % own * accounts for number in range(half)]
    others = [(block * half + number) % keys for number in range(half)]
    return list(dict.fromkeys(large + others))


def _record_text(
    number: int, model: tuple[str, str], tags: tuple[str, ...], accounts: int, now_ms: int
) -> str:
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
    return msgspec.json.encode(record).decode()


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
