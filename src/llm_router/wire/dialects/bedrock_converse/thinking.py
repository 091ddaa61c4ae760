"""How much to think, in the words of each vendor's models.

| models | what is sent |
|---|---|
| Claude with effort levels | ``thinking: {"type": "adaptive"}`` and ``outputConfig.effort`` |
| other Claude models | ``thinking`` with a budget by the table below |
| Nova 2 | ``reasoningConfig`` with the effort low, medium or high |
| gpt-oss | ``reasoning_effort`` |

    minimal  low   medium  high   xhigh  max
    1024     2048  8192    16384  24576  32000

All but the effort of Claude goes into ``additionalModelRequestFields``. A budget must be at least
1024 and below the limit of tokens, which counts thinking too: it is cut to four fifths of the
client's limit. Thinking is left out, a declared loss, where Claude refuses it: with a forced tool,
before a prefill, and after tool calls that came without signed reasoning.

https://docs.aws.amazon.com/bedrock/latest/userguide/claude-messages-extended-thinking.html and
https://docs.aws.amazon.com/nova/latest/nova2-userguide/extended-thinking.html
"""

from __future__ import annotations

import msgspec

from llm_router.wire.chat import ChatRequest, Reasoning
from llm_router.wire.dialect import Target
from llm_router.wire.dialects.bedrock_converse.facts import AMAZON, ANTHROPIC, CLAUDE_API
from llm_router.wire.dialects.bedrock_converse.turns import Turns
from llm_router.wire.loss import Losses

BUDGET_MIN = 1024
BUDGETS = {"minimal": 1024, "low": 2048, "medium": 8192, "high": 16384, "xhigh": 24576, "max": 32000}
LEVELS = ("minimal", "low", "medium", "high", "xhigh", "max")
ANSWER_TOKENS = 4096
"""What is left for the answer, where nobody names a limit for both."""

_FIELD = "reasoning_effort"


class Thought(msgspec.Struct, kw_only=True):
    """What to write: ``fields`` of additionalModelRequestFields, ``effort``, and the limit of tokens.

    ``strict``: sampling cannot be adjusted beside it.
    """

    max_tokens: int | None
    fields: dict[str, object] = {}
    effort: str | None = None
    strict: bool = False


def plan_thinking(
    request: ChatRequest,
    target: Target,
    vendor: str,
    max_tokens: int | None,
    turns: Turns,
    forced: bool,
    losses: Losses,
) -> Thought:
    """Decide. ``forced``: the request makes the model call a tool."""
    asked, able = request.reasoning, target.capabilities
    plain = Thought(max_tokens=max_tokens)
    if asked is None or asked == Reasoning(show=asked.show, summary=asked.summary):
        return plain
    off = asked.enabled is False or asked.effort == "none" or asked.budget_tokens == 0
    if not able.reasoning and not able.reasoning_levels:
        if not off:
            losses.add(_FIELD, "the model does not reason")
        return plain
    if vendor == ANTHROPIC:
        return _claude(request, asked, target, max_tokens, turns, forced, off, losses)
    if vendor == AMAZON:
        return _nova(asked, request, max_tokens, off, losses)
    if vendor == "openai":
        effort = _graded(asked, ("low", "medium", "high"), "low" if off else None, losses)
        return Thought(max_tokens=max_tokens, fields={"reasoning_effort": effort})
    losses.add(_FIELD, "the provider offers no way to adjust this model's reasoning")
    return plain


def _claude(
    request: ChatRequest,
    asked: Reasoning,
    target: Target,
    max_tokens: int | None,
    turns: Turns,
    forced: bool,
    off: bool,
    losses: Losses,
) -> Thought:
    levels = target.capabilities.reasoning_levels
    if off:
        return Thought(max_tokens=max_tokens, fields={"thinking": {"type": "disabled"}} if levels else {})
    budget = asked.budget_tokens
    own = request.dialect == CLAUDE_API and not asked.adaptive and budget is not None  # in Claude's own words
    if asked.adaptive or (levels and not own):
        effort = _graded(asked, levels, None, losses) if levels else None
        thought = Thought(max_tokens=max_tokens, fields={"thinking": {"type": "adaptive"}}, effort=effort)
    elif request.dialect == CLAUDE_API and not own and asked.enabled is None:
        return Thought(max_tokens=max_tokens, effort=asked.effort)
    else:
        thought = _budgeted(asked, target, max_tokens, losses)
    why = _refusal(thought, turns, forced)
    if why is not None and thought.fields:
        losses.add(_FIELD, why)
        return Thought(max_tokens=max_tokens, effort=thought.effort)
    _show(thought, asked)
    thought.strict = bool(thought.fields)
    return thought


