"""Ollama's replies and streams: laws over all of them, and the corpus."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import behind_kit as kit
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_router.domain.errors import UpstreamError, UpstreamKind
from llm_router.domain.usage import Usage
from llm_router.wire import chat, events
from llm_router.wire.dialect import Dialect
from llm_router.wire.dialects.ollama_chat import DIALECT, upstream_headers, upstream_url
from llm_router.wire.events import Finish
from llm_router.wire.fold import fold

CORPUS = Path(__file__).parent.parent / "corpus" / "ollama_chat"
NAMES = sorted(path.stem for path in (CORPUS / "replies").glob("*.json"))
fronts = pytest.mark.parametrize("front", kit.FRONTS, ids=[front.name for front in kit.FRONTS])
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)
names = st.from_regex(r"[a-z][a-z_]{0,10}", fullmatch=True)
values = st.dictionaries(names, texts | st.integers(-9, 9) | st.none(), max_size=2)


@st.composite
def replies(draw: st.DrawFn) -> dict[str, Any]:
    """A whole reply as Ollama writes it."""
    message: dict[str, Any] = {"role": "assistant", "content": ""}
    if draw(st.booleans()):
        message["thinking"] = draw(texts)
    calls = [
        {"id": f"call_{number}", "function": {"index": number, "name": name, "arguments": draw(values)}}
        for number, name in enumerate(draw(st.lists(names, max_size=3)))
    ]
    if calls:
        message["tool_calls"] = calls
    if draw(st.booleans()) or not calls:
        message["content"] = draw(texts)
    return {
        "model": "tiny:1b",
        "created_at": "2026-03-01T10:00:01.123456789Z",
        "message": message,
        "done": True,
        "done_reason": "stop" if calls else draw(st.sampled_from(["stop", "length"])),
        "total_duration": 12345,
        "prompt_eval_count": draw(st.integers(1, 10**6)),
        "eval_count": draw(st.integers(1, 10**6)),
    }


def lines(reply: dict[str, Any]) -> list[dict[str, Any]]:
    """The messages by which Ollama streams the reply."""
    head = {"model": reply["model"], "created_at": reply["created_at"]}
    message = reply["message"]
    said: list[dict[str, Any]] = []
    for name in ("thinking", "content"):
        text = message.get(name, "")
        halves = (text[: len(text) // 2], text[len(text) // 2 :])
        said += [{"content": "", name: piece} for piece in halves]
    said += [{"content": "", "tool_calls": [call]} for call in message.get("tool_calls", [])]
    out = [{**head, "message": {"role": "assistant", **piece}, "done": False} for piece in said]
    return [*out, {**reply, "message": {"role": "assistant", "content": ""}}]


def streamed(messages: list[Any], end: str = "\n") -> bytes:
    return "".join(json.dumps(message, ensure_ascii=False) + end for message in messages).encode()


def stream_of(name: str) -> bytes:
    return (CORPUS / "streams" / f"{name}.ndjson").read_bytes()


def reply_of(name: str) -> bytes:
    return (CORPUS / "replies" / f"{name}.json").read_bytes()


# --- laws ---------------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(
    reply=replies(), marks=st.lists(st.integers(0, 9999), max_size=12), end=st.sampled_from(["\n", "\r\n"])
)
def test_no_cut_changes_an_event(reply: dict[str, Any], marks: list[int], end: str) -> None:
    data = streamed(lines(reply), end)
    whole = kit.decode(DIALECT, [data])
    kit.grammar(whole)
    assert kit.decode(DIALECT, kit.cuts(data, marks)) == whole


@settings(max_examples=60)
@given(reply=replies())
def test_a_stream_says_what_the_whole_reply_says(reply: dict[str, Any]) -> None:
    whole = DIALECT.decode_reply(json.dumps(reply, indent=1).encode())
    assert fold(kit.decode(DIALECT, [streamed(lines(reply))])) == whole
    assert DIALECT.decode_reply(streamed(lines(reply))) == whole  # where a stream comes unasked


@pytest.mark.parametrize("name", NAMES)
def test_the_corpus_is_the_same_streamed_and_whole(name: str) -> None:
    assert fold(kit.decode(DIALECT, [stream_of(name)])) == DIALECT.decode_reply(reply_of(name))


@pytest.mark.parametrize("name", NAMES)
def test_a_truncated_stream_never_looks_finished(name: str) -> None:
    data = stream_of(name)
    whole = fold(kit.decode(DIALECT, [data]))
    for cut in range(len(data)):
        told = kit.decode(DIALECT, [data[:cut]])
        if isinstance(told[-1], events.Ended):  # nothing but the end of the last line is missing
            assert cut == len(data) - 1
            assert fold(told) == whole
        else:
            assert kit.failure(told).kind is UpstreamKind.TRUNCATED
            if b"\n" in data[:cut]:
                with pytest.raises(UpstreamError):
                    DIALECT.decode_reply(data[:cut])


STRANGE: list[Any] = [
    {"status": "loading", "done": False},
    {"model": "tiny:1b", "message": None, "done": "yes"},
    {"message": {"content": 7, "thinking": ["x"], "tool_calls": [{}, None, {"function": {"name": ""}}]}},
    {"message": {"images": ["no base64!"], "poem": "x"}, "logprobs": []},
    {},
    [1],
    None,
    7,
]


@settings(max_examples=80)
@given(reply=replies(), strange=st.sampled_from(STRANGE), place=st.integers(1, 99))
def test_unknown_messages_are_not_fatal(reply: dict[str, Any], strange: Any, place: int) -> None:
    told = lines(reply)
    place = 1 + place % (len(told) - 1)
    data = streamed([*told[:place], strange, *told[place:]])
    assert kit.decode(DIALECT, [data]) == kit.decode(DIALECT, [streamed(told)])


@given(
    data=st.binary(max_size=400)
    | st.lists(st.sampled_from([b"{\n", b"\xff\n", b"[]\n", b'{"message":{}}\n'])).map(b"".join)
)
def test_garbage_ends_in_a_failure(data: bytes) -> None:
    kit.failure(kit.decode(DIALECT, [data]))


@given(data=st.binary(max_size=200))
def test_garbage_in_place_of_a_reply_is_a_failure(data: bytes) -> None:
    with pytest.raises(UpstreamError):
        DIALECT.decode_reply(data)


def test_one_broken_line_is_passed_over_and_flagged() -> None:
    told = kit.decode(DIALECT, [b"{broken\n" + stream_of("text")])
    assert told[-1] == events.Ended(flags=("malformed_chunk",))
    assert kit.failure(kit.decode(DIALECT, [b"{\n{\n"])).kind is UpstreamKind.MALFORMED


def test_a_cut_behind_a_broken_line_is_a_cut() -> None:
    told = kit.decode(DIALECT, [b"{broken\n" + stream_of("text")[:-20]])
    assert kit.failure(told).kind is UpstreamKind.TRUNCATED


@fronts
@settings(max_examples=25)
@given(reply=replies(), marks=st.lists(st.integers(0, 9999), max_size=8))
def test_every_client_gets_what_was_said(front: Dialect, reply: dict[str, Any], marks: list[int]) -> None:
    data = streamed(lines(reply))
    said = fold(kit.decode(DIALECT, [data]))
    out, relay = kit.through(front, DIALECT, kit.cuts(data, marks))
    assert relay.observed.error is None
    got = kit.heard(front, out + relay.finish(kit.bill(said.usage)))
    assert kit.essence(got) == kit.essence(said)
    assert got.usage is not None
    assert (got.usage.prompt_tokens, got.usage.completion_tokens) == (
        reply["prompt_eval_count"],
        reply["eval_count"],
    )
    body, _ = front.encode_reply(said, kit.CONTEXT, kit.bill(said.usage))
    assert kit.essence(front.decode_reply(body)) == kit.essence(said)


# --- what single replies say ----------------------------------------------------------------------------


def decoded(name: str) -> events.Reply:
    return fold(kit.decode(DIALECT, [stream_of(name)]))


def whole(message: dict[str, Any] | None = None, **members: Any) -> events.Reply:
    body = {"model": "tiny:1b", "message": {"role": "assistant", **(message or {})}, "done": True, **members}
    return DIALECT.decode_reply(json.dumps(body).encode())


def test_thoughts_and_calls() -> None:
    reply = decoded("calls")
    (choice,) = reply.choices
    assert choice.parts == (
        chat.Thinking(text="Both tools.", origin="ollama_chat"),
        chat.ToolCall(id="call_a", name="tide", arguments='{"port":"Brest","n":2}'),
        chat.ToolCall(id="call_b", name="noon", arguments="{}"),
    )
    assert (choice.finish, choice.native_finish) == (Finish.TOOL_CALLS, "stop")
    assert (reply.model, reply.created_s) == ("tiny:1b", 1772359201)
    assert reply.usage == Usage(input_tokens=13, cache_read_tokens=8, output_tokens=7)


def test_without_a_count_of_the_prompt_nothing_is_reported() -> None:
    assert decoded("uncounted").usage is None
    assert decoded("load").usage is None


@pytest.mark.parametrize(
    ("members", "content", "usage", "flags"),
    [
        ({"prompt_eval_count": 5, "eval_count": 2}, "x", Usage(input_tokens=5, output_tokens=2), ()),
        ({"prompt_eval_count": 5}, "", Usage(input_tokens=5), ()),
        ({"prompt_eval_count": 5}, "x", None, ()),
        ({"prompt_eval_count": 5, "prompt_eval_cached_count": 9, "eval_count": 2}, "x",
         Usage(cache_read_tokens=5, output_tokens=2), ()),
        ({"prompt_eval_count": -5, "eval_count": 2}, "x", None, ("usage_invalid",)),
        ({"prompt_eval_count": 5, "eval_count": "2"}, "x", None, ("usage_invalid",)),
    ],
)  # fmt: skip
def test_usage(members: dict[str, Any], content: str, usage: Usage | None, flags: tuple[str, ...]) -> None:
    reply = whole({"content": content}, **members)
    assert (reply.usage, reply.flags) == (usage, flags)


@pytest.mark.parametrize(
    ("native", "calls", "finish"),
    [
        ("stop", False, Finish.STOP),
        ("stop", True, Finish.TOOL_CALLS),
        ("length", True, Finish.LENGTH),
        ("load", False, Finish.STOP),
        ("a_new_one", False, Finish.STOP),
        (None, True, Finish.TOOL_CALLS),
    ],
)
def test_finish_reasons(native: str | None, calls: bool, finish: Finish) -> None:
    message: dict[str, Any] = {"content": ""}
    if calls:
        message["tool_calls"] = [{"function": {"name": "f", "arguments": {}}}]
    (choice,) = whole(message, **({} if native is None else {"done_reason": native})).choices
    assert (choice.finish, choice.native_finish) == (finish, native)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [({"a": 1}, '{"a":1}'), (None, "{}"), ("", "{}"), ('{"a": 1}', '{"a": 1}'), ([1], "[1]")],
)
def test_arguments_become_text(arguments: Any, text: str) -> None:
    (part,) = whole({"tool_calls": [{"function": {"name": "f", "arguments": arguments}}]}).choices[0].parts
    assert isinstance(part, chat.ToolCall)
    assert part.arguments == text


def test_calls_without_ids_get_their_own_in_every_reply() -> None:
    calls = [{"function": {"name": "f", "arguments": {}}}, {"function": {"name": "f", "arguments": {}}}]
    ids = [
        part.id
        for second in "12"
        for part in whole({"tool_calls": calls}, created_at=f"2026-03-01T10:00:0{second}Z").choices[0].parts
        if isinstance(part, chat.ToolCall)
    ]
    assert len({*ids}) == 4
    assert all(ids)


def test_text_behind_a_call_is_a_part_of_its_own() -> None:
    call = {"function": {"name": "f", "arguments": {}}}
    told = [{"message": {"content": "a"}}, {"message": {"content": "", "tool_calls": [call]}},
            {"message": {"content": "b"}, "done": True}]  # fmt: skip
    parts = fold(kit.decode(DIALECT, [streamed(told)])).choices[0].parts
    assert [type(part) for part in parts] == [chat.Text, chat.ToolCall, chat.Text]


def test_images_and_log_probabilities() -> None:
    (image,) = whole({"content": "", "images": [PIXEL]}).choices[0].parts
    assert isinstance(image, chat.Media)
    assert (image.media_type, image.data) == ("image/png", PIXEL)
    raw = decoded("likely").choices[0].logprobs
    assert raw is not None
    (item,) = json.loads(bytes(raw))
    assert (item["token"], item["logprob"], item["bytes"]) == ("Hé", -0.5, [72, 195, 169])
    assert [top["token"] for top in item["top_logprobs"]] == ["Hé", "Ho"]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("2026-03-01T10:00:01+01:00", 1772355601), ("yesterday", 0), (None, 0), ("0001-01-01T00:00:00Z", 0)],
)
def test_the_time_of_a_reply(text: Any, seconds: int) -> None:
    assert whole({"content": "x"}, created_at=text).created_s == seconds


# --- errors and addresses ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ("an error was encountered while running the model", UpstreamKind.SERVER),
        ("unexpected EOF", UpstreamKind.SERVER),
        ({"message": "rate limit exceeded", "code": 429}, UpstreamKind.RATE_LIMIT),
    ],
)
def test_an_error_inside_a_stream(error: Any, kind: UpstreamKind) -> None:
    told = kit.decode(DIALECT, [stream_of("text").splitlines(keepends=True)[0], streamed([{"error": error}])])
    assert isinstance(told[1], events.PartOpened)
    assert kit.failure(told).kind is kind
    with pytest.raises(UpstreamError) as raised:
        DIALECT.decode_reply(json.dumps({"error": error}).encode())
    assert raised.value.kind is kind


def test_a_whole_reply_that_is_not_done_is_cut() -> None:
    with pytest.raises(UpstreamError) as raised:
        whole({"content": "So"}, done=False)
    assert raised.value.kind is UpstreamKind.TRUNCATED


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (404, b'{"error":"model \\"none\\" not found, try pulling it first"}', UpstreamKind.NOT_FOUND),
        (400, b'{"error":"tiny:1b does not support tools"}', UpstreamKind.INVALID_REQUEST),
        (400, b'{"error":"the input length exceeds the context length"}', UpstreamKind.CONTEXT_LENGTH),
        (401, b'{"error":"unauthorized","signin_url":"https://ollama.example"}', UpstreamKind.AUTHENTICATION),
        (500, b'{"error":"model requires more system memory (8 GiB) than is available"}', UpstreamKind.SERVER),
        (503, b'{"error":"server busy, please try again.  maximum pending requests exceeded"}', UpstreamKind.OVERLOADED),
        (400, b'{"error":{"message":"prompt too long; exceeded max context length by 4 tokens"}}', UpstreamKind.CONTEXT_LENGTH),
        (404, b"404 page not found", UpstreamKind.NOT_FOUND),
        (502, b"", UpstreamKind.UNAVAILABLE),
    ],
)  # fmt: skip
def test_errors_are_classified(status: int, body: bytes, kind: UpstreamKind) -> None:
    error = DIALECT.decode_error(status, {}, body)
    assert (error.kind, error.status) == (kind, status)
    assert error.message


@given(status=st.integers(0, 999), body=st.binary(max_size=200))
def test_no_error_body_is_too_strange(status: int, body: bytes) -> None:
    assert DIALECT.decode_error(status, {}, body).message


@pytest.mark.parametrize("path", ["", "/", "/api", "/api/", "/api/chat", "/v1"])
def test_the_address_of_chat(path: str) -> None:
    assert (
        upstream_url("http://127.0.0.1:11434" + path, "chat", "m", True) == "http://127.0.0.1:11434/api/chat"
    )


def test_other_operations_are_refused() -> None:
    with pytest.raises(ValueError, match="count_tokens"):
        upstream_url("http://127.0.0.1:11434", "count_tokens", "m", False)


def test_headers_say_what_is_awaited() -> None:
    assert upstream_headers(True) == (("accept", "application/x-ndjson"),)
    assert upstream_headers(False) == (("accept", "application/json"),)
