"""The simulated provider of Ollama's native chat. https://docs.ollama.com/api/chat"""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

from llm_router.sandbox import native
from llm_router.sandbox.form import Call, Form, Headers, Trouble, told_wait
from llm_router.wire import chat, events
from llm_router.wire.dialect import Bill, Inspected, ReplyContext
from llm_router.wire.events import Finish
from llm_router.wire.loss import Loss

NAME = "ollama_chat"


class _Function(msgspec.Struct):
    name: str
    arguments: dict[str, Any] = {}
    description: str | None = None
    parameters: Any = None


class _Call(msgspec.Struct):
    function: _Function
    id: str = ""


class _Message(msgspec.Struct):
    role: Literal["system", "user", "assistant", "tool"]
    content: str = ""
    thinking: str = ""
    images: list[str] = []
    tool_calls: list[_Call] = []
    tool_name: str | None = None
    tool_call_id: str = ""


class _Options(msgspec.Struct):
    num_predict: int | None = None
    stop: list[str] = []
    temperature: float | None = None


class _Request(msgspec.Struct):
    model: str
    messages: list[_Message]
    stream: bool = True
    tools: list[_Call] = []
    format: Any = None
    options: _Options = msgspec.field(default_factory=_Options)
    think: bool | str | None = None
    logprobs: bool = False
    top_logprobs: int | None = None


def inspect(body: bytes, model: str | None, stream: bool | None) -> Inspected:
    tree = msgspec.json.decode(body, type=_Request)
    return Inspected(model=tree.model, stream=tree.stream, tree=tree)


def decode_request(inspected: Inspected) -> chat.ChatRequest:
    tree = inspected.tree
    assert isinstance(tree, _Request)
    limit = tree.options.num_predict
    return chat.ChatRequest(
        model=tree.model,
        dialect=NAME,
        stream=tree.stream,
        messages=tuple(_message(message) for message in tree.messages),
        tools=tuple(
            chat.Tool(
                name=t.function.name,
                description=t.function.description,
                parameters=native.json_raw(t.function.parameters),
            )
            for t in tree.tools
        ),
        max_tokens=None if limit is None or limit < 0 else limit,
        stop=tuple(tree.options.stop),
        temperature=tree.options.temperature,
        logprobs=tree.logprobs or None,
        top_logprobs=tree.top_logprobs,
        response_format=_format(tree.format),
        reasoning=_reasoning(tree.think),
    )


def _format(wanted: Any) -> chat.ResponseFormat | None:
    if isinstance(wanted, dict):
        return chat.ResponseFormat(mode="json_schema", schema=native.json_raw(wanted))
    return chat.ResponseFormat(mode="json_object") if wanted == "json" else None


def _reasoning(think: bool | str | None) -> chat.Reasoning | None:
    if think is None:
        return None
    return chat.Reasoning(effort=think) if isinstance(think, str) else chat.Reasoning(enabled=think)


def _message(message: _Message) -> chat.Message:
    text = (chat.Text(text=message.content),) if message.content else ()
    if message.role == "tool":
        result = chat.ToolResult(call_id=message.tool_call_id, name=message.tool_name, content=text)
        return chat.Message(role="tool", parts=(result,))
    parts: list[chat.Part] = []
    if message.thinking:
        parts.append(chat.Thinking(text=message.thinking, origin=NAME))
    parts += [*text, *(chat.Media(form="image", data=data) for data in message.images)]
    for call in message.tool_calls:
        arguments = native.json_text(call.function.arguments)
        parts.append(chat.ToolCall(id=call.id, name=call.function.name, arguments=arguments))
    return chat.Message(role=message.role, parts=tuple(parts))


def _line(context: ReplyContext, message: dict[str, object], **members: object) -> dict[str, object]:
    created = datetime.fromtimestamp(context.created_s, UTC).isoformat().replace("+00:00", "Z")
    said = {"role": "assistant", "content": "", **message}
    return {"model": context.model, "created_at": created, "message": said, "done": False, **members}


