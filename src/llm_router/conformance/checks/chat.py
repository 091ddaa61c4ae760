"""OpenAI chat completions: whole replies, and options that change them."""

from __future__ import annotations

import re
from typing import Any

from llm_router.conformance.api import OPENAI, Json, user
from llm_router.conformance.case import Case, Suite
from llm_router.conformance.transport import Reply

FINISHES = ("stop", "length", "tool_calls", "content_filter", "function_call")
_whole = Suite("chat", "whole", f"{OPENAI}/chat/object")
_options = Suite("chat", "options", f"{OPENAI}/chat/create")
whole, option = _whole.check, _options.check


def plain(case: Case) -> Reply:
    return case.answer("chat", case.target.plain("chat"))


def choice(case: Case, reply: Reply) -> Json:
    choices = reply.json.get("choices") if isinstance(reply.json, dict) else None
    case.expect(isinstance(choices, list) and choices and isinstance(choices[0], dict), "choices", reply.text)
    assert isinstance(choices, list)
    found: Json = choices[0]
    return found


def message(case: Case, reply: Reply) -> Json:
    found = choice(case, reply).get("message")
    case.expect(isinstance(found, dict), "a message", found)
    assert isinstance(found, dict)
    return found


def chat(case: Case, *messages: Json, feature: str = "", limit: int | None = None, **members: Any) -> Reply:
    body = case.target.plain("chat", **members)
    if messages:
        body["messages"] = list(messages)
    if limit is not None:
        body[case.target.limit] = limit
    return case.answer("chat", body, feature=feature)


@whole("object", 'object is "chat.completion"', "Clients tell replies apart by it.")
def object_(case: Case) -> None:
    case.equal("object", plain(case).json.get("object"), "chat.completion")


@whole("id", "there is an id", "Records are found by it.")
def id_(case: Case) -> None:
    case.text("id", plain(case).json.get("id"))


@whole("id-form", 'the id begins with "chatcmpl-"', "Some tools look for it.", should=True)
def id_form(case: Case) -> None:
    found = str(plain(case).json.get("id"))
    case.expect(found.startswith("chatcmpl-"), 'an id that begins with "chatcmpl-"', found)


@whole(
    "created", "created is the present time in seconds", "A date in milliseconds is in another millennium."
)
def created(case: Case) -> None:
    found = case.count("created", plain(case).json.get("created"))
    case.expect(1_500_000_000 < found < 4_000_000_000, "seconds since 1970", found)


@whole("model", "model says who answered", "Users compare models by it.")
def model(case: Case) -> None:
    case.text("model", plain(case).json.get("model"))


@whole("choices", "there is one choice, with index 0", "Clients read choices[0].")
def choices(case: Case) -> None:
    reply = plain(case)
    choice(case, reply)
    case.equal("number of choices", len(reply.json["choices"]), 1)
    case.equal("index", reply.json["choices"][0].get("index"), 0)


@whole("role", "the message's role is assistant", "The message is sent back as it came.")
def role(case: Case) -> None:
    case.equal("role", message(case, plain(case)).get("role"), "assistant")


@whole("content", "the content is a text", "It is what was asked for.")
def content(case: Case) -> None:
    reply = plain(case)
    case.skip_unless(choice(case, reply).get("finish_reason") == "stop", "the model did not come to an end")
    case.text("content", message(case, reply).get("content"))


@whole("finish", "finish_reason is one that clients know", "Official clients declare only these.")
def finish(case: Case) -> None:
    case.one_of("finish_reason", choice(case, plain(case)).get("finish_reason"), FINISHES)


@whole("no-calls", "there are no tool calls where no tools were", "Clients loop over them.")
def no_calls(case: Case) -> None:
    found = message(case, plain(case))
    case.expect(not found.get("tool_calls") and not found.get("function_call"), "no calls", found)


@whole("no-delta", "a whole reply has no delta", "Clients tell replies from chunks by it.")
def no_delta(case: Case) -> None:
    case.expect("delta" not in choice(case, plain(case)), "no delta", plain(case).text)


@whole("refusal", "refusal is null or a text", "Official clients declare it so.")
def refusal(case: Case) -> None:
    found = message(case, plain(case)).get("refusal")
    case.expect(found is None or isinstance(found, str), "null or a text", found)


