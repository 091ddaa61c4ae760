"""The independent auditor: the books made again from what the providers logged and what the clients saw.

Nothing of the product is asked but its final verification. The rules are those of docs/money.md, in
terms of the two ends of each exchange: who pays what the provider did, and what the client was told.
"""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from contextlib import closing
from typing import TYPE_CHECKING, Any

from sim_upstream import COMPLETE

from llm_router.adapters.sqlite.verify import verify

if TYPE_CHECKING:
    from sim_upstream import UpCall
    from simulation import Sight, Simulation

HOUR_MS = 3_600_000


def audit(simulation: Simulation) -> None:
    """
    Raises:
        AssertionError: with the first thing that does not agree.
    """
    with closing(sqlite3.connect(simulation.path)) as connection:
        records = {
            id_: json.loads(text) for id_, text in connection.execute("SELECT id, record FROM exchanges")
        }
        entries = connection.execute(
            "SELECT seq, ref, account, amount, kind FROM entries ORDER BY seq"
        ).fetchall()
        accounts = {row[0]: row[1:] for row in connection.execute("SELECT id, posted, held FROM accounts")}
        orphans = {
            id_ for (id_,) in connection.execute("SELECT exchange_id FROM holds WHERE state = 'orphaned'")
        }
        open_ = connection.execute("SELECT count(*) FROM holds WHERE state = 'open'").fetchone()[0]
        rollups = connection.execute(
            "SELECT hour, account, key, model, requests, cost FROM rollups"
        ).fetchall()
    assert open_ == 0, "a hold is open at the end"
    _books(simulation, records, entries, accounts)
    _sums(records, rollups)
    _budgets(records)
    for tag, sight in simulation.sights.items():
        calls = [call for call in simulation.calls if call.tag == tag]
        _one(sight, calls, records.get(sight.id), sight.id in orphans)
    assert all(call.closed or not call.received for call in simulation.calls), (
        "a call to a provider stayed open"
    )
    verdict = verify(simulation.path, simulation.clock.now_ms())
    assert verdict.doubt is None, verdict.doubt
    assert verdict.unproven == 0


def _cost(record: dict[str, Any]) -> int:
    return int(record.get("cost_pusd", 0))


def _books(
    simulation: Simulation, records: dict[str, Any], entries: list[Any], accounts: dict[str, Any]
) -> None:
    """One entry for each charge and credit, gapless; every balance is their sum and never below zero."""
    assert [row[0] for row in entries] == list(range(1, len(entries) + 1)), "the entries have a gap"
    refs = [row[1] for row in entries]
    assert len(refs) == len(set(refs)), "something was booked twice"
    uses = {ref[4:]: (account, -amount) for _, ref, account, amount, kind in entries if kind == "use"}
    charged = {id_: (r["account"], _cost(r)) for id_, r in records.items() if _cost(r)}
    assert uses == charged, "the entries are not what the records charge"
    booked = {ref[7:]: (account, amount) for _, ref, account, amount, kind in entries if kind != "use"}
    for ref, credit in simulation.credits.items():
        assert booked.pop(ref, None) == credit, f"the credit {ref} is lost"
    for ref, credit in booked.items():
        assert simulation.doubtful.get(ref) == credit, f"the credit {ref} comes from nowhere"
    balance: dict[str, int] = defaultdict(int)
    for _, ref, account, amount, _ in entries:
        balance[account] += amount
        assert balance[account] >= 0, f"{account} was overdrawn by {ref}"
    assert {id_: posted for id_, (posted, _) in accounts.items() if posted} == {
        a: b for a, b in balance.items() if b
    }


def _sums(records: dict[str, Any], rollups: list[Any]) -> None:
    """The hourly sums are those of the records."""
    mine: dict[tuple[Any, ...], list[int]] = defaultdict(lambda: [0, 0])
    for record in records.values():
        row = mine[
            record["created_ms"] // HOUR_MS, record["account"], record["key"], record.get("model") or ""
        ]
        row[0] += 1
        row[1] += _cost(record)
    theirs: dict[tuple[Any, ...], list[int]] = defaultdict(lambda: [0, 0])
    for hour, account, key, model, requests, cost in rollups:
        theirs[hour, account, key, model][0] += requests
        theirs[hour, account, key, model][1] += cost
    assert dict(mine) == dict(theirs), "the sums by the hour are not those of the records"


