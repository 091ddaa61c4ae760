"""Names of functions in the letters that a provider takes, and back again.

The mapping follows from the request alone, so that a conversation always gives the same names (and
hits the prompt cache), and the reply can be mapped back without anything being remembered. Where
the rules come from:

* OpenAI: https://platform.openai.com/docs/api-reference/chat/create#chat-create-tools
* Anthropic: https://docs.anthropic.com/en/docs/agents-and-tools/tool-use/implement-tool-use
* Google: https://ai.google.dev/gemini-api/docs/function-calling
* AWS: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ToolSpecification.html
* Cohere: https://docs.cohere.com/v1/reference/chat#request.body.tools
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType

import msgspec

from llm_router.domain.errors import InvalidRequest
from llm_router.wire import chat, events

_DIGEST_CHARS = 8


class NameRule(msgspec.Struct, frozen=True, kw_only=True):
    """What a name may be made of: a class of letters, at most ``most``; ``digit_first`` or not."""

    letters: str
    most: int
    digit_first: bool = True

    def takes(self, name: str) -> bool:
        if not 0 < len(name) <= self.most or not re.fullmatch(f"[{self.letters}]+", name):
            return False
        return self.digit_first or name[0] == "_" or name[0].isalpha()

    def fitted(self, name: str) -> str:
        """The name with odd letters as ``_``; cut, with a digest of itself, where it is too long."""
        plain = re.sub(f"[^{self.letters}]", "_", name) or "_"
        if not self.digit_first and not (plain[0] == "_" or plain[0].isalpha()):
            plain = f"_{plain}"
        return plain if len(plain) <= self.most else self.distinct(plain, name)

    def distinct(self, plain: str, name: str) -> str:
        """A fitted name that no other one has."""
        digest = hashlib.sha256(name.encode("utf-8", "replace")).hexdigest()[:_DIGEST_CHARS]
        return f"{plain[: self.most - _DIGEST_CHARS - 1]}_{digest}"


NAME_RULES: Mapping[str, NameRule] = MappingProxyType(
    {
        "openai_chat": NameRule(letters="a-zA-Z0-9_-", most=64),
        "openai_responses": NameRule(letters="a-zA-Z0-9_-", most=64),
        "anthropic_messages": NameRule(letters="a-zA-Z0-9_-", most=128),
        "gemini_generate": NameRule(letters="a-zA-Z0-9_.:-", most=64, digit_first=False),
        "bedrock_converse": NameRule(letters="a-zA-Z0-9_-", most=64),
        "cohere_chat": NameRule(letters="a-zA-Z0-9_", most=64, digit_first=False),
    }
)
"""By dialect; one that is not here takes any name."""


def changed_names(request: chat.ChatRequest, dialect: str) -> dict[str, str]:
    """The provider's name by the client's, for those that ``dialect`` does not take as they are."""
    rule = NAME_RULES.get(dialect)
    if rule is None:
        return {}
    names = list(dict.fromkeys(_names(request)))
    used = {name for name in names if rule.takes(name)}
    changed: dict[str, str] = {}
    for name in names:
        if name in used:
            continue
        wire = rule.fitted(name)
        if wire in used:
            wire = rule.distinct(wire, name)
        used.add(wire)
        changed[name] = wire
    return changed


def _names(request: chat.ChatRequest) -> Iterable[str]:
    yield from (tool.name for tool in request.tools if tool.raw is None)
    for message in request.messages:
        for part in message.parts:
            if isinstance(part, chat.ToolCall | chat.ToolResult) and part.name is not None:
                yield part.name


def with_names(request: chat.ChatRequest, names: Mapping[str, str]) -> chat.ChatRequest:
    """The request with these names replaced, wherever they stand as such."""
    if not names:
        return request
    choice = request.tool_choice
    if choice is not None:
        name = None if choice.name is None else names.get(choice.name, choice.name)
        allowed = tuple(names.get(name, name) for name in choice.allowed)
        choice = msgspec.structs.replace(choice, name=name, allowed=allowed)
    return msgspec.structs.replace(
        request,
        tools=tuple(_renamed(tool, names) if tool.raw is None else tool for tool in request.tools),
        tool_choice=choice,
        messages=tuple(
            msgspec.structs.replace(message, parts=tuple(_part(part, names) for part in message.parts))
            for message in request.messages
        ),
    )


def _renamed(tool: chat.Tool, names: Mapping[str, str]) -> chat.Tool:
    return msgspec.structs.replace(tool, name=names.get(tool.name, tool.name))


def _part(part: chat.Part, names: Mapping[str, str]) -> chat.Part:
    if not isinstance(part, chat.ToolCall | chat.ToolResult) or part.name is None:
        return part
    return msgspec.structs.replace(part, name=names[part.name]) if part.name in names else part


def fit_tools(request: chat.ChatRequest, dialect: str) -> chat.ChatRequest:
    """The request with names that ``dialect`` takes, and each tool once.

    Raises:
        InvalidRequest: two different tools have one name, so that a call would not tell which is meant.
    """
    seen: dict[str, chat.Tool] = {}
    for tool in request.tools:
        if tool.raw is None and seen.setdefault(tool.name, tool) != tool:
            raise InvalidRequest(
                f"Two different tools are named {tool.name!r}: give each a name of its own.", param="tools"
            )
    offered = sum(tool.raw is None for tool in request.tools)
    if len(seen) < offered:
        once = tuple(t for t in request.tools if t.raw is not None or seen.pop(t.name, None) is not None)
        request = msgspec.structs.replace(request, tools=once)
    return with_names(request, changed_names(request, dialect))


def client_names(request: chat.ChatRequest, dialect: str) -> dict[str, str]:
    """The client's name by the provider's, for the reply."""
    return {wire: name for name, wire in changed_names(request, dialect).items()}


def named_back(event: events.Event, names: Mapping[str, str]) -> events.Event:
    """The event of a reply with the client's own names of functions."""
    if isinstance(event, events.PartOpened) and event.name in names:
        return msgspec.structs.replace(event, name=names[event.name])
    return event


def reply_named_back(reply: events.Reply, names: Mapping[str, str]) -> events.Reply:
    """The same for a whole reply."""
    if not names:
        return reply
    choices = tuple(
        msgspec.structs.replace(choice, parts=tuple(_part(part, names) for part in choice.parts))
        for choice in reply.choices
    )
    return msgspec.structs.replace(reply, choices=choices)
