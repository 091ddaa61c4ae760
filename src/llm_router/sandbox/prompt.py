"""What the simulated model reads in a request: the last question, its words, numbers and subjects."""

from __future__ import annotations

import hashlib
import re
from functools import cached_property

import msgspec

from llm_router.sandbox.arithmetic import first_sum
from llm_router.sandbox.directives import Directives, read_directives
from llm_router.sandbox.resuming import resumption
from llm_router.wire.chat import ChatRequest, Media, Message, Text, ToolCall, ToolResult

WHOLE_CHARS = 200
"""How much of a prompt is echoed."""

READ_CHARS = 20_000
"""How much of a prompt is searched for subjects, numbers and sums."""

_NUMBER = re.compile(r"(?<![\w.])-?[0-9]{1,15}(?:\.[0-9]{1,6})?(?![\w])")
_NAME = r"[A-Z][\w'\u2019-]*(?:[ ](?:de|of|la|los|las|New|San|[A-Z])[\w'\u2019-]*)*"
_SUBJECT = re.compile(rf"(?<=[\s\"“'(,]){_NAME}")
_NO_SUBJECT = {
    "I", "I'm", "I'll", "The", "What", "What's", "How", "Is", "Are", "Please", "Use", "Can", "Could", "Then",
    "And", "Also", "If", "Celsius", "Fahrenheit", "JSON", "Call", "Tell", "Give", "Compare", "It", "Do", "Does",
    "You", "My", "A", "An", "In", "At", "On", "For", "From", "To", "With", "Who", "Where", "When", "Which", "Why",
    "There", "This", "That", "These", "Those", "Let", "Show", "Find", "Get", "Check", "Say", "Write",
}  # fmt: skip


class Words:
    """The words of a prompt, for values made from it."""

    def __init__(self, text: str) -> None:
        self.text = text

    @cached_property
    def numbers(self) -> tuple[int | float, ...]:
        found = _NUMBER.findall(self.text[:READ_CHARS])
        return tuple(float(n) if "." in n else int(n) for n in found[:100])

    @cached_property
    def subjects(self) -> tuple[str, ...]:
        """Names in the text, in order, each once: "the weather in Paris and New York" has two."""
        found = _SUBJECT.findall(" " + self.text[:READ_CHARS])
        names = (_name(name) for name in found)
        starts = {_name(m[1]) for m in re.finditer(rf"(?:^|[.?!:]\s+)({_NAME})", self.text[:READ_CHARS])}
        kept = dict.fromkeys(n for n in names if n)
        inner = [n for n in kept if n not in starts]
        return tuple(inner or kept)[:32]

    @cached_property
    def sum(self) -> str | None:
        """The first sum in the text ("2 + 2"), if there is one."""
        found = first_sum(self.text[:READ_CHARS])
        return found[0] if found else None

    def whole(self) -> str:
        """The text on one line, shortened."""
        return shorten(self.text, WHOLE_CHARS)

    def short(self, subject: int) -> str:
        """One name of the text, or the shortened text if it names none."""
        if self.subjects:
            return self.subjects[subject % len(self.subjects)]
        return shorten(self.text, 60) or "simulated"


class Prompt:
    """A request, read once. ``resumption``: it asks to go on with an answer; the request is then the first one."""

    def __init__(self, request: ChatRequest) -> None:
        self.resumption = resumption(request)
        if self.resumption is not None:
            request = self.resumption.request
        self.request = request
        self.directives: Directives = read_directives(_last_user_text(request.messages))
        self.text = self.directives.text
        self.words = Words(self.text)

    @cached_property
    def name(self) -> str:
        """What the model calls itself in its answer."""
        model = self.request.model
        return model if self.resumption is None else self.resumption.name(model)

    @cached_property
    def digest(self) -> bytes:
        """Names the request: the same for the same content, streamed or not."""
        same = msgspec.structs.replace(self.request, stream=False, extras={}, metadata=None, user=None)
        return hashlib.sha256(msgspec.json.encode(same)).digest()

    @cached_property
    def system(self) -> str:
        """All system and developer text."""
        texts = (_text(m) for m in self.request.messages if m.role in ("system", "developer"))
        return "\n".join(t for t in texts if t)

    @cached_property
    def earlier(self) -> tuple[str, ...]:
        """What the user said before the last message."""
        texts = [_text(m) for m in self.request.messages if m.role == "user"]
        return tuple(texts[:-1])

    @cached_property
    def media(self) -> tuple[Media, ...]:
        """All media the user gave, those inside tool results too."""
        found: list[Media] = []
        for message in self.request.messages:
            for part in message.parts:
                if isinstance(part, Media) and message.role == "user":
                    found.append(part)
                elif isinstance(part, ToolResult):
                    found.extend(p for p in part.content if isinstance(p, Media))
        return tuple(found)

    @cached_property
    def results(self) -> tuple[ToolResult, ...]:
        """The tool results that end the conversation: () when the user spoke last."""
        found: list[ToolResult] = []
        for message in reversed(self.request.messages):
            inside = [p for p in message.parts if isinstance(p, ToolResult)]
            if not inside:
                break
            found[:0] = inside
        return tuple(found)

    @cached_property
    def rounds(self) -> int:
        """How often tools were called and answered since the user spoke."""
        count = 0
        for message in reversed(self.request.messages):
            if _is_written(message):
                break
            count += message.role == "assistant" and any(isinstance(p, ToolCall) for p in message.parts)
        return count

    def pick(self, count: int, salt: bytes = b"") -> int:
        """A number below ``count``, the same for the same words of the user, whoever is asked and how."""
        said = "\0".join((*self.earlier, self.text)).encode("utf-8", "surrogatepass")
        return int.from_bytes(hashlib.sha256(said + salt).digest()[:4], "big") % count


def _name(found: str) -> str:
    """A found name without an ending 's and without words that only begin a sentence; maybe ""."""
    words = found.rstrip("'\u2019-").removesuffix("'s").removesuffix("\u2019s").split()
    while words and words[0] in _NO_SUBJECT:
        del words[0]
    return " ".join(words)


def shorten(text: str, most: int) -> str:
    """The text on one line, with an ellipsis where it was longer than ``most`` characters."""
    line = " ".join(text[: most * 4].split())
    return line if len(line) <= most else line[: most - 1].rstrip() + "…"


def _text(message: Message) -> str:
    return "\n".join(p.text for p in message.parts if isinstance(p, Text) and p.text)


def _is_written(message: Message) -> bool:
    """Whether the user wrote it. What agents add to the results of their tools he did not."""
    if message.role != "user" or any(isinstance(part, ToolResult) for part in message.parts):
        return False
    return bool(_text(message))


def _last_user_text(messages: tuple[Message, ...]) -> str:
    written = next((m for m in reversed(messages) if _is_written(m)), None)
    last = next((m for m in reversed(messages) if m.role == "user" and _text(m)), None)
    found = written or last
    return "" if found is None else _text(found)
