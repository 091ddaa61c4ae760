"""Receipts: the same whoever makes them, and a verifier that sees whatever is changed."""

from __future__ import annotations

import asyncio
import base64
import importlib.util
import json
import random
import stat
import sys
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from llm_router.adapters.clock import SystemClock
from llm_router.adapters.receipt_keys import ReceiptKeys
from llm_router.adapters.sqlite.store import SqliteStore
from llm_router.domain.budget import Payer
from llm_router.domain.errors import NotFound, Overloaded, ServerError
from llm_router.domain.price import CostLine
from llm_router.domain.record import ExchangeRecord
from llm_router.domain.usage import Usage
from llm_router.engine import receipts as receipting
from llm_router.engine.receipts import Receipts

SCRIPT = Path(__file__).parents[2] / "tools" / "verify_receipts.py"


def _load() -> Any:
    spec = importlib.util.spec_from_file_location("verify_receipts", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


verifier = _load()

# https://www.rfc-editor.org/rfc/rfc8032#section-7.1: secret, public key, message, signature
VECTORS = [
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46b"
        "d25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c"
        "387b2eaeb4302aeeb00d291612bb0c00",
    ),
    (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc659"
        "4a7c15e9716ed28dc027beceea1ec40a",
    ),
]


@pytest.mark.parametrize(("secret", "public", "message", "signature"), VECTORS)
def test_vectors_of_rfc_8032(secret: str, public: str, message: str, signature: str) -> None:
    key, text, signed = bytes.fromhex(public), bytes.fromhex(message), bytes.fromhex(signature)
    assert Ed25519PrivateKey.from_private_bytes(bytes.fromhex(secret)).sign(text) == signed
    assert verifier.verify_ed25519(key, text, signed)
    assert not verifier.verify_ed25519(key, text + b"!", signed)


def test_it_agrees_with_cryptography_and_sees_every_flipped_bit() -> None:
    chance = random.Random(8032)
    for _ in range(20):
        private = Ed25519PrivateKey.from_private_bytes(chance.randbytes(32))
        public, message = private.public_key().public_bytes_raw(), chance.randbytes(chance.randrange(300))
        signature = private.sign(message)
        assert verifier.verify_ed25519(public, message, signature)
        for _ in range(2):
            place, bit = chance.randrange(64), 1 << chance.randrange(8)
            flipped = bytes(b ^ bit if n == place else b for n, b in enumerate(signature))
            assert not verifier.verify_ed25519(public, message, flipped)
    scalar = int.from_bytes(signature[32:], "little") + verifier.ORDER
    if scalar < 2**256:  # the same signature in other bytes
        again = signature[:32] + scalar.to_bytes(32, "little")
        assert not verifier.verify_ed25519(public, message, again)
    assert not verifier.verify_ed25519(public, message, signature[:63])
    assert not verifier.verify_ed25519(b"\xff" * 32, message, signature)


class Books:
    """An account with credits, some charged exchanges, and one that was free."""

    def __init__(self, folder: Path, count: int = 4) -> None:
        self.folder, self.count = folder, count
        self.signer = ReceiptKeys(folder / "receipts.key", ours=True)

    async def open(self) -> SqliteStore:
        store = await SqliteStore.open(self.folder / "books.db", clock=SystemClock())
        await store.credit("acme", 10**12, "start", "for the beginning", 1)
        await store.credit("other", 10**12, "other", "", 1)
        for n in range(self.count):
            await self.use(store, f"gen-{n}", "acme" if n % 4 != 3 else "other", n + 1)
        await self.use(store, "gen-free", "acme", 0)
        await store.credit("acme", -5, "back", "", 9)
        return store

    async def use(self, store: SqliteStore, id_: str, account: str, quantity: int) -> None:
        line = CostLine(bucket="input_tokens", quantity=quantity, rate_pusd=75, amount_pusd=75 * quantity)
        record = ExchangeRecord(
            id=id_, account=account, key="key_1", operation="chat", dialect="openai_chat", asked_model="m",
            model="m", created_ms=5, status=200, usage=Usage(input_tokens=quantity), cost_pusd=line.amount_pusd,
            cost=(line,) if quantity else (), price_version="v1",
        )  # fmt: skip
        await store.hold(id_, Payer(account=account, key="key_1"), 10**6, "v1", 5)
        await store.settle(record)

    def receipts(self, store: SqliteStore) -> Receipts:
        return Receipts(books=store, signer=self.signer)


def scenario(folder: Path, work: Any, count: int = 4) -> Any:
    async def main() -> Any:
        books = Books(folder, count)
        store = await books.open()
        try:
            async with asyncio.timeout(300):
                return await work(books, store, books.receipts(store))
        finally:
            await store.close()

    return asyncio.run(main())


