"""The dialect of Cohere's v2 chat, spoken to providers alone. https://docs.cohere.com/v2/reference/chat

| file | what |
|---|---|
| encode, turns, schema | the canonical request as Cohere's |
| parts, citations | pieces of a reply to parts |
| stream, reply, usage, errors | streams, whole replies, what they cost, how they fail |
"""

from __future__ import annotations

import re

from llm_router.wire.dialect import Behind
from llm_router.wire.dialects.cohere_chat.encode import encode_request
from llm_router.wire.dialects.cohere_chat.errors import decode_error
from llm_router.wire.dialects.cohere_chat.facts import NAME
from llm_router.wire.dialects.cohere_chat.reply import decode_reply
from llm_router.wire.dialects.cohere_chat.stream import Decoder

_TAIL = re.compile(r"(/compatibility)?/v[0-9]+(/chat)?$")


def upstream_url(base_url: str, operation: str, model: str, stream: bool) -> str:
    """``{base}/v2/chat``. The base may end with or without a version, that of the compatible API too.

    Raises:
        ValueError: the API has no such operation.
    """
    if operation != "chat":
        raise ValueError(f"{NAME} has no operation {operation!r}")
    return _TAIL.sub("", base_url.rstrip("/")) + "/v2/chat"


def upstream_headers(stream: bool) -> tuple[tuple[str, str], ...]:
    """Headers beside auth."""
    return (("accept", "text/event-stream" if stream else "application/json"),)


DIALECT = Behind(
    name=NAME,
    encode_request=encode_request,
    decode_reply=decode_reply,
    stream_decoder=Decoder,
    decode_error=decode_error,
    upstream_url=upstream_url,
    upstream_headers=upstream_headers,
)
