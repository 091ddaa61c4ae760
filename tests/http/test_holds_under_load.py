"""How much of a budget can be used when many ask at once, and that it is never exceeded."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from decimal import Decimal

import pytest
from gateway_kit import WAIT_S, Gateway, body_of, status_of

REQUESTS = 200
MODEL = "gpt-6-luna"
ANSWER = "[[long 300]] go on"


def at_once(gateway: Gateway, body: bytes, key: str, count: int = REQUESTS) -> list[bytes]:
    """The raw replies to so many requests, all sent before any is waited for."""

    async def one() -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(gateway.head(len(body), "connection: close", key=key) + body)
        reply = await reader.read()
        writer.close()
        return reply

    async def main() -> list[bytes]:
        async with asyncio.timeout(2 * WAIT_S):
            return await asyncio.gather(*(one() for _ in range(count)))

    return asyncio.run(main())


def content(reply: bytes) -> dict[str, object]:
    return json.loads(reply.partition(b"\r\n\r\n")[2], parse_float=Decimal)


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A sandbox whose requests wait for credit for as long as a slow machine may need to give it back."""
    config = (
        f"[credits]\nstarting = 1000\nhold_wait_s = {2 * WAIT_S}\n[routing.concurrency]\nenabled = false\n"
    )
    found = Gateway(tmp_path_factory.mktemp("patient"), "--sandbox", config=config)
    yield found
    assert found.stop() == 0


@pytest.mark.parametrize("limit", [None, 400])
def test_nearly_all_of_a_budget_is_used_and_never_more(patient: Gateway, limit: int | None) -> None:
    options = {} if limit is None else {"max_tokens": limit}
    cost = patient.chat(MODEL, ANSWER, **options).json["usage"]["cost"]
    made = patient.command("keys.create", name=f"load-{limit}")
    budget = cost * 120
    patient.command("budgets.set", amount=str(budget), scope="key", scope_id=made["id"], window="lifetime")
    body = body_of(MODEL, text=ANSWER, **options)
    replies = at_once(patient, body, made["key"])
    statuses = [status_of(reply) for reply in replies]
    assert set(statuses) == {200, 402}
    spent = sum(
        content(reply)["usage"]["cost"]  # type: ignore[index]
        for reply, status in zip(replies, statuses, strict=True)
        if status == 200
    )
    (found,) = [b for b in patient.command("budgets.list")["budgets"] if b["scope_id"] == made["id"]]
    (stands,) = found["spends"]
    assert Decimal(stands["spent"]) == spent
    assert Decimal(stands["held"]) == 0
    assert budget * Decimal("0.95") <= spent <= budget
