"""The simulated provider of Cohere's v2 chat. https://docs.cohere.com/v2/reference/chat"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from llm_router.sandbox import native
from llm_router.sandbox.form import Call, Form, Headers, Trouble, wait_text
from llm_router.wire import chat, events
from llm_router.wire.dialect import Bill, Inspected, ReplyContext
from llm_router.wire.events import Finish
from llm_router.wire.loss import Loss

NAME = "cohere_chat"
_FINISH = {Finish.STOP: "COMPLETE", Finish.LENGTH: "MAX_TOKENS", Finish.TOOL_CALLS: "TOOL_CALL"}


class _Url(msgspec.Struct):
    url: str


class _Block(msgspec.Struct):
    type: Literal["text", "image_url", "thinking", "document"]
    text: str = ""
    thinking: str = ""
    image_url: _Url | None = None
    document: Any = None


class _Function(msgspec.Struct):
    name: str
    arguments: str = "{}"
    description: str | None = None
    parameters: Any = None


class _Call(msgspec.Struct):
    function: _Function
    id: str = ""


class _Message(msgspec.Struct):
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[_Block] | None = None
    tool_calls: list[_Call] = []
    tool_plan: str = ""
    tool_call_id: str = ""


class _Format(msgspec.Struct):
    type: Literal["text", "json_object"]
    json_schema: Any = None


class _Thinking(msgspec.Struct):
    type: Literal["enabled", "disabled"]
    token_budget: int | None = None


class _Request(msgspec.Struct):
    model: str
    messages: list[_Message]
    stream: bool = False
    tools: list[_Call] = []
    tool_choice: Literal["REQUIRED", "NONE"] | None = None
    response_format: _Format | None = None
    thinking: _Thinking | None = None
    max_tokens: int | None = None
    stop_sequences: list[str] = []
    temperature: float | None = None
    logprobs: bool = False


def inspect(body: bytes, model: str | None, stream: bool | None) -> Inspected:
    tree = msgspec.json.decode(body, type=_Request)
    return Inspected(model=tree.model, stream=tree.stream, tree=tree)


def decode_request(inspected: Inspected) -> chat.ChatRequest:
    tree = inspected.tree
    assert isinstance(tree, _Request)
    names = {call.id: call.function.name for message in tree.messages for call in message.tool_calls}
    thinks = tree.thinking
    return chat.ChatRequest(
        model=tree.model,
        dialect=NAME,
        stream=tree.stream,
        messages=tuple(_message(message, names) for message in tree.messages),
        tools=tuple(
            chat.Tool(
                name=tool.function.name,
                description=tool.function.description,
                parameters=native.json_raw(tool.function.parameters),
            )
            for tool in tree.tools
        ),
        tool_choice=None
        if tree.tool_choice is None
        else chat.ToolChoice(mode="required" if tree.tool_choice == "REQUIRED" else "none"),
        max_tokens=tree.max_tokens,
        stop=tuple(tree.stop_sequences),
        temperature=tree.temperature,
        logprobs=tree.logprobs or None,
        response_format=_format(tree.response_format),
        reasoning=None
        if thinks is None
        else chat.Reasoning(enabled=thinks.type == "enabled", budget_tokens=thinks.token_budget),
    )


def _format(wanted: _Format | None) -> chat.ResponseFormat | None:
    if wanted is None or wanted.type == "text":
        return None
    if wanted.json_schema is None:
        return chat.ResponseFormat(mode="json_object")
    return chat.ResponseFormat(mode="json_schema", schema=native.json_raw(wanted.json_schema))


def _message(message: _Message, names: Mapping[str, str]) -> chat.Message:
    content = _content(message.content)
    if message.role == "tool":
        told = tuple(part for part in content if isinstance(part, chat.Text | chat.Media))
        name = names.get(message.tool_call_id)
        result = chat.ToolResult(call_id=message.tool_call_id, name=name, content=told)
        return chat.Message(role="tool", parts=(result,))
    parts = list(content)
    if message.tool_plan:
        parts.append(chat.Thinking(text=message.tool_plan, origin=NAME))
    parts += [
        chat.ToolCall(id=call.id, name=call.function.name, arguments=call.function.arguments)
        for call in message.tool_calls
    ]
    return chat.Message(role=message.role, parts=tuple(parts))


def _content(content: str | list[_Block] | None) -> list[chat.Part]:
    if content is None or isinstance(content, str):
        return [chat.Text(text=content)] if content else []
    found: list[chat.Part] = []
    for block in content:
        if block.type == "image_url" and block.image_url is not None:
            found.append(native.image(block.image_url.url))
        elif block.type == "thinking":
            found.append(chat.Thinking(text=block.thinking, origin=NAME))
        elif block.type == "document":
            found.append(chat.Text(text=native.json_text(block.document)))
        elif block.type == "text":
            found.append(chat.Text(text=block.text))
    return found


def encode_reply(reply: events.Reply, context: ReplyContext, bill: Bill) -> tuple[bytes, tuple[Loss, ...]]:
    choice = reply.choices[0]
    message: dict[str, Any] = {"role": "assistant"}
    content: list[object] = []
    for part in choice.parts:
        match part:
            case chat.Text():
                content.append({"type": "text", "text": part.text})
            case chat.Thinking():
                content.append({"type": "thinking", "thinking": part.text})
            case chat.ToolCall():
                message.setdefault("tool_calls", []).append(_wire_call(part.id, part.name, part.arguments))
    if content:
        message["content"] = content
    body = {
        "id": context.reply_id,
        "message": message,
        "finish_reason": _finish(choice.finish, choice.stop_sequence),
        **_usage(bill),
    }
    return msgspec.json.encode(body), ()


def _wire_call(id_: str, name: str, arguments: str) -> dict[str, object]:
    return {"id": id_, "type": "function", "function": {"name": name, "arguments": arguments}}


def _finish(finish: Finish, stop_sequence: str | None) -> str:
    return "STOP_SEQUENCE" if stop_sequence is not None else _FINISH.get(finish, "COMPLETE")


def _usage(bill: Bill) -> dict[str, object]:
    """``tokens`` counts the provider's own template too; ``billed_units`` what it charges for."""
    if bill.usage is None:
        return {}
    read, written = bill.usage.prompt_tokens, bill.usage.completion_tokens
    units = {"input_tokens": read, "output_tokens": written}
    return {"usage": {"billed_units": units, "tokens": {**units, "input_tokens": read + 496}}}


