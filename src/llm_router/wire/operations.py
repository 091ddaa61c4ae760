"""What can be asked, and in which wire format it is asked of a provider.

An operation is a row in each table: where clients ask for it, and its format by the provider's
dialect. The rest of the gateway (admission, plan, attempt, settlement) knows no operation by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from llm_router.domain import late
from llm_router.wire.dialect import Behind, Front
from llm_router.wire.dialects.registry import PLACES

ENDPOINTS: Mapping[str, str] = MappingProxyType(
    {
        "chat": "POST /v1/chat/completions (or /v1/messages, /v1/responses, :generateContent)",
        "embed": "POST /v1/embeddings (or :embedContent, :batchEmbedContents)",
    }
)
"""Where each operation is asked for, for errors that say so."""

_EMBEDDINGS: Mapping[str, str] = MappingProxyType(
    {
        "openai_chat": "openai_embeddings",
        "openai_responses": "openai_embeddings",
        "gemini_generate": "gemini_embeddings",
        "bedrock_converse": "bedrock_embed",
        "cohere_chat": "cohere_embed",
        "ollama_chat": "ollama_embed",
        "vertex_predict": "vertex_predict",
    }
)
"""Dialect of the provider -> format in which it is asked for vectors."""

FORMATS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "chat": MappingProxyType({name: name for name in PLACES}),
        "embed": _EMBEDDINGS,
    }
)
"""Operation -> dialect of the provider -> name of the format in which it is asked there."""

PROVIDER_DIALECTS = tuple(dict.fromkeys((*PLACES, *_EMBEDDINGS)))
"""What a provider may be said to speak; some of it serves one operation alone."""

SPOKEN: late.Table[Behind[Any, Any] | Front[Any, Any]] = late.Table(
    MappingProxyType(
        {
            **PLACES,
            "openai_embeddings": "llm_router.wire.embeddings.openai:DIALECT",
            "gemini_embeddings": "llm_router.wire.embeddings.gemini:DIALECT",
            "bedrock_embed": "llm_router.wire.embeddings.bedrock:DIALECT",
            "cohere_embed": "llm_router.wire.embeddings.cohere:DIALECT",
            "ollama_embed": "llm_router.wire.embeddings.ollama:DIALECT",
            "vertex_predict": "llm_router.wire.embeddings.vertex:DIALECT",
            "gemini_embed_one": "llm_router.wire.embeddings.gemini:ONE",
            "openai_completions": "llm_router.wire.completions:FRONT",
        }
    )
)
"""Everything that is spoken, in front or behind, by name: the engine's table. Each is loaded when it is first spoken."""
