"""The words of the canonical request in this API's paths, in which losses are told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

WORDS: Final[Mapping[str, str]] = {
    "temperature": "generationConfig.temperature",
    "top_p": "generationConfig.topP",
    "top_k": "generationConfig.topK",
    "max_tokens": "generationConfig.maxOutputTokens",
    "n": "generationConfig.candidateCount",
    "stop": "generationConfig.stopSequences",
    "seed": "generationConfig.seed",
    "presence_penalty": "generationConfig.presencePenalty",
    "frequency_penalty": "generationConfig.frequencyPenalty",
    "logprobs": "generationConfig.responseLogprobs",
    "top_logprobs": "generationConfig.logprobs",
    "modalities": "generationConfig.responseModalities",
    "response_format": "generationConfig.responseMimeType",
    "response_format.json_schema": "generationConfig.responseSchema",
    "response_format.schema": "generationConfig.responseSchema",
    "reasoning": "generationConfig.thinkingConfig",
    "reasoning.effort": "generationConfig.thinkingConfig.thinkingLevel",
    "reasoning_effort": "generationConfig.thinkingConfig.thinkingLevel",
    "reasoning.budget_tokens": "generationConfig.thinkingConfig.thinkingBudget",
    "thinking.budget_tokens": "generationConfig.thinkingConfig.thinkingBudget",
    "reasoning.show": "generationConfig.thinkingConfig.includeThoughts",
    "service_tier": "serviceTier",
    "tool_choice": "toolConfig.functionCallingConfig",
    "tools[].function": "tools[].functionDeclarations[]",
    "messages": "contents",
    "messages[]": "contents[]",
    "messages[].content[]": "contents[].parts[]",
    "messages[].content": "contents[].parts",
    "messages[].role": "contents[].role",
    "messages[].reasoning": "contents[].parts[].thoughtSignature",
    "messages[].thinking": "contents[].parts[].thoughtSignature",
    "messages[].reasoning_details": "contents[].parts[].thoughtSignature",
    "messages[].reasoning_state": "contents[].parts[].thoughtSignature",
    "messages[].content[].signature": "contents[].parts[].thoughtSignature",
    "messages[].tool_calls[].signature": "contents[].parts[].thoughtSignature",
    "messages[].tool_calls[].function.arguments": "contents[].parts[].functionCall.args",
    "messages[].is_error": "contents[].parts[].functionResponse.response",
    "tool_result.is_error": "contents[].parts[].functionResponse.response",
}
