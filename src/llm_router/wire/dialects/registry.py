"""All dialects, by name. One row a dialect; nothing else knows them all."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from llm_router.wire.dialect import Dialect
from llm_router.wire.dialects import anthropic_messages, gemini_generate, openai_chat

DIALECTS: Mapping[str, Dialect] = MappingProxyType(
    {
        dialect.name: dialect
        for dialect in (openai_chat.DIALECT, anthropic_messages.DIALECT, gemini_generate.DIALECT)
    }
)
