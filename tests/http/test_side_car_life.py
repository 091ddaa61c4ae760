"""What is kept of conversations: whose it is, how long it lives, and what becomes of it when they move."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gateway_kit import Gateway
from scripted_upstream import ScriptedUpstream
from side_car_kit import (
    CLAUDE,
    CLIENTS,
    ENCRYPTED,
    FIRST,
    GEMINI,
    GPT,
    REDACTED,
    SECOND,
    SIGNATURE,
    Origin,
    config_of,
    first_turn,
    next_request,
    say,
)

pytestmark = pytest.mark.slow

CHAT = CLIENTS["chat"]
LOST = "messages[].reasoning_state"

MINI = Origin(
    "mini1", "anthropic_messages", "MiniMax-x", CLAUDE.whole, CLAUDE.stream, CLAUDE.wanted, CLAUDE.state
)
"""Speaks Anthropic's API and signs by itself."""


@pytest.fixture(scope="module")
def keeping(scripted: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    more = ["[providers.mini1]", 'dialect = "anthropic_messages"', 'auth = "none"', "key_required = false"]
    more += [f'base_url = "http://127.0.0.1:{scripted.port}/mini1"', "[models.mini1]"]
    more += ["price = { input_per_mtok = 1, output_per_mtok = 2 }", "capabilities = { tools = true }"]
    more += ["[[models.mini1.deployments]]", 'provider = "mini1"', 'upstream_model = "MiniMax-x"']
    gateway = Gateway(tmp_path_factory.mktemp("life"), config="\n".join([config_of(scripted), *more]))
    yield gateway
    assert gateway.stop() == 0
    written = b"".join(file.read_bytes() for file in gateway.data_dir.iterdir() if file.is_file())
    for secret in (REDACTED, ENCRYPTED, FIRST):
        assert secret not in gateway.log.text
        assert secret.encode() not in written


@pytest.fixture
def own(scripted: ScriptedUpstream, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Gateway]:
    """A gateway of the test's own, with the lines of its mark before the rest of the configuration."""
    gateway = Gateway(tmp_path, config=config_of(scripted, *getattr(request, "param", ())))
    yield gateway
    assert gateway.stop() == 0


def account(gateway: Gateway, name: str) -> str:
    """A key with an account of its own."""
    key = gateway.new_key(account=name)
    gateway.command("credits.add", account=name, amount="5")
    return key


def ask_again(
    gateway: Gateway, upstream: ScriptedUpstream, client: Any, origin: Origin, history: list[Any], **more: Any
) -> tuple[Any, list[Any]]:
    """One more turn; the request that the origin got, and the history after it."""
    upstream.play(origin.id, origin.script(False))
    before = len(upstream.requests)
    answer = say(gateway, client, origin.id, history, **more)
    (seen,) = upstream.requests[before:]
    turn = client.turn(answer.body, False)
    return seen, [*history, *turn, *client.results(turn)]


@pytest.mark.parametrize("name", CLIENTS)
def test_a_conversation_moves_and_its_signatures_are_there_when_it_returns(
    keeping: Gateway, upstream: ScriptedUpstream, name: str
) -> None:
    client, key = CLIENTS[name], account(keeping, f"mover-{name}".replace(" ", "-"))
    history = client.opening()
    bodies = {}
    for origin in (CLAUDE, GPT, GEMINI):
        seen, history = ask_again(keeping, upstream, client, origin, history, key=key)
        bodies[origin.id] = seen.body.decode()
    marks = {"claude1": REDACTED, "gpt1": ENCRYPTED, "gemini1": FIRST}
    for place, body in bodies.items():
        foreign = [mark for owner, mark in marks.items() if owner != place and mark in body]
        assert foreign == [], place
    for origin, turn in ((CLAUDE, 0), (GPT, 1), (GEMINI, 2)):
        seen, _ = ask_again(keeping, upstream, client, origin, history, key=key)
        assert [mark for owner, mark in marks.items() if mark in seen.body.decode()] == [marks[origin.id]]
        assert origin.state(_only(seen.json, origin, turn)) == origin.wanted


def _only(body: Any, origin: Origin, turn: int) -> Any:
    """The request with no other turn of the model than that one."""
    if origin is GPT:
        calls = [i for i, item in enumerate(body["input"]) if item.get("type") == "reasoning"]
        return {"input": body["input"][calls[0] : calls[0] + len(GPT.wanted)]}
    name, role = ("messages", "assistant") if origin is CLAUDE else ("contents", "model")
    return {name: [[m for m in body[name] if m["role"] == role][turn]]}


def test_a_model_may_go_on_thinking_between_a_call_and_its_result(
    keeping: Gateway, upstream: ScriptedUpstream
) -> None:
    key = account(keeping, "thinker")
    history = first_turn(keeping, upstream, CHAT, CLAUDE, key=key)
    for who, thinks in ((key, True), (account(keeping, "stranger"), False)):
        upstream.play("claude1", CLAUDE.script(False))
        body = {**CHAT.body("claude1", history, False), "reasoning_effort": "high", "max_tokens": 9000}
        assert keeping.send("POST", CHAT.path("", False), json.dumps(body).encode(), key=who).status == 200
        assert ("thinking" in upstream.at("claude1")[-1].json) is thinks


def test_accounts_do_not_share(keeping: Gateway, upstream: ScriptedUpstream) -> None:
    history = first_turn(keeping, upstream, CHAT, CLAUDE, key=account(keeping, "owner"))
    rival = account(keeping, "rival")
    first_turn(keeping, upstream, CHAT, GPT, key=rival)  # it has something of its own
    body = json.dumps(next_request(keeping, upstream, CHAT, CLAUDE, history, key=rival))
    assert REDACTED not in body
    assert "Let me look" in body


def test_keys_of_one_account_share(keeping: Gateway, upstream: ScriptedUpstream) -> None:
    history = first_turn(keeping, upstream, CHAT, CLAUDE, key=account(keeping, "team"))
    body = next_request(keeping, upstream, CHAT, CLAUDE, history, key=keeping.new_key(account="team"))
    assert CLAUDE.state(body) == CLAUDE.wanted


def test_it_outlives_the_gateway(own: Gateway, upstream: ScriptedUpstream) -> None:
    history = first_turn(own, upstream, CHAT, GEMINI, streamed=True)
    assert own.stop() == 0
    own.start()
    assert GEMINI.state(next_request(own, upstream, CHAT, GEMINI, history)) == GEMINI.wanted


def test_what_is_forgotten_is_gone_without_a_word(keeping: Gateway, upstream: ScriptedUpstream) -> None:
    key = account(keeping, "leaver")
    history = first_turn(keeping, upstream, CHAT, CLAUDE, key=key)
    assert keeping.command("forget", account="leaver") == {"account": "leaver", "forgotten": True}
    seen, _ = ask_again(keeping, upstream, CHAT, CLAUDE, history, key=key)
    assert REDACTED.encode() not in seen.body


FULL = ("[side_car]", "bytes_max = 1024")


@pytest.mark.parametrize("own", [FULL], indirect=True, ids=["full"])
def test_what_is_kept_no_more_is_a_declared_loss(own: Gateway, upstream: ScriptedUpstream) -> None:
    history = first_turn(own, upstream, CHAT, CLAUDE)
    upstream.play("claude1", CLAUDE.script(False))
    answer = say(own, CHAT, "claude1", history)
    assert LOST in answer.headers["x-llm-router-losses"]
    body = json.dumps(CHAT.body("claude1", history, False)).encode()
    refused = own.send("POST", "/v1/chat/completions", body, {"x-llm-router-strict": "true"})
    assert (refused.status, refused.error["param"]) == (400, LOST)


OFF = ("[side_car]", "enabled = false")


@pytest.mark.parametrize("own", [OFF], indirect=True, ids=["off"])
def test_switched_off_nothing_is_kept(own: Gateway, upstream: ScriptedUpstream) -> None:
    history = first_turn(own, upstream, CHAT, CLAUDE)
    assert REDACTED not in json.dumps(next_request(own, upstream, CHAT, CLAUDE, history))
    assert not (own.data_dir / "side-car.db").exists()


def test_state_of_another_maker_of_the_same_dialect_is_taken_out(
    keeping: Gateway, upstream: ScriptedUpstream
) -> None:
    client, key = CLIENTS["messages"], account(keeping, "switcher")
    history = first_turn(keeping, upstream, client, CLAUDE, key=key)
    assert SIGNATURE in json.dumps(history, ensure_ascii=False).replace("\\n", "\n").replace('\\"', '"')
    upstream.play("mini1", MINI.script(False))
    answer = say(keeping, client, "mini1", history, key=key)
    assert LOST in answer.headers["x-llm-router-losses"]
    (seen,) = upstream.at("mini1")
    assert [b["type"] for b in seen.json["messages"][1]["content"]] == ["text", "tool_use", "tool_use"]


def test_a_request_that_lacks_nothing_passes_byte_for_byte(
    keeping: Gateway, upstream: ScriptedUpstream
) -> None:
    client, key = CLIENTS["messages"], account(keeping, "purist")
    history = first_turn(keeping, upstream, client, CLAUDE, key=key)
    upstream.play("claude1", CLAUDE.script(False))
    sent = json.dumps(history, indent=1)
    tools = json.dumps([{"name": "weather", "input_schema": {"type": "object"}}], indent=3)
    body = f'{{"model":"claude1","max_tokens":9,"tools":{tools},"messages":{sent}}}'.encode()
    assert keeping.send("POST", "/v1/messages", body, key=key).status == 200
    assert sent.encode() in upstream.at("claude1")[-1].body


def test_text_without_calls_is_known_by_what_it_says(keeping: Gateway, upstream: ScriptedUpstream) -> None:
    key = account(keeping, "talker")
    parts = [{"text": "It is", "thoughtSignature": SECOND}, {"text": " warm.\n"}]
    whole = {
        **GEMINI.whole,
        "candidates": [{"content": {"role": "model", "parts": parts}, "finishReason": "STOP"}],
    }
    origin = Origin("gemini1", "gemini_generate", "gemini-x", whole, [], None, GEMINI.state)
    history = first_turn(keeping, upstream, CHAT, origin, key=key)
    assert [message["role"] for message in history] == ["user", "assistant"]
    history.append({"role": "user", "content": "And tomorrow?"})
    body = next_request(keeping, upstream, CHAT, GEMINI, history, key=key)
    assert GEMINI.state(body) == [("It is", SECOND), (" warm.\n", None)]
    history[0]["content"] = "Another question"
    body = next_request(keeping, upstream, CHAT, GEMINI, history, key=key)
    assert GEMINI.state(body) == [("It is warm.", None)]
