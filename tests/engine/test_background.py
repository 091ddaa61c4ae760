"""Background responses struck at every await: the hold is resolved once, and what is kept has an end."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from engine_kit import CUT, World, answer, events, refusal, run, whole

from llm_router.adapters.memory.responses import MemoryResponses
from llm_router.domain.errors import (
    InvalidRequest,
    LedgerUnavailable,
    NotFound,
    Overloaded,
    PayloadTooLarge,
    ServerError,
)
from llm_router.domain.stored import StoredResponse
from llm_router.engine.background import Background, Run
from llm_router.engine.responses import Keeping, Responses
from llm_router.wire.dialects.registry import DIALECTS

Strike = Callable[["Scene", asyncio.Task[Any]], None]


class FailingStore(MemoryResponses):
    """``refusals``: which calls of put fail, from 1."""

    def __init__(self) -> None:
        super().__init__()
        self.puts = 0
        self.refusals: set[int] = set()

    async def put(self, response: StoredResponse) -> None:
        self.puts += 1
        await asyncio.sleep(0)
        if self.puts in self.refusals:
            raise LedgerUnavailable("full")
        await super().put(response)


class Scene(World):
    """A world with background responses. Counts the awaits of background exchanges."""

    def __init__(self, **rules: Any) -> None:
        super().__init__()
        self.store = FailingStore()
        self.background = Background(Responses(self.engine, self.store, Keeping(**rules)))
        self.names: list[str] = []
        self.runs: list[Run] = []
        self.strike_at: set[int] = set()
        self.how: Strike = lambda scene, task: None

    async def step(self, name: str) -> None:
        task = asyncio.current_task()
        assert task is not None
        running = next((r for r in self.background._runs if r.exchange is task), None)
        if running is not None:
            if running not in self.runs:
                self.runs.append(running)
            self.names.append(name)
            if len(self.names) in self.strike_at:
                self.how(self, task)
        await asyncio.sleep(0)

    async def create(self, **members: Any) -> Any:
        """Ask for a response; the client's answer."""
        body = json.dumps({"model": "m1", "input": "hi", "background": True, **members}).encode()
        await self.background.serve(self.call(body, dialect=DIALECTS["openai_responses"]), self.client)
        return self.client

    async def idle(self) -> None:
        await self.until(lambda: not self.background._runs)
        for _ in range(5):
            await asyncio.sleep(0)
        await self.background.close()
        await self.engine.close()
        assert self.background._admitted == {}
        self.check()
        for runs in self.runs:
            assert runs.row is None or runs.over

    @property
    def kept(self) -> StoredResponse | None:
        rows = list(self.store._kept.values())
        assert len(rows) <= 1
        return rows[0] if rows else None

    @property
    def kept_body(self) -> Any:
        assert self.kept is not None
        return json.loads(self.kept.body)


PLAYS: dict[str, Any] = {
    "delivered": [answer(*events("a", "b", "c"))],
    "cut": [answer(*events("a", "b")[:3], error=CUT)],
    "refused": [refusal(500)],
    "whole": [answer(whole())],
}
every_play = pytest.mark.parametrize("play", PLAYS)
either_way = pytest.mark.parametrize("stream", [False, True], ids=["polled", "streamed"])


def scene_of(play: str) -> Scene:
    scene = Scene()
    scene.upstream.scripts["p1"] = list(PLAYS[play])
    return scene


def awaits_of(play: str) -> list[str]:
    found: list[str] = []

    async def main() -> None:
        scene = scene_of(play)
        await scene.create()
        await scene.idle()
        found.extend(scene.names)

    run(main())
    return found


def struck(play: str, numbers: set[int], how: Strike, *, stream: bool) -> Scene:
    scenes: list[Scene] = []

    async def main() -> None:
        scene = scene_of(play)
        scenes.append(scene)
        scene.strike_at, scene.how = numbers, how
        with contextlib.suppress(ServerError):  # struck before it was admitted
            await scene.create(stream=stream)
        await scene.idle()

    run(main())
    return scenes[0]


def cancel(scene: Scene, task: asyncio.Task[Any]) -> None:
    next(r for r in scene.runs if r.exchange is task).cancelled = True
    task.cancel()


def stop(scene: Scene, task: asyncio.Task[Any]) -> None:
    scene.engine.stop()


