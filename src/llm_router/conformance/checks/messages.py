"""Anthropic messages: whole replies, options, contents, tools, and counting tokens."""

from __future__ import annotations

from typing import Any

from llm_router.conformance.api import ANTHROPIC, APIS, Json, user
from llm_router.conformance.case import Case, Suite
from llm_router.conformance.checks.basics import refused
from llm_router.conformance.checks.chat_content import EMOJI, picture
from llm_router.conformance.checks.chat_tools import ASKED, BOTH, NAME, PARAMETERS
from llm_router.conformance.transport import Reply

STOPS = (
    "end_turn", "max_tokens", "stop_sequence", "tool_use", "pause_turn", "refusal",
    "model_context_window_exceeded",
)  # fmt: skip
_whole = Suite("messages", "whole", f"{ANTHROPIC}/messages")
_options = Suite("messages", "options", f"{ANTHROPIC}/messages")
_tools = Suite("messages", "tools", "https://docs.anthropic.com/en/docs/agents-and-tools/tool-use/overview")
_count = Suite("messages", "count", f"{ANTHROPIC}/messages-count-tokens")
whole, option, tool, counting = _whole.check, _options.check, _tools.check, _count.check
TOOL: Json = {"name": NAME, "description": "Get the current weather of a city.", "input_schema": PARAMETERS}
COUNT = "/v1/messages/count_tokens"
NEAR_TOKENS = 40
"""A model's template may add this many to what the client sent."""


def ask(case: Case, *messages: Json, feature: str = "", **members: Any) -> Reply:
    body = case.target.plain("messages", **members)
    if messages:
        body["messages"] = list(messages)
    return case.answer("messages", body, feature=feature)


def blocks(case: Case, reply: Reply) -> list[Json]:
    found = reply.json.get("content") if isinstance(reply.json, dict) else None
    case.expect(
        isinstance(found, list) and all(isinstance(b, dict) for b in found), "a list of blocks", reply.text
    )
    assert isinstance(found, list)
    return found


def text_of(found: list[Json]) -> str:
    return "".join(block.get("text") or "" for block in found if block.get("type") == "text")


def usage_of(case: Case, usage: object) -> Json:
    case.expect(isinstance(usage, dict), "a usage object", usage)
    assert isinstance(usage, dict)
    for name in ("input_tokens", "output_tokens"):
        case.count(name, usage.get(name))
    return usage


@whole("type", 'type is "message"', "Clients tell replies apart by it.")
def type_(case: Case) -> None:
    case.equal("type", ask(case).json.get("type"), "message")


@whole("id", "there is an id", "Records are found by it.")
def id_(case: Case) -> None:
    case.text("id", ask(case).json.get("id"))


@whole("id-form", 'the id begins with "msg_"', "Some tools look for it.", should=True)
def id_form(case: Case) -> None:
    found = str(ask(case).json.get("id"))
    case.expect(found.startswith("msg_"), 'an id that begins with "msg_"', found)


@whole("role", "role is assistant", "The message is sent back as it came.")
def role(case: Case) -> None:
    case.equal("role", ask(case).json.get("role"), "assistant")


@whole("model", "model says who answered", "Users compare models by it.")
def model(case: Case) -> None:
    case.text("model", ask(case).json.get("model"))


@whole("content", "content is a list of blocks, each with a type", "Clients loop over it.")
def content(case: Case) -> None:
    for block in blocks(case, ask(case)):
        case.text("type of a block", block.get("type"))


@whole("text", "there is a block with text", "It is what was asked for.")
def text(case: Case) -> None:
    reply = ask(case)
    case.skip_unless(reply.json.get("stop_reason") == "end_turn", "the model did not come to an end")
    case.text("text", text_of(blocks(case, reply)))


@whole("stop-reason", "stop_reason is one that clients know", "Agents loop by it.")
def stop_reason(case: Case) -> None:
    case.one_of("stop_reason", ask(case).json.get("stop_reason"), STOPS)


@whole("stop-sequence", "stop_sequence is there, and null", "Official clients declare it.")
def stop_sequence_null(case: Case) -> None:
    found = ask(case).json
    case.expect("stop_sequence" in found and found["stop_sequence"] is None, "stop_sequence: null", found)


@whole("usage", "usage holds whole numbers", "Users pay by them.")
def usage(case: Case) -> None:
    found = usage_of(case, ask(case).json.get("usage"))
    case.expect(found["input_tokens"] > 0 and found["output_tokens"] > 0, "more than 0", found)


@whole("usage-cache", "cached tokens are counted apart, or null", "They are paid less.")
def usage_cache(case: Case) -> None:
    found = usage_of(case, ask(case).json.get("usage"))
    for name in ("cache_creation_input_tokens", "cache_read_input_tokens"):
        if found.get(name) is not None:
            case.count(name, found[name])


