"""How much structure a request may have."""

from __future__ import annotations

import json

import pytest

from llm_router.domain.errors import InvalidRequest
from llm_router.wire.bounds import OBJECTS_MAX, check_objects


def test_objects_are_bounded() -> None:
    check_objects(b"[" + b"{}," * OBJECTS_MAX + b"1]")
    with pytest.raises(InvalidRequest, match="objects"):
        check_objects(b"[" + b"{}," * (OBJECTS_MAX + 1) + b"1]")


@pytest.mark.parametrize("text", ["{", '{"', '\\"{', "\\\\{", '"{"'])
def test_braces_in_texts_do_not_count(text: str) -> None:
    check_objects(json.dumps({"a": [text * OBJECTS_MAX, {"b": text}]}).encode())


def test_nor_do_texts_hide_objects() -> None:
    item = json.dumps({"t": 'a "quoted" \\ text'})
    with pytest.raises(InvalidRequest):
        check_objects(("[" + ",".join([item] * (OBJECTS_MAX + 1)) + "]").encode())
