"""A stream that breaks after content is gone on with: on another deployment or the same, once paid, and told."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from engine_kit import CUT, World, answer, ask, events, run

from llm_router.billing.policy import SettlementPolicy
from llm_router.domain.preset import Preset
from llm_router.routing.continuing import Continuing
from llm_router.routing.retry import RetryRules
from llm_router.routing.rules import RoutingRules
from llm_router.wire.continuing.anchor import anchor

ON = Continuing()


def spoken(*texts: str, finish: str | None = None, usage: dict[str, int] | None = None) -> list[bytes]:
    """Chunks that say the texts, and how it ends."""
    deltas: list[dict[str, Any]] = [{"content": text} for text in texts]
    out = [_chunk(delta) for delta in deltas]
    if finish is not None:
        out.append(_chunk({}, finish))
        if usage is not None:
            out.append(
                b"data: %b\n\n" % msgspec.json.encode({"id": "chatcmpl-1", "choices": [], "usage": usage})
            )
        out.append(b"data: [DONE]\n\n")
    return out


def _chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    body = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "up",
        "choices": [choice],
    }
    return b"data: %b\n\n" % msgspec.json.encode(body)


USAGE = {"prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 25}
BEGUN = spoken("Once upon a time there ", "was a king who")


def text_of(world: World) -> str:
    choices = [chunk["choices"][0] for chunk in world.client.chunks if chunk["choices"]]
    return "".join(choice["delta"].get("content") or "" for choice in choices)


def test_another_deployment_goes_on_and_the_client_sees_one_answer() -> None:
    async def main() -> None:
        world = World(continuing=ON)
        rest = spoken("there was a king who", " had a crown.", finish="stop", usage=USAGE)
        world.upstream.scripts |= {"p1": [answer(*BEGUN, error=CUT)], "p2": [answer(*rest)]}
        await world.serve(ask("m2", stream=True, max_tokens=300))
        world.check()
        assert text_of(world) == "Once upon a time there was a king who had a crown."
        assert world.client.data.endswith(b"data: [DONE]\n\n")
        assert world.client.error is None
        assert world.upstream.asked == ["p1", "p2"]
        sent = json.loads(world.upstream.requests[1].body)
        assert [message["role"] for message in sent["messages"]] == ["user", "assistant", "user"]
        assert sent["messages"][1]["content"] == "Once upon a time there was a king who"
        assert sent["max_tokens"] < 300
        usage = world.client.chunks[-1]["usage"]
        assert (
            usage["completion_tokens"] == 5 + 10
        )  # what the second says it wrote, and what came of the first
        assert usage["continued"] == [
            {"at_chars": 37, "cause": "truncated", "provider": "p2", "model": "m2", "way": "prompt"}
        ]
        record = world.record
        assert [attempt.outcome for attempt in record.attempts] == ["failed", "delivered"]
        assert "continued" in record.flags
        assert record.finish == "stop"
        assert record.cost_pusd == 20 * 1_000_000 + 5 * 2_000_000  # the cut stream is free by the policy
        ids = {chunk["id"] for chunk in world.client.chunks}
        assert ids == {"chatcmpl-1"}

    run(main())


def test_the_same_deployment_goes_on_where_there_is_no_other() -> None:
    async def main() -> None:
        world = World(continuing=ON)
        rest = spoken("Once upon a time there was a king who was old.", finish="stop", usage=USAGE)
        world.upstream.scripts["p1"] = [answer(*BEGUN, error=CUT), answer(*rest)]
        await world.serve(ask("m1", stream=True))
        world.check()
        assert text_of(world) == "Once upon a time there was a king who was old."
        assert world.upstream.asked == ["p1", "p1"]

    run(main())


@pytest.mark.parametrize("policy", ["free", "delivered"])
def test_what_was_cut_is_paid_for_by_the_policy(policy: Any) -> None:
    async def main() -> None:
        world = World(continuing=ON, settlement=SettlementPolicy(cut=policy))
        rest = spoken("there was a king who", " had a crown.", finish="stop", usage=USAGE)
        world.upstream.scripts |= {"p1": [answer(*BEGUN, error=CUT)], "p2": [answer(*rest)]}
        await world.serve(ask("m2", stream=True, max_tokens=300))
        world.check()
        record = world.record
        plain = 20 * 1_000_000 + 5 * 2_000_000
        if policy == "free":
            assert record.cost_pusd == plain
            return
        assert record.cost_pusd > plain
        assert [name for name, _ in record.usage.others] == ["p1/m2#1"]
        assert dict(record.other_prices) == {"p1/m2#1": "p1-1"}
        assert sum(line.amount_pusd for line in record.cost) == record.cost_pusd
        assert record.attempts[-1].operator_cost_pusd == plain

    run(main())


@pytest.mark.parametrize(
    ("case", "header", "more"),
    [
        ("off", "off", {}),
        ("logprobs", None, {"logprobs": True}),
        ("several", None, {"n": 2}),
    ],
)
def test_what_cannot_be_gone_on_with_is_an_error(case: str, header: str | None, more: dict[str, Any]) -> None:
    async def main() -> None:
        world = World(continuing=ON)
        world.upstream.scripts |= {"p1": [answer(*BEGUN, error=CUT)], "p2": [answer(*events())]}
        headers = {} if header is None else {"x-llm-router-continue": header}
        await world.serve(ask("m2", stream=True, **more), headers=headers)
        world.check()
        assert world.upstream.asked == ["p1"]
        assert world.client.error["code"] == "upstream_truncated"
        assert b"[DONE]" not in world.client.data

    run(main())


@pytest.mark.parametrize(
    ("rules", "more", "goes_on"),
    [
        (Continuing(mode="off", keys={"key_1": "equal"}), {}, True),
        (Continuing(keys={"key_1": "off"}), {}, False),
        (Continuing(keys={"key_2": "off"}), {}, True),
        (Continuing(models=(("m2", "off"),), keys={"key_1": "on"}), {}, True),
        (Continuing(models=(("m2", "off"),)), {}, False),
        (Continuing(keys={"key_1": "on"}, presets={"own": "off"}), {"preset": "own"}, False),
        (Continuing(mode="off", presets={"own": "on"}), {"preset": "own"}, True),
        (Continuing(presets={"other": "off"}), {"preset": "own"}, True),
    ],
)
def test_keys_and_presets_have_modes_of_their_own(
    rules: Continuing, more: dict[str, Any], goes_on: bool
) -> None:
    async def main() -> None:
        own = Preset(name="own", system="Be short.")
        world = World(continuing=rules, routing=RoutingRules(presets={"own": own}))
        rest = spoken("there was a king who", " had a crown.", finish="stop", usage=USAGE)
        world.upstream.scripts |= {"p1": [answer(*BEGUN, error=CUT)], "p2": [answer(*rest)]}
        await world.serve(ask("m2", stream=True, max_tokens=300, **more))
        world.check()
        assert world.upstream.asked == (["p1", "p2"] if goes_on else ["p1"])
        assert (world.client.error is None) is goes_on

    run(main())


def test_a_header_that_cannot_be_read_is_refused() -> None:
    async def main() -> None:
        world = World()
        await world.serve(ask("m2", stream=True), headers={"x-llm-router-continue": "perhaps"})
        assert world.client.status == 400
        assert world.client.error["param"] == "x-llm-router-continue"

    run(main())


def test_an_answer_that_begins_anew_and_differs_is_the_error_of_the_cut() -> None:
    async def main() -> None:
        world = World(continuing=ON)
        other = spoken(
            "Once upon a time there was a king, old and wise, and rich.", finish="stop", usage=USAGE
        )
        world.upstream.scripts |= {"p1": [answer(*BEGUN, error=CUT)], "p2": [answer(*other)]}
        await world.serve(ask("m2", stream=True))
        world.check()
        assert text_of(world) == "Once upon a time there was a king who"
        assert world.client.error["code"] == "upstream_truncated"
        assert b"[DONE]" not in world.client.data
        assert len(world.upstream.asked) == 3  # twice, and no more

    run(main())


def test_it_goes_on_a_bounded_number_of_times() -> None:
    async def main() -> None:
        world = World(continuing=ON)
        more = spoken("there was a king who", " had a crown.")
        again = spoken(anchor("Once upon a time there was a king who had a crown."), " It fell.")
        world.upstream.scripts |= {
            "p1": [answer(*BEGUN, error=CUT), answer(*again, error=CUT)],
            "p2": [answer(*more, error=CUT)],
        }
        await world.serve(ask("m2", stream=True))
        world.check()
        assert text_of(world) == "Once upon a time there was a king who had a crown. It fell."
        assert world.client.error is not None
        assert world.upstream.asked == ["p1", "p2", "p1"]
        assert [seam.provider for seam in world.record.seams] == ["p2", "p1", None]
        assert world.record.cost_pusd == 0

    run(main())


@pytest.mark.parametrize(("attempts_max", "asked"), [(1, ["p1"]), (2, ["p1", "p2"]), (3, ["p1", "p2", "p1"])])
def test_continuations_count_as_calls(attempts_max: int, asked: list[str]) -> None:
    async def main() -> None:
        world = World(continuing=ON, retries=RetryRules(attempts_max=attempts_max))
        more = spoken("there was a king who", " had a crown.")
        again = spoken(anchor("Once upon a time there was a king who had a crown."), " It fell.")
        world.upstream.scripts |= {
            "p1": [answer(*BEGUN, error=CUT), answer(*again, error=CUT)],
            "p2": [answer(*more, error=CUT)],
        }
        await world.serve(ask("m2", stream=True))
        world.check()
        assert world.client.error["code"] == "upstream_truncated"
        assert world.upstream.asked == asked

    run(main())


def test_a_connection_that_broke_behind_the_end_of_the_answer_is_no_cut() -> None:
    async def main() -> None:
        world = World(continuing=ON)
        whole = [*BEGUN, _chunk({}, "stop")]
        world.upstream.scripts |= {"p1": [answer(*whole, error=CUT)]}
        await world.serve(ask("m2", stream=True))
        world.check()
        assert world.upstream.asked == ["p1"]
        assert world.client.error is None
        assert "cut_after_end" in world.record.flags

    run(main())


def test_a_hold_that_does_not_cover_it_ends_with_the_error() -> None:
    async def main() -> None:
        world = World(continuing=ON)
        long = spoken("A long answer that was cut " * 200)
        world.upstream.scripts |= {"p1": [answer(*long, error=CUT)], "p2": [answer(*events())]}
        await world.serve(ask("m2", stream=True, max_tokens=20))
        world.check()
        assert world.upstream.asked == ["p1"]
        assert world.client.error is not None

    run(main())