@whole("logprobs", "logprobs is null where it was not asked for", "Its size matters.", should=True)
def logprobs_absent(case: Case) -> None:
    case.expect(choice(case, plain(case)).get("logprobs") is None, "null", plain(case).text)


def usage_of(case: Case, holder: Json) -> Json:
    found = holder.get("usage")
    case.expect(isinstance(found, dict), "a usage object", found)
    assert isinstance(found, dict)
    for name in ("prompt_tokens", "completion_tokens", "total_tokens"):
        case.count(name, found.get(name))
    return found


@whole("usage", "usage holds whole numbers", "Users pay by them.")
def usage(case: Case) -> None:
    usage_of(case, plain(case).json)


@whole("usage-sum", "total_tokens is the sum of the other two", "Users pay by them.")
def usage_sum(case: Case) -> None:
    found = usage_of(case, plain(case).json)
    case.equal("total_tokens", found["total_tokens"], found["prompt_tokens"] + found["completion_tokens"])


@whole("usage-positive", "prompt and completion were counted", "Missing is not zero.")
def usage_positive(case: Case) -> None:
    found = usage_of(case, plain(case).json)
    case.expect(found["prompt_tokens"] > 0 and found["completion_tokens"] > 0, "more than 0", found)


@whole("usage-details", "details are parts of what they detail", "Cached tokens are paid less.")
def usage_details(case: Case) -> None:
    found = usage_of(case, plain(case).json)
    for holder, member, whole_ in (
        ("prompt_tokens_details", "cached_tokens", "prompt_tokens"),
        ("completion_tokens_details", "reasoning_tokens", "completion_tokens"),
    ):
        part = (found.get(holder) or {}).get(member)
        if part is not None:
            case.expect(case.count(member, part) <= found[whole_], f"{member} up to {whole_}", found)


@whole("cost", "cost is a number of dollars where it is offered", "Budgets are kept by it.", should=True)
def cost(case: Case) -> None:
    found = usage_of(case, plain(case).json)
    case.skip_unless("cost" in found, "the target does not say what a request costs")
    number = isinstance(found["cost"], int | float) and not isinstance(found["cost"], bool)
    case.expect(number and found["cost"] >= 0, "a number from 0 on", found["cost"])


@whole("balanced-usage", "the prompt's count grows with the prompt", "Users pay by it.")
def grows(case: Case) -> None:
    short = usage_of(case, plain(case).json)["prompt_tokens"]
    long = usage_of(case, chat(case, user("word " * 300 + "\nSay: fine.")).json)["prompt_tokens"]
    case.expect(long > short + 100, f"at least 100 more than {short}", long)


# -- options ---------------------------------------------------------------------------------------


@option("max-tokens", 'a small limit ends with "length"', "Clients ask for the rest then.")
def max_tokens(case: Case) -> None:
    reply = chat(case, user("Count from one to one hundred in words."), limit=16, feature="so small a limit")
    case.limited(usage_of(case, reply.json)["completion_tokens"])
    case.equal("finish_reason", choice(case, reply).get("finish_reason"), "length")


@option("max-tokens-obeyed", "a small limit is kept", "Users pay for each token.")
def max_tokens_obeyed(case: Case) -> None:
    reply = chat(case, user("Count from one to one hundred in words."), limit=16, feature="so small a limit")
    count = usage_of(case, reply.json)["completion_tokens"]
    case.expect(count <= 24, "no more than 16 tokens, or nearly", count)


@option("max-completion-tokens", "max_completion_tokens is taken", "OpenAI's clients send it now.")
def max_completion_tokens(case: Case) -> None:
    body = case.target.plain("chat")
    body.pop(case.target.limit)
    case.answer("chat", {**body, "max_completion_tokens": 64})


@option("no-limit", "a request without a limit is answered", "Most clients send none.")
def no_limit(case: Case) -> None:
    body = case.target.plain("chat", messages=[user("Say: fine.")])
    body.pop(case.target.limit)
    case.answer("chat", body)


@option("stop", "a stop sequence ends the text and is not in it", "Prompts of agents depend on it.")
def stop(case: Case) -> None:
    said = user("Reply with exactly: alpha beta gamma delta")
    reply = chat(case, said, stop=["gamma"], feature="stop sequences")
    text = message(case, reply).get("content") or ""
    case.expect("gamma" not in text, "a text that ends before gamma", text)
    case.one_of("finish_reason", choice(case, reply).get("finish_reason"), ("stop", "length"))