async def exported(receipts: Receipts, account: str = "acme", page: int = 2) -> list[Any]:
    rows: list[Any] = []
    after: Any = 0
    while True:
        answer: Any = await receipts.page(account, after, page)
        rows += [{**row, "receipt": json.loads(bytes(row["receipt"]))} for row in answer["data"]]
        if not answer["has_more"]:
            return rows
        after = answer["last_number"]


def judged(folder: Path, rows: list[Any], keys: Any, *words: str, capsys: Any) -> tuple[int, str]:
    """What the script says of a file of receipts."""
    file, key_file = folder / "receipts.jsonl", folder / "keys.json"
    file.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    key_file.write_text(json.dumps(keys))
    status = verifier.main([str(file), "--keys", str(key_file), *words])
    return status, capsys.readouterr().out


def test_all_that_was_booked_has_a_receipt_that_verifies(tmp_path: Path, capsys: Any) -> None:
    async def work(books: Books, store: SqliteStore, receipts: Receipts) -> Any:
        one: Any = await receipts.of_exchange("acme", "gen-1")
        assert json.loads(bytes(one["receipt"]))["number"] == 3
        rows = await exported(receipts)
        assert rows[2]["jws"] == one["jws"]
        with pytest.raises(NotFound, match="cost nothing"):
            await receipts.of_exchange("acme", "gen-free")
        with pytest.raises(NotFound):
            await receipts.of_exchange("other", "gen-1")
        return rows, receipts.keys()

    rows, keys = scenario(tmp_path, work)
    assert [row["receipt"]["ref"] for row in rows] == [
        "credit:start", "use:gen-0", "use:gen-1", "use:gen-2", "credit:back",
    ]  # fmt: skip
    assert rows[-1]["receipt"]["balance"] == "0.999999999545"
    assert rows[1]["receipt"]["exchange"]["lines"] == [
        {"bucket": "input_tokens", "quantity": 1, "rate": "0.000000000075", "amount": "0.000000000075"}
    ]
    status, said = judged(tmp_path, rows, keys, capsys=capsys)
    assert (status, "5 receipts" in said, "$0.999999999545" in said) == (0, True, True)
    assert judged(tmp_path, [row["jws"] for row in rows], keys, capsys=capsys)[0] == 0
    assert judged(tmp_path, [{"object": "list", "data": rows}], keys, capsys=capsys)[0] == 0
    assert judged(tmp_path, rows[1:], keys, capsys=capsys)[0] == 0
    assert "gap" in judged(tmp_path, [rows[0], rows[2]], keys, capsys=capsys)[1]
    assert judged(tmp_path, [rows[0], rows[2]], keys, "--no-chain", capsys=capsys)[0] == 0


def test_whatever_is_changed_is_seen(tmp_path: Path, capsys: Any) -> None:
    async def work(books: Books, store: SqliteStore, receipts: Receipts) -> Any:
        return await exported(receipts), receipts.keys(), books.signer

    rows, keys, signer = scenario(tmp_path, work)

    def doubts(at: int, **members: Any) -> str:
        """Receipt ``at`` with other members, signed with the right key."""
        forged = signer.sign(json.dumps({**rows[at]["receipt"], **members}))
        changed = [row["jws"] for row in rows[:at]] + [forged] + [row["jws"] for row in rows[at + 1 :]]
        status, said = judged(tmp_path, changed, keys, capsys=capsys)
        assert status == 1, said
        return said

    assert "previous" not in doubts(4, balance="1")
    assert "hash" in doubts(2, created_ms=6)
    assert "hash" in doubts(3, previous="1" * 64)
    assert "lines come to" in doubts(1, amount="-0.000000000076")
    assert "kind" in doubts(0, kind="adjust")
    assert "begin with nothing" in doubts(0, previous="1" * 64)
    assert "version" in doubts(1, v=2)
    shown = [{**row, "receipt": {**row["receipt"], "number": 9}} for row in rows]
    assert "not what was signed" in judged(tmp_path, shown, keys, capsys=capsys)[1]
    head, body, signature = rows[0]["jws"].split(".")
    other = base64.urlsafe_b64encode(b"x" * 64).decode().rstrip("=")
    assert "signature" in judged(tmp_path, [f"{head}.{body}.{other}"], keys, capsys=capsys)[1]
    assert "no JWS" in judged(tmp_path, [f"{head}.{body}"], keys, capsys=capsys)[1]
    none = base64.urlsafe_b64encode(b'{"alg":"none"}').decode().rstrip("=")
    assert "EdDSA" in judged(tmp_path, [f"{none}.{body}.{signature}"], keys, capsys=capsys)[1]
    assert "not among those" in judged(tmp_path, rows, {"keys": []}, capsys=capsys)[1]
    renamed = [{**row, "id": "use:gen-77"} for row in rows]
    assert "not what was signed" in judged(tmp_path, renamed, keys, capsys=capsys)[1]
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_="
    assert (
        sum(
            not judged(tmp_path, [rows[0]["jws"][:-1] + letter], keys, capsys=capsys)[0] for letter in letters
        )
        == 1
    )
    assert "no JWS" in judged(tmp_path, [rows[0]["jws"] + "=="], keys, capsys=capsys)[1]


