"""Writing a preset into a request: what the request leaves out is filled in, in the words of its own API.

Parameters of presets are named as in OpenAI's chat completions. Where an API has no word for one, it is a
declared loss.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from llm_router.domain.errors import InvalidRequest
from llm_router.domain.preset import Preset
from llm_router.wire.loss import Loss
from llm_router.wire.verbatim import dump, items, members, value

_WHY = "this API has no such option for the preset's parameter"

_LIMITS = ("max_tokens", "max_completion_tokens")

_RESPONSES = {
    "max_tokens": "max_output_tokens", "max_completion_tokens": "max_output_tokens", "temperature": "temperature",
    "top_p": "top_p", "top_logprobs": "top_logprobs", "parallel_tool_calls": "parallel_tool_calls",
    "service_tier": "service_tier", "metadata": "metadata", "user": "user", "prompt_cache_key": "prompt_cache_key",
    "reasoning_effort": "reasoning.effort", "verbosity": "text.verbosity",
}  # fmt: skip
_ANTHROPIC = {
    "max_tokens": "max_tokens", "max_completion_tokens": "max_tokens", "temperature": "temperature",
    "top_p": "top_p", "top_k": "top_k", "stop": "stop_sequences", "service_tier": "service_tier",
    "reasoning_effort": "output_config.effort",
}  # fmt: skip
_GEMINI = {
    "max_tokens": "generationConfig.maxOutputTokens", "max_completion_tokens": "generationConfig.maxOutputTokens",
    "temperature": "generationConfig.temperature", "top_p": "generationConfig.topP",
    "top_k": "generationConfig.topK", "stop": "generationConfig.stopSequences", "seed": "generationConfig.seed",
    "presence_penalty": "generationConfig.presencePenalty",
    "frequency_penalty": "generationConfig.frequencyPenalty", "n": "generationConfig.candidateCount",
}  # fmt: skip
_PATHS: Mapping[str, Mapping[str, str]] = {
    "openai_responses": _RESPONSES,
    "anthropic_messages": _ANTHROPIC,
    "gemini_generate": _GEMINI,
}
"""API -> OpenAI's name of a parameter -> where it stands there. APIs of OpenAI's style that are not here take
every parameter under its own name."""

_SNAKE = {"generationConfig": "generation_config", "systemInstruction": "system_instruction"}


def fill(
    front: str, body: bytes, preset: Preset, model: str, *, in_path: bool
) -> tuple[bytes, tuple[Loss, ...]]:
    """The body with a preset written into it for a model string, and what of the preset it cannot say.

    Args:
        in_path: the model stands in the path, and so not in the body.

    Raises:
        InvalidRequest: the body is no JSON object.
    """
    found = members(body)
    if found is None:
        raise InvalidRequest("The request body must be a JSON object.")
    filled: dict[str, Any] = dict(found)
    filled.pop("preset", None)
    filled.pop("models", None)
    if not in_path:
        filled["model"] = model
    if preset.provider:
        own = members(filled.get("provider")) or {}
        filled["provider"] = {**preset.provider, **own}
    losses = [
        Loss(field=f"preset.{name}", why=_WHY)
        for name, raw in preset.parameters.items()
        if not _put(front, filled, name, raw)
    ]
    if preset.system is not None and not _SYSTEMS.get(front, _no_system)(filled, preset.system):
        losses.append(Loss(field="preset.system", why="this API has no system prompt"))
    return msgspec.json.encode(filled), tuple(losses)


def _put(front: str, body: dict[str, Any], name: str, raw: msgspec.Raw) -> bool:
    """Fill in one parameter; False if the API has no word for it."""
    paths = _PATHS.get(front)
    path = name if paths is None else paths.get(name)
    if path is None:
        return False
    if paths is None and name in _LIMITS and any(_there(body, limit) for limit in _LIMITS):
        return True
    content: object = raw
    if name == "stop" and paths is not None and isinstance(value(raw), str):
        content = [value(raw)]
    holder, _, last = path.rpartition(".")
    if not holder:
        if not _there(body, last):
            body[last] = content
        return True
    place = holder if not _there(body, _SNAKE.get(holder, holder)) else _SNAKE.get(holder, holder)
    inner: dict[str, Any] = dict(members(_raw(body.get(place))) or {})
    if not any(_there(inner, spelled) for spelled in (last, _snake(last))):
        body[place] = {**inner, last: content}
    return True


def _there(body: Mapping[str, Any], name: str) -> bool:
    found = body.get(name)
    return found is not None and not (isinstance(found, msgspec.Raw) and bytes(found) == b"null")


def _raw(found: object) -> msgspec.Raw | None:
    return found if found is None or isinstance(found, msgspec.Raw) else dump(found)


def _snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)


def _chat_system(body: dict[str, Any], text: str) -> bool:
    messages = items(body.get("messages"))
    if messages is None:
        return True  # the request is refused for it
    roles = (members(raw) or {} for raw in messages)
    if not any(value(each.get("role")) in ("system", "developer") for each in roles):
        body["messages"] = [{"role": "system", "content": text}, *messages]
    return True


def _member_system(name: str, make: Callable[[str], Any]) -> Callable[[dict[str, Any], str], bool]:
    def put(body: dict[str, Any], text: str) -> bool:
        if not any(_there(body, spelled) for spelled in (name, _SNAKE.get(name, name))):
            body[name] = make(text)
        return True

    return put


def _no_system(body: dict[str, Any], text: str) -> bool:
    return False


_SYSTEMS: Mapping[str, Callable[[dict[str, Any], str], bool]] = {
    "openai_chat": _chat_system,
    "openai_responses": _member_system("instructions", lambda text: text),
    "anthropic_messages": _member_system("system", lambda text: text),
    "gemini_generate": _member_system("systemInstruction", lambda text: {"parts": [{"text": text}]}),
}
