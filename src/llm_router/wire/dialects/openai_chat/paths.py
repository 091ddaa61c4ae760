"""The words of the canonical request in this API's paths, in which losses are told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

WORDS: Final[Mapping[str, str]] = {
    "reasoning.effort": "reasoning_effort",
    "image_url": "messages[].content[].image_url",
    "response_format.schema": "response_format.json_schema.schema",
    "tool_calls": "messages[].tool_calls",
    "tool_result": "messages[]",
    "messages[].thinking": "messages[].reasoning",
    "messages[].tool_calls[].signature": "messages[].tool_calls[].extra_content",
    "messages[].content[].signature": "messages[].reasoning_details",
}
