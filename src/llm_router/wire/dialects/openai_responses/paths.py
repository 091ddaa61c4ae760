"""The words of the canonical request in this API's paths, in which losses are told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

WORDS: Final[Mapping[str, str]] = {
    "max_tokens": "max_output_tokens",
    "verbosity": "text.verbosity",
    "logprobs": "include",
    "response_format": "text.format",
    "response_format.json_schema": "text.format",
    "response_format.schema": "text.format.schema",
    "response_format.json_schema.strict": "text.format.strict",
    "reasoning_effort": "reasoning.effort",
    "reasoning.show": "reasoning.summary",
    "tools[].function": "tools[]",
    "tools[].custom": "tools[]",
    "messages": "input",
    "messages[]": "input[]",
    "messages[].content[].content": "input[].content[]",
    "messages[].content[].image_url": "input[].content[]",
    "image_url.detail": "input[].content[].detail",
    "messages[].tool_calls[].function": "input[]",
    "messages[].tool_calls[].signature": "input[].encrypted_content",
    "messages[].content[].signature": "input[].encrypted_content",
    "messages[].reasoning": "input[].encrypted_content",
    "messages[].thinking": "input[].encrypted_content",
    "messages[].reasoning_details": "input[].encrypted_content",
    "messages[].reasoning_state": "input[].encrypted_content",
    "messages[].annotations": "input[].content[].annotations",
}
