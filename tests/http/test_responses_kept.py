"""Responses that are kept: conversations over several turns, lists, deletion, other accounts, no store."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import kept_kit as kit
import pytest
from gateway_kit import Gateway
from kept_kit import create, made, text_of
from scripted_upstream import LETTERS, ScriptedUpstream, answers, frames, head, http
from scripted_upstream import whole as chat_whole

every_provider = pytest.mark.parametrize("dialect", [*LETTERS, "openai_responses"])


@pytest.fixture(scope="module")
def gateway(scripted: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    gateway = Gateway(tmp_path_factory.mktemp("kept"), config=kit.config(scripted))
    yield gateway
    assert gateway.stop() == 0


@pytest.fixture(scope="module")
def forgetful(scripted: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    config = kit.config(scripted, "[responses]\nstore = false\n")
    gateway = Gateway(tmp_path_factory.mktemp("forgetful"), config=config)
    yield gateway
    assert gateway.stop() == 0


def played(upstream: ScriptedUpstream, dialect: str, *texts: str) -> str:
    """Have a provider say these texts, one an answer; the model that is there."""
    letter = LETTERS.get(dialect, "r")
    wholes = [
        kit.whole(kit.message(t)) if letter == "r" else chat_whole(dialect, t)
        for t in texts or ("Hello there",)
    ]
    upstream.play(f"{letter}1", *(answers(http(200, body)) for body in wholes))
    return f"m{letter}"


def said(body: Any) -> str:
    """All texts that a provider was sent, in their order."""
    found: list[str] = []

    def walk(value: Any) -> None:
        if isinstance(value, dict):
            for name in (
                "systemInstruction",
                "instructions",
                "system",
                "content",
                "text",
                "output",
                "parts",
                "input",
                "messages",
                "contents",
            ):
                if isinstance(value.get(name), str):
                    found.append(value[name])
                else:
                    walk(value.get(name))
        elif isinstance(value, list):
            for item in value:
                walk(item)

    walk(body)
    return " | ".join(found)


@every_provider
def test_a_conversation_goes_on_from_a_kept_response(
    gateway: Gateway, upstream: ScriptedUpstream, dialect: str
) -> None:
    model = played(upstream, dialect, "one", "two", "three")
    first = made(gateway, model, "FIRST", instructions="BE BRIEF")
    second = made(gateway, model, "SECOND", previous_response_id=first["id"])
    third = made(gateway, model, [{"role": "user", "content": "THIRD"}], previous_response_id=second["id"])
    assert [text_of(r) for r in (first, second, third)] == ["one", "two", "three"]
    assert (first["store"], first["previous_response_id"], first["background"]) == (True, None, False)
    assert (second["previous_response_id"], third["previous_response_id"]) == (first["id"], second["id"])
    if dialect != "openai_responses":  # there the provider repeats the request
        assert first["instructions"] == "BE BRIEF"
    assert second["instructions"] is None
    assert said(upstream.requests[0].json) == "BE BRIEF | FIRST"
    assert said(upstream.requests[2].json) == "FIRST | one | SECOND | two | THIRD"


def test_a_conversation_goes_from_one_provider_to_another(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    previous = None
    for number, dialect in enumerate(("openai_responses", *LETTERS, "openai_responses")):
        model = played(upstream, dialect, f"answer{number}")
        previous = made(gateway, model, f"q{number}", previous_response_id=previous)["id"]
    last = upstream.requests[-1].json
    assert said(last) == "q0 | answer0 | q1 | answer1 | q2 | answer2 | q3 | answer3 | q4"


def test_nothing_is_stored_at_the_provider_and_reasoning_goes_back(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    body = kit.whole(kit.REASONING, kit.message("one"))
    upstream.play("r1", answers(http(200, body)))
    first = made(
        gateway, "mr", "FIRST", store=True, metadata={"a": "b"}, include=["message.output_text.logprobs"]
    )
    made(gateway, "mr", "SECOND", previous_response_id=first["id"])
    sent = [seen.json for seen in upstream.at("r1")]
    for body in sent:
        assert body["store"] is False
        assert "reasoning.encrypted_content" in body["include"]
        assert not body.keys() & {"previous_response_id", "conversation", "background"}
    assert sent[0]["include"][0] == "message.output_text.logprobs"
    assert sent[0]["metadata"] == {"a": "b"}
    assert sent[1]["input"][1] == kit.REASONING
    assert first["id"] != "resp_up"
    assert gateway.generation(first["id"])["attempts"][0]["upstream_id"] == "resp_up"


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
def test_what_was_answered_is_what_is_kept(
    gateway: Gateway, upstream: ScriptedUpstream, streamed: bool
) -> None:
    for dialect in LETTERS:
        letter = LETTERS[dialect]
        script = answers(head(200), *frames(dialect)) if streamed else answers(http(200, chat_whole(dialect)))
        upstream.play(f"{letter}1", script)
        _same(gateway, f"m{letter}", streamed)
    upstream.play("r1", answers(head(200), *kit.events()) if streamed else answers(http(200, kit.whole())))
    _same(gateway, "mr", streamed)


def _same(gateway: Gateway, model: str, streamed: bool) -> None:
    answer = create(gateway, model, stream=streamed)
    told = kit.read_events(answer.body)[-1]["response"] if streamed else answer.json
    kept = gateway.get(f"/v1/responses/{told['id']}")
    assert kept.status == 200
    assert json.loads(kept.body) == json.loads(json.dumps(told, default=float))
    assert (kept.json["status"], text_of(kept.json)) == ("completed", "Hello there")
    assert kept.json["usage"]["cost"] > 0
    assert kept.headers["x-request-id"].startswith("gen-")


def test_what_is_not_to_be_stored_is_not_there(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    model = played(upstream, "openai_chat")
    answer = create(gateway, model, store=False)
    assert answer.json["store"] is False
    assert "x-llm-router-not-stored" not in answer.headers
    assert gateway.get(f"/v1/responses/{answer.json['id']}").status == 404
    gone = create(gateway, model, previous_response_id=answer.json["id"])
    assert (gone.status, gone.error["code"]) == (400, "previous_response_not_found")
    assert gone.error["param"] == "previous_response_id"


def test_a_failed_answer_cannot_be_followed(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    upstream.play("r1", answers(head(200), *kit.events("one ", "two ")[:6]))
    failed = kit.read_events(create(gateway, "mr", stream=True).body)[-1]
    assert failed["type"] == "response.failed"
    kept = gateway.get(f"/v1/responses/{failed['response']['id']}").json
    assert (kept["status"], kept["error"]["code"]) == ("failed", "server_error")
    after = create(gateway, "mr", previous_response_id=kept["id"])
    assert (after.status, after.error["code"]) == (400, "previous_response_not_found")
    assert "failed" in after.error["message"]
    refused = create(gateway, "mr-none")
    assert refused.status == 404


# -- items -----------------------------------------------------------------------------------------


def test_input_items_by_pages(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    model = played(upstream, "openai_chat", "one", "two")
    first = made(gateway, model, "FIRST")
    own = {
        "type": "message",
        "role": "user",
        "id": "msg_mine",
        "content": [{"type": "input_text", "text": "X"}],
    }
    second = made(gateway, model, [own, {"role": "user", "content": "Y"}], previous_response_id=first["id"])
    path = f"/v1/responses/{second['id']}/input_items"
    listed = gateway.get(path + "?order=asc").json
    assert (listed["object"], listed["has_more"]) == ("list", False)
    texts = [item["content"][0]["text"] for item in listed["data"]]
    assert texts == ["FIRST", "one", "X", "Y"]
    ids = [item["id"] for item in listed["data"]]
    assert len(set(ids)) == 4
    assert ids[2] == "msg_mine"
    assert (listed["first_id"], listed["last_id"]) == (ids[0], ids[-1])
    assert [item["content"][0]["type"] for item in listed["data"]] == [
        "input_text", "output_text", "input_text", "input_text",
    ]  # fmt: skip
    page = gateway.get(path + "?limit=2").json
    assert [item["id"] for item in page["data"]] == [ids[3], ids[2]]
    assert page["has_more"]
    page = gateway.get(f"{path}?limit=2&after={ids[2]}").json
    assert [item["id"] for item in page["data"]] == [ids[1], ids[0]]
    assert not page["has_more"]
    for wrong in ("limit=0", "limit=101", "limit=x", "order=up", "after=msg_none"):
        answer = gateway.get(f"{path}?{wrong}")
        assert answer.status == 400
        assert answer.error["param"] == wrong.partition("=")[0]


def test_items_are_referred_to(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    upstream.play("r1", answers(http(200, kit.whole(kit.REASONING, kit.message("one")))))
    first = made(gateway, "mr", "FIRST")
    asked = gateway.get(f"/v1/responses/{first['id']}/input_items").json["data"][0]["id"]
    made(
        gateway,
        "mr",
        [
            {"type": "item_reference", "id": asked},
            {"type": "reasoning", "id": "rs_up", "summary": []},
            {"id": "msg_up"},
            {"role": "user", "content": "NEXT"},
        ],
    )
    sent = upstream.at("r1")[-1].json["input"]
    assert sent[0] == {"type": "message", "role": "user", "content": "FIRST"}
    assert sent[1] == kit.REASONING
    assert sent[2] == kit.message("one")
    unknown = create(gateway, "mr", [{"type": "item_reference", "id": "msg_none"}])
    assert (unknown.status, unknown.error["param"]) == (400, "input[0].id")


# -- who may ---------------------------------------------------------------------------------------


def test_another_account_sees_nothing(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    model = played(upstream, "openai_chat")
    id_ = made(gateway, model)["id"]
    other = gateway.new_key("other", account="other")
    same = gateway.new_key("same")
    gateway.command("credits.add", account="other", amount="5")
    for method, path in (
        ("GET", ""), ("GET", "?stream=true"), ("DELETE", ""), ("POST", "/cancel"), ("GET", "/input_items"),
    ):  # fmt: skip
        answer = gateway.send(method, f"/v1/responses/{id_}{path}", key=other)
        assert answer.status == 404, (method, path, answer.body)
        assert answer.error["message"] == f"Response with id '{id_}' not found."
        assert answer.error["type"] == "not_found_error"
        assert gateway.send(method, f"/v1/responses/{id_}{path}", key="sk-lr-none").status == 401
    answer = create(gateway, model, key=other, previous_response_id=id_)
    assert (answer.status, answer.error["code"]) == (400, "previous_response_not_found")
    reference = [
        {"type": "item_reference", "id": gateway.get(f"/v1/responses/{id_}").json["output"][0]["id"]}
    ]
    assert create(gateway, model, reference, key=other).status == 400
    assert create(gateway, model, reference).status == 200
    assert gateway.get(f"/v1/responses/{id_}", key=same).status == 200


def test_deleted_is_deleted(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    model = played(upstream, "openai_chat")
    first = made(gateway, model, "FIRST")
    second = made(gateway, model, "SECOND", previous_response_id=first["id"])
    deleted = gateway.send("DELETE", f"/v1/responses/{first['id']}")
    assert deleted.json == {"id": first["id"], "object": "response", "deleted": True}
    assert gateway.get(f"/v1/responses/{first['id']}").status == 404
    assert gateway.send("DELETE", f"/v1/responses/{first['id']}").status == 404
    assert gateway.get(f"/v1/responses/{second['id']}").status == 200
    broken = create(gateway, model, previous_response_id=second["id"])
    assert (broken.status, broken.error["code"]) == (400, "previous_response_not_found")
    assert "was deleted or has expired" in broken.error["message"]


# -- refusals --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"prompt": {"id": "pmpt_1"}}, "prompt"),
        ({"conversation": {}}, "conversation"),
        ({"background": True, "store": False}, "background"),
        ({"background": "yes"}, "background"),
        ({"previous_response_id": 5}, "previous_response_id"),
        ({"previous_response_id": "resp_1", "conversation": "conv_1"}, "previous_response_id"),
        ({"previous_response_id": "resp_none"}, "previous_response_id"),
        ({"input": None}, "input"),
        ({"input": 5}, "input"),
    ],
)
def test_refusals_name_the_member(gateway: Gateway, members: dict[str, Any], param: str) -> None:
    answer = gateway.send(
        "POST", "/v1/responses", json.dumps({"model": "mo", "input": "hi", **members}).encode()
    )
    assert answer.status == 400, answer.body
    assert answer.error["param"] == param
    assert answer.error["type"] == "invalid_request_error"
    assert answer.headers["x-request-id"].startswith("gen-")


def test_what_only_a_provider_can_do_is_refused(gateway: Gateway) -> None:
    answer = gateway.send("POST", "/v1/responses/compact", b"{}")
    assert answer.status == 404
    assert "does not compact" in answer.error["message"]
    assert gateway.send("PUT", "/v1/responses/resp_1").status == 405


def test_tokens_are_counted_with_the_turns_before(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    model = played(upstream, "openai_chat", "word " * 100)
    before = gateway.credits()
    path, body = "/v1/responses/input_tokens", {"model": model, "input": "hi"}
    alone = gateway.send("POST", path, json.dumps(body).encode())
    assert alone.json["object"] == "response.input_tokens"
    assert alone.headers["x-llm-router-estimated"] == "true"
    assert gateway.credits() == before
    first = made(gateway, model)
    body["previous_response_id"] = first["id"]
    assert gateway.send("POST", path, json.dumps(body).encode()).json["input_tokens"] > 100


# -- a gateway that stores nothing -----------------------------------------------------------------


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
def test_a_gateway_without_a_store_says_so(
    forgetful: Gateway, upstream: ScriptedUpstream, streamed: bool
) -> None:
    upstream.play("r1", answers(head(200), *kit.events()) if streamed else answers(http(200, kit.whole())))
    answer = create(forgetful, "mr", stream=streamed)
    told = kit.read_events(answer.body)[-1]["response"] if streamed else answer.json
    assert told["store"] is False
    assert answer.headers["x-llm-router-not-stored"] == "true"
    assert forgetful.get(f"/v1/responses/{told['id']}").status == 404
    for members in ({"previous_response_id": told["id"]}, {"background": True}, {"conversation": "conv_1"}):
        refused = create(forgetful, "mr", **members)
        assert refused.status == 400
        assert "stores n" in refused.error["message"]
    assert "x-llm-router-not-stored" not in create(forgetful, "mr", store=False).headers
