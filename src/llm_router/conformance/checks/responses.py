"""OpenAI responses: whole replies, options, tools, and what is kept."""

from __future__ import annotations

import json
from typing import Any

from llm_router.conformance.api import APIS, OPENAI, Json
from llm_router.conformance.case import Case, Suite
from llm_router.conformance.checks.basics import refused
from llm_router.conformance.checks.chat import SCHEMA
from llm_router.conformance.checks.chat_content import EMOJI, picture
from llm_router.conformance.checks.chat_tools import NAME, PARAMETERS
from llm_router.conformance.transport import Reply

_whole = Suite("responses", "whole", f"{OPENAI}/responses/object")
_options = Suite("responses", "options", f"{OPENAI}/responses/create")
_tools = Suite("responses", "tools", f"{OPENAI}/responses/create#responses-create-tools")
_kept = Suite("responses", "kept", f"{OPENAI}/responses/get")
whole, option, tool, kept = _whole.check, _options.check, _tools.check, _kept.check
TOOL: Json = {
    "type": "function", "name": NAME, "description": "Get the current weather of a city.",
    "parameters": {**PARAMETERS, "additionalProperties": False}, "strict": True,
}  # fmt: skip
FORCED: Json = {"type": "function", "name": NAME}
ASKED = "What is the weather in Paris?"


def ask(case: Case, input_: object = None, *, feature: str = "", **members: Any) -> Reply:
    body = case.target.plain("responses", **members)
    if input_ is not None:
        body["input"] = input_
    return case.answer("responses", body, feature=feature)


def output(case: Case, reply: Json) -> list[Json]:
    found = reply.get("output") if isinstance(reply, dict) else None
    case.expect(isinstance(found, list) and all(isinstance(i, dict) for i in found), "a list of items", reply)
    assert isinstance(found, list)
    return found


def text_of(items: list[Json]) -> str:
    return "".join(
        part.get("text") or ""
        for item in items
        if item.get("type") == "message"
        for part in item.get("content") or ()
        if part.get("type") == "output_text"
    )


def usage_of(case: Case, reply: Json) -> Json:
    found = reply.get("usage")
    case.expect(isinstance(found, dict), "a usage object", found)
    assert isinstance(found, dict)
    for name in ("input_tokens", "output_tokens", "total_tokens"):
        case.count(name, found.get(name))
    return found


@whole("object", 'object is "response"', "Clients tell replies apart by it.")
def object_(case: Case) -> None:
    case.equal("object", ask(case).json.get("object"), "response")


@whole("id", "there is an id", "The next turn may name it.")
def id_(case: Case) -> None:
    case.text("id", ask(case).json.get("id"))


@whole("id-form", 'the id begins with "resp_"', "Some tools look for it.", should=True)
def id_form(case: Case) -> None:
    found = str(ask(case).json.get("id"))
    case.expect(found.startswith("resp_"), 'an id that begins with "resp_"', found)


@whole("created", "created_at is the present time in seconds", "Milliseconds are in another millennium.")
def created(case: Case) -> None:
    found = ask(case).json.get("created_at")
    case.expect(isinstance(found, int | float) and 1.5e9 < found < 4e9, "seconds since 1970", found)


@whole("status", 'status is "completed"', "Clients ask again otherwise.")
def status(case: Case) -> None:
    reply = ask(case)
    case.skip_unless(reply.json.get("status") != "incomplete", "the model did not come to an end")
    case.equal("status", reply.json.get("status"), "completed")
    for name in ("error", "incomplete_details"):
        case.equal(name, reply.json.get(name), None)


@whole("model", "model says who answered", "Users compare models by it.")
def model(case: Case) -> None:
    case.text("model", ask(case).json.get("model"))


@whole("output", "output is a list of items, each with a type", "Clients loop over it.")
def output_items(case: Case) -> None:
    items = output(case, ask(case).json)
    case.expect(items, "items", items)
    for item in items:
        case.text("type of an item", item.get("type"))


@whole("item-ids", "items have ids that differ", "Clients put them into a table.")
def item_ids(case: Case) -> None:
    ids = [case.text("id of an item", item.get("id")) for item in output(case, ask(case).json)]
    case.expect(len(set(ids)) == len(ids), "ids that differ", ids)


@whole("message", "a message has role assistant, a status and parts", "Official clients declare it so.")
def message(case: Case) -> None:
    found = [item for item in output(case, ask(case).json) if item["type"] == "message"]
    case.expect(len(found) == 1, "one message", found)
    case.equal("role", found[0].get("role"), "assistant")
    case.one_of("status", found[0].get("status"), ("completed", "incomplete"))
    for part in found[0].get("content") or ():
        case.one_of("type of a part", part.get("type"), ("output_text", "refusal"))


@whole("annotations", "an output_text has a list of annotations", "Official clients loop over it.")
def annotations_(case: Case) -> None:
    for item in output(case, ask(case).json):
        for part in item.get("content") or () if item["type"] == "message" else ():
            if part.get("type") == "output_text":
                case.expect(isinstance(part.get("annotations"), list), "a list", part)


