"""What the simulated model says: a few sentences that show that the path works."""

from __future__ import annotations

import json
import re

import msgspec

from llm_router.sandbox import media, tokens
from llm_router.sandbox.arithmetic import first_sum
from llm_router.sandbox.prompt import READ_CHARS, Prompt, shorten
from llm_router.sandbox.schema import instance
from llm_router.wire.chat import Text, ToolResult

_EXACTLY = re.compile(
    r"\b(?:reply|respond|answer|say|repeat|return|output|write)(?:\s+(?:with|back|me|the\s+words?))*"
    r"(?:\s+(?:exactly|only|just|nothing\s+but|the\s+words?|the\s+single\s+word|this))+\s*:?\s*"
    r"(?:\"([^\"]+)\"|'([^']+)'|“([^”]+)”|`([^`]+)`|([^\n.!?]+))",
    re.IGNORECASE,
)
_UPPER = re.compile(r"\b(upper ?case|all caps|capital letters)\b", re.IGNORECASE)
_BEGIN = re.compile(
    r"\b(begin|start|end)\s+(?:every|each|all|your)\s+(?:answers?|repl(?:y|ies)|responses?|messages?)\s+with\s+"
    r"(?:the\s+words?\s+)?(?:\"([^\"]+)\"|'([^']+)'|“([^”]+)”|([^\n.!?,]+))",
    re.IGNORECASE,
)
_JSON = re.compile(
    r"(?<!\bnot )(?<!\bnever )\b(?:answer|respond|reply|return|output|write)(?:\s+(?:always|only|just|strictly|exclusively|with|in|as|using|"
    r"a|an|one|single|valid|raw|plain|strict|nothing|but))*\s+JSON\b",
    re.IGNORECASE,
)
_SCHEMA = re.compile(r"\bschema\b[^{]*(?=\{)", re.IGNORECASE)
_NAMED = re.compile(r"\bmy name is\s+([A-Z][\w'-]*)", re.IGNORECASE)
_ASKS_NAME = re.compile(r"\bwhat(?:'s|\u2019s| is) my name\b", re.IGNORECASE)
_CLOSINGS = (
    "No real model was asked: this is the sandbox of LLM Router.",
    "This answer is simulated; with a provider's key a real model would give it.",
    "Everything on the way here was real, only the model was not.",
)
_FILLER = "Sentence {n} of a long simulated answer has nothing to say, and says it in order."


def exact_words(prompt: Prompt) -> str | None:
    """The words that the user wants to hear and no others; None if he does not say so."""
    found = _EXACTLY.search(prompt.text[:READ_CHARS])
    return None if found is None else next(g for g in found.groups() if g is not None).strip()


def text_answer(prompt: Prompt, choice: int) -> str:
    """The text of one choice. It begins with the simulated model's name, whatever was asked."""
    label = f"[simulated {prompt.name}]"
    body = _body(prompt)
    if choice:
        body += f" (Choice {choice + 1}.)"
    text = _obeying(prompt.system, label, body)
    wanted = prompt.directives.long_tokens
    return text if wanted is None else _lengthened(text, wanted)


def wants_json(prompt: Prompt) -> bool:
    """Whether the response format asks for JSON, or the system prompt orders it."""
    wanted = prompt.request.response_format
    if wanted is not None and wanted.mode != "text":
        return True
    return _JSON.search(prompt.system[:READ_CHARS]) is not None


def json_answer(prompt: Prompt) -> str:
    """A JSON text as the request's response format, or else the system prompt, wants it."""
    wanted = prompt.request.response_format
    if wanted is not None and wanted.mode == "json_schema" and wanted.schema is not None:
        made = instance(msgspec.json.decode(wanted.schema), prompt.words)
    elif (schema := _told_schema(prompt.system[:READ_CHARS])) is not None:
        made = instance(schema, prompt.words)
    else:
        made = {"simulated": True, "model": prompt.name, "answer": _body(prompt, quoting=False)}
    return msgspec.json.encode(made).decode()


def _told_schema(system: str) -> dict[str, object] | None:
    """The JSON schema that stands behind an order to answer in JSON; None if none does."""
    order = _JSON.search(system)
    found = None if order is None else _SCHEMA.search(system, order.end())
    if found is None:
        return None
    try:
        schema, _ = json.JSONDecoder().raw_decode(system, found.end())
    except (ValueError, RecursionError):
        return None
    return schema if isinstance(schema, dict) else None


def _body(prompt: Prompt, *, quoting: bool = True) -> str:
    """The sentences of an answer. ``quoting``: what the system prompt says is among them. In JSON it is not:
    the order to answer so may be the gateway's own, for a provider that wants one."""
    sentences: list[str] = []
    if prompt.results:
        sentences.extend(_result(r) for r in prompt.results[:8])
    exactly = exact_words(prompt)
    found = first_sum(prompt.text[:READ_CHARS])
    if exactly is not None and not prompt.results:
        return exactly
    if found is not None and not prompt.results:
        sentences.append(f"{found[0]} = {found[1]}.")
    elif (name := _name_asked(prompt)) is not None:
        sentences.append(f"Your name is {name}.")
    elif not prompt.results:
        echo = prompt.words.whole()
        sentences.append(f"You wrote: “{echo}”." if echo else "You wrote no text.")
    if prompt.media:
        sentences.append(media.describe(prompt.media))
    if prompt.system and quoting:
        sentences.append(f"My instructions are: “{shorten(prompt.system, 120)}”.")
    if prompt.earlier:
        sentences.append(f"This is your message number {len(prompt.earlier) + 1}.")
    sentences.append(_CLOSINGS[prompt.pick(len(_CLOSINGS), b"closing")])
    return " ".join(sentences)


def _result(result: ToolResult) -> str:
    text = shorten(" ".join(p.text for p in result.content if isinstance(p, Text)), 200) or "nothing"
    verb = "failed with" if result.is_error else "answered"
    return f"The tool {result.name or result.call_id} {verb}: {text}."


def _name_asked(prompt: Prompt) -> str | None:
    """The name that the user gave earlier, if he asks for it now."""
    if not _ASKS_NAME.search(prompt.text[:READ_CHARS]):
        return None
    for text in reversed(prompt.earlier):
        if (match := _NAMED.search(text[:READ_CHARS])) is not None:
            return match[1]
    return None


def _obeying(system: str, label: str, body: str) -> str:
    """The answer as the system prompt wants it: capitals, a fixed beginning, a fixed end."""
    orders = system[:READ_CHARS]
    before = after = ""
    for match in _BEGIN.finditer(orders):
        words = next(g for g in match.groups()[1:] if g is not None).strip()
        if match[1].lower() == "end":
            after = f" {words}"
        else:
            before = f"{words} "
    if _UPPER.search(orders):
        body = body.upper()
    return f"{before}{label} {body}{after}"


def _lengthened(text: str, wanted: int) -> str:
    """The text, filled up or cut to about that many tokens."""
    parts = tokens.pieces(text)
    number = 1
    while len(parts) < wanted:
        parts.extend(tokens.pieces(" " + _FILLER.format(n=number)))
        number += 1
    return "".join(parts[:wanted])
