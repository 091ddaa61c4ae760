"""Probes: who is asked, what is learned of it, and that nobody pays but the operator."""

from __future__ import annotations

import json

from engine_kit import GRANT, World, answer, anthropic_whole, ask, refusal, run, whole

from llm_router.routing.health import HealthRules, ProbeRules


def test_named_deployments_are_asked_and_nobody_is_charged() -> None:
    async def main() -> None:
        world = World(probes=ProbeRules(deployments=("p1/m1",)))
        world.upstream.scripts["p1"] = [answer(whole())]
        await world.engine.probes.round(world.engine.state)
        body = json.loads(next(r.body for r in world.upstream.requests if "p1" in r.url))
        assert body["max_tokens"] == 16
        probed = world.engine.probes.probed
        assert set(probed) == {"p1/m1"}
        assert (probed["p1/m1"].calls, probed["p1/m1"].failed) == (1, 0)
        assert probed["p1/m1"].cost_pusd == 20_000_000
        assert world.books.available("acme") == GRANT
        assert world.books.settlements == []
        assert all(reply.closed for reply in world.upstream.replies)
        assert {(record.key, record.cost_pusd) for record in world.telemetry.records} == {("probe", 0)}
        rows = {row["deployment"]: row for row in world.engine.health()}
        assert rows["p1/m1"]["probes"] == {"calls": 1, "failed": 0, "cost": "0.00002"}
        assert rows["p1/m2"]["probes"] is None

    run(main())


def test_a_pattern_names_the_deployments_of_all_models() -> None:
    async def main() -> None:
        world = World(probes=ProbeRules(deployments=("anth/*",)))
        world.upstream.scripts["anth"] = [answer(anthropic_whole())]
        await world.engine.probes.round(world.engine.state)
        probed = world.engine.probes.probed
        assert set(probed) == {"anth/mixed", "anth/claude", "anth/sees"}
        assert [each.failed for each in probed.values()] == [0, 0, 0]
        assert all(b'"max_tokens":16' in request.body for request in world.upstream.requests)

    run(main())


def test_a_probe_finds_a_failure_and_the_way_back() -> None:
    async def main() -> None:
        rules = HealthRules(failures_max=1, open_s=10, slow_start_s=0)
        world = World(probes=ProbeRules(deployments=("p1/m2",)), health=rules)
        world.upstream.scripts |= {"p1": [refusal(500), answer(whole())], "p2": [answer(whole())]}
        world.engine.trying.health.rules = rules
        await world.engine.probes.round(world.engine.state)
        await world.serve(ask("m2"))
        assert world.upstream.asked == ["p1", "p2"]  # no request had to meet it
        for _ in range(11_000):
            world.engine.clock.now_ms()
        await world.engine.probes.round(world.engine.state)
        view = world.engine.trying.health.view("p1/m2", world.engine.clock.now_ms())
        assert (view.available, view.state) == (True, "closed")

    run(main())


def test_without_a_name_nobody_is_asked() -> None:
    async def main() -> None:
        world = World()
        await world.engine.probes.round(world.engine.state)
        assert world.upstream.requests == []
        other = World(probes=ProbeRules(deployments=("no/such", "p9/*")))
        await other.engine.probes.round(other.engine.state)
        assert other.upstream.requests == []

    run(main())
