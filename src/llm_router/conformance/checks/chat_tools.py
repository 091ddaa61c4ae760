"""OpenAI chat completions: tools, streamed and not, and the legacy functions."""

from __future__ import annotations

import json
from typing import Any

from llm_router.conformance.api import OPENAI, Json, user
from llm_router.conformance.case import Case, Suite
from llm_router.conformance.checks.chat import chat, choice, message
from llm_router.conformance.checks.chat_stream import chunks, deltas, finishes, streamed, text_of

_suite = Suite("chat", "tools", f"{OPENAI}/chat/create#chat_create-tools")
check = _suite.check
NAME = "get_weather"
PARAMETERS: Json = {
    "type": "object",
    "properties": {"city": {"type": "string", "description": "The name of the city"}},
    "required": ["city"],
}
FUNCTION: Json = {"name": NAME, "description": "Get the current weather of a city.", "parameters": PARAMETERS}
TOOL: Json = {"type": "function", "function": FUNCTION}
FORCED: Json = {"type": "function", "function": {"name": NAME}}
ASKED = user("What is the weather in Paris?")
BOTH = user("What is the weather in Paris and in Rome? Ask for both at once.")
FEATURE = "tools"


def _forced(case: Case, *messages: Json, **members: Any) -> list[Json]:
    reply = chat(case, *(messages or (ASKED,)), tools=[TOOL], tool_choice=FORCED, feature=FEATURE, **members)
    return _calls(case, message(case, reply))


def _calls(case: Case, found: Json) -> list[Json]:
    calls = found.get("tool_calls")
    case.expect(isinstance(calls, list) and calls, "tool calls", found)
    assert isinstance(calls, list)
    return calls


@check("forced", "a tool that is forced is called", "Extraction works so.")
def forced(case: Case) -> None:
    for call in _forced(case):
        case.equal("type", call.get("type"), "function")
        case.equal("name", (call.get("function") or {}).get("name"), NAME)


@check("id", "each call has an id", "Results are matched by it.")
def id_(case: Case) -> None:
    ids = [case.text("id", call.get("id")) for call in _forced(case)]
    case.expect(len(set(ids)) == len(ids), "ids that differ", ids)


@check("arguments", "arguments are the text of a JSON object", "Clients parse them.")
def arguments(case: Case) -> None:
    for call in _forced(case):
        _object(case, call["function"].get("arguments"))


def _object(case: Case, text: object) -> Json:
    case.expect(isinstance(text, str), "a text, not an object", text)
    try:
        found = json.loads(str(text))
    except ValueError:
        found = None
    case.expect(isinstance(found, dict), "the text of a JSON object", text)
    assert isinstance(found, dict)
    return found


@check("schema", "arguments hold what the schema requires", "Programs rely on it.")
def schema(case: Case) -> None:
    found = _object(case, _forced(case)[0]["function"].get("arguments"))
    case.expect(isinstance(found.get("city"), str), "a city", found)


@check(
    "finish", 'finish_reason says "tool_calls" (or "stop" where the tool was forced)', "Agents loop by it."
)
def finish(case: Case) -> None:
    reply = chat(case, ASKED, tools=[TOOL], tool_choice="required", feature=FEATURE)
    case.one_of("finish_reason", choice(case, reply).get("finish_reason"), ("tool_calls", "stop"))


@check("required", "a tool is called where one is required", "Agents work so.")
def required(case: Case) -> None:
    reply = chat(case, ASKED, tools=[TOOL], tool_choice="required", feature="tool_choice required")
    case.equal("name", _calls(case, message(case, reply))[0]["function"].get("name"), NAME)


@check("none", "no tool is called where none may be", "The last turn of an agent is so.")
def none(case: Case) -> None:
    reply = chat(case, ASKED, tools=[TOOL], tool_choice="none", feature=FEATURE)
    case.expect(not message(case, reply).get("tool_calls"), "no call", reply.text)


