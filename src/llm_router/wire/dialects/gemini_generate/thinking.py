"""How much to think, in Google's two spellings: levels since Gemini 3, token budgets before.

| effort          | level (Gemini 3) | budget (Gemini 2.5)        |
|-----------------|------------------|----------------------------|
| none            | the lowest       | 0; the minimum of 2.5 Pro  |
| minimal, low    | minimal, low     | 1,024                      |
| medium          | medium           | 8,192                      |
| high and above  | high (or xhigh)  | 24,576                     |

The budgets are those of Google's OpenAI-compatible endpoint
(https://ai.google.dev/gemini-api/docs/openai#thinking), the ranges are from
https://ai.google.dev/gemini-api/docs/thinking#set-budget. Where a model lacks a level the next one
up is asked for, and the difference is a declared loss.
"""

from __future__ import annotations

import re
from typing import Any

from llm_router.wire.chat import ChatRequest, Reasoning
from llm_router.wire.dialect import Target
from llm_router.wire.loss import Loss

BUDGETS = {"minimal": 1024, "low": 1024, "medium": 8192, "high": 24576, "xhigh": 24576, "max": 24576}
EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
LEVELS = ("minimal", "low", "medium", "high")
_QUIET = frozenset({"gemini_generate", "anthropic_messages"})
"""Dialects whose clients see thoughts only when they ask for them."""

_GENERATION = re.compile(r"gemini-(\d+)(?:\.(\d+))?")


def generation(model: str) -> int:
    """The major version of a Gemini model; 3 for moving aliases, 0 for other families."""
    name = model.rpartition("/")[2]
    found = _GENERATION.match(name)
    if found is not None:
        return int(found[1])
    return 3 if name.startswith("gemini-") else 0


def needs_signatures(model: str) -> bool:
    """Whether calls in the history must carry a thought signature (Gemini 3 and later)."""
    return generation(model) >= 3


def thinking_config(request: ChatRequest, target: Target) -> tuple[dict[str, Any], list[Loss]]:
    """``thinkingConfig``; empty if the model does not think or nothing is to be said."""
    wish = request.reasoning
    if not target.capabilities.reasoning:
        asked = wish is not None and (wish.effort or wish.budget_tokens is not None or wish.enabled)
        if asked and wish is not None and wish.effort != "none":
            return {}, [Loss(field="reasoning_effort", why="this model does not reason")]
        return {}, []
    config: dict[str, Any] = {}
    losses: list[Loss] = []
    if wish is not None:
        by_budget = 0 < generation(target.base) < 3
        config, losses = (_budget if by_budget else _level)(wish, target)
    shows = wish.show if wish is not None else None
    off = config.get("thinkingBudget") == 0
    if not off and (shows if shows is not None else request.dialect not in _QUIET):
        config["includeThoughts"] = True
    return config, losses


def _effort(wish: Reasoning) -> str | None:
    if wish.enabled is False:
        return "none"
    return wish.effort.lower() if wish.effort is not None else None


def _budget(wish: Reasoning, target: Target) -> tuple[dict[str, Any], list[Loss]]:
    effort = _effort(wish)
    if wish.budget_tokens is not None and effort != "none":
        asked = wish.budget_tokens
    elif effort is None:
        return ({"thinkingBudget": -1} if wish.adaptive else {}), []
    else:
        asked = 0 if effort == "none" else BUDGETS.get(effort, -1)
    low, high, can_stop = _range(target.base)
    budget = asked
    if asked == 0 and not can_stop:
        budget = low
    elif asked > 0:
        budget = max(low, min(asked, high))
    elif asked < 0:
        budget = -1
    field = "reasoning_effort" if wish.budget_tokens is None else "thinking.budget_tokens"
    why = f"this model thinks with {low} to {high} tokens"
    return {"thinkingBudget": budget}, [Loss(field=field, why=why)] if budget != asked else []


def _range(model: str) -> tuple[int, int, bool]:
    """(least, most, whether 0 is allowed) of a Gemini 2.5 model."""
    if "flash-lite" in model:
        return 512, 24576, True
    return (1, 24576, True) if "flash" in model else (128, 32768, False)


def _level(wish: Reasoning, target: Target) -> tuple[dict[str, Any], list[Loss]]:
    effort = _effort(wish)
    if effort is None:
        budget = wish.budget_tokens  # still taken by Gemini 3, though not beside a level
        return ({"thinkingBudget": budget} if budget is not None else {}), []
    levels = tuple(level for level in EFFORTS if level in (target.capabilities.reasoning_levels or LEVELS))
    levels = tuple(level for level in levels if level != "none") or LEVELS
    if effort not in EFFORTS:
        return {}, [Loss(field="reasoning_effort", why=f"{effort} is no known effort")]
    rank = EFFORTS.index(effort)
    chosen = next((level for level in levels if EFFORTS.index(level) >= rank), levels[-1])
    losses = []
    if chosen != effort:
        losses = [
            Loss(field="reasoning_effort", why=f"this model knows {', '.join(levels)}; {chosen} is used")
        ]
    return {"thinkingLevel": "XHIGH" if chosen == "max" else chosen.upper()}, losses
