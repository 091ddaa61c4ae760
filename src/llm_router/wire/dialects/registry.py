"""All dialects, by name. One row a dialect; nothing else knows them all.

Those that clients speak are each a :class:`~llm_router.wire.dialect.Dialect`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from llm_router.wire.dialect import Behind
from llm_router.wire.dialects.anthropic_messages import DIALECT as ANTHROPIC_MESSAGES
from llm_router.wire.dialects.bedrock_converse import DIALECT as BEDROCK_CONVERSE
from llm_router.wire.dialects.cohere_chat import DIALECT as COHERE_CHAT
from llm_router.wire.dialects.gemini_generate import DIALECT as GEMINI_GENERATE
from llm_router.wire.dialects.ollama_chat import DIALECT as OLLAMA_CHAT
from llm_router.wire.dialects.openai_chat import DIALECT as OPENAI_CHAT
from llm_router.wire.dialects.openai_responses import DIALECT as OPENAI_RESPONSES

DIALECTS: Mapping[str, Behind] = MappingProxyType(
    {
        dialect.name: dialect
        for dialect in (
            OPENAI_CHAT,
            OPENAI_RESPONSES,
            ANTHROPIC_MESSAGES,
            GEMINI_GENERATE,
            BEDROCK_CONVERSE,
            COHERE_CHAT,
            OLLAMA_CHAT,
        )
    }
)