@option("stop-string", "stop may be one string", "Many clients send it so.")
def stop_string(case: Case) -> None:
    reply = chat(
        case, user("Reply with exactly: alpha beta gamma delta"), stop="gamma", feature="stop sequences"
    )
    text = message(case, reply).get("content") or ""
    case.expect("gamma" not in text, "a text that ends before gamma", text)


@option("stop-null", "stop may be null", "Typed clients send null for what is not set.")
def stop_null(case: Case) -> None:
    chat(case, stop=None)


@option("nulls", "null stands for not set", "Typed clients send null for what is not set.", should=True)
def nulls(case: Case) -> None:
    names = ("temperature", "top_p", "tools", "tool_choice", "response_format", "user", "stream_options")
    members: dict[str, Any] = dict.fromkeys(names)
    chat(case, **members)


@option("n", "n makes that many choices, with indexes in order", "Users choose the best.")
def n(case: Case) -> None:
    reply = chat(case, user("Say a random word."), n=2, feature="n")
    choice(case, reply)
    found = [entry.get("index") for entry in reply.json["choices"]]
    case.skip_unless(len(found) > 1, "the target makes one choice only")
    case.equal("indexes", sorted(found), [0, 1])


@option("temperature-zero", "temperature 0 is taken", "Tests and extraction need it.")
def temperature_zero(case: Case) -> None:
    chat(case, temperature=0, feature="temperature")


@option("temperature-whole", "temperature 1 may be a whole number", "JSON writers drop the fraction.")
def temperature_whole(case: Case) -> None:
    chat(case, temperature=1)


@option("seed", "seed is taken", "Tests need it.", should=True)
def seed(case: Case) -> None:
    chat(case, seed=7, feature="seed")


@option("user", "user is taken", "Abuse is traced by it.")
def user_(case: Case) -> None:
    chat(case, user="conformance")


@option("logprobs", "logprobs have the tokens of the answer", "Classifiers read them.")
def logprobs(case: Case) -> None:
    reply = chat(case, user("Say: fine."), logprobs=True, top_logprobs=2, feature="logprobs")
    found: Json = choice(case, reply).get("logprobs") or {}
    case.skip_unless(found.get("content"), "the target gives no logprobs")
    entry = found["content"][0]
    case.text("token", entry.get("token"))
    case.expect(
        isinstance(entry.get("logprob"), int | float) and entry["logprob"] <= 0, "a logprob up to 0", entry
    )
    case.expect(isinstance(entry.get("top_logprobs"), list), "top_logprobs", entry)


@option("json-object", "response_format json_object makes a JSON object", "Programs parse it.")
def json_object(case: Case) -> None:
    reply = chat(
        case, user("Answer as a JSON object with the member colour: what colour is the clear sky?"),
        response_format={"type": "json_object"}, feature="response_format json_object",
    )  # fmt: skip
    _parsed(case, reply)


SCHEMA: Json = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "inhabitants": {"type": "integer"}},
    "required": ["city", "inhabitants"],
    "additionalProperties": False,
}


@option("json-schema", "response_format json_schema makes an object of the schema", "Programs parse it.")
def json_schema(case: Case) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "city", "strict": True, "schema": SCHEMA}}
    asked = user("Paris has about 2100000 inhabitants. Fill in the form.")
    found = _parsed(case, chat(case, asked, response_format=form, feature="response_format json_schema"))
    case.equal("members", sorted(found), ["city", "inhabitants"])
    case.expect(isinstance(found["city"], str) and isinstance(found["inhabitants"], int), "the types", found)


def _parsed(case: Case, reply: Reply) -> Json:
    import json

    text = str(message(case, reply).get("content") or "")
    case.skip_unless(choice(case, reply).get("finish_reason") == "stop", "the model did not come to an end")
    try:
        found = json.loads(re.sub(r"^```(json)?|```$", "", text.strip()))
    except ValueError:
        found = None
    case.expect(isinstance(found, dict), "a JSON object", text)
    assert isinstance(found, dict)
    return found


@option("reasoning-effort", "reasoning_effort is taken", "Clients set it for all models.", should=True)
def reasoning_effort(case: Case) -> None:
    chat(case, reasoning_effort="low", feature="reasoning_effort")


CHECKS = (*_whole.checks, *_options.checks)
