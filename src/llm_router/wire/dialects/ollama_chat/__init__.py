"""The dialect of Ollama's native chat, spoken to servers alone. https://docs.ollama.com/api/chat

| file | what |
|---|---|
| encode, turns, schema | the canonical request as Ollama's |
| messages, stream | pieces of a reply to events; streams and whole replies |
| usage, errors | what they cost, how they fail |
"""

from __future__ import annotations

import re

from llm_router.wire.dialect import Behind
from llm_router.wire.dialects.ollama_chat.encode import encode_request
from llm_router.wire.dialects.ollama_chat.errors import decode_error
from llm_router.wire.dialects.ollama_chat.facts import NAME
from llm_router.wire.dialects.ollama_chat.stream import Decoder, decode_reply

_TAIL = re.compile(r"/(api|v1|api/chat)$")


def upstream_url(base_url: str, operation: str, model: str, stream: bool) -> str:
    """``{base}/api/chat``. The base may end with or without ``/api``, or in the compatible API's ``/v1``.

    Raises:
        ValueError: the dialect has no such operation.
    """
    if operation != "chat":
        raise ValueError(f"{NAME} has no operation {operation!r}")
    return _TAIL.sub("", base_url.rstrip("/")) + "/api/chat"


def upstream_headers(stream: bool) -> tuple[tuple[str, str], ...]:
    """Headers beside auth."""
    return (("accept", "application/x-ndjson" if stream else "application/json"),)


DIALECT = Behind(
    name=NAME,
    json_lines=True,
    encode_request=encode_request,
    decode_reply=decode_reply,
    stream_decoder=Decoder,
    decode_error=decode_error,
    upstream_url=upstream_url,
    upstream_headers=upstream_headers,
)
