"""What the typed reader of conversations says is what the thorough way says."""

from __future__ import annotations

import json
from importlib import import_module
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llm_router.domain.errors import InvalidRequest
from llm_router.engine.braking import repeated
from llm_router.wire.asked import DEPTH_MAX
from llm_router.wire.dialect import Inspected, Target
from llm_router.wire.dialects.openai_chat import decode, edit

inspect: Any = import_module("llm_router.wire.dialects.openai_chat.inspect")  # the package's is the function

TEXTS = st.sampled_from(["", "hello", "größer", "日本語", "\ud83d", 'a\\b"\n', "w"])
IDS = st.sampled_from(["call_1", "call_2", "abcdefghi", "", "x" * 41, "functions.w:0"])
ARGUMENTS = st.sampled_from(["{}", '{"a":1}', '{ "a": 1 }', '{"a":2}', "", "{", "[1, 2]"])
DATA = "data:image/png;base64,iVBORw0KGgo="
URLS = st.sampled_from(
    [DATA, "https://example.com/a.png", "HTTP://example.com/", "http://", "DATA:,x", "ftp://x", ""]
)
ODD = st.sampled_from([None, 1, True, [], {}, "", "x", {"type": "text"}, [1], [[]], {"a": {"b": {}}}])


def objects(
    usual: dict[str, st.SearchStrategy[Any]], more: dict[str, st.SearchStrategy[Any]]
) -> st.SearchStrategy[dict[str, Any]]:
    """Objects with the usual members, of which some may be left out, odd, or joined by others."""

    @st.composite
    def made(draw: st.DrawFn) -> dict[str, Any]:
        found = {name: draw(values) for name, values in usual.items()}
        changed = draw(st.lists(st.sampled_from(sorted({*usual, *more})), max_size=1, unique=True))
        for name in changed if draw(st.integers(0, 3)) == 0 else ():
            if name in more:
                found[name] = draw(more[name])
            elif draw(st.booleans()):
                del found[name]
            else:
                found[name] = draw(ODD)
        return found

    return made()


PARTS = objects(
    {"type": st.just("text"), "text": TEXTS}, {"cache_control": ODD | st.just({"type": "ephemeral"})}
)
IMAGES = objects(
    {"type": st.just("image_url"), "image_url": objects({"url": URLS}, {"detail": TEXTS, "x": ODD}) | URLS},
    {"x": ODD},
)
CONTENT = TEXTS | st.lists(PARTS | IMAGES, max_size=3)
CALLS = objects(
    {
        "id": IDS,
        "type": st.just("function"),
        "function": objects({"name": TEXTS, "arguments": ARGUMENTS}, {"x": ODD}),
    },
    {"index": ODD, "custom": ODD, "extra_content": ODD},
)
USERS = objects(
    {"role": st.sampled_from(["user", "system"]), "content": CONTENT},
    {"name": TEXTS, "tool_calls": ODD, "function_call": ODD},
)
CALLING = objects(
    {
        "role": st.just("assistant"),
        "content": st.none() | TEXTS,
        "tool_calls": st.lists(CALLS, max_size=2)
        | st.just([{"id": "c", "type": "function", "function": {"name": "w", "arguments": "{}"}}]),
    },
    {
        "refusal": TEXTS,
        "reasoning_content": TEXTS,
        "reasoning_details": ODD,
        "function_call": ODD,
        "name": TEXTS,
    },
)
RESULTS = objects({"role": st.just("tool"), "tool_call_id": IDS, "content": CONTENT}, {"name": TEXTS})
OTHERS = objects({"role": st.sampled_from(["developer", "function", "wizard"]), "content": CONTENT}, {})
TURNS = st.one_of(USERS, CALLING, CALLING, RESULTS, RESULTS, OTHERS)
TOOL = {"type": "function", "function": {"name": "w", "parameters": {"type": "object"}}}
REQUESTS = objects(
    {"model": st.just("m"), "messages": st.lists(TURNS, max_size=6)},
    {
        "tools": st.sampled_from([[TOOL], [], None, [{"type": "custom", "custom": {"name": "c"}}], [1]]),
        "functions": st.sampled_from([None, [{"name": "f"}]]),
        "function_call": st.just("auto"),
        "tool_choice": st.sampled_from(["auto", "never", {"type": "function", "function": {"name": "w"}}]),
        "response_format": st.sampled_from([{"type": "json_object"}, {"type": "text"}, {}, None]),
        "stream": st.sampled_from([True, False, None, 1]),
        "reasoning_effort": st.just("low"),
        "user": TEXTS,
        "provider": st.just({"sort": "price"}),
        "max_tokens": st.sampled_from([1, 0, None]),
        "other": ODD,
    },
)  # fmt: skip
TARGETS = st.builds(
    Target,
    provider=st.sampled_from(["p", "mistral"]),
    model=st.sampled_from(["m", "claude-x"]),
    dialect=st.just("openai_chat"),
    knows=st.sampled_from([frozenset(), frozenset({"functions", "developer"}), frozenset({"thinking"})]),
)


