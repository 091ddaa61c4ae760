"""The simulated provider of Amazon Bedrock's Converse API: what it reads and how it is called.

https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal
from urllib.parse import unquote

import msgspec

from llm_router.sandbox import bedrock_reply, native
from llm_router.sandbox.bedrock_reply import NAME
from llm_router.sandbox.form import Call, Form, Headers, Trouble, told_wait
from llm_router.sandbox.signature import check_thinking
from llm_router.wire import chat
from llm_router.wire.dialect import Inspected

_EXCEPTIONS = {
    400: "ValidationException", 401: "UnrecognizedClientException", 403: "AccessDeniedException",
    404: "ResourceNotFoundException", 408: "ModelTimeoutException", 424: "ModelErrorException",
    429: "ThrottlingException", 503: "ServiceUnavailableException",
}  # fmt: skip
_MEDIA = {"image": "image/", "video": "video/"}


class _Bytes(msgspec.Struct):
    bytes: str = ""


class _Media(msgspec.Struct):
    format: str
    source: _Bytes
    name: str | None = None


class _Use(msgspec.Struct):
    toolUseId: str
    name: str
    input: dict[str, Any]


class _ResultBlock(msgspec.Struct):
    text: str | None = None
    json: Any = None
    image: _Media | None = None


class _Result(msgspec.Struct):
    toolUseId: str
    content: list[_ResultBlock]
    status: Literal["success", "error"] = "success"


class _Thought(msgspec.Struct):
    text: str
    signature: str | None = None


class _Reasoning(msgspec.Struct):
    reasoningText: _Thought | None = None
    redactedContent: str | None = None


class _CachePoint(msgspec.Struct):
    type: Literal["default"]
    ttl: str | None = None


class _Block(msgspec.Struct):
    text: str | None = None
    image: _Media | None = None
    video: _Media | None = None
    document: _Media | None = None
    toolUse: _Use | None = None
    toolResult: _Result | None = None
    reasoningContent: _Reasoning | None = None
    cachePoint: _CachePoint | None = None


class _Message(msgspec.Struct):
    role: Literal["user", "assistant"]
    content: list[_Block]


class _Schema(msgspec.Struct):
    json: msgspec.Raw


class _Spec(msgspec.Struct):
    name: str
    inputSchema: _Schema
    description: str | None = None


class _Tool(msgspec.Struct):
    toolSpec: _Spec | None = None


class _ToolConfig(msgspec.Struct):
    tools: list[_Tool]
    toolChoice: dict[str, dict[str, str]] | None = None


class _Inference(msgspec.Struct):
    maxTokens: int | None = None
    temperature: float | None = None
    topP: float | None = None
    stopSequences: list[str] = []


class _Thinking(msgspec.Struct):
    type: Literal["enabled", "disabled", "adaptive"]
    budget_tokens: int | None = None


class _Fields(msgspec.Struct):
    thinking: _Thinking | None = None


class _Request(msgspec.Struct):
    messages: list[_Message]
    system: list[_Block] = []
    inferenceConfig: _Inference = msgspec.field(default_factory=_Inference)
    toolConfig: _ToolConfig | None = None
    additionalModelRequestFields: _Fields = msgspec.field(default_factory=_Fields)
    outputConfig: dict[str, Any] = {}


class _Tree(msgspec.Struct):
    model: str
    stream: bool
    request: _Request


def inspect(body: bytes, model: str | None, stream: bool | None) -> Inspected:
    request = msgspec.json.decode(body, type=_Request)
    name = model or ""
    return Inspected(
        model=name, stream=bool(stream), tree=_Tree(model=name, stream=bool(stream), request=request)
    )


def decode_request(inspected: Inspected) -> chat.ChatRequest:
    tree = inspected.tree
    assert isinstance(tree, _Tree)
    request, config = tree.request, tree.request.inferenceConfig
    names = {b.toolUse.toolUseId: b.toolUse.name for m in request.messages for b in m.content if b.toolUse}
    messages = [chat.Message(role=m.role, parts=_parts(m.content, names)) for m in request.messages]
    if request.system:
        messages.insert(0, chat.Message(role="system", parts=_parts(request.system, names)))
    tools = request.toolConfig
    thinks = request.additionalModelRequestFields.thinking
    return chat.ChatRequest(
        model=tree.model,
        dialect=NAME,
        stream=tree.stream,
        messages=tuple(messages),
        tools=()
        if tools is None
        else tuple(_tool(t.toolSpec) for t in tools.tools if t.toolSpec is not None),
        tool_choice=None if tools is None else _choice(tools.toolChoice),
        max_tokens=config.maxTokens,
        temperature=config.temperature,
        top_p=config.topP,
        stop=tuple(config.stopSequences),
        response_format=_format(request.outputConfig),
        reasoning=None
        if thinks is None
        else chat.Reasoning(
            enabled=thinks.type != "disabled",
            adaptive=thinks.type == "adaptive",
            budget_tokens=thinks.budget_tokens,
        ),
    )


def _tool(spec: _Spec) -> chat.Tool:
    return chat.Tool(name=spec.name, description=spec.description, parameters=spec.inputSchema.json)


def _choice(choice: dict[str, dict[str, str]] | None) -> chat.ToolChoice | None:
    if not choice or "auto" in choice:
        return None
    if "any" in choice:
        return chat.ToolChoice(mode="required")
    return chat.ToolChoice(mode="tool", name=choice.get("tool", {}).get("name"))


def _format(output: dict[str, Any]) -> chat.ResponseFormat | None:
    try:
        schema = output["textFormat"]["structure"]["jsonSchema"]["schema"]
    except (KeyError, TypeError):
        return None
    return chat.ResponseFormat(mode="json_schema", schema=chat.Raw(str(schema).encode()))


def _parts(blocks: list[_Block], names: Mapping[str, str]) -> tuple[chat.Part, ...]:
    found: list[chat.Part] = []
    for block in blocks:
        if block.cachePoint is not None and found:
            mark = chat.CacheMark(ttl=block.cachePoint.ttl)
            if isinstance(found[-1], chat.Text | chat.Media | chat.ToolCall | chat.ToolResult):
                found[-1] = msgspec.structs.replace(found[-1], cache=mark)
        elif (part := _part(block, names)) is not None:
            found.append(part)
    return tuple(found)


def _part(block: _Block, names: Mapping[str, str]) -> chat.Part | None:
    if block.text is not None:
        return chat.Text(text=block.text)
    if block.toolUse is not None:
        use = block.toolUse
        return chat.ToolCall(id=use.toolUseId, name=use.name, arguments=native.json_text(use.input))
    if block.toolResult is not None:
        return _result(block.toolResult, names)
    if block.reasoningContent is not None:
        return _thinking(block.reasoningContent)
    for form, media in (("image", block.image), ("video", block.video), ("file", block.document)):
        if media is not None:
            return _media(form, media)
    return None


def _media(form: str, media: _Media) -> chat.Media:
    kind = _MEDIA.get(form, "application/") + media.format
    return chat.Media(form=form, data=media.source.bytes, media_type=kind, filename=media.name)  # type: ignore[arg-type]


def _result(result: _Result, names: Mapping[str, str]) -> chat.ToolResult:
    content: list[chat.Text | chat.Media] = []
    for block in result.content:
        if block.image is not None:
            content.append(_media("image", block.image))
        else:
            text = block.text if block.json is None else native.json_text(block.json)
            content.append(chat.Text(text=text or ""))
    return chat.ToolResult(
        call_id=result.toolUseId,
        name=names.get(result.toolUseId),
        content=tuple(content),
        is_error=result.status == "error",
    )


def _thinking(block: _Reasoning) -> chat.Thinking:
    if block.reasoningText is None:
        return chat.Thinking(redacted=block.redactedContent, origin=NAME)
    return chat.Thinking(text=block.reasoningText.text, signature=block.reasoningText.signature, origin=NAME)


def _find(method: str, path: str) -> Call | None:
    """``model/{model}/converse``, and ``/invoke`` for embeddings; the model may be an ARN with slashes in it."""
    model, _, verb = unquote(path).removeprefix("model/").rpartition("/")
    if method == "POST" and path.startswith("model/") and verb == "invoke":
        return Call(operation="embed", model=model, format="bedrock_embed")
    if method != "POST" or not path.startswith("model/") or verb not in ("converse", "converse-stream"):
        return None
    return Call(operation="chat", model=model, stream=verb == "converse-stream")


def _error(trouble: Trouble, request_id: str) -> tuple[Headers, bytes]:
    """https://docs.aws.amazon.com/bedrock/latest/APIReference/CommonErrors.html"""
    status = trouble.status
    name = _EXCEPTIONS.get(status, "InternalServerException" if status >= 500 else "ValidationException")
    message = trouble.message if trouble.param is None else f"{trouble.param}: {trouble.message}"
    headers = (("x-amzn-errortype", name), *told_wait(trouble))
    return headers, msgspec.json.encode({"message": message})


FORM = Form(
    name="bedrock",
    dialect=native.Codec(
        name=NAME,
        content_type_stream="application/vnd.amazon.eventstream",
        inspect=inspect,
        decode_request=decode_request,
        encode_reply=bedrock_reply.encode_reply,
        stream_encoder=bedrock_reply.Encoder,
    ),
    versions=(),
    base_path="",
    find=_find,
    has_key=lambda headers, query: bool(headers.get("authorization")),
    missing_key=Trouble(status=403, message="Missing Authentication Token"),
    overloaded_status=503,
    too_long=Trouble(status=400, message="Input is too long for requested model."),
    headers=lambda request_id: (("x-amzn-requestid", request_id),),
    error=_error,
    failure=bedrock_reply.failure,
    garbage=bedrock_reply.garbage,
    check=check_thinking,
    reply_id=lambda digits: digits,
    mend=native.unmended,
    readable=native.same,
    counting_body=native.same,
    counted=lambda tokens: {"inputTokens": tokens},
    listed=native.nothing_listed,
    described=lambda model: {"modelId": model},
)