def _event(kind: str, **members: object) -> bytes:
    data = msgspec.json.encode({"type": kind, **members})
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), data)


class _Encoder(native.Encoder):
    def __init__(self, context: ReplyContext) -> None:
        super().__init__(context)
        self._forms: dict[int, str] = {}

    def encode(self, event: events.Event) -> bytes:
        match event:
            case events.Started():
                start = {"message": {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": []}}
                return _event("message-start", id=self.context.reply_id, delta=start)
            case events.PartOpened():
                self._forms[event.part] = event.form
                return self._open(event)
            case events.PartDelta() if event.text:
                return self._delta(event)
            case events.PartClosed():
                kind = "tool-call-end" if self._forms[event.part] == "tool_call" else "content-end"
                return _event(kind, index=event.part)
            case events.Finished():
                self.finish_reason, self.stop_sequence = event.reason, event.stop_sequence
        return b""

    def _open(self, event: events.PartOpened) -> bytes:
        if event.form == "tool_call":
            call = _wire_call(event.id, event.name, "")
            return _event("tool-call-start", index=event.part, delta={"message": {"tool_calls": call}})
        block = {"type": event.form, event.form: ""}
        return _event("content-start", index=event.part, delta={"message": {"content": block}})

    def _delta(self, event: events.PartDelta) -> bytes:
        form = self._forms[event.part]
        if form == "tool_call":
            message: dict[str, object] = {"tool_calls": {"function": {"arguments": event.text}}}
            return _event("tool-call-delta", index=event.part, delta={"message": message})
        message = {"content": {form: event.text}}
        return _event("content-delta", index=event.part, delta={"message": message})

    def finish(self, bill: Bill) -> bytes:
        reason = _finish(self.finish_reason, self.stop_sequence)
        return _event("message-end", delta={"finish_reason": reason, **_usage(bill)}) + b"data: [DONE]\n\n"


def _find(method: str, path: str) -> Call | None:
    if (method, path) == ("POST", "chat"):
        return Call(operation="chat")
    if (method, path) == ("POST", "embed"):
        return Call(operation="embed", format="cohere_embed")
    return Call(operation="models") if (method, path) == ("GET", "models") else None


def _has_key(headers: Mapping[str, str], query: Mapping[str, str]) -> bool:
    scheme, _, key = headers.get("authorization", "").partition(" ")
    return scheme.lower() == "bearer" and bool(key.strip())


def _error(trouble: Trouble, request_id: str) -> tuple[Headers, bytes]:
    """https://docs.cohere.com/reference/errors"""
    wait = trouble.retry_after_s
    if wait is None and trouble.status == 429:
        wait = 1.0
    headers = () if wait is None else (("retry-after", wait_text(wait)),)
    return headers, msgspec.json.encode({"id": request_id, "message": trouble.message})


def _failure(body: bytes, json_array: bool) -> bytes:
    error = msgspec.json.decode(body)["message"]
    return _event("message-end", delta={"finish_reason": "ERROR", "error": error})


def _check(request: chat.ChatRequest) -> None:
    """Reasoning is plain text here."""


FORM = Form(
    name="cohere",
    dialect=native.Codec(
        name=NAME,
        content_type_stream="text/event-stream",
        inspect=inspect,
        decode_request=decode_request,
        encode_reply=encode_reply,
        stream_encoder=_Encoder,
    ),
    versions=("v1", "v2"),
    base_path="",
    find=_find,
    has_key=_has_key,
    missing_key=Trouble(status=401, message="no api key supplied"),
    overloaded_status=503,
    too_long=Trouble(
        status=400,
        message="too many tokens: total number of tokens in the prompt cannot exceed 256000 - received 256001.",
    ),
    headers=lambda request_id: (("x-debug-trace-id", request_id),),
    error=_error,
    failure=_failure,
    garbage=lambda json_array: b'event: content-delta\ndata: {"type":"content-delta","del\n\n',
    check=_check,
    reply_id=lambda digits: f"{digits[:8]}-{digits[8:12]}-4{digits[12:15]}-8{digits[15:18]}-{digits[:12]}",
    mend=native.unmended,
    readable=native.same,
    counting_body=native.same,
    counted=lambda tokens: {"tokens": tokens},
    listed=native.nothing_listed,
    described=lambda model: {"name": model},
)