@whole("beta", "?beta=true changes nothing", "Claude Code sends it.", should=True)
def beta(case: Case) -> None:
    reply = case.ask("messages", case.target.plain("messages"), path="/v1/messages?beta=true")
    case.expect(reply.ok, "success", f"{reply.status} {reply.text}")


@whole("beta-header", "unknown beta headers are tolerated", "Claude Code sends a dozen.", should=True)
def beta_header(case: Case) -> None:
    more = (("anthropic-beta", "interleaved-thinking-2025-05-14,context-management-2025-06-27"),)
    reply = case.ask("messages", case.target.plain("messages"), more=more)
    case.expect(reply.ok, "success", f"{reply.status} {reply.text}")


# -- options ---------------------------------------------------------------------------------------


@option("system", "system may be a text", "Nearly every program has one.")
def system(case: Case) -> None:
    ask(case, system="You are brief.")


@option("system-blocks", "system may be blocks, with cache_control", "Claude Code sends it so.")
def system_blocks(case: Case) -> None:
    block = {"type": "text", "text": "You are brief.", "cache_control": {"type": "ephemeral"}}
    ask(case, system=[block])


@option("max-tokens", 'a small limit ends with "max_tokens"', "Clients ask for the rest then.")
def max_tokens(case: Case) -> None:
    reply = ask(
        case, user("Count from one to one hundred in words."), max_tokens=16, feature="so small a limit"
    )
    case.limited(usage_of(case, reply.json.get("usage"))["output_tokens"])
    case.equal("stop_reason", reply.json.get("stop_reason"), "max_tokens")


@option("stop-sequences", "a stop sequence ends the text, and is named", "Prompts of agents depend on it.")
def stop_sequences(case: Case) -> None:
    asked = user("Reply with exactly: alpha beta gamma delta")
    reply = ask(case, asked, stop_sequences=["gamma"], feature="stop sequences")
    found = text_of(blocks(case, reply))
    case.expect("gamma" not in found, "a text that ends before gamma", found)
    if reply.json.get("stop_reason") == "stop_sequence":
        case.equal("stop_sequence", reply.json.get("stop_sequence"), "gamma")


@option("blocks", "content may be a list of blocks", "Most clients send it so.")
def content_blocks(case: Case) -> None:
    ask(case, user([{"type": "text", "text": "Say: fine."}]))


@option("turns", "a conversation of several turns is taken", "Every chat has them.")
def turns(case: Case) -> None:
    ask(case, user("My name is Ada."), {"role": "assistant", "content": "Hello, Ada."}, user("Say my name."))


@option("sent-back", "a reply's content can be sent back as it came", "Clients do nothing else.")
def sent_back(case: Case) -> None:
    said = blocks(case, ask(case))
    ask(case, user("Hello."), {"role": "assistant", "content": said}, user("Say: fine."))


@option("image", "a picture in base64 is seen", "Vision works so.")
def image(case: Case) -> None:
    source = {"type": "base64", "media_type": "image/png", "data": picture().partition(",")[2]}
    words = {"type": "text", "text": "What colour is this? One word."}
    ask(case, user([{"type": "image", "source": source}, words]), feature="pictures")


@option("emoji", "emoji of several code points come back whole", "They are cut in two by careless code.")
def emoji(case: Case) -> None:
    found = text_of(blocks(case, ask(case, user(f"Reply with exactly: {EMOJI}"))))
    case.expect("\ufffd" not in found, "text without replacement characters", found)


@option("temperature", "temperature 0 is taken", "Tests and extraction need it.")
def temperature(case: Case) -> None:
    ask(case, temperature=0, feature="temperature")


@option("metadata", "metadata.user_id is taken", "Claude Code sends it.")
def metadata(case: Case) -> None:
    ask(case, metadata={"user_id": "conformance"})


@option("thinking-disabled", "thinking may be disabled", "Clients say so for quick questions.", should=True)
def thinking_disabled(case: Case) -> None:
    ask(case, thinking={"type": "disabled"}, feature="thinking")


@option("empty", "an empty text is no failure of the server", "Users press return.")
def empty_text(case: Case) -> None:
    reply = case.ask("messages", case.target.plain("messages", messages=[user("")]))
    case.expect(reply.status < 500, "an answer or a refusal", f"{reply.status} {reply.text}")


# -- tools -----------------------------------------------------------------------------------------


def _forced(case: Case, *messages: Json, choice: Json | None = None, feature: str = "tools") -> Reply:
    choice = choice or {"type": "tool", "name": NAME}
    return ask(case, *(messages or (ASKED,)), tools=[TOOL], tool_choice=choice, feature=feature)


