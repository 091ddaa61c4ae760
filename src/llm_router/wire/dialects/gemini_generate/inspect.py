"""A request as a client sent it: checked the way Google's API checks it, and measured.

Members are taken in camelCase and snake_case, and single values where a list belongs, as Google
does. Unknown members are let through. https://ai.google.dev/api/generate-content#request-body
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from llm_router.domain.errors import InvalidRequest
from llm_router.wire.dialect import Inspected
from llm_router.wire.dialects.gemini_generate.members import camel, listed, member
from llm_router.wire.hosted import Hosted
from llm_router.wire.media import is_http_url, media_form
from llm_router.wire.routed import routing_of

ROLES = ("user", "model", "function", "system", "tool")
STOPS_MAX = 5
CANDIDATES_MAX = 8
TOKENS_MAX = 10**8  # the largest token limit that is believed
_PARTS = (
    "text", "inlineData", "fileData", "functionCall", "functionResponse", "executableCode",
    "codeExecutionResult", "toolCall", "toolResponse", "thought", "thoughtSignature",
)  # fmt: skip
_NUMBERS = (
    ("temperature", 0.0, 2.0),
    ("topP", 0.0, 1.0),
    ("topK", 0.0, None),
    ("presencePenalty", -2.0, 2.0),
    ("frequencyPenalty", -2.0, 2.0),
)


class Tree(msgspec.Struct, frozen=True):
    """The body as bytes, and decoded. Not to be changed."""

    body: bytes
    value: dict[str, Any]


def inspect(body: bytes, path_model: str | None, path_stream: bool | None) -> Inspected:
    """Validate and measure a request. Model and streaming come from the path.

    Raises:
        InvalidRequest: with ``param`` set, for what Google's API refuses too.
    """
    value = _parse(body)
    wrapped = member(value, "generateContentRequest")  # the long form of countTokens
    if isinstance(wrapped, dict) and member(value, "contents") is None:
        value = wrapped
    _once(value, "")
    config = member(value, "generationConfig")
    if isinstance(config, dict):
        _once(config, "generationConfig.")
    inspected = Inspected(model=_model(path_model, value), stream=bool(path_stream), tree=Tree(body, value))
    needs: set[str] = {"stream"} if inspected.stream else set()
    hosted = Hosted()
    _contents(inspected, value, needs, hosted)
    _config(inspected, value, needs)
    _tools(inspected, value, needs, hosted)
    tier = member(value, "serviceTier")
    if tier is not None and not isinstance(tier, str):
        raise InvalidRequest("serviceTier must be a string.", param="serviceTier")
    inspected.service_tier = tier
    inspected.needs = frozenset(needs | hosted.needs())
    inspected.beside = hosted.beside()
    inspected.routing = routing_of(value)
    return inspected


def _once(value: dict[str, Any], path: str) -> None:
    """Refuse a member in both spellings: what we read might not be what the provider reads."""
    if not any("_" in name for name in value):
        return
    seen: set[str] = set()
    for name in value:
        plain = camel(name)
        if plain in seen:
            raise InvalidRequest(
                f"{path}{plain} is given twice, in camelCase and in snake_case: send it once.",
                param=f"{path}{plain}",
            )
        seen.add(plain)


def _parse(body: bytes) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"The request body is not valid JSON: {error}") from error
    except RecursionError as error:
        raise InvalidRequest("The request body is nested too deeply.") from error
    if not isinstance(value, dict):
        raise InvalidRequest("The request body must be a JSON object with the member contents.")
    return value


def inspect_count_tokens(body: bytes, path_model: str | None, path_stream: bool | None) -> Inspected:
    """The same for ``:countTokens``, whose body holds contents alone or a whole ``generateContentRequest``.

    Raises:
        InvalidRequest: as for inspect.
    """
    try:
        inner = msgspec.json.decode(body, type=_Counted).generateContentRequest
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        inner = None  # what is wrong is said below
    return inspect(body if inner is None else bytes(inner), path_model, path_stream)


class _Counted(msgspec.Struct):
    generateContentRequest: msgspec.Raw | None = None


def _model(path_model: str | None, value: dict[str, Any]) -> str:
    name = path_model if path_model else value.get("model")
    if not isinstance(name, str) or not name:
        raise InvalidRequest(
            "Name a model in the path: /v1beta/models/{model}:generateContent.", param="model"
        )
    if "/models/" in name and name.startswith(("publishers/", "projects/")):
        return name.rpartition("/models/")[2]
    return name.removeprefix("models/")


def _contents(inspected: Inspected, value: dict[str, Any], needs: set[str], hosted: Hosted) -> None:
    contents = listed(member(value, "contents"))
    if not contents:
        raise InvalidRequest("contents is required and must not be empty.", param="contents")
    urls: list[tuple[str, str]] = []
    for number, content in enumerate(contents):
        path = f"contents[{number}]"
        if not isinstance(content, dict):
            raise InvalidRequest(f"{path} must be an object with role and parts.", param=path)
        role = content.get("role")
        if role is not None and role not in ROLES:
            raise InvalidRequest(f"{path}.role must be user or model, not {role!r}.", param=f"{path}.role")
        parts = listed(content.get("parts"))
        if not parts:
            raise InvalidRequest(f"{path}.parts must not be empty.", param=f"{path}.parts")
        for index, part in enumerate(parts):
            _part(inspected, part, f"{path}.parts[{index}]", needs, urls, hosted)
    system = member(value, "systemInstruction")
    for index, part in enumerate(system_parts(system)):
        _part(inspected, part, f"systemInstruction.parts[{index}]", needs, urls, hosted)
    inspected.media_urls = tuple(dict.fromkeys(urls))


def system_parts(system: object) -> list[Any]:
    """The parts of a system instruction: a content, or plain text.

    Raises:
        InvalidRequest: neither.
    """
    if system is None:
        return []
    if isinstance(system, str):
        return [{"text": system}]
    if not isinstance(system, dict):
        raise InvalidRequest("systemInstruction must be an object with parts.", param="systemInstruction")
    return listed(system.get("parts"))


def _part(
    inspected: Inspected,
    part: object,
    path: str,
    needs: set[str],
    urls: list[tuple[str, str]],
    hosted: Hosted,
) -> None:
    if not isinstance(part, dict):
        raise InvalidRequest(f'{path} must be an object such as {{"text": "..."}}.', param=path)
    if not part:
        raise InvalidRequest(f"{path} must have one of {', '.join(_PARTS[:5])}.", param=path)
    text = part.get("text")
    if text is not None:
        if not isinstance(text, str):
            raise InvalidRequest(f"{path}.text must be a string.", param=f"{path}.text")
        inspected.text_bytes += _size(text)
    for name in ("inlineData", "fileData", "functionCall", "functionResponse"):
        value = member(part, name)
        if value is not None and not isinstance(value, dict):
            raise InvalidRequest(f"{path}.{name} must be an object.", param=f"{path}.{name}")
    _media(inspected, part, path, needs, urls, hosted)
    for name in ("functionCall", "functionResponse"):
        value = member(part, name)
        if value is None:
            continue
        if not isinstance(value.get("name"), str) or not value["name"]:
            raise InvalidRequest(f"{path}.{name}.name is required.", param=f"{path}.{name}.name")
        inspected.text_bytes += len(msgspec.json.encode(value.get("args", value.get("response"))))
        for index, inner in enumerate(listed(value.get("parts")) if name == "functionResponse" else []):
            if isinstance(inner, dict):
                _media(inspected, inner, f"{path}.{name}.parts[{index}]", needs, urls, hosted)


def _media(
    inspected: Inspected,
    part: dict[str, Any],
    path: str,
    needs: set[str],
    urls: list[tuple[str, str]],
    hosted: Hosted,
) -> None:
    blob, file = member(part, "inlineData"), member(part, "fileData")
    if isinstance(blob, dict):
        mime, data = member(blob, "mimeType"), blob.get("data")
        if not isinstance(mime, str) or not mime:
            raise InvalidRequest(
                f"{path}.inlineData.mimeType is required.", param=f"{path}.inlineData.mimeType"
            )
        if not isinstance(data, str) or not data:
            raise InvalidRequest(
                f"{path}.inlineData.data must be base64 text.", param=f"{path}.inlineData.data"
            )
        _weigh(inspected, media_form(mime), len(data) * 3 // 4, needs)
    if isinstance(file, dict):
        uri, mime = member(file, "fileUri"), member(file, "mimeType")
        if not isinstance(uri, str) or not uri:
            raise InvalidRequest(f"{path}.fileData.fileUri is required.", param=f"{path}.fileData.fileUri")
        form = media_form(mime) if isinstance(mime, str) else "file"
        _weigh(inspected, form, 0, needs)
        if is_plain_url(uri):
            urls.append((form, uri))
        else:
            hosted.unseen("video" if _host(uri) in _VIDEOS else form)


def is_plain_url(uri: str) -> bool:
    """Whether anybody could fetch it: not a file stored at Google, nor a YouTube video."""
    if not is_http_url(uri):
        return False
    host = _host(uri)
    return not (host.endswith(".googleapis.com") or host in _VIDEOS)


def _host(uri: str) -> str:
    """The host that an address names, bare."""
    place = re.split(r"[/\\?#]", uri.partition("://")[2], maxsplit=1)[0]
    return place.rpartition("@")[2].partition(":")[0].rstrip(".").lower()


_VIDEOS = frozenset({"youtube.com", "www.youtube.com", "m.youtube.com", "music.youtube.com", "youtu.be"})
"""Places whose videos only Google reads."""


def _weigh(inspected: Inspected, form: str, size: int, needs: set[str]) -> None:
    needs.add(form)
    match form:
        case "image":
            inspected.images += 1
        case "audio":
            inspected.audio_bytes += size
        case _:
            inspected.file_bytes += size


def _config(inspected: Inspected, value: dict[str, Any], needs: set[str]) -> None:
    config = member(value, "generationConfig")
    if config is None:
        return
    if not isinstance(config, dict):
        raise InvalidRequest("generationConfig must be an object.", param="generationConfig")
    for name, low, high in _NUMBERS:
        _bounded(config, name, low, high)
    inspected.output_tokens = _count(config, "maxOutputTokens", 1, TOKENS_MAX)
    inspected.n = _count(config, "candidateCount", 1, CANDIDATES_MAX) or 1
    _count(config, "seed", None, None)
    if isinstance(member(config, "logprobs"), bool):
        raise InvalidRequest(
            "generationConfig.logprobs must be a whole number.", param="generationConfig.logprobs"
        )
    thinking = member(config, "thinkingConfig")
    if isinstance(thinking, dict) and isinstance(member(thinking, "thinkingBudget"), bool):
        path = "generationConfig.thinkingConfig.thinkingBudget"
        raise InvalidRequest(f"{path} must be a whole number.", param=path)
    stops = listed(member(config, "stopSequences"))
    if len(stops) > STOPS_MAX or not all(isinstance(stop, str) for stop in stops):
        path = "generationConfig.stopSequences"
        raise InvalidRequest(f"{path} must be a list of at most {STOPS_MAX} strings.", param=path)
    schema = response_schema(config)
    if schema is not None:
        needs.add("json_schema")
        inspected.text_bytes += len(msgspec.json.encode(schema[1]))
    elif member(config, "responseMimeType") == "application/json":
        needs.add("json_object")


def response_schema(config: dict[str, Any]) -> tuple[str, Any] | None:
    """The schema of the answer with the member that holds it; None if there is none."""
    for name in ("responseJsonSchema", "_responseJsonSchema", "responseSchema"):
        schema = member(config, name)
        if schema is not None:
            return name, schema
    return None


def _bounded(config: dict[str, Any], name: str, low: float, high: float | None) -> None:
    number, path = member(config, name), f"generationConfig.{name}"
    if number is None:
        return
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise InvalidRequest(f"{path} must be a number.", param=path)
    if number < low or (high is not None and number > high):
        bounds = f"{low:g} to {high:g}" if high is not None else f"{low:g} or more"
        raise InvalidRequest(f"{path} must be {bounds}, not {number:g}.", param=path)


def _count(config: dict[str, Any], name: str, low: int | None, high: int | None) -> int | None:
    number, path = member(config, name), f"generationConfig.{name}"
    if number is None:
        return None
    if isinstance(number, float) and number.is_integer():
        number = int(number)
    if isinstance(number, bool) or not isinstance(number, int):
        raise InvalidRequest(f"{path} must be a whole number.", param=path)
    if (low is not None and number < low) or (high is not None and number > high):
        bounds = f"{low} to {high}" if high is not None else f"{low} or more"
        raise InvalidRequest(f"{path} must be {bounds}, not {number}.", param=path)
    return number


def _hosted(tool: dict[str, Any], hosted: Hosted) -> None:
    """Note the tools that Google runs: https://ai.google.dev/gemini-api/docs/tools"""
    for name, of in tool.items():
        kind = camel(name)
        if of is None or kind in ("functionDeclarations", "computerUse", "type"):
            continue
        if kind in ("googleSearch", "googleSearchRetrieval"):
            hosted.search()
        elif kind in ("urlContext", "fileSearch", "codeExecution", "mcpServers"):
            hosted.lookup()
        else:
            hosted.tool(kind)


def _tools(inspected: Inspected, value: dict[str, Any], needs: set[str], hosted: Hosted) -> None:
    for number, tool in enumerate(listed(value.get("tools"))):
        path = f"tools[{number}]"
        if not isinstance(tool, dict):
            raise InvalidRequest(f"{path} must be an object.", param=path)
        _hosted(tool, hosted)
        declarations = listed(member(tool, "functionDeclarations"))
        for index, declaration in enumerate(declarations):
            where = f"{path}.functionDeclarations[{index}]"
            if not isinstance(declaration, dict):
                raise InvalidRequest(f"{where} must be an object.", param=where)
            name = declaration.get("name")
            if not isinstance(name, str) or not name:
                raise InvalidRequest(f"{where}.name is required.", param=f"{where}.name")
        if declarations:
            needs.add("tools")
            inspected.text_bytes += len(msgspec.json.encode(declarations))
    config = member(value, "toolConfig")
    if config is not None and not isinstance(config, dict):
        raise InvalidRequest("toolConfig must be an object.", param="toolConfig")


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
