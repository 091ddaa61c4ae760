"""The tables, how they are made and brought up to date, and the link between entries.

Entries can only be added: triggers refuse UPDATE, DELETE and TRUNCATE. Each node numbers its own
entries and chains them by hash, so that no node waits for another's: a chain of all entries together
would make every commit of every node wait for the one before.
"""

from __future__ import annotations

import hashlib

import asyncpg
import msgspec

from llm_router.adapters.postgres.folding import FOLDS_DDL, MORE_FOLDS_DDL
from llm_router.adapters.store_errors import StoreError, StoreTooNew, StoreTooOld

SCHEMA = "llm_router"
"""The schema of the database that holds all tables."""

GENESIS = bytes(32)
"""What the first entry of a node is chained to."""

_MIGRATION_LOCK = 0x4C4C4D52
"""The advisory lock under which tables are made and changed."""

# 4600000000000000000 is domain.money.MAX_PUSD, the most that an account may hold.
_DDL = """
CREATE TABLE meta (
    name text PRIMARY KEY,
    value bigint NOT NULL
);
INSERT INTO meta VALUES ('schema', 0);

-- Processes that use the store. A node whose time is over is closed by another one, which voids its holds.
CREATE TABLE nodes (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL,
    started timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires timestamptz NOT NULL,
    closed boolean NOT NULL DEFAULT false,
    number bigint NOT NULL DEFAULT 0, -- of its last entry
    head bytea NOT NULL CHECK (length(head) = 32) -- hash of its last entry
) WITH (fillfactor = 50);
CREATE INDEX nodes_living ON nodes (expires) WHERE NOT closed;

-- Every move of an account, of its budgets and of its sums is made under the lock of its row.
CREATE TABLE accounts (
    id text PRIMARY KEY,
    posted bigint NOT NULL CHECK (posted BETWEEN -4600000000000000000 AND 4600000000000000000),
    held bigint NOT NULL CHECK (held >= 0),
    budgets integer NOT NULL DEFAULT 0, -- how many there are
    owed bigint NOT NULL DEFAULT 0, -- of payments that were taken back; nothing is held while it is more than 0
    CHECK (posted - held >= 0)
) WITH (fillfactor = 50);

-- Open holds, and those whose node died before it could resolve them. A resolved hold is gone:
-- its exchange tells what became of it.
CREATE TABLE holds (
    exchange_id text PRIMARY KEY,
    account text NOT NULL,
    amount bigint NOT NULL CHECK (amount >= 0),
    payer text NOT NULL, -- JSON
    shares text NOT NULL, -- JSON: where budgets count it
    price_version text NOT NULL,
    node bigint NOT NULL,
    created_ms bigint NOT NULL,
    voided_ms bigint -- when an orphan was found; NULL while it is open
);

CREATE TABLE entries (
    node bigint NOT NULL,
    number bigint NOT NULL,
    seq bigint GENERATED ALWAYS AS IDENTITY,
    ref text NOT NULL UNIQUE,
    account text NOT NULL,
    amount bigint NOT NULL CHECK (amount <> 0 AND amount BETWEEN -4600000000000000000 AND 4600000000000000000),
    kind text NOT NULL,
    created_ms bigint NOT NULL,
    note text NOT NULL,
    hash bytea NOT NULL CHECK (length(hash) = 32),
    PRIMARY KEY (node, number),
    CHECK (kind = 'grant' AND amount > 0 OR kind IN ('use', 'adjust') AND amount < 0)
);
CREATE INDEX entries_account ON entries (account, seq);
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'rows of % are never changed or deleted', TG_TABLE_NAME; END $$;
CREATE TRIGGER entries_only_added BEFORE UPDATE OR DELETE ON entries
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER entries_kept BEFORE TRUNCATE ON entries
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Every price that something was charged by, so that it can be calculated again, and what the operator sells at.
CREATE TABLE price_versions (
    version text PRIMARY KEY,
    body text NOT NULL, -- JSON of the price
    first_ms bigint NOT NULL
);
CREATE TABLE price_rules (
    number bigint PRIMARY KEY,
    id text NOT NULL UNIQUE,
    body text NOT NULL -- JSON of the rule
);
CREATE TRIGGER price_versions_only_added BEFORE UPDATE OR DELETE ON price_versions
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER price_rules_only_added BEFORE UPDATE OR DELETE ON price_rules
    FOR EACH ROW EXECUTE FUNCTION refuse_change();

-- Orders, vouchers and settings of accounts, see ports.Document.
CREATE TABLE documents (
    kind text NOT NULL,
    id text COLLATE "C" NOT NULL,
    account text NOT NULL,
    version bigint NOT NULL CHECK (version > 0),
    open boolean NOT NULL,
    created_ms bigint NOT NULL,
    body bytea NOT NULL, -- JSON
    PRIMARY KEY (kind, id)
);
CREATE INDEX documents_account ON documents (kind, account, id);
CREATE INDEX documents_open ON documents (kind, id) WHERE open;
CREATE INDEX entries_credits ON entries (account, seq) WHERE kind <> 'use';

CREATE TABLE limits (
    id text PRIMARY KEY,
    body text NOT NULL -- JSON of the limit
);

CREATE TABLE exchanges (
    id text PRIMARY KEY,
    account text NOT NULL,
    key text NOT NULL,
    reply_id text,
    created_ms bigint NOT NULL,
    model text,
    status integer NOT NULL,
    hold bigint, -- what was held for it; NULL if nothing was
    cost bigint NOT NULL CHECK (cost >= 0),
    record text NOT NULL -- JSON of the whole record
);
CREATE INDEX exchanges_reply ON exchanges (reply_id) WHERE reply_id IS NOT NULL;

CREATE TABLE keys (
    id text PRIMARY KEY,
    digest bytea NOT NULL UNIQUE CHECK (length(digest) = 32),
    account text NOT NULL,
    created_ms bigint NOT NULL,
    revoked_ms bigint,
    body text NOT NULL -- JSON of the key as it was created
);

CREATE TABLE budgets (
    id text PRIMARY KEY,
    account text NOT NULL,
    body text NOT NULL -- JSON of the budget
);
CREATE INDEX budgets_account ON budgets (account);

-- What is spent and held of a budget, by session ('' for none) and bucket of time.
CREATE TABLE spends (
    budget text NOT NULL,
    session text NOT NULL,
    bucket bigint NOT NULL,
    spent bigint NOT NULL,
    held bigint NOT NULL CHECK (held >= 0),
    opened bigint NOT NULL CHECK (opened >= 0), -- open holds that are counted here
    seen_ms bigint NOT NULL, -- when the last was admitted of what is counted here
    PRIMARY KEY (budget, session, bucket)
) WITH (fillfactor = 50);

-- Sums of the exchanges, see billing/rollups.py.
CREATE TABLE rollups (
    hour bigint NOT NULL,
    account text NOT NULL,
    key text NOT NULL,
    team text NOT NULL,
    "user" text NOT NULL,
    model text NOT NULL,
    provider text NOT NULL,
    requests bigint NOT NULL,
    errors bigint NOT NULL,
    input_tokens bigint NOT NULL,
    cached_tokens bigint NOT NULL,
    output_tokens bigint NOT NULL,
    cost bigint NOT NULL,
    absorbed bigint NOT NULL,
    operator_cost bigint NOT NULL,
    first_token_ms bigint NOT NULL,
    first_tokens bigint NOT NULL,
    duration_ms bigint NOT NULL,
    PRIMARY KEY (hour, account, key, team, "user", model, provider)
) WITH (fillfactor = 50);
"""

