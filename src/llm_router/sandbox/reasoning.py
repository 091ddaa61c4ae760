"""Which simulated models reason, how much, and whether the client sees it."""

from __future__ import annotations

import re

import msgspec

from llm_router.sandbox.prompt import Prompt, shorten

_THINKERS = re.compile(
    r"(^|/)(o[1-9]|gpt-5|gpt-6|gpt-oss|grok-3-mini|grok-4|grok-code|gemini-2\.5|gemini-[3-9]|magistral|qwq|qvq"
    r"|qwen3|deepseek-(r1|reasoner|v3\.[1-9]|v4)|kimi-k2|glm-4\.[5-9]|glm-5|minimax-m|sonar-reasoning)",
    re.IGNORECASE,
)
_NO_THINKERS = re.compile(r"-chat(-latest)?$|instruct|non-reasoning|flash-lite", re.IGNORECASE)
_PLAIN = re.compile(r"(^|/)(gpt-[34])", re.IGNORECASE)
_HIDDEN = re.compile(r"(^|/)(o[1-9]|gpt-[5-9]|gpt-4)", re.IGNORECASE)
_SENTENCES = {"minimal": 1, "low": 1, "medium": 2, "high": 4, "xhigh": 6, "max": 8}
_STEPS = (
    "The question is about “{topic}”.",
    "A simulated model has nothing to look up, so a plain answer will do.",
    "It helps to name the model, so that the reader sees which path was taken.",
    "Numbers and names from the prompt can be used again.",
    "There is no reason to go on for long.",
    "The answer should be honest about being simulated.",
    "One more look at the wording: it is clear enough.",
    "That settles it.",
)


class Thoughts(msgspec.Struct, frozen=True, kw_only=True):
    """Reasoning of one answer. ``shown`` False: it is counted, but its text is not sent."""

    text: str
    shown: bool


def think(prompt: Prompt) -> Thoughts | None:
    """The reasoning that this request gets; None if the model does not reason."""
    request = prompt.request
    asked = request.reasoning
    if asked is not None and (asked.enabled is False or asked.effort == "none" or asked.budget_tokens == 0):
        return None
    named = _THINKERS.search(request.model) is not None and not _NO_THINKERS.search(request.model)
    if request.dialect in ("anthropic_messages", "bedrock_converse"):
        if asked is None or not (asked.enabled or asked.adaptive or asked.budget_tokens):
            return None
        shown = asked.show is not False
    elif request.dialect == "gemini_generate":
        if not named and (asked is None or not (asked.budget_tokens or asked.effort)):
            return None
        shown = asked is not None and asked.show is True
    else:  # OpenAI's form: models of any maker behind hosts that speak it
        if not named and (asked is None or _PLAIN.search(request.model) is not None):
            return None
        shown = _HIDDEN.search(request.model) is None
        if request.dialect == "openai_responses":
            shown = asked is not None and asked.summary is not None
    effort = asked.effort if asked is not None else None
    count = _SENTENCES.get(effort or "medium", 2)
    topic = shorten(prompt.text, 60) or "nothing"
    return Thoughts(text=" ".join(_STEPS[:count]).format(topic=topic), shown=shown)
