"""A completions request as the chat request that it comes to."""

from __future__ import annotations

from typing import Any

import msgspec

from llm_router.domain.errors import InvalidRequest, UnsupportedContent
from llm_router.wire.chat import ChatRequest, Raw
from llm_router.wire.dialect import Inspected
from llm_router.wire.dialects.openai_chat import DIALECT as CHAT
from llm_router.wire.loss import Losses
from llm_router.wire.verbatim import members, value

MAX_TOKENS = 16
"""Of requests that name no limit."""

LOGPROBS_MAX = 5

_OWN = ("prompt", "suffix", "echo", "best_of", "logprobs")
_CHAT_ONLY = ("messages", "tools", "tool_choice", "functions", "function_call", "top_logprobs")


def inspect(body: bytes, path_model: str | None, path_stream: bool | None) -> Inspected:
    """Check and measure a request.

    Raises:
        InvalidRequest: with ``param`` set.
        UnsupportedContent: the prompt is tokens, or several prompts.
    """
    found = members(body)
    if found is None:
        raise InvalidRequest(
            'The request body must be a JSON object such as {"model": "...", "prompt": "..."}.'
        )
    for name in _CHAT_ONLY:
        if name in found:
            raise InvalidRequest(
                f"'{name}' belongs to POST /v1/chat/completions; this endpoint takes a 'prompt'.", param=name
            )
    prompt = _prompt(found.get("prompt"))
    chat: dict[str, Any] = {name: raw for name, raw in found.items() if name not in _OWN}
    chat["messages"] = [{"role": "user", "content": prompt}]
    if value(found.get("max_tokens")) is None:
        chat["max_tokens"] = MAX_TOKENS
    if value(found.get("n")) is None:
        chat.pop("n", None)
    chat |= _logprobs(found.get("logprobs"))
    inspected = CHAT.inspect(msgspec.json.encode(chat), path_model, path_stream)
    inspected.echo = {"prompt": found["prompt"]} if _flag(found, "echo") else {}
    inspected.losses = _losses(found, inspected.n)
    return inspected


def _prompt(raw: Raw | None) -> str:
    prompt = value(raw)
    if isinstance(prompt, list) and len(prompt) == 1 and isinstance(prompt[0], str):
        prompt = prompt[0]
    if isinstance(prompt, list) and prompt:
        if all(isinstance(item, str) for item in prompt):
            raise UnsupportedContent(
                f"'prompt' holds {len(prompt)} prompts: send one request for each.", param="prompt"
            )
        if all(isinstance(item, int | list) and not isinstance(item, bool) for item in prompt):
            raise UnsupportedContent(
                "'prompt' holds tokens, which only the model's own tokenizer could read: send text.",
                param="prompt",
            )
    if not isinstance(prompt, str) or not prompt:
        raise InvalidRequest("'prompt' must be a text that is not empty.", param="prompt")
    return prompt


def _flag(found: dict[str, Raw], name: str) -> bool:
    wish = value(found.get(name))
    if wish is not None and not isinstance(wish, bool):
        raise InvalidRequest(f"'{name}' must be true or false.", param=name)
    return wish is True


def _whole(found: dict[str, Raw], name: str, least: int, most: int) -> int | None:
    number = value(found.get(name))
    if number is None:
        return None
    if isinstance(number, bool) or not isinstance(number, int) or not least <= number <= most:
        raise InvalidRequest(f"'{name}' must be a whole number from {least} to {most}.", param=name)
    return number


def _logprobs(raw: Raw | None) -> dict[str, Any]:
    count = _whole({} if raw is None else {"logprobs": raw}, "logprobs", 0, LOGPROBS_MAX)
    return {} if count is None else {"logprobs": True, "top_logprobs": count}


def _losses(found: dict[str, Raw], n: int) -> tuple[Any, ...]:
    """What no chat model can be told."""
    losses = Losses()
    suffix = value(found.get("suffix"))
    if suffix is not None and not isinstance(suffix, str):
        raise InvalidRequest("'suffix' must be a string.", param="suffix")
    if suffix:
        losses.add("suffix", "chat models do not fill in before a given end")
    best_of = _whole(found, "best_of", 1, 128)
    if best_of is not None and best_of < n:
        raise InvalidRequest(f"'best_of' ({best_of}) must not be smaller than 'n' ({n}).", param="best_of")
    if best_of is not None and best_of > n:
        losses.add("best_of", "chat models give the choices that are asked for, not the best of more")
    if _flag(found, "echo") and value(found.get("logprobs")) is not None:
        losses.add("logprobs", "there are none of the prompt's tokens")
    return tuple(losses.found)


def decode_request(inspected: Inspected) -> ChatRequest:
    """The canonical form, which is that of the chat request."""
    return CHAT.decode_request(inspected)