def test_what_is_not_there_is_not_vouched_for(tmp_path: Path, capsys: Any) -> None:
    async def work(books: Books, store: SqliteStore, receipts: Receipts) -> Any:
        return await exported(receipts), receipts.keys()

    rows, keys = scenario(tmp_path, work)
    assert judged(tmp_path, [], keys, capsys=capsys) == (1, "DOUBT: the file holds no receipt.\n")
    assert "number 3" in judged(tmp_path, rows[2:], keys, capsys=capsys)[1]
    assert "first one" not in judged(tmp_path, rows, keys, capsys=capsys)[1]
    for other in ("{}", "5", "null", '{"jws": 5}', '{"receipt": {}}', "x.y.z", "[" * 5000):
        status, said = judged(tmp_path, [*rows, other], keys, capsys=capsys)
        assert (status, said[:5]) == (1, "DOUBT"), other


def test_two_readers_at_once_make_the_same_chain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receipting, "BATCH", 3)

    async def work(books: Books, store: SqliteStore, receipts: Receipts) -> Any:
        both = await asyncio.gather(*(exported(books.receipts(store)) for _ in range(5)))
        await books.use(store, "gen-later", "acme", 7)
        return both, await exported(receipts)

    both, later = scenario(tmp_path, work, count=40)
    assert all(rows == both[0] for rows in both)
    assert later[: len(both[0])] == both[0]
    assert [row["receipt"]["number"] for row in later] == list(range(1, len(later) + 1))


def test_a_long_backlog_is_made_in_several_requests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receipting, "BATCH", 2)
    monkeypatch.setattr(receipting, "ROUNDS_MAX", 3)

    async def work(books: Books, store: SqliteStore, receipts: Receipts) -> None:
        with pytest.raises(Overloaded, match="Ask again"):
            await receipts.of_exchange("acme", "gen-12")
        answer: Any = await receipts.of_exchange("acme", "gen-8")
        assert json.loads(bytes(answer["receipt"]))["number"] == 8

    scenario(tmp_path, work, count=13)


def test_keys_are_made_once_kept_private_and_rotated(tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / "receipts.key"
    first, second = ReceiptKeys(path, ours=True), ReceiptKeys(path, ours=True)
    old = first.sign("{}")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert second.public() == first.public()
    new_id = second.rotate()
    assert [key["kid"] for key in first.public()] == [new_id, second.public()[1]["kid"]]
    keys = verifier.read_keys(json.dumps({"keys": first.public()}))
    for jws in (old, first.sign("{}")):
        assert verifier.open_jws(jws, keys) == b"{}"
    assert first.sign("{}") != old
    named = ReceiptKeys(path, ours=False)
    assert named.public() == first.public()
    with pytest.raises(ServerError, match="add a line"):
        named.rotate()
    with pytest.raises(ServerError, match="cannot be used"):
        ReceiptKeys(tmp_path / "none", ours=False).public()
    path.write_text("bm8=\n")
    with pytest.raises(ServerError, match="32 bytes"):
        ReceiptKeys(path, ours=True).public()


def test_the_verifier_needs_nothing_but_python() -> None:
    import ast

    names = {
        alias.name.split(".")[0]
        for node in ast.walk(ast.parse(SCRIPT.read_text()))
        for alias in (node.names if isinstance(node, ast.Import) else [])
    } | {
        str(node.module).split(".")[0]
        for node in ast.walk(ast.parse(SCRIPT.read_text()))
        if isinstance(node, ast.ImportFrom)
    }
    assert names <= sys.stdlib_module_names


def test_what_is_wrong_with_the_keys_is_told_without_their_folder(tmp_path: Path) -> None:
    with pytest.raises(ServerError) as refused:
        ReceiptKeys(tmp_path / "signing", ours=False).public()
    said = "the file of the keys of receipts, signing, cannot be used: No such file or directory"
    assert (refused.value.message, refused.value.code) == (said, "receipt_keys_unusable")


def test_files_that_are_none_are_told_by_name(tmp_path: Path, capsys: Any) -> None:
    keys, rows = tmp_path / "keys.json", tmp_path / "receipts.jsonl"
    keys.write_text('{"keys": []}')
    rows.write_text("no receipt")
    for file, key_file, said in (
        (tmp_path / "none", keys, f"{tmp_path / 'none'}: No such file"),
        (rows, rows, f"{rows}: it is no key set"),
    ):
        assert verifier.main([str(file), "--keys", str(key_file)]) == 2
        assert capsys.readouterr().err.startswith(f"cannot be read: {said}")
