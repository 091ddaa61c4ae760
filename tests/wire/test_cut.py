"""Pictures that are cut out of a request: it is read, and goes on, as if they had not been."""

from __future__ import annotations

import importlib
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_router.domain.errors import InvalidRequest
from llm_router.domain.model import Capabilities
from llm_router.wire.cut import LEAST_BYTES, MARK, cut
from llm_router.wire.dialect import Inspected, Target
from llm_router.wire.dialects.openai_chat.edit import edit_request

reading = importlib.import_module("llm_router.wire.dialects.openai_chat.inspect")

LONG = LEAST_BYTES
TARGET = Target(
    provider="up", model="up-model", dialect="openai_chat", capabilities=Capabilities(sampling=True)
)


def thorough(body: bytes) -> Inspected:
    """What is read where nothing is cut."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "cut", lambda body: None)
        found: Inspected = reading.inspect(body)
    return found


def told(found: Inspected) -> dict[str, Any]:
    shown = {name: getattr(found, name) for name in found.__struct_fields__ if name not in ("tree", "short")}
    return {**shown, "needs": sorted(found.needs)}


def outcome(read: Any, body: bytes) -> tuple[Inspected | None, str]:
    """What is read, or why it is refused."""
    try:
        return read(body), ""
    except InvalidRequest as error:
        return None, str(error)


def same(body: bytes) -> bool:
    """Hold the two ways to each other; whether anything was cut."""
    whole, why = outcome(thorough, body)
    found, why_cut = outcome(reading.inspect, body)
    assert why_cut == why
    if whole is None or found is None:
        return False
    assert told(found) == told(whole)
    expected = edit_request(whole, TARGET, {})
    assert edit_request(found, TARGET, {}) == expected
    assert found.tree.body == whole.tree.body
    if found.short is None:
        return False
    short, losses = edit_request(msgspec.structs.replace(found, tree=found.short.tree), TARGET, {})
    pieces = found.short.cut.whole(short)
    assert pieces is not None
    assert (b"".join(pieces), losses) == expected
    assert sum(map(len, pieces)) == len(expected[0])
    assert len(short) < len(expected[0]) - 30_000
    return True


def asked(*parts: Any, **members: Any) -> dict[str, Any]:
    return {"model": "a/b", "messages": [{"role": "user", "content": list(parts)}], **members}


def picture(data: str, **more: Any) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}", **more}}


def said(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


RUN = "iVBORw0KGgo+/" * (LONG // 13)

CUT = {
    "one": asked(said("what?"), picture(RUN)),
    "two and a short one": asked(picture(RUN, detail="low"), said("é"), picture("iVBO"), picture(RUN[7:])),
    "beside words of other scripts": asked(said("日本語" * 9000), picture(RUN), said('a "quoted" \\ text')),
    "of several turns": {
        "messages": [
            {"role": "user", "content": [picture(RUN)]},
            {"role": "assistant", "content": "a cat"},
            {"role": "user", "content": [picture(RUN[1:]), said("and this?")]},
        ],
        "model": "a/b",
        "stream": True,
        "max_tokens": 5,
    },
}
WHOLE = {
    "a long text": asked(said(RUN)),
    "a long text beside a picture": asked(said(RUN), picture(RUN)),
    "a file": asked({"type": "file", "file": {"file_data": f"data:application/pdf;base64,{RUN}"}}),
    "an address": asked({"type": "image_url", "image_url": {"url": f"https://x.test/{RUN}"}}),
    "a name": asked(picture("iVBO"), user=RUN),
    "a schema": asked(picture("iVBO"), response_format={"type": "json_object", "x": RUN}),
    "a mark": asked(picture(RUN), said(MARK)),
    "a picture that ends in a mark": asked(picture(f"iVBO{MARK}"), said(RUN)),
    "the beginning of a mark where a run is cut": asked(picture("iVBO" * 7 + "//" + MARK[:-1] + RUN)),
    "what is unknown": asked(picture(RUN), {"type": "new", "data": RUN}),
    "a quote in front": asked(picture('iVBO"' + RUN), said('"' + RUN)),
    "letters of other scripts": asked(picture(RUN + "é")),
    "slashes escaped": asked(picture(RUN.replace("/", "\\/"))),
}


@pytest.mark.parametrize("name", CUT)
def test_pictures_go_on_uncopied(name: str) -> None:
    assert same(json.dumps(CUT[name], ensure_ascii=False).encode())
    assert same(json.dumps(CUT[name], indent=3).encode())


@pytest.mark.parametrize("name", WHOLE)
def test_all_else_is_read_whole(name: str) -> None:
    assert not same(json.dumps(WHOLE[name], ensure_ascii=False).encode())


@pytest.mark.parametrize("bad", ["\x00", "\n", "\x1f", "\udcff"])
@pytest.mark.parametrize("at", [0, 100, LONG // 2, len(RUN)])
def test_what_is_no_text_of_json_is_refused(bad: str, at: int) -> None:
    """Wherever it stands."""
    body = json.dumps(asked(picture("@@"))).encode()
    data = (RUN[:at] + bad + RUN[at:]).encode("utf-8", "surrogateescape")
    with pytest.raises(InvalidRequest):
        reading.inspect(body.replace(b"@@", data))
    assert not same(body.replace(b"@@", data))


@pytest.mark.parametrize(
    "between",
    [
        " " * LONG,
        "[" + "1," * LONG + "1]",
        "1" * LONG,
        "true" + " " * LONG,
        MARK + " " * LONG,
        "null}" + " " * LONG,
    ],
)
def test_a_run_outside_of_texts_is_none(between: str) -> None:
    body = json.dumps(asked(picture(RUN), seed="@@")).replace('"@@"', between).encode()
    assert not same(body)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_wherever_they_stand(data: st.DataObject) -> None:
    """Any order of parts, long and short, in any spelling of JSON."""
    text = st.sampled_from(["", "hi", "é", '"', "\\", "data:", MARK[:4], "x" * 40_000])
    run = st.integers(0, 70_000).map(lambda size: RUN[:size])
    part = st.one_of(
        text.map(said), run.map(picture), st.tuples(text, run).map(lambda two: picture("".join(two)))
    )
    turns = data.draw(st.lists(st.lists(part, min_size=1, max_size=4), min_size=1, max_size=3))
    members = {"model": "a/b", "messages": [{"role": "user", "content": parts} for parts in turns]}
    order = data.draw(st.permutations(list(members)))
    style = data.draw(
        st.sampled_from([{}, {"indent": 1}, {"ensure_ascii": False}, {"separators": (",", ":")}])
    )
    same(json.dumps({name: members[name] for name in order}, **style).encode())


@pytest.mark.parametrize("size", [0, 1, LONG, 1_000_000])
def test_a_body_without_runs_is_not_cut(size: int) -> None:
    assert cut(b"x" * size) is None
    assert cut(b'"' * size) is None
    assert cut((b"x" * 1000 + b'"') * (size // 1000)) is None
