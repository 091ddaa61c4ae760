"""The tables, how a connection to them is set up, and what may be wrong with them.

The file must survive a power cut with every acknowledged row: WAL with synchronous=FULL syncs each
commit (https://www.sqlite.org/pragma.html#pragma_synchronous). Entries can only be added: triggers
refuse UPDATE and DELETE, and each row carries the hash of itself and of the row before it.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Iterable
from pathlib import Path

import msgspec

from llm_router.adapters.sqlite.folding import FOLDS_DDL, MORE_FOLDS_DDL
from llm_router.adapters.store_errors import StoreCorrupt as StoreCorrupt
from llm_router.adapters.store_errors import StoreError as StoreError
from llm_router.adapters.store_errors import StoreTooNew as StoreTooNew
from llm_router.adapters.store_errors import StoreTooOld as StoreTooOld

SCHEMA_VERSION = 12
APPLICATION_ID = 0x4C4C4D52  # "LLMR": marks the file as ours
GENESIS = bytes(32)
"""What the first entry's hash is chained to."""

_encode = msgspec.json.Encoder().encode

# 4600000000000000000 is domain.money.MAX_PUSD, the most that an account may hold.
_DDL = """
CREATE TABLE meta (
    name TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO meta VALUES ('epoch', 0), ('proved_seq', 0);

CREATE TABLE accounts (
    id TEXT PRIMARY KEY,
    posted INTEGER NOT NULL CHECK (posted BETWEEN -4600000000000000000 AND 4600000000000000000),
    held INTEGER NOT NULL CHECK (held >= 0),
    proved INTEGER NOT NULL DEFAULT 0, -- the sum of its entries up to meta.proved_seq
    CHECK (posted - held >= 0)
) STRICT, WITHOUT ROWID;

-- Open holds, and those whose process died before it could resolve them. A resolved hold is gone:
-- its exchange tells what became of it.
CREATE TABLE holds (
    exchange_id TEXT PRIMARY KEY,
    account TEXT NOT NULL,
    amount INTEGER NOT NULL CHECK (amount >= 0),
    price_version TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    created_ms INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('open', 'orphaned')),
    voided_ms INTEGER, -- when an orphan was found
    CHECK ((state = 'open') = (voided_ms IS NULL))
) STRICT, WITHOUT ROWID;

CREATE TABLE entries (
    seq INTEGER PRIMARY KEY,
    ref TEXT NOT NULL UNIQUE,
    account TEXT NOT NULL,
    amount INTEGER NOT NULL CHECK (amount <> 0 AND amount BETWEEN -4600000000000000000 AND 4600000000000000000),
    kind TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    note TEXT NOT NULL,
    hash BLOB NOT NULL CHECK (length(hash) = 32),
    CHECK (kind = 'grant' AND amount > 0 OR kind IN ('use', 'adjust') AND amount < 0)
) STRICT;
CREATE INDEX entries_account ON entries (account, seq);
CREATE TRIGGER entries_gapless BEFORE INSERT ON entries
    WHEN new.seq <> (SELECT coalesce(max(seq), 0) + 1 FROM entries)
    BEGIN SELECT raise(ABORT, 'entries are numbered without a gap'); END;
CREATE TRIGGER entries_update BEFORE UPDATE ON entries
    BEGIN SELECT raise(ABORT, 'entries are never changed'); END;
CREATE TRIGGER entries_delete BEFORE DELETE ON entries
    BEGIN SELECT raise(ABORT, 'entries are never deleted'); END;

CREATE TABLE exchanges (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    account TEXT NOT NULL,
    key TEXT NOT NULL,
    reply_id TEXT,
    created_ms INTEGER NOT NULL,
    model TEXT,
    status INTEGER NOT NULL,
    hold INTEGER, -- what was held for it; NULL if nothing was asked for
    cost INTEGER NOT NULL CHECK (cost >= 0),
    record TEXT NOT NULL -- JSON of the whole record
) STRICT;
CREATE INDEX exchanges_reply ON exchanges (reply_id) WHERE reply_id IS NOT NULL;

CREATE TABLE keys (
    id TEXT PRIMARY KEY,
    digest BLOB NOT NULL UNIQUE CHECK (length(digest) = 32),
    account TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    revoked_ms INTEGER,
    body TEXT NOT NULL -- JSON of the key as it was created
) STRICT, WITHOUT ROWID;
"""

