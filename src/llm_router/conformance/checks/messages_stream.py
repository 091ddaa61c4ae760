"""Anthropic messages: streams, event by event."""

from __future__ import annotations

import json
from typing import Any

from llm_router.conformance import sse
from llm_router.conformance.api import APIS, Json, user
from llm_router.conformance.case import Case, Suite
from llm_router.conformance.checks.basics import UNKNOWN, refused
from llm_router.conformance.checks.chat_content import EMOJI
from llm_router.conformance.checks.chat_stream import STORY
from llm_router.conformance.checks.chat_tools import ASKED, BOTH, NAME
from llm_router.conformance.checks.messages import STOPS, TOOL, ask, text_of, usage_of
from llm_router.conformance.transport import Reply

_suite = Suite("messages", "stream", "https://docs.anthropic.com/en/docs/build-with-claude/streaming")
check = _suite.check
KNOWN = (
    "message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta",
    "message_stop", "ping", "error",
)  # fmt: skip
DELTAS = {
    "text_delta": "text", "input_json_delta": "tool_use", "thinking_delta": "thinking",
    "signature_delta": "thinking", "citations_delta": "text",
}  # fmt: skip


def streamed(case: Case, *messages: Json, feature: str = "", **members: Any) -> Reply:
    body = case.target.plain("messages", **members)
    if messages:
        body["messages"] = list(messages)
    return case.answer("messages", body, stream=True, feature=feature)


def events(case: Case, reply: Reply) -> list[Json]:
    """The data of all events but pings."""
    found = [event.json for event in sse.parse(reply.body).events]
    case.expect(found and all(isinstance(e, dict) for e in found), "events that are JSON objects", reply.text)
    errors = [e for e in found if e.get("type") == "error"]
    case.expect(not errors, "a stream without an error", errors)
    return [e for e in found if e.get("type") != "ping"]


def of(found: list[Json], type_: str) -> list[Json]:
    return [event for event in found if event.get("type") == type_]


def joined(case: Case, found: list[Json]) -> list[Json]:
    """The blocks of a stream, put together as official clients do."""
    made: dict[int, Json] = {}
    for event in found:
        index = event.get("index")
        if event["type"] == "content_block_start":
            made[case.count("index", index)] = {**event["content_block"], "json": ""}
        elif event["type"] == "content_block_delta":
            case.expect(index in made, "a delta of a block that has begun", event)
            assert isinstance(index, int)
            delta, block = event["delta"], made[index]
            if delta.get("type") == "text_delta":
                block["text"] = (block.get("text") or "") + delta["text"]
            elif delta.get("type") == "input_json_delta":
                block["json"] += delta["partial_json"]
    return [made[index] for index in sorted(made)]


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


@check("names", "each event has the name of its type", "Official clients read only named events.")
def names(case: Case) -> None:
    for event in sse.parse(streamed(case).body).events:
        case.expect(isinstance(event.json, dict), "a JSON object", event.data)
        case.equal("event name", event.name, event.json.get("type"))


@check("known", "all events are of types that clients know", "Strict clients stop.")
def known(case: Case) -> None:
    for event in events(case, streamed(case)):
        case.one_of("type", event.get("type"), KNOWN)


@check("no-done", "there is no [DONE]", "It is OpenAI's, and no JSON.")
def no_done(case: Case) -> None:
    data = [event.data for event in sse.parse(streamed(case).body).events]
    case.expect("[DONE]" not in data, "no [DONE]", data[-1])


@check("start", "the first event is message_start, once", "Clients make the message of it.")
def start(case: Case) -> None:
    found = [e["type"] for e in events(case, streamed(case))]
    case.equal("first event", found[0], "message_start")
    case.equal("number of them", found.count("message_start"), 1)


