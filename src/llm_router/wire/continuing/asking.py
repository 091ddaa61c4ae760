"""How a model is asked to go on with an answer that broke off.

* **prefill**: the answer so far is the beginning of the model's own turn, where the provider takes that.
* **prompt**: the answer so far is a turn of the model's, and the user's next one asks to go on. The model is asked
  to begin with the last words, which shows where the joint is (:mod:`overlap`). Where they are too few to show it,
  the answer is asked for once more, with its first words as they were told.
* **call**: the arguments of a tool call broke off: the model is asked to make the call again.
* **again**: the client has seen no more than reasoning: the request is simply made again.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Literal

import msgspec

from llm_router.wire.chat import ChatRequest, Message, Text, ToolChoice
from llm_router.wire.continuing.anchor import anchor, is_too_little
from llm_router.wire.continuing.told import Part, Told
from llm_router.wire.dialect import Target
from llm_router.wire.verbatim import encode, items, members

Way = Literal["prefill", "prompt", "call", "again"]


ASKS_TO_GO_ON = "The connection broke in the middle of your last answer"
ASKS_ANEW = "Begin your answer with exactly the words that stand between the marks"
CALLS_ARRIVED = "You have made these calls already, and they arrived."
JSON_TOGETHER = "Your last answer and what you write now must together be one valid JSON value."
JSON_SCHEMA = "It follows this JSON schema: "
"""What models are told, by which the simulated ones know it."""


class Prefill(msgspec.Struct, frozen=True, kw_only=True):
    """Where a trailing turn of the assistant is the beginning of the answer.

    Attributes:
        provider, dialect: where; None is any.
        models: patterns of upstream models.
        member: set to true in the last message; body: members of the request.
        trims: it takes no white space at the end.
        source: the page that says so.
    """

    provider: str | None = None
    dialect: str | None = None
    models: tuple[str, ...] = ("*",)
    member: str | None = None
    body: dict[str, bool] = {}
    trims: bool = False
    source: str


_CLAUDE = (
    "*claude-3-*", "*claude-sonnet-4-2025*", "*claude-sonnet-4@*", "*claude-sonnet-4", "*claude-sonnet-4-0",
    "*claude-opus-4-2025*", "*claude-opus-4@*", "*claude-opus-4", "*claude-opus-4-0", "*claude-opus-4-1*",
    "*claude-opus-4-5*", "*claude-sonnet-4-5*", "*claude-haiku-4-5*",
)  # fmt: skip
"""Those before 4.6: later ones refuse it."""

_CLAUDE_SOURCE = "https://platform.claude.com/docs/en/about-claude/models/migration-guide"

PREFILLS = (
    Prefill(dialect="anthropic_messages", models=_CLAUDE, trims=True, source=_CLAUDE_SOURCE),
    Prefill(dialect="bedrock_converse", models=_CLAUDE, trims=True, source=_CLAUDE_SOURCE),
    Prefill(
        provider="mistral",
        dialect="openai_chat",
        member="prefix",
        source="https://docs.mistral.ai/capabilities/completion/",
    ),
    Prefill(
        provider="alibaba",
        dialect="openai_chat",
        models=("qwen*",),
        member="partial",
        source="https://www.alibabacloud.com/help/en/model-studio/partial-mode",
    ),
    Prefill(
        provider="vllm",
        dialect="openai_chat",
        body={"add_generation_prompt": False, "continue_final_message": True},
        source="https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html",
    ),
)
"""Where it is documented. What is not listed is asked in words, which works everywhere."""


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A request to go on.

    Attributes:
        before: the visible text that was told; call: the number of the part whose call is to be made again.
        json: the answer is one JSON value.
        anew: it is to be told from its beginning, with the text that was told first.
    """

    way: Way
    request: ChatRequest
    before: str = ""
    call: int | None = None
    json: bool = False
    anew: bool = False
    prefill: Prefill | None = None


def why_not(told: Told, request: ChatRequest) -> str | None:
    """Why an answer cannot be gone on with; None if it can."""
    if told.odd:
        return "it holds more than text, reasoning and calls of functions"
    if request.n != 1:
        return "several answers were asked for"
    if request.logprobs or request.top_logprobs:
        return "log probabilities were asked for"
    if any(kind != "text" for kind in request.modalities):
        return "more than text was asked for"
    if any(part.opened.custom and not part.closed for part in told.calls):
        return "it broke off in the free text of a tool call"
    if sum(not part.whole for part in told.calls) > 1:
        return "it broke off in several tool calls at once"
    return None


def asked(told: Told, request: ChatRequest, target: Target, *, limit: int | None, prefill: bool) -> Asked:
    """How to ask a deployment to go on. ``limit``: its output limit; ``prefill``: it may be tried."""
    json = request.response_format is not None and request.response_format.mode != "text"
    request = msgspec.structs.replace(request, max_tokens=request.max_tokens if limit is None else limit)
    text = told.text
    broken = next((number for number, part in told.parts.items() if _is_broken(part)), None)
    if broken is not None:
        return Asked(way="call", request=_call_again(told, request, told.parts[broken]), call=broken)
    if not text.strip() and not told.calls:
        return Asked(way="again", request=request, before=text, json=json)
    found = prefill_of(target, request) if prefill and not (told.calls or json) else None
    if found is not None:
        turn = Message(role="assistant", parts=(Text(text=text),))
        messages = (*request.messages, turn)
        return Asked(
            way="prefill",
            request=msgspec.structs.replace(request, messages=messages),
            before=text,
            prefill=found,
        )
    if not told.calls and is_too_little(text):
        return Asked(way="prompt", request=_begun(text, request), before=text, json=json, anew=True)
    return Asked(way="prompt", request=_prompted(told, request, json=json), before=text, json=json)


