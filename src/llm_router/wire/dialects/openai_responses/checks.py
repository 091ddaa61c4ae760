"""What a request's members must look like. Each error says which member, and what to change."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from llm_router.domain.errors import InvalidRequest
from llm_router.wire.asked import bad, number_within, of_type, whole_within
from llm_router.wire.dialects.openai_responses.words import kind_of

TOKENS_MAX = 10**8
"""The largest token limit that is believed."""

TOP_LOGPROBS_MAX = 20
ROLES: Final = ("user", "assistant", "system", "developer")
INPUT_ELSEWHERE: Final = ("prompt", "previous_response_id", "conversation")
"""Members that may stand for ``input``."""


def check_members(members: dict[str, Any]) -> None:
    """Check every known member.

    Raises:
        InvalidRequest: the first that is wrong.
    """
    _check_input(members)
    for name, value in members.items():
        check = _CHECKS.get(name)
        if check is not None and value is not None:
            check(name, value)
    if members.get("previous_response_id") is not None and members.get("conversation") is not None:
        raise InvalidRequest(
            "'previous_response_id' and 'conversation' exclude each other: send only one of them.",
            param="previous_response_id",
        )


# -- input -----------------------------------------------------------------------------------------


def _check_input(members: dict[str, Any]) -> None:
    given = members.get("input")
    if isinstance(given, str):
        return
    if given is None:
        if not any(members.get(name) is not None for name in INPUT_ELSEWHERE):
            raise InvalidRequest(
                "'input' is missing: send a text, or a list of items such as "
                '[{"role": "user", "content": "Hello"}].',
                param="input",
            )
        return
    if not isinstance(given, list):
        raise bad("input", "must be a string or a list of items")
    if not given:
        raise bad("input", "holds nothing: send a text, or at least one item")
    check_items(given, "input")


def check_items(given: object, name: str) -> None:
    """Check a list of items.

    Raises:
        InvalidRequest: one that is wrong.
    """
    if not isinstance(given, list):
        raise bad(name, "must be a list of items")
    for number, item in enumerate(given):
        _check_item(item, f"{name}[{number}]")


def _check_item(item: object, at: str) -> None:
    if not isinstance(item, dict):
        raise bad(at, "must be an object")
    if item.get("type") is not None and not isinstance(item["type"], str):
        raise bad(f"{at}.type", "must be a string")
    match kind_of(item):
        case "message":
            if item.get("role") not in ROLES:
                raise bad(f"{at}.role", f"must be one of {', '.join(ROLES)}")
            _check_content(item.get("content"), f"{at}.content")
        case "function_call":
            _check_texts(item, at, "call_id", "name", "arguments")
        case "custom_tool_call":
            _check_texts(item, at, "call_id", "name", "input")
        case "function_call_output" | "custom_tool_call_output":
            _check_texts(item, at, "call_id")
            _check_content(item.get("output"), f"{at}.output")
        case "reasoning":
            _check_reasoning(item, at)
        case "item_reference":
            _check_texts(item, at, "id")


def _check_texts(item: dict[str, Any], at: str, *names: str) -> None:
    for name in names:
        if not isinstance(item.get(name), str):
            raise bad(f"{at}.{name}", "must be a string")
        if name in ("call_id", "name", "id") and not item[name]:
            raise bad(f"{at}.{name}", "must not be empty")


def _check_reasoning(item: dict[str, Any], at: str) -> None:
    for name in ("summary", "content"):
        parts = item.get(name)
        if parts is None:
            continue
        if not isinstance(parts, list):
            raise bad(f"{at}.{name}", "must be a list")
        for number, part in enumerate(parts):
            if not isinstance(part, dict) or not isinstance(part.get("text"), str):
                raise bad(f"{at}.{name}[{number}]", "must be an object with a text")
    for name in ("encrypted_content", "id"):
        if item.get(name) is not None and not isinstance(item[name], str):
            raise bad(f"{at}.{name}", "must be a string")


_TEXTS: Final = {"input_text": "text", "output_text": "text", "text": "text", "refusal": "refusal"}


def _check_content(content: object, at: str) -> None:
    if isinstance(content, str):
        return
    if not isinstance(content, list):
        raise bad(at, "must be a string or a list of content parts")
    for number, part in enumerate(content):
        where = f"{at}[{number}]"
        if not isinstance(part, dict) or not isinstance(part.get("type"), str):
            raise bad(where, "must be an object with a type")
        kind = part["type"]
        if kind in _TEXTS:
            if not isinstance(part.get(_TEXTS[kind]), str):
                raise bad(f"{where}.{_TEXTS[kind]}", "must be a string")
        elif kind == "input_image":
            _check_image(part, where)
        elif kind == "input_file":
            if not any(_said(part, name) for name in ("file_data", "file_url", "file_id")):
                raise bad(where, "needs file_data (a data URL), file_url or file_id")
        elif kind == "input_audio":
            audio = part.get(kind)
            if not isinstance(audio, dict) or not _said(audio, "data") or not _said(audio, "format"):
                raise bad(f"{where}.{kind}", "must be an object with data (base64) and format")


def _check_image(part: dict[str, Any], at: str) -> None:
    url = part.get("image_url")
    if url is None:
        if not _said(part, "file_id"):
            raise bad(at, "needs image_url or file_id")
        return
    if not isinstance(url, str):
        raise bad(f"{at}.image_url", "must be a string: the URL itself, not an object")
    if url[:8].lower().partition(":")[0] not in ("http", "https", "data"):
        raise bad(f"{at}.image_url", "must be an https URL or a data URL (data:image/png;base64,...)")


def _said(part: dict[str, Any], name: str) -> bool:
    return isinstance(part.get(name), str) and part[name] != ""


# -- members ---------------------------------------------------------------------------------------


METADATA_MAX = 16
"""Pairs; names have at most 64 characters and values 512:
https://platform.openai.com/docs/api-reference/responses/create#responses-create-metadata"""