@check("start-message", "message_start holds an empty message", "Official clients declare it so.")
def start_message(case: Case) -> None:
    found = of(events(case, streamed(case)), "message_start")[0].get("message")
    case.expect(isinstance(found, dict), "a message", found)
    assert isinstance(found, dict)
    for name, value in (("type", "message"), ("role", "assistant"), ("content", [])):
        case.equal(name, found.get(name), value)
    for name in ("stop_reason", "stop_sequence"):
        case.expect(name in found and found[name] is None, f"{name}: null", found)
    case.text("id", found.get("id"))
    case.text("model", found.get("model"))


@check("start-usage", "message_start says how long the input was", "Clients show the context by it.")
def start_usage(case: Case) -> None:
    found = of(events(case, streamed(case)), "message_start")[0]["message"]
    case.expect(usage_of(case, found.get("usage"))["input_tokens"] > 0, "more than 0", found)


@check("stop", "the last event is message_stop, once", "What has no end marker is not whole.")
def stop(case: Case) -> None:
    found = [e["type"] for e in events(case, streamed(case))]
    case.equal("last event", found[-1], "message_stop")
    case.equal("number of them", found.count("message_stop"), 1)


@check("delta", "message_delta comes before message_stop, with a reason", "Agents loop by it.")
def delta(case: Case) -> None:
    found = events(case, streamed(case))
    case.equal("last event but one", found[-2]["type"], "message_delta")
    reasons = [e["delta"].get("stop_reason") for e in of(found, "message_delta")]
    reasons = [reason for reason in reasons if reason is not None]
    case.expect(len(reasons) == 1, "one stop_reason", reasons)
    case.one_of("stop_reason", reasons[0], STOPS)


@check("delta-usage", "message_delta says how long the output was", "Users pay by it.")
def delta_usage(case: Case) -> None:
    usage = of(events(case, streamed(case)), "message_delta")[-1].get("usage")
    case.expect(isinstance(usage, dict), "usage", usage)
    assert isinstance(usage, dict)
    case.expect(case.count("output_tokens", usage.get("output_tokens")) > 0, "more than 0", usage)


@check("blocks-order", "blocks are numbered from 0, one after the other", "Clients put them into a list.")
def blocks_order(case: Case) -> None:
    opened: int | None = None
    following = 0
    for event in events(case, streamed(case)):
        if event["type"] == "content_block_start":
            case.expect(opened is None, "the block before it stopped", event)
            case.equal("index", event.get("index"), following)
            opened, following = following, following + 1
        elif event["type"] in ("content_block_delta", "content_block_stop"):
            case.expect(opened is not None and event.get("index") == opened, f"index {opened}", event)
            opened = None if event["type"] == "content_block_stop" else opened
    case.expect(opened is None, "every block stopped", opened)


@check("blocks-empty", "a text block begins empty", "Clients would show its beginning twice.")
def blocks_empty(case: Case) -> None:
    for event in of(events(case, streamed(case)), "content_block_start"):
        if event["content_block"].get("type") == "text":
            case.equal("text", event["content_block"].get("text"), "")


@check("deltas-fit", "each delta fits its block", "Clients add it to that member.")
def deltas_fit(case: Case) -> None:
    kinds: dict[int, str] = {}
    for event in events(case, streamed(case)):
        if event["type"] == "content_block_start":
            kinds[event["index"]] = event["content_block"].get("type")
        elif event["type"] == "content_block_delta":
            wanted = DELTAS.get(event["delta"].get("type"))
            case.expect(wanted in (None, kinds.get(event["index"])), f"a delta of {kinds}", event)


@check("text", "the deltas make a text", "It is what was asked for.")
def text(case: Case) -> None:
    found = events(case, streamed(case))
    case.skip_unless(
        of(found, "message_delta")[-1]["delta"].get("stop_reason") == "end_turn",
        "the model did not come to an end",
    )
    case.text("the text", text_of(joined(case, found)))


@check("pieces", "the text comes in several pieces", "Users watch it grow.", should=True)
def pieces(case: Case) -> None:
    found = events(case, streamed(case, user(STORY)))
    case.skip_unless(len(text_of(joined(case, found))) > 80, "the answer is short")
    case.expect(len(of(found, "content_block_delta")) > 1, "more than one piece", found)


