"""What is noted of exchanges is worked on after them, within bounds; what finds no room is counted and told."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from llm_router.domain.bodies import BodyRule, BodyRules
from llm_router.domain.errors import LedgerUnavailable
from llm_router.domain.record import ExchangeRecord
from llm_router.engine import bodies
from llm_router.engine.bodies import BodyKeeper, BodyPolicy, Job, prepare
from llm_router.engine.taping import RAW_MAX, Tape
from llm_router.ports import Document
from llm_router.wire.dialect import ReplyContext
from llm_router.wire.operations import SPOKEN

FRONT = SPOKEN["openai_chat"]
CONTEXT = ReplyContext(reply_id="chatcmpl-1", model="m", created_s=1)


class Clock:
    def now_ms(self) -> int:
        return 1000

    def monotonic_us(self) -> int:
        return 5


class Store:
    """Keeps when it is let."""

    def __init__(self) -> None:
        self.kept: list[Any] = []
        self.asked, self.open = asyncio.Event(), asyncio.Event()
        self.fails = False

    async def put(self, body: Any) -> bool:
        self.asked.set()
        await self.open.wait()
        if self.fails:
            raise LedgerUnavailable("no")
        self.kept.append(body)
        return True


class Books:
    def __init__(self, *documents: Document) -> None:
        self.rows = {each.id: each for each in documents}
        self.reads = 0

    async def documents(self, kind: str, *, after: str = "") -> list[Document]:
        self.reads += 1
        return [each for id_, each in sorted(self.rows.items()) if id_ > after]

    async def document(self, kind: str, id_: str) -> Document | None:
        return self.rows.get(id_)

    async def put_document(self, document: Document) -> bool:
        before = self.rows.get(document.id)
        if document.version != (1 if before is None else before.version + 1):
            return False
        self.rows[document.id] = document
        return True

    async def remove_document(self, kind: str, id_: str) -> bool:
        return self.rows.pop(id_, None) is not None


def record(**fields: Any) -> ExchangeRecord:
    values: dict[str, Any] = {
        "id": "gen-1", "account": "acme", "key": "key_1", "operation": "chat", "dialect": "openai_chat",
        "asked_model": "m", "created_ms": 1000, "duration_ms": 1, "overhead_us": 1, "stream": False, "status": 200,
    }  # fmt: skip
    known = {field.name for field in msgspec.structs.fields(ExchangeRecord)}
    return msgspec.convert({k: v for k, v in (values | fields).items() if k in known}, ExchangeRecord)


def tape(
    request: bytes = b'{"model":"m"}', answer: bytes = b'{"ok":true}', rule: BodyRule | None = None
) -> Tape:
    made = Tape(rule or BodyRule(), request)
    made.status, made.whole = 200, True
    made.note(answer)
    return made


def job(made: Tape, **fields: Any) -> Job:
    return Job(tape=made, record=record(**fields), front=FRONT, context=CONTEXT, json_array=False)


class Track:
    """As much of one as is asked for."""

    def __init__(self, made: Tape | None, **fields: Any) -> None:
        self.tape, self.record, self.inspected = made, record(**fields), None
        self.call = type("Call", (), {"dialect": FRONT})

    def context(self) -> ReplyContext:
        return CONTEXT


def keeper(store: Store, said: list[str]) -> BodyKeeper:
    async def pause(seconds: float) -> None:
        await asyncio.sleep(0)

    return BodyKeeper(
        policy=BodyPolicy(Books(), Clock()), store=store, clock=Clock(), secrets=lambda: ["the-gateway-secret"],
        say=said.append, pause=pause,
    )  # fmt: skip


def test_what_waits_is_bounded_and_what_finds_no_room_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "WAITING_MAX", 3)

    async def main() -> None:
        store, said = Store(), []
        made = keeper(store, said)
        made.keep(Track(tape()))
        await store.asked.wait()  # the first is being stored, which takes as long as the store likes
        for _ in range(5):
            made.keep(Track(tape()))
        assert made.load == {"bodies_waiting": 3, "bodies_kept": 0, "bodies_dropped": 2}
        assert said == ["bodies of 1 exchanges were not kept, though they should be (in all: queue full: 1)"]
        store.open.set()
        await made.idle()
        assert len(store.kept) == 4
        await made.close()
        assert said[1] == "bodies of 1 exchanges were not kept, though they should be (in all: queue full: 2)"

    asyncio.run(main())


def test_no_fault_ends_the_keeping(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        store, said = Store(), []
        store.open.set()
        made = keeper(store, said)
        store.fails = True
        made.keep(Track(tape()))
        await made.idle()
        store.fails = False
        made.keep(Track(tape(rule=BodyRule(patterns=("(broken",)))))
        made.keep(Track(tape(), status=429))
        made.keep(Track(None))
        made.keep(Track(tape(answer=b"it is the-gateway-secret")))
        await made.idle()
        assert made.dropped == {"store unavailable": 1, "patterns too hard": 1}
        assert b"[redacted:credential]" in store.kept[0].content
        monkeypatch.setattr(bodies, "prepare", lambda job, secrets: 1 / 0)
        made.keep(Track(tape()))
        await made.idle()
        assert made.dropped["a fault of ours (ZeroDivisionError)"] == 1
        await made.close()

    asyncio.run(main())


def test_a_stop_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "CLOSE_S", 0.0)

    async def main() -> None:
        store, said = Store(), []
        made = keeper(store, said)
        made.keep(Track(tape()))
        made.keep(Track(tape()))
        await made.close()
        assert not store.kept
        assert made.dropped["the gateway stopped"] >= 1

    asyncio.run(main())


def kept(made: Tape, **fields: Any) -> Any:
    return msgspec.json.decode(prepare(job(made, **fields)).content)


def test_what_is_too_long_is_told_by_its_size() -> None:
    long = tape(request=b"x" * (RAW_MAX + 1))
    long.note(b"y" * RAW_MAX)
    found = kept(long)
    assert found["request"] == {
        "body": None,
        "size_bytes": 0,
        "truncated": True,
        "redacted": {},
        "files_left_out": 0,
    }
    assert found["response"]["truncated"] is True
    assert found["response"]["complete"] is False
    assert not long.answer


def test_a_stream_that_broke_off_is_kept_as_far_as_it_went() -> None:
    head = b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":'
    cut = tape(answer=head + b'{"content":"so far"},"finish_reason":null}]}\n\n')
    cut.whole = False
    found = kept(cut, stream=True)
    assert found["response"]["body"]["choices"][0]["message"]["content"] == "so far"
    assert found["response"]["complete"] is False
    failed = tape(answer=b'{"error":{"message":"no"}}')
    failed.status = 500
    assert kept(failed, stream=True, status=500)["response"]["body"] == {"error": {"message": "no"}}


def test_users_are_those_of_key_and_request() -> None:
    asked = b'{"user":"zoe","safety_identifier":"z1","metadata":{"user_id":"zoe"}}'
    assert prepare(job(tape(request=asked), user="bob")).users == ("bob", "zoe", "z1")
    assert prepare(job(tape(request=b"[]"))).users == ()


def test_rules_are_in_memory_and_nobody_looks_while_there_are_none() -> None:
    async def main() -> None:
        books = Books()
        policy = BodyPolicy(books, Clock())
        assert not policy.quiet  # nobody knows yet
        assert policy.may_keep("acme")
        await policy.load()
        assert policy.quiet
        rule = BodyRule(share=0.5)
        await policy.change("acme", lambda rules: msgspec.structs.replace(rules, account=rule))
        assert not policy.quiet
        assert policy.may_keep("acme")
        assert not policy.may_keep("rival")
        other = BodyRule(share=0)
        await policy.change("acme", lambda rules: msgspec.structs.replace(rules, keys={"key_2": other}))
        rules = await policy.of("acme")
        assert (rules.of("key_1"), rules.of("key_2")) == (rule, other)
        reads = books.reads
        policy.forget()
        assert (await policy.of("acme")).of("key_1") == rule
        assert (await policy.of("rival")) == BodyRules()
        assert books.reads == reads + 2  # one page and its end, once
        await policy.change("acme", lambda rules: BodyRules())
        assert policy.quiet
        assert not books.rows

    asyncio.run(main())