def check_metadata(name: str, value: Any) -> None:
    """Check a member like ``metadata``.

    Raises:
        InvalidRequest: it is no object of at most 16 short texts.
    """
    if not isinstance(value, dict):
        raise bad(name, "must be an object of texts")
    if len(value) > METADATA_MAX:
        raise bad(name, f"must not hold more than {METADATA_MAX} pairs")
    for key, text in value.items():
        if len(key) > 64:
            raise bad(name, f"holds a name of more than 64 characters: {key[:64]!r}...")
        if not isinstance(text, str) or len(text) > 512:
            raise bad(f"{name}.{key}", "must be a text of at most 512 characters")


def _include(name: str, value: Any) -> None:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise bad(name, "must be a list of strings")


def _tools(name: str, value: Any) -> None:
    if not isinstance(value, list):
        raise bad(name, "must be a list")
    for number, tool in enumerate(value):
        at = f"{name}[{number}]"
        if not isinstance(tool, dict) or not isinstance(tool.get("type"), str):
            raise bad(at, 'must be an object with a type, such as {"type": "function", "name": ...}')
        if tool["type"] in ("function", "custom"):
            _offered(tool, at)


def _offered(tool: dict[str, Any], at: str) -> None:
    if not isinstance(tool.get("name"), str) or not tool["name"]:
        hint = " (the name stands in the tool itself here, not in a member 'function')"
        raise bad(f"{at}.name", "must be a string" + (hint if "function" in tool else ""))
    if tool.get("parameters") is not None and not isinstance(tool["parameters"], dict):
        raise bad(f"{at}.parameters", "must be a JSON Schema object")
    if tool.get("description") is not None and not isinstance(tool["description"], str):
        raise bad(f"{at}.description", "must be a string")


def _tool_choice(name: str, value: Any) -> None:
    if isinstance(value, str):
        if value not in ("none", "auto", "required"):
            raise bad(name, 'must be "none", "auto", "required" or an object that names a tool')
    elif not isinstance(value, dict) or not isinstance(value.get("type"), str):
        raise bad(name, 'must be "none", "auto", "required" or an object that names a tool')
    elif value["type"] in ("function", "custom") and not _said(value, "name"):
        raise bad(f"{name}.name", "must be the name of a tool")
    elif value["type"] == "allowed_tools" and not isinstance(value.get("tools"), list):
        raise bad(f"{name}.tools", "must be a list of tools")


def _text(name: str, value: Any) -> None:
    if not isinstance(value, dict):
        raise bad(name, "must be an object")
    format_ = value.get("format")
    if format_ is None:
        return
    if not isinstance(format_, dict) or not isinstance(format_.get("type"), str):
        raise bad(f"{name}.format", "must be an object with a type (text, json_object or json_schema)")
    if format_["type"] == "json_schema" and not isinstance(format_.get("schema"), dict):
        raise bad(f"{name}.format.schema", "must be a JSON Schema object")
    if value.get("verbosity") is not None and not isinstance(value["verbosity"], str):
        raise bad(f"{name}.verbosity", "must be a string")


def _reasoning(name: str, value: Any) -> None:
    if not isinstance(value, dict):
        raise bad(name, "must be an object")
    for inner in ("effort", "summary", "generate_summary"):
        if value.get(inner) is not None and not isinstance(value[inner], str):
            raise bad(f"{name}.{inner}", "must be a string")


_BOOLEAN = of_type(bool, "true or false")
_TEXT = of_type(str, "a string")
_OBJECT = of_type(dict, "an object")
_CHECKS: Final[dict[str, Callable[[str, Any], None]]] = {
    "background": _BOOLEAN,
    "include": _include,
    "instructions": _TEXT,
    "max_output_tokens": whole_within(1, TOKENS_MAX),
    "max_tool_calls": whole_within(0, TOKENS_MAX),
    "metadata": check_metadata,
    "parallel_tool_calls": _BOOLEAN,
    "previous_response_id": _TEXT,
    "prompt": _OBJECT,
    "prompt_cache_key": _TEXT,
    "reasoning": _reasoning,
    "safety_identifier": _TEXT,
    "service_tier": _TEXT,
    "store": _BOOLEAN,
    "stream": _BOOLEAN,
    "stream_options": _OBJECT,
    "temperature": number_within(0, 2),
    "text": _text,
    "tool_choice": _tool_choice,
    "tools": _tools,
    "top_logprobs": whole_within(0, TOP_LOGPROBS_MAX),
    "top_p": number_within(0, 1),
    "truncation": _TEXT,
    "user": _TEXT,
}
