"""A journal that was lost, emptied, cut, put back or damaged is told at the start and by the proof; a torn end is not."""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
import zlib
from contextlib import closing, suppress

import msgspec
import pytest
from store_cases import ACME, FixedClock, run
from test_ledger_verify import PRICE, charged

from llm_router.adapters.sqlite import journal, journal_file
from llm_router.adapters.sqlite.journal_file import survey
from llm_router.adapters.sqlite.salvage import doubt_of, salvage
from llm_router.adapters.sqlite.schema import StoreCorrupt
from llm_router.adapters.sqlite.store import SqliteStore
from llm_router.adapters.sqlite.verify import verify
from llm_router.domain.usage import Usage

NOW_MS = FixedClock().now_ms()
HEAD = 12
USAGE = Usage(input_tokens=20, output_tokens=5)


@pytest.fixture(autouse=True)
def small_files(monkeypatch):
    monkeypatch.setattr(journal_file, "JOURNAL_BYTES", 65_536)
    monkeypatch.setattr(journal, "APPLY_S", 3600.0)


@pytest.fixture(scope="module")
def lives(tmp_path_factory):
    """Images of a store that a process left by dying, one after each of its moves: two lives, the second after
    an orderly end. Each move is a frame."""
    folder = tmp_path_factory.mktemp("lives")
    path = folder / "now" / "books.db"

    def image():
        to = folder / f"after {len(list(folder.iterdir()))}"
        shutil.copytree(path.parent, to, ignore=shutil.ignore_patterns("*.lock", "*-shm"))
        images.append(to)

    async def life(first):
        store = await SqliteStore.open(path, clock=FixedClock())
        store.publish(PRICE, 1)
        if first == 0:
            await store.credit("acme", 10**7, "r1", "", 1)
        for number in range(first, first + 3):
            image()
            await store.hold(f"e{number}", ACME, 1000, PRICE.version, 2)
            image()
            await store.settle(charged(f"e{number}", USAGE))
        image()
        if first == 3:  # of which some is in the tables
            assert await store.generation("acme", "e3") is not None
            await store.hold("e6", ACME, 1000, PRICE.version, 2)
            image()
        await store.close()

    images = []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(journal_file, "JOURNAL_BYTES", 65_536)
        patched.setattr(journal, "APPLY_S", 3600.0)
        run(life(0))
        run(life(3))
    images.append(path.parent)
    return images


FIRST, BUSY, BOOKED, ENDED = 6, 13, 14, 15
"""Of the images: at the end of the first life, of the second before and after its moves were booked, and in order."""


@pytest.fixture
def image(lives, tmp_path):
    def made(number=BUSY):
        folder = tmp_path / f"image {len(list(tmp_path.iterdir()))}"
        shutil.copytree(lives[number], folder)
        return folder / "books.db"

    return made


def moves_of(path):
    return path.with_name(path.name + ".journal")


def begun(path):
    """What a start comes to: accounts and the number of entries."""

    async def scenario():
        store = await SqliteStore.open(path, clock=FixedClock())
        try:
            return await store.accounts(), await store.audit()
        finally:
            await store.close()

    return run(scenario())


def doubt(path, **told):
    found = verify(path, NOW_MS, **told).doubt
    assert found is None or found.check == "journal"
    return None if found is None else found.what


def refused(path, words):
    """The start and the proof say so, again and again, and change nothing."""
    before = {file.name: file.read_bytes() for file in path.parent.iterdir() if ".journal" in file.name}
    for _ in range(2):
        with pytest.raises(StoreCorrupt, match=words) as error:
            begun(path)
        assert "llm-router ledger salvage" in str(error.value)
    told = doubt(path)
    assert told is not None
    assert told.removeprefix("it ") in str(error.value)
    after = {file.name: file.read_bytes() for file in path.parent.iterdir() if ".journal" in file.name}
    assert after == before or (not before and list(after.values()) == [b""])


def frames_of(path):
    """Where each frame of the second life begins and ends."""
    data, at, places = moves_of(path).read_bytes(), 0, []
    for _ in survey(data, 0, b"").frames:
        end = at + HEAD + int.from_bytes(data[at + 4 : at + 8], "big")
        places.append((at, end))
        at = end
    return places


def flip(path, at):
    data = bytearray(moves_of(path).read_bytes())
    data[at] ^= 0x10
    moves_of(path).write_bytes(data)


def test_every_image_of_a_process_that_died_is_sound(lives, image):
    assert len(lives) == 16
    for number in range(len(lives)):
        path = image(number)
        verdict = verify(path, NOW_MS)
        assert (verdict.doubt, verdict.journal) == (None, "checked")
        _, entries = begun(path)
        assert entries == 1 + (number // 2 if number < 7 else min(6, (number - 1) // 2))
        verdict = verify(path, NOW_MS)
        assert (verdict.doubt, verdict.journaled, verdict.entries) == (None, 0, entries)


@pytest.mark.parametrize("number", [FIRST, BUSY, BOOKED])
@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda file: file.unlink(), "missing or empty"),
        (lambda file: file.write_bytes(b""), "missing or empty"),
        (lambda file: file.write_bytes(bytes(65_536)), "damaged at byte 0, or was emptied"),
        (lambda file: os.truncate(file, 2_000), "cut short: it has 2000 of its 65536 bytes"),
        (lambda file: os.truncate(file, 65_535), "cut short"),
    ],
    ids=["missing", "empty", "zeros", "short", "one byte short"],
)
def test_a_journal_that_was_lost_is_told(image, number, harm, words):
    path = image(number)
    harm(moves_of(path))
    refused(path, words)


