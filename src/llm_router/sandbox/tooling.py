"""Whether the simulated model calls tools, which ones, and with what arguments."""

from __future__ import annotations

import re

import msgspec

from llm_router.sandbox.answer import exact_words
from llm_router.sandbox.directives import CALLS_MAX, CallOrder
from llm_router.sandbox.prompt import Prompt
from llm_router.sandbox.schema import instance
from llm_router.wire.chat import Tool

_VERBS = {
    "get", "set", "find", "list", "fetch", "create", "make", "call", "tool", "function", "current",
    "the", "and", "for", "with", "from", "this", "that", "use", "used", "into", "given", "return",
    "returns", "specific", "user", "about", "what", "which", "when", "your", "data", "information",
}  # fmt: skip
_SEVERAL = re.compile(r"\b(both|each|several|in parallel|respectively|all of|as well as)\b|\band\b|,", re.I)
_TIMES = re.compile(
    r"\b(two|three|four|five|twice|thrice|[2-9]) (?:times|calls|parallel calls)\b|\btwice\b", re.I
)
_COUNTS = {"two": 2, "twice": 2, "three": 3, "thrice": 3, "four": 4, "five": 5}


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """A tool call the model decided on. ``arguments`` is JSON text, or free text if ``custom``."""

    name: str
    arguments: str
    custom: bool = False


def is_forced(prompt: Prompt) -> bool:
    """Whether the request leaves the model no choice but to call. Models then say nothing before:
    https://docs.anthropic.com/en/docs/agents-and-tools/tool-use/implement-tool-use#forcing-tool-use"""
    choice = prompt.request.tool_choice
    return choice is not None and choice.mode in ("required", "tool")


def decide_calls(prompt: Prompt) -> tuple[Call, ...]:
    """The calls that the request asks for by its tool choice, its orders or its words."""
    request = prompt.request
    choice = request.tool_choice
    tools = {t.name: t for t in request.tools if t.raw is None}
    if choice is not None and choice.allowed:
        tools = {name: tool for name, tool in tools.items() if name in choice.allowed}
    if not tools or (choice is not None and choice.mode == "none"):
        return ()
    forced = is_forced(prompt)
    if choice is not None and choice.mode == "tool":
        tools = {name: tool for name, tool in tools.items() if name == choice.name} or tools
    orders = [order for order in prompt.directives.calls if order.name in tools]
    wanted = [order for order in orders if order.step == prompt.rounds]
    if prompt.results and not wanted and not forced:
        return ()
    if not wanted and not orders and exact_words(prompt) is None:
        wanted = _mentioned(prompt, list(tools.values()))
    if not wanted and forced:
        wanted = [CallOrder(name=next(iter(tools)))]
    calls = [
        _call(prompt, tools[order.name], n, order.arguments) for order in wanted for n in range(order.times)
    ]
    if request.parallel_tool_calls is False:
        calls = calls[:1]
    return tuple(calls[:CALLS_MAX])


def _mentioned(prompt: Prompt, tools: list[Tool]) -> list[CallOrder]:
    """Tools that the user's words are about, each with how often it is to be called."""
    said = _word_set(prompt.text)
    lower = prompt.text.lower()
    scored = [(_score(tool, said, lower), tool) for tool in tools]
    best = max(score for score, _ in scored)
    if best < 2:
        return []
    by_name = [tool for score, tool in scored if score >= 3]
    chosen = by_name or [next(tool for score, tool in scored if score == best)]
    times = _times(prompt) if len(chosen) == 1 else 1
    return [CallOrder(name=tool.name, times=times) for tool in chosen]


def _score(tool: Tool, said: frozenset[str], lower: str) -> int:
    """100: the tool's name stands in the text; 3: a word of it does; 1 for each word of its description."""
    if tool.name.lower() in lower:
        return 100
    spaced = re.sub(r"([a-z])([A-Z])", r"\1 \2", tool.name).replace("_", " ").replace("-", " ")
    name_words = _word_set(spaced) - _VERBS
    described = _word_set(tool.description or "") - _VERBS
    return (3 if name_words & said else 0) + len(described & said)


def _word_set(text: str) -> frozenset[str]:
    """Lower-case words of three letters and more, without a plural s."""
    found = re.findall(r"[a-z]{3,}", text[:20_000].lower())
    return frozenset(w[:-1] if w.endswith("s") and len(w) > 4 and not w.endswith("ss") else w for w in found)


def _times(prompt: Prompt) -> int:
    """How many parallel calls of one tool the text asks for."""
    said = _TIMES.search(prompt.text[:20_000])
    if said is not None:
        word = said[0].split()[0].lower()
        return _COUNTS.get(word) or int(word)
    subjects = len(prompt.words.subjects)
    return subjects if subjects > 1 and _SEVERAL.search(prompt.text) else 1


def _call(prompt: Prompt, tool: Tool, number: int, arguments: str | None) -> Call:
    if arguments is not None:
        told = msgspec.json.decode(arguments)
        text = told if isinstance(told, str) else arguments
        return Call(name=tool.name, arguments=text, custom=tool.custom)
    if tool.custom:
        return Call(name=tool.name, arguments=prompt.words.whole() or "simulated", custom=True)
    schema = msgspec.json.decode(tool.parameters) if tool.parameters is not None else {}
    if not isinstance(schema, dict) or not schema.get("properties"):
        made: object = {} if not isinstance(schema, dict) or "$ref" not in schema else None
    else:
        made = None
    if made is None:
        made = instance(schema, prompt.words, subject=number)
    return Call(name=tool.name, arguments=msgspec.json.encode(made).decode())
