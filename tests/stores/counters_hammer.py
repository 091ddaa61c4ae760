"""One of several processes that all ask for the same limit as fast as they can.

    python counters_hammer.py URL NODE ASKS TASKS KIND AMOUNT

Prints how many of its requests were admitted, and whether it ever had to decide alone; then keeps what it
has open until its standard input ends.
"""

from __future__ import annotations

import asyncio
import sys

from llm_router.adapters.clock import SystemClock
from llm_router.adapters.redis.counters import RedisCounters
from llm_router.domain.budget import Scope, Window
from llm_router.domain.limit import Limit, LimitKind


async def main(url: str, node: str, asks: int, tasks: int, kind: str, amount: int) -> None:
    said: list[str] = []
    counters = await RedisCounters.open(
        url, node, SystemClock(), timeout_s=20, local_share=1, lease_s=1, say=said.append
    )
    limit = Limit(
        id=f"shared-{kind}",
        account="acme",
        scope=Scope.ACCOUNT,
        scope_id="acme",
        kind=LimitKind(kind),
        amount=amount,
        window=None if kind == "concurrency" else Window.HOUR,
    )
    admitted = 0

    async def ask(first: int) -> None:
        nonlocal admitted
        for number in range(first, asks, tasks):
            answer = await counters.admit(f"{node}-{number}", [limit], 3, 0)
            admitted += answer.refused is None

    await asyncio.gather(*(ask(first) for first in range(tasks)))
    print(admitted, len(said), flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await counters.close()


if __name__ == "__main__":
    url, node, asks, tasks, kind, amount = sys.argv[1:]
    asyncio.run(main(url, node, int(asks), int(tasks), kind, int(amount)))
