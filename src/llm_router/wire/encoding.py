"""What the request encoders of plain provider dialects share: limits, tools, texts of parts."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from llm_router.domain.errors import UnsupportedContent
from llm_router.wire import chat, media
from llm_router.wire.chat import Raw
from llm_router.wire.dialect import Target
from llm_router.wire.jsonschema.closed import unenforced
from llm_router.wire.jsonschema.root import object_root
from llm_router.wire.lenient import load_object
from llm_router.wire.loss import Losses

CUSTOM_INPUT = "input"
"""The one argument of a function that stands for a free-text tool."""

_CUSTOM_SCHEMA = Raw(b'{"type":"object","properties":{"input":{"type":"string"}},"required":["input"]}')
_FUNCTIONS_ALONE = re.compile(r"(openai[./])?(gpt-3|gpt-4|chatgpt-4|gpt-oss|o[134])")
"""OpenAI's models from before free-text tools."""

_SILENT_EXTRAS = ("stream_options", "usage", "store", "prompt_cache_retention", "prompt_cache_options")
"""Members about the transport or the provider's own storage: nothing of the answer is lost."""

JSON_ONLY = "Answer with one JSON object and nothing else: no words before or after it and no code fence."
JSON_SCHEMA = (
    "Answer with one JSON value that satisfies the JSON schema below, and nothing else: "
    "no words before or after it and no code fence.\n\n"
)


def output_limit(request: chat.ChatRequest, target: Target, losses: Losses) -> int | None:
    """The limit of output tokens to write; None leaves it to the provider."""
    asked, most = request.max_tokens, target.output_tokens_max
    if asked is None:
        cap = target.output_tokens_cap
        return cap if cap is None or most is None else min(cap, most)
    if most is not None and asked > most:
        losses.add("max_tokens", f"the model gives at most {most} tokens")
        return most
    return asked


def offered_tools(request: chat.ChatRequest, losses: Losses) -> list[chat.Tool]:
    """The functions that the model may call: all, or those that ``tool_choice`` leaves."""
    choice = request.tool_choice
    names = choice.allowed if choice is not None else ()
    if choice is not None and choice.mode == "tool" and choice.name is not None:
        names = (choice.name,)
    kept: list[chat.Tool] = []
    for tool in request.tools:
        if tool.raw is not None:
            losses.add(f"tools[{tool.name}]", f"only {tool.dialect} has this tool")
        elif not names or tool.name in names:
            kept.append(tool)
    return kept


def parameters_of(tool: chat.Tool, losses: Losses) -> Raw:
    """The schema of a tool's arguments, always one of an object."""
    if tool.custom:
        if tool.format is not None and b"grammar" in bytes(tool.format):
            losses.add("tools[].custom.format", "free-text tools have no grammar here")
        return _CUSTOM_SCHEMA
    parameters, lost = object_root(tool.parameters)
    for loss in lost:
        losses.add(f"tools[].function.parameters.{loss.field}", loss.why)
    return parameters


def lose_words(schema: Raw, field: str, losses: Losses) -> None:
    """Declare the words of a schema that a guarantee was asked for, and that are only told to the model."""
    words = unenforced(schema)
    if words:
        losses.add(field, f"told to the model, not enforced: {words}")


def knows_custom(target: Target) -> bool:
    """Whether a model behind an OpenAI API takes free-text tools: OpenAI's own do, since GPT-5.

    https://platform.openai.com/docs/guides/function-calling#custom-tools
    """
    return "developer" in target.knows and _FUNCTIONS_ALONE.match(target.base) is None


def functions_alone(request: chat.ChatRequest, losses: Losses) -> chat.ChatRequest:
    """The request with free-text tools as functions of one text, for providers that know functions alone."""
    if not any(tool.custom for tool in request.tools) and not _speaks_custom(request):
        return request
    tools = tuple(
        msgspec.structs.replace(tool, custom=False, format=None, parameters=parameters_of(tool, losses))
        if tool.custom
        else tool
        for tool in request.tools
    )
    messages = tuple(
        msgspec.structs.replace(message, parts=tuple(_as_function(part, losses) for part in message.parts))
        for message in request.messages
    )
    return msgspec.structs.replace(request, tools=tools, messages=messages)


def _speaks_custom(request: chat.ChatRequest) -> bool:
    return any(getattr(part, "custom", False) for message in request.messages for part in message.parts)


def _as_function(part: chat.Part, losses: Losses) -> chat.Part:
    if isinstance(part, chat.ToolCall) and part.custom:
        arguments = bytes(arguments_object(part, losses)).decode()
        return msgspec.structs.replace(part, custom=False, arguments=arguments)
    if isinstance(part, chat.ToolResult) and part.custom:
        return msgspec.structs.replace(part, custom=False)
    return part