@check("auto", "with auto there is a text or a call", "An empty answer is none.")
def auto(case: Case) -> None:
    found = message(case, chat(case, ASKED, tools=[TOOL], tool_choice="auto", feature=FEATURE))
    case.expect(found.get("content") or found.get("tool_calls") or found.get("refusal"), "either", found)


@check("parallel", "calls in parallel have ids of their own", "Results are matched by them.")
def parallel(case: Case) -> None:
    reply = chat(case, BOTH, tools=[TOOL], tool_choice="required", feature="tool_choice required")
    calls = _calls(case, message(case, reply))
    case.skip_unless(len(calls) > 1, "the model made one call only")
    ids = [call.get("id") for call in calls]
    case.expect(len(set(ids)) == len(ids), "ids that differ", ids)


@check("not-parallel", "parallel_tool_calls: false makes one call at most", "Some tools cannot run at once.")
def not_parallel(case: Case) -> None:
    reply = chat(
        case, BOTH, tools=[TOOL], tool_choice="required", parallel_tool_calls=False,
        feature="parallel_tool_calls",
    )  # fmt: skip
    case.expect(len(_calls(case, message(case, reply))) == 1, "one call", reply.text)


def _result(call: Json, content: object = "18 degrees and sunny") -> Json:
    return {"role": "tool", "tool_call_id": call["id"], "content": content}


@check("second-turn", "the result of a call is taken, and answered", "Agents work so.")
def second_turn(case: Case) -> None:
    calls = _forced(case)
    said = {"role": "assistant", "content": None, "tool_calls": calls}
    reply = chat(case, ASKED, said, *map(_result, calls), tools=[TOOL], feature=FEATURE)
    found = message(case, reply)
    case.expect(found.get("content") or found.get("tool_calls"), "an answer", found)


@check(
    "second-turn-as-came", "the message with the call can be sent back as it came", "Clients do nothing else."
)
def second_turn_as_came(case: Case) -> None:
    reply = chat(case, ASKED, tools=[TOOL], tool_choice=FORCED, feature=FEATURE)
    said = message(case, reply)
    results = map(_result, _calls(case, said))
    chat(case, ASKED, said, *results, tools=[TOOL], feature=FEATURE)


@check("result-parts", "a result may be a list of parts", "Clients send it so.", should=True)
def result_parts(case: Case) -> None:
    calls = _forced(case)
    said = {"role": "assistant", "content": None, "tool_calls": calls}
    results = [_result(call, [{"type": "text", "text": "sunny"}]) for call in calls]
    chat(case, ASKED, said, *results, tools=[TOOL], feature="results in parts")


@check("foreign-ids", "calls with ids of another provider are taken", "Conversations move between models.")
def foreign_ids(case: Case) -> None:
    call = {
        "id": "toolu_01A09q90qw90lq917835lq9", "type": "function",
        "function": {"name": NAME, "arguments": '{"city": "Paris"}'},
    }  # fmt: skip
    said = {"role": "assistant", "content": None, "tool_calls": [call]}
    chat(case, ASKED, said, _result(call), tools=[TOOL], feature=FEATURE)


@check("no-parameters", "a tool without parameters is taken", "Many tools have none.")
def no_parameters(case: Case) -> None:
    tool = {"type": "function", "function": {"name": "get_time", "description": "Get the time."}}
    chat(case, user("Say: fine."), tools=[tool], feature=FEATURE)


@check("deep-schema", "a nested schema with references is taken", "Pydantic writes such.")
def deep_schema(case: Case) -> None:
    place = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    parameters = {
        "type": "object", "$defs": {"Place": place},
        "properties": {
            "place": {"$ref": "#/$defs/Place"},
            "unit": {"anyOf": [{"enum": ["C", "F"], "type": "string"}, {"type": "null"}], "default": None},
        },
        "required": ["place"],
    }  # fmt: skip
    tool = {"type": "function", "function": {**FUNCTION, "parameters": parameters}}
    chat(case, user("Say: fine."), tools=[tool], feature="references in schemas")