def _budgets(records: dict[str, Any]) -> None:
    """What was admitted in one window cost no more than its budget."""
    from simulation import BUDGETS

    amounts = {budget.id: budget.amount_pusd for budget in BUDGETS}
    hours: dict[int, int] = defaultdict(int)
    days: dict[int, int] = defaultdict(int)
    sessions: dict[str, int] = defaultdict(int)
    minute: list[tuple[int, int]] = []
    for record in records.values():
        cost, at_ms = _cost(record), record["created_ms"]
        if record.get("team") == "t":
            hours[at_ms // HOUR_MS] += cost
        if record.get("user") == "ann":
            minute.append((at_ms, cost))
        if record["key"] == "key_t2":
            days[at_ms // (24 * HOUR_MS)] += cost
        if record["account"] == "team" and record.get("session"):
            sessions[record["session"]] += cost
    assert max(hours.values(), default=0) <= amounts["bud_team"], "the budget of the team was exceeded"
    assert max(days.values(), default=0) <= amounts["bud_day"], "the budget of the key was exceeded"
    if not days or max(days) - min(days) <= 0:  # a day of silence ends a session
        assert max(sessions.values(), default=0) <= amounts["bud_session"], "a session's budget was exceeded"
    for begin_ms, _ in minute:
        spent = sum(cost for at_ms, cost in minute if begin_ms <= at_ms < begin_ms + 60_000)
        assert spent <= amounts["bud_user"], "the rolling budget of a user was exceeded"


def _one(sight: Sight, calls: list[UpCall], record: dict[str, Any] | None, orphan: bool) -> None:
    """One exchange: what the provider did, what the client saw, and what the books say of it."""
    name = f"{sight.id} ({[call.script.kind for call in calls]}, left={sight.left}, died={sight.died})"
    seen = sight.cost_pusd
    if record is None:
        assert seen is None, f"{name}: a cost was told and never booked"
        assert not calls or orphan, f"{name}: a provider was asked, and there is neither record nor orphan"
        return
    if seen is not None:
        assert seen == _cost(record), f"{name}: told {seen}, booked {_cost(record)}"
        assert sight.remaining_pusd is not None
        assert sight.remaining_pusd >= 0
    if not sight.died:
        assert len(record.get("attempts", ())) == len(calls), f"{name}: attempts and calls differ in number"
    _operator(name, record, calls)
    metered = _cost(record) + record.get("absorbed_pusd", 0)
    flags = record.get("flags", [])
    call = calls[-1] if calls else None
    if call is None or "ledger_unavailable" in flags:
        assert metered == 0, f"{name}: charged for nothing"
        return
    exact = None if call.exact is None else _price(call, call.exact)
    if sight.finished and sight.status == 200 and not sight.background and record.get("error_code") is None:
        _delivered(name, call, metered, flags, exact, seen)
    elif not (sight.left or sight.died or sight.stopped or sight.background):
        assert metered == 0, f"{name}: a failed exchange was charged"
    else:
        _broken_off(name, call, record, metered, exact)


def _delivered(
    name: str, call: UpCall, metered: int, flags: list[str], exact: int | None, seen: int | None
) -> None:
    """The client has the whole answer."""
    assert seen is not None, f"{name}: a whole answer without its cost"
    kind = call.script.kind
    if exact is not None:
        assert metered == exact, f"{name}: {metered} in place of the invoice's {exact}"
    elif kind in ("zero_usage", "empty"):
        assert metered == 0, f"{name}: charged for nothing"
    else:
        assert kind in ("no_usage", "absurd_usage"), f"{name}: delivered what broke off"
        if {"continued", "empty_not_charged"} <= set(flags):  # it only repeated what was told before it
            return
        assert "usage_estimated" in flags
        assert 0 < metered <= _bound(call), f"{name}: {metered} is no estimate of it"


def _broken_off(name: str, call: UpCall, record: dict[str, Any], metered: int, exact: int | None) -> None:
    """Somebody left before the end: nothing, what was delivered, or the whole if the gateway had heard it."""
    if call.taken == 0:
        assert metered == 0, f"{name}: charged before there was any content"
        return
    if "drained" in record.get("flags", ()) and exact is not None and record.get("error_code") is None:
        assert metered == exact, f"{name}: read to its end, and charged {metered} in place of {exact}"
    said = call.script.usage if call.script.kind in COMPLETE else None  # told before the end of a stream
    most = max(_bound(call), 0 if said is None else _price(call, said))
    assert 0 <= metered <= most, f"{name}: {metered} is more than there was"


def _operator(name: str, record: dict[str, Any], calls: list[UpCall]) -> None:
    """What is written as the operator's cost is what that provider bills."""
    for attempt, call in zip(record.get("attempts", ()), calls, strict=False):
        assert attempt["provider"] == call.provider, f"{name}: another provider was asked"
        told = attempt.get("operator_cost_pusd")
        if call.exact is not None and attempt["outcome"] == "delivered":
            assert told == _price(call, call.exact), f"{name}: the operator's cost is {told}"


def _price(call: UpCall, tokens: tuple[int, int]) -> int:
    from simulation import PRICES

    input_, output = PRICES[call.provider]
    return tokens[0] * input_ + tokens[1] * output


def _bound(call: UpCall) -> int:
    """More than this cannot be charged of what was delivered: a token for every byte."""
    return _price(call, (call.body_bytes + 256, call.chars_taken + 1))
