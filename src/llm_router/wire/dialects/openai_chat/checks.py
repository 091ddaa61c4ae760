"""What a request's members must look like. Each error says which member, and what to change."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from llm_router.domain.errors import InvalidRequest
from llm_router.wire.asked import bad, number_within, of_type, whole_within

TOKENS_MAX = 10**8
"""The largest token limit that is believed."""

STOPS_MAX = 4
CHOICES_MAX = 128
TOP_LOGPROBS_MAX = 20

ROLES: Final = ("developer", "system", "user", "assistant", "tool", "function")
LIMITS: Final = ("max_tokens", "max_completion_tokens")


def check_options(members: dict[str, Any]) -> None:
    """Check every known member beside the messages.

    Raises:
        InvalidRequest: the first that is wrong.
    """
    for name, value in members.items():
        check = _CHECKS.get(name)
        if check is not None and value is not None:
            check(name, value)
    first, second = members.get("max_tokens"), members.get("max_completion_tokens")
    if first is not None and second is not None and first != second:
        raise InvalidRequest(
            f"'max_tokens' ({first}) and 'max_completion_tokens' ({second}) contradict each other: "
            "send only one of them.",
            param="max_tokens",
        )
    if members.get("top_logprobs") is not None and members.get("logprobs") is False:
        raise InvalidRequest(
            "'top_logprobs' needs 'logprobs': true. Set it, or leave top_logprobs out.",
            param="top_logprobs",
        )


def token_limit(members: dict[str, Any]) -> int | None:
    """The largest limit on output tokens in the request, over all fields that hold one."""
    found = [members[name] for name in LIMITS if members.get(name) is not None]
    for name, inner in (("reasoning", "max_tokens"), ("thinking", "budget_tokens")):
        holder = members.get(name)
        budget = holder.get(inner) if isinstance(holder, dict) else None
        if isinstance(budget, int) and not isinstance(budget, bool) and budget > 0 and found:
            found.append(min(budget, TOKENS_MAX))
    return max(found) if found else None


# -- messages --------------------------------------------------------------------------------------


def check_messages(messages: object) -> None:
    if messages is None:
        raise InvalidRequest(
            "'messages' is missing: send a list with at least one message, "
            'such as [{"role": "user", "content": "Hello"}].',
            param="messages",
        )
    if not isinstance(messages, list) or not messages:
        raise InvalidRequest("'messages' must be a list with at least one message.", param="messages")
    for number, message in enumerate(messages):
        if message.__class__ is not dict:
            raise bad(f"messages[{number}]", "must be an object with role and content")
        role = message.get("role")
        if role not in ROLES:
            raise bad(f"messages[{number}].role", f"must be one of {', '.join(ROLES)}")
        content = message.get("content")
        if content.__class__ is list:
            _check_parts(content, f"messages[{number}].content")
        elif content.__class__ is not str and (content is not None or role not in ("assistant", "function")):
            raise bad(f"messages[{number}].content", "must be a string or a list of parts")
        if len(message) > 2 or role in ("tool", "function", "assistant"):
            _check_turn(message, role, number)
        if message.get("name") is not None and not isinstance(message["name"], str):
            raise bad(f"messages[{number}].name", "must be a string")


def _check_turn(message: dict[str, Any], role: str, number: int) -> None:
    """What is special to turns of tools, functions and the model; in any other, calls are as they must be too."""
    at = f"messages[{number}]"
    if role == "tool" and not (isinstance(message.get("tool_call_id"), str) and message["tool_call_id"]):
        raise bad(f"{at}.tool_call_id", "must be the id of the tool call that the message answers")
    if role == "function" and not (isinstance(message.get("name"), str) and message["name"]):
        raise bad(f"{at}.name", "must be the name of the function that the message answers for")
    calls = message.get("tool_calls")
    if calls is not None:
        if not isinstance(calls, list):
            raise bad(f"{at}.tool_calls", "must be a list")
        for index, call in enumerate(calls):
            _check_call(call, f"{at}.tool_calls[{index}]")
    function = message.get("function_call")
    if function is not None:
        _check_function(function, f"{at}.function_call", "arguments")


def _check_call(call: object, at: str) -> None:
    if not isinstance(call, dict):
        raise bad(at, "must be an object")
    if not isinstance(call.get("id"), str) or not call["id"]:
        raise bad(f"{at}.id", "must be a string")
    if isinstance(call.get("custom"), dict):
        _check_function(call["custom"], f"{at}.custom", "input")
    else:
        _check_function(call.get("function"), f"{at}.function", "arguments")


def _check_function(function: object, at: str, text: str) -> None:
    if not isinstance(function, dict):
        raise bad(at, f"must be an object with name and {text}")
    if not isinstance(function.get("name"), str) or not function["name"]:
        raise bad(f"{at}.name", "must be a string")
    if not isinstance(function.get(text), str):
        raise bad(f"{at}.{text}", "must be a string (JSON text, not an object)")


_TEXTS: Final = {"text": "text", "refusal": "refusal"}


def _check_parts(parts: list[Any], at: str) -> None:
    for number, part in enumerate(parts):
        if part.__class__ is not dict or not isinstance(part.get("type"), str):
            raise bad(f"{at}[{number}]", "must be an object with a type")
        kind = part["type"]
        if kind in _TEXTS:
            if not isinstance(part.get(kind), str):
                raise bad(f"{at}[{number}].{kind}", "must be a string")
        elif kind in ("image_url", "video_url"):
            _check_url(part.get(kind), f"{at}[{number}].{kind}")
        elif kind == "input_audio":
            audio = part.get(kind)
            if not isinstance(audio, dict) or not all(
                isinstance(audio.get(name), str) for name in ("data", "format")
            ):
                raise bad(f"{at}[{number}].{kind}", "must be an object with data (base64) and format")
        elif kind == "file":
            _check_file(part.get(kind), f"{at}[{number}].{kind}")


def _check_url(holder: object, at: str) -> None:
    url = holder.get("url") if isinstance(holder, dict) else holder
    if not isinstance(url, str):
        raise bad(at, "must be an object with a url")
    if not url.startswith(("https://", "http://", "data:")) and url[:8].lower().partition(":")[0] not in (
        "http", "https", "data",
    ):  # fmt: skip
        raise bad(f"{at}.url", "must be an https URL or a data URL (data:image/png;base64,...)")


def _check_file(file: object, at: str) -> None:
    if not isinstance(file, dict):
        raise bad(at, "must be an object with file_data or file_id")
    if not any(isinstance(file.get(name), str) and file[name] for name in ("file_data", "file_id", "url")):
        raise bad(at, "needs file_data (a data URL) or file_id")


# -- members ---------------------------------------------------------------------------------------


def _stop(name: str, value: Any) -> None:
    if isinstance(value, str):
        return
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise bad(name, "must be a string or a list of strings")
    if len(value) > STOPS_MAX:
        raise bad(name, f"must not hold more than {STOPS_MAX} sequences")


def _tools(name: str, value: Any) -> None:
    if not isinstance(value, list):
        raise bad(name, "must be a list")
    for number, tool in enumerate(value):
        at = f"{name}[{number}]"
        if not isinstance(tool, dict) or not isinstance(tool.get("type", "function"), str):
            raise bad(at, 'must be an object with a type, such as {"type": "function", "function": {...}}')
        kind = tool.get("type", "function")  # Mistral's clients leave it out
        if kind in ("function", "custom"):
            _offered(tool.get(kind), f"{at}.{kind}")


def _functions(name: str, value: Any) -> None:
    if not isinstance(value, list):
        raise bad(name, "must be a list")
    for number, function in enumerate(value):
        _offered(function, f"{name}[{number}]")


def _offered(function: object, at: str) -> None:
    if not isinstance(function, dict):
        raise bad(at, "must be an object with a name")
    if not isinstance(function.get("name"), str) or not function["name"]:
        raise bad(f"{at}.name", "must be a string")
    if function.get("parameters") is not None and not isinstance(function["parameters"], dict):
        raise bad(f"{at}.parameters", "must be a JSON Schema object")
    if function.get("description") is not None and not isinstance(function["description"], str):
        raise bad(f"{at}.description", "must be a string")


def _tool_choice(name: str, value: Any) -> None:
    if isinstance(value, str):
        if value not in ("none", "auto", "required", "any"):
            raise bad(name, 'must be "none", "auto", "required" or an object that names a tool')
    elif not isinstance(value, dict) or not isinstance(value.get("type"), str):
        raise bad(name, 'must be "none", "auto", "required" or an object that names a tool')
    elif value["type"] in ("function", "custom"):
        named = value.get(value["type"])
        if not isinstance(named, dict) or not isinstance(named.get("name"), str):
            raise bad(f"{name}.{value['type']}", "must be an object with the name of a tool")


def _function_call(name: str, value: Any) -> None:
    named = isinstance(value, dict) and isinstance(value.get("name"), str)
    if value not in ("none", "auto") and not named:
        raise bad(name, 'must be "none", "auto" or an object with the name of a function')


def _response_format(name: str, value: Any) -> None:
    if not isinstance(value, dict) or not isinstance(value.get("type"), str):
        raise bad(name, "must be an object with a type (text, json_object or json_schema)")
    if value["type"] == "json_schema":
        schema = value.get("json_schema")
        if not isinstance(schema, dict):
            raise bad(f"{name}.json_schema", "must be an object with name and schema")
        if schema.get("schema") is not None and not isinstance(schema["schema"], dict):
            raise bad(f"{name}.json_schema.schema", "must be a JSON Schema object")


def _stream_options(name: str, value: Any) -> None:
    if not isinstance(value, dict):
        raise bad(name, "must be an object")
    wish = value.get("include_usage")
    if wish is not None and not isinstance(wish, bool):
        raise bad(f"{name}.include_usage", "must be true or false")


def _modalities(name: str, value: Any) -> None:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise bad(name, "must be a list of strings")


def _no_boolean(name: str, value: Any) -> None:
    """What is a number wherever it is known; true would be read as 1."""
    if isinstance(value, bool):
        raise bad(name, "must be a number, not true or false")


def _numbers_inside(*inner: str) -> Callable[[str, Any], None]:
    def check(name: str, value: Any) -> None:
        if isinstance(value, dict):
            for each in inner or value:
                _no_boolean(f"{name}.{each}", value.get(each))

    return check


def _logit_bias(name: str, value: Any) -> None:
    _OBJECT(name, value)
    _NUMBERS_IN_ALL(name, value)


_NUMBERS_IN_ALL = _numbers_inside()
_BOOLEAN = of_type(bool, "true or false")
_TEXT = of_type(str, "a string")
_OBJECT = of_type(dict, "an object")
_CHECKS: Final[dict[str, Callable[[str, Any], None]]] = {
    "frequency_penalty": number_within(-2, 2),
    "function_call": _function_call,
    "functions": _functions,
    "logit_bias": _logit_bias,
    "logprobs": _BOOLEAN,
    "max_completion_tokens": whole_within(1, TOKENS_MAX),
    "max_tokens": whole_within(1, TOKENS_MAX),
    "metadata": _OBJECT,
    "min_p": _no_boolean,
    "modalities": _modalities,
    "n": whole_within(1, CHOICES_MAX),
    "parallel_tool_calls": _BOOLEAN,
    "presence_penalty": number_within(-2, 2),
    "prompt_cache_key": _TEXT,
    "reasoning": _numbers_inside("max_tokens"),
    "reasoning_effort": _TEXT,
    "repetition_penalty": _no_boolean,
    "response_format": _response_format,
    "seed": whole_within(-(2**63), 2**63 - 1),
    "service_tier": _TEXT,
    "stop": _stop,
    "store": _BOOLEAN,
    "stream": _BOOLEAN,
    "stream_options": _stream_options,
    "temperature": number_within(0, 2),
    "thinking": _numbers_inside("budget_tokens"),
    "tool_choice": _tool_choice,
    "tools": _tools,
    "top_a": _no_boolean,
    "top_k": _no_boolean,
    "top_logprobs": whole_within(0, TOP_LOGPROBS_MAX),
    "top_p": number_within(0, 1),
    "user": _TEXT,
    "verbosity": _TEXT,
}
