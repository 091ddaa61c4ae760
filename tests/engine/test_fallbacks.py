"""Fallbacks to other models: who follows which failure, at whose price, within which credit."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from engine_kit import GRANT, World, answer, ask, deployment, events, model, refusal, run, whole

from llm_router.domain.budget import Scope, Window
from llm_router.domain.key import Key, key_digest
from llm_router.domain.limit import Limit, LimitKind
from llm_router.domain.model import Deployment
from llm_router.domain.price import Price, Rates
from llm_router.routing.chains import Chains, FallbackRules
from llm_router.routing.retry import RetryRules

TOO_LONG = "This model's maximum context length is 8000 tokens"
REFUSED = "refused by our content_policy"
both_ways = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


def priced(name: str, provider: str, times: int, window: int | None = None) -> Deployment:
    """A deployment that costs so many times what the others do."""
    rates = Rates(input=1_000_000 * times, output=2_000_000 * times)
    return msgspec.structs.replace(
        deployment(name, provider),
        price=Price(version=f"{name}-{times}", rates=rates),
        context_tokens=window,
    )


MODELS = (
    model("small", deployments=(priced("small", "p1", 1, 8_000),)),
    model("large", deployments=(priced("large", "p2", 3, 200_000),)),
    model("tiny", deployments=(priced("tiny", "p3", 1, 4_000),)),
    model("dear", deployments=(priced("dear", "p4", 1_000_000, 200_000),)),
)


def world_of(every: Chains) -> World:
    return World(*MODELS, fallbacks=FallbackRules(every=every), retries=RetryRules(repeats_max=0))


def good(stream: bool = False) -> Any:
    return answer(*events()) if stream else answer(whole())


def limit_of(model_: str, amount: int) -> Limit:
    return Limit(
        id=f"lim_{model_}", account="acme", scope=Scope.ACCOUNT, scope_id="acme", kind=LimitKind.REQUESTS,
        amount=amount, window=Window.HOUR, model=model_,
    )  # fmt: skip


def test_a_request_counts_against_the_limits_of_its_fallbacks() -> None:
    async def main() -> None:
        world = world_of(Chains(general=("large",)))
        world.rules.limits = [limit_of("large", 1)]
        world.upstream.scripts |= {"p1": [good()], "p2": [good()]}
        await world.serve(ask("small"))
        assert world.client.status == 200
        assert world.client.headers["x-ratelimit-remaining-requests"] == "0"

    run(main())


def test_a_fallback_whose_limit_is_used_up_is_left_out_and_the_request_goes() -> None:
    async def main() -> None:
        world = world_of(Chains(general=("large", "tiny")))
        world.rules.limits = [limit_of("large", 0)]
        world.upstream.scripts |= {"p1": [refusal(500)], "p3": [good()]}
        await world.serve(ask("small"))
        world.check()
        assert world.upstream.asked == ["p1", "p3"]
        assert world.client.status == 200
        other = world_of(Chains(general=("large",)))
        other.rules.limits = [limit_of("small", 0), limit_of("large", 0)]
        await other.serve(ask("small"))
        assert other.client.status == 429
        assert other.client.error["limit"]["model"] == "small"

    run(main())


@both_ways
@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [
        (400, TOO_LONG, "context"),
        (400, REFUSED, "content_policy"),
        (500, "no", "general"),
        (429, "no", "general"),
    ],
)
def test_each_failure_has_its_chain(status: int, message: str, kind: str, stream: bool) -> None:
    async def main() -> None:
        chains = dict.fromkeys(("general", "context", "content_policy"), ("tiny",)) | {kind: ("large",)}
        world = world_of(Chains(**chains))
        world.upstream.scripts |= {"p1": [refusal(status, message)], "p2": [good(stream)]}
        await world.serve(ask("small", stream=stream))
        world.check()
        assert world.upstream.asked == ["p1", "p2"]
        assert world.client.status == 200
        assert world.client.headers["x-llm-router-model"] == "large"
        assert world.client.error is None if stream else "error" not in world.client.json
        record = world.record
        assert (record.asked_model, record.model, record.provider) == ("small", "large", "p2")
        assert record.cost_pusd == 60_000_000  # at the price of who answered
        assert record.price_version == "large-3"
        assert [attempt.outcome for attempt in record.attempts] == ["failed", "delivered"]

    run(main())


def test_where_nothing_is_said_the_general_chain_is_meant_and_an_empty_one_is_none() -> None:
    async def main() -> None:
        world = world_of(Chains(general=("tiny", "large")))
        world.upstream.scripts |= {"p1": [refusal(400, TOO_LONG)], "p2": [good()]}
        await world.serve(ask("small"))
        assert world.upstream.asked == ["p1", "p2"]  # tiny is known to be no larger
        world = world_of(Chains(general=("large",), content_policy=()))
        world.upstream.scripts |= {"p1": [refusal(400, REFUSED)], "p2": [good()]}
        await world.serve(ask("small"))
        assert world.upstream.asked == ["p1"]
        assert world.client.error["code"] == "content_policy_violation"

    run(main())


def test_what_is_wrong_in_itself_goes_nowhere() -> None:
    async def main() -> None:
        world = world_of(Chains(general=("large",)))
        world.upstream.scripts |= {"p1": [refusal(400)], "p2": [good()]}
        await world.serve(ask("small"))
        world.check()
        assert world.upstream.asked == ["p1"]
        assert world.client.status == 400

    run(main())


def test_key_before_model_before_all() -> None:
    rules = FallbackRules(
        every=Chains(general=("a",), context=("b",)),
        models={"m": Chains(general=("c",))},
        keys={"k": Chains(general=())},
        presets={"p": Chains(general=("d",))},
    )
    assert rules.chain("general", model="m", key="x", preset=None) == ("c",)
    assert rules.chain("general", model="x", key="x", preset=None) == ("a",)
    assert rules.chain("general", model="m", key="k", preset=None) == ()
    assert rules.chain("general", model="m", key="k", preset="p") == ("d",)
    assert rules.chain("context", model="m", key="k", preset="p") == ("b",)
    assert rules.chain("content_policy", model="m", key="x", preset=None) == ("c",)
    assert FallbackRules().empty
    assert not rules.empty


def test_the_hold_covers_what_may_follow() -> None:
    async def main() -> None:
        plain, covered = world_of(Chains()), world_of(Chains(general=("large",)))
        held: list[int] = []
        for world in (plain, covered):
            world.upstream.scripts["p1"] = [good()]
            hold = world.books.ledger.hold

            def watched(id_: str, payer: Any, amount: int, now: int, hold: Any = hold) -> Any:
                held.append(amount)
                return hold(id_, payer, amount, now)

            world.books.ledger.hold = watched  # type: ignore[method-assign]
            await world.serve(ask("small", max_tokens=10))
            world.check()
        assert held[1] == 3 * held[0]

    run(main())


def test_a_fallback_that_the_credit_does_not_cover_is_left_out() -> None:
    async def main() -> None:
        world = world_of(Chains(general=("dear", "large")))
        world.upstream.scripts |= {"p1": [refusal(500)], "p2": [good()], "p4": [good()]}
        await world.serve(ask("small", max_tokens=10))
        world.check()
        assert world.upstream.asked == ["p1", "p2"]
        assert world.client.status == 200
        assert world.record.absorbed_pusd == 0
        assert world.books.available("acme") == GRANT - 60_000_000

    run(main())


def test_for_a_fallback_s_sake_no_request_is_refused_or_made_smaller() -> None:
    async def main() -> None:
        world = world_of(Chains(general=("dear",)))
        world.upstream.scripts["p1"] = [good()]
        await world.serve(ask("small"))  # no limit named
        world.check()
        assert world.client.status == 200
        assert "x-llm-router-max-tokens" not in world.client.headers
        assert b"max_" not in world.upstream.requests[0].body

    run(main())


def test_x_max_cost_holds_for_fallbacks_too() -> None:
    async def main() -> None:
        for most, asked in (("0.002", ["p1", "p2"]), ("0.0006", ["p1"])):
            world = world_of(Chains(general=("large",)))
            world.upstream.scripts |= {"p1": [refusal(500)], "p2": [good()]}
            await world.serve(ask("small", max_tokens=10), headers={"x-max-cost": most})
            world.check()
            assert world.upstream.asked == asked

    run(main())


def test_the_key_s_models_and_the_request_s_wishes_hold_for_them() -> None:
    async def main() -> None:
        world = world_of(Chains(general=("large",)))
        world.keyring.keys = {
            key_digest(b"k"): Key(
                id="key_2", account="acme", name="k", prefix="sk", created_ms=0, models=("small",)
            )
        }
        world.upstream.scripts |= {"p1": [refusal(500)], "p2": [good()]}
        await world.serve(ask("small"), credential=b"k")
        assert world.upstream.asked == ["p1"]
        other = world_of(Chains(general=("large",)))
        other.upstream.scripts |= {"p1": [refusal(500)], "p2": [good()]}
        await other.serve(ask("small", provider={"allow_fallbacks": False}))
        assert other.upstream.asked == ["p1"]

    run(main())


def test_an_unknown_name_in_a_chain_is_passed_over() -> None:
    async def main() -> None:
        world = world_of(Chains(general=("no-such-model", "small", "large")))
        world.upstream.scripts |= {"p1": [refusal(500)], "p2": [good()]}
        await world.serve(ask("small"))
        world.check()
        assert world.upstream.asked == ["p1", "p2"]

    run(main())


@both_ways
def test_after_content_nobody_else_answers(stream: bool) -> None:
    async def main() -> None:
        world = world_of(Chains(general=("large",)))
        cut = events()[:2] if stream else [whole()[:40]]
        world.upstream.scripts |= {"p1": [answer(*cut)], "p2": [good(stream)]}
        await world.serve(ask("small", stream=stream))
        world.check()
        asked = world.upstream.asked  # a stream is gone on with, by nobody but the model that began it
        assert (set(asked) == {"p1"}) if stream else (asked == ["p1", "p2"])

    run(main())
