"""Every line of the settlement table, through a running gateway before scripted providers."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from gateway_kit import Gateway, body_of
from scripted_upstream import (
    Script,
    ScriptedUpstream,
    answers,
    config_for,
    error_body,
    frames,
    head,
    http,
    sends_then_resets,
    stalls,
    usage,
    whole,
)

NORMAL = {"connect_s": 5, "first_byte_s": 20, "idle_s": 20, "total_s": 60}
O = "openai_chat"  # noqa: E741
EXACT = 10 * 1_000_000 + 5 * 2_000_000
"""What 10 tokens in and 5 out cost, in picodollars."""

TEXT = "x" * 40  # ten tokens by our own count


@pytest.fixture(scope="module")
def gateway(scripted: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    found = Gateway(tmp_path_factory.mktemp("settlement"), config=config_for(scripted, NORMAL))
    yield found
    proven(found)  # all that was settled here, while the gateway runs
    assert found.stop() == 0
    proven(found)


def proven(gateway: Gateway) -> Any:
    """What ``ledger verify`` says of the gateway's books; they must be right."""
    words = ["ledger", "verify", "--json", "--data-dir", str(gateway.data_dir)]
    done = subprocess.run(
        [sys.executable, "-m", "llm_router.cli", *words, "--config", str(gateway.config)],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def choose(gateway: Gateway, upstream: ScriptedUpstream, *lines: str) -> None:
    """Have the running gateway settle so."""
    gateway.config.write_text(config_for(upstream, NORMAL, "\n".join(["[settlement]", *lines]) + "\n"))
    gateway.command("config.reload")


def settled(gateway: Gateway, upstream: ScriptedUpstream, script: Script, **asked: Any) -> Any:
    """The record of a request that was answered so; what the account paid is what it says."""
    upstream.play("o1", script)
    before = gateway.credits()
    streamed = asked.pop("streamed", True)
    answer = gateway.ask(streamed, "mo", **asked)
    record = gateway.generation(answer.id)
    assert before - gateway.credits() == Decimal(record["cost_pusd"]) / 10**12
    assert record["cost_pusd"] + record.get("absorbed_pusd", 0) == sum(
        line["amount_pusd"] for line in record.get("cost", ())
    )
    return record


def left(gateway: Gateway, upstream: ScriptedUpstream, script: Script, until: bytes | None) -> Any:
    """The record of a streamed request whose client left."""
    upstream.play("o1", script)
    before, mark = gateway.credits(), gateway.log.mark()
    gateway.hang_up(body_of("mo", stream=True), until)
    (line,) = gateway.log.wait("client_gone", mark)
    record = gateway.generation(line.split()[0])
    assert before - gateway.credits() == Decimal(record["cost_pusd"]) / 10**12
    return record


def stream(*texts: str, counted: Any = None) -> Script:
    return answers(head(200), *frames(O, *texts, counted=counted))


def cut(*texts: str, counted: bool) -> Script:
    """A stream that ends without its end marker, after its usage or before."""
    events = frames(O, *texts)
    said, reported = events[:-3], events[-2:-1]  # neither its finish nor its end marker
    return answers(head(200), *said, *(reported if counted else ()))


def test_reported_usage_is_charged_exactly_and_costs_the_operator_as_much(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    choose(gateway, upstream)
    record = settled(gateway, upstream, stream(TEXT))
    assert record["cost_pusd"] == EXACT
    assert [a["operator_cost_pusd"] for a in record["attempts"]] == [EXACT]
    assert not record["flags"]


@pytest.mark.parametrize("streamed", [False, True])
def test_an_error_before_content_is_free(
    gateway: Gateway, upstream: ScriptedUpstream, streamed: bool
) -> None:
    choose(gateway, upstream)
    for status in (400, 401, 429, 500, 503):
        record = settled(
            gateway, upstream, answers(http(status, error_body(O, status, "no"))), streamed=streamed
        )
        assert (record["cost_pusd"], record["error_code"] is not None) == (0, True)
        assert record["attempts"][0].get("operator_cost_pusd") is None  # nobody knows
    assert settled(gateway, upstream, sends_then_resets(), streamed=streamed)["cost_pusd"] == 0


def test_a_failure_that_reports_usage_can_be_charged(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    first, *_, counted, _ = frames(O, TEXT)
    script = answers(head(200), first, counted)  # no content, though the provider counts some
    choose(gateway, upstream)
    record = settled(gateway, upstream, script)
    assert (record["cost_pusd"], record["flags"][0]) == (0, "usage_not_charged")
    assert record["attempts"][0]["operator_cost_pusd"] == EXACT
    choose(gateway, upstream, 'failed = "reported"')
    assert settled(gateway, upstream, script)["cost_pusd"] == EXACT


@pytest.mark.parametrize(
    ("policy", "counted", "cost"),
    [
        ("free", True, 0),
        ("free", False, 0),
        ("reported", True, EXACT),
        ("reported", False, 0),
        ("delivered", True, EXACT),
        ("delivered", False, None),
    ],
)
def test_a_cut_stream(
    gateway: Gateway, upstream: ScriptedUpstream, policy: str, counted: bool, cost: int | None
) -> None:
    choose(gateway, upstream, f'cut = "{policy}"')
    text = "x" * 20
    record = settled(gateway, upstream, cut(text, counted=counted))
    assert record["error_code"] == "upstream_truncated"
    if cost is None:
        assert record["flags"][0] == "usage_estimated"
        assert record["cost_pusd"] == record["usage"]["prompt_tokens"] * 1_000_000 + 5 * 2_000_000
    else:
        assert record["cost_pusd"] == cost


def test_the_older_name_of_a_cut_stream(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    config = config_for(upstream, NORMAL).replace("[credits]", '[credits]\ncharge_on_error = "delivered"')
    gateway.config.write_text(config)
    gateway.command("config.reload")
    assert settled(gateway, upstream, cut("x" * 20, counted=True))["cost_pusd"] == EXACT


def test_a_client_that_leaves_before_content(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    choose(gateway, upstream)
    mark = gateway.log.mark()
    upstream.play("o1", stalls())
    gateway.hang_up(body_of("mo", stream=True), None)
    (line,) = gateway.log.wait("client_gone", mark)
    assert gateway.generation(line.split()[0])["cost_pusd"] == 0
    choose(gateway, upstream, 'gone_before = "input"')
    record = left_before(gateway, upstream)
    assert record["cost_pusd"] == record["usage"]["prompt_tokens"] * 1_000_000 > 0


def left_before(gateway: Gateway, upstream: ScriptedUpstream) -> Any:
    """The record of a client that left when its provider had the request and had said nothing."""
    upstream.play("o1", stalls())
    mark, body = gateway.log.mark(), body_of("mo", stream=True)
    count = len(upstream.requests)
    with socket.create_connection(("127.0.0.1", gateway.port), 30) as connection:
        connection.sendall(gateway.head(len(body)) + body)
        upstream.wait(count + 1)
    (line,) = gateway.log.wait("client_gone", mark)
    return gateway.generation(line.split()[0])


def test_a_client_that_leaves_after_content(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    script = stalls(head(200), *frames(O, TEXT)[:2])
    choose(gateway, upstream)
    record = left(gateway, upstream, script, b"xxx")
    assert record["cost_pusd"] == record["usage"]["prompt_tokens"] * 1_000_000 + 10 * 2_000_000
    assert record["flags"] == ["usage_estimated"]
    choose(gateway, upstream, 'gone = "free"')
    assert left(gateway, upstream, script, b"xxx")["cost_pusd"] == 0


@pytest.mark.parametrize("streamed", [False, True])
def test_a_complete_answer_without_usage(
    gateway: Gateway, upstream: ScriptedUpstream, streamed: bool
) -> None:
    script = stream(TEXT, counted=False) if streamed else answers(http(200, whole(O, TEXT, counted=False)))
    choose(gateway, upstream)
    record = settled(gateway, upstream, script, streamed=streamed)
    assert record["cost_pusd"] == record["usage"]["prompt_tokens"] * 1_000_000 + 10 * 2_000_000
    assert record["usage"]["provenance"] == "estimated"
    assert record["attempts"][0]["operator_cost_pusd"] == record["cost_pusd"]
    choose(gateway, upstream, 'no_usage = "free"')
    assert settled(gateway, upstream, script, streamed=streamed)["cost_pusd"] == 0


def test_an_explicit_zero(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    script = stream(TEXT, counted=usage(O, 0, 0))
    choose(gateway, upstream)
    assert settled(gateway, upstream, script)["cost_pusd"] == 0
    choose(gateway, upstream, 'zero = "counted"')
    assert settled(gateway, upstream, script)["cost_pusd"] > 10 * 2_000_000


@pytest.mark.parametrize(
    "count",
    [
        usage(O, -5, 5),
        usage(O, 10, -(10**9)),
        {"prompt_tokens": 1.5, "completion_tokens": 5, "total_tokens": 6},
        usage(O, "many", 5),
        usage(O, 10**30, 5),
        usage(O, 90_000_000, 5),  # a count, but not of this request
        usage(O, 10, 80_000_000),
        {
            "prompt_tokens": 10,
            "completion_tokens": 5,
            "completion_tokens_details": {"reasoning_tokens": 10**8},
        },
    ],
    ids=str,
)
def test_usage_that_cannot_be_true(gateway: Gateway, upstream: ScriptedUpstream, count: Any) -> None:
    """Never a credit, never a fortune: what came is counted."""
    choose(gateway, upstream)
    record = settled(gateway, upstream, stream(TEXT, counted=count), max_tokens=50)
    assert record["cost_pusd"] == record["usage"]["prompt_tokens"] * 1_000_000 + 10 * 2_000_000
    assert record["usage"]["provenance"] == "estimated"
    assert {"usage_invalid", "usage_absurd", "usage_contradictory"} & set(record["flags"])
    choose(gateway, upstream, 'absurd = "free"')
    assert settled(gateway, upstream, stream(TEXT, counted=count), max_tokens=50)["cost_pusd"] == 0
    choose(gateway, upstream, 'no_usage = "free"')  # another line of the table: something was reported
    assert settled(gateway, upstream, stream(TEXT, counted=count), max_tokens=50)["cost_pusd"] > 0


def test_usage_that_is_no_number(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    choose(gateway, upstream)
    text = whole(O, TEXT).replace(b'"prompt_tokens": 10', b'"prompt_tokens": NaN')
    record = settled(gateway, upstream, answers(http(200, text)), streamed=False)
    assert 0 <= record["cost_pusd"] < 100_000_000


def test_an_empty_answer(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    script = answers(http(200, whole(O, "", counted=usage(O, 10, 0))))
    choose(gateway, upstream)
    record = settled(gateway, upstream, script, streamed=False)
    assert (record["cost_pusd"], record["attempts"][0]["operator_cost_pusd"]) == (0, 10_000_000)
    choose(gateway, upstream, 'empty = "reported"')
    assert settled(gateway, upstream, script, streamed=False)["cost_pusd"] == 10_000_000


def test_more_than_the_hold(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    script = stream(TEXT, counted=usage(O, 2_000, 900))  # the hold is of some 260 in and 1 out
    choose(gateway, upstream)
    assert settled(gateway, upstream, script, max_tokens=1)["cost_pusd"] == 3_800_000_000
    choose(gateway, upstream, 'excess = "hold"')
    record = settled(gateway, upstream, script, max_tokens=1)
    assert 250_000_000 < record["cost_pusd"] < 300_000_000
    assert record["cost_pusd"] + record["absorbed_pusd"] == 3_800_000_000
    assert "charged_up_to_hold" in record["flags"]
    assert record["attempts"][0]["operator_cost_pusd"] == 3_800_000_000


def test_more_than_the_account_has(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    """The hold is covered, the cost is not: the balance ends at nothing, and the log says who bears the rest."""
    choose(gateway, upstream)
    key = gateway.command("keys.create", name="poor", account="poor")["key"]
    gateway.command("credits.add", account="poor", amount="0.003")
    upstream.play("o1", stream(TEXT, counted=usage(O, 2_000, 900)))
    mark = gateway.log.mark()
    answer = gateway.stream("mo", key=key, max_tokens=1)
    record = gateway.generation(answer.id, key)
    assert (record["cost_pusd"], record["absorbed_pusd"]) == (3_000_000_000, 800_000_000)
    assert answer.usage["cost"] == Decimal("0.003")
    assert gateway.credits("poor") == 0
    (line,) = gateway.log.wait(answer.id, mark)
    assert "cost=$0.003 " in line
    assert "absorbed=$0.0008" in line


def test_only_the_attempt_that_delivers_is_charged(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    choose(gateway, upstream)
    first, *_, counted, _ = frames(O, TEXT)
    upstream.play("o1", answers(head(200), first, counted))
    upstream.play("o2", stream(TEXT))
    before = gateway.credits()
    record = gateway.generation(gateway.stream("fo").id)
    assert before - gateway.credits() == Decimal(EXACT) / 10**12
    assert [(a["outcome"], a["operator_cost_pusd"]) for a in record["attempts"]] == [
        ("failed", EXACT),
        ("delivered", EXACT),
    ]


def test_a_price_that_changes_in_flight(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    """A request pays the price of the time of its admission, whatever is in force at its end."""
    choose(gateway, upstream)
    dearer = config_for(upstream, NORMAL).replace("input_per_mtok = 1,", "input_per_mtok = 7,")
    changed = False

    async def script(peer: Any) -> None:
        nonlocal changed
        events = frames(O, TEXT)
        await peer.send(head(200), *events[:2])
        gateway.config.write_text(dearer)
        await asyncio.to_thread(gateway.command, "config.reload")
        changed = True
        await peer.send(*events[2:])

    old = settled(gateway, upstream, script)
    assert changed
    assert old["cost_pusd"] == EXACT
    new = settled(gateway, upstream, stream(TEXT))
    assert new["cost_pusd"] == EXACT + 6 * 10 * 1_000_000
    assert old["price_version"] != new["price_version"]
