"""The dialect of Anthropic's Messages API. https://docs.anthropic.com/en/api/messages"""

from __future__ import annotations

import re

from llm_router.wire.dialect import Dialect
from llm_router.wire.dialects.anthropic_messages.encode import encode_request
from llm_router.wire.dialects.anthropic_messages.errors import decode_error, encode_error
from llm_router.wire.dialects.anthropic_messages.facts import NAME
from llm_router.wire.dialects.anthropic_messages.inspect import inspect, inspect_count_tokens
from llm_router.wire.dialects.anthropic_messages.passing import PassRelay, edit_request, pass_reply
from llm_router.wire.dialects.anthropic_messages.paths import WORDS
from llm_router.wire.dialects.anthropic_messages.plain import read_plain, write_plain
from llm_router.wire.dialects.anthropic_messages.reply import decode_reply, encode_reply
from llm_router.wire.dialects.anthropic_messages.request import decode_request
from llm_router.wire.dialects.anthropic_messages.stream import Decoder
from llm_router.wire.dialects.anthropic_messages.writer import Encoder
from llm_router.wire.heads import anthropic_head

__all__ = ["DIALECT", "inspect_count_tokens", "upstream_headers", "upstream_url"]

VERSION = "2023-06-01"
"""The only version of the API: https://docs.anthropic.com/en/api/versioning"""

_PATHS = {"chat": "", "count_tokens": "/count_tokens"}
_VERSIONED = re.compile(r"/v[0-9]+[a-z0-9]*$")


def upstream_url(base_url: str, operation: str, model: str, stream: bool) -> str:
    """The URL of "chat" or "count_tokens".

    The base may end with or without ``/v1``, or already in ``/messages``.

    Raises:
        ValueError: the API has no such operation.
    """
    if operation not in _PATHS:
        raise ValueError(f"{NAME} has no operation {operation!r}")
    base = base_url.rstrip("/")
    if not base.endswith("/messages"):
        base += "/messages" if _VERSIONED.search(base) else "/v1/messages"
    return base + _PATHS[operation]


def upstream_headers(stream: bool) -> tuple[tuple[str, str], ...]:
    """The version that every request must name."""
    return (("anthropic-version", VERSION),)


DIALECT = Dialect(
    name=NAME,
    words=WORDS,
    content_type_stream="text/event-stream; charset=utf-8",
    reply_id_prefix="msg_",
    forwards=("anthropic-version", "anthropic-beta"),
    inspect=inspect,
    inspect_count_tokens=inspect_count_tokens,
    decode_request=decode_request,
    encode_request=encode_request,
    edit_request=edit_request,
    decode_reply=decode_reply,
    write_plain=write_plain,
    read_plain=read_plain,
    encode_reply=encode_reply,
    pass_reply=pass_reply,
    pass_relay=PassRelay,
    stream_decoder=Decoder,
    stream_encoder=Encoder,
    decode_error=decode_error,
    encode_error=encode_error,
    upstream_url=upstream_url,
    upstream_headers=upstream_headers,
    head=anthropic_head,
)
