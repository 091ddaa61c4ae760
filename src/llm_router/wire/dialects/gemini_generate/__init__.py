"""Google's generateContent, of AI Studio and Vertex. https://ai.google.dev/api/generate-content

| file | what |
|---|---|
| inspect, decode, edit | a client's request: checked and measured, to canonical, edited for the same dialect |
| encode, thinking, parts | canonical to the upstream request |
| chunks, calls, grounding, logprobs, usage, finish | upstream messages to events |
| reply, stream, passing | whole replies, streams, and both where the dialect stays the same |
| errors, signatures, members | envelopes, opaque reasoning state, lenient JSON |
"""

from __future__ import annotations

import re
from urllib.parse import quote

from llm_router.wire.dialect import Dialect
from llm_router.wire.dialects.gemini_generate.decode import decode_request
from llm_router.wire.dialects.gemini_generate.edit import edit_request
from llm_router.wire.dialects.gemini_generate.encode import encode_request
from llm_router.wire.dialects.gemini_generate.errors import decode_error, encode_error
from llm_router.wire.dialects.gemini_generate.inspect import inspect, inspect_count_tokens
from llm_router.wire.dialects.gemini_generate.members import NAME
from llm_router.wire.dialects.gemini_generate.passing import PassedReply, PassRelay
from llm_router.wire.dialects.gemini_generate.paths import WORDS
from llm_router.wire.dialects.gemini_generate.plain import read_plain, write_plain
from llm_router.wire.dialects.gemini_generate.reply import decode_reply, encode_reply
from llm_router.wire.dialects.gemini_generate.stream import HEARTBEAT, Decoder, Encoder

_VERSION = re.compile(r"/v\d+((alpha|beta)\d*)?(/|$)")
_METHODS = {
    "chat": ("generateContent", "streamGenerateContent"),
    "count_tokens": ("countTokens", "countTokens"),
}


def upstream_url(base_url: str, operation: str, model: str, stream: bool) -> str:
    """``{base}/v1beta/models/{model}:generateContent``, or the streaming method with ``alt=sse``.

    The version is added where the base URL has none. A model may say its collection itself
    (``models/x``, ``tunedModels/x``, ``publishers/google/models/x``, as Vertex does).

    Raises:
        ValueError: an operation that this dialect has no method for.
    """
    if operation not in _METHODS:
        raise ValueError(f"gemini_generate has no method for {operation}")
    base = base_url.rstrip("/")
    if not _VERSION.search(base.partition("://")[2]):
        base += "/v1beta"
    path = model if "/" in model else f"models/{model}"
    publisher = re.search(r"/publishers/[^/]+$", base)
    if publisher is not None and path.startswith("publishers/"):
        base = base[: publisher.start()]
    base = base.removesuffix("/models") if path.startswith("models/") else base
    url = f"{base}/{quote(path, safe='/-._~@')}:{_METHODS[operation][stream]}"
    return f"{url}?alt=sse" if stream and operation == "chat" else url


def upstream_headers(stream: bool) -> tuple[tuple[str, str], ...]:
    """Headers beside auth."""
    accept = "text/event-stream" if stream else "application/json"
    return (("content-type", "application/json"), ("accept", accept))


DIALECT = Dialect(
    name=NAME,
    words=WORDS,
    content_type_stream="text/event-stream",
    inspect=inspect,
    inspect_count_tokens=inspect_count_tokens,
    decode_request=decode_request,
    encode_request=encode_request,
    edit_request=edit_request,
    decode_reply=decode_reply,
    write_plain=write_plain,
    read_plain=read_plain,
    encode_reply=encode_reply,
    pass_reply=PassedReply,
    pass_relay=PassRelay,
    stream_decoder=Decoder,
    stream_encoder=Encoder,
    decode_error=decode_error,
    encode_error=encode_error,
    upstream_url=upstream_url,
    upstream_headers=upstream_headers,
    heartbeat=HEARTBEAT,
    key_parameter="key",
)