@every_play
@either_way
def test_the_end_is_kept_and_charged_once(play: str, stream: bool) -> None:
    scene = struck(play, set(), cancel, stream=stream)
    good = play in ("delivered", "whole")
    assert scene.kept_body["status"] == ("completed" if good else "failed")
    assert scene.record.cost_pusd == (20_000_000 if good else 0)
    assert scene.kept is not None
    assert (scene.kept.events != b"") is stream
    assert scene.client.finished


@every_play
@either_way
@pytest.mark.parametrize("how", [cancel, stop])
def test_struck_at_any_await(play: str, stream: bool, how: Strike) -> None:
    names = awaits_of(play)
    assert {"books.hold", "upstream.send", "books.settle"} <= set(names)
    for number, name in enumerate(names, 1):
        for numbers in ({number}, {number, number + 1}):
            scene = struck(play, numbers, how, stream=stream)
            if scene.kept is None:  # before it was admitted
                assert name in ("keyring.find", "counters.admit", "books.hold")
                continue
            body = scene.kept_body
            assert body["status"] in ("completed", "failed", "cancelled")
            if body["status"] == "cancelled" and body["usage"] is not None:
                assert round(body["usage"]["cost"] * 10**12) == scene.record.cost_pusd
            if how is stop and body["status"] == "failed" and play == "delivered":
                assert "stopping" in body["error"]["message"]
                assert scene.record.cost_pusd == 0


def test_a_cancelled_one_is_charged_for_what_was_delivered() -> None:
    last = max(n for n, name in enumerate(awaits_of("delivered"), 1) if name == "reply.chunk")
    scene = struck("delivered", {last - 1}, cancel, stream=True)
    assert scene.kept_body["status"] == "cancelled"
    assert scene.record.cost_pusd > 0
    assert scene.record.client_gone
    told = scene.client.data.split(b"\n\n")
    assert told[-2].startswith(b"event: response.incomplete")
    assert [json.loads(t.split(b"data: ")[1])["sequence_number"] for t in told[:-1]] == list(
        range(len(told) - 1)
    )


def test_a_cancelled_one_ends_though_the_ledger_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    async def refused(self: object, account: str, id_: str) -> None:
        raise LedgerUnavailable("The ledger cannot write to its disk.")

    last = max(n for n, name in enumerate(awaits_of("delivered"), 1) if name == "reply.chunk")
    monkeypatch.setattr(type(scene_of("delivered").books), "generation", refused)
    scene = struck("delivered", {last - 1}, cancel, stream=True)
    assert (scene.kept_body["status"], scene.kept_body["usage"]) == ("cancelled", None)
    assert scene.client.finished


def test_one_that_cannot_be_kept_is_refused_and_free() -> None:
    async def main() -> None:
        scene = scene_of("delivered")
        scene.store.refusals = {1}
        client = await scene.create()
        assert (client.status, client.error["code"]) == (503, "ledger_unavailable")
        assert scene.upstream.requests == []
        await scene.idle()

    run(main())


def test_one_whose_end_cannot_be_kept_says_so() -> None:
    async def main() -> None:
        scene = scene_of("delivered")
        scene.store.refusals = {2}
        await scene.create()
        await scene.idle()
        assert scene.kept_body["status"] == "failed"
        assert "too large" in scene.kept_body["error"]["message"]

    run(main())


def test_an_answer_beyond_the_bound_fails_and_is_free() -> None:
    async def main() -> None:
        scene = Scene(response_bytes_max=3000)
        scene.upstream.scripts["p1"] = [answer(*events(*["word "] * 100))]
        await scene.create()
        await scene.idle()
        assert scene.kept_body["status"] == "failed"
        assert "larger" in scene.kept_body["error"]["message"]
        assert scene.record.cost_pusd == 0

    run(main())


def test_a_client_that_leaves_before_it_knows_the_id_ends_it() -> None:
    async def main() -> None:
        scene = scene_of("delivered")
        task = asyncio.ensure_future(scene.create())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait((task,))
        assert task.cancelled()
        await scene.idle()
        assert scene.kept is None or scene.kept.status == "cancelled"

    run(main())


def test_they_are_bounded_and_foreign_ones_unknown() -> None:
    async def main() -> None:
        scene = Scene(background_max=1)
        gate = asyncio.Event()
        scene.upstream.scripts["p1"] = [answer(*events("a"))]
        hold = scene.books._world.step

        async def step(name: str) -> None:
            if name == "upstream.send":
                await gate.wait()
            await hold(name)

        scene.step = step  # type: ignore[method-assign]
        id_ = (await scene.create()).json["id"]
        with pytest.raises(Overloaded):
            await scene.create()
        assert json.loads(await scene.background.get("acme", id_))["status"] == "queued"
        for way in (scene.background.get, scene.background.cancel, scene.background.delete):
            with pytest.raises(NotFound):
                await way("other", id_)
        with pytest.raises(InvalidRequest):
            await scene.background.stream("acme", id_, -1, scene.client, [])
        gate.set()
        await scene.idle()
        assert json.loads(await scene.background.get("acme", id_))["status"] == "completed"

    run(main())


