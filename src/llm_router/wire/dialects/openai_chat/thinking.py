"""How much to think, in the words of each provider of this API.

| a provider that knows | is told by |
|---|---|
| nothing of the kind below | ``reasoning_effort`` |
| ``thinking`` (DeepSeek, Z.ai, Moonshot) | ``thinking: {"type"}`` to switch, ``reasoning_effort`` for how much |
| ``enable_thinking`` (Alibaba) | ``enable_thinking`` to switch, ``thinking_budget`` in tokens for how much |
| ``reasoning`` (OpenRouter) | ``reasoning: {"effort" or "max_tokens" or "enabled", "exclude"}`` |

Sources: https://platform.openai.com/docs/guides/reasoning,
https://api-docs.deepseek.com/guides/thinking_mode, https://docs.z.ai/guides/capabilities/thinking,
https://platform.moonshot.ai/docs/guide/kimi-k2-6-quickstart,
https://www.alibabacloud.com/help/en/model-studio/deep-thinking,
https://openrouter.ai/docs/use-cases/reasoning-tokens.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from llm_router.wire.chat import Reasoning
from llm_router.wire.dialect import Target
from llm_router.wire.loss import Loss

EFFORTS: Final = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
_BUDGETS: Final = ((1024, "minimal"), (4096, "low"), (16384, "medium"))
"""Thinking budgets in tokens up to which an effort stands for them; above: high."""

TOKENS: Final = {"minimal": 1024, "low": 2048, "medium": 8192, "high": 16384, "xhigh": 24576}
"""Budgets in tokens that stand for an effort; max sets no bound."""

WORDS: Final[Mapping[str, frozenset[str]]] = {
    "thinking": frozenset({"thinking", "reasoning_effort"}),
    "enable_thinking": frozenset({"enable_thinking", "thinking_budget"}),
    "reasoning": frozenset({"reasoning", "include_reasoning", "reasoning_effort"}),
    "developer": frozenset({"reasoning_effort"}),
}
"""The members that a provider understands, by what it is known to know."""

ALL_WORDS: Final = frozenset().union(*WORDS.values())

_ALWAYS: Final = re.compile(r"kimi-k(2\.7|[3-9])|.*-thinking")
"""Models that cannot be told not to think."""


def foreign_words(body: Mapping[str, Any], target: Target) -> frozenset[str]:
    """Members about reasoning in another provider's words; empty if the provider's own are not known."""
    own = [words for knowledge, words in WORDS.items() if knowledge in target.knows]
    return frozenset((ALL_WORDS - own[0]) & body.keys()) if own else frozenset()


def thinking_members(asked: Reasoning, target: Target, losses: list[Loss]) -> dict[str, Any]:
    """The members that say how much to think; what cannot be said becomes a loss."""
    off = asked.enabled is False or asked.effort == "none" or asked.budget_tokens == 0
    on = asked.enabled or asked.adaptive or asked.effort is not None or asked.budget_tokens is not None
    able = target.capabilities
    if not able.reasoning and not able.reasoning_levels:
        if on and not off:
            losses.append(Loss(field="reasoning", why="the model does not reason"))
        return {}
    if "reasoning" in target.knows:
        return _object(asked, target, off, bool(on), losses)
    if "enable_thinking" in target.knows:
        return _switch_and_budget(asked, off, bool(on), losses)
    if "thinking" in target.knows:
        return _switch_and_effort(asked, target, off, bool(on), losses)
    return _effort(asked, target, losses)


def _object(asked: Reasoning, target: Target, off: bool, on: bool, losses: list[Loss]) -> dict[str, Any]:
    """OpenRouter's object, which it translates for the model's own provider."""
    told: dict[str, Any] = {}
    if off:
        told = {"effort": "none"} if "none" in target.capabilities.reasoning_levels else {"enabled": False}
    elif asked.effort is not None:
        told = _effort(asked, target, losses) if target.capabilities.reasoning_levels else {}
        told = {"effort": told.get("reasoning_effort", "xhigh" if asked.effort == "max" else asked.effort)}
    elif asked.budget_tokens is not None and asked.budget_tokens > 0:
        told = {"max_tokens": asked.budget_tokens}
    elif on:
        told = {"enabled": True}
    if asked.show is False and not off:
        told["exclude"] = True
    return {"reasoning": told} if told else {}


def _switch_and_budget(asked: Reasoning, off: bool, on: bool, losses: list[Loss]) -> dict[str, Any]:
    if off:
        return {"enable_thinking": False}
    if not on:
        return {}
    budget = asked.budget_tokens
    if budget is None and asked.effort is not None:
        budget = TOKENS.get(asked.effort)
        if asked.effort not in EFFORTS:
            losses.append(Loss(field="reasoning_effort", why=f"{asked.effort} is no known effort"))
    bound = {"thinking_budget": budget} if budget is not None and budget > 0 else {}
    return {"enable_thinking": True, **bound}


def _switch_and_effort(
    asked: Reasoning, target: Target, off: bool, on: bool, losses: list[Loss]
) -> dict[str, Any]:
    always = _ALWAYS.match(target.base.rpartition("/")[2]) is not None
    if off and not always:
        return {"thinking": {"type": "disabled"}}
    if off and not target.capabilities.reasoning_levels:
        losses.append(Loss(field="reasoning", why="the model always thinks"))
        return {}
    if not on and not off:
        return {}
    switch = {} if always else {"thinking": {"type": "enabled"}}
    if target.capabilities.reasoning_levels:
        return {**switch, **_effort(asked, target, losses)}
    if asked.effort is not None or (asked.budget_tokens or 0) > 0:
        losses.append(Loss(field="reasoning", why="the model thinks or does not: how much cannot be said"))
    return switch


def _effort(asked: Reasoning, target: Target, losses: list[Loss]) -> dict[str, Any]:
    """``reasoning_effort``, as near as the model's levels come to what was asked."""
    able = target.capabilities
    wish = asked.effort
    if asked.enabled is False or asked.budget_tokens == 0:
        wish = "none"
    elif wish is None and asked.budget_tokens is not None and asked.budget_tokens >= 0:
        wish = next((word for most, word in _BUDGETS if asked.budget_tokens <= most), "high")
        losses.append(
            Loss(field="reasoning.budget_tokens", why="the provider takes an effort in place of a budget")
        )
    if wish is None:
        return {}
    if not able.reasoning_levels:
        losses.append(Loss(field="reasoning", why="the model's reasoning cannot be adjusted"))
        return {}
    effort = _nearest(wish, able.reasoning_levels)
    if effort != wish:
        losses.append(Loss(field="reasoning.effort", why=f"the model knows no {wish!r}; {effort!r} was sent"))
    return {"reasoning_effort": effort}


def _nearest(wish: str, levels: tuple[str, ...]) -> str:
    """The level the model has that is closest to the one asked for; of two, the lower one."""
    if wish in levels:
        return wish
    known = [level for level in levels if level in EFFORTS]
    if not known:
        return levels[0]
    at = EFFORTS.index(wish) if wish in EFFORTS else EFFORTS.index("medium")
    return min(known, key=lambda level: (abs(EFFORTS.index(level) - at), EFFORTS.index(level)))
