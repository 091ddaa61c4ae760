"""The array reader: any cut, any spacing, and nothing that is not an array."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_router.wire.framing.jsonarray import ElementTooLarge, JSONArrayReader, NotAnArray

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=8)
    | st.sampled_from(['"', "\\", '[{]}",', '\\\\"']),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=10,
)


@given(st.lists(values, max_size=5), st.sampled_from([None, 2]), st.booleans(), st.data())
def test_split_anywhere(
    elements: list[object], indent: int | None, ascii_: bool, data: st.DataObject
) -> None:
    text = json.dumps(elements, indent=indent, ensure_ascii=ascii_).encode("utf-8", "surrogatepass")
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    reader = JSONArrayReader()
    found: list[bytes] = []
    for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True):
        found += reader.feed(text[start:end])
    assert [json.loads(element.decode("utf-8", "surrogatepass")) for element in found] == elements
    assert reader.closed


@given(st.lists(values, min_size=1, max_size=4))
def test_only_the_closing_bracket_closes(elements: list[object]) -> None:
    text = json.dumps(elements).encode()
    reader = JSONArrayReader()
    for number in range(len(text) - 1):
        reader.feed(text[number : number + 1])
        assert not reader.closed
    reader.feed(text[-1:])
    assert reader.closed


def test_a_byte_order_mark_and_blanks_are_skipped() -> None:
    reader = JSONArrayReader()
    found = [
        element
        for byte in b'\xef\xbb\xbf \r\n[ {"a" : 1}\n,\r\n 2 ]\n'
        for element in reader.feed(bytes([byte]))
    ]
    assert found == [b'{"a" : 1}', b"2"]
    assert reader.closed


@pytest.mark.parametrize("data", [b"x", b'{"a":1}', b"[1] 2", b"[] ["])
def test_anything_else_is_refused(data: bytes) -> None:
    with pytest.raises(NotAnArray):
        JSONArrayReader().feed(data)


def test_elements_are_bounded() -> None:
    reader = JSONArrayReader(element_bytes_max=10)
    assert reader.feed(b'["123","123","123"') == [b'"123"', b'"123"']
    with pytest.raises(ElementTooLarge):
        reader.feed(b',"' + b"x" * 20)
