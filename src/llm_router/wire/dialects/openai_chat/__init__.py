"""OpenAI's chat completions, and what most other providers make of them.

    front   inspect.py (checks.py, measure.py), decode.py; reply.py, encoder.py; errors.py
    behind  request.py (messages.py, options.py); reply.py, stream.py; errors.py
    both    edit.py (legacy.py); passing.py
    shared  body.py, chunks.py, calls.py, mend.py, finish.py, usage.py: provider habits put right

https://platform.openai.com/docs/api-reference/chat
"""

from __future__ import annotations

from llm_router.wire.dialect import Dialect
from llm_router.wire.dialects.openai_chat.decode import decode_request
from llm_router.wire.dialects.openai_chat.edit import edit_request
from llm_router.wire.dialects.openai_chat.encoder import ChatStreamEncoder
from llm_router.wire.dialects.openai_chat.errors import decode_error
from llm_router.wire.dialects.openai_chat.inspect import inspect
from llm_router.wire.dialects.openai_chat.kept import restored, state_members
from llm_router.wire.dialects.openai_chat.parts import NAME
from llm_router.wire.dialects.openai_chat.passing import PassRelay, pass_reply
from llm_router.wire.dialects.openai_chat.paths import WORDS
from llm_router.wire.dialects.openai_chat.quick import plain_request, quick_reply, tell_plain
from llm_router.wire.dialects.openai_chat.reply import decode_reply, encode_reply
from llm_router.wire.dialects.openai_chat.request import encode_request
from llm_router.wire.dialects.openai_chat.stream import ChatStreamDecoder
from llm_router.wire.heads import openai_head
from llm_router.wire.openaierrors import encode_error

PATHS = {"chat": "/chat/completions", "embed": "/embeddings", "models": "/models"}


def upstream_url(base_url: str, operation: str, model: str, stream: bool) -> str:
    """The URL of an operation. A base URL that already ends in its path is taken as it is."""
    address, mark, query = base_url.partition("?")
    path = PATHS[operation]
    address = address.rstrip("/")
    return (address if address.endswith(path) else address + path) + mark + query


def upstream_headers(stream: bool) -> tuple[tuple[str, str], ...]:
    """Headers beside auth: none but the form of the answer."""
    return (("accept", "text/event-stream" if stream else "application/json"),)


DIALECT = Dialect(
    name=NAME,
    words=WORDS,
    content_type_stream="text/event-stream; charset=utf-8",
    reply_id_prefix="chatcmpl-",
    inspect=inspect,
    decode_request=decode_request,
    encode_request=encode_request,
    edit_request=edit_request,
    decode_reply=decode_reply,
    encode_reply=encode_reply,
    pass_reply=pass_reply,
    pass_plain=quick_reply,
    plain_request=plain_request,
    tell_plain=tell_plain,
    pass_relay=PassRelay,
    stream_decoder=ChatStreamDecoder,
    stream_encoder=ChatStreamEncoder,
    decode_error=decode_error,
    encode_error=encode_error,
    upstream_url=upstream_url,
    upstream_headers=upstream_headers,
    state_members=state_members,
    restored=restored,
    head=openai_head,
)

__all__ = ["DIALECT"]