_BUDGETS = """
CREATE TABLE budgets (
    id TEXT PRIMARY KEY,
    body TEXT NOT NULL -- JSON of the budget
) STRICT, WITHOUT ROWID;

-- What is spent of a budget, by session ('' for none) and bucket of time.
CREATE TABLE spends (
    budget TEXT NOT NULL,
    session TEXT NOT NULL,
    bucket INTEGER NOT NULL,
    spent INTEGER NOT NULL,
    seen_ms INTEGER NOT NULL, -- when the last was admitted of what is counted here
    PRIMARY KEY (budget, session, bucket)
) STRICT, WITHOUT ROWID;

-- Sums of the exchanges, see billing/rollups.py.
CREATE TABLE rollups (
    hour INTEGER NOT NULL,
    account TEXT NOT NULL,
    key TEXT NOT NULL,
    team TEXT NOT NULL,
    user TEXT NOT NULL,
    model TEXT NOT NULL,
    provider TEXT NOT NULL,
    requests INTEGER NOT NULL,
    errors INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    cost INTEGER NOT NULL,
    absorbed INTEGER NOT NULL,
    operator_cost INTEGER NOT NULL,
    first_token_ms INTEGER NOT NULL,
    first_tokens INTEGER NOT NULL,
    duration_ms INTEGER NOT NULL,
    PRIMARY KEY (hour, account, key, team, user, model, provider)
) STRICT, WITHOUT ROWID;
"""

# Sums from the records that were there before there were sums.
_FILL_ROLLUPS = """
INSERT INTO rollups
SELECT created_ms / 3600000, account, key, '', '', coalesce(model, ''),
    coalesce(record ->> '$.provider', ''), count(*), sum(record ->> '$.error_code' IS NOT NULL),
    sum(coalesce(record ->> '$.usage.input_tokens', 0) + coalesce(record ->> '$.usage.cache_read_tokens', 0)
        + coalesce(record ->> '$.usage.cache_write_tokens', 0)
        + coalesce(record ->> '$.usage.cache_write_1h_tokens', 0)
        + coalesce(record ->> '$.usage.input_audio_tokens', 0)),
    sum(coalesce(record ->> '$.usage.cache_read_tokens', 0)),
    sum(coalesce(record ->> '$.usage.output_tokens', 0) + coalesce(record ->> '$.usage.reasoning_tokens', 0)
        + coalesce(record ->> '$.usage.output_audio_tokens', 0)
        + coalesce(record ->> '$.usage.output_image_tokens', 0)),
    sum(cost), sum(coalesce(record ->> '$.absorbed_pusd', 0)), 0,
    sum(coalesce(record ->> '$.first_token_ms', 0)), sum(record ->> '$.first_token_ms' IS NOT NULL),
    sum(coalesce(record ->> '$.duration_ms', 0))
FROM exchanges GROUP BY 1, 2, 3, 6, 7;
"""

# Every price that something was charged by, so that it can be calculated again when the catalogue has
# another one; and in each entry the digest of what its amount was calculated from.
_PRICES = """
CREATE TABLE price_versions (
    version TEXT PRIMARY KEY,
    body TEXT NOT NULL, -- JSON of the price
    first_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TRIGGER price_versions_update BEFORE UPDATE ON price_versions
    BEGIN SELECT raise(ABORT, 'published prices are never changed'); END;
CREATE TRIGGER price_versions_delete BEFORE DELETE ON price_versions
    BEGIN SELECT raise(ABORT, 'published prices are never deleted'); END;
ALTER TABLE entries ADD COLUMN proof BLOB CHECK (proof IS NULL OR length(proof) = 32);
INSERT INTO meta SELECT 'proofs_from', coalesce(max(seq), 0) + 1 FROM entries;
"""

