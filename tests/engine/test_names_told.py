"""What a name did is told: a developer's or a provider's name in front, and a model past its shutdown."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from engine_kit import KEY, FakeClient, World, answer, ask, provider, refusal, run, whole

from llm_router.catalog.schema import CatalogData, DeploymentRow, ModelRow, PriceRow
from llm_router.catalog.snapshot import Snapshot, compile_snapshot
from llm_router.domain.model import Capabilities
from llm_router.domain.price import Price, Rates
from llm_router.engine.admit import Call
from llm_router.engine.dry_run import Case, DryRun
from llm_router.engine.explaining import explain_call
from llm_router.engine.explanation import explain_record
from llm_router.routing.rules import RoutingRules
from llm_router.wire.dialects.registry import DIALECTS
from llm_router.wire.operations import SPOKEN

PROVIDERS = (provider("acme", developer="Acme"), provider("hub"))


def _row(id_: str, rate: int, **more: Any) -> tuple[ModelRow, tuple[PriceRow, ...]]:
    names = ("acme", "hub")
    row = ModelRow(
        id=id_, name=id_, family="F", developer="Acme", capabilities=Capabilities(tools=True), slugs=("acme",),
        deployments=tuple(DeploymentRow(provider=n, upstream_model=id_, shutdown=more.get("shutdown")) for n in names),
        **more,
    )  # fmt: skip
    prices = tuple(
        PriceRow(
            deployment=f"{n}/{id_}", price=Price(version=f"{n}-{id_}", rates=Rates(input=rate, output=rate))
        )
        for n in names
    )
    return row, prices


def _snapshot(heir_rate: int = 3_000_000) -> Snapshot:
    rows = [
        _row("swift-2", heir_rate),
        _row("swift-1", 2_000_000, shutdown="2026-01-01", successor="swift-2"),
    ]
    return compile_snapshot(
        CatalogData(
            as_of="2026-03-01", providers=PROVIDERS, models=tuple(r for r, _ in rows), prices=tuple(p for _, ps in rows for p in ps)
        )
    )  # fmt: skip


def _world(heir_rate: int = 3_000_000, **routing: Any) -> World:
    world = World()
    state = msgspec.structs.replace(
        world.engine.state,
        snapshot=_snapshot(heir_rate),
        active=frozenset({"acme", "hub"}),
        provider_keys={"acme": "a" * 20, "hub": "b" * 20},
        routing=RoutingRules(**routing),
    )
    world.engine.state = state
    for name in ("acme", "hub"):
        world.upstream.scripts[name] = [answer(whole())]
    return world


def _explained(world: World) -> Any:
    return explain_record(world.record, world.engine.state.snapshot, world.engine.state.active)


async def _asked(world: World, name: str, **headers: str) -> Any:
    world.client = FakeClient(world)
    await world.serve(ask(name), headers={"x-llm-router-explain": "1", **headers})
    return world.client


def test_the_developer_s_name_keeps_the_other_providers() -> None:
    async def main() -> None:
        world = _world()
        world.upstream.scripts["acme"] = [refusal(500)]
        client = await _asked(world, "acme/swift-2")
        assert client.status == 200
        assert world.upstream.asked == ["acme", "hub"]
        assert "developer=acme" in client.headers["x-llm-router-explain"]
        (name,) = _explained(world)["names"]
        assert (name["asked"], name["model"], name["via"]) == ("acme/swift-2", "swift-2", "developer")
        assert "whoever serves swift-2" in name["note"]

    run(main())


def test_a_provider_s_name_is_asked_alone_and_says_so() -> None:
    async def main() -> None:
        world = _world()
        world.upstream.scripts["hub"] = [refusal(500)]
        client = await _asked(world, "hub/swift-2")
        assert client.status == 500
        assert world.upstream.asked == ["hub"]
        assert "provider=hub" in client.headers["x-llm-router-explain"]
        (name,) = _explained(world)["names"]
        assert (name["via"], name["provider"]) == ("provider", "hub")
        refused = await _preview(world, "hub/swift-2", provider={"ignore": ["hub"]})
        assert "'hub/swift-2' asks for swift-2 at hub alone; 'swift-2' asks for it wherever" in refused["error"]["message"]  # fmt: skip

    run(main())


async def _preview(world: World, name: str, **more: Any) -> Any:
    call = Call(
        operation="chat", dialect=DIALECTS["openai_chat"], body=msgspec.json.encode({**ask(name), **more}),
        credential=KEY, headers={}, started_us=0,
    )  # fmt: skip
    return await explain_call(world.engine, call, "chat")


def test_a_successor_is_told_everywhere() -> None:
    async def main() -> None:
        world = _world()
        client = await _asked(world, "swift-1")
        assert client.headers["x-llm-router-model"] == "swift-2"
        assert client.headers["x-llm-router-successor-of"] == "swift-1"
        assert "successor_of=swift-1" in client.headers["x-llm-router-explain"]
        state = world.engine.state
        for shown in (
            _explained(world),
            await _preview(world, "swift-1"),
        ):
            (name,) = shown["names"]
            assert (name["asked"], name["model"], name["via"]) == ("swift-1", "swift-2", "successor")
            assert "shut down on 2026-01-01" in name["note"]
            assert "is dearer ($3 in, $3 out per million tokens; it was $2 in" in name["note"]
        body = msgspec.json.encode(ask("swift-1"))
        case = Case(asked="swift-1", operation="chat", dialect="openai_chat", body=body)
        route = await DryRun(state, SPOKEN, 0).route(case)  # type: ignore[arg-type]
        assert route is not None
        assert [(n.asked, n.model, n.via) for n in route.named] == [("swift-1", "swift-2", "successor")]

    run(main())


@pytest.mark.parametrize(
    ("rule", "heir_rate", "status"),
    [
        ("any", 3_000_000, 200),
        ("not_dearer", 3_000_000, 404),
        ("not_dearer", 2_000_000, 200),
        ("none", 1_000_000, 404),
    ],
)
def test_the_operator_says_which_successors_may_answer(rule: str, heir_rate: int, status: int) -> None:
    async def main() -> None:
        world = _world(heir_rate, successors=rule)
        client = await _asked(world, "swift-1")
        assert client.status == status
        if status == 404:
            assert client.error["code"] == "model_not_found"
            assert "ask for 'swift-2' itself" in client.error["message"]
            assert world.upstream.asked == []
        assert (await _asked(world, "swift-2")).status == 200

    run(main())
