"""OpenAI chat completions: streams, chunk by chunk."""

from __future__ import annotations

from typing import Any

from llm_router.conformance import sse
from llm_router.conformance.api import APIS, OPENAI, Json, user
from llm_router.conformance.case import LIMIT_SMALL, Case, Skipped, Suite
from llm_router.conformance.checks.basics import UNKNOWN, refused
from llm_router.conformance.checks.chat import FINISHES, plain, usage_of
from llm_router.conformance.transport import Reply

_suite = Suite("chat", "stream", f"{OPENAI}/chat/streaming")
check = _suite.check
SLOW_US = 1_000_000
"""A stream that takes this long must come in more than one piece."""

STORY = "Count from one to thirty in English words, separated by commas."


def streamed(case: Case, *messages: Json, feature: str = "", **members: Any) -> Reply:
    body = case.target.plain("chat", **members)
    if messages:
        body["messages"] = list(messages)
    return case.answer("chat", body, stream=True, feature=feature)


def chunks(case: Case, reply: Reply) -> list[Json]:
    """The chunks before the end marker."""
    found = [e.json for e in sse.parse(reply.body).events if e.data != "[DONE]"]
    case.expect(found and all(isinstance(c, dict) for c in found), "chunks that are JSON objects", reply.text)
    errors = [c["error"] for c in found if "error" in c]
    case.expect(not errors, "a stream without an error", errors)
    return found


def deltas(found: list[Json], index: int = 0) -> list[Json]:
    return [
        entry.get("delta") or {}
        for c in found
        for entry in c.get("choices") or ()
        if entry.get("index") == index
    ]


def text_of(found: list[Json]) -> str:
    return "".join(delta.get("content") or "" for delta in deltas(found))


def finishes(found: list[Json], index: int = 0) -> list[Any]:
    return [
        entry["finish_reason"]
        for c in found
        for entry in c.get("choices") or ()
        if entry.get("index") == index and entry.get("finish_reason") is not None
    ]


def usages(found: list[Json]) -> list[Json]:
    return [c["usage"] for c in found if isinstance(c.get("usage"), dict)]


@check("type", "the content type is text/event-stream", "Clients and proxies decide by it.")
def type_(case: Case) -> None:
    case.equal("content type", streamed(case).media_type, "text/event-stream")


@check(
    "grammar",
    "every byte is sound server-sent events",
    "Strict clients stop.",
    source="https://html.spec.whatwg.org/multipage/server-sent-events.html",
)
def grammar(case: Case) -> None:
    found = sse.parse(streamed(case).body)
    case.expect(not found.faults, "sound events", "; ".join(found.faults))


@check("data-only", "events have no names", "OpenAI's clients read data alone.")
def data_only(case: Case) -> None:
    named = [e.name for e in sse.parse(streamed(case).body).events if e.name is not None]
    case.expect(not named, "no event: lines", named)


@check(
    "framing", "the body is framed soundly, uncompressed and without a length", "It could not be told before."
)
def framing(case: Case) -> None:
    reply = streamed(case)
    case.expect(not reply.faults, "sound framing", "; ".join(reply.faults))
    case.expect(not reply.header("content-encoding"), "no compression", reply.headers)


@check(
    "cache-control",
    "caches are told to leave the stream alone",
    "A cache would wait for its end.",
    should=True,
)
def cache_control(case: Case) -> None:
    said = streamed(case).header("cache-control") or ""
    case.expect("no-cache" in said or "no-store" in said, "cache-control: no-cache", said)


@check("unbuffered", "the stream comes as it is made", "Users watch the text grow.")
def unbuffered(case: Case) -> None:
    judge_pace(case, streamed(case, user(STORY)))


def judge_pace(case: Case, reply: Reply) -> None:
    """A slow answer must come in pieces, the first of them before most of the time is over."""
    end_us = reply.pieces[-1][0] if reply.pieces else 0
    if end_us < SLOW_US or len(chunks(case, reply)) < 8:
        raise Skipped("the answer came too quickly to tell")
    first_us = reply.pieces[0][0]
    case.expect(
        first_us < end_us * 0.9, "a first piece before most of the time is over",
        f"the first after {first_us // 1000} ms of {end_us // 1000} ms", reply,
    )  # fmt: skip


@check("done", "the last event is [DONE], once", "What has no end marker is not whole.")
def done(case: Case) -> None:
    data = [e.data for e in sse.parse(streamed(case).body).events]
    case.expect(data and data[-1] == "[DONE]", "[DONE] at the end", data[-1:] or "nothing")
    case.equal("number of end markers", data.count("[DONE]"), 1)


