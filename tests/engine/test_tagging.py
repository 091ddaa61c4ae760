"""Tags: what they may be, and how many of them the sums have room for."""

from __future__ import annotations

import pytest

from llm_router.billing.rollups import OTHER_TAGS, rollup_key
from llm_router.domain.errors import InvalidRequest
from llm_router.domain.record import ExchangeRecord
from llm_router.engine import tagging
from llm_router.engine.tagging import TAGS_MAX, TagRoom, tags_of


@pytest.mark.parametrize(
    ("text", "tags"),
    [
        ("a", ("a",)),
        ("b, a ,b,", ("a", "b")),
        ("", ()),
        (" , ", ()),
        ("team/x:1,v2.0@eu+a_b-c", ("team/x:1", "v2.0@eu+a_b-c")),
        ("x" * 64, ("x" * 64,)),
    ],
)
def test_tags_are_read(text, tags):
    assert tags_of({"x-llm-router-tags": text}) == tags
    assert tags_of({"x-litellm-tags": text}) == tags
    assert tags_of({"x-litellm-tags": "other", "x-llm-router-tags": text}) == tags
    assert tags_of({"x-title": text}) == ()


@pytest.mark.parametrize("text", ["a b", "x" * 65, "-a", "ä", "a;b", "(other)", "a\x00", "<b>"])
@pytest.mark.parametrize("name", tagging.HEADERS)
def test_what_is_no_tag_is_refused(text, name):
    with pytest.raises(InvalidRequest, match="1 to 64 letters") as refused:
        tags_of({name: text})
    assert refused.value.param == name


def test_too_many_tags_are_refused():
    text = ",".join(f"t{n}" for n in range(TAGS_MAX + 1))
    with pytest.raises(InvalidRequest, match=f"at most {TAGS_MAX}"):
        tags_of({"x-llm-router-tags": text})
    assert len(tags_of({"x-llm-router-tags": text.rpartition(",")[0]})) == TAGS_MAX


def test_an_account_has_room_for_so_many_sets_a_day(monkeypatch):
    monkeypatch.setattr(tagging, "SETS_MAX", 3)
    room = TagRoom()
    assert [room.take("acme", (f"t{n}",), 5) for n in range(5)] == [True, True, True, False, False]
    assert room.take("acme", ("t2",), 6)
    assert room.take("beta", ("t4",), 6)
    assert room.take("acme", ("t4",), 86_400_000)


def test_all_accounts_together_have_room_for_so_many(monkeypatch):
    monkeypatch.setattr(tagging, "ROOM_MAX", 4)
    room = TagRoom()
    assert [room.take(f"a{n}", ("t",), 5) for n in range(6)] == [True] * 4 + [False] * 2


def test_sums_count_what_has_no_room_together():
    fields = {"id": "x", "account": "a", "key": "k", "operation": "chat", "dialect": "openai_chat"}
    made = ExchangeRecord(**fields, asked_model="m", created_ms=1, status=200, tags=("a", "b"))
    assert rollup_key(made).tags == "a,b"
    over = ExchangeRecord(
        **fields, asked_model="m", created_ms=1, status=200, tags=("a", "b"), tags_over=True
    )
    assert rollup_key(over).tags == OTHER_TAGS


@pytest.mark.parametrize(
    "text", ["sk-lr-" + "a1" * 20, "shop,gsk_" + "B2" * 10, "a b sk-ant-api03-" + "Q1" * 9]
)
@pytest.mark.parametrize("name", tagging.HEADERS)
def test_keys_are_no_tags_and_are_not_echoed(text, name):
    with pytest.raises(InvalidRequest, match="looks like a key") as refused:
        tags_of({name: text})
    assert refused.value.param == name
    assert not set(text.split(",")) & set(str(refused.value).split())
