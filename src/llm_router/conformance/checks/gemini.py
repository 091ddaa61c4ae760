"""Gemini generateContent: whole replies, options, tools, and counting tokens."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from llm_router.conformance.api import APIS, GEMINI, Json
from llm_router.conformance.case import Case, Suite
from llm_router.conformance.checks.basics import refused
from llm_router.conformance.checks.chat_content import EMOJI, picture
from llm_router.conformance.checks.chat_tools import NAME, PARAMETERS
from llm_router.conformance.checks.messages import NEAR_TOKENS
from llm_router.conformance.transport import Reply

FINISHES = (
    "STOP", "MAX_TOKENS", "SAFETY", "RECITATION", "LANGUAGE", "OTHER", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII",
    "MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "FINISH_REASON_UNSPECIFIED",
)  # fmt: skip
_whole = Suite("gemini", "whole", f"{GEMINI}/generate-content#v1beta.GenerateContentResponse")
_options = Suite("gemini", "options", f"{GEMINI}/generate-content#request-body")
_tools = Suite("gemini", "tools", "https://ai.google.dev/gemini-api/docs/function-calling")
_count = Suite("gemini", "count", f"{GEMINI}/tokens")
whole, option, tool, counting = _whole.check, _options.check, _tools.check, _count.check
TOOLS: list[Json] = [
    {
        "functionDeclarations": [
            {"name": NAME, "description": "Get the weather of a city.", "parameters": PARAMETERS}
        ]
    }
]
FORCED: Json = {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": [NAME]}}
ASKED: Json = {"role": "user", "parts": [{"text": "What is the weather in Paris?"}]}


def said(text: str, *parts: Json) -> Json:
    return {"role": "user", "parts": [*parts, {"text": text}]}


def body_of(case: Case, *contents: Json, **members: Any) -> Json:
    body = case.target.plain("gemini", **members)
    if contents:
        body["contents"] = list(contents)
    return body


def ask(case: Case, *contents: Json, feature: str = "", **members: Any) -> Reply:
    return case.answer("gemini", body_of(case, *contents, **members), feature=feature)


def candidate(case: Case, reply: Reply) -> Json:
    found = reply.json.get("candidates") if isinstance(reply.json, dict) else None
    case.expect(isinstance(found, list) and found and isinstance(found[0], dict), "candidates", reply.text)
    assert isinstance(found, list)
    first: Json = found[0]
    return first


def parts(case: Case, reply: Reply) -> list[Json]:
    found = (candidate(case, reply).get("content") or {}).get("parts") or []
    case.expect(
        isinstance(found, list) and all(isinstance(p, dict) for p in found), "a list of parts", reply.text
    )
    return [part for part in found if not part.get("thought")]


def text_of(found: list[Json]) -> str:
    return "".join(part.get("text") or "" for part in found)


def usage_of(case: Case, reply: Json) -> Json:
    found = reply.get("usageMetadata")
    case.expect(isinstance(found, dict), "usageMetadata", found)
    assert isinstance(found, dict)
    for name in ("promptTokenCount", "totalTokenCount"):
        case.count(name, found.get(name))
    return found


def made(usage: Json) -> int:
    """All output tokens, those of thoughts included."""
    return sum(usage.get(name) or 0 for name in ("candidatesTokenCount", "thoughtsTokenCount"))


@whole("candidates", "there is one candidate", "Clients read candidates[0].")
def candidates(case: Case) -> None:
    reply = ask(case)
    candidate(case, reply)
    case.equal("number of candidates", len(reply.json["candidates"]), 1)


@whole("index", "the candidate's index is 0, or left out", "Protocol buffers leave zeros out.")
def index(case: Case) -> None:
    case.equal("index", candidate(case, ask(case)).get("index", 0), 0)


@whole("role", "the content's role is model", "The content is sent back as it came.")
def role(case: Case) -> None:
    case.equal("role", (candidate(case, ask(case)).get("content") or {}).get("role"), "model")


@whole("text", "there is a part with text", "It is what was asked for.")
def text(case: Case) -> None:
    reply = ask(case)
    case.skip_unless(candidate(case, reply).get("finishReason") == "STOP", "the model did not come to an end")
    case.text("text", text_of(parts(case, reply)))


@whole("finish", "finishReason is one that clients know", "Agents loop by it.")
def finish(case: Case) -> None:
    case.one_of("finishReason", candidate(case, ask(case)).get("finishReason"), FINISHES)


@whole("model", "modelVersion says who answered", "Users compare models by it.")
def model(case: Case) -> None:
    case.text("modelVersion", ask(case).json.get("modelVersion"))


@whole("id", "there is a responseId", "Records are found by it.", should=True)
def id_(case: Case) -> None:
    case.text("responseId", ask(case).json.get("responseId"))


@whole("usage", "usageMetadata holds whole numbers", "Users pay by them.")
def usage(case: Case) -> None:
    found = usage_of(case, ask(case).json)
    case.expect(
        case.count("candidatesTokenCount", found.get("candidatesTokenCount")) > 0, "more than 0", found
    )


@whole("usage-sum", "totalTokenCount is the sum of its parts", "Users pay by them.")
def usage_sum(case: Case) -> None:
    found = usage_of(case, ask(case).json)
    names = ("promptTokenCount", "candidatesTokenCount", "thoughtsTokenCount", "toolUsePromptTokenCount")
    case.equal("totalTokenCount", found["totalTokenCount"], sum(found.get(name) or 0 for name in names))


@whole("camel", "members are in camelCase", "Official clients read only those.")
def camel(case: Case) -> None:
    found = ask(case).json
    names = [*found, *found["candidates"][0]]
    case.expect(not [name for name in names if "_" in name], "no underscores", names)


@whole("v1", "/v1 serves the same as /v1beta", "Some of Google's clients call it.", should=True)
def v1(case: Case) -> None:
    name = quote(case.target.models["gemini"], safe="")
    reply = case.ask("gemini", body_of(case), path=f"/v1/models/{name}:generateContent")
    case.expect(reply.ok, "success", f"{reply.status} {reply.text}")


@whole("query-key", "the key may be in the query", "Google's examples with curl have it there.")
def query_key(case: Case) -> None:
    name = quote(case.target.models["gemini"], safe="")
    key = quote(case.target.key, safe="")
    reply = case.ask(
        "gemini", body_of(case), path=f"/v1beta/models/{name}:generateContent?key={key}", headers=()
    )
    case.expect(reply.ok, "success", f"{reply.status} {reply.text}")


@whole(
    "unknown-verb", "an unknown method of a model is 404", "A client's bug must be told apart from a fault."
)
def unknown_verb(case: Case) -> None:
    name = quote(case.target.models["gemini"], safe="")
    reply = case.ask("gemini", body_of(case), path=f"/v1beta/models/{name}:noSuchVerb")
    refused(case, APIS["gemini"], reply, (400, 404))


# -- options ---------------------------------------------------------------------------------------


@option("system", "systemInstruction is taken", "Nearly every program has one.")
def system(case: Case) -> None:
    ask(case, systemInstruction={"parts": [{"text": "You are brief."}]})


@option(
    "snake",
    "members may be in snake_case",
    "Google's parser takes both, and old examples have it.",
    should=True,
)
def snake(case: Case) -> None:
    ask(case, system_instruction={"parts": [{"text": "You are brief."}]})


@option("no-role", "the role may be left out", "Google's examples leave it out.")
def no_role(case: Case) -> None:
    ask(case, {"parts": [{"text": "Say: fine."}]})


@option("turns", "a conversation of several turns is taken", "Every chat has them.")
def turns(case: Case) -> None:
    earlier = {"role": "model", "parts": [{"text": "Hello, Ada."}]}
    ask(case, said("My name is Ada."), earlier, said("Say my name."))


@option("sent-back", "a reply's content can be sent back as it came", "Clients do nothing else.")
def sent_back(case: Case) -> None:
    ask(case, said("Hello."), candidate(case, ask(case))["content"], said("Say: fine."))


@option("max-tokens", 'a small limit ends with "MAX_TOKENS"', "Clients ask for the rest then.")
def max_tokens(case: Case) -> None:
    reply = ask(
        case, said("Count from one to one hundred in words."), generationConfig={"maxOutputTokens": 16},
        feature="so small a limit",
    )  # fmt: skip
    case.limited(made(usage_of(case, reply.json)))
    case.equal("finishReason", candidate(case, reply).get("finishReason"), "MAX_TOKENS")


@option("stop", "a stop sequence ends the text", "Prompts of agents depend on it.")
def stop(case: Case) -> None:
    config = {"stopSequences": ["gamma"], "maxOutputTokens": 200}
    asked = said("Reply with exactly: alpha beta gamma delta")
    reply = ask(case, asked, generationConfig=config, feature="stop sequences")
    found = text_of(parts(case, reply))
    case.expect("gamma" not in found, "a text that ends before gamma", found)


@option("json", "responseMimeType application/json makes JSON", "Programs parse it.")
def json_(case: Case) -> None:
    import json

    config = {"responseMimeType": "application/json", "maxOutputTokens": 300}
    reply = ask(
        case,
        said("Answer as a JSON object with the member colour: what colour is the sky?"),
        generationConfig=config,
        feature="JSON",
    )
    try:
        found = json.loads(text_of(parts(case, reply)))
    except ValueError:
        found = None
    case.skip_unless(candidate(case, reply).get("finishReason") == "STOP", "the model did not come to an end")
    case.expect(isinstance(found, dict | list), "JSON", reply.text)


@option("schema", "responseSchema makes an object of the schema", "Programs parse it.")
def schema(case: Case) -> None:
    import json

    form = {"type": "OBJECT", "properties": {"city": {"type": "STRING"}}, "required": ["city"]}
    config = {"responseMimeType": "application/json", "responseSchema": form, "maxOutputTokens": 300}
    reply = ask(
        case, said("The city is Paris. Fill in the form."), generationConfig=config, feature="schemas"
    )
    try:
        found = json.loads(text_of(parts(case, reply)))
    except ValueError:
        found = None
    case.expect(
        isinstance(found, dict) and isinstance(found.get("city"), str), "an object with a city", reply.text
    )


@option("image", "a picture in inlineData is seen", "Vision works so.")
def image(case: Case) -> None:
    data = {"inlineData": {"mimeType": "image/png", "data": picture().partition(",")[2]}}
    ask(case, said("What colour is this? One word.", data), feature="pictures")


@option("emoji", "emoji of several code points come back whole", "They are cut in two by careless code.")
def emoji(case: Case) -> None:
    found = text_of(parts(case, ask(case, said(f"Reply with exactly: {EMOJI}"))))
    case.expect("\ufffd" not in found, "text without replacement characters", found)


@option("empty", "an empty text is no failure of the server", "Users press return.")
def empty(case: Case) -> None:
    reply = case.ask("gemini", body_of(case, said("")))
    case.expect(reply.status < 500, "an answer or a refusal", f"{reply.status} {reply.text}")


@option("safety", "safetySettings are taken", "Many programs send them.", should=True)
def safety(case: Case) -> None:
    setting = {"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_ONLY_HIGH"}
    ask(case, safetySettings=[setting], feature="safety settings")


# -- tools -----------------------------------------------------------------------------------------


def forced(case: Case) -> Reply:
    return ask(case, ASKED, tools=TOOLS, toolConfig=FORCED, feature="tools")


def calls(case: Case, found: list[Json]) -> list[Json]:
    made = [part["functionCall"] for part in found if isinstance(part.get("functionCall"), dict)]
    case.expect(made, "a functionCall", found)
    return made


@tool("forced", "a function that is forced is called", "Extraction works so.")
def tool_forced(case: Case) -> None:
    case.equal("name", calls(case, parts(case, forced(case)))[0].get("name"), NAME)


@tool("args", "args are an object of the schema", "Programs rely on it.")
def args(case: Case) -> None:
    found = calls(case, parts(case, forced(case)))[0].get("args")
    case.expect(
        isinstance(found, dict) and isinstance(found.get("city"), str), "an object with a city", found
    )


@tool("finish", 'a call finishes with "STOP"', "Google's clients know no other.")
def tool_finish(case: Case) -> None:
    case.equal("finishReason", candidate(case, forced(case)).get("finishReason"), "STOP")


@tool("none", "no function is called where none may be", "The last turn of an agent is so.")
def none(case: Case) -> None:
    config = {"functionCallingConfig": {"mode": "NONE"}}
    found = parts(case, ask(case, ASKED, tools=TOOLS, toolConfig=config, feature="tools"))
    case.expect(not [p for p in found if "functionCall" in p], "no call", found)


@tool("second-turn", "the result of a call is taken, and answered", "Agents work so.")
def second_turn(case: Case) -> None:
    reply = forced(case)
    content = candidate(case, reply)["content"]
    results = []
    for call in calls(case, parts(case, reply)):
        id_ = {"id": call["id"]} if call.get("id") else {}
        results.append({"functionResponse": {**id_, "name": NAME, "response": {"weather": "sunny"}}})
    found = ask(case, ASKED, content, {"role": "user", "parts": results}, tools=TOOLS, feature="tools")
    case.expect(parts(case, found), "an answer", found.text)


# -- counting --------------------------------------------------------------------------------------


def _tokens(case: Case, *contents: Json) -> int:
    name = quote(case.target.models["gemini"], safe="")
    body = {"contents": body_of(case, *contents)["contents"]}
    reply = case.ask("gemini", body, path=f"/v1beta/models/{name}:countTokens")
    if reply.status in (404, 405, 501):
        case.skip("the target does not count tokens")
    case.expect(reply.ok and isinstance(reply.json, dict), "a count", f"{reply.status} {reply.text}")
    return case.count("totalTokens", reply.json.get("totalTokens"))


@counting("tokens", "countTokens gives totalTokens", "Clients plan their context by it.")
def tokens(case: Case) -> None:
    case.expect(_tokens(case) > 0, "more than 0", 0)


@counting("near", "the count is near what is charged", "Clients plan their context by it.", should=True)
def near(case: Case) -> None:
    counted, charged = _tokens(case), usage_of(case, ask(case).json)["promptTokenCount"]
    case.expect(abs(counted - charged) <= max(NEAR_TOKENS, charged // 2), f"about {charged}", counted)


@counting("grows", "the count grows with the prompt", "Clients plan their context by it.")
def grows(case: Case) -> None:
    short, long = _tokens(case), _tokens(case, said("word " * 500))
    case.expect(long > short + 100, f"at least 100 more than {short}", long)


CHECKS = (*_whole.checks, *_options.checks, *_tools.checks, *_count.checks)
