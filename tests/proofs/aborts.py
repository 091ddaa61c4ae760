"""Thousands of streams that their clients leave, in the simulated world without other faults.

The providers' own invoice is made of their logs alone. One that stops when it is left bills two tokens
for seven bytes of the request's text and one for four characters that it had sent, or its usage if that
was told already; one that goes on bills its usage. The books must come to the same, to the picodollar.
"""

from __future__ import annotations

import asyncio
import json
import random
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from sim_upstream import UpCall
from simulation import GRANTS, KEYS, PRICES, Sight, Simulation, simulate

TEXT = "hello there " * 5


class Aborts(Simulation):
    """So many streams, each left by its client at some moment."""

    def __init__(self, seed: int, folder: Path, requests: int) -> None:
        super().__init__(seed, folder, requests, ("good",))
        self.clocks_jump = False

    def _events(self, span_s: float) -> list[tuple[float, Any]]:
        return []

    async def _arrive(self, tag: int, span_s: float) -> None:
        dice = random.Random(f"{self.seed}-{tag}")
        model = dice.choice(("one", "goes-on"))
        body = {
            "model": model,
            "stream": True,
            "max_tokens": 100,
            "messages": [{"role": "user", "content": f"tag:{tag}: {TEXT}"}],
        }
        sight = self.sights[tag] = Sight(
            tag=tag, key=KEYS[0], model=model, front="openai_chat", streamed=True, background=False,
            body=json.dumps(body).encode(), session=None, headers={},
        )  # fmt: skip
        leave_at = dice.randrange(2, 14) if dice.random() < 0.5 else None
        leave_s = None if leave_at is not None else dice.choice((0.0005, 0.01, 0.1, 1.0)) * dice.random()
        await asyncio.sleep(dice.uniform(0, span_s))
        await self.ask(sight, leave_s, dice.choice((0.0, 0.003)), leave_at)


def aborted(seed: int, requests: int) -> dict[str, int]:
    """
    Raises:
        AssertionError: one of them was settled twice or not at all, or the sum is not that of the invoice.
    """
    total = 0

    def against_the_invoice(world: Simulation) -> None:
        nonlocal total
        with closing(sqlite3.connect(world.path)) as connection:
            costs = dict(connection.execute("SELECT id, cost FROM exchanges"))
            (posted,) = connection.execute("SELECT posted FROM accounts WHERE id = 'rich'").fetchone()
        bills = {world.sights[call.tag].id: invoice(call) for call in world.calls}
        assert len(bills) == len(world.calls), "a provider was asked twice"
        for id_, bill in bills.items():
            assert costs.pop(id_, None) == bill, f"request {id_} of seed {seed}"
        assert not any(costs.values()), "a request was charged that no provider knows"
        total = sum(bills.values())
        assert posted == GRANTS["rich"] - total

    world = simulate(seed, requests, Aborts, against_the_invoice)
    left = sum(sight.left for sight in world.sights.values())
    return {"streams": requests, "left": left, "at the providers": len(world.calls), "invoice in p$": total}


def invoice(call: UpCall) -> int:
    """What the provider bills by its own log."""
    input_, output = PRICES[call.provider]
    words = call.script.words
    heads = 1  # the first event has no text
    if call.provider == "p3" or call.taken > heads + len(words) + 1:
        tokens = call.script.usage if call.taken > heads else (0, 0)
    else:
        chars = sum(map(len, words[: max(0, call.taken - heads)]))
        text_bytes = len(f"tag:{call.tag}: {TEXT}")
        tokens = ((2 * text_bytes + 6) // 7, (chars + 3) // 4) if chars else (0, 0)
    return tokens[0] * input_ + tokens[1] * output
