"""Vouchers: single use at any concurrency, hashes only, guesses bounded, and adjustments with their reasons."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from llm_router.adapters.keymaker import new_code, new_id
from llm_router.adapters.memory.books import MemoryBooks
from llm_router.adapters.sqlite.store import SqliteStore
from llm_router.billing.vouchers import code_digest
from llm_router.domain.errors import InvalidRequest, NotFound, RateLimitExceeded, RouterError
from llm_router.domain.money import PUSD_PER_USD
from llm_router.engine.treasury import Treasury
from llm_router.engine.vouchers import GUESS_WINDOW_MS, GUESSES, GUESSES_MAX, Vouchers

TEN = 10 * PUSD_PER_USD


class HandClock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.ms = 1_800_000_000_000

    def now_ms(self) -> int:
        return self.ms

    def monotonic_us(self) -> int:
        return self.ms * 1000


Scenario = Callable[[Treasury, HandClock], Awaitable[None]]


def with_treasury(folder: Path | None, scenario: Scenario) -> None:
    async def main() -> None:
        clock = HandClock()
        books = MemoryBooks() if folder is None else await SqliteStore.open(folder / "b.db", clock=clock)
        try:
            treasury = Treasury(books=books, clock=clock, new_code=new_code, new_id=new_id)
            await scenario(treasury, clock)
        finally:
            await books.close()

    asyncio.run(main())


@pytest.fixture(params=["memory", "sqlite"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path | None:
    return tmp_path if request.param == "sqlite" else None


def test_one_of_a_hundred_redemptions_at_once_gets_it(place: Path | None) -> None:
    async def scenario(treasury: Treasury, clock: HandClock) -> None:
        [(code, _)] = await treasury.vouchers.create(TEN, 1, note="", expires_ms=None)
        tries = [treasury.vouchers.redeem(f"a{n % 7}", code) for n in range(100)]
        done = await asyncio.gather(*tries, return_exceptions=True)
        assert sum(not isinstance(result, BaseException) for result in done) == 1
        assert {type(r) for r in done if isinstance(r, BaseException)} == {InvalidRequest}
        balances = [await treasury.books.balance(f"a{n}") for n in range(7)]
        assert sorted(balances) == [0] * 6 + [TEN]

    with_treasury(place, scenario)


def test_no_code_is_in_any_file(tmp_path: Path) -> None:
    codes: list[str] = []

    async def scenario(treasury: Treasury, clock: HandClock) -> None:
        made = await treasury.vouchers.create(TEN, 3, note="fair", expires_ms=None)
        codes.extend(code for code, _ in made)
        await treasury.vouchers.redeem("acme", codes[0])

    with_treasury(tmp_path, scenario)
    written = b"".join(path.read_bytes() for path in tmp_path.iterdir() if path.is_file())
    for code in codes:
        assert code.encode() not in written
        assert code.replace("-", "").encode() not in written


def test_expired_and_withdrawn_ones_are_refused(place: Path | None) -> None:
    async def scenario(treasury: Treasury, clock: HandClock) -> None:
        [(old, _)] = await treasury.vouchers.create(TEN, 1, note="", expires_ms=clock.ms + 1)
        [(gone, voucher)] = await treasury.vouchers.create(TEN, 1, note="", expires_ms=None)
        await treasury.vouchers.revoke(voucher.id)
        clock.ms += 1
        for code, why in ((old, "expired"), (gone, "withdrawn")):
            with pytest.raises(InvalidRequest, match=why):
                await treasury.vouchers.redeem("acme", code)
        assert await treasury.books.balance("acme") == 0
        with pytest.raises(NotFound):
            await treasury.vouchers.revoke("vou_none")

    with_treasury(place, scenario)


def test_guesses_are_bounded_by_account_and_time(place: Path | None) -> None:
    async def scenario(treasury: Treasury, clock: HandClock) -> None:
        [(code, _)] = await treasury.vouchers.create(TEN, 1, note="", expires_ms=None)
        for _ in range(GUESSES_MAX):
            with pytest.raises(NotFound):
                await treasury.vouchers.redeem("thief", new_code())
        with pytest.raises(RateLimitExceeded) as refused:
            await treasury.vouchers.redeem("thief", code)
        assert refused.value.retry_after_s == GUESS_WINDOW_MS / 1000
        another = Vouchers(books=treasury.books, clock=clock, new_code=new_code, new_id=new_id)
        with pytest.raises(RateLimitExceeded):  # another process on the same books
            await another.redeem("thief", code)
        clock.ms += GUESS_WINDOW_MS
        assert (await treasury.vouchers.redeem("thief", code)).available_pusd == TEN
        await treasury.vouchers.sweep()
        assert await treasury.books.documents(GUESSES) == []

    with_treasury(place, scenario)


def test_of_many_wrong_codes_at_once_no_more_are_answered(place: Path | None) -> None:
    async def scenario(treasury: Treasury, clock: HandClock) -> None:
        tries = [treasury.vouchers.redeem("thief", new_code()) for _ in range(10 * GUESSES_MAX)]
        ends = await asyncio.gather(*tries, return_exceptions=True)
        assert sum(isinstance(end, NotFound) for end in ends) <= GUESSES_MAX
        assert all(isinstance(end, NotFound | RateLimitExceeded) for end in ends)
        for _ in range(GUESSES_MAX):
            with pytest.raises((NotFound, RateLimitExceeded)):
                await treasury.vouchers.redeem("thief", new_code())
        with pytest.raises(RateLimitExceeded):
            await treasury.vouchers.redeem("thief", new_code())

    with_treasury(place, scenario)


def test_withdrawing_one_that_is_redeemed_at_the_same_moment_tells_the_truth(
    place: Path | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(treasury: Treasury, clock: HandClock) -> None:
        [(code, voucher)] = await treasury.vouchers.create(TEN, 1, note="", expires_ms=None)
        read = treasury.vouchers.all

        async def all_then_redeemed() -> object:
            found = await read()
            await treasury.vouchers.redeem("acme", code)
            return found

        monkeypatch.setattr(treasury.vouchers, "all", all_then_redeemed)
        with pytest.raises(InvalidRequest, match="redeemed already"):
            await treasury.vouchers.revoke(voucher.id)
        assert await treasury.books.balance("acme") == TEN

    with_treasury(place, scenario)


def test_a_claim_that_was_cut_off_is_booked_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(treasury: Treasury, clock: HandClock) -> None:
        [(code, _)] = await treasury.vouchers.create(TEN, 1, note="", expires_ms=None)
        with monkeypatch.context() as patch:

            async def broken(*arguments: object) -> int:
                raise RouterError("the disk is full")

            patch.setattr(treasury.books, "credit", broken)
            with pytest.raises(RouterError):
                await treasury.vouchers.redeem("acme", code)
        assert await treasury.books.balance("acme") == 0
        with pytest.raises(InvalidRequest, match="redeemed before"):
            await treasury.vouchers.redeem("thief", code)
        for _ in range(3):
            await treasury.round()
        assert await treasury.books.balance("acme") == TEN

    with_treasury(tmp_path, scenario)


def test_how_a_code_is_typed_does_not_matter() -> None:
    code = new_code()
    spelled = code.lower().replace("-", " ").replace("0", "o").replace("1", "l")
    assert code_digest(spelled) == code_digest(code)
    for wrong in ("", code[:-1], code + "A", "①" * 25, "é" * 25):
        assert code_digest(wrong) is None


def test_credits_and_entries_add_up(place: Path | None) -> None:
    async def scenario(treasury: Treasury, clock: HandClock) -> None:
        for number in range(5):
            await treasury.books.credit("acme", TEN, f"r{number}", "", clock.ms)
        await treasury.books.credit("acme", -TEN, "back", "mistake (by ann)", clock.ms)
        await treasury.books.credit("other", 7, "x", "", clock.ms)
        standing = await treasury.books.standing("acme")
        assert (standing.credited_pusd, standing.posted_pusd, standing.held_pusd) == (4 * TEN, 4 * TEN, 0)
        seen, after = [], None
        while True:
            page = await treasury.entries("acme", 4, after)
            data = page["data"]
            assert isinstance(data, list)
            seen += [row["id"] for row in data]
            if not page["has_more"]:
                break
            after = str(page["last_id"])
        assert seen == ["credit:back", *(f"credit:r{n}" for n in (4, 3, 2, 1, 0))]
        with pytest.raises(InvalidRequest, match="names no entry of this account"):
            await treasury.entries("acme", 4, "credit:x")  # another account's

    with_treasury(place, scenario)
