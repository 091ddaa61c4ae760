"""Experiments in every store: what two processes count adds up, what runs is known, an end is told once."""

from __future__ import annotations

import msgspec
import pytest
from store_cases import FixedClock, Open, openers, record, run

from llm_router.domain.experiment import Arm, Ending, Experiment
from llm_router.engine.experiments import FIGURES, KIND, Experiments, Kept, end_run
from llm_router.ports import Document

SPLIT = Experiment(
    name="x",
    of="m",
    arms=(Arm(name="old"), Arm(name="new", parameters={"top_p": msgspec.Raw(b"0.5")})),
    created_ms=7,
)


@pytest.fixture(params=["memory", "sqlite", "postgres", "remote"])
def open_store(request: pytest.FixtureRequest, tmp_path: object) -> Open:
    return openers(tmp_path)[request.param]


def test_experiments_in_every_store(open_store: Open) -> None:
    async def scenario() -> None:
        store = await open_store()
        try:
            body = msgspec.json.encode(SPLIT)
            made = Document(kind=KIND, id="x", account="", version=1, open=True, created_ms=7, body=body)
            assert await store.put_document(made)
            nodes = [Experiments(store, FixedClock(), name, dict, print) for name in ("one", "two")]
            for node in nodes:
                await node.look()
                assert [each.run for each in node.running.values()] == [SPLIT.run]
                for n in range(3):
                    node.rated(SPLIT.run, "new", n, 1.0, "good")
                await node.save()
            nodes[0].rated(SPLIT.run, "new", 0, 1.0, "good", times=-1)
            await nodes[0].save()
            known = await store.document(FIGURES, SPLIT.run)
            assert known is not None
            found = msgspec.json.decode(known.body, type=Kept).figures.arm("new")
            assert (found.total("ratings"), found.labels) == (5, {"good": 5})
            ending = Ending(ended_ms=9, by="guard", reason="worse")
            assert [await end_run(store, SPLIT, ending) for _ in range(2)] == [True, False]
            for node in nodes:
                await node.look()
                assert not node.running
        finally:
            await store.close()

    run(scenario())


def test_the_record_of_an_arm_is_kept_whole(open_store: Open) -> None:
    """One of an account without any credit too, which nothing is charged to."""
    said = msgspec.structs.replace(
        record("gen-1", 0),
        account="operator.shadow",
        experiment="x",
        arm="new",
        trial="x:1/5",
        features=b"\x00\xff",
    )

    async def scenario() -> None:
        store = await open_store()
        try:
            assert (await store.settle(said)).charged_pusd == 0
            kept = await store.generation("operator.shadow", "gen-1")
            assert kept is not None
            assert (kept.experiment, kept.arm, kept.trial, kept.features) == (
                "x",
                "new",
                "x:1/5",
                b"\x00\xff",
            )
        finally:
            await store.close()

    run(scenario())