def test_an_older_journal_is_told(image, lives):
    path = image(BOOKED)
    for number in (0, 3, FIRST):
        shutil.copy(moves_of(lives[number] / "books.db"), moves_of(path))
        refused(path, "is older than the tables: it holds generation 1, and they have had [23] already")
    shutil.copy(moves_of(lives[ENDED] / "books.db"), moves_of(path))
    refused(path, "was emptied")


def test_a_newer_journal_is_told(image, lives):
    path = image(FIRST)
    shutil.copy(moves_of(lives[BUSY] / "books.db"), moves_of(path))
    refused(path, "continue other books")


def test_after_an_orderly_end_nothing_is_missed(image, lives):
    for harm in (lambda file: file.unlink(), lambda file: file.write_bytes(bytes(65_536))):
        path = image(ENDED)
        harm(moves_of(path))
        assert doubt(path) is None
        assert begun(path)[1] == 7
    path = image(ENDED)
    shutil.copy(moves_of(lives[FIRST] / "books.db"), moves_of(path))  # all of it is booked
    assert begun(path)[1] == 7


def test_books_of_a_version_that_did_not_say_are_taken_as_they_are(image):
    path = image()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DELETE FROM meta WHERE name = 'journal_of'")
        connection.commit()
    moves_of(path).unlink()
    assert begun(path)[1] == 4


def parts(begin, end):
    """A byte of each part of a frame."""
    return {
        "magic": begin, "length": begin + 6, "length, high": begin + 4, "checksum": begin + 9,
        "array": begin + 12, "generation": begin + 13, "number": begin + 14, "head": begin + 20,
        "moves": begin + 55, "middle": (begin + end) // 2, "last": end - 1,
    }  # fmt: skip


PARTS = list(parts(0, 0))


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("number", [0, 1, 4])
def test_a_damaged_frame_with_sound_ones_behind_it_is_told_with_its_place(image, part, number):
    path = image()
    places = frames_of(path)
    assert len(places) == 7
    begin, end = places[number]
    if number == 0 and part in ("moves", "middle", "last"):
        part = "head"  # it has no moves
    flip(path, parts(begin, end)[part])
    refused(path, f"damaged at byte {begin}: .* {6 - number} sound frames follow, the next at byte {end}")


@pytest.mark.parametrize("part", PARTS)
def test_a_torn_last_frame_is_what_a_crash_leaves(image, part):
    path = image()
    flip(path, parts(*frames_of(path)[-1])[part])
    assert doubt(path) is None
    assert begun(path) == ([("acme", 10**7 - 5 * 700, 0)], 6)


@pytest.mark.parametrize("size", [0, 1, 6, 11, 12, 13, 60, 200])
def test_a_first_frame_that_is_torn_over_the_generation_before_is_what_a_crash_leaves(image, lives, size):
    path = image(BOOKED)
    new = moves_of(path).read_bytes()
    old = moves_of(lives[BUSY] / "books.db").read_bytes()
    moves_of(path).write_bytes(new[:size] + old[size:])
    assert doubt(path) is None
    assert begun(path)[1] == 7
    path = image(BOOKED)
    moves_of(path).write_bytes(old[:512] + new[512:])  # the later sector alone
    assert begun(path)[1] == 7


def written(path, number, moves):
    """Put other moves into a frame, sound as if it had been appended so."""
    data = moves_of(path).read_bytes()
    begin, end = frames_of(path)[number]
    frame = msgspec.msgpack.decode(data[begin + HEAD : end], type=journal_file.Frame)
    body = msgspec.msgpack.encode([frame.generation, frame.number, frame.head, moves(frame.moves)])
    length = len(body).to_bytes(4, "big")
    checksum = zlib.crc32(body, zlib.crc32(length)).to_bytes(4, "big")
    moves_of(path).write_bytes(data[:begin] + b"LRj1" + length + checksum + body + bytes(65_536))
    os.truncate(moves_of(path), 65_536)


def changed(**fields):
    return lambda moves: [msgspec.structs.replace(moves[0], **fields)]


def column(place, value):
    def change(moves):
        row = list(moves[0].row)
        row[place] = value
        return [msgspec.structs.replace(moves[0], row=tuple(row))]

    return change


