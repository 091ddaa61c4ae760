"""Usage that is not to be believed, and what must not get through to a client."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from gateway_kit import Gateway
from scripted_upstream import (
    DIALECTS,
    LETTERS,
    SECRETS,
    ScriptedUpstream,
    answers,
    error_body,
    frames,
    good,
    head,
    http,
    sse,
    usage,
    whole,
)
from verdicts import FORWARDED, assert_delivered, assert_no_secret

every_dialect = pytest.mark.parametrize("dialect", DIALECTS, ids=["openai", "anthropic", "gemini"])
both_ways = pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])


ABSURD: dict[str, Any] = {
    "negative": (-10, -5),
    "huge": (10, 10**30),
    "huge float": (10, 1e30),
    "text": ("10", "5"),
    "fraction": (10, 5.5),
    "true": (True, True),
    "null": (None, None),
    "list": ([10], [5]),
}


@every_dialect
@both_ways
@pytest.mark.parametrize("name", [*ABSURD, "missing", "nan"])
def test_absurd_usage_is_never_a_credit(
    hostile: Gateway, upstream: ScriptedUpstream, dialect: str, streamed: bool, name: str
) -> None:
    """It counts as not reported: the answer is delivered, and charged by our own count."""
    letter = LETTERS[dialect]
    counted: Any = False if name == "missing" else usage(dialect, *ABSURD.get(name, (10, 10**31)))
    bodies = (
        frames(dialect, "Hello there", counted=counted) if streamed else [whole(dialect, counted=counted)]
    )
    if name == "nan":
        bodies = [body.replace(b"1" + b"0" * 31, b"NaN") for body in bodies]
    upstream.play(f"{letter}1", answers(head(200), *bodies) if streamed else answers(http(200, bodies[0])))
    before = hostile.credits()
    answer = hostile.ask(streamed, f"m{letter}")
    if name == "nan":  # that is no JSON: refused, or only that event or member is
        cost = before - hostile.credits()
        assert cost == Decimal(hostile.generation(answer.id)["cost_pusd"]) / 10**12 >= 0
        assert answer.status in (200, 502)
        return
    assert_delivered(answer, streamed)
    record = hostile.generation(answer.id)
    assert record["usage"]["provenance"] == "estimated", record
    assert 0 < record["cost_pusd"] < 100_000_000
    assert before - hostile.credits() == Decimal(record["cost_pusd"]) / 10**12
    assert "usage_estimated" in record["flags"]


@every_dialect
@both_ways
def test_usage_of_nothing_is_charged_as_nothing(
    hostile: Gateway, upstream: ScriptedUpstream, dialect: str, streamed: bool
) -> None:
    letter = LETTERS[dialect]
    zero = usage(dialect, 0, 0)
    script = (
        answers(head(200), *frames(dialect, "Hello there", counted=zero))
        if streamed
        else answers(http(200, whole(dialect, counted=zero)))
    )
    upstream.play(f"{letter}1", script)
    answer = hostile.ask(streamed, f"m{letter}")
    assert_delivered(answer, streamed)
    record = hostile.generation(answer.id)
    assert record["cost_pusd"] == 0
    assert record["usage"]["provenance"] == "reported"


def test_usage_given_twice_is_charged_once(hostile: Gateway, upstream: ScriptedUpstream) -> None:
    """The last one counts, wherever it stands."""
    events = frames("openai_chat")
    early = sse({**json.loads(events[1][6:]), "usage": usage("openai_chat", 10, 1)})
    upstream.play("o1", answers(head(200), events[0], early, *events[2:-1], events[-2], events[-1]))
    answer = hostile.stream("mo")
    assert answer.done
    assert [chunk["usage"] for chunk in answer.chunks if chunk.get("usage")] == [answer.usage]
    assert hostile.generation(answer.id)["cost_pusd"] == 20_000_000


@both_ways
def test_more_output_than_was_asked_for_never_overdraws(
    hostile: Gateway, upstream: ScriptedUpstream, streamed: bool
) -> None:
    """The hold covers max_tokens; what is above it and the balance is absorbed, not owed."""
    account = f"small-{streamed}"
    hostile.command("credits.add", amount="0.001", account=account)
    key = hostile.new_key(account, account=account)
    counted = usage("openai_chat", 10, 900)  # $0.00181
    script = (
        answers(head(200), *frames("openai_chat", counted=counted))
        if streamed
        else answers(http(200, whole("openai_chat", counted=counted)))
    )
    upstream.play("o1", script)
    answer = hostile.ask(streamed, "mo", key=key, max_tokens=10)
    assert answer.status == 200
    told = answer.usage if streamed else answer.json["usage"]
    record = hostile.generation(answer.id, key=key)
    assert record["cost_pusd"] == 10**9
    assert record["absorbed_pusd"] == 1_810_000_000 - 10**9
    assert hostile.credits(account) == 0
    assert told["credits_remaining"] == 0
    assert told["cost"] == Decimal("0.001")


# What must not get through.


@every_dialect
@both_ways
def test_headers_of_the_provider_stay_behind(
    hostile: Gateway, upstream: ScriptedUpstream, dialect: str, streamed: bool
) -> None:
    letter = LETTERS[dialect]
    evil = (
        "set-cookie: session=evil", "server: evil/1.0", "content-security-policy: none", "x-request-id: theirs",
        "access-control-allow-origin: *", "strict-transport-security: max-age=1", "location: http://evil",
        "x-generation-id: theirs", "x-llm-router-model: theirs", "alt-svc: h3", "trailer: x", "via: 1.1 evil",
    )  # fmt: skip
    for status in (200, 500):
        if streamed and status == 200:
            script = answers(head(200, *evil), *frames(dialect))
        else:
            body = whole(dialect) if status == 200 else error_body(dialect, 500, "no")
            script = answers(http(status, body, *evil))
        upstream.play(f"{letter}1", script)
        answer = hostile.ask(streamed, f"m{letter}")
        assert answer.status == status
        assert set(answer.headers) <= FORWARDED
        assert "theirs" not in answer.headers.values()


@every_dialect
@both_ways
@pytest.mark.parametrize(
    "where", ["error", "error code", "text", "header", "200 without a reply", "error in a 200"]
)
def test_an_echo_of_the_provider_s_key_is_taken_out(
    hostile: Gateway, upstream: ScriptedUpstream, dialect: str, streamed: bool, where: str
) -> None:
    letter = LETTERS[dialect]
    secret = SECRETS[f"{letter}1"]
    echo = f"you sent: authorization: {secret} ?key={secret} in {secret}"
    scripts = {
        "error": answers(http(400, error_body(dialect, 400, echo))),
        "error code": answers(
            http(400, error_body(dialect, 400, "no", code=secret, type=secret, status=secret))
        ),
        "text": answers(http(500, echo.encode(), type_="text/plain")),
        "header": answers(
            http(400, error_body(dialect, 400, "no"), f"x-echo: {secret}", f"retry-after: {secret}")
        ),
        "200 without a reply": answers(
            http(200, json.dumps({"headers": {"authorization": secret}}).encode())
        ),
        "error in a 200": answers(http(200, error_body(dialect, 400, echo))),
    }
    upstream.play(f"{letter}1", scripts[where])
    answer = hostile.ask(streamed, f"m{letter}")
    assert answer.status >= 400
    assert_no_secret(answer, hostile.generation(answer.id))


@every_dialect
def test_an_echo_in_an_error_event_is_taken_out(
    hostile: Gateway, upstream: ScriptedUpstream, dialect: str
) -> None:
    letter = LETTERS[dialect]
    error = json.loads(error_body(dialect, 400, f"bad key {SECRETS[f'{letter}1']}"))
    events = frames(dialect, "one ", "two ", "three ")[:3]
    upstream.play(
        f"{letter}1",
        answers(head(200), *events, sse(error, "error" if dialect == "anthropic_messages" else None)),
    )
    answer = hostile.stream(f"m{letter}")
    assert answer.failure is not None or answer.status >= 400
    assert_no_secret(answer, hostile.generation(answer.id))


@every_dialect
@both_ways
def test_an_echo_in_a_good_reply_is_taken_out(
    hostile: Gateway, upstream: ScriptedUpstream, dialect: str, streamed: bool
) -> None:
    """In the text and beside it, where a same-dialect reply would pass as it came."""
    letter = LETTERS[dialect]
    secret = SECRETS[f"{letter}1"]
    if streamed:
        events = [
            event.replace(b'"up"', b'"up", "debug": "%s"' % secret.encode(), 1)
            for event in frames(dialect, f"It is {secret}.")
        ]
        script = answers(head(200), *events)
    else:
        script = answers(http(200, whole(dialect, f"It is {secret}.", debug={"authorization": secret})))
    upstream.play(f"{letter}1", script)
    answer = hostile.ask(streamed, f"m{letter}")
    assert_delivered(answer, streamed, "It is [redacted].")
    assert_no_secret(answer, hostile.generation(answer.id))


def test_the_provider_gets_its_own_key_and_nothing_of_the_client_s(
    hostile: Gateway, upstream: ScriptedUpstream
) -> None:
    mine = {
        "cookie": "a=b",
        "x-forwarded-for": "1.2.3.4",
        "x-secret": "s",
        "openai-organization": "org",
        "user-agent": "me",
    }
    for dialect, letter in LETTERS.items():
        upstream.play(f"{letter}1", good(dialect, False))
        assert hostile.chat(f"m{letter}", headers=mine).status == 200
        seen = upstream.at(f"{letter}1")[0]
        assert SECRETS[f"{letter}1"] in seen.head.decode()
        assert hostile.key not in seen.head.decode() + seen.body.decode()
        assert not {"cookie", "x-forwarded-for", "x-secret", "openai-organization"} & set(seen.headers)
        assert seen.headers["user-agent"] != "me"
