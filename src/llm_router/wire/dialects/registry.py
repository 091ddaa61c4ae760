"""All dialects, by name. One row a dialect; nothing else knows them all.

Those that clients speak are each a :class:`~llm_router.wire.dialect.Dialect`. A dialect is loaded when a request or
a provider speaks it.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

from llm_router.domain import late
from llm_router.wire.dialect import Behind

PLACES = MappingProxyType(
    {
        name: f"llm_router.wire.dialects.{name}:DIALECT"
        for name in (
            "openai_chat",
            "openai_responses",
            "anthropic_messages",
            "gemini_generate",
            "bedrock_converse",
            "cohere_chat",
            "ollama_chat",
        )
    }
)
"""Where each stands; its folder has its name."""

DIALECTS: late.Table[Behind[Any, Any]] = late.Table(PLACES)