def prefill_of(target: Target, request: ChatRequest) -> Prefill | None:
    """The form in which the deployment takes the beginning of an answer; None if it takes none.

    A model that thinks begins its answer with that, so that nothing can stand before it.
    """
    claude = target.dialect in ("anthropic_messages", "bedrock_converse")
    thinks = request.reasoning is not None and request.reasoning.enabled is not False
    if thinks if claude else (target.capabilities.reasoning or thinks):
        return None
    for row in PREFILLS:
        if row.dialect not in (None, target.dialect) or row.provider not in (None, target.provider):
            continue
        if any(fnmatchcase(name.lower(), pattern) for name in target.names for pattern in row.models):
            return row
    return None


def prefilled(body: bytes, prefill: Prefill) -> bytes:
    """The request as it goes out, marked so that its last message is gone on with."""
    found = members(body)
    if found is None or not (prefill.member or prefill.body):
        return body
    out: dict[str, object] = {}
    out.update(found)
    out.update(prefill.body)
    messages = items(found.get("messages"))
    if prefill.member is not None and messages:
        last: dict[str, object] = {}
        last.update(members(messages[-1]) or {})
        last[prefill.member] = True
        out["messages"] = [*messages[:-1], last]
    return encode(out)


def _is_broken(part: Part) -> bool:
    return part.opened.form == "tool_call" and not part.whole


def _prompted(told: Told, request: ChatRequest, *, json: bool) -> ChatRequest:
    text, lines = told.text, []
    if text:
        lines.append(
            f"{ASKS_TO_GO_ON}. The reader has it up to its last character "
            "and will see what you write now directly behind it. Begin with the last words that arrived, exactly "
            "as they stand between the marks, and go on from there to the end of the answer. Write nothing else: "
            "no greeting, no apology, no comment, nothing of what came before."
        )
        lines.append(f"<last_words>{anchor(text)}</last_words>")
    calls = [part for part in told.calls if part.whole]
    if calls:
        lines.append(
            f"{CALLS_ARRIVED} Do not make them again; make those that are "
            "missing, or if none is, say only: done."
        )
        lines += [f"{part.opened.name}({part.text})" for part in calls]
    if json and request.response_format is not None:
        lines.append(JSON_TOGETHER)
        if request.response_format.schema is not None:
            lines.append(JSON_SCHEMA + bytes(request.response_format.schema).decode())
        request = msgspec.structs.replace(request, response_format=None)
    if calls and request.tool_choice is not None and request.tool_choice.mode in ("required", "tool"):
        request = msgspec.structs.replace(request, tool_choice=ToolChoice(mode="auto"))
    return _with_turns(request, text, "\n\n".join(lines))


def _begun(text: str, request: ChatRequest) -> ChatRequest:
    """The request as it was, with how the answer is to begin."""
    ask = (
        "Begin your answer with exactly the words that stand between the marks, and go on from there. Do not "
    )
    ask += f"write the marks.\n\n<first_words>{text}</first_words>"
    turn = Message(role="user", parts=(Text(text=ask),))
    return msgspec.structs.replace(request, messages=(*request.messages, turn))


def _call_again(told: Told, request: ChatRequest, broken: Part) -> ChatRequest:
    lines = [
        f"{ASKS_TO_GO_ON}, while you were calling the tool "
        f"{broken.opened.name}. Make this one call again, whole, now. Its arguments must begin exactly so:",
        f"<arguments>{broken.text}</arguments>",
    ]
    done = [part for part in told.calls if part.whole]
    if done:
        lines.append("These calls arrived before it; do not make them again:")
        lines += [f"{part.opened.name}({part.text})" for part in done]
    return _with_turns(request, told.text, "\n\n".join(lines))


def _with_turns(request: ChatRequest, text: str, ask: str) -> ChatRequest:
    """The request with the answer so far as a turn, and the user's word behind it.

    The calls of the broken answer are told in words: as calls they would want their results.
    """
    said = (Message(role="assistant", parts=(Text(text=text),)),) if text.strip() else ()
    turns = (*said, Message(role="user", parts=(Text(text=ask),)))
    return msgspec.structs.replace(request, messages=(*request.messages, *turns))


def same_call(one: Part, name: str, arguments: str) -> bool:
    """Whether a call says what another one said."""
    return one.opened.name == name and _value(one.text) == _value(arguments)


def _value(arguments: str) -> object:
    try:
        found: object = msgspec.json.decode(arguments)
    except (msgspec.MsgspecError, RecursionError):
        return arguments.strip()
    return found


def resent_chars(told: Told) -> int:
    """Characters of input that go up in addition to the request, at most: the answer so far and the asking."""
    return 2 * sum(len(part.text) for part in told.parts.values() if part.opened.form != "thinking") + 800