def _show(thought: Thought, asked: Reasoning) -> None:
    thinking = thought.fields.get("thinking")
    if isinstance(thinking, dict) and asked.show is not None:
        thinking["display"] = "summarized" if asked.show else "omitted"


def _budgeted(asked: Reasoning, target: Target, max_tokens: int | None, losses: Losses) -> Thought:
    given = asked.budget_tokens
    wanted = given if given is not None and given > 0 else BUDGETS.get(asked.effort or "", BUDGETS["medium"])
    wanted = max(BUDGET_MIN, wanted)
    known = [bound for bound in (target.output_tokens_max, target.output_tokens_cap) if bound is not None]
    limit = max_tokens if max_tokens is not None else min([*known, wanted + ANSWER_TOKENS])
    if limit < 2 * BUDGET_MIN:
        raised = min([limit + BUDGET_MIN, *known])
        if raised != limit and max_tokens is not None:
            losses.add("max_tokens", f"raised from {limit} to {raised}, since thinking takes part of it")
        limit = raised
    budget = min(wanted, max(BUDGET_MIN, limit * 4 // 5))
    if budget >= limit:
        losses.add(_FIELD, f"thinking needs a limit above {BUDGET_MIN} tokens; {limit} are possible")
        return Thought(max_tokens=max_tokens)
    return Thought(max_tokens=limit, fields={"thinking": {"type": "enabled", "budget_tokens": budget}})


def _refusal(thought: Thought, turns: Turns, forced: bool) -> str | None:
    """Why Claude would not think here; None if it would."""
    if forced:
        return "the model cannot think when it is made to call a tool"
    if turns.prefilled:
        return "the model cannot think when it continues a given answer"
    thinking = thought.fields.get("thinking")
    if isinstance(thinking, dict) and thinking["type"] == "enabled" and turns.unsigned_calls:
        return "the tool calls of the last turn came without the reasoning before them"
    return None


def _nova(
    asked: Reasoning, request: ChatRequest, max_tokens: int | None, off: bool, losses: Losses
) -> Thought:
    """Nova's highest effort goes with no limit of tokens and no sampling of one's own."""
    if off:
        return Thought(max_tokens=max_tokens, fields={"reasoningConfig": {"type": "disabled"}})
    bound = any(n is not None for n in (max_tokens, request.temperature, request.top_p, request.top_k))
    levels = ("low", "medium") if bound else ("low", "medium", "high")
    effort = _graded(asked, levels, None, losses)
    return Thought(
        max_tokens=max_tokens, fields={"reasoningConfig": {"type": "enabled", "maxReasoningEffort": effort}}
    )


def _graded(asked: Reasoning, levels: tuple[str, ...], instead: str | None, losses: Losses) -> str | None:
    """The level asked for, else the next lower one that the model has, else its lowest."""
    known = [level for level in LEVELS if level in levels]
    wanted = instead or asked.effort
    if wanted is None and asked.budget_tokens is not None and asked.budget_tokens > 0:
        budget = asked.budget_tokens
        wanted = next((level for level, size in BUDGETS.items() if budget <= size), "max")
        losses.add("reasoning.budget_tokens", f"the model takes levels only; {wanted} was asked for")
    if wanted is None or wanted in known or not known:
        return wanted if wanted is None or wanted in known else None
    rank = LEVELS.index(wanted) if wanted in LEVELS else LEVELS.index("medium")
    lower = [level for level in known if LEVELS.index(level) < rank]
    found = lower[-1] if lower else known[0]
    losses.add(_FIELD, f"the model has no level {wanted!r}; {found!r} was sent")
    return found
