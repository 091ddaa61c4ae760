"""Which models of the training data stand for small and for large ones."""

from __future__ import annotations

Tiers = dict[str, tuple[tuple[str, ...], tuple[str, ...]]]

TIERS: Tiers = {
    "routellm": (("mixtral-8x7b-instruct",), ("gpt-4-1106-preview",)),
    "ulab": (
        ("mistral-7b-instruct-v0.3", "qwen2.5-7b-instruct", "gemma-2-9b-it", "llama-3.1-8b-instruct"),
        ("llama-3.3-nemotron-super-49b-v1", "llama-3.1-nemotron-51b-instruct"),
    ),
    "mmlupro": (
        (
            "Mistral-7B-Instruct-v0.2", "gemma-7b", "Meta-Llama-3-8B", "Meta-Llama-3_1-8B",
            "Mixtral-8x7B-Instruct-v0.1", "Phi-3-mini-4k-instruct", "Meta-Llama-3_1-8B-Instruct",
            "c4ai-command-r-v01", "Qwen1.5-7B-Chat",
        ),
        ("gemini-1.5-pro-002", "gemini-1.5-flash-002", "Meta-Llama-3_1-70B-Instruct", "DeepSeek-Coder-V2"),
    ),
    "zeroeval": (
        (
            "Meta-Llama-3-8B-Instruct", "Qwen2-7B-Instruct", "Yi-1.5-9B-Chat", "Meta-Llama-3.1-8B-Instruct",
            "gpt-3.5-turbo-0125", "gemma-2-2b-it", "Phi-3.5-mini-instruct",
        ),
        (
            "claude-3-5-sonnet-20240620", "gpt-4o-2024-05-13", "gpt-4o-2024-08-06", "claude-3-5-sonnet-20241022",
            "Mistral-Large-2", "Meta-Llama-3.1-405B-Instruct@hyperbolic", "o1-mini-2024-09-12",
        ),
    ),
}  # fmt: skip
"""Of each source the small and the large models whose mean scores are the two tiers.

LLMRouter's codegemma-7b is left out: it is for code alone, and does so badly on questions of knowledge that these
look as if they needed a large model. ``router_ceiling.py`` measures with it too, since the figures depend on it.
"""
