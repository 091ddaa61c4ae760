"""The parameters of chat requests that are known by name, as OpenAI's chat completions name them.

Those of OpenAI (https://platform.openai.com/docs/api-reference/chat/create), of OpenRouter
(https://openrouter.ai/docs/api/reference/parameters) and of servers of open models such as vLLM
(https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html). Providers have further ones.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Final

PARAMETERS: Final = frozenset(
    (
        "audio", "enable_thinking", "frequency_penalty", "function_call", "functions", "include_reasoning",
        "logit_bias", "logprobs", "max_completion_tokens", "max_tokens", "metadata", "modalities", "n",
        "parallel_tool_calls", "plugins", "prediction", "presence_penalty", "prompt_cache_key",
        "prompt_cache_retention", "reasoning", "reasoning_effort", "response_format", "safety_identifier", "seed",
        "service_tier", "stop", "store", "temperature", "thinking", "thinking_budget", "tool_choice", "tools",
        "top_logprobs", "top_p", "transforms", "user", "verbosity", "web_search_options",
        "min_p", "repetition_penalty", "top_a", "top_k",
        "best_of", "chat_template_kwargs", "guided_choice", "guided_decoding_backend", "guided_grammar",
        "guided_json", "guided_regex", "ignore_eos", "length_penalty", "min_tokens", "priority",
        "skip_special_tokens", "spaces_between_special_tokens", "stop_token_ids", "structured_outputs",
        "use_beam_search",
    )
)  # fmt: skip

MISSPELT: Final = 0.85
"""How much a name must be like a known one, from 0 to 1, to be taken for a misspelling of it."""


def misspelt(name: str) -> str | None:
    """The known parameter that a name was probably meant to be; None where it is known, or like none."""
    if name in PARAMETERS:
        return None
    return next(iter(get_close_matches(name.lower()[:64], PARAMETERS, 1, MISSPELT)), None)


def unknown(names: Iterable[str]) -> tuple[str, ...]:
    """A word about each parameter that is not known here."""
    return tuple(_word(name) for name in names if name not in PARAMETERS)


def _word(name: str) -> str:
    near = get_close_matches(name.lower()[:64], PARAMETERS, 1)
    hint = f"; the nearest that is: '{near[0]}'" if near else ""
    return f"'{name[:64]}' is no parameter that is known here{hint}. Providers are sent it as it is."
