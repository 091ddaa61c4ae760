"""Presets: saved in versions, found by name, written into requests."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from engine_kit import FakeClient, World, answer, ask, commands_of, run, whole

from llm_router.domain.errors import InvalidRequest, RouterError
from llm_router.domain.experiment import Arm, Experiment
from llm_router.domain.preset import Preset
from llm_router.engine import presets
from llm_router.engine.operations import dispatch
from llm_router.engine.presets import BELIEVED_MS, StoredPresets
from llm_router.engine.saved import doubtful
from llm_router.ports import Document
from llm_router.routing.auto.tasks import Task
from llm_router.routing.rules import RoutingRules
from llm_router.wire.dialects.registry import DIALECTS
from llm_router.wire.verbatim import dump


class _Books:
    """Documents in memory."""

    def __init__(self) -> None:
        self.kept: dict[str, Document] = {}
        self.read = 0

    async def document(self, kind: str, id_: str) -> Document | None:
        self.read += 1
        return self.kept.get(id_)

    async def put_document(self, document: Document) -> bool:
        known = self.kept.get(document.id)
        if document.version != (1 if known is None else known.version + 1):
            return False
        self.kept[document.id] = document
        return True

    async def documents(self, kind: str, *, after: str = "", **more: Any) -> list[Document]:
        return [d for id_, d in sorted(self.kept.items()) if id_ > after]


class _Treasury:
    def __init__(self, books: _Books) -> None:
        self.books = books


class Kit:
    """The commands over documents in memory, and a world that finds what they saved."""

    def __init__(self) -> None:
        self.books = _Books()
        self.world = World()
        self.context = commands_of(self.world, _Treasury(self.books))
        self.world.engine.presets = StoredPresets(self.books, self.world.engine.clock)  # type: ignore[arg-type]
        self.world.upstream.scripts["p1"] = [answer(whole())]

    async def command(self, command: str, /, **arguments: Any) -> Mapping[str, Any]:
        plain = json.loads(json.dumps(arguments))
        return await dispatch(f"presets.{command}", plain, self.context)

    async def serve(self, body: dict[str, Any]) -> dict[str, Any]:
        """What the provider was sent."""
        self.world.client = FakeClient(self.world)
        self.world.upstream.requests.clear()
        self.world.telemetry.records.clear()
        await self.world.serve(body)
        assert self.world.client.status == 200, self.world.client.data
        sent: dict[str, Any] = json.loads(self.world.upstream.requests[0].body)
        return sent


def test_what_could_only_fail_is_not_saved() -> None:
    async def main() -> None:
        kit = Kit()
        for arguments, says in (
            ({"name": "mail", "models": ["nobody-knows-it"]}, "not available"),
            ({"name": "mail", "models": ["auto:cod"]}, "nearest: auto:code"),
            ({"name": "auto", "system": "Be brief."}, "another name"),
            ({"name": "m1", "system": "Be brief."}, "another name"),
            ({"name": "mail", "parameters": {"temprature": 0.2}}, "did you mean 'temperature'"),
            ({"name": "mail", "parameters": {"Max_Tokens": 9}}, "did you mean 'max_tokens'"),
        ):
            with pytest.raises(InvalidRequest, match=says):
                await kit.command("create", **arguments)
        await kit.command("create", name="mail", models=["m1"])
        with pytest.raises(RouterError, match="has no version 7; it has version 1"):
            await kit.command("show", name="mail", version=7)
        kit.world.client = FakeClient(kit.world)
        await kit.world.serve(ask("@mial"))
        assert kit.world.client.status == 404
        assert "Nearest: @mail" in kit.world.client.error["message"]

    run(main())


@pytest.mark.parametrize("preset", ["mail", "mail:1", "@mail", "@preset/mail"])
def test_a_preset_alone_names_the_model(preset: str) -> None:
    async def main() -> None:
        kit = Kit()
        await kit.command("create", name="mail", models=["m1"], parameters={"top_p": 0.5})
        body = ask("", preset=preset)
        del body["model"]
        sent = await kit.serve(body)
        assert (sent["model"], sent["top_p"], sent.get("preset")) == ("up", 0.5, None)

    run(main())


@pytest.mark.parametrize("dialect", ["openai_chat", "openai_responses", "anthropic_messages"])
@pytest.mark.parametrize(
    ("members", "found"),
    [
        ({"preset": "mail"}, "@mail"),
        ({"preset": "mail:1", "models": []}, "@mail:1"),
        ({"models": ["m1", "m2"], "preset": "mail"}, "m1"),
        ({"models": "m1"}, "models"),
        ({"models": [5]}, "models"),
        ({"preset": 5}, "preset"),
        ({}, "model"),
    ],
)
def test_what_stands_in_for_a_model(dialect: str, members: dict[str, Any], found: str) -> None:
    said = [{"role": "user", "content": "hi"}]
    body = {"messages": said, "input": "hi", "max_tokens": 9, **members}
    del body["messages" if dialect == "openai_responses" else "input"]
    try:
        got: str | None = DIALECTS[dialect].inspect(json.dumps(body).encode(), None, None).model
    except InvalidRequest as error:
        got = error.param
    assert got == found


def test_parameters_of_one_provider_are_taken_with_a_word() -> None:
    async def main() -> None:
        kit = Kit()
        made = await kit.command("create", name="mail", models=["m1"], parameters={"prompt_mode": "x"})
        assert "'prompt_mode' is no parameter that is known here" in made["warnings"][0]
        sent = await kit.serve({**ask("m1"), "model": "@mail"})
        assert sent["prompt_mode"] == "x"
        assert "warnings" not in await kit.command(
            "create", name="mail", models=["m1"], parameters={"top_k": 4}
        )

    run(main())


def test_what_the_configuration_names_is_held_against_what_there_is() -> None:
    arms = (Arm(name="old", model="m1"), Arm(name="new", model="auto:cod", parameters={"sed": dump(1)}))
    rules = RoutingRules(
        presets={
            "mail": Preset(
                name="mail", models=("m1:floor", "nobody-knows-it"), parameters={"tpo_p": dump(1)}
            ),
            "good": Preset(name="good", models=("m2", "auto:own"), parameters={"top_p": dump(1)}),
        },
        experiments={
            "e": Experiment(name="e", of="m3", arms=arms),
            "p": Experiment(name="p", of="@mail", arms=arms[:1]),
        },
        tasks={"own": Task(models=("m1",))},
    )
    model, parameter, of, task, misspelt = doubtful(rules, World().engine.state.snapshot)
    assert model.startswith("presets.mail: ")
    assert "'nobody-knows-it' is not available" in model
    assert parameter.startswith("presets.mail: 'tpo_p' is no parameter that is known here; the nearest")
    assert of.startswith("experiments.e: ")
    assert "nearest: auto:code" in task
    assert misspelt.startswith("experiments.e, arm new: 'sed' is no parameter")


def test_versions_are_kept_and_found() -> None:
    async def main() -> None:
        kit = Kit()
        await kit.command(
            "create", name="mail", models=["m1"], system="Be brief.", parameters={"temperature": 0.2}
        )
        made = await kit.command("create", name="mail", models=["m2"], parameters={"temperature": 0.7})
        assert made["version"] == 2
        sent = await kit.serve(ask("@mail"))
        assert sent["temperature"] == 0.7
        assert [m["role"] for m in sent["messages"]] == ["user"]
        assert (kit.world.record.asked_model, kit.world.record.model) == ("@mail", "m2")
        sent = await kit.serve(ask("@mail:1"))
        assert sent["temperature"] == 0.2
        assert sent["messages"][0] == {"role": "system", "content": "Be brief."}
        assert kit.world.record.model == "m1"
        assert (await kit.serve(ask("m6@preset/mail")))["temperature"] == 0.7
        assert kit.world.record.model == "m6"
        assert (await kit.serve(ask("m6", preset="mail", temperature=1)))["temperature"] == 1
        listed = await kit.command("list")
        assert [(p["name"], p["version"]) for p in listed["presets"]] == [("mail", 2)]
        versions = await kit.command("versions", name="mail")
        assert [p["version"] for p in versions["versions"]] == [2, 1]
        assert (await kit.command("show", name="mail", version=1))["system"] == "Be brief."

    run(main())


def test_what_is_deleted_is_gone_and_its_numbers_are_not_used_again() -> None:
    async def main() -> None:
        kit = Kit()
        await kit.command("create", name="mail", models=["m1"], system="secret")
        await kit.command("delete", name="mail")
        assert b"secret" not in kit.books.kept["mail"].body
        for name in ("@mail", "@mail:1", "@mail:2", "@none"):
            kit.world.client = FakeClient(kit.world)
            await kit.world.serve(ask(name))
            assert kit.world.client.status == 404
            assert "There is no preset" in kit.world.client.error["message"]
        with pytest.raises(RouterError, match="no preset"):
            await kit.command("delete", name="mail")
        assert (await kit.command("create", name="mail", models=["m1"]))["version"] == 3

    run(main())


def test_the_store_is_asked_once_in_a_while() -> None:
    async def main() -> None:
        kit = Kit()
        await kit.command("create", name="mail", models=["m1"])
        before = kit.books.read
        await kit.serve(ask("@mail"))
        await kit.serve(ask("@mail"))
        assert kit.books.read == before + 1
        kit.world.engine.clock._us += 1000 * BELIEVED_MS  # type: ignore[attr-defined]
        await kit.serve(ask("@mail"))
        assert kit.books.read == before + 2

    run(main())


def test_presets_of_the_configuration() -> None:
    async def main() -> None:
        own = Preset(
            name="own", models=("m2", "m1"), provider={"order": dump(["p2"])}, parameters={"seed": dump(7)}
        )
        world = World(routing=RoutingRules(presets={"own": own}))
        world.upstream.scripts["p2"] = [answer(whole())]
        await world.serve(ask("@own"))
        assert world.upstream.asked == ["p2"]
        assert json.loads(world.upstream.requests[0].body)["seed"] == 7
        world.check()
        empty = World(routing=RoutingRules(presets={"own": Preset(name="own", parameters={"seed": dump(7)})}))
        await empty.serve(ask("@own"))
        assert empty.client.status == 400
        assert "MODEL@preset/own" in empty.client.error["message"]

    run(main())


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "a b", "models": ("m",)},
        {"name": "a"},
        {"name": "a", "models": ("@b",)},
        {"name": "a", "parameters": {"messages": dump([])}},
        {"name": "a", "provider": {"sorts": dump("price")}},
        {"name": "a", "models": ("m",), "dial": 11.0},
    ],
)
def test_what_can_be_no_preset(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest):
        presets.check_preset(Preset(**wrong))
