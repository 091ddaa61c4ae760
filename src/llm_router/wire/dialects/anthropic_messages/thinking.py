"""How much to think, in the API's terms.

Models with effort levels get ``thinking: {"type": "adaptive"}`` and ``output_config.effort``;
the others a budget of tokens, by this table:

    minimal  low   medium  high   xhigh  max
    1024     2048  8192    16384  24576  32000

A budget must be at least 1024 and below ``max_tokens``, which counts thinking too, as OpenAI's
``max_completion_tokens`` does. So the budget is cut to four fifths of the client's limit; only
under a limit below 2048 the limit is raised by 1024 (a declared loss), within what the model
can give and the balance affords. Thinking is left out, a declared loss too, where the API refuses
it: with a forced tool, before a prefill, and after tool calls that came without signed reasoning.

https://docs.anthropic.com/en/docs/build-with-claude/extended-thinking and .../adaptive-thinking
"""

from __future__ import annotations

import msgspec

from llm_router.wire.chat import ChatRequest, Reasoning
from llm_router.wire.dialect import Target
from llm_router.wire.dialects.anthropic_messages.facts import NAME
from llm_router.wire.dialects.anthropic_messages.turns import Turn
from llm_router.wire.loss import Losses

BUDGET_MIN = 1024
BUDGETS = {"minimal": 1024, "low": 2048, "medium": 8192, "high": 16384, "xhigh": 24576, "max": 32000}
LEVELS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")

_FIELD = "reasoning_effort"


class Thought(msgspec.Struct, kw_only=True):
    """What to write: ``thinking``, ``effort`` and the limit that goes with them."""

    max_tokens: int
    thinking: dict[str, object] | None = None
    effort: str | None = None

    @property
    def on(self) -> bool:
        return self.thinking is not None and self.thinking["type"] != "disabled"


def plan_thinking(
    request: ChatRequest, target: Target, max_tokens: int, turns: list[Turn], forced: bool, losses: Losses
) -> Thought:
    """Decide. ``forced``: the request makes the model call a tool."""
    asked, able = request.reasoning, target.capabilities
    plain = Thought(max_tokens=max_tokens)
    if asked is None:
        return plain
    if request.dialect == NAME:
        return _own(asked, max_tokens)
    if asked.enabled is False or asked.effort == "none" or asked.budget_tokens == 0:
        return _off(target, max_tokens)
    if asked == Reasoning(show=asked.show, summary=asked.summary):
        return plain  # nothing about how much to think
    if not able.reasoning and not able.reasoning_levels:
        losses.add(_FIELD, "the model does not reason")
        return plain
    if able.reasoning_levels:
        thought = _adaptive(asked, able.reasoning_levels, max_tokens, losses)
    else:
        thought = _budgeted(asked, target, request.max_tokens is not None, max_tokens, losses)
    return _permitted(thought, turns, forced, losses)


def _own(asked: Reasoning, max_tokens: int) -> Thought:
    """A client of this API said it in the API's own words."""
    thinking: dict[str, object] | None = None
    if asked.adaptive:
        thinking = {"type": "adaptive"}
    elif asked.enabled is False:
        thinking = {"type": "disabled"}
    elif asked.budget_tokens is not None:
        thinking = {"type": "enabled", "budget_tokens": asked.budget_tokens}
    return Thought(max_tokens=max_tokens, thinking=_shown(thinking, asked), effort=asked.effort)


def _shown(thinking: dict[str, object] | None, asked: Reasoning) -> dict[str, object] | None:
    if thinking is not None and thinking["type"] != "disabled" and asked.show is not None:
        thinking["display"] = "summarized" if asked.show else "omitted"
    return thinking


def _off(target: Target, max_tokens: int) -> Thought:
    able = target.capabilities
    thinks = able.reasoning or bool(able.reasoning_levels)
    return Thought(max_tokens=max_tokens, thinking={"type": "disabled"} if thinks else None)


def _adaptive(asked: Reasoning, levels: tuple[str, ...], max_tokens: int, losses: Losses) -> Thought:
    wanted = asked.effort
    if wanted is None and asked.budget_tokens is not None and asked.budget_tokens > 0:
        wanted = _level_of(asked.budget_tokens)
        losses.add("reasoning.budget_tokens", f"the model takes levels only; {wanted} was asked for")
    effort = None if wanted is None else nearest_level(wanted, levels)
    if effort != asked.effort and asked.effort is not None:
        losses.add(_FIELD, f"the model has no level {asked.effort!r}; {effort!r} was sent")
    return Thought(max_tokens=max_tokens, thinking=_shown({"type": "adaptive"}, asked), effort=effort)


def nearest_level(wanted: str, levels: tuple[str, ...]) -> str | None:
    """The level asked for, else the next lower one that the model has, else its lowest that thinks."""
    known = [level for level in LEVELS if level in levels and level != "none"]
    if wanted in known or not known:
        return wanted if wanted in known else None
    rank = LEVELS.index(wanted) if wanted in LEVELS else LEVELS.index("medium")
    lower = [level for level in known if LEVELS.index(level) < rank]
    return lower[-1] if lower else known[0]


def _level_of(budget: int) -> str:
    return next((level for level, size in BUDGETS.items() if budget <= size), "max")


def _budgeted(asked: Reasoning, target: Target, limited: bool, max_tokens: int, losses: Losses) -> Thought:
    if asked.budget_tokens is not None and asked.budget_tokens > 0:
        wanted = asked.budget_tokens
    else:
        wanted = BUDGETS.get(asked.effort or "medium", BUDGETS["medium"])
    wanted = max(BUDGET_MIN, wanted)
    limits = (target.output_tokens_max, target.output_tokens_cap)
    ceiling = min((limit for limit in limits if limit is not None), default=None)
    limit = max_tokens
    if limit < 2 * BUDGET_MIN:
        limit = limit + BUDGET_MIN if ceiling is None else min(limit + BUDGET_MIN, ceiling)
    budget = min(wanted, max(BUDGET_MIN, limit * 4 // 5))
    if budget >= limit:
        losses.add(_FIELD, f"thinking needs a limit above {BUDGET_MIN} tokens; {limit} are possible")
        return Thought(max_tokens=max_tokens)
    if limit != max_tokens and limited:
        losses.add("max_tokens", f"raised from {max_tokens} to {limit}, since thinking takes {budget} of it")
    thinking: dict[str, object] = {"type": "enabled", "budget_tokens": budget}
    return Thought(max_tokens=limit, thinking=_shown(thinking, asked))


def _permitted(thought: Thought, turns: list[Turn], forced: bool, losses: Losses) -> Thought:
    if not thought.on:
        return thought
    manual = thought.thinking is not None and thought.thinking["type"] == "enabled"
    if forced:
        why = "the model cannot think when it is made to call a tool"
    elif turns and turns[-1][0] == "assistant":
        why = "the model cannot think when it continues a given answer"
    elif manual and _unsigned_calls(turns):
        why = "the tool calls of the last turn came without the reasoning before them"
    else:
        return thought
    losses.add(_FIELD, why)
    return Thought(max_tokens=thought.max_tokens, effort=thought.effort)


def _unsigned_calls(turns: list[Turn]) -> bool:
    """Whether the turn that awaits an answer continues calls which no thinking block precedes."""
    if len(turns) < 2 or turns[-2][0] != "assistant":
        return False
    blocks = turns[-2][1]
    kinds = [block.get("type") if isinstance(block, dict) else None for block in blocks]
    return "tool_use" in kinds and kinds[0] not in ("thinking", "redacted_thinking")
