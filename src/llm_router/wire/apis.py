"""Which API a request was written for, by the members it has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from llm_router.domain.errors import InvalidRequest


class Api(msgspec.Struct, frozen=True, kw_only=True):
    """``path_model``: its requests name the model in the path."""

    operation: str
    dialect: str
    path_model: bool = False


APIS: Mapping[str, Api] = MappingProxyType(
    {
        "chat": Api(operation="chat", dialect="openai_chat"),
        "messages": Api(operation="chat", dialect="anthropic_messages"),
        "responses": Api(operation="chat", dialect="openai_responses"),
        "gemini": Api(operation="chat", dialect="gemini_generate", path_model=True),
        "completions": Api(operation="chat", dialect="openai_completions"),
        "embeddings": Api(operation="embed", dialect="openai_embeddings"),
        "gemini_embed": Api(operation="embed", dialect="gemini_embed_one", path_model=True),
        "gemini_batch_embed": Api(operation="embed", dialect="gemini_embeddings", path_model=True),
    }
)
"""By the names that a request may give."""

_ANTHROPIC = frozenset({"system", "stop_sequences", "anthropic_version", "anthropic_beta", "top_k"})
_BY_MEMBER = (
    ("contents", "gemini"),
    ("requests", "gemini_batch_embed"),
    ("content", "gemini_embed"),
    ("prompt", "completions"),
)


def named_api(name: str) -> str:
    """A name that a request gives.

    Raises:
        InvalidRequest: there is no such API.
    """
    if name not in APIS:
        raise InvalidRequest(f"'api' must be one of {', '.join(APIS)}.", param="api")
    return name


def recognised_api(members: Mapping[str, Any], anthropic: bool, embeds: Callable[[str], bool]) -> str:
    """The API of a request.

    Args:
        members: the top level of its body, decoded.
        anthropic: it has a header that only clients of Anthropic's API send.
        embeds: whether a model is for embeddings only.

    Raises:
        InvalidRequest: it cannot be told.
    """
    if "messages" in members:
        return "messages" if anthropic or _is_anthropic(members) else "chat"
    if "input" in members:
        names = [members.get("model"), *_listed(members.get("models"))]
        named = [name for name in names if isinstance(name, str)]
        return "embeddings" if named and all(map(embeds, named)) else "responses"
    for member, api in _BY_MEMBER:
        if member in members:
            return api
    raise InvalidRequest(
        "The request has none of messages, input, contents, prompt, content and requests: it must be one for "
        f"{', '.join(APIS)}."
    )


def _is_anthropic(members: Mapping[str, Any]) -> bool:
    if not _ANTHROPIC.isdisjoint(members):
        return True
    return any(isinstance(tool, dict) and "input_schema" in tool for tool in _listed(members.get("tools")))


def _listed(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
