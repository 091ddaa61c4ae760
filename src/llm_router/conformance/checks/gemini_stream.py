"""Gemini streamGenerateContent: as server-sent events, and as one JSON array."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

from llm_router.conformance import sse
from llm_router.conformance.api import APIS, GEMINI, Json
from llm_router.conformance.case import Case, Suite
from llm_router.conformance.checks.basics import UNKNOWN, refused
from llm_router.conformance.checks.chat_content import EMOJI
from llm_router.conformance.checks.chat_stream import STORY
from llm_router.conformance.checks.gemini import (
    ASKED,
    FINISHES,
    FORCED,
    TOOLS,
    ask,
    body_of,
    calls,
    candidate,
    made,
    said,
    usage_of,
)
from llm_router.conformance.transport import Reply

_suite = Suite("gemini", "stream", f"{GEMINI}/generate-content#method:-models.streamgeneratecontent")
check = _suite.check


def streamed(case: Case, *contents: Json, feature: str = "", **members: Any) -> Reply:
    return case.answer("gemini", body_of(case, *contents, **members), stream=True, feature=feature)


def chunks(case: Case, reply: Reply) -> list[Json]:
    found = [event.json for event in sse.parse(reply.body).events]
    case.expect(found and all(isinstance(c, dict) for c in found), "chunks that are JSON objects", reply.text)
    errors = [c["error"] for c in found if "error" in c]
    case.expect(not errors, "a stream without an error", errors)
    return found


def parts(found: list[Json]) -> list[Json]:
    return [
        part
        for chunk in found
        for entry in chunk.get("candidates") or ()
        for part in (entry.get("content") or {}).get("parts") or ()
        if not part.get("thought")
    ]


def text_of(found: list[Json]) -> str:
    return "".join(part.get("text") or "" for part in parts(found))


def finishes(found: list[Json]) -> list[Any]:
    return [e["finishReason"] for c in found for e in c.get("candidates") or () if e.get("finishReason")]


@check("type", "with alt=sse the content type is text/event-stream", "Clients and proxies decide by it.")
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


@check("no-done", "there is no [DONE], and events have no names", "They are OpenAI's and Anthropic's.")
def no_done(case: Case) -> None:
    events = sse.parse(streamed(case).body).events
    case.expect(all(e.data != "[DONE]" and e.name is None for e in events), "data alone", events[-1].data)


@check("candidates", "chunks hold a candidate with role model", "Clients loop over them.")
def candidates(case: Case) -> None:
    for chunk in chunks(case, streamed(case)):
        for entry in chunk.get("candidates") or ():
            content = entry.get("content")
            if content and content.get("parts"):
                case.equal("role", content.get("role"), "model")


@check("same-id", "all chunks have the same responseId", "Clients join chunks by it.", should=True)
def same_id(case: Case) -> None:
    found = {str(chunk.get("responseId")) for chunk in chunks(case, streamed(case))}
    case.expect(len(found) == 1 and found != {"None"}, "one responseId", sorted(found))


@check("same-model", "all chunks have the same modelVersion", "Users compare models by it.")
def same_model(case: Case) -> None:
    found = {str(chunk.get("modelVersion")) for chunk in chunks(case, streamed(case))}
    case.expect(len(found) == 1 and found != {"None"}, "one modelVersion", sorted(found))


@check("one-finish", "there is one finishReason, in the last chunk with a candidate", "Clients stop there.")
def one_finish(case: Case) -> None:
    found = [c for c in chunks(case, streamed(case)) if c.get("candidates")]
    case.expect(len(finishes(found)) == 1, "one finishReason", finishes(found))
    case.one_of("finishReason", finishes(found[-1:])[0] if finishes(found[-1:]) else None, FINISHES)


@check("text", "the parts make a text", "It is what was asked for.")
def text(case: Case) -> None:
    found = chunks(case, streamed(case))
    case.skip_unless(finishes(found) == ["STOP"], "the model did not come to an end")
    case.text("the text", text_of(found))


@check("pieces", "the text comes in several pieces", "Users watch it grow.", should=True)
def pieces(case: Case) -> None:
    found = chunks(case, streamed(case, said(STORY)))
    case.skip_unless(len(text_of(found)) > 80, "the answer is short")
    case.expect(len(found) > 1, "more than one chunk", len(found))


@check("usage-last", "the last chunk holds the usage", "Users pay by it.")
def usage_last(case: Case) -> None:
    found = usage_of(case, chunks(case, streamed(case))[-1])
    case.expect(
        case.count("candidatesTokenCount", found.get("candidatesTokenCount")) > 0, "more than 0", found
    )


@check("usage-as-whole", "the prompt counts the same as without streaming", "Users pay by it.")
def usage_as_whole(case: Case) -> None:
    found = usage_of(case, chunks(case, streamed(case))[-1])["promptTokenCount"]
    whole = usage_of(case, ask(case).json)["promptTokenCount"]
    case.expect(abs(found - whole) <= max(8, whole // 4), f"about {whole}", found)


@check("whole-shape", "the stream adds up to what the whole reply is", "Clients offer both.")
def whole_shape(case: Case) -> None:
    found, whole = chunks(case, streamed(case)), ask(case)
    case.equal("finishReason", finishes(found), [candidate(case, whole).get("finishReason")])
    case.equal("modelVersion", found[0].get("modelVersion"), whole.json.get("modelVersion"))


@check("emoji", "emoji are not torn between chunks", "Half a character is garbage.")
def emoji(case: Case) -> None:
    found = text_of(chunks(case, streamed(case, said(f"Reply with exactly: {EMOJI}"))))
    case.expect("\ufffd" not in found, "text without replacement characters", found)


@check("max-tokens", 'a small limit ends with "MAX_TOKENS"', "Clients ask for the rest then.")
def max_tokens(case: Case) -> None:
    config = {"maxOutputTokens": 16}
    found = chunks(case, streamed(case, said(STORY), generationConfig=config, feature="so small a limit"))
    case.limited(made(found[-1].get("usageMetadata") or {}))
    case.equal("finish reasons", finishes(found), ["MAX_TOKENS"])


@check("tool", "a streamed call comes whole, in one part", "Google's clients do not join calls.")
def tool(case: Case) -> None:
    found = chunks(case, streamed(case, ASKED, tools=TOOLS, toolConfig=FORCED, feature="tools"))
    for call in calls(case, parts(found)):
        args = call.get("args")
        case.expect(
            isinstance(args, dict) and isinstance(args.get("city"), str), "an object with a city", call
        )


def _array(case: Case) -> Reply:
    name = quote(case.target.models["gemini"], safe="")
    reply = case.ask("gemini", body_of(case), path=f"/v1beta/models/{name}:streamGenerateContent")
    case.expect(reply.ok, "success", f"{reply.status} {reply.text}")
    return reply


@check("array", "without alt=sse the stream is one JSON array", "Old clients and Vertex's read it so.")
def array(case: Case) -> None:
    reply = _array(case)
    case.equal("content type", reply.media_type, "application/json")
    found = reply.json
    case.expect(
        isinstance(found, list) and found and isinstance(found[0], dict), "a JSON array of chunks", reply.text
    )


@check("array-as-events", "the array holds what the events hold", "Clients offer both.")
def array_as_events(case: Case) -> None:
    found = json.loads(_array(case).body)
    events = chunks(case, streamed(case))
    case.equal("finish reasons", finishes(found), finishes(events))
    case.equal("whether there is text", bool(text_of(found)), bool(text_of(events)))


@check("error-before", "an error before the stream has its status", "A 200 would look like an answer.")
def error_before(case: Case) -> None:
    refused(case, APIS["gemini"], case.ask("gemini", body_of(case), stream=True, model=UNKNOWN), (404,))


CHECKS = _suite.checks