# Not by to_regclass: while the lock is awaited, that goes on believing what the session saw before.
_HAS_META = (
    "SELECT 1 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
    "WHERE n.nspname = $1 AND c.relname = 'meta'"
)

# What was issued, see ports.Paper; and what reports by account are read by.
_PAPERS = """
CREATE TABLE papers (
    series text NOT NULL,
    number bigint NOT NULL,
    id text NOT NULL,
    account text NOT NULL,
    created_ms bigint NOT NULL,
    body text NOT NULL, -- JSON
    PRIMARY KEY (series, number),
    UNIQUE (series, id)
);
CREATE FUNCTION refuse_gap() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF NEW.number <> (SELECT coalesce(max(number), 0) + 1 FROM papers WHERE series = NEW.series) THEN
        RAISE unique_violation USING MESSAGE = 'papers are numbered without a gap';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER papers_gapless BEFORE INSERT ON papers FOR EACH ROW EXECUTE FUNCTION refuse_gap();
CREATE TRIGGER papers_only_added BEFORE UPDATE OR DELETE ON papers
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER papers_kept BEFORE TRUNCATE ON papers
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE INDEX exchanges_time ON exchanges (account, created_ms, id COLLATE "C");
CREATE INDEX rollups_account ON rollups (account, hour);
"""