@check("object", 'every chunk is a "chat.completion.chunk"', "Clients tell replies from chunks by it.")
def object_(case: Case) -> None:
    for chunk in chunks(case, streamed(case)):
        case.equal("object", chunk.get("object"), "chat.completion.chunk")


@check("same-id", "all chunks have the same id", "Clients join chunks by it.")
def same_id(case: Case) -> None:
    found = {str(chunk.get("id")) for chunk in chunks(case, streamed(case))}
    case.expect(len(found) == 1 and "" not in found and "None" not in found, "one id", sorted(found))


@check("same-model", "all chunks have the same model", "LangChain and others join the names.")
def same_model(case: Case) -> None:
    found = {str(chunk.get("model")) for chunk in chunks(case, streamed(case))}
    case.expect(len(found) == 1 and "" not in found and "None" not in found, "one model", sorted(found))


@check("same-created", "all chunks have the same created", "It is the time of the reply.")
def same_created(case: Case) -> None:
    found = {chunk.get("created") for chunk in chunks(case, streamed(case))}
    case.expect(len(found) == 1, "one time", sorted(map(str, found)))
    case.count("created", found.pop())


@check("choices", "every chunk has a list of choices", "Clients loop over it.")
def choices(case: Case) -> None:
    for chunk in chunks(case, streamed(case)):
        case.expect(isinstance(chunk.get("choices"), list), "a list of choices", chunk)


@check("first-role", "the role comes once, first", "Clients that add strings get assistantassistant.")
def first_role(case: Case) -> None:
    found = deltas(chunks(case, streamed(case)))
    roles = [number for number, delta in enumerate(found) if delta.get("role")]
    case.equal("places of the role", roles, [0])
    case.equal("role", found[0]["role"], "assistant")


@check("one-finish", "there is one finish_reason", "Clients stop at the first.")
def one_finish(case: Case) -> None:
    found = finishes(chunks(case, streamed(case)))
    case.expect(len(found) == 1, "one finish_reason", found)
    case.one_of("finish_reason", found[0], FINISHES)


@check("finish-last", "no content comes behind the finish", "Clients stop there.")
def finish_last(case: Case) -> None:
    finished = False
    for chunk in chunks(case, streamed(case)):
        for entry in chunk["choices"]:
            delta = entry.get("delta") or {}
            case.expect(
                not (finished and any(delta.get(n) for n in ("content", "tool_calls"))),
                "nothing behind it",
                chunk,
            )
            finished = finished or entry.get("finish_reason") is not None


@check("text", "the deltas make a text", "It is what was asked for.")
def text(case: Case) -> None:
    found = chunks(case, streamed(case))
    case.skip_unless(finishes(found) == ["stop"], "the model did not come to an end")
    case.text("the text", text_of(found))


@check("pieces", "the text comes in several pieces", "Users watch it grow.", should=True)
def pieces(case: Case) -> None:
    found = chunks(case, streamed(case, user(STORY)))
    case.skip_unless(len(text_of(found)) > 80, "the answer is short")
    count = sum(1 for delta in deltas(found) if delta.get("content"))
    case.expect(count > 1, "more than one piece", count)


@check("delta-content", "content is a text or null", "Clients add strings.")
def delta_content(case: Case) -> None:
    for delta in deltas(chunks(case, streamed(case))):
        case.expect(isinstance(delta.get("content"), str | None), "a text or null", delta)


@check("no-message", "a chunk has no message", "Clients tell replies from chunks by it.")
def no_message(case: Case) -> None:
    for chunk in chunks(case, streamed(case)):
        case.expect(all("message" not in entry for entry in chunk["choices"]), "no message", chunk)


def _with_usage(case: Case) -> list[Json]:
    return chunks(case, streamed(case, stream_options={"include_usage": True}))


@check("usage", "include_usage brings usage once", "Users pay by it.")
def usage(case: Case) -> None:
    found = usages(_with_usage(case))
    case.expect(len(found) == 1, "one usage object", found)
    usage_of(case, {"usage": found[0]})


@check("usage-last", "usage is in the last chunk, whose choices are empty", "Clients look for it there.")
def usage_last(case: Case) -> None:
    found = _with_usage(case)
    case.expect(isinstance(found[-1].get("usage"), dict), "usage in the last chunk", found[-1])
    case.equal("choices of the last chunk", found[-1].get("choices"), [])


