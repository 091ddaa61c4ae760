"""Who made a piece of opaque state, as far as it decides who can read it.

Signatures of Claude are taken by every platform that serves Claude
(https://docs.claude.com/en/docs/build-with-claude/extended-thinking#thinking-encryption). All other
state is bound to the provider that gave it (encrypted reasoning even to the account there), and to
the family of its model.
"""

from __future__ import annotations

from llm_router.domain import late

CLAUDE = "claude"
_CLAUDE_DIALECTS = ("anthropic_messages", "bedrock_converse")

_FAMILY = late.compile(
    r"claude|gemini|gemma|gpt|grok|deepseek|kimi|glm|qwen|minimax|mistral|magistral|nova|command|llama|hermes"
)
_O_SERIES = late.compile(r"(^|[/.])o\d")
_LETTERS = late.compile(r"[a-z]+")


def family_of(model: str) -> str:
    """The family in a provider's id of a model; "" if it tells none."""
    name = model.lower()
    if _O_SERIES.search(name):
        return "gpt"
    found = _FAMILY.search(name) or _LETTERS.search(name.rpartition("/")[2])
    return found[0] if found is not None else ""


def maker_of(provider: str, dialect: str, model: str) -> str:
    """What is the same for all deployments that read each other's opaque state."""
    family = family_of(model)
    if family == CLAUDE and dialect in _CLAUDE_DIALECTS:
        return CLAUDE
    return f"{provider}/{family}"