_SESSIONS = """
-- What sessions have used, see adapters/postgres/sessions.py.
CREATE TABLE sessions (
    account text NOT NULL,
    name text NOT NULL,
    state bytea NOT NULL, -- JSON; empty while nothing is known
    touched_ms bigint NOT NULL,
    PRIMARY KEY (account, name)
) WITH (fillfactor = 50);
CREATE INDEX sessions_touched ON sessions (touched_ms);
"""

# Keys can be changed, and get another text while the one before still works.
_KEYS = """
ALTER TABLE keys ADD COLUMN version bigint NOT NULL DEFAULT 1;
ALTER TABLE keys ADD COLUMN old_digest bytea CHECK (old_digest IS NULL OR length(old_digest) = 32);
ALTER TABLE keys ADD COLUMN old_until_ms bigint;
CREATE UNIQUE INDEX keys_old ON keys (old_digest) WHERE old_digest IS NOT NULL;
CREATE INDEX keys_account ON keys (account, created_ms, id);
"""

# Who there is and what they did, see ports.Directory. All acts are one chain, in their order.
_DIRECTORY = """
CREATE TABLE directory (
    kind text NOT NULL,
    id text COLLATE "C" NOT NULL,
    account text NOT NULL,
    person text NOT NULL,
    name text, -- by which a row is found too
    version bigint NOT NULL CHECK (version > 0),
    expires_ms bigint,
    body text NOT NULL, -- JSON
    PRIMARY KEY (kind, id)
);
CREATE UNIQUE INDEX directory_name ON directory (kind, name) WHERE name IS NOT NULL;
CREATE INDEX directory_account ON directory (kind, account, id);
CREATE INDEX directory_person ON directory (kind, person, id);
CREATE INDEX directory_expires ON directory (expires_ms) WHERE expires_ms IS NOT NULL;
CREATE TABLE acts (
    seq bigint PRIMARY KEY,
    account text NOT NULL,
    at_ms bigint NOT NULL,
    body text NOT NULL, -- JSON of the act
    hash bytea NOT NULL CHECK (length(hash) = 32)
);
CREATE INDEX acts_account ON acts (account, seq);
CREATE TRIGGER acts_only_added BEFORE UPDATE OR DELETE ON acts
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER acts_kept BEFORE TRUNCATE ON acts
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
"""

_BODIES = """
CREATE TABLE bodies (
    account text NOT NULL,
    id text NOT NULL,
    key text NOT NULL,
    users bytea[] NOT NULL,
    created_ms bigint NOT NULL,
    expires_ms bigint NOT NULL,
    sealed_with text NOT NULL,
    content bytea NOT NULL,
    PRIMARY KEY (account, id)
);
ALTER TABLE bodies ALTER content SET STORAGE EXTERNAL; -- sealed: nothing can be packed
CREATE INDEX bodies_expiry ON bodies (expires_ms);
CREATE INDEX bodies_of_key ON bodies (account, key, created_ms);
CREATE INDEX bodies_of_user ON bodies USING gin (users);
CREATE INDEX bodies_sealed ON bodies (sealed_with);
CREATE TABLE bodies_withdrawn (
    account text NOT NULL,
    id text,
    key text,
    user_mark bytea,
    before_ms bigint NOT NULL,
    forget_ms bigint NOT NULL
);
CREATE INDEX bodies_withdrawn_account ON bodies_withdrawn (account);
"""

