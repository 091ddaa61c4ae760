"""What is read off a prompt: hashed words and pairs of words, and a few figures about its form.

The trainer reads its prompts with these very functions; whoever changes one has to train again (:data:`READING`
is kept in the artefact and compared at load). Everything here runs at the speed of ``re``, ``zlib`` and
``bytes.translate``: there is no loop over words in Python.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Sequence
from math import log1p
from zlib import crc32

import msgspec

from llm_router.domain import late
from llm_router.wire.chat import Message, Text

READING = 1
"""Version of what is read. Another one would find other weights in the same buckets."""

BITS = 16
BUCKETS = 1 << BITS

HEAD_BYTES, TAIL_BYTES = 1536, 512
"""Of a prompt of more bytes than both these parts are read: the task stands at the beginning or at the end.
"""

SYSTEM_BYTES_MAX = 512

_LOWER_HALF = 0 if sys.byteorder == "little" else 1

_WORDS = late.compile(rb"[a-z\x80-\xff]+|[0-9]|[^\sa-z0-9\x80-\xff]")
_LONG = late.compile(rb"[a-z]{8,}")
_OPTION = late.compile(rb"(?m)^\s{0,8}\(?[A-J][.)]\s")
_ASKS = late.compile(rb"\s*(?:what|which|who|when|where)\b")
_REASONS = late.compile(rb"\s*(?:how|why)\b")

_DIGITS = b"0123456789"
_SIGNS = b"=+-*/^<>"
_UPPER = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_LOWER = b"abcdefghijklmnopqrstuvwxyz"
_HIGH = bytes(range(128, 256))

FORM = (
    "bytes", "bytes_squared", "words", "options", "has_options", "many_options", "digits", "has_digits",
    "backslashes", "has_backslash", "dollar", "code", "fence_or_import", "word_length", "distinct",
    "long_words", "longer_words", "question", "asks", "reasons", "proof", "lines", "line_length", "signs",
    "upper", "not_ascii", "gap", "colon", "quote", "commas", "periods", "not", "except", "write",
    "explain", "if",
)  # fmt: skip
"""Names of the figures, in their order."""


class Features(msgspec.Struct, frozen=True, kw_only=True):
    """What was read of one prompt. It holds no text: words are numbers of buckets, 0 <= bucket < 2**16."""

    buckets: tuple[int, ...]
    form: tuple[float, ...]


def prompt_of(messages: Sequence[Message]) -> tuple[str, str]:
    """The text of the last message of the user, and the beginning of what the system says."""
    asked = system = ""
    for message in reversed(messages):
        if message.role == "user" and (asked := _text(message)):
            break
    for message in messages:
        if message.role in ("system", "developer"):
            system = _text(message)[:SYSTEM_BYTES_MAX]
            break
    return asked, system


def _text(message: Message) -> str:
    return "\n".join(part.text for part in message.parts if isinstance(part, Text))


def read_prompt(prompt: str) -> Features:
    """Read a prompt; of a long one the beginning and the end.

    ``form`` has a figure for each name in :data:`FORM`.
    """
    data = prompt[: HEAD_BYTES + TAIL_BYTES + 1].encode("utf-8", "replace")
    if len(data) > HEAD_BYTES + TAIL_BYTES:
        end = prompt[-TAIL_BYTES:].encode("utf-8", "replace")
        data = data[:HEAD_BYTES] + b"\n" + end[-TAIL_BYTES:]
    low = data.lower()
    words = _WORDS.findall(low)
    return Features(buckets=_buckets(words), form=_form(data, low, words))


def _buckets(words: list[bytes]) -> tuple[int, ...]:
    """Each word and each pair of neighbours, once. A pair is the hash of the second begun with the first's.

    The bucket is the lower half of the hash.
    """
    ones = list(map(crc32, words))
    hashes = array("I", ones)
    hashes.extend(map(crc32, words[1:], ones))
    halves = memoryview(hashes).cast("B").cast("H")
    return tuple(set(halves[_LOWER_HALF::2].tolist()))


def _count(data: bytes, kind: bytes) -> int:
    return len(data) - len(data.translate(None, kind))


def _form(data: bytes, low: bytes, words: list[bytes]) -> tuple[float, ...]:
    size = max(len(data), 1)
    digits = _count(data, _DIGITS)
    letters = _count(low, _LOWER)
    high = _count(data, _HIGH)
    tokens = max(len(words), 1)
    plain = max(low.count(b" ") + low.count(b"\n") + 1, 1)
    options = len(_OPTION.findall(data))
    back = data.count(b"\\")
    lines = data.count(b"\n") + 1
    long_words = _LONG.findall(low)
    log_size = log1p(len(data)) / 8
    return (
        log_size,
        log_size * log_size,
        log1p(plain) / 6,
        min(options, 10) / 10,
        float(options > 0),
        float(options > 5),
        digits / size * 5,
        float(digits > 0),
        back / size * 20,
        float(back > 0),
        float(b"$" in data),
        float(b"def " in low or b"()" in low),
        float(b"```" in low or b"import " in low),
        letters / plain / 8,
        len(set(words)) / tokens,
        len(long_words) / plain,
        sum(map(len, long_words)) / plain / 8,
        float(b"?" in data),
        float(_ASKS.match(low) is not None),
        float(_REASONS.match(low) is not None),
        float(b"prove" in low or b"show that" in low),
        log1p(lines) / 4,
        size / lines / 200,
        _count(data, _SIGNS) / size * 10,
        _count(data, _UPPER) / size * 5,
        high / size * 5,
        float(b"____" in data),
        float(b":" in data),
        float(b'"' in data),
        data.count(b",") / plain * 3,
        data.count(b".") / plain * 3,
        float(b" not " in low),
        float(b"except" in low),
        float(b"write" in low),
        float(b"explain" in low),
        float(b" if " in low),
    )