def test_what_an_earlier_process_left_unfinished_has_failed() -> None:
    async def main() -> None:
        scene = Scene()
        row = StoredResponse(
            account="acme", id="resp_1", created_ms=1, expires_ms=10**15, status="queued", previous=None,
            body=b'{"id":"resp_1","status":"queued"}', input=b"[]", background=True,
        )  # fmt: skip
        await scene.store.put(row)
        await scene.store.put(msgspec.structs.replace(row, id="resp_2", status="completed"))
        await scene.background.begin()
        body = json.loads((await scene.background.kept.get("acme", "resp_1")).body)
        assert (body["status"], body["error"]["code"]) == ("failed", "server_error")
        assert "restarted" in body["error"]["message"]
        assert (await scene.background.kept.get("acme", "resp_2")).status == "completed"
        assert await scene.store.unfinished() == []
        await scene.idle()

    run(main())


def test_what_is_kept_makes_room_by_itself() -> None:
    async def main() -> None:
        scene = Scene(bytes_max=40_000)
        scene.upstream.scripts["p1"] = [answer(*events("word " * 500))]
        for _ in range(30):
            scene.client = type(scene.client)(scene)
            await scene.create(background=False, stream=True)
        assert 0 < sum(row.size_bytes for row in scene.store._kept.values()) <= 42_000
        await scene.background.close()
        await scene.engine.close()

    run(main())


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("why", ["disk", "size"])
def test_an_answer_that_cannot_be_kept_says_so_and_is_told(stream: bool, why: str) -> None:
    async def main() -> None:
        scene = Scene(response_bytes_max=10) if why == "size" else Scene()
        scene.store.refusals = {1} if why == "disk" else set()
        scene.upstream.scripts["p1"] = [answer(*events("a")) if stream else answer(whole("a"))]
        client = await scene.create(background=False, stream=stream)
        told = _last_event(client.data)["response"] if stream else client.json
        assert (told["status"], told["store"], told["output"][0]["content"][0]["text"]) == (
            "completed",
            False,
            "a",
        )
        assert client.finished
        assert scene.kept is None
        await scene.idle()

    run(main())


def test_an_answer_is_kept_before_its_client_sees_the_end() -> None:
    async def main() -> None:
        scene = scene_of("delivered")
        before: list[bool] = []
        put = scene.store.put

        async def noticed(response: StoredResponse) -> None:
            before.append(b"response.completed" in scene.client.data)
            await put(response)

        scene.store.put = noticed  # type: ignore[method-assign]
        await scene.create(background=False, stream=True)
        assert before == [False]
        assert b"response.completed" in scene.client.data
        await scene.idle()

    run(main())


def test_conversations_make_room_too() -> None:
    async def main() -> None:
        scene = Scene(bytes_max=20_000)
        body = json.dumps({"items": [{"role": "user", "content": "x" * 900}]}).encode()
        kept = scene.background.kept.conversations
        for _ in range(40):
            await kept.create("acme", body)
        left = list(scene.store._conversations.values())
        assert 0 < sum(row.size_bytes for row in left) <= 22_000
        for _ in range(10):
            await kept.add("acme", left[-1].id, body)
        assert len(scene.store._conversations) < len(left)
        await scene.idle()

    run(main())


def test_a_conversation_is_bounded() -> None:
    async def main() -> None:
        scene = Scene(response_bytes_max=2000)
        kept = scene.background.kept.conversations
        body = json.dumps({"items": [{"role": "user", "content": "x" * 900}]}).encode()
        id_ = (await kept.create("acme", body))["id"]
        await kept.add("acme", id_, body)
        with pytest.raises(PayloadTooLarge):
            await kept.add("acme", id_, body)
        with pytest.raises(PayloadTooLarge):
            await kept.create(
                "acme", json.dumps({"items": [{"role": "user", "content": "x" * 2000}]}).encode()
            )
        assert len((await kept.load("acme", id_)).items) == 2
        await scene.idle()

    run(main())


def _last_event(data: bytes) -> Any:
    return json.loads(data.rstrip().rpartition(b"data: ")[2])
