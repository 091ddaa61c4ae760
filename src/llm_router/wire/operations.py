"""What can be asked, and in which wire format it is asked of a provider.

An operation is a row in each table: where clients ask for it, and its format by the provider's
dialect. The rest of the gateway (admission, plan, attempt, settlement) knows no operation by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from llm_router.wire.completions import FRONT as COMPLETIONS
from llm_router.wire.dialect import Behind, Dialect, Front
from llm_router.wire.dialects.registry import DIALECTS
from llm_router.wire.embeddings import bedrock, cohere, gemini, ollama, openai, vertex

ENDPOINTS: Mapping[str, str] = MappingProxyType(
    {
        "chat": "POST /v1/chat/completions (or /v1/messages, /v1/responses, :generateContent)",
        "embed": "POST /v1/embeddings (or :embedContent, :batchEmbedContents)",
    }
)
"""Where each operation is asked for, for errors that say so."""

_EMBEDDINGS: Mapping[str, Behind[Any, Any]] = MappingProxyType(
    {
        "openai_chat": openai.DIALECT,
        "openai_responses": openai.DIALECT,
        "gemini_generate": gemini.DIALECT,
        "bedrock_converse": bedrock.DIALECT,
        "cohere_chat": cohere.DIALECT,
        "ollama_chat": ollama.DIALECT,
        vertex.NAME: vertex.DIALECT,
    }
)

FORMATS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "chat": MappingProxyType({name: name for name in DIALECTS}),
        "embed": MappingProxyType({dialect: form.name for dialect, form in _EMBEDDINGS.items()}),
    }
)
"""Operation -> dialect of the provider -> name of the format in which it is asked there."""

PROVIDER_DIALECTS = tuple(dict.fromkeys((*DIALECTS, *_EMBEDDINGS)))
"""What a provider may be said to speak; some of it serves one operation alone."""

SPOKEN: Mapping[str, Behind[Any, Any] | Dialect[Any, Any] | Front[Any, Any]] = MappingProxyType(
    {
        **DIALECTS,
        **{form.name: form for form in _EMBEDDINGS.values()},
        "gemini_embed_one": gemini.ONE,
        COMPLETIONS.name: COMPLETIONS,
    }
)
"""Everything that is spoken, in front or behind, by name: the engine's table."""
