"""Experiments on exchanges: arms that are written into requests, copies that nobody sees, guards, feedback."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import msgspec
import pytest
from engine_kit import (
    KEY,
    FakeClient,
    FakeClock,
    World,
    answer,
    ask,
    commands_of,
    events,
    refusal,
    run,
    whole,
)

from llm_router.adapters.memory.books import MemoryBooks
from llm_router.domain.errors import InvalidRequest, LedgerUnavailable, NotFound, UpstreamError, UpstreamKind
from llm_router.domain.experiment import Arm, Ending, Experiment
from llm_router.domain.key import key_digest
from llm_router.domain.preset import Preset
from llm_router.engine.experiments import ENDINGS, FIGURES, KIND, Experiments, Kept, unit_of
from llm_router.engine.feedback import give, given_to, read_given
from llm_router.engine.operations import dispatch
from llm_router.engine.shadows import ACCOUNT
from llm_router.ports import Document
from llm_router.routing.experiments.figures import Figures
from llm_router.routing.experiments.split import arm_of
from llm_router.routing.rules import RoutingRules
from llm_router.wire.dialects.registry import DIALECTS
from llm_router.wire.verbatim import dump


def experiment(*arms: Arm, **more: Any) -> Experiment:
    arms = arms or (Arm(name="old"), Arm(name="new", model="m2"))
    return Experiment(**{"name": "x", "of": "m1", "sticky": "user", "arms": arms, **more})


def prepared(*experiments: Experiment, **state: Any) -> World:
    world = World(**state)
    world.configured = {each.name: each for each in experiments}
    for provider in ("p1", "p2"):
        world.upstream.scripts[provider] = [answer(whole())]
    return world


def user_of(split: Experiment, arm: str) -> str:
    """A user who has that arm."""
    for n in range(1000):
        body = {**ask("m1"), "user": f"u{n}"}
        world = World()
        call = world.call(body)
        inspected = call.dialect.inspect(call.body, None, None)
        found = arm_of(split, unit_of(split, call, world.keyring.keys[key_digest(KEY)], inspected))
        if found is not None and found.name == arm:
            return f"u{n}"
    raise AssertionError("nobody")


async def asked(world: World, body: dict[str, Any], **call: Any) -> Any:
    """One exchange, and what its client got."""
    world.client = FakeClient(world)
    await world.engine.experiments.look()  # type: ignore[union-attr]
    await world.serve(body, **call)
    return world.client


def sent(world: World, at: int = -1) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(world.upstream.requests[at].body)
    return found


async def figures(world: World, split: Experiment) -> Figures:
    await world.engine.experiments.save()  # type: ignore[union-attr]
    known = await world.documents.document(FIGURES, split.run)
    assert known is not None
    return msgspec.json.decode(known.body, type=Kept).figures


def test_each_user_gets_his_arm_and_it_stands_in_the_record() -> None:
    split = experiment(Arm(name="old"), Arm(name="new", model="m2", parameters={"temperature": dump(0.1)}))

    async def work() -> None:
        world = prepared(split)
        for arm, model in (("old", "m1"), ("new", "m2"), ("new", "m2")):
            user = user_of(split, arm)
            client = await asked(world, {**ask("m1"), "user": user})
            assert client.headers["x-llm-router-model"] == model
            record = world.telemetry.records[-1]
            assert (record.experiment, record.arm, record.asked_model, record.model) == (
                "x",
                arm,
                "m1",
                model,
            )
            assert sent(world).get("temperature") == (0.1 if arm == "new" else None)
        found = await figures(world, split)
        assert (found.arm("old").total("requests"), found.arm("new").total("requests")) == (1, 2)
        assert found.arm("new").total("cost_pusd") == 2 * world.telemetry.records[-1].cost_pusd > 0
        assert found.arm("new").models == {"m2": 2}

    run(work())


def test_what_the_request_says_itself_goes_before_the_arm() -> None:
    split = experiment(Arm(name="old", weight=0), Arm(name="new", parameters={"temperature": dump(0.1)}))

    async def work() -> None:
        world = prepared(split)
        await asked(world, {**ask("m1"), "temperature": 0.7})
        assert sent(world)["temperature"] == 0.7

    run(work())


def test_a_preset_is_split_and_an_arm_may_be_another_version_of_it() -> None:
    preset = Preset(name="mail", models=("m1",), system="Be brief.")
    split = experiment(
        Arm(name="old", weight=0), Arm(name="new", model="m2", parameters={"top_p": dump(0.5)}), of="@mail"
    )

    async def work() -> None:
        world = prepared(split, routing=RoutingRules(presets={"mail": preset}))
        for body in ({**ask("@mail")}, {**ask("@preset/mail")}):
            client = await asked(world, body)
            assert client.headers["x-llm-router-model"] == "m2"
            assert sent(world)["messages"][0] == {"role": "system", "content": "Be brief."}
            assert sent(world)["top_p"] == 0.5
        client = await asked(world, ask("m1@preset/mail"))
        assert client.headers["x-llm-router-model"] == "m1"
        assert world.telemetry.records[-1].experiment is None, "it names a model of its own"

    run(work())


@pytest.mark.parametrize("body", [ask("m2"), {**ask("m1"), "models": ["m2"]}, ask("m1|m2")])
def test_other_requests_have_no_part_in_it(body: dict[str, Any]) -> None:
    async def work() -> None:
        world = prepared(experiment(Arm(name="old", weight=0), Arm(name="new", model="m6")))
        await asked(world, body)
        assert world.record.experiment is None

    run(work())


@pytest.mark.parametrize("model", ["nobody-has-it", "sees"])
def test_a_request_that_its_arm_cannot_serve_is_served_as_if_there_were_none(model: str) -> None:
    split = experiment(Arm(name="old", weight=0), Arm(name="new", model=model))

    async def work() -> None:
        world = prepared(split)
        digest = key_digest(KEY)
        world.keyring.keys[digest] = msgspec.structs.replace(world.keyring.keys[digest], models=("m*",))
        client = await asked(world, ask("m1"))
        assert client.status == 200
        assert client.headers["x-llm-router-model"] == "m1"
        assert world.record.arm is None
        found = await figures(world, split)
        assert (found.arm("new").total("left"), found.arm("new").total("requests")) == (1, 0)
        world.check()

    run(work())


def test_an_experiment_that_ended_changes_nothing() -> None:
    split = experiment(Arm(name="old", weight=0), Arm(name="new", model="m2"))

    async def work() -> None:
        world = prepared(split)
        engine_experiments = world.engine.experiments
        assert engine_experiments is not None
        await engine_experiments.look()
        assert engine_experiments.running
        context = _context(world)
        await dispatch("experiments.stop", {"name": "x"}, context)
        client = await asked(world, ask("m1"))
        assert client.headers["x-llm-router-model"] == "m1"
        with pytest.raises(InvalidRequest, match="over already"):
            await dispatch("experiments.stop", {"name": "x"}, context)

    run(work())


# -- shadows ---------------------------------------------------------------------------------------


async def copies_done(world: World) -> None:
    assert world.engine.shadows is not None
    await world.engine.shadows.idle()


def test_a_copy_is_billed_to_the_operator_and_never_seen() -> None:
    split = experiment(Arm(name="old"), Arm(name="new", model="m2"), kind="shadow")

    async def work() -> None:
        world = prepared(split)
        world.upstream.scripts["p1"] = [answer(whole("to the user")), answer(whole("to nobody"))]
        client = await asked(world, ask("m1"))
        assert client.json["choices"][0]["message"]["content"] == "to the user"
        assert client.headers["x-llm-router-model"] == "m1"
        await copies_done(world)
        main, copy = world.telemetry.records
        assert (main.account, main.arm, copy.account, copy.arm) == ("acme", "old", ACCOUNT, "new")
        assert copy.id != main.id
        assert (copy.cost_pusd, copy.cost, "shadow" in copy.flags) == (0, (), True)
        assert copy.attempts[-1].operator_cost_pusd is not None
        assert copy.attempts[-1].operator_cost_pusd > 0
        assert main.cost_pusd > 0
        assert world.books.records[copy.id].cost_pusd == 0
        assert world.books.available("acme") == 10**12 - main.cost_pusd
        found = await figures(world, split)
        assert found.arm("new").total("requests") == found.arm("old").total("requests") == 1
        assert found.arm("new").total("cost_pusd") == main.cost_pusd, "what the customer would have paid"
        assert world.books.holds == [main.id]

    run(work())


def test_a_copy_that_the_customer_pays_for_is_held_and_charged() -> None:
    split = experiment(Arm(name="old"), Arm(name="new", model="m2"), kind="shadow", billed="customer")

    async def work() -> None:
        world = prepared(split)
        await asked(world, ask("m1"))
        await copies_done(world)
        main, copy = world.telemetry.records
        assert copy.account == "acme"
        assert copy.cost_pusd == main.cost_pusd > 0
        assert world.books.available("acme") == 10**12 - 2 * main.cost_pusd
        assert world.books.ledger.open_holds() == 0

    run(work())


def test_a_copy_without_credit_is_not_made() -> None:
    split = experiment(Arm(name="old"), Arm(name="new", model="m2"), kind="shadow", billed="customer")

    async def work() -> None:
        world = prepared(split)
        body = {**ask("m1"), "max_tokens": 100}
        hold, held = world.books.hold, list[int]()

        async def noted(exchange_id: str, payer: Any, amount_pusd: int, *more: Any) -> int:
            held.append(amount_pusd)
            return await hold(exchange_id, payer, amount_pusd, *more)

        world.books.hold = noted  # type: ignore[method-assign]
        await asked(world, body)
        await copies_done(world)
        world.books.ledger.credit("acme", held[0] - world.books.available("acme"))
        await asked(world, body)
        await copies_done(world)
        assert world.client.status == 200
        found = await figures(world, split)
        assert found.arm("old").total("requests") == 2
        assert (found.arm("new").total("requests"), found.arm("new").total("left")) == (1, 1)
        assert world.books.ledger.open_holds() == 0

    run(work())


@pytest.mark.parametrize("trouble", ["refused", "slow", "huge", "500", "cut"])
@pytest.mark.parametrize("stream", [False, True])
def test_whatever_becomes_of_a_copy_the_user_has_his_answer(trouble: str, stream: bool) -> None:
    split = experiment(Arm(name="old"), Arm(name="new", model="claude"), kind="shadow")
    gate = asyncio.Event()

    class Slow:
        status, closed = 200, 0
        headers: dict[str, str] = {}

        async def read(self, bytes_max: int) -> bytes:
            await gate.wait()
            raise UpstreamError("late", kind=UpstreamKind.TIMEOUT)

        def expect_content(self, *, more: bool) -> None: ...

        async def chunks(self) -> Any:
            await gate.wait()
            raise UpstreamError("late", kind=UpstreamKind.TIMEOUT)
            yield b""

        async def close(self) -> None:
            self.closed += 1

    async def work() -> None:
        world = prepared(split)
        world.upstream.scripts["p1"] = [answer(*events()) if stream else answer(whole())]
        huge = answer(*[b"x" * 1_000_000] * 20)
        scripts: dict[str, Any] = {
            "slow": lambda world: Slow(), "huge": huge, "500": refusal(500),
            "cut": answer(b"event: mess", error=UpstreamError("cut", kind=UpstreamKind.TRUNCATED)),
        }  # fmt: skip
        if trouble in scripts:
            world.upstream.scripts["anth"] = [scripts[trouble]]
        client = await asked(world, {**ask("m1"), "stream": stream, "max_tokens": 10})
        assert client.finished, "it is answered before the copy has ended"
        assert client.status == 200
        assert client.error is None if stream else "choices" in client.json
        (main,) = [r for r in world.telemetry.records if r.account == "acme"]
        assert main.error_code is None
        gate.set()
        await copies_done(world)
        (copy,) = [r for r in world.telemetry.records if r.account == ACCOUNT]
        assert copy.error_code is not None
        found = await figures(world, split)
        assert (found.arm("old").total("errors"), found.arm("new").total("errors")) == (0, 1)
        health = world.engine.trying.health.views(["anth/claude"], 10**13)
        assert health == World().engine.trying.health.views(["anth/claude"], 10**13), (
            "real traffic knows nothing of it"
        )
        assert world.books.ledger.open_holds() == 0
        assert world.counters.busy == 0
        assert all(reply.closed for reply in world.upstream.replies)

    run(work())


def test_no_more_copies_are_under_way_than_may_be() -> None:
    split = experiment(Arm(name="old"), Arm(name="new", model="claude"), kind="shadow", concurrency=2)
    gate = asyncio.Event()

    async def work() -> None:
        world = prepared(split)
        send = world.upstream.send

        async def waiting(request: Any, deadlines: Any) -> Any:
            if "anth" in request.url:
                await gate.wait()
            return await send(request, deadlines)

        world.upstream.send = waiting  # type: ignore[method-assign]
        for _ in range(5):
            await asked(world, ask("m1"))
            assert world.client.status == 200
        gate.set()
        await copies_done(world)
        found = await figures(world, split)
        assert found.arm("old").total("requests") == 5
        assert found.arm("new").total("requests") == 2
        assert found.arm("new").total("skipped") == 3

    run(work())


@pytest.mark.parametrize("billed", ["operator", "customer"])
def test_copies_end_with_the_gateway_and_leave_no_hold(billed: str) -> None:
    split = experiment(Arm(name="old"), Arm(name="new", model="claude"), kind="shadow", billed=billed)

    async def work() -> None:
        world = prepared(split)
        send, began = world.upstream.send, asyncio.Event()

        async def never(request: Any, deadlines: Any) -> Any:
            if "anth" in request.url:
                began.set()
                await asyncio.Event().wait()
            return await send(request, deadlines)

        world.upstream.send = never  # type: ignore[method-assign]
        await asked(world, ask("m1"))
        await began.wait()
        await world.engine.close()
        assert world.books.ledger.open_holds() == 0
        copy = world.telemetry.records[-1]
        assert (copy.client_gone, copy.cost_pusd) == (True, 0)

    run(work())


def test_only_a_share_is_copied_and_compared() -> None:
    split = experiment(Arm(name="old"), Arm(name="new", model="m2"), kind="shadow", share=0.5)

    async def work() -> None:
        world = prepared(split)
        for n in range(40):
            await asked(world, {**ask("m1"), "user": f"u{n}"})
            await copies_done(world)
        found = await figures(world, split)
        copied = found.arm("new").total("requests")
        assert 8 < copied < 32
        assert found.arm("old").total("requests") == copied

    run(work())


# -- guards and the store --------------------------------------------------------------------------


def test_a_canary_that_fails_is_stopped_and_its_requests_are_served_as_before() -> None:
    split = experiment(
        Arm(name="old"), Arm(name="new", model="claude"), kind="canary", sticky="request", of="m1"
    )

    async def work() -> None:
        world = prepared(split)
        assert world.engine.experiments is not None
        for n in range(400):
            await asked(world, {**ask("m1"), "seed": n})
            await world.engine.experiments.save()
            if world.said:
                break
        assert len(world.said) == 1
        assert "experiment x was stopped" in world.said[0]
        known = await world.documents.document(ENDINGS, split.run)
        assert known is not None
        assert msgspec.json.decode(known.body, type=Ending).by == "guard"
        errors = sum(r.error_code is not None for r in world.telemetry.records)
        assert 20 <= errors <= 40
        for n in range(30):
            await asked(world, {**ask("m1"), "seed": n})
            assert world.client.status == 200

    run(work())


def test_what_the_store_does_not_take_is_added_later_and_once() -> None:
    split = experiment()

    class Shaky(MemoryBooks):
        """Writes, and says that it did not; then is down; then works."""

        troubles = ["after", "before"]

        async def put_document(self, document: Any) -> bool:
            trouble = self.troubles.pop(0) if self.troubles and document.kind == FIGURES else None
            if trouble == "before":
                raise LedgerUnavailable("down")
            done = await super().put_document(document)
            if trouble == "after":
                raise LedgerUnavailable("down")
            return done

    async def work() -> None:
        books = Shaky()
        one = Experiments(books, FakeClock(), "one", dict, print)
        two = Experiments(books, FakeClock(), "two", dict, print)
        for kept in (one, two):
            kept.rated(split.run, "new", 3, 1.0, None)
        await one.save()  # written, but nobody heard
        await two.save()  # down
        one.rated(split.run, "new", 3, -1.0, None)
        for _ in range(3):
            await one.save()
            await two.save()
        known = await books.document(FIGURES, split.run)
        assert known is not None
        found = msgspec.json.decode(known.body, type=Kept).figures.arm("new")
        assert (found.total("ratings"), found.total("good")) == (3, 2)

    run(work())


def test_commands_make_show_and_end_experiments() -> None:
    async def work() -> None:
        world = prepared()
        context = _context(world)
        arms = [{"name": "old", "weight": 9}, {"name": "new", "model": "m2", "parameters": {"top_p": 0.5}}]
        made = await dispatch("experiments.create", {"name": "cheap", "of": "m1", "arms": arms}, context)
        assert made["state"] == "running"
        with pytest.raises(InvalidRequest, match="already"):
            await dispatch("experiments.create", {"name": "cheap", "of": "m2", "arms": arms}, context)
        with pytest.raises(InvalidRequest, match="stop it first"):
            await dispatch("experiments.create", {"name": "other", "of": "m1", "arms": arms}, context)
        await asked(world, ask("m1"))
        assert world.record.experiment == "cheap"
        await world.engine.experiments.save()  # type: ignore[union-attr]
        said = await dispatch("experiments.report", {"name": "cheap"}, context)
        assert sum(arm["requests"] for arm in said["arms"]) == 1  # type: ignore[attr-defined]
        ended = await dispatch("experiments.stop", {"name": "cheap", "reason": "seen enough"}, context)
        assert (ended["state"], ended["reason"], ended["ended_by"]) == ("over", "seen enough", "operator")
        known = await world.documents.document(KIND, "cheap")
        assert known is not None
        assert not known.open
        again = await dispatch("experiments.create", {"name": "cheap", "of": "m1", "arms": arms}, context)
        assert again["state"] == "running"
        fresh = await dispatch("experiments.report", {"name": "cheap"}, context)
        assert fresh["verdict"] == ["nothing was counted yet"]
        found = await dispatch("experiments.list", {}, context)
        assert [each["name"] for each in found["experiments"]] == ["cheap"]  # type: ignore[attr-defined]
        with pytest.raises(NotFound):
            await dispatch("experiments.show", {"name": "none"}, context)

    run(work())


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"arms": [{"name": "a"}]}, "2 to 8 arms"),
        ({"arms": [{"name": "a"}, {"name": "a"}]}, "the same name"),
        ({"arms": [{"name": "a", "weight": 0}, {"name": "b", "weight": 0}]}, "no arm has a weight"),
        ({"arms": [{"name": "a"}, {"name": "b", "weight": -1}]}, "weight of arm 'b'"),
        ({"arms": [{"name": "a"}, {"name": "b", "parameters": {"messages": []}}]}, "no parameter"),
        ({"arms": [{"name": "a"}, {"name": "b", "parameters": {"top_ps": 1}}]}, "did you mean 'top_p'"),
        ({"arms": [{"name": "a"}, {"name": "b", "provider": {"onlly": []}}]}, "did you mean 'only'"),
        ({"arms": [{"name": "a"}, {"name": "b", "dial": 11}]}, "dial"),
        ({"of": "a|b"}, "of one model"),
        ({"of": "@mail:3"}, "newest version"),
        ({"of": "m1@preset/mail"}, "of one model"),
        ({"of": "@nothing"}, "no preset '@nothing'"),
        ({"of": "nothing"}, "is not available"),
        ({"name": "a b"}, "name"),
        ({"kind": "shadow", "share": 0.0}, "share"),
    ],
)
def test_what_can_be_no_experiment_is_refused(change: dict[str, Any], told: str) -> None:
    async def work() -> None:
        usual = {"name": "x", "of": "m1", "arms": [{"name": "a"}, {"name": "b", "model": "m2"}]}
        with pytest.raises(Exception, match=told) as refusal:
            await dispatch("experiments.create", {**usual, **change}, _context(prepared()))
        assert refusal.value.status in (400, 404)  # type: ignore[attr-defined]

    run(work())


def _context(world: World) -> Any:
    class Treasury:
        books = world.documents

    return commands_of(world, Treasury, RoutingRules(experiments=world.configured))


# -- feedback --------------------------------------------------------------------------------------


def test_feedback_is_kept_counted_and_replaced() -> None:
    split = experiment(Arm(name="old", weight=0), Arm(name="new", model="m2"))

    async def work() -> None:
        world = prepared(split)
        await asked(world, ask("m1"))
        key, id_ = world.keyring.keys[key_digest(KEY)], world.record.id
        said = read_given(b'{"score": "down", "label": "wrong", "comment": "no", "tags": ["a", "a"]}')
        for _ in range(2):
            await give(world.engine, world.documents, key, id_, said)
        found = (await figures(world, split)).arm("new")
        assert (found.total("ratings"), found.total("score_milli"), found.labels) == (1, -1000, {"wrong": 1})
        await give(world.engine, world.documents, key, id_, read_given(b'{"score": 0.5, "scale": "unit"}'))
        found = (await figures(world, split)).arm("new")
        assert (found.total("ratings"), found.total("score_milli"), found.labels) == (1, 0, {})
        kept = await given_to(world.engine, world.documents, key, id_)
        assert (kept.given.score, kept.given.scale, kept.given.label) == (0, "unit", None)
        await give(world.engine, world.documents, key, id_, read_given(b'{"comment": "words alone"}'))
        assert (await figures(world, split)).arm("new").total("ratings") == 0
        with pytest.raises(NotFound):
            await give(world.engine, world.documents, key, "gen-none", said)

    run(work())


@pytest.mark.parametrize(
    ("body", "score"),
    [
        (b'{"score": 1}', 1), (b'{"score": -0.25}', -0.25), (b'{"score": 0, "scale": "unit"}', -1),
        (b'{"score": "up"}', 1), (b'{"score": "down"}', -1),
        ('{"score": "\N{THUMBS DOWN SIGN}"}'.encode(), -1), (b'{"label": "x"}', None),
    ],
)  # fmt: skip
def test_scores_come_in_several_scales(body: bytes, score: float | None) -> None:
    assert read_given(body).score == score


@pytest.mark.parametrize(
    "body",
    [
        b"", b"[]", b"{}", b'{"score": 2}', b'{"score": true}', b'{"score": false, "scale": "unit"}', b'{"score": -0.5, "scale": "unit"}', b'{"score": "good"}',
        b'{"score": 1, "scale": "stars"}', b'{"label": ""}', b'{"label": 3}', b'{"tags": "a"}', b'{"tags": [1]}',
        b'{"comment": "' + b"x" * 4001 + b'"}', b'{"rating": 1}', b'{"score": 1e999}', b"\xff",
        b'{"tags": [' + b",".join(b'"%d"' % n for n in range(17)) + b"]}",
    ],
)  # fmt: skip
def test_wrong_feedback_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        read_given(body)


def test_feedback_on_a_choice_of_auto_is_learned_by_hashed_words_alone() -> None:
    async def work() -> None:
        world = World(routing=RoutingRules(auto_models=("m1", "m2")))
        for provider in ("p1", "p2"):
            world.upstream.scripts[provider] = [answer(whole())]
        body = {**ask("auto"), "messages": [{"role": "user", "content": "a very secret question"}]}
        await world.serve(body, dialect=DIALECTS["openai_chat"])
        record = world.record
        assert record.features is not None
        assert len(record.features) <= 330
        assert b"secret" not in msgspec.json.encode(record)
        key = world.keyring.keys[key_digest(KEY)]
        await give(world.engine, world.documents, key, record.id, read_given(b'{"score": "up"}'))
        await give(
            world.engine, world.documents, key, record.id, read_given(b'{"score": "up", "label": "x"}')
        )
        heads = world.engine.planner.autos.router.heads.heads
        assert {model: head.labels for model, head in heads.items()} == {record.model: 1}

    run(work())


def test_a_definition_that_cannot_be_read_does_not_stop_the_others() -> None:
    split = experiment(Arm(name="old", weight=0), Arm(name="new", model="m2"))

    async def work() -> None:
        world = prepared(split)
        strange = Document(
            kind=KIND, id="y", account="", version=1, open=True, created_ms=0, body=b'{"name": 1}'
        )
        assert await world.documents.put_document(strange)
        client = await asked(world, ask("m1"))
        assert client.headers["x-llm-router-model"] == "m2"

    run(work())


def test_a_boolean_is_no_score() -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_given(b'{"score": true}')
    assert caught.value.param == "score"
    assert "true" in caught.value.message
