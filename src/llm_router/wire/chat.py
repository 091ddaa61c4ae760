"""The canonical chat request: what every dialect can decode to and encode from.

A message is a role and a tuple of parts. What the vocabulary has no word for becomes an
:class:`Opaque` part tagged with the dialect that understands it: that dialect says it again
byte for byte, any other counts it as a declared loss.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from llm_router.wire.loss import Loss

Raw = msgspec.Raw
"""Verbatim JSON: the bytes of one value as they came."""


class _Part(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind"):
    pass


class CacheMark(msgspec.Struct, frozen=True, kw_only=True):
    """ "Cache the prompt up to here." ``ttl`` is "5m", "30m", "1h" or None for the provider's default."""

    ttl: str | None = None


class Citation(msgspec.Struct, frozen=True, kw_only=True):
    """A source of a span of text. Offsets count characters of the part's text; None if unknown.

    ``raw`` is the citation as ``dialect`` spelled it, for the way back to the same dialect.
    """

    url: str | None = None
    title: str | None = None
    start: int | None = None
    end: int | None = None
    cited_text: str | None = None
    dialect: str | None = None
    raw: Raw | None = None


class Text(_Part, frozen=True, kw_only=True, tag="text"):
    """Plain text. ``signature`` is opaque state that ``origin`` attached to it (Gemini does)."""

    text: str
    citations: tuple[Citation, ...] = ()
    cache: CacheMark | None = None
    signature: str | None = None
    origin: str | None = None


class Media(_Part, frozen=True, kw_only=True, tag="media"):
    """An image, audio clip, video or file. Exactly one of ``url``, ``data`` and ``file_id`` is set.

    Attributes:
        form: "image", "audio", "video" or "file" (PDF and other documents).
        data: base64 text, as it came (standard alphabet, no data-URL prefix).
        media_type: MIME type; None when only a URL is known.
        file_id: a file stored at the provider that ``origin`` names.
        text: the document's text, where a dialect sends plain-text documents.
    """

    form: Literal["image", "audio", "video", "file"]
    url: str | None = None
    data: str | None = None
    media_type: str | None = None
    file_id: str | None = None
    filename: str | None = None
    detail: str | None = None
    cache: CacheMark | None = None
    origin: str | None = None
    signature: str | None = None


class Thinking(_Part, frozen=True, kw_only=True, tag="thinking"):
    """Reasoning of the model. ``signature`` and ``redacted`` are opaque and byte-exact.

    Attributes:
        text: the shown reasoning or its summary; may be empty while a signature is there.
        signature: proof that ``origin`` (a dialect's name) wants back unchanged.
        redacted: encrypted reasoning in place of text.
        id: the provider's id of the reasoning item, where it has one.
    """

    text: str = ""
    signature: str | None = None
    redacted: str | None = None
    id: str | None = None
    origin: str | None = None


class ToolCall(_Part, frozen=True, kw_only=True, tag="tool_call"):
    """The model asks the client to run a tool. Never a tool that the provider runs itself.

    Attributes:
        arguments: JSON text of an object ("{}" when there are none); free text if ``custom``; cut
            JSON as it came when the reply ended for length.
        signature: opaque state of ``origin`` bound to this call (Gemini's thoughtSignature).
    """

    id: str
    name: str
    arguments: str
    custom: bool = False
    signature: str | None = None
    origin: str | None = None
    cache: CacheMark | None = None


class ToolResult(_Part, frozen=True, kw_only=True, tag="tool_result"):
    """The client's answer to a tool call. ``content`` holds Text and Media parts only.

    ``name`` is the tool's name where it is known (decoders fill it from the earlier call).
    """

    call_id: str
    name: str | None = None
    content: tuple[Text | Media, ...] = ()
    is_error: bool = False
    custom: bool = False
    cache: CacheMark | None = None


class Refusal(_Part, frozen=True, kw_only=True, tag="refusal"):
    """The model declines, in its own words."""

    text: str


class Opaque(_Part, frozen=True, kw_only=True, tag="opaque"):
    """A part that only ``dialect`` has a word for, verbatim. ``name`` is its type, for loss reports."""

    dialect: str
    name: str
    raw: Raw


Part = Text | Media | Thinking | ToolCall | ToolResult | Refusal | Opaque

Role = Literal["system", "developer", "user", "assistant", "tool"]


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One turn. Role "tool" holds ToolResult parts only; system and developer hold Text parts only."""

    role: Role
    parts: tuple[Part, ...]
    name: str | None = None


class Tool(msgspec.Struct, frozen=True, kw_only=True):
    """A function the client offers.

    Attributes:
        parameters: JSON Schema of the arguments, verbatim; None = no arguments.
        custom: a free-text tool (OpenAI "custom"); ``format`` is its grammar, verbatim.
        raw: set for a tool that only ``dialect`` knows (web search and the like); then ``name`` is
            its type and the other fields are empty.
    """

    name: str
    description: str | None = None
    parameters: Raw | None = None
    strict: bool | None = None
    custom: bool = False
    format: Raw | None = None
    cache: CacheMark | None = None
    dialect: str | None = None
    raw: Raw | None = None


class ToolChoice(msgspec.Struct, frozen=True, kw_only=True):
    """ "auto", "none", "required" (any tool), or "tool" (the one named). ``allowed`` narrows the set."""

    mode: Literal["auto", "none", "required", "tool"]
    name: str | None = None
    allowed: tuple[str, ...] = ()


class ResponseFormat(msgspec.Struct, frozen=True, kw_only=True):
    """ "text", "json_object" (any JSON), or "json_schema" with a schema, verbatim."""

    mode: Literal["text", "json_object", "json_schema"]
    name: str | None = None
    description: str | None = None
    schema: Raw | None = None
    strict: bool | None = None


class Reasoning(msgspec.Struct, frozen=True, kw_only=True):
    """How much to think and what to show of it.

    Attributes:
        effort: none, minimal, low, medium, high, xhigh or max.
        budget_tokens: an explicit bound; -1 lets the model decide (Gemini's dynamic budget).
        adaptive: the model decides by itself (Anthropic's "adaptive").
        enabled: False switches it off; None leaves it to the model.
        show: whether the client wants reasoning text; None = the dialect's habit.
        summary: OpenAI's summary mode (auto, concise, detailed).
    """

    effort: str | None = None
    budget_tokens: int | None = None
    adaptive: bool = False
    enabled: bool | None = None
    show: bool | None = None
    summary: str | None = None


class ChatRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A chat request without its wire.

    ``extras`` are top-level members that the canonical form has no word for, verbatim, keyed by
    their name in ``dialect`` (the dialect it was decoded from).

    Attributes:
        beside: what stood beside content that only ``dialect`` reads; lost to any other, told in its words.
        unread: path and kind of content that only ``dialect`` can read: any other refuses the request.
    """

    model: str
    messages: tuple[Message, ...]
    dialect: str
    stream: bool = False
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    n: int = 1
    logprobs: bool | None = None
    top_logprobs: int | None = None
    response_format: ResponseFormat | None = None
    reasoning: Reasoning | None = None
    verbosity: str | None = None
    user: str | None = None
    metadata: Raw | None = None
    service_tier: str | None = None
    modalities: tuple[str, ...] = ()
    prompt_cache_key: str | None = None
    extras: dict[str, Raw] = {}
    beside: tuple[Loss, ...] = ()
    unread: tuple[tuple[str, str], ...] = ()