@pytest.mark.parametrize(
    ("frame", "change", "words"),
    [
        (5, changed(amount_pusd=-5), "is negative"),
        (5, changed(amount_pusd=10**8), "would be overdrawn"),
        (5, changed(exchange_id="e0"), "holds or is settled already"),
        (5, changed(exchange_id="e4"), "holds or is settled already"),
        (5, changed(account="ghost"), "account ghost is not there"),
        (6, changed(account="other"), "something else than its row says"),
        (6, changed(charged_pusd=699), "something else than its row says"),
        (6, changed(held_pusd=None), "something else than its row says"),
        (6, column(0, "e1"), "settled already"),
        (6, column(0, "e9"), "columns are not those of its record"),
        (6, column(5, "another"), "columns are not those of its record"),
        (6, column(9, "{}"), "cannot be read"),
        (6, changed(proof=bytes(32)), "is not what it was made from"),
        (6, changed(note="p/m@2"), "is not what it was made from"),
        (6, changed(sums=(1,) * 11), "what it adds to the sums"),
        (5, lambda moves: [], "the hold of 1000 p[$] that it resolves is not there"),
        (6, lambda moves: [*moves, *moves], "settled already"),
    ],
)  # fmt: skip
def test_a_move_that_these_books_cannot_have_is_told(image, frame, change, words):
    path = image()
    last = moves_of(path).read_bytes()[slice(*frames_of(path)[6])]
    written(path, frame, change)
    if frame == 5:  # the charge behind it stays
        end = frames_of(path)[5][1]
        data = bytearray(moves_of(path).read_bytes())
        data[end : end + len(last)] = last
        moves_of(path).write_bytes(data)
    found = verify(path, NOW_MS).doubt
    assert found is not None
    assert found.where.startswith("generation ")
    assert __import__("re").search(words, found.what), found


def test_a_cost_that_the_usage_does_not_come_to_is_told(image):
    def dearer(moves):
        (move,) = moves
        text = move.row[9].replace('"output_tokens":5', '"output_tokens":50')
        assert text != move.row[9]
        return [msgspec.structs.replace(move, row=(*move.row[:9], text))]

    path = image()
    written(path, 6, dearer)
    found = verify(path, NOW_MS).doubt
    assert found is not None
    assert found.check == "exchanges"
    assert "frame 6, charge of e5" in found.where


def test_the_journal_of_a_store_in_use_is_not_looked_at(image):
    path = image()

    async def scenario():
        store = await SqliteStore.open(path, clock=FixedClock())
        try:
            return verify(path, NOW_MS)
        finally:
            await store.close()

    verdict = run(scenario())
    assert (verdict.doubt, verdict.journal, verdict.journaled) == (None, "in use", None)


def test_a_copy_may_be_without_its_journal(image):
    path = image()
    moves_of(path).unlink()
    verdict = verify(path, NOW_MS, copy=True)
    assert (verdict.doubt, verdict.journal, verdict.journaled) == (None, "absent", None)


def test_a_proof_keeps_no_start_waiting(image):
    path = image()
    verify(path, NOW_MS)
    with open(moves_of(path), "rb") as file:  # and leaves no lock behind
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_what_is_sound_of_a_damaged_journal_is_booked(image):
    path = image()
    places = frames_of(path)
    flip(path, places[3][0] + 30)  # the hold of e4; its charge is sound
    told = doubt_of(path)
    done = salvage(path, 77)
    assert done is not None
    assert done.doubt == told
    assert f"damaged at byte {places[3][0]}" in told
    assert (done.booked, done.refused) == (["e3", "e4", "e5"], [])
    aside = path.with_name("books.db.journal.77")
    assert (done.aside, aside.stat().st_size) == (str(aside), 65_536)
    assert doubt(path) is None
    assert salvage(path, 78) is None
    assert begun(path) == ([("acme", 10**7 - 6 * 700, 0)], 7)
    assert doubt(path) is None


def test_a_salvage_that_was_cut_off_is_ended_by_the_next_start(image, monkeypatch):
    path = image()
    flip(path, frames_of(path)[4][0] + 30)  # the charge of e4
    with monkeypatch.context() as patched, suppress(KeyboardInterrupt):
        patched.setattr(os, "replace", lambda *names: (_ for _ in ()).throw(KeyboardInterrupt))
        salvage(path, 77)
    assert moves_of(path).exists()
    assert begun(path) == ([("acme", 10**7 - 5 * 700, 0)], 6)  # the hold of e4 is an orphan


def test_moves_of_other_books_are_not_booked(image, lives):
    path = image(FIRST)
    shutil.copy(moves_of(lives[BUSY] / "books.db"), moves_of(path))
    done = salvage(path, 77)
    assert done is not None
    assert (done.booked, done.refused) == ([], [])
    assert begun(path)[1] == 1


def test_a_charge_that_does_not_fit_is_named(image):
    path = image()
    written(path, 2, lambda moves: [*moves, *moves])
    data = moves_of(image()).read_bytes()
    places = frames_of(path)
    with open(moves_of(path), "r+b") as file:  # and a gap, behind which a sound frame stands
        file.seek(places[2][1] + 100)
        file.write(data[slice(*frames_of(image())[5])])
    done = salvage(path, 77)
    assert done is not None
    assert (done.booked, done.refused) == (["e3", "e5"], ["e3"])
    assert begun(path)[1] == 5