# Orders, vouchers and settings of accounts, see ports.Document.
_DOCUMENTS = """
CREATE TABLE documents (
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    account TEXT NOT NULL,
    version INTEGER NOT NULL CHECK (version > 0),
    open INTEGER NOT NULL CHECK (open IN (0, 1)),
    created_ms INTEGER NOT NULL,
    body BLOB NOT NULL, -- JSON
    PRIMARY KEY (kind, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX documents_account ON documents (kind, account, id);
CREATE INDEX documents_open ON documents (kind, id) WHERE open = 1;
CREATE INDEX entries_credits ON entries (account, seq) WHERE kind <> 'use';
"""

_LIMITS = """
CREATE TABLE limits (
    id TEXT PRIMARY KEY,
    body TEXT NOT NULL -- JSON of the limit
) STRICT, WITHOUT ROWID;
"""

_PRICE_RULES = """
CREATE TABLE price_rules (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    body TEXT NOT NULL -- JSON of the rule
) STRICT;
CREATE TRIGGER price_rules_update BEFORE UPDATE ON price_rules
    BEGIN SELECT raise(ABORT, 'published prices are never changed'); END;
CREATE TRIGGER price_rules_delete BEFORE DELETE ON price_rules
    BEGIN SELECT raise(ABORT, 'published prices are never deleted'); END;
"""

# What was issued, see ports.Paper; and what reports by account are read by.
_PAPERS = """
CREATE TABLE papers (
    series TEXT NOT NULL,
    number INTEGER NOT NULL,
    id TEXT NOT NULL,
    account TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    body TEXT NOT NULL, -- JSON
    PRIMARY KEY (series, number)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX papers_id ON papers (series, id);
CREATE TRIGGER papers_gapless BEFORE INSERT ON papers
    WHEN new.number <> (SELECT coalesce(max(number), 0) + 1 FROM papers WHERE series = new.series)
    BEGIN SELECT raise(ABORT, 'papers are numbered without a gap'); END;
CREATE TRIGGER papers_update BEFORE UPDATE ON papers
    BEGIN SELECT raise(ABORT, 'what was issued is never changed'); END;
CREATE TRIGGER papers_delete BEFORE DELETE ON papers
    BEGIN SELECT raise(ABORT, 'what was issued is never deleted'); END;
CREATE INDEX exchanges_time ON exchanges (account, created_ms, id);
CREATE INDEX rollups_account ON rollups (account, hour);
"""

# The ids of replies, to find exchanges by. An index on the exchanges themselves would write a page anywhere
# in it for each request, as such ids are random. Here they come by the thousand and in order, to a part
# (adapters/sqlite/replies.py) that is small enough for its pages to be written full.
_REPLIES = """
DROP INDEX exchanges_reply;
CREATE TABLE replies (
    part INTEGER NOT NULL,
    reply_id TEXT NOT NULL,
    number INTEGER NOT NULL, -- of the exchange
    PRIMARY KEY (part, reply_id, number)
) STRICT, WITHOUT ROWID;
INSERT INTO replies SELECT number >> 14, reply_id, number FROM exchanges WHERE reply_id IS NOT NULL
    ORDER BY 1, 2, 3;
INSERT INTO meta SELECT 'replies_to', coalesce(max(number), 0) FROM exchanges;
"""

# Keys can be changed, and get another text while the one before still works.
_KEYS = """
ALTER TABLE keys ADD COLUMN version INTEGER NOT NULL DEFAULT 1;
ALTER TABLE keys ADD COLUMN old_digest BLOB CHECK (old_digest IS NULL OR length(old_digest) = 32);
ALTER TABLE keys ADD COLUMN old_until_ms INTEGER;
CREATE UNIQUE INDEX keys_old ON keys (old_digest) WHERE old_digest IS NOT NULL;
CREATE INDEX keys_account ON keys (account, created_ms, id);
"""

_JOURNAL = """
INSERT INTO meta VALUES ('journal', 0); -- the last generation of the journal that the tables hold wholly
"""

MIGRATIONS = {
    2: _BUDGETS + _FILL_ROLLUPS,
    3: _PRICES,
    4: _DOCUMENTS,
    5: _LIMITS,
    6: _PRICE_RULES,
    7: _PAPERS,
    8: _REPLIES,
    9: _KEYS,
    10: FOLDS_DDL,
    11: _JOURNAL,
    12: MORE_FOLDS_DDL,
}
"""What leads from the version before to this one, in one transaction each."""