def body_of(value: Any) -> bytes:
    return json.dumps(value).encode("utf-8", "surrogatepass")


def seen(body: bytes, *, thoroughly: bool) -> Inspected | str:
    """What is said of a body: what it holds, or what is wrong with it. Nothing is read as a plain one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inspect, "quick_inspect", lambda body, path_stream: None)
        if thoroughly:
            patch.setattr(inspect, "read_turns", lambda raw: None)
        try:
            found: Inspected = inspect.inspect(body)
        except InvalidRequest as error:
            return f"{error.message} {error.param}"
    return found


def check(body: bytes, target: Target) -> bool:
    """Whether the typed reader took it on; what it says must be right."""
    found, right = seen(body, thoroughly=False), seen(body, thoroughly=True)
    if isinstance(found, str) or isinstance(right, str):
        assert found == right
        return False
    same = [name for name in right.__struct_fields__ if name not in ("tree", "repeats")]
    assert [getattr(found, name) for name in same] == [getattr(right, name) for name in same]
    assert found.tree.body == right.tree.body  # type: ignore[attr-defined]
    assert edit.edit_request(found, target, {}) == edit.edit_request(right, target, {})
    calls = repeated(decode.decode_request(right).messages)
    if not found.repeats:
        assert calls is None or calls.run == 1
    return found.tree.ids is not None  # type: ignore[attr-defined]


@given(REQUESTS, TARGETS)
@example(
    {"model": "m", "messages": [{"role": "assistant"}]},
    Target(provider="p", model="m", dialect="openai_chat"),
)
def test_conversations_are_seen_and_edited_the_same(value: dict[str, Any], target: Target) -> None:
    check(body_of(value), target)


def call(id_: str, arguments: str = "{}") -> dict[str, Any]:
    made = {"id": id_, "type": "function", "function": {"name": "w", "arguments": arguments}}
    return {"role": "assistant", "content": None, "tool_calls": [made]}


def test_what_agents_send_is_read_in_one_pass() -> None:
    target = Target(provider="p", model="m", dialect="openai_chat")
    picture = [
        {"type": "text", "text": "what?"},
        {"type": "image_url", "image_url": {"url": DATA, "detail": "low"}},
    ]
    turns = [
        {"role": "system", "content": "You help."},
        {"role": "user", "content": picture},
        call("c1"),
        {"role": "tool", "tool_call_id": "c1", "content": "ok"},
        {"role": "assistant", "content": "Done.", "refusal": None},
    ]
    assert check(body_of({"model": "m", "messages": turns, "tools": [TOOL]}), target)
    for other in (
        {"role": "developer", "content": "x"},
        {"role": "user", "content": [{"type": "file", "file": {}}]},
    ):
        assert not check(body_of({"model": "m", "messages": [*turns, other]}), target)


@pytest.mark.parametrize(
    ("first", "second", "repeats"),
    [("{}", "{}", True), ('{"a":1}', '{ "a" : 1 }', True), ('{"a":1}', '{"a":2}', False), ("{", "[", True)],
)
def test_only_the_same_calls_repeat(first: str, second: str, repeats: bool) -> None:
    turns = [{"role": "user", "content": "go"}, call("c1", first), call("c2", second)]
    found = seen(body_of({"model": "m", "messages": turns}), thoroughly=False)
    assert isinstance(found, Inspected)
    assert found.repeats is repeats


def test_what_nests_too_deep_is_refused_wherever_it_stands() -> None:
    """To the level: the whole may be DEPTH_MAX deep, its own braces among them."""
    for depth, fits in ((DEPTH_MAX - 1, True), (DEPTH_MAX, False)):
        deep = b'{"model": "m", "other": %b, "messages": [{"role": "user", "content": "x"}]}' % (
            b"[" * depth + b"]" * depth
        )
        found, right = seen(deep, thoroughly=False), seen(deep, thoroughly=True)
        assert isinstance(found, Inspected) is isinstance(right, Inspected) is fits
