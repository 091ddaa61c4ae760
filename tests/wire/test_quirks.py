"""The nine declarative edits, on verbatim and decoded bodies."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from llm_router.domain.model import Quirk
from llm_router.wire.quirks import apply_quirks


def _quirk(edit: Any, field: str, **more: Any) -> Quirk:
    if "value" in more:
        more["value"] = msgspec.Raw(json.dumps(more["value"]).encode())
    return Quirk(edit=edit, field=field, why="because", **more)


CASES = [
    (_quirk("drop", "a"), {"a": 1, "b": 2}, {"b": 2}, ["a"]),
    (_quirk("drop", "a", lossless=True), {"a": 1}, {}, []),
    (_quirk("drop", "x"), {"a": 1}, {"a": 1}, []),
    (_quirk("drop", "a.b"), {"a": {"b": 1, "c": 2}}, {"a": {"c": 2}}, ["a.b"]),
    (_quirk("drop", "a.b"), {"a": 5}, {"a": 5}, []),
    (_quirk("rename", "a", to="b"), {"a": 1}, {"b": 1}, []),
    (_quirk("rename", "a", to="b"), {"a": 1, "b": 2}, {"b": 2}, []),
    (_quirk("move", "a", to="c.d"), {"a": [1]}, {"c": {"d": [1]}}, []),
    (_quirk("default", "a", value=7), {}, {"a": 7}, []),
    (_quirk("default", "a", value=7), {"a": 1}, {"a": 1}, []),
    (_quirk("default", "a.b", value=7), {}, {"a": {"b": 7}}, []),
    (_quirk("set", "a", value=7), {"a": 1}, {"a": 7}, ["a"]),
    (_quirk("set", "a", value=7), {"a": 7}, {"a": 7}, []),
    (_quirk("set", "a", value=None), {}, {"a": None}, []),
    (_quirk("clamp", "a", max=1), {"a": 1.5}, {"a": 1}, ["a"]),
    (_quirk("clamp", "a", max=1, lossless=True), {"a": 1.5}, {"a": 1}, []),
    (_quirk("limit", "a", max=2), {"a": [1, 2, 3]}, {"a": [1, 2]}, ["a"]),
    (_quirk("limit", "a", max=2), {"a": [1, 2]}, {"a": [1, 2]}, []),
    (_quirk("limit", "a", max=2), {"a": "xyz"}, {"a": "xyz"}, []),
    (_quirk("replace", "a", value={"x": "y"}), {"a": "x"}, {"a": "y"}, ["a"]),
    (_quirk("replace", "a", value={"x": "y"}), {"a": "z"}, {"a": "z"}, []),
    (_quirk("replace", "a", value={"x": "y"}), {"a": {"x": 1}}, {"a": {"x": 1}}, []),
    (_quirk("drop", "a", when="b=x|y"), {"a": 1, "b": "y"}, {"b": "y"}, ["a"]),
    (_quirk("drop", "a", when="b=x|y"), {"a": 1, "b": "z"}, {"a": 1, "b": "z"}, []),
    (_quirk("drop", "a", when="b=x"), {"a": 1}, {"a": 1}, []),
    (_quirk("drop", "a", when="b.c"), {"a": 1, "b": {"c": 2}}, {"b": {"c": 2}}, ["a"]),
    (_quirk("drop", "a", when="b.c"), {"a": 1, "b": "c"}, {"a": 1, "b": "c"}, []),
    (
        _quirk("default", "l[].a", value=1, when="l[].b"),
        {"l": [{"b": 2}, {"c": 3}]},
        {"l": [{"b": 2, "a": 1}, {"c": 3}]},
        [],
    ),
    (
        _quirk("drop", "l[].a", when="l[].b=x"),
        {"l": [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]},
        {"l": [{"b": "x"}, {"a": 2, "b": "y"}]},
        ["l[].a"],
    ),
    (_quirk("merge", "m"), {"m": "text"}, {"m": "text"}, []),
    (_quirk("clamp", "a", min=16), {"a": 3}, {"a": 16}, ["a"]),
    (_quirk("clamp", "a", min=1, max=9), {"a": 5}, {"a": 5}, []),
    (_quirk("clamp", "a", max=1), {"a": True}, {"a": True}, []),
    (_quirk("clamp", "a", max=1), {"a": "9"}, {"a": "9"}, []),
    (_quirk("drop", "a", models=("gpt-5*",)), {"a": 1}, {"a": 1}, []),
    (_quirk("drop", "a", models=("gpt-4*",)), {"a": 1}, {}, ["a"]),
    (_quirk("drop", "a", when="tools"), {"a": 1}, {"a": 1}, []),
    (_quirk("drop", "a", when="tools"), {"a": 1, "tools": []}, {"a": 1, "tools": []}, []),
    (_quirk("drop", "a", when="tools"), {"a": 1, "tools": [1]}, {"tools": [1]}, ["a"]),
    (
        _quirk("drop", "m[].r"),
        {"m": [{"r": 1, "c": 2}, {"c": 3}, 4]},
        {"m": [{"c": 2}, {"c": 3}, 4]},
        ["m[].r"],
    ),
    (_quirk("rename", "m[].r", to="m[].s"), {"m": [{"r": 1}, {}]}, {"m": [{"s": 1}, {}]}, []),
    (_quirk("drop", "m[].r"), {"m": "text"}, {"m": "text"}, []),
    (_quirk("drop", "m[].r"), {}, {}, []),
]


@pytest.mark.parametrize(("quirk", "before", "after", "lost"), CASES)
def test_edits(quirk: Quirk, before: dict[str, Any], after: dict[str, Any], lost: list[str]) -> None:
    decoded = json.loads(json.dumps(before))
    raw = msgspec.json.decode(json.dumps(before).encode(), type=dict[str, msgspec.Raw])
    for body in (decoded, raw):
        losses = apply_quirks(body, (quirk,), "gpt-4o")
        assert json.loads(msgspec.json.encode(body)) == after
        assert [loss.field for loss in losses] == lost


def test_items_are_copied_before_they_are_edited() -> None:
    message = {"role": "assistant", "r": "thought"}
    body = {"messages": [message]}
    apply_quirks(body, (_quirk("drop", "messages[].r"),), "m")
    assert body == {"messages": [{"role": "assistant"}]}
    assert message["r"] == "thought"


def test_untouched_members_keep_their_bytes() -> None:
    data = b'{"a":{"x":  1.0},"b":[1e5,  2],"c":"\\u00e9"}'
    body = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
    apply_quirks(body, (_quirk("drop", "c"), _quirk("set", "d", value=[1, 2])), "m")
    assert msgspec.json.encode(body) == b'{"a":{"x":  1.0},"b":[1e5,  2],"d":[1, 2]}'


def test_quirks_apply_in_order() -> None:
    body = {"max_tokens": 5}
    apply_quirks(body, (_quirk("rename", "max_tokens", to="limit"), _quirk("clamp", "limit", min=10)), "m")
    assert body == {"limit": 10}