@whole("text", "there is a text", "It is what was asked for.")
def text(case: Case) -> None:
    reply = ask(case)
    case.skip_unless(reply.json.get("status") == "completed", "the model did not come to an end")
    case.text("text", text_of(output(case, reply.json)))


@whole("usage", "usage holds whole numbers, and their sum", "Users pay by them.")
def usage(case: Case) -> None:
    found = usage_of(case, ask(case).json)
    case.expect(found["input_tokens"] > 0 and found["output_tokens"] > 0, "more than 0", found)
    case.equal("total_tokens", found["total_tokens"], found["input_tokens"] + found["output_tokens"])


@whole("usage-details", "the usage has its details", "Official clients declare them.")
def usage_details(case: Case) -> None:
    found = usage_of(case, ask(case).json)
    for holder, member in (
        ("input_tokens_details", "cached_tokens"),
        ("output_tokens_details", "reasoning_tokens"),
    ):
        case.count(f"{holder}.{member}", (found.get(holder) or {}).get(member))


@whole("echo", "what the reply was made with stands in it", "Official clients declare it.", should=True)
def echo(case: Case) -> None:
    found = ask(case).json
    names = (
        "instructions",
        "metadata",
        "parallel_tool_calls",
        "temperature",
        "tool_choice",
        "tools",
        "top_p",
    )
    case.expect(all(name in found for name in names), f"members {', '.join(names)}", sorted(found))


# -- options ---------------------------------------------------------------------------------------


@option("instructions", "instructions are taken", "Nearly every program has them.")
def instructions(case: Case) -> None:
    ask(case, instructions="You are brief.")


@option("messages", "input may be a list of messages", "Codex sends it so.")
def messages(case: Case) -> None:
    parts = [{"type": "input_text", "text": "Say: fine."}]
    ask(case, [{"type": "message", "role": "user", "content": parts}])


@option("roles", "developer and system messages are taken", "Codex sends them.")
def roles(case: Case) -> None:
    ask(
        case,
        [{"role": r, "content": "Be brief."} for r in ("system", "developer")]
        + [{"role": "user", "content": "Hi."}],
    )


@option("sent-back", "the output can be sent back as it came", "Clients do nothing else.")
def sent_back(case: Case) -> None:
    items = output(case, ask(case).json)
    ask(case, [{"role": "user", "content": "Hi."}, *items, {"role": "user", "content": "Say: fine."}])


@option("max-output", 'a small limit ends as "incomplete"', "Clients ask for the rest then.")
def max_output(case: Case) -> None:
    reply = ask(
        case, "Count from one to one hundred in words.", max_output_tokens=16, feature="so small a limit"
    )
    case.limited(usage_of(case, reply.json)["output_tokens"])
    case.equal("status", reply.json.get("status"), "incomplete")
    case.equal("reason", (reply.json.get("incomplete_details") or {}).get("reason"), "max_output_tokens")


@option("schema", "text.format json_schema makes an object of the schema", "Programs parse it.")
def schema(case: Case) -> None:
    form = {"type": "json_schema", "name": "city", "strict": True, "schema": SCHEMA}
    reply = ask(
        case,
        "Paris has about 2100000 inhabitants. Fill in the form.",
        text={"format": form},
        feature="schemas",
    )
    try:
        found = json.loads(text_of(output(case, reply.json)))
    except ValueError:
        found = None
    case.expect(
        isinstance(found, dict) and sorted(found) == ["city", "inhabitants"], "the object", reply.text
    )


@option("image", "a picture in a data URL is seen", "Vision works so.")
def image(case: Case) -> None:
    parts = [
        {"type": "input_text", "text": "What colour is this? One word."},
        {"type": "input_image", "image_url": picture(), "detail": "low"},
    ]
    ask(case, [{"role": "user", "content": parts}], feature="pictures")


@option("emoji", "emoji of several code points come back whole", "They are cut in two by careless code.")
def emoji(case: Case) -> None:
    found = text_of(output(case, ask(case, f"Reply with exactly: {EMOJI}").json))
    case.expect("\ufffd" not in found, "text without replacement characters", found)


@option("metadata", "metadata comes back", "Programs find their replies by it.")
def metadata(case: Case) -> None:
    case.equal("metadata", ask(case, metadata={"run": "1"}).json.get("metadata"), {"run": "1"})


@option("store-false", "store: false is taken", "Codex sends it.")
def store_false(case: Case) -> None:
    ask(case, store=False)


@option("include", "include of encrypted reasoning is taken", "Codex sends it.", should=True)
def include(case: Case) -> None:
    ask(case, store=False, include=["reasoning.encrypted_content"], feature="encrypted reasoning")


# -- tools -----------------------------------------------------------------------------------------


def forced(case: Case, **members: Any) -> Reply:
    members = {"tools": [TOOL], "tool_choice": FORCED, **members}
    return ask(case, ASKED, feature="tools", **members)


