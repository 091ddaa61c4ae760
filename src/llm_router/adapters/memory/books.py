"""The ledger and the keys in this process's memory: for tests, and for trying out without a disk."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from itertools import islice

import msgspec

from llm_router.billing.budgets import Spend
from llm_router.billing.ledger import Entry, Ledger, Wanted, booked, credit_kind, no_entry, same_credit
from llm_router.domain.budget import Budget, Payer
from llm_router.domain.key import Key, until
from llm_router.domain.limit import Limit
from llm_router.domain.record import ExchangeRecord
from llm_router.limits.rules import LimitBook
from llm_router.ports import Document, Settled, Standing

RECORDS_MAX = 10_000
"""Exchange records kept; older ones are forgotten, and so is that they were settled."""


class MemoryBooks:
    """Implements the ports Books and Keyring. Nothing survives the process."""

    created = True

    def __init__(self) -> None:
        self._ledger = Ledger()
        self._entries: list[Entry] = []
        self._credits: dict[str, Entry] = {}
        self._records: OrderedDict[str, ExchangeRecord] = OrderedDict()
        self._replies: dict[str, str] = {}  # reply id -> exchange id
        self._keys: dict[bytes, Key] = {}
        self._limits = LimitBook()
        self._digests: dict[str, bytes] = {}
        self._old: dict[str, bytes] = {}  # the texts before, by id of the key
        self._documents: dict[tuple[str, str], Document] = {}

    async def close(self) -> None:
        """Nothing to release."""

    def available(self, account: str) -> int:
        return self._ledger.available(account)

    async def balance(self, account: str) -> int:
        return self._ledger.available(account)

    async def affordable(self, payer: Payer, now_ms: int) -> int:
        return max(0, self._ledger.affordable(payer, now_ms))

    async def hold(
        self, exchange_id: str, payer: Payer, amount_pusd: int, price_version: str, now_ms: int
    ) -> int:
        if exchange_id in self._records:
            raise ValueError(f"exchange {exchange_id} is settled already")
        hold = self._ledger.hold(exchange_id, payer, amount_pusd, now_ms)
        return hold.available_pusd

    async def hold_all(self, wanted: Sequence[Wanted], payer: Payer, now_ms: int) -> int:
        for each in wanted:
            if each.exchange_id in self._records:
                raise ValueError(f"exchange {each.exchange_id} is settled already")
        self._ledger.hold_all(wanted, payer, now_ms)
        return self._ledger.available(payer.account)

    async def settle(self, record: ExchangeRecord) -> Settled:
        known = self._records.get(record.id)
        if known is not None:
            remaining_pusd = self._ledger.available(record.account)
            return Settled(charged_pusd=known.cost_pusd, remaining_pusd=remaining_pusd)
        settlement = self._ledger.settle(record.id, record.payer, record.cost_pusd, record.created_ms)
        if settlement.charged_pusd:
            self._append(
                f"use:{record.id}",
                record.account,
                -settlement.charged_pusd,
                "use",
                record.created_ms,
                record.price_version or "",
            )
        self._remember(booked(record, settlement))
        return Settled(charged_pusd=settlement.charged_pusd, remaining_pusd=settlement.remaining_pusd)

    async def credit(self, account: str, amount_pusd: int, ref: str, reason: str, now_ms: int) -> int:
        entry = self._credits.get(ref)
        if entry is not None:
            same_credit(entry, account, amount_pusd)
            return self._ledger.available(account)
        credit = self._ledger.credit(account, amount_pusd)
        self._credits[ref] = self._append(
            f"credit:{ref}", account, amount_pusd, credit_kind(amount_pusd), now_ms, reason
        )
        return credit.remaining_pusd

    async def credited(self, ref: str) -> bool:
        """Whether a grant or adjustment was booked under that reference."""
        return ref in self._credits

    async def generation(self, account: str, id_: str) -> ExchangeRecord | None:
        record = self._records.get(id_)
        if record is None or record.account != account:
            record = self._records.get(self._replies.get(id_, ""))
        return None if record is None or record.account != account else record

    async def budgets(self, account: str, now_ms: int) -> list[Spend]:
        """How the budgets of an account stand, in the order in which they were made."""
        budgets = self._ledger.budgets
        own = sorted((b for b in budgets.all() if b.account == account), key=lambda b: (b.created_ms, b.id))
        return [spend for budget in own for spend in budgets.spends(budget.id, now_ms)]

    async def set_budget(self, budget: Budget, now_ms: int) -> None:
        """Make a budget, or give the one of that id another amount. A new one begins with nothing spent.

        Raises:
            ValueError: it cannot be, see :meth:`llm_router.billing.budgets.Budgets.put`.
        """
        self._ledger.set_budget(budget)

    async def remove_budget(self, budget_id: str) -> Budget | None:
        """Remove a budget; None if there is none of that id."""
        budget = self._ledger.budgets.get(budget_id)
        self._ledger.budgets.remove(budget_id)
        return budget

    async def write_key(
        self, key: Key, digest: bytes | None, budget: Budget | None, removed: str | None, now_ms: int
    ) -> bool:
        """As :class:`llm_router.engine.operator.OperatorBooks` says: nothing in here waits for anything."""
        old = None if budget is None else self._ledger.budgets.get(budget.id)
        if budget is not None:
            self._ledger.set_budget(budget)
        written = False
        try:
            if digest is None:
                written = await self.change(key)
            else:
                await self.create(key, digest)
                written = True
        finally:
            if budget is not None and not written:
                self._ledger.undo_budget(budget.id, old)
        if written and removed is not None:
            self._ledger.budgets.remove(removed)
        return written

    async def limits_of(self, payer: Payer) -> Sequence[Limit]:
        return self._limits.of_payer(payer)

    async def limits(self, account: str) -> list[Limit]:
        """The limits of an account, in the order in which they were made."""
        return self._limits.of_account(account)

    async def set_limit(self, limit: Limit) -> None:
        """Make a limit, or replace the one of that id.

        Raises:
            ValueError: it cannot be, see :func:`llm_router.domain.limit.check_limit`.
        """
        self._limits.put(limit)

    async def remove_limit(self, limit_id: str) -> Limit | None:
        """Remove a limit; None if there is none of that id."""
        return self._limits.remove(limit_id)

    async def accounts(self) -> list[tuple[str, int, int]]:
        """(account, posted, held) of every account, by name."""
        return sorted(self._ledger.balances())

    async def entries(self, account: str, limit: int, before: str | None = None) -> list[Entry]:
        """The account's last entries, the newest first; those before that with the ref ``before``.

        Raises:
            InvalidRequest: the account has no entry of that ref.
        """
        own = [entry for entry in reversed(self._entries) if entry.account == account]
        if before is not None:
            at = next((n for n, entry in enumerate(own) if entry.ref == before), None)
            if at is None:
                raise no_entry()
            own = own[at + 1 :]
        return own[:limit]

    async def life(self) -> str:
        return "memory"

    async def is_over(self, life: str) -> bool:
        return life != "memory"

    async def standing(self, account: str) -> Standing:
        credited = sum(e.amount_pusd for e in self._entries if e.account == account and e.kind != "use")
        moved = {id_: (posted, held) for id_, posted, held in self._ledger.balances()}
        posted, held = moved.get(account, (0, 0))
        return Standing(credited_pusd=credited, posted_pusd=posted, held_pusd=held)

    def owe(self, account: str, owed_pusd: int) -> None:
        self._ledger.owe(account, owed_pusd)

    async def document(self, kind: str, id_: str) -> Document | None:
        return self._documents.get((kind, id_))

    async def put_document(self, document: Document) -> bool:
        known = self._documents.get((document.kind, document.id))
        if document.version != (1 if known is None else known.version + 1):
            return False
        self._documents[document.kind, document.id] = document
        return True

    async def remove_document(self, kind: str, id_: str) -> bool:
        return self._documents.pop((kind, id_), None) is not None

    async def documents(
        self,
        kind: str,
        *,
        account: str | None = None,
        open_only: bool = False,
        after: str = "",
        limit: int = 1000,
    ) -> list[Document]:
        found = [
            document
            for (of_kind, id_), document in sorted(self._documents.items())
            if of_kind == kind
            and id_ > after
            and (account is None or document.account == account)
            and (document.open or not open_only)
        ]
        return found[:limit]

    async def find(self, digest: bytes) -> Key | None:
        key = self._keys.get(digest)
        if key is not None:
            return key
        id_ = next((id_ for id_, old in self._old.items() if old == digest), None)
        found = None if id_ is None else await self.get(id_)
        return None if found is None else until(found)

    async def create(self, key: Key, digest: bytes) -> None:
        if digest in self._keys or key.id in self._digests:
            raise ValueError(f"key {key.id} exists already")
        self._keys[digest] = key
        self._digests[key.id] = digest

    async def list(self) -> list[Key]:
        return sorted(self._keys.values(), key=lambda key: (key.created_ms, key.id))

    async def some(self, limit: int) -> Sequence[Key]:
        return list(islice(self._keys.values(), limit))

    async def count(self, account: str) -> int:
        return sum(key.account == account for key in self._keys.values())

    async def revoke(self, key_id: str, now_ms: int) -> Key | None:
        key = await self.get(key_id)
        if key is not None and key.revoked_ms is None:
            key = self._keys[self._digests[key_id]] = msgspec.structs.replace(key, revoked_ms=now_ms)
        return key

    async def get(self, key_id: str) -> Key | None:
        digest = self._digests.get(key_id)
        return None if digest is None else self._keys[digest]

    async def of_account(self, account: str, after: str, limit: int) -> Sequence[Key]:
        own = [key for key in await self.list() if key.account == account]
        if after:
            at = next((at for at, key in enumerate(own) if key.id == after), len(own))
            own = own[at + 1 :]
        return own[:limit]

    async def change(self, key: Key) -> bool:
        old = await self.get(key.id)
        if old is None or (key.version, key.account) != (old.version + 1, old.account):
            return False
        self._keys[self._digests[key.id]] = msgspec.structs.replace(key, revoked_ms=old.revoked_ms)
        return True

    async def rotate(self, key: Key, digest: bytes) -> bool:
        if digest in self._keys:
            raise ValueError(f"key {key.id} cannot have the text of another")
        if not await self.change(key):
            return False
        old = self._digests[key.id]
        self._keys[digest] = self._keys.pop(old)
        self._old.pop(key.id, None)
        if key.old_until_ms is not None:
            self._old[key.id] = old
        self._digests[key.id] = digest
        return True

    def _append(self, ref: str, account: str, amount_pusd: int, kind: str, now_ms: int, note: str) -> Entry:
        entry = Entry(
            seq=len(self._entries) + 1,
            ref=ref,
            account=account,
            amount_pusd=amount_pusd,
            kind=kind,
            created_ms=now_ms,
            note=note,
        )
        self._entries.append(entry)
        return entry

    def _remember(self, record: ExchangeRecord) -> None:
        self._records[record.id] = record
        if record.reply_id is not None:
            self._replies[record.reply_id] = record.id
        if len(self._records) > RECORDS_MAX:
            _, oldest = self._records.popitem(last=False)
            if oldest.reply_id is not None and self._replies.get(oldest.reply_id) == oldest.id:
                del self._replies[oldest.reply_id]
