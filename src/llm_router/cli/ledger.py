"""The commands that prove the books, and go on with them where their journal was lost."""

from __future__ import annotations

import argparse
import asyncio
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from llm_router.cli.output import print_json
from llm_router.domain.errors import InvalidRequest, NotFound, ServerError
from llm_router.settings.result import StoreSettings

if TYPE_CHECKING:
    from llm_router.adapters.recount import Verdict
    from llm_router.adapters.sqlite.salvage import Salvage


def verify_ledger(arguments: argparse.Namespace) -> int:
    """Check everything in the books; 1 at the first doubt.

    Raises:
        InvalidRequest: the expected head is malformed.
        NotFound: there is no store.
        ServerError: it cannot be read.
    """
    from llm_router.adapters.clock import SystemClock
    from llm_router.adapters.data_dir import STORE_NAME
    from llm_router.adapters.sqlite.schema import StoreError
    from llm_router.adapters.sqlite.verify import verify
    from llm_router.cli.world import find_place

    path = arguments.file
    if path is None:
        place = find_place(arguments)
        if place.store is not None:
            return _verify_database(place.store, arguments)
        path = place.server.data_dir / STORE_NAME
    if not path.is_file():
        raise NotFound(f"there is no ledger at {path}", code="no_data")
    try:
        verdict = verify(path, SystemClock().now_ms(), _head(arguments.head), copy=arguments.file is not None)
    except (StoreError, sqlite3.Error, OSError) as error:
        raise ServerError(str(error), code="store_unusable") from None
    return _tell(arguments, {"file": str(path)}, verdict, [f"{verdict.seq}:{verdict.head}"])


def _tell(arguments: argparse.Namespace, place: dict[str, object], verdict: Verdict, heads: list[str]) -> int:
    """Print what was found; the exit status."""
    doubt = verdict.doubt
    if arguments.json:
        print_json({**place, "ok": doubt is None, **msgspec.to_builtins(verdict)})
    elif doubt is not None:
        print(f"DOUBT in {doubt.check}: {doubt.where}: {doubt.what}.")
    else:
        (where,) = (value for name, value in place.items() if name != "heads")
        print(
            f"{where}: every figure agrees. {verdict.entries} entries chained, {verdict.exchanges} exchanges "
            f"({verdict.rerated} rated again), {verdict.accounts} accounts, {verdict.rollups} hourly sums, "
            f"{verdict.budgets} budgets, {verdict.papers} papers."
        )
        if verdict.unproven:
            print(f"{verdict.unproven} exchanges are older than stored prices: their lines were added up.")
        if verdict.journal is not None:
            print(_of_journal(verdict))
        print(f"Head: {','.join(heads)}")
    return 0 if doubt is None else 1


def _of_journal(verdict: Verdict) -> str:
    if verdict.journal == "in use":
        return (
            "The journal is in use by a running process and was not looked at: stop it to have that checked."
        )
    if verdict.journaled is None:
        return "No journal is beside the copy: what was in it alone is not in these books."
    if verdict.journal == "absent":
        return "There is no journal beside it, and none is missing."
    return f"The journal is sound; the next start books {verdict.journaled} moves of it."


def salvage_ledger(arguments: argparse.Namespace) -> int:
    """Go on without a journal that the start refuses, and say so in the audit log.

    Raises:
        InvalidRequest: the store is a database, or there is nothing to salvage.
        NotFound: there is no store.
        ServerError: it is in use, or cannot be used.
    """
    from llm_router.adapters.data_dir import STORE_NAME
    from llm_router.adapters.store_errors import StoreError
    from llm_router.cli.world import find_place

    place = find_place(arguments)
    if place.store is not None:
        raise InvalidRequest("a database has no journal beside it", code="no_journal")
    path = place.server.data_dir / STORE_NAME
    if not path.is_file():
        raise NotFound(f"there is no ledger at {path}", code="no_data")
    try:
        done = asyncio.run(_salvage(path, arguments.reason))
    except (StoreError, sqlite3.Error, OSError) as error:
        raise ServerError(str(error), code="store_unusable") from None
    if done is None:
        raise InvalidRequest("the journal is not refused: start the gateway", code="nothing_to_salvage")
    if arguments.json:
        print_json(msgspec.to_builtins(done))
    else:
        print(
            f"The journal {done.doubt}.\nBooked what is sound of it: {len(done.booked)} exchanges"
            + (f", not {', '.join(done.refused)}, which do not fit" if done.refused else "")
            + f". The file is now {done.aside}. The audit log says so; the gateway can start."
        )
    return 0


async def _salvage(path: Path, reason: str) -> Salvage | None:
    """What is about to be done is in the audit log before it is."""
    from llm_router.adapters.clock import SystemClock
    from llm_router.adapters.keymaker import new_id
    from llm_router.adapters.sqlite.salvage import doubt_of, salvage
    from llm_router.adapters.stores import open_directory
    from llm_router.domain.account import COMMAND_LINE, Act, Intent
    from llm_router.engine.auditing import json_of

    doubt, clock = doubt_of(path), SystemClock()
    if doubt is None:
        return None
    act = Act(
        at_ms=clock.now_ms(),
        account="",
        actor=COMMAND_LINE.id,
        actor_name=COMMAND_LINE.name,
        action="ledger.salvage",
        object=path.name,
        before=json_of({"journal": doubt}),
        after=json_of({"reason": reason}),
    )
    directory = await open_directory(path.parent, url=None, password=None)
    try:
        intent = Intent(id=new_id("int"), act=act)
        if not await directory.write([intent], [], []):
            raise ServerError("the audit log cannot be written", code="store_unusable")
        done = salvage(path, clock.now_ms())
        after = json_of({"reason": reason, **({} if done is None else msgspec.to_builtins(done))})
        await directory.write([], [("intent", intent.id)], [msgspec.structs.replace(act, after=after)])
    finally:
        await directory.close()
    return done


def _verify_database(store: StoreSettings, arguments: argparse.Namespace) -> int:
    """Check the books of a database that nodes may be using.

    Raises:
        InvalidRequest: the expected heads are malformed.
        ServerError: it cannot be read.
    """
    from llm_router.adapters.clock import SystemClock
    from llm_router.adapters.store_errors import StoreError
    from llm_router.adapters.stores import verify_database

    password = None if store.password is None else store.password.reveal()
    expected = _heads(arguments.head)
    try:
        verdict, heads = asyncio.run(verify_database(store.url, password, SystemClock().now_ms(), expected))
    except StoreError as error:
        raise ServerError(str(error), code="store_unusable") from None
    told = [f"{node}:{number}:{digest}" for node, (number, digest) in sorted(heads.items())]
    return _tell(arguments, {"database": store.url.partition("?")[0], "heads": told}, verdict, told)


def _head(text: str | None) -> tuple[int, str] | None:
    if text is None:
        return None
    number, _, digest = text.partition(":")
    return _number(number), _digest(digest)


def _heads(text: str | None) -> dict[int, tuple[int, str]]:
    """``NODE:NUMBER:HASH`` of several nodes, by commas."""
    found = {}
    for part in () if not text else text.split(","):
        node, _, rest = part.partition(":")
        number, _, digest = rest.partition(":")
        found[_number(node)] = (_number(number), _digest(digest))
    return found


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise _no_head()
    return int(text)


def _digest(text: str) -> str:
    if len(text) != 64:
        raise _no_head()
    return text.lower()


def _no_head() -> InvalidRequest:
    return InvalidRequest(
        "--head must be as 'llm-router ledger verify' prints it: NUMBER:HASH, of a database NODE:NUMBER:HASH "
        "for each node, by commas",
        param="head",
    )
