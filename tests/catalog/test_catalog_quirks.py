"""The shipped quirks do what their providers need, on requests as clients send them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from llm_router.catalog.snapshot import Snapshot, compile_snapshot, load_builtin
from llm_router.domain.model import Quirk
from llm_router.wire.quirks import apply_quirks

TOOLS = [{"type": "function", "function": {"name": "f"}}]


@pytest.fixture(scope="module")
def snapshot() -> Snapshot:
    return compile_snapshot(load_builtin())


def _edit(snapshot: Snapshot, provider: str, model: str, **body: Any) -> tuple[dict[str, Any], list[str]]:
    raw = {name: msgspec.Raw(msgspec.json.encode(value)) for name, value in body.items()}
    losses = apply_quirks(raw, snapshot.providers[provider].quirks, model)
    plain = {k: msgspec.json.decode(v) if isinstance(v, msgspec.Raw) else v for k, v in raw.items()}
    return plain, [loss.field for loss in losses]


@pytest.mark.parametrize("provider", ["openai", "azure"])
@pytest.mark.parametrize(
    ("model", "name"),
    [("o1", "max_completion_tokens"), ("gpt-6-sol", "max_completion_tokens"), ("gpt-4o", "max_tokens")],
)
def test_reasoning_models_get_the_new_name_of_the_limit(
    provider: str, model: str, name: str, snapshot: Snapshot
) -> None:
    assert _edit(snapshot, provider, model, max_tokens=5) == ({name: 5}, [])


def test_tools_switch_reasoning_off_where_the_api_takes_no_other_way(snapshot: Snapshot) -> None:
    plain, losses = _edit(snapshot, "openai", "gpt-6-sol", tools=TOOLS)
    assert (plain["reasoning_effort"], losses) == ("none", [])
    plain, losses = _edit(snapshot, "openai", "gpt-6-sol", tools=TOOLS, reasoning_effort="high")
    assert (plain["reasoning_effort"], losses) == ("none", ["reasoning_effort"])
    assert _edit(snapshot, "openai", "gpt-6-sol", tools=[], reasoning_effort="high")[1] == []
    assert "reasoning_effort" not in _edit(snapshot, "openai", "gpt-5", tools=TOOLS)[0]


def test_mistral(snapshot: Snapshot) -> None:
    asked = {"seed": 7, "max_completion_tokens": 9, "stream_options": {"include_usage": True}, "user": "u"}
    assert _edit(snapshot, "mistral", "mistral-large-2512", **asked) == (
        {"random_seed": 7, "max_tokens": 9},
        ["user"],
    )


def test_xai_reasoning_models_lose_penalties_and_stops(snapshot: Snapshot) -> None:
    asked = {"presence_penalty": 1, "frequency_penalty": 1, "stop": ["x"]}
    assert _edit(snapshot, "xai", "grok-4.7", **asked)[0] == {}
    assert _edit(snapshot, "xai", "grok-4.20-non-reasoning", **asked)[0] == {"stop": ["x"]}
    assert _edit(snapshot, "xai", "grok-3", **asked)[0] == asked
    assert _edit(snapshot, "xai", "grok-4.5", reasoning_effort="low")[0] == {"reasoning_effort": "low"}
    assert _edit(snapshot, "xai", "grok-4", reasoning_effort="low")[0] == {}


def test_others(snapshot: Snapshot) -> None:
    assert _edit(snapshot, "groq", "openai/gpt-oss-120b", logprobs=True, n=1)[0] == {"n": 1}
    assert _edit(snapshot, "moonshot", "kimi-k3", temperature=0.2, stop="x")[0] == {"stop": "x"}
    assert _edit(snapshot, "zai", "glm-5.3", temperature=1.5)[0] == {"temperature": 1.0}
    assert _edit(snapshot, "deepseek", "deepseek-v4-pro", max_completion_tokens=3)[0] == {"max_tokens": 3}


def test_a_set_that_changes_nothing_is_no_loss() -> None:
    quirk = Quirk(edit="set", field="a", value=msgspec.Raw(b"1"), why="w")
    assert apply_quirks({"a": msgspec.Raw(b" 1 ")}, (quirk,), "m") == []
    assert apply_quirks({}, (quirk,), "m") == []
    assert len(apply_quirks({"a": 2}, (quirk,), "m")) == 1


CALLS = [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
SCHEMA = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}}


def test_calls_without_reasoning_get_some_where_it_must_come_back(snapshot: Snapshot) -> None:
    messages = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": None, "tool_calls": CALLS},
        {"role": "tool", "tool_call_id": "c", "content": "1"},
        {"role": "assistant", "content": None, "tool_calls": CALLS, "reasoning_content": "why"},
        {"role": "assistant", "content": "done"},
    ]
    for provider, model in (("deepseek", "deepseek-v4-pro"), ("moonshot", "kimi-k3")):
        plain, losses = _edit(snapshot, provider, model, messages=messages)
        found = [
            msgspec.json.decode(msgspec.json.encode(m)).get("reasoning_content") for m in plain["messages"]
        ]
        assert (found, losses) == ([None, " ", None, "why", None], [])


@pytest.mark.parametrize("provider", ["deepseek", "zai"])
def test_a_schema_becomes_json_mode_where_there_is_none(provider: str, snapshot: Snapshot) -> None:
    plain, losses = _edit(snapshot, provider, "m", response_format=SCHEMA)
    assert (plain["response_format"], losses) == ({"type": "json_object"}, ["response_format"])
    plain, losses = _edit(snapshot, provider, "m", response_format={"type": "json_object"})
    assert (plain["response_format"], losses) == ({"type": "json_object"}, [])


@pytest.mark.parametrize(
    ("choice", "sent", "lost"),
    [
        ("auto", {"tools": TOOLS, "tool_choice": "auto"}, []),
        ("required", {"tools": TOOLS, "tool_choice": "auto"}, ["tool_choice"]),
        (
            {"type": "function", "function": {"name": "f"}},
            {"tools": TOOLS, "tool_choice": "auto"},
            ["tool_choice"],
        ),
        ("none", {}, []),
    ],
)
def test_zai_takes_only_auto(choice: Any, sent: Any, lost: list[str], snapshot: Snapshot) -> None:
    assert _edit(snapshot, "zai", "glm-5", tools=TOOLS, tool_choice=choice) == (sent, lost)


def test_perplexitys_roles_alternate(snapshot: Snapshot) -> None:
    image = {"type": "image_url", "image_url": {"url": "https://x.test/a.png"}}
    messages = [
        {"role": "system", "content": "s"},
        {"role": "system", "content": "t"},
        {"role": "user", "content": "a"},
        {"role": "user", "content": "b"},
        {"role": "assistant", "content": "c"},
        {"role": "user", "content": "d"},
        {"role": "user", "content": [image]},
    ]
    assert _edit(snapshot, "perplexity", "sonar", messages=messages) == (
        {
            "messages": [
                *messages[:2],
                {"role": "user", "content": "a\n\nb"},
                messages[4],
                {"role": "user", "content": [{"type": "text", "text": "d"}, image]},
            ]
        },
        [],
    )
    assert _edit(snapshot, "perplexity", "sonar", messages=messages[:3])[0]["messages"] == messages[:3]


def test_limits_of_lists_and_choices(snapshot: Snapshot) -> None:
    assert _edit(snapshot, "zai", "glm-5", stop=["a", "b"]) == ({"stop": ["a"]}, ["stop"])
    assert _edit(snapshot, "zai", "glm-5", stop=["a"]) == ({"stop": ["a"]}, [])
    assert _edit(snapshot, "groq", "m", n=3) == ({"n": 1}, ["n"])
    assert _edit(snapshot, "alibaba", "qwen", tool_choice="required") == (
        {"tool_choice": "auto"},
        ["tool_choice"],
    )


def test_names_stay_where_they_are_known(snapshot: Snapshot) -> None:
    messages = [
        {"role": "user", "name": "Ann", "content": "hi"},
        {"role": "tool", "name": "f", "tool_call_id": "c", "content": "1"},
    ]
    plain, losses = _edit(snapshot, "mistral", "mistral-large", messages=messages)
    assert [("name" in message) for message in plain["messages"]] == [False, True]
    assert losses == ["messages[].name"]
    assert _edit(snapshot, "openai", "gpt-5", messages=messages)[1] == []


def test_minimax_reasoning_is_kept_out_of_the_text(snapshot: Snapshot) -> None:
    assert _edit(snapshot, "minimax", "MiniMax-M3", temperature=0, max_tokens=5) == (
        {"temperature": 0.01, "max_completion_tokens": 5, "reasoning_split": True},
        ["temperature"],
    )
    assert _edit(snapshot, "minimax", "MiniMax-M3", reasoning_split=False)[0] == {"reasoning_split": False}


RECORDINGS = Path(__file__).parents[2] / ".." / "shared" / "recordings" / "dev"


@pytest.mark.skipif(not RECORDINGS.is_dir(), reason="the recordings are not beside the project")
def test_what_a_provider_has_accepted_loses_nothing(snapshot: Snapshot) -> None:
    """No quirk takes out of a request what its provider is known to have answered."""
    checked = 0
    ids = {"gemini": "google"}
    files = [
        f for api in ("chat_completions", "*generate_content") for f in RECORDINGS.glob(f"*/{api}/*.json")
    ]
    for path in sorted(files):
        record = json.loads(path.read_text())
        body = (record.get("request") or {}).get("body")
        provider = snapshot.providers.get(ids.get(record["provider"], record["provider"]))
        if provider is None or not isinstance(body, dict) or record["response"]["status"] != 200:
            continue
        checked += 1
        edited = dict(body)
        losses = apply_quirks(edited, provider.quirks, body.get("model") or "")
        assert losses == [], path.name
        assert {name for name in body if name not in edited} <= {"max_tokens", "max_completion_tokens"}
    assert checked > 200