@check("emoji", "emoji are not torn between events", "Half a character is garbage.")
def emoji(case: Case) -> None:
    reply = streamed(case, user(f"Reply with exactly: {EMOJI}"))
    found = text_of(joined(case, events(case, reply)))
    case.expect("\ufffd" not in found, "text without replacement characters", found)


@check("whole-shape", "the stream adds up to what the whole reply is", "Clients offer both.")
def whole_shape(case: Case) -> None:
    found, whole = events(case, streamed(case)), ask(case).json
    kinds = [block["type"] for block in joined(case, found)]
    case.equal("types of the blocks", kinds, [block["type"] for block in whole["content"]])
    case.equal(
        "stop_reason", of(found, "message_delta")[-1]["delta"].get("stop_reason"), whole["stop_reason"]
    )
    case.equal("model", found[0]["message"].get("model"), whole["model"])


@check("usage-as-whole", "the input counts the same as without streaming", "Users pay by it.")
def usage_as_whole(case: Case) -> None:
    found = events(case, streamed(case))
    start_, last = found[0]["message"]["usage"], of(found, "message_delta")[-1].get("usage") or {}
    counted = last.get("input_tokens", start_.get("input_tokens"))
    whole = ask(case).json["usage"]["input_tokens"]
    case.expect(
        abs(case.count("input_tokens", counted) - whole) <= max(8, whole // 4), f"about {whole}", counted
    )


@check("max-tokens", 'a small limit ends with "max_tokens"', "Clients ask for the rest then.")
def max_tokens(case: Case) -> None:
    found = events(case, streamed(case, user(STORY), max_tokens=16, feature="so small a limit"))
    last = of(found, "message_delta")[-1]
    case.limited((last.get("usage") or {}).get("output_tokens"))
    case.equal("stop_reason", last["delta"].get("stop_reason"), "max_tokens")


@check("tool", "a streamed call makes a JSON object", "Agents work so.")
def tool(case: Case) -> None:
    choice = {"type": "tool", "name": NAME}
    found = events(case, streamed(case, ASKED, tools=[TOOL], tool_choice=choice, feature="tools"))
    _judge_calls(case, found)
    case.equal("stop_reason", of(found, "message_delta")[-1]["delta"].get("stop_reason"), "tool_use")


@check("tool-start", "a call begins with id, name and empty input", "Official clients declare it so.")
def tool_start(case: Case) -> None:
    choice = {"type": "tool", "name": NAME}
    found = events(case, streamed(case, ASKED, tools=[TOOL], tool_choice=choice, feature="tools"))
    for event in of(found, "content_block_start"):
        block = event["content_block"]
        if block.get("type") == "tool_use":
            case.text("id", block.get("id"))
            case.equal("name", block.get("name"), NAME)
            case.equal("input", block.get("input"), {})


@check("tool-parallel", "parallel calls do not mix", "Inputs would be garbage.")
def tool_parallel(case: Case) -> None:
    found = events(case, streamed(case, BOTH, tools=[TOOL], tool_choice={"type": "any"}, feature="tools"))
    calls = _judge_calls(case, found)
    case.skip_unless(len(calls) > 1, "the model made one call only")
    case.expect(len({call["id"] for call in calls}) == len(calls), "ids that differ", calls)


def _judge_calls(case: Case, found: list[Json]) -> list[Json]:
    calls = [block for block in joined(case, found) if block.get("type") == "tool_use"]
    case.expect(calls, "a tool_use block", found)
    for call in calls:
        try:
            value = json.loads(call["json"] or "{}")
        except ValueError:
            value = None
        case.expect(isinstance(value, dict), "deltas that make a JSON object", call["json"])
    return calls


@check("error-before", "an error before the stream has its status", "A 200 would look like an answer.")
def error_before(case: Case) -> None:
    reply = case.ask("messages", case.target.plain("messages", model=UNKNOWN), stream=True)
    refused(case, APIS["messages"], reply, (404,))


CHECKS = _suite.checks
