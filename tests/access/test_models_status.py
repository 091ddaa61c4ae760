"""Members and anybody are told the same of models that nobody answers for."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import msgspec

from llm_router.edge.api import public

NOW_MS = 1_800_000_000_000


def model(id_: str, *providers: str) -> Any:
    return SimpleNamespace(
        id=id_, name=id_.upper(), deployments=[SimpleNamespace(id=f"{each}/{id_}") for each in providers]
    )


def row(deployment: str, *, available: bool) -> dict[str, object]:
    provider, _, name = deployment.partition("/")
    back = None if available else "2026-11-23T12:00:00Z"
    return {
        "deployment": deployment,
        "provider": provider,
        "model": name,
        "available": available,
        "back": back,
    }


def test_members_and_anybody_are_told_the_same() -> None:
    looks: list[str] = []

    async def run(command: str, by: Any, arguments: Any) -> dict[str, msgspec.Raw]:
        looks.append(command)
        rows = [
            row("a/one", available=False), row("b/one", available=True), row("a/two", available=False),
        ]  # fmt: skip
        return {"processes": msgspec.Raw(msgspec.json.encode([{"deployments": rows}]))}

    async def house() -> Any:
        return SimpleNamespace(public_pages=True)

    desk = SimpleNamespace(
        clock=SimpleNamespace(now_ms=lambda: NOW_MS),
        told={},
        run=run,
        offered=lambda: [model("one", "a", "b"), model("two", "a")],
        people=SimpleNamespace(house=house),
    )
    ask: Any = SimpleNamespace(desk=desk, by=None)

    async def both() -> tuple[Any, Any]:
        return await public.models_status(ask), await public.status(ask)

    members, anybody = asyncio.run(both())
    assert looks == ["deployments"]  # found once for both
    assert members["unavailable"] == [each["id"] for each in anybody["unavailable"]] == ["two"]
    assert [(each["model"], each["provider"]) for each in members["resting"]] == [("one", "a"), ("two", "a")]
    assert (anybody["status"], anybody["models"]) == ("degraded", 2)
    assert "provider" not in str(anybody)