def calls(case: Case, items: list[Json]) -> list[Json]:
    found = [item for item in items if item.get("type") == "function_call"]
    case.expect(found, "a function_call", items)
    return found


@tool("forced", "a function that is forced is called", "Extraction works so.")
def tool_forced(case: Case) -> None:
    found = calls(case, output(case, forced(case).json))[0]
    case.equal("name", found.get("name"), NAME)
    case.equal("status", found.get("status"), "completed")


@tool("call-id", "each call has a call_id", "Results are matched by it.")
def call_id(case: Case) -> None:
    ids = [case.text("call_id", call.get("call_id")) for call in calls(case, output(case, forced(case).json))]
    case.expect(len(set(ids)) == len(ids), "ids that differ", ids)


@tool("arguments", "arguments are the text of a JSON object of the schema", "Clients parse them.")
def arguments(case: Case) -> None:
    found = calls(case, output(case, forced(case).json))[0].get("arguments")
    try:
        value = json.loads(found) if isinstance(found, str) else None
    except ValueError:
        value = None
    case.expect(
        isinstance(value, dict) and isinstance(value.get("city"), str), "an object with a city", found
    )


@tool("required", "a function is called where one is required", "Agents work so.")
def required(case: Case) -> None:
    calls(case, output(case, forced(case, tool_choice="required").json))


@tool("none", "no function is called where none may be", "The last turn of an agent is so.")
def none(case: Case) -> None:
    items = output(case, forced(case, tool_choice="none").json)
    case.expect(not [i for i in items if i.get("type") == "function_call"], "no call", items)


@tool("second-turn", "the result of a call is taken, and answered", "Agents work so.")
def second_turn(case: Case) -> None:
    items = output(case, forced(case).json)
    results = [
        {"type": "function_call_output", "call_id": call["call_id"], "output": "sunny"}
        for call in calls(case, items)
    ]
    reply = ask(case, [{"role": "user", "content": ASKED}, *items, *results], tools=[TOOL], feature="tools")
    case.expect(output(case, reply.json), "an answer", reply.text)


# -- what is kept ----------------------------------------------------------------------------------


def _stored(case: Case) -> Json:
    found: Json = ask(case, "Say: fine.", store=True, feature="store").json
    reply = case.ask("responses", None, method="GET", path=f"/v1/responses/{found['id']}")
    case.skip_unless(reply.ok, "the target keeps no responses")
    return found


@kept("get", "a stored response can be got", "Programs read it later.")
def get(case: Case) -> None:
    made = _stored(case)
    reply = case.ask("responses", None, method="GET", path=f"/v1/responses/{made['id']}")
    for name in ("id", "object", "status", "output"):
        case.equal(name, reply.json.get(name), made.get(name))


@kept("items", "its input items can be listed", "Programs read it later.")
def items(case: Case) -> None:
    made = _stored(case)
    reply = case.ask("responses", None, method="GET", path=f"/v1/responses/{made['id']}/input_items")
    case.expect(reply.ok and isinstance(reply.json, dict), "a list", f"{reply.status} {reply.text}")
    case.equal("object", reply.json.get("object"), "list")
    case.expect(len(reply.json.get("data") or ()) == 1, "one item", reply.json)


@kept("previous", "previous_response_id goes on with a conversation", "Clients send only what is new.")
def previous(case: Case) -> None:
    made = _stored(case)
    reply = ask(case, "Say it again.", previous_response_id=made["id"], feature="previous_response_id")
    case.equal("previous_response_id", reply.json.get("previous_response_id"), made["id"])
    alone = usage_of(case, ask(case, "Say it again.").json)["input_tokens"]
    case.expect(
        usage_of(case, reply.json)["input_tokens"] > alone, f"more input than {alone}", reply.json["usage"]
    )


@kept("previous-unknown", "an unknown previous_response_id is refused", "The model would have forgotten all.")
def previous_unknown(case: Case) -> None:
    body = case.target.plain("responses", previous_response_id="resp_nosuchresponse0123456789")
    refused(case, APIS["responses"], case.ask("responses", body), (400, 404))


@kept("delete", "a stored response can be deleted", "Users ask for it.")
def delete(case: Case) -> None:
    _stored(case)
    body = case.target.plain("responses", input="Say: gone.", store=True)
    made = case.target.ask("responses", body, fresh=True).json
    path = f"/v1/responses/{made['id']}"
    gone = case.ask("responses", None, method="DELETE", path=path, fresh=True)
    case.expect(gone.ok and gone.json.get("deleted") is True, "deleted: true", f"{gone.status} {gone.text}")
    after = case.ask("responses", None, method="GET", path=path, fresh=True)
    case.equal("status afterwards", after.status, 404)


@kept("get-unknown", "an unknown response is 404", "A client's bug must be told apart from a fault.")
def get_unknown(case: Case) -> None:
    reply = case.ask("responses", None, method="GET", path="/v1/responses/resp_nosuchresponse0123456789")
    refused(case, APIS["responses"], reply, (404,))


CHECKS = (*_whole.checks, *_options.checks, *_tools.checks, *_kept.checks)
