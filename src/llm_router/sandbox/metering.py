"""What a simulated request used: prompt tokens by bucket, with a prompt cache that remembers.

OpenAI and Gemini cache long prefixes by themselves, in blocks of 128 tokens from 1,024 on
(https://platform.openai.com/docs/guides/prompt-caching); Anthropic caches up to the marks in the
request (https://docs.anthropic.com/en/docs/build-with-claude/prompt-caching).
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict

import msgspec

from llm_router.domain.usage import Usage
from llm_router.sandbox import tokens
from llm_router.sandbox.media import data_bytes
from llm_router.sandbox.model import Answer
from llm_router.wire.chat import (
    CacheMark,
    ChatRequest,
    Media,
    Message,
    Opaque,
    Part,
    Refusal,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)

BLOCK_TOKENS = 128
CACHED_TOKENS_MIN = 1024
PREFIXES_MAX = 20_000
"""How many prefixes a cache remembers; the least used goes first."""

MESSAGE_TOKENS = 4
"""What the frame of a message costs."""

IMAGE_TOKENS = 258
FILE_TOKENS = 258
AUDIO_BYTES_PER_TOKEN = 1000


class _Segment(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of the prompt in the order that caches see it."""

    text: str
    tokens: int
    audio_tokens: int = 0
    cache: CacheMark | None = None


class PromptCache:
    """Prefixes seen before. One per running sandbox."""

    def __init__(self) -> None:
        self._seen: OrderedDict[bytes, None] = OrderedDict()

    def known(self, digest: bytes) -> bool:
        """Whether the prefix was seen before; from now on it is."""
        known = digest in self._seen
        self._seen[digest] = None
        self._seen.move_to_end(digest)
        if len(self._seen) > PREFIXES_MAX:
            self._seen.popitem(last=False)
        return known


def meter(request: ChatRequest, answer: Answer, cache: PromptCache) -> Usage:
    """The usage of an answered request; the cache learns the prompt."""
    segments = _segments(request)
    audio = sum(s.audio_tokens for s in segments)
    total = sum(s.tokens for s in segments)
    if request.dialect in ("anthropic_messages", "bedrock_converse"):
        read, written, written_1h = _marked(request.model, segments, cache)
    else:
        read, written, written_1h = _automatic(request.model, segments, cache), 0, 0
    return Usage(
        input_tokens=total - read - written - written_1h,
        cache_read_tokens=read,
        cache_write_tokens=written,
        cache_write_1h_tokens=written_1h,
        input_audio_tokens=audio,
        output_tokens=answer.output_tokens,
        reasoning_tokens=answer.reasoning_tokens,
    )


def prompt_tokens(request: ChatRequest) -> int:
    """All input tokens of a request, for the providers' counting operations."""
    return sum(s.tokens + s.audio_tokens for s in _segments(request))


def _automatic(model: str, segments: list[_Segment], cache: PromptCache) -> int:
    """Cached tokens where the provider finds prefixes by itself, in whole blocks."""
    if sum(s.tokens for s in segments) < CACHED_TOKENS_MIN:
        return 0
    parts = [p for s in segments for p in (tokens.pieces(s.text) or [""])]
    digest, cached, unbroken = model.encode(), 0, True
    for at in range(0, len(parts) - BLOCK_TOKENS + 1, BLOCK_TOKENS):
        block = "".join(parts[at : at + BLOCK_TOKENS])
        digest = hashlib.sha256(digest + block.encode()).digest()
        unbroken = cache.known(digest) and unbroken
        if unbroken:
            cached = at + BLOCK_TOKENS
    return cached if cached >= CACHED_TOKENS_MIN else 0


def _marked(model: str, segments: list[_Segment], cache: PromptCache) -> tuple[int, int, int]:
    """Tokens read, written for five minutes and written for an hour, where marks say what to cache."""
    digest, so_far = model.encode(), 0
    read = covered = written = written_1h = 0
    for segment in segments:
        digest = hashlib.sha256(digest + segment.text.encode()).digest()
        so_far += segment.tokens
        if segment.cache is None or so_far < CACHED_TOKENS_MIN:
            continue
        if cache.known(digest):
            read, covered, written, written_1h = so_far, so_far, 0, 0
        elif segment.cache.ttl == "1h":
            written_1h, covered = written_1h + so_far - covered, so_far
        else:
            written, covered = written + so_far - covered, so_far
    return read, written, written_1h


def _segments(request: ChatRequest) -> list[_Segment]:
    """Tools, then system text, then the other messages: the order of every provider's cache."""
    found: list[_Segment] = []
    for tool in request.tools:
        text = f"{tool.name} {tool.description or ''} "
        text += bytes(tool.parameters).decode() if tool.parameters is not None else ""
        found.append(_Segment(text=text, tokens=tokens.count(text), cache=tool.cache))
    if request.response_format is not None and request.response_format.schema is not None:
        text = bytes(request.response_format.schema).decode()
        found.append(_Segment(text=text, tokens=tokens.count(text)))
    system = [m for m in request.messages if m.role in ("system", "developer")]
    others = [m for m in request.messages if m.role not in ("system", "developer")]
    for message in (*system, *others):
        found.extend(_message(message))
    return found


def _message(message: Message) -> list[_Segment]:
    found = [_Segment(text=f"<{message.role}>", tokens=MESSAGE_TOKENS)]
    found.extend(_part(part) for part in message.parts)
    return found


def _part(part: Part) -> _Segment:
    match part:
        case Text() | ToolCall():
            text = part.text if isinstance(part, Text) else f"{part.name} {part.arguments}"
            return _Segment(text=text, tokens=tokens.count(text), cache=part.cache)
        case Thinking() | Refusal():
            return _Segment(text=part.text, tokens=tokens.count(part.text))
        case Media():
            return _media(part)
        case ToolResult():
            inner = [_part(p) for p in part.content]
            return _Segment(
                text="".join(s.text for s in inner),
                tokens=sum(s.tokens for s in inner) + MESSAGE_TOKENS,
                audio_tokens=sum(s.audio_tokens for s in inner),
                cache=part.cache,
            )
        case Opaque():
            text = bytes(part.raw).decode()
            return _Segment(text=text, tokens=tokens.count(text))


def _media(media: Media) -> _Segment:
    text = hashlib.sha256((media.data or media.url or media.file_id or "").encode()).hexdigest()
    if media.form == "audio":
        audio = max(1, data_bytes(media) // AUDIO_BYTES_PER_TOKEN)
        return _Segment(text=text, tokens=0, audio_tokens=audio, cache=media.cache)
    size = IMAGE_TOKENS if media.form in ("image", "video") else FILE_TOKENS
    return _Segment(text=text, tokens=size, cache=media.cache)
