"""The shipped quirks do what their providers need, on requests as clients send them."""

from __future__ import annotations

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
