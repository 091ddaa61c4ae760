"""A client's request to the canonical form. https://ai.google.dev/api/generate-content#request-body"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from llm_router.wire import chat
from llm_router.wire.chat import Raw
from llm_router.wire.dialect import Inspected
from llm_router.wire.dialects.gemini_generate.foreign import members_beside, unread_parts
from llm_router.wire.dialects.gemini_generate.inspect import (
    Tree,
    is_plain_url,
    response_schema,
    system_parts,
)
from llm_router.wire.dialects.gemini_generate.members import NAME, camel, listed, member, raw_of
from llm_router.wire.dialects.gemini_generate.signatures import Carried, unwrap
from llm_router.wire.jsonschema import from_openapi
from llm_router.wire.media import clean_base64, media_form
from llm_router.wire.routed import MEMBERS

_KNOWN = frozenset(
    {
        "contents",
        "systemInstruction",
        "generationConfig",
        "tools",
        "toolConfig",
        "model",
        "serviceTier",
        *MEMBERS,
    }
)
_CONFIG = frozenset(
    {
        "temperature", "topP", "topK", "maxOutputTokens", "candidateCount", "stopSequences", "seed",
        "presencePenalty", "frequencyPenalty", "responseLogprobs", "logprobs", "responseMimeType",
        "responseSchema", "responseJsonSchema", "_responseJsonSchema", "thinkingConfig",
        "responseModalities",
    }
)  # fmt: skip
_BESIDE = frozenset({"thought", "thoughtSignature", "partMetadata", "videoMetadata", "mediaResolution"})
_EMPTY_SCHEMA = Raw(b'{"type":"object","properties":{}}')


def decode_request(inspected: Inspected) -> chat.ChatRequest:
    """The canonical form of a request that ``inspect`` has checked."""
    tree = inspected.tree
    assert isinstance(tree, Tree)
    body = tree.value
    config: dict[str, Any] = member(body, "generationConfig") or {}
    tool_config: dict[str, Any] = member(body, "toolConfig") or {}
    extras = {
        camel(name): raw_of(value)
        for name, value in body.items()
        if camel(name) not in _KNOWN and value is not None
    }
    rest = {camel(name): value for name, value in config.items() if camel(name) not in _CONFIG}
    response_format = _response_format(config)
    if response_format is None and member(config, "responseMimeType") not in (None, "text/plain"):
        rest["responseMimeType"] = member(config, "responseMimeType")
    if rest:
        extras["generationConfig"] = raw_of(rest)
    choice, tool_rest = _tool_choice(tool_config)
    if tool_rest:
        extras["toolConfig"] = raw_of(tool_rest)
    return chat.ChatRequest(
        model=inspected.model,
        dialect=NAME,
        stream=inspected.stream,
        messages=_messages(body),
        tools=tuple(_tools(listed(body.get("tools")))),
        tool_choice=choice,
        max_tokens=inspected.output_tokens,
        n=inspected.n,
        temperature=member(config, "temperature"),
        top_p=member(config, "topP"),
        top_k=_whole(member(config, "topK")),
        frequency_penalty=member(config, "frequencyPenalty"),
        presence_penalty=member(config, "presencePenalty"),
        stop=tuple(listed(member(config, "stopSequences"))),
        seed=_whole(member(config, "seed")),
        logprobs=_flag(member(config, "responseLogprobs")),
        top_logprobs=_whole(member(config, "logprobs")),
        response_format=response_format,
        reasoning=_reasoning(member(config, "thinkingConfig")),
        modalities=tuple(
            m.lower() for m in listed(member(config, "responseModalities")) if isinstance(m, str)
        ),
        service_tier=inspected.service_tier,
        extras=extras,
        beside=members_beside(body),
        unread=unread_parts(body),
    )


def _whole(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value)


def _flag(value: object) -> bool | None:
    return value if isinstance(value, bool) else None


def _response_format(config: dict[str, Any]) -> chat.ResponseFormat | None:
    found = response_schema(config)
    if found is not None:
        name, schema = found
        if name == "responseSchema":
            schema = from_openapi(schema)
        return chat.ResponseFormat(mode="json_schema", schema=raw_of(schema))
    if member(config, "responseMimeType") == "application/json":
        return chat.ResponseFormat(mode="json_object")
    return None


def _reasoning(config: object) -> chat.Reasoning | None:
    if not isinstance(config, dict):
        return None
    budget, level = _whole(member(config, "thinkingBudget")), member(config, "thinkingLevel")
    effort = level.lower() if isinstance(level, str) and "UNSPECIFIED" not in level.upper() else None
    off = budget == 0
    return chat.Reasoning(
        effort="none" if off else effort,
        budget_tokens=None if off else budget,
        enabled=False if off else None,
        show=member(config, "includeThoughts") is True,
    )


def _tool_choice(config: dict[str, Any]) -> tuple[chat.ToolChoice | None, dict[str, Any]]:
    """The choice, and what of toolConfig has no canonical word."""
    rest = {camel(n): v for n, v in config.items() if camel(n) != "functionCallingConfig" and v is not None}
    calling = member(config, "functionCallingConfig")
    if not isinstance(calling, dict):
        return None, rest
    mode = calling.get("mode")
    mode = mode.upper() if isinstance(mode, str) else "AUTO"
    allowed = tuple(n for n in listed(member(calling, "allowedFunctionNames")) if isinstance(n, str))
    beyond = {camel(n): v for n, v in calling.items() if camel(n) not in ("mode", "allowedFunctionNames")}
    if mode == "VALIDATED":
        beyond["mode"] = mode
    if beyond:
        rest["functionCallingConfig"] = beyond
    match mode:
        case "NONE":
            return chat.ToolChoice(mode="none"), rest
        case "ANY" if len(allowed) == 1:
            return chat.ToolChoice(mode="tool", name=allowed[0]), rest
        case "ANY":
            return chat.ToolChoice(mode="required", allowed=allowed), rest
        case _:
            return chat.ToolChoice(mode="auto", allowed=allowed), rest


def _tools(tools: list[Any]) -> Iterable[chat.Tool]:
    for tool in tools:
        for name, value in tool.items():
            if camel(name) != "functionDeclarations":
                if value is not None:
                    kind = camel(name)
                    yield chat.Tool(name=kind, dialect=NAME, raw=raw_of({kind: value}))
                continue
            for declaration in listed(value):
                description = declaration.get("description")
                yield chat.Tool(
                    name=declaration["name"],
                    description=description if isinstance(description, str) else None,
                    parameters=_parameters(declaration),
                )


def _parameters(declaration: dict[str, Any]) -> Raw | None:
    schema = member(declaration, "parametersJsonSchema")
    if schema is not None:
        return raw_of(schema)
    schema = declaration.get("parameters")
    return raw_of(from_openapi(schema)) if isinstance(schema, dict) and schema else None


def _messages(body: dict[str, Any]) -> tuple[chat.Message, ...]:
    messages: list[chat.Message] = []
    system = [
        chat.Text(text=part["text"])
        for part in system_parts(member(body, "systemInstruction"))
        if isinstance(part, dict) and isinstance(part.get("text"), str)
    ]
    if system:
        messages.append(chat.Message(role="system", parts=tuple(system)))
    calls = _Calls()
    for turn, content in enumerate(listed(member(body, "contents"))):
        parts = listed(content.get("parts"))
        role = content.get("role") or "user"
        if role == "model":
            messages.append(chat.Message(role="assistant", parts=tuple(_model_parts(parts, calls, turn))))
        elif role == "system":
            texts = tuple(chat.Text(text=p["text"]) for p in parts if isinstance(p.get("text"), str))
            messages.append(chat.Message(role="system", parts=texts))
        else:
            messages += _user_messages(parts, calls, turn)
    return tuple(messages)


class _Calls:
    """Which call a result belongs to: by id, else the oldest unanswered one of that name."""

    def __init__(self) -> None:
        self._waiting: list[tuple[str, str]] = []  # (name, id)
        self._minted = 0

    def call(self, name: str, id_: object, turn: int) -> str:
        if not isinstance(id_, str) or not id_:
            id_ = self._mint(turn)
        self._waiting.append((name, id_))
        return id_

    def result(self, name: str, id_: object, turn: int) -> str:
        for waiting in self._waiting:
            if waiting[1] == id_ or (not id_ and waiting[0] == name):
                self._waiting.remove(waiting)
                return waiting[1]
        return id_ if isinstance(id_, str) and id_ else self._mint(turn)

    def _mint(self, turn: int) -> str:
        self._minted += 1
        return f"call_{turn}_{self._minted - 1}"


def _model_parts(parts: list[Any], calls: _Calls, turn: int) -> list[chat.Part]:
    decoded: list[chat.Part] = []
    for part in parts:
        if not _rejoin(decoded, part):
            decoded.append(_part(part, calls, turn))
    return decoded


def _rejoin(decoded: list[chat.Part], part: dict[str, Any]) -> bool:
    """Put another provider's signature back on the part that it was streamed behind.

    A stream can say a signature only when its part is over: in a part of its own without text.
    Pieces of one unsigned thought belong together too.
    """
    last = decoded[-1] if decoded else None
    text = part.get("text")
    if not isinstance(last, chat.Text | chat.Thinking) or last.signature is not None:
        return False
    if not isinstance(text, str) or (part.get("thought") is True) != isinstance(last, chat.Thinking):
        return False
    carried = unwrap(member(part, "thoughtSignature"))
    if carried is not None and carried.origin != NAME and carried.redacted is None and not text:
        if isinstance(last, chat.Thinking):
            decoded[-1] = msgspec.structs.replace(
                last, signature=carried.signature, origin=carried.origin, id=carried.id
            )
        else:
            decoded[-1] = msgspec.structs.replace(last, signature=carried.signature, origin=carried.origin)
        return True
    if carried is None and isinstance(last, chat.Thinking) and last.redacted is None:
        decoded[-1] = msgspec.structs.replace(last, text=last.text + text)
        return True
    return False


def _user_messages(parts: list[Any], calls: _Calls, turn: int) -> list[chat.Message]:
    """One message for each run of function results, and one for each run of anything else."""
    messages: list[chat.Message] = []
    for part in parts:
        answer = member(part, "functionResponse")
        decoded: chat.Part = (
            _result(answer, calls, turn) if isinstance(answer, dict) else _part(part, calls, turn)
        )
        role = "tool" if isinstance(decoded, chat.ToolResult) else "user"
        if messages and messages[-1].role == role:
            messages[-1] = msgspec.structs.replace(messages[-1], parts=(*messages[-1].parts, decoded))
        else:
            messages.append(chat.Message(role=role, parts=(decoded,)))  # type: ignore[arg-type]
    return messages


def _part(part: dict[str, Any], calls: _Calls, turn: int) -> chat.Part:
    carried = unwrap(member(part, "thoughtSignature"))
    signature = carried.signature if carried is not None else None
    origin = carried.origin if carried is not None else None
    call = member(part, "functionCall")
    if isinstance(call, dict):
        args = call.get("args")
        return chat.ToolCall(
            id=calls.call(call["name"], call.get("id"), turn),
            name=call["name"],
            arguments=msgspec.json.encode(args if isinstance(args, dict) else {}).decode(),
            signature=signature,
            origin=origin,
        )
    text = part.get("text")
    kinds = [camel(n) for n, v in part.items() if camel(n) not in _BESIDE and v is not None]
    if isinstance(text, str) or not kinds:
        return _text(text if isinstance(text, str) else "", part.get("thought") is True, carried)
    media = media_of(part, signature, origin)
    if media is not None:
        return media
    return chat.Opaque(dialect=NAME, name=kinds[0], raw=raw_of(part))


def _text(text: str, thought: bool, carried: Carried | None) -> chat.Text | chat.Thinking:
    if not thought:
        return chat.Text(
            text=text,
            signature=carried.signature if carried is not None else None,
            origin=carried.origin if carried is not None else None,
        )
    if carried is None:
        return chat.Thinking(text=text, origin=NAME)
    return chat.Thinking(
        text=text,
        signature=carried.signature,
        redacted=carried.redacted,
        id=carried.id,
        origin=carried.origin,
    )


def media_of(
    part: dict[str, Any], signature: str | None = None, origin: str | None = None
) -> chat.Media | None:
    """Inline data, a public URL, or a file that is stored at Google; None if it is neither."""
    blob, file = member(part, "inlineData"), member(part, "fileData")
    if isinstance(blob, dict):
        mime, data = member(blob, "mimeType"), blob.get("data")
        if not isinstance(mime, str) or not isinstance(data, str):
            return None
        try:
            data = clean_base64(data)
        except ValueError:
            return None
        name = member(blob, "displayName")
        return chat.Media(
            form=media_form(mime),
            data=data,
            media_type=mime,
            filename=name if isinstance(name, str) else None,
            signature=signature,
            origin=origin,
        )
    if not isinstance(file, dict) or not isinstance(member(file, "fileUri"), str):
        return None
    uri, mime = member(file, "fileUri"), member(file, "mimeType")
    mime = mime if isinstance(mime, str) and mime else None
    form = media_form(mime) if mime is not None else "file"
    if is_plain_url(uri):
        return chat.Media(form=form, url=uri, media_type=mime, signature=signature, origin=origin)
    return chat.Media(form=form, file_id=uri, media_type=mime, origin=NAME)


def _result(answer: dict[str, Any], calls: _Calls, turn: int) -> chat.ToolResult:
    name = answer["name"]
    text, is_error = _said(answer.get("response"))
    content: list[chat.Text | chat.Media] = [] if text is None else [chat.Text(text=text)]
    for inner in listed(answer.get("parts")):
        media = media_of(inner) if isinstance(inner, dict) else None
        if media is not None:
            content.append(media)
    return chat.ToolResult(
        call_id=calls.result(name, answer.get("id"), turn),
        name=name,
        content=tuple(content),
        is_error=is_error,
    )


def _said(response: object) -> tuple[str | None, bool]:
    """A function's answer as text, and whether it is an error."""
    if not isinstance(response, dict) or not response:
        return None, False
    if len(response) == 1:
        name, value = next(iter(response.items()))
        if name in ("result", "output", "error") and isinstance(value, str):
            return value, name == "error"
        if name == "error":
            return msgspec.json.encode(value).decode(), True
    return msgspec.json.encode(response).decode(), False
