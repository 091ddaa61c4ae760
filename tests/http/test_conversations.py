"""Conversation objects, by the official client and over every kind of provider."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import kept_kit as kit
import openai
import pytest
from gateway_kit import Gateway, until
from kept_kit import create, made
from scripted_upstream import LETTERS, ScriptedUpstream, answers, frames, head, http, whole

PATH = "/v1/conversations"


@pytest.fixture(scope="module")
def gateway(scripted: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    gateway = Gateway(tmp_path_factory.mktemp("conversations"), config=kit.config(scripted))
    yield gateway
    assert gateway.stop() == 0


@pytest.fixture(scope="module")
def client(gateway: Gateway) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=gateway.url, api_key=gateway.key, max_retries=0) as client:
        yield client


def texts(gateway: Gateway, id_: str) -> list[str]:
    listed = gateway.get(f"{PATH}/{id_}/items?order=asc&limit=100").json
    return [item["content"][0]["text"] for item in listed["data"]]


@pytest.mark.parametrize("dialect", [*LETTERS, "openai_responses"])
def test_responses_go_on_from_a_conversation_and_add_to_it(
    gateway: Gateway, upstream: ScriptedUpstream, client: openai.OpenAI, dialect: str
) -> None:
    letter = LETTERS.get(dialect, "r")
    body = kit.whole() if letter == "r" else whole(dialect)
    stream = kit.events() if letter == "r" else frames(dialect)
    upstream.play(f"{letter}1", *(answers(http(200, body)),) * 2, answers(head(200), *stream))
    item: Any = {"type": "message", "role": "user", "content": "BEFORE"}
    id_ = client.conversations.create(items=[item], metadata={"a": "b"}).id
    first = client.responses.create(model=f"m{letter}", input="FIRST", conversation=id_)
    assert first.conversation is not None
    assert first.conversation.id == id_
    made(gateway, f"m{letter}", "SECOND", conversation={"id": id_}, store=False)
    told = kit.read_events(create(gateway, f"m{letter}", "THIRD", conversation=id_, stream=True).body)
    assert told[-1]["response"]["conversation"] == {"id": id_}
    said = "Hello there"
    assert texts(gateway, id_) == ["BEFORE", "FIRST", said, "SECOND", said, "THIRD", said]
    sent = upstream.requests[-1].body.decode()
    places = [sent.index(word) for word in ("BEFORE", "FIRST", "SECOND", "THIRD")]
    assert places == sorted(places)
    assert "conversation" not in upstream.requests[-1].json


def test_a_background_response_adds_to_it(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    upstream.play("r1", answers(head(200), *kit.events()))
    id_ = gateway.send("POST", PATH, b"{}").json["id"]
    response = made(gateway, "mr", "ASKED", conversation=id_, background=True)
    until(lambda: gateway.get(f"/v1/responses/{response['id']}").json["status"] == "completed")
    assert texts(gateway, id_) == ["ASKED", "Hello there"]


def test_a_failed_answer_adds_nothing(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    upstream.play("r1", answers(head(200), *kit.events("one ", "two ")[:6]))
    id_ = gateway.send("POST", PATH, b"").json["id"]
    kit.read_events(create(gateway, "mr", conversation=id_, stream=True).body)
    assert texts(gateway, id_) == []


def test_the_object_and_its_items(client: openai.OpenAI, gateway: Gateway) -> None:
    made = client.conversations.create(metadata={"topic": "x"})
    assert (made.object, made.metadata) == ("conversation", {"topic": "x"})
    assert made.id.startswith("conv_")
    assert client.conversations.retrieve(made.id) == made
    assert client.conversations.update(made.id, metadata={"topic": "y"}).metadata == {"topic": "y"}
    given: Any = [{"role": "user", "content": f"m{n}"} for n in range(5)]
    added = client.conversations.items.create(made.id, items=given)
    assert len(added.data) == 5
    listed = list(client.conversations.items.list(made.id, order="asc", limit=2))
    assert [item.id for item in listed] == [item.id for item in added.data]
    newest = client.conversations.items.list(made.id, limit=1)
    assert newest.data[0].id == added.data[-1].id
    assert newest.has_more
    one = client.conversations.items.retrieve(added.data[0].id, conversation_id=made.id)
    assert one == added.data[0]
    client.conversations.items.delete(one.id, conversation_id=made.id)
    with pytest.raises(openai.NotFoundError, match=f"Item with id '{one.id}' not found"):
        client.conversations.items.retrieve(one.id, conversation_id=made.id)
    assert texts(gateway, made.id) == ["m1", "m2", "m3", "m4"]
    gone = client.conversations.delete(made.id)
    assert (gone.deleted, gone.object) == (True, "conversation.deleted")
    with pytest.raises(openai.NotFoundError):
        client.conversations.retrieve(made.id)
    with pytest.raises(openai.NotFoundError, match=f"Conversation with id '{made.id}' not found"):
        client.responses.create(model="mr", input="hi", conversation=made.id)


def test_another_account_sees_nothing(gateway: Gateway) -> None:
    other = gateway.new_key("other", account="other-conversations")
    body = json.dumps({"items": [{"role": "user", "content": "mine"}]}).encode()
    id_ = gateway.send("POST", PATH, body).json["id"]
    item = gateway.get(f"{PATH}/{id_}/items").json["data"][0]["id"]
    for method, path, sent in (
        ("GET", "", None), ("POST", "", b'{"metadata": {}}'), ("DELETE", "", None), ("GET", "/items", None),
        ("POST", "/items", body), ("GET", f"/items/{item}", None), ("DELETE", f"/items/{item}", None),
    ):  # fmt: skip
        answer = gateway.send(method, f"{PATH}/{id_}{path}", sent, key=other)
        assert answer.status == 404, (method, path, answer.body)
        assert gateway.send(method, f"{PATH}/{id_}{path}", sent, key="sk-lr-no").status == 401
    assert create(gateway, "mr", key=other, conversation=id_).status == 404
    assert texts(gateway, id_) == ["mine"]


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("", {"items": {}}, "items"),
        ("", {"items": [{"role": "nobody", "content": "x"}]}, "items[0].role"),
        ("", {"items": [{"role": "user", "content": "x"}] * 21}, "items"),
        ("", {"metadata": []}, "metadata"),
        ("", {"metadata": {f"k{n}": "v" for n in range(17)}}, "metadata"),
        ("", {"metadata": {"k" * 65: "v"}}, "metadata"),
        ("", {"metadata": {"k": 1}}, "metadata.k"),
        ("", {"metadata": {"k": "v" * 513}}, "metadata.k"),
        ("/conv_1", {}, "metadata"),
        ("/conv_1/items", {}, "items"),
    ],
)
def test_refusals_name_the_member(gateway: Gateway, path: str, body: Any, param: str) -> None:
    answer = gateway.send("POST", PATH + path, json.dumps(body).encode())
    assert (answer.status, answer.error["param"]) == (400, param)
