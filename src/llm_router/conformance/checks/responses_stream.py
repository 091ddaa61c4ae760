"""OpenAI responses: streams, event by event."""

from __future__ import annotations

from typing import Any

from llm_router.conformance import sse
from llm_router.conformance.api import APIS, Json
from llm_router.conformance.case import Case, Suite
from llm_router.conformance.checks.basics import UNKNOWN, refused
from llm_router.conformance.checks.chat_content import EMOJI
from llm_router.conformance.checks.chat_stream import STORY
from llm_router.conformance.checks.responses import ASKED, FORCED, TOOL, ask, calls, output, text_of, usage_of
from llm_router.conformance.transport import Reply

_suite = Suite("responses", "stream", "https://platform.openai.com/docs/api-reference/responses-streaming")
check = _suite.check
ENDS = ("response.completed", "response.incomplete", "response.failed")
PARTS = ("response.content_part.added", "response.output_text.delta", "response.content_part.done")


def streamed(case: Case, input_: object = None, *, feature: str = "", **members: Any) -> Reply:
    body = case.target.plain("responses", **members)
    if input_ is not None:
        body["input"] = input_
    return case.answer("responses", body, stream=True, feature=feature)


def events(case: Case, reply: Reply) -> list[Json]:
    found = [e.json for e in sse.parse(reply.body).events if e.data != "[DONE]"]
    case.expect(found and all(isinstance(e, dict) for e in found), "events that are JSON objects", reply.text)
    errors = [e for e in found if e.get("type") in ("error", "response.failed")]
    case.expect(not errors, "a stream without an error", errors)
    return found


def of(found: list[Json], type_: str) -> list[Json]:
    return [event for event in found if event.get("type") == type_]


def final(case: Case, found: list[Json]) -> Json:
    case.one_of("type of the last event", found[-1].get("type"), ENDS)
    response: Json = found[-1]["response"]
    return response


@check("type", "the content type is text/event-stream", "Clients and proxies decide by it.")
def type_(case: Case) -> None:
    case.equal("content type", streamed(case).media_type, "text/event-stream")


@check("grammar", "every byte is sound server-sent events", "Strict clients stop.")
def grammar(case: Case) -> None:
    found = sse.parse(streamed(case).body)
    case.expect(not found.faults, "sound events", "; ".join(found.faults))


@check("framing", "the body is framed soundly, uncompressed", "Strict clients stop.")
def framing(case: Case) -> None:
    reply = streamed(case)
    case.expect(not reply.faults, "sound framing", "; ".join(reply.faults))
    case.expect(not reply.header("content-encoding"), "no compression", reply.headers)


@check("names", "each event has the name of its type", "Clients read by either.")
def names(case: Case) -> None:
    for event in sse.parse(streamed(case).body).events:
        if event.data != "[DONE]":
            case.expect(isinstance(event.json, dict), "a JSON object", event.data)
            case.equal("event name", event.name, event.json.get("type"))


@check("sequence", "sequence_number counts from 0 without gaps", "Clients go on from it.")
def sequence(case: Case) -> None:
    found = [event.get("sequence_number") for event in events(case, streamed(case))]
    case.equal("sequence numbers", found, list(range(len(found))))


@check("created", "the first event is response.created, in progress", "Clients make the response of it.")
def created(case: Case) -> None:
    found = events(case, streamed(case))
    case.equal("first event", found[0].get("type"), "response.created")
    case.one_of("status", found[0]["response"].get("status"), ("in_progress", "queued"))
    case.equal("output", found[0]["response"].get("output"), [])


@check("in-progress", "response.in_progress follows", "Clients show it.", should=True)
def in_progress(case: Case) -> None:
    case.equal("number of them", len(of(events(case, streamed(case)), "response.in_progress")), 1)


@check("end", "the last event ends the response, once", "What has no end is not whole.")
def end(case: Case) -> None:
    found = events(case, streamed(case))
    final(case, found)
    count = sum(event.get("type") in ENDS for event in found)
    case.equal("number of ends", count, 1)


@check("same-id", "all events speak of one response", "Clients join events by it.")
def same_id(case: Case) -> None:
    found = {
        str(e["response"].get("id"))
        for e in events(case, streamed(case))
        if isinstance(e.get("response"), dict)
    }
    case.expect(len(found) == 1 and found != {"None"}, "one id", sorted(found))


@check("usage", "the end holds the usage", "Users pay by it.")
def usage(case: Case) -> None:
    found = usage_of(case, final(case, events(case, streamed(case))))
    case.equal("total_tokens", found["total_tokens"], found["input_tokens"] + found["output_tokens"])