def schema_name(name: str | None) -> str:
    """The name of an answer's schema in the letters that OpenAI takes: 1 to 64 of a-z, A-Z, 0-9, _ and -."""
    return re.sub(r"[^a-zA-Z0-9_-]", "_", name or "")[:64] or "response"


def arguments_object(call: chat.ToolCall, losses: Losses) -> Raw:
    """A call's arguments as a JSON object, verbatim where they are one."""
    if call.custom:
        return Raw(msgspec.json.encode({CUSTOM_INPUT: call.arguments}))
    if not call.arguments.strip():
        return Raw(b"{}")
    data = call.arguments.encode("utf-8", "replace")
    try:
        msgspec.json.decode(data, type=dict[str, Any])
    except (msgspec.MsgspecError, ValueError, RecursionError):
        losses.add(
            "messages[].tool_calls[].function.arguments",
            'they are no JSON object and were sent as the text member "_raw" of one',
        )
        return Raw(msgspec.json.encode({"_raw": call.arguments}))
    return Raw(data)


def result_text(result: chat.ToolResult) -> str:
    """A tool's answer as text; a failure is told as the member ``error`` of a JSON object."""
    text = "\n".join(part.text for part in result.content if isinstance(part, chat.Text))
    if not result.is_error:
        return text
    known = load_object(text.encode("utf-8", "replace"))
    if known is not None and "error" in known:
        return text
    return msgspec.json.encode({"error": text}).decode()


def document_text(part: chat.Media) -> str:
    """A plain-text document as text, its name before it.

    Raises:
        UnsupportedContent: it is something else, or cannot be read.
    """
    if part.data is None or not (part.media_type or "").startswith("text/"):
        what = part.media_type or part.form
        raise UnsupportedContent(
            f"This model takes no {what}: send text or an image (jpeg, png, gif, webp).", param="messages"
        )
    try:
        text = media.decode_text(part.data)
    except ValueError as error:
        raise UnsupportedContent(f"The document cannot be read: {error}.", param="messages") from None
    return f"{part.filename}:\n\n{text}" if part.filename else text


def inlined(part: chat.Media) -> chat.Media:
    """The part with a data URL taken apart.

    Raises:
        UnsupportedContent: the data URL is malformed.
    """
    if part.url is None or not media.is_data_url(part.url):
        return part
    try:
        media_type, data = media.parse_data_url(part.url)
    except ValueError as error:
        raise UnsupportedContent(f"A data URL cannot be read: {error}.", param="messages") from None
    return msgspec.structs.replace(part, url=None, data=data, media_type=media_type)


def is_plain_thought(part: chat.Thinking, own: str) -> bool:
    """Whether reasoning may be sent to the dialect ``own``: its own, or text that nobody has signed."""
    if part.origin == own:
        return part.redacted is None
    return bool(part.text) and part.signature is None and part.redacted is None


def mentions_json(request: chat.ChatRequest) -> bool:
    """Whether the conversation speaks of JSON, as JSON modes demand."""
    texts = (
        part.text for message in request.messages for part in message.parts if isinstance(part, chat.Text)
    )
    return any("json" in text.lower() for text in texts)


def lose_marks(request: chat.ChatRequest, losses: Losses) -> None:
    """Declare what only other dialects have on messages and tools: names, cache marks."""
    if any(message.name is not None for message in request.messages):
        losses.add("messages[].name", "messages have no author's name")
    parts = (part for message in request.messages for part in message.parts)
    if any(getattr(part, "cache", None) is not None for part in (*parts, *request.tools)):
        losses.add("cache_control", "the provider caches by itself")


def lose_options(
    request: chat.ChatRequest, losses: Losses, *, said: tuple[str, ...] = (), extras: tuple[str, ...] = ()
) -> None:
    """Declare the options that the dialect has no word for, but those it has ``said``."""
    for name, present in _options(request).items():
        if present and name not in said:
            losses.add(name, "the API has no such option")
    for name, raw in request.extras.items():
        if name not in _SILENT_EXTRAS and name not in extras and bytes(raw) not in (b"null", b"false"):
            losses.add(name, "the API has no such option")


def _options(request: chat.ChatRequest) -> dict[str, bool]:
    return {
        "n": request.n > 1,
        "logprobs": request.logprobs is True,
        "top_logprobs": request.top_logprobs is not None,
        "seed": request.seed is not None,
        "verbosity": request.verbosity not in (None, "medium"),
        "user": request.user is not None,
        "metadata": request.metadata is not None,
        "modalities": any(modality != "text" for modality in request.modalities),
        "prompt_cache_key": request.prompt_cache_key is not None,
        "service_tier": request.service_tier not in (None, "auto", "default"),
        "parallel_tool_calls": request.parallel_tool_calls is False and bool(request.tools),
    }