MIGRATIONS = {
    1: _DDL,
    2: _PAPERS,
    3: _SESSIONS,
    4: _KEYS + _DIRECTORY,
    5: FOLDS_DDL,
    6: _BODIES,
    7: MORE_FOLDS_DDL,
}
"""What leads from the version before to this one, in one transaction each. Of version 0 there is nothing."""


async def prepare(connection: asyncpg.Connection, place: str) -> bool:
    """Make the tables in an empty database, or check that they are of our version.

    Return whether they were made. Of several nodes that start at once, one makes them.

    Raises:
        StoreTooNew, StoreTooOld, StoreError: as their names say.
    """
    if await stored_version(connection) == 0:
        return 1 in await migrate(connection, place)  # of others that start now, another one made them
    await check(connection, place)
    return False


async def check(connection: asyncpg.Connection, place: str) -> None:
    """
    Raises:
        StoreTooNew, StoreTooOld: the tables are not of our version.
        StoreError: there are none.
    """
    newest = max(MIGRATIONS)
    version = await stored_version(connection)
    if version == 0:
        raise StoreError(
            f"The database {place} has no tables of llm-router yet; llm-router serve makes them."
        )
    if version > newest:
        raise _too_new(place, version)
    if version < newest:
        raise StoreTooOld(
            f"The database {place} was written by an earlier version of llm-router (schema {version}; this one "
            f"needs {newest}). Stop all nodes, then bring it up to date with: llm-router migrate"
        )


async def stored_version(connection: asyncpg.Connection) -> int:
    """The version of the tables; 0 if there are none."""
    if await connection.fetchval(_HAS_META, SCHEMA) is None:
        return 0
    version = await connection.fetchval(f"SELECT value FROM {SCHEMA}.meta WHERE name = 'schema'")  # noqa: S608
    return 0 if version is None else int(version)


async def migrate(connection: asyncpg.Connection, place: str) -> list[int]:
    """Bring the tables up to date, one version after the other; each one wholly or not at all.

    Return the versions that were gone through.

    Raises:
        StoreTooNew: they are of a later version.
        StoreError: the database refused; what the message names was not done.
    """
    done = []
    while (step := await _next(connection, place)) is not None:
        done.append(step)
    return done


async def _next(connection: asyncpg.Connection, place: str) -> int | None:
    """Take one step; None if there is none left. The version is read under the lock."""
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _MIGRATION_LOCK)
        version = await stored_version(connection)
        if version > max(MIGRATIONS):
            raise _too_new(place, version)
        step = version + 1
        if step not in MIGRATIONS:
            return None
        try:
            await connection.execute(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
            await connection.execute(MIGRATIONS[step])
            await connection.execute("UPDATE meta SET value = $1 WHERE name = 'schema'", step)
        except asyncpg.PostgresError as error:
            raise StoreError(f"The tables of schema {step} cannot be made in {place}: {error}") from error
    return step


def _too_new(place: str, version: int) -> StoreTooNew:
    return StoreTooNew(
        f"The database {place} was written by a later version of llm-router (schema {version}; this one knows "
        f"{max(MIGRATIONS)}). Install that version or a later one."
    )


def entry_hash(previous: bytes, entry: tuple[int, int, str, str, int, str, int, str], record: str) -> bytes:
    """The link of an entry: SHA-256 of the previous link, the row as a JSON array and its record.

    Args:
        entry: node, number, ref, account, amount, kind, created_ms, note.
        record: JSON of the exchange that a use charges, as it is stored; "" for others.
    """
    return hashlib.sha256(previous + msgspec.json.encode(entry) + record.encode()).digest()