@check("usage-as-whole", "the input counts the same as without streaming", "Users pay by it.")
def usage_as_whole(case: Case) -> None:
    found = usage_of(case, final(case, events(case, streamed(case))))["input_tokens"]
    whole = usage_of(case, ask(case).json)["input_tokens"]
    case.expect(abs(found - whole) <= max(8, whole // 4), f"about {whole}", found)


@check("items", "each item is added once and done once", "Clients put them into a list.")
def items(case: Case) -> None:
    found = events(case, streamed(case))
    added = [e.get("output_index") for e in of(found, "response.output_item.added")]
    done = [e.get("output_index") for e in of(found, "response.output_item.done")]
    case.equal("indexes of added items", added, list(range(len(added))))
    case.equal("indexes of done items", sorted(map(str, done)), sorted(map(str, added)))


@check("items-final", "the items done are those of the end", "Clients take either.")
def items_final(case: Case) -> None:
    found = events(case, streamed(case))
    done = {e["output_index"]: e["item"].get("id") for e in of(found, "response.output_item.done")}
    case.equal(
        "ids", [done[i] for i in sorted(done)], [i.get("id") for i in output(case, final(case, found))]
    )


@check("item-ids", "deltas name the item that they belong to", "Official clients look it up.")
def item_ids(case: Case) -> None:
    found = events(case, streamed(case))
    known = {e["item"].get("id") for e in of(found, "response.output_item.added")}
    for event in found:
        if event.get("type") in PARTS:
            case.expect(event.get("item_id") in known, f"one of {known}", event)


@check("parts", "a part is added, filled and done, in this order", "Clients put them into a list.")
def parts(case: Case) -> None:
    found = [e["type"] for e in events(case, streamed(case)) if e.get("type") in PARTS]
    case.expect(found, "a part", found)
    case.equal("first", found[0], PARTS[0])
    case.equal("last", found[-1], PARTS[2])


@check("text", "the deltas make the text of output_text.done, and of the end", "Clients take any of them.")
def text(case: Case) -> None:
    found = events(case, streamed(case))
    made = "".join(e["delta"] for e in of(found, "response.output_text.delta"))
    done = "".join(e["text"] for e in of(found, "response.output_text.done"))
    case.equal("text of output_text.done", done, made)
    case.equal("text of the end", text_of(output(case, final(case, found))), made)


@check("pieces", "the text comes in several pieces", "Users watch it grow.", should=True)
def pieces(case: Case) -> None:
    found = of(events(case, streamed(case, STORY)), "response.output_text.delta")
    case.skip_unless(sum(len(e["delta"]) for e in found) > 80, "the answer is short")
    case.expect(len(found) > 1, "more than one piece", len(found))


@check("emoji", "emoji are not torn between events", "Half a character is garbage.")
def emoji(case: Case) -> None:
    found = events(case, streamed(case, f"Reply with exactly: {EMOJI}"))
    made = "".join(e["delta"] for e in of(found, "response.output_text.delta"))
    case.expect("\ufffd" not in made, "text without replacement characters", made)


@check("incomplete", "a small limit ends with response.incomplete", "Clients ask for the rest then.")
def incomplete(case: Case) -> None:
    found = events(case, streamed(case, STORY, max_output_tokens=16, feature="so small a limit"))
    case.limited((final(case, found).get("usage") or {}).get("output_tokens"))
    case.equal("last event", found[-1].get("type"), "response.incomplete")


@check("tool", "the pieces of a call make its arguments", "Agents work so.")
def tool(case: Case) -> None:
    found = events(case, streamed(case, ASKED, tools=[TOOL], tool_choice=FORCED, feature="tools"))
    made = "".join(e["delta"] for e in of(found, "response.function_call_arguments.delta"))
    done = [e.get("arguments") for e in of(found, "response.function_call_arguments.done")]
    call = calls(case, output(case, final(case, found)))[0]
    case.equal("arguments done", done[:1], [call.get("arguments")])
    case.expect(made.startswith(str(call["arguments"])), "deltas that make the arguments", made)


@check("tool-added", "a call is added with its name and call_id", "Agents show it early.")
def tool_added(case: Case) -> None:
    found = events(case, streamed(case, ASKED, tools=[TOOL], tool_choice=FORCED, feature="tools"))
    added = [
        e["item"] for e in of(found, "response.output_item.added") if e["item"].get("type") == "function_call"
    ]
    case.expect(added, "a call", found[-1])
    case.text("name", added[0].get("name"))
    case.text("call_id", added[0].get("call_id"))


@check("whole-shape", "the stream adds up to what the whole reply is", "Clients offer both.")
def whole_shape(case: Case) -> None:
    ended, whole = final(case, events(case, streamed(case))), ask(case).json
    case.equal("status", ended.get("status"), whole.get("status"))
    case.equal("types", [i.get("type") for i in ended["output"]], [i.get("type") for i in whole["output"]])
    case.equal("model", ended.get("model"), whole.get("model"))


@check("error-before", "an error before the stream has its status", "A 200 would look like an answer.")
def error_before(case: Case) -> None:
    reply = case.ask("responses", case.target.plain("responses", model=UNKNOWN), stream=True)
    refused(case, APIS["responses"], reply, (404,))


CHECKS = _suite.checks
