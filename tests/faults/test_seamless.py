"""With nothing set but the sandbox and its faults: streams that break in the middle are seen as one answer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from lab_kit import Lab, Seen, running

DIALECTS = {
    "o": "openai_chat",
    "r": "openai_responses",
    "a": "anthropic_messages",
    "g": "gemini_generate",
    "c": "cohere_chat",
    "l": "ollama_chat",
}
KINDS = ("truncated", "stall")
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
            "required": ["city", "days"],
        },
    },
}
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "words": {"type": "array", "items": {"type": "string"}}},
    "required": ["city", "words"],
    "additionalProperties": False,
}
ASKED: dict[str, dict[str, Any]] = {
    "text": {"text": "Tell me of the tides in Lisbon, please."},
    "long": {"text": "Tell me of the tides. [[long 300]]"},
    "limited": {"text": "Tell me of the tides. [[long 300]]", "max_tokens": 200},
    "json": {"text": "A city", "response_format": {"type": "json_object"}},
    "schema": {
        "text": "Oslo and Rome",
        "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}},
    },
    "calls": {"text": "What is the weather in Paris and Rome for 3 days?", "tools": [TOOL]},
    "must call": {"text": "Oslo, 5", "tools": [TOOL], "tool_choice": "required"},
}


def config() -> str:
    text = "[server]\nheartbeat_s = 0\naccess_log = false\n[timeouts]\nidle_s = 3\n[retries]\nbudget_percent = 100\n"
    names = [*((f"{letter}-well", dialect) for letter, dialect in DIALECTS.items())]
    names += [(f"{letter}-{kind}", dialect) for letter, dialect in DIALECTS.items() for kind in KINDS]
    for name, dialect in names:
        text += f'[providers."{name}"]\ndialect = "{dialect}"\nbase_url = "http://127.0.0.1:9"\nkey = "k"\n'
    letters = list(DIALECTS)
    for at, letter in enumerate(letters):
        for kind in KINDS:
            other = letters[(at + 1 + KINDS.index(kind)) % len(letters)]
            text += model(f"{letter}-{kind}", f"{letter}-{kind}", f"{letter}-well")
            text += model(f"{letter}-{kind}-other", f"{letter}-{kind}", f"{other}-well")
        text += model(f"{letter}-well", f"{letter}-well")
    return text


def model(id_: str, *providers: str) -> str:
    text = f'[models."{id_}"]\nprice = {{ input_per_mtok = 1, output_per_mtok = 2 }}\n'
    for name in providers:
        text += f'[[models."{id_}".deployments]]\nprovider = "{name}"\nupstream_model = "up"\n'
    return text


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    faults = "".join(f'[[fault]]\nkind = "{kind}"\nprovider = "?-{kind}"\n' for kind in KINDS)
    with running(tmp_path_factory.mktemp("seamless"), config(), faults) as found:
        yield found


def told(seen: Seen) -> Any:
    """What the client has: text, calls, and how it ended."""
    calls: dict[int, list[str]] = {}
    for chunk in seen.chunks:
        for choice in chunk.get("choices", ()):
            for call in choice["delta"].get("tool_calls") or ():
                part = calls.setdefault(call["index"], ["", ""])
                part[0] += call.get("function", {}).get("name") or ""
                part[1] += call.get("function", {}).get("arguments") or ""
    return seen.text, [(name, json.loads(arguments)) for name, arguments in calls.values()], seen.finish


@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize("kind", KINDS)
def test_a_break_in_the_middle_is_not_seen(lab: Lab, kind: str, asked: str) -> None:
    went_on = 0
    for letter in DIALECTS:
        plain = told(lab.run(lab.chat(f"{letter}-well", stream=True, **ASKED[asked])))
        went_on += check(lab.run(lab.chat(f"{letter}-{kind}", stream=True, **ASKED[asked])), plain, asked)
        if asked in ("text", "long"):  # which providers of all dialects say in the same words
            check(lab.run(lab.chat(f"{letter}-{kind}-other", stream=True, **ASKED[asked])), plain, asked)
    assert went_on > 0


def check(seen: Seen, plain: Any, asked: str) -> bool:
    """One answer, as if nothing had happened; whether it was gone on with."""
    assert seen.error is None, seen.body[-400:]
    assert seen.done, seen.body[-400:]
    got = told(seen)
    if asked == "limited":  # where tokens are counted anew, it may end a few words earlier or later
        assert 0.5 < len(got[0]) / len(plain[0]) < 2
        assert got[0].startswith(plain[0]) or plain[0].startswith(got[0])
        assert got[2] == plain[2]
    else:
        assert got == plain, seen.body[-400:]
    return "continued" in seen.usage


@pytest.mark.parametrize("letter", DIALECTS)
def test_an_order_to_cut_is_obeyed_once(lab: Lab, letter: str) -> None:
    plain = told(lab.run(lab.chat(f"{letter}-well", stream=True, text="Tell me of the tides.")))
    seen = lab.run(lab.chat(f"{letter}-well", stream=True, text="Tell me of the tides. [[cut]]"))
    assert seen.done, seen.body
    assert told(seen) == plain
    record = lab.run(lab.record(seen))
    assert [attempt["outcome"] for attempt in record["attempts"]] == ["failed", "delivered"]