def _end(finish: Finish, bill: Bill) -> dict[str, object]:
    """The members of the last message. Tool calls end in ``stop`` here; zeros are left out."""
    counts = {}
    if bill.usage is not None:
        counts = {"prompt_eval_count": bill.usage.prompt_tokens, "eval_count": bill.usage.completion_tokens}
    reason = "length" if finish is Finish.LENGTH else "stop"
    told = {name: count for name, count in counts.items() if count}
    return {"done": True, "done_reason": reason, "total_duration": 1_000_000, **told}


def _call(id_: str, name: str, arguments: str) -> dict[str, object]:
    found: object = {}
    with contextlib.suppress(msgspec.DecodeError):  # cut by the token limit
        found = msgspec.json.decode(arguments)
    return {"id": id_, "function": {"name": name, "arguments": found if isinstance(found, dict) else {}}}


def encode_reply(reply: events.Reply, context: ReplyContext, bill: Bill) -> tuple[bytes, tuple[Loss, ...]]:
    choice = reply.choices[0]
    message: dict[str, Any] = {}
    for part in choice.parts:
        match part:
            case chat.Text():
                message["content"] = message.get("content", "") + part.text
            case chat.Thinking():
                message["thinking"] = message.get("thinking", "") + part.text
            case chat.ToolCall():
                message.setdefault("tool_calls", []).append(_call(part.id, part.name, part.arguments))
    body = _line(context, message, **_end(choice.finish, bill))
    if choice.logprobs is not None:
        body["logprobs"] = choice.logprobs
    return msgspec.json.encode(body), ()


class _Encoder(native.Encoder):
    def __init__(self, context: ReplyContext) -> None:
        super().__init__(context)
        self._parts: dict[int, events.PartOpened] = {}
        self._arguments: dict[int, str] = {}

    def encode(self, event: events.Event) -> bytes:
        match event:
            case events.PartOpened():
                self._parts[event.part] = event
            case events.PartDelta() if self._parts[event.part].form == "tool_call":
                self._arguments[event.part] = self._arguments.get(event.part, "") + event.text
            case events.PartDelta() if event.text:
                name = "thinking" if self._parts[event.part].form == "thinking" else "content"
                return self._message({name: event.text})
            case events.PartClosed() if self._parts[event.part].form == "tool_call":
                opened = self._parts[event.part]
                call = _call(opened.id, opened.name, self._arguments.get(event.part, ""))
                return self._message({"tool_calls": [call]})
            case events.LogProbs():
                return self._message({}, logprobs=event.content)
            case events.Finished():
                self.finish_reason = event.reason
        return b""

    def finish(self, bill: Bill) -> bytes:
        return self._message({}, **_end(self.finish_reason, bill))

    def _message(self, message: dict[str, object], **members: object) -> bytes:
        return msgspec.json.encode(_line(self.context, message, **members)) + b"\n"


def _find(method: str, path: str) -> Call | None:
    if (method, path) == ("POST", "chat"):
        return Call(operation="chat")
    if (method, path) == ("POST", "embed"):
        return Call(operation="embed", format="ollama_embed")
    return Call(operation="models") if (method, path) == ("GET", "tags") else None


def _error(trouble: Trouble, request_id: str) -> tuple[Headers, bytes]:
    """https://docs.ollama.com/api/errors"""
    return told_wait(trouble), msgspec.json.encode({"error": trouble.message})


def _check(request: chat.ChatRequest) -> None:
    """Reasoning is plain text here."""


FORM = Form(
    name="ollama",
    dialect=native.Codec(
        name=NAME,
        content_type_stream="application/x-ndjson",
        inspect=inspect,
        decode_request=decode_request,
        encode_reply=encode_reply,
        stream_encoder=_Encoder,
    ),
    versions=("api",),
    base_path="",
    find=_find,
    has_key=lambda headers, query: True,
    missing_key=Trouble(status=401, message="unauthorized"),
    overloaded_status=503,
    too_long=Trouble(status=400, message="the input length exceeds the context length"),
    headers=lambda request_id: (),
    error=_error,
    failure=lambda body, json_array: body + b"\n",
    garbage=lambda json_array: b'{"model":"broken","mess\n',
    check=_check,
    reply_id=lambda digits: digits,
    mend=native.unmended,
    readable=native.same,
    counting_body=native.same,
    counted=lambda tokens: {"tokens": tokens},
    listed=native.nothing_listed,
    described=lambda model: {"name": model},
)