@check("functions", "legacy functions are answered in the legacy style", "Old programs read only that.")
def functions(case: Case) -> None:
    reply = chat(case, ASKED, functions=[FUNCTION], function_call={"name": NAME}, feature="legacy functions")
    call = message(case, reply).get("function_call")
    case.expect(isinstance(call, dict), "a function_call", reply.text)
    assert isinstance(call, dict)
    case.equal("name", call.get("name"), NAME)
    _object(case, call.get("arguments"))


@check("functions-turn", "the result of a legacy function is taken", "Old programs send only that.")
def functions_turn(case: Case) -> None:
    call = {"name": NAME, "arguments": '{"city": "Paris"}'}
    said = {"role": "assistant", "content": None, "function_call": call}
    result = {"role": "function", "name": NAME, "content": "sunny"}
    chat(case, ASKED, said, result, functions=[FUNCTION], feature="legacy functions")


# -- streams ---------------------------------------------------------------------------------------


def _streamed(case: Case, *messages: Json, **members: Any) -> list[Json]:
    members = {"tools": [TOOL], "tool_choice": FORCED, **members}
    return chunks(case, streamed(case, *(messages or (ASKED,)), feature=FEATURE, **members))


def _joined(case: Case, found: list[Json]) -> dict[int, Json]:
    """The calls of a stream, joined by their index as official clients do."""
    calls: dict[int, Json] = {}
    for delta in deltas(found):
        for piece in delta.get("tool_calls") or ():
            index = case.count("index of a call", piece.get("index"))
            call = calls.setdefault(index, {"ids": [], "names": [], "arguments": ""})
            function = piece.get("function") or {}
            call["ids"] += [piece["id"]] if piece.get("id") else []
            call["names"] += [function["name"]] if function.get("name") else []
            call["arguments"] += function.get("arguments") or ""
    case.expect(calls, "tool calls", text_of(found) or found[-1])
    return calls


@check("stream", "the pieces of a streamed call make a JSON object", "Clients parse them.")
def stream(case: Case) -> None:
    for call in _joined(case, _streamed(case)).values():
        _object(case, call["arguments"])


@check("stream-name", "id and name of a streamed call come once", "Clients that add strings get them twice.")
def stream_name(case: Case) -> None:
    for call in _joined(case, _streamed(case)).values():
        case.equal("names", call["names"], [NAME])
        case.expect(len(call["ids"]) == 1, "one id", call["ids"])


@check("stream-index", "streamed calls are numbered from 0", "Clients put them into a list.")
def stream_index(case: Case) -> None:
    found = sorted(_joined(case, _streamed(case, BOTH, tool_choice="required")))
    case.equal("indexes", found, list(range(len(found))))


@check("stream-parallel", "parallel calls do not mix in a stream", "Arguments would be garbage.")
def stream_parallel(case: Case) -> None:
    calls = _joined(case, _streamed(case, BOTH, tool_choice="required"))
    case.skip_unless(len(calls) > 1, "the model made one call only")
    for call in calls.values():
        _object(case, call["arguments"])
    case.expect(len({call["ids"][0] for call in calls.values()}) == len(calls), "ids that differ", calls)


@check("stream-finish", "a stream with calls finishes once, as calls", "Agents loop by it.")
def stream_finish(case: Case) -> None:
    found = finishes(_streamed(case, tool_choice="required"))
    case.expect(len(found) == 1, "one finish", found)
    case.one_of("finish_reason", found[0], ("tool_calls", "stop"))


@check("stream-functions", "legacy functions stream in the legacy style", "Old programs read only that.")
def stream_functions(case: Case) -> None:
    reply = streamed(
        case, ASKED, functions=[FUNCTION], function_call={"name": NAME}, feature="legacy functions"
    )
    pieces = [delta["function_call"] for delta in deltas(chunks(case, reply)) if delta.get("function_call")]
    case.expect(pieces, "function_call", reply.text)
    case.equal("name", "".join(piece.get("name") or "" for piece in pieces), NAME)
    _object(case, "".join(piece.get("arguments") or "" for piece in pieces))


CHECKS = _suite.checks