def _calls(case: Case, reply: Reply) -> list[Json]:
    found = [block for block in blocks(case, reply) if block.get("type") == "tool_use"]
    case.expect(found, "a tool_use block", reply.text, reply)
    return found


@tool("forced", "a tool that is forced is called", "Extraction works so.")
def forced(case: Case) -> None:
    case.equal("name", _calls(case, _forced(case))[0].get("name"), NAME)


@tool("id", "each call has an id of its own", "Results are matched by it.")
def call_id(case: Case) -> None:
    ids = [case.text("id", call.get("id")) for call in _calls(case, _forced(case))]
    case.expect(len(set(ids)) == len(ids), "ids that differ", ids)


@tool("input", "input is an object of the schema", "Programs rely on it.")
def input_(case: Case) -> None:
    found = _calls(case, _forced(case))[0].get("input")
    case.expect(
        isinstance(found, dict) and isinstance(found.get("city"), str), "an object with a city", found
    )


@tool("stop-reason", 'stop_reason is "tool_use"', "Agents loop by it.")
def tool_stop(case: Case) -> None:
    case.equal("stop_reason", _forced(case).json.get("stop_reason"), "tool_use")


@tool("any", "any tool is called where one is required", "Agents work so.")
def any_(case: Case) -> None:
    _calls(case, _forced(case, choice={"type": "any"}))


@tool("none", "no tool is called where none may be", "The last turn of an agent is so.")
def none(case: Case) -> None:
    found = blocks(case, _forced(case, choice={"type": "none"}))
    case.expect(not [b for b in found if b.get("type") == "tool_use"], "no call", found)


@tool("parallel", "calls in parallel have ids of their own", "Results are matched by them.")
def parallel(case: Case) -> None:
    calls = _calls(case, _forced(case, BOTH, choice={"type": "any"}))
    case.skip_unless(len(calls) > 1, "the model made one call only")
    case.expect(len({call["id"] for call in calls}) == len(calls), "ids that differ", calls)


@tool("second-turn", "the result of a call is taken, and answered", "Agents work so.")
def second_turn(case: Case) -> None:
    reply = _forced(case)
    results = [
        {"type": "tool_result", "tool_use_id": call["id"], "content": "18 degrees"}
        for call in _calls(case, reply)
    ]
    said = {"role": "assistant", "content": blocks(case, reply)}
    found = blocks(case, ask(case, ASKED, said, user(results), tools=[TOOL], feature="tools"))
    case.expect(found, "an answer", found)


@tool("result-error", "a failed result is taken, in blocks", "Tools fail.")
def result_error(case: Case) -> None:
    call = {
        "type": "tool_use",
        "id": "toolu_01A09q90qw90lq917835lq9",
        "name": NAME,
        "input": {"city": "Paris"},
    }
    result = {
        "type": "tool_result", "tool_use_id": call["id"], "is_error": True,
        "content": [{"type": "text", "text": "no such city"}],
    }  # fmt: skip
    ask(case, ASKED, {"role": "assistant", "content": [call]}, user([result]), tools=[TOOL], feature="tools")


# -- counting --------------------------------------------------------------------------------------


def _tokens(case: Case, *messages: Json) -> int:
    body = case.target.plain("messages")
    del body["max_tokens"]
    if messages:
        body["messages"] = list(messages)
    reply = case.ask("messages", body, path=COUNT)
    if reply.status in (404, 405, 501):
        case.skip("the target does not count tokens")
    case.expect(reply.ok and isinstance(reply.json, dict), "a count", f"{reply.status} {reply.text}")
    return case.count("input_tokens", reply.json.get("input_tokens"))


@counting("tokens", "count_tokens gives input_tokens", "Claude Code plans its context by it.")
def tokens(case: Case) -> None:
    case.expect(_tokens(case) > 0, "more than 0", 0)


@counting("near", "the count is near what is charged", "Claude Code plans its context by it.", should=True)
def near(case: Case) -> None:
    counted = _tokens(case)
    charged = usage_of(case, ask(case).json.get("usage"))["input_tokens"]
    case.expect(abs(counted - charged) <= max(NEAR_TOKENS, charged // 2), f"about {charged}", counted)


@counting("grows", "the count grows with the prompt", "Claude Code plans its context by it.")
def grows(case: Case) -> None:
    short, long = _tokens(case), _tokens(case, user("word " * 500))
    case.expect(long > short + 100, f"at least 100 more than {short}", long)


@counting("refuses", "a wrong request is refused in Anthropic's form", "Clients show the message.")
def refuses(case: Case) -> None:
    _tokens(case)
    reply = case.ask("messages", case.target.plain("messages", messages="hello"), path=COUNT)
    refused(case, APIS["messages"], reply, (400,))


CHECKS = (*_whole.checks, *_options.checks, *_tools.checks, *_count.checks)