PRAGMAS = (
    "PRAGMA synchronous = FULL",
    # Checkpoints are made by a connection of their own: inside a commit they would delay it.
    "PRAGMA wal_autocheckpoint = 0",
    "PRAGMA cache_size = -16384",
)
"""What every connection is told first."""


class StoreLocked(StoreError):
    """Another process has the store open."""

    def __init__(self, path: Path, pid: int | None) -> None:
        who = "another process" if pid is None else f"process {pid}"
        super().__init__(
            f"The data file {path} is in use by {who}. Stop it first, or give --data-dir another folder."
        )
        self.path = path
        self.pid = pid


def connect(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """Open a connection that any one thread at a time may use; transactions are explicit."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5.0)
    try:
        for pragma in PRAGMAS:
            connection.execute(pragma)
        if read_only:
            connection.execute("PRAGMA query_only = ON")
    except BaseException:
        connection.close()
        raise
    return connection


def create_file(path: Path) -> bool:
    """Make the file, readable by its owner only; False if it was there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        return False
    return True


def prepare(connection: sqlite3.Connection, path: Path) -> bool:
    """Create the tables in an empty file, or check that the file is ours and not too new.

    Return whether they were created.

    Raises:
        StoreTooNew, StoreTooOld, StoreCorrupt: as their names say.
    """
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if tables == 0:
        connection.execute("PRAGMA journal_mode = WAL")
        create(connection)
        return True
    version = check_ours(connection, path)
    if version < SCHEMA_VERSION:
        raise StoreTooOld(
            f"{path} was written by an earlier version of llm-router (schema {version}; this one needs "
            f"{SCHEMA_VERSION}). Bring it up to date with: llm-router migrate"
        )
    return False


def check_ours(connection: sqlite3.Connection, path: Path) -> int:
    """The version of the file's schema.

    Raises:
        StoreTooNew, StoreCorrupt: as their names say.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    if application != APPLICATION_ID:
        raise StoreCorrupt(f"{path} is a database of some other program.")
    if version > SCHEMA_VERSION:
        raise StoreTooNew(
            f"{path} was written by a later version of llm-router (schema {version}; this one knows "
            f"{SCHEMA_VERSION}). Install that version or a later one."
        )
    return int(version)


def migrate(connection: sqlite3.Connection) -> list[int]:
    """Bring a file of ours up to date, one version after the other; each one wholly or not at all.

    Return the versions that were gone through. The file must be of an earlier version.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    steps = list(range(version + 1, SCHEMA_VERSION + 1))
    for step in steps:
        try:
            connection.executescript(
                f"BEGIN IMMEDIATE; {MIGRATIONS[step]} PRAGMA user_version = {step}; COMMIT;"
            )
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
    return steps


def create(connection: sqlite3.Connection) -> None:
    """Make the tables of an empty file."""
    steps = "".join(MIGRATIONS[version] for version in sorted(MIGRATIONS))
    connection.executescript(
        f"BEGIN IMMEDIATE; {_DDL} {steps} PRAGMA application_id = {APPLICATION_ID}; "
        f"PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;"
    )


def entry_hash(
    previous: bytes,
    seq: int,
    ref: str,
    account: str,
    amount_pusd: int,
    kind: str,
    created_ms: int,
    note: str,
    proof: bytes | None = None,
) -> bytes:
    """The link of an entry: SHA-256 of the previous link and the row as a JSON array.

    ``proof``: see :func:`proof_of`; an entry without one has a row without it.
    """
    if proof is None:
        text = _encode((seq, ref, account, amount_pusd, kind, created_ms, note))
    else:
        text = _encode((seq, ref, account, amount_pusd, kind, created_ms, note, proof.hex()))
    return hashlib.sha256(previous + text).digest()


def proof_of(record: str, prices: Iterable[str]) -> bytes:
    """The digest of what an amount was calculated from: the text of its record, and of its prices in the
    order in which the record names them ("" for one that is not known)."""
    return proof_with(record, map(digest_of, prices))


def proof_with(record: str, prices: Iterable[bytes]) -> bytes:
    """The same, of prices whose digests are known."""
    return hashlib.sha256(digest_of(record) + b"".join(prices)).digest()


def digest_of(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