@check("usage-sum", "total_tokens is the sum of the other two", "Users pay by it.")
def usage_sum(case: Case) -> None:
    found = usages(_with_usage(case))
    case.expect(found, "usage", "none")
    parts = usage_of(case, {"usage": found[-1]})
    case.equal("total_tokens", parts["total_tokens"], parts["prompt_tokens"] + parts["completion_tokens"])


@check("usage-as-whole", "the prompt counts the same as without streaming", "Users pay by it.")
def usage_as_whole(case: Case) -> None:
    found = usages(_with_usage(case))
    case.expect(found, "usage", "none")
    whole = usage_of(case, plain(case).json)["prompt_tokens"]
    case.expect(abs(found[-1]["prompt_tokens"] - whole) <= max(8, whole // 4), f"about {whole}", found[-1])


@check("usage-unwanted", "include_usage: false brings no usage", "Old clients stumble over empty choices.")
def usage_unwanted(case: Case) -> None:
    found = chunks(case, streamed(case, stream_options={"include_usage": False}))
    case.expect(not usages(found), "no usage", usages(found))
    case.expect(all(chunk["choices"] for chunk in found), "no chunk with empty choices", found[-1])


@check("whole-shape", "the stream adds up to what the whole reply is", "Clients offer both.")
def whole_shape(case: Case) -> None:
    found, whole = chunks(case, streamed(case)), plain(case).json
    made = whole["choices"][0]
    case.equal("finish_reason", finishes(found)[0] if finishes(found) else None, made.get("finish_reason"))
    case.equal("model", found[0].get("model"), whole.get("model"))
    case.equal("whether there is text", bool(text_of(found)), bool(made["message"].get("content")))


@check("emoji", "emoji are not torn between chunks", "Half a character is garbage.")
def emoji(case: Case) -> None:
    words = "👩‍👩‍👧‍👦🏳️‍🌈👍🏽 مرحبا 你好"
    reply = streamed(case, user(f"Reply with exactly: {words}"))
    case.expect(not sse.parse(reply.body).faults, "UTF-8", sse.parse(reply.body).faults)
    found = text_of(chunks(case, reply))
    case.expect("\ufffd" not in found, "text without replacement characters", found)
    for delta in deltas(chunks(case, reply)):
        (delta.get("content") or "").encode("utf-8", "surrogatepass").decode("utf-8", "strict")


@check("n", "the choices of n are told apart by their index", "They come mixed.")
def n(case: Case) -> None:
    found = chunks(case, streamed(case, user("Say a random word."), n=2, feature="n"))
    indexes = {entry.get("index") for chunk in found for entry in chunk["choices"]}
    case.skip_unless(len(indexes) > 1, "the target makes one choice only")
    case.equal("indexes", sorted(indexes), [0, 1])
    for index in (0, 1):
        case.expect(len(finishes(found, index)) == 1, "one finish a choice", finishes(found, index))


@check("length", 'a small limit ends with "length"', "Clients ask for the rest then.")
def length(case: Case) -> None:
    members: Json = {case.target.limit: LIMIT_SMALL, "stream_options": {"include_usage": True}}
    found = chunks(case, streamed(case, user(STORY), feature="so small a limit", **members))
    case.limited(usages(found)[-1].get("completion_tokens") if usages(found) else None)
    case.equal("finish reasons", finishes(found), ["length"])


@check("stop", "a stop sequence is not in the text", "It may come in two pieces.")
def stop(case: Case) -> None:
    asked = user("Reply with exactly: alpha beta gamma delta")
    found = chunks(case, streamed(case, asked, stop=["gamma"], feature="stop sequences"))
    case.expect("gamma" not in text_of(found), "a text that ends before gamma", text_of(found))
    case.equal("number of finishes", len(finishes(found)), 1)


@check("error-before", "an error before the stream has its status", "A 200 would look like an answer.")
def error_before(case: Case) -> None:
    body = case.target.plain("chat", model=UNKNOWN)
    refused(case, APIS["chat"], case.ask("chat", body, stream=True), (404,))


@check("error-parameter", "a wrong member is 400 in streams too", "A 200 would look like an answer.")
def error_parameter(case: Case) -> None:
    body = case.target.plain("chat", temperature="hot")
    refused(case, APIS["chat"], case.ask("chat", body, stream=True), (400,))


CHECKS = _suite.checks
