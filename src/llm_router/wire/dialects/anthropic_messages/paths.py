"""The words of the canonical request in this API's paths, in which losses are told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

WORDS: Final[Mapping[str, str]] = {
    "stop": "stop_sequences",
    "user": "metadata.user_id",
    "parallel_tool_calls": "tool_choice.disable_parallel_tool_use",
    "response_format": "output_config.format",
    "response_format.json_schema": "output_config.format",
    "response_format.json_schema.strict": "output_config.format",
    "response_format.schema": "output_config.format",
    "reasoning": "thinking",
    "reasoning.budget_tokens": "thinking.budget_tokens",
    "reasoning.effort": "output_config.effort",
    "reasoning_effort": "output_config.effort",
    "reasoning.show": "thinking.display",
    "tools[].function": "tools[]",
    "tools[].function.parameters": "tools[].input_schema",
    "messages[].reasoning": "messages[].content[].thinking",
    "messages[].thinking": "messages[].content[].thinking",
    "messages[].reasoning_details": "messages[].content[].thinking",
    "messages[].reasoning_state": "messages[].content[].thinking",
    "messages[].content[].signature": "messages[].content[].thinking",
    "messages[].tool_calls[].signature": "messages[].content[].caller",
    "messages[].annotations": "messages[].content[].citations",
    "messages[].tool_calls[].function.arguments": "messages[].content[].input",
    "messages[].is_error": "messages[].content[].is_error",
    "tool_result.is_error": "messages[].content[].is_error",
    "cache_control": "messages[].content[].cache_control",
}
