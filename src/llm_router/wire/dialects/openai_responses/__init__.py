"""OpenAI's Responses API, and what other hosts make of it.

    front   inspect.py (checks.py, measure.py), decode.py (content.py); reply.py, encoder.py; errors.py
    behind  request.py (items.py, options.py); reply.py (outputs.py), stream.py (opened.py); errors.py
    both    edit.py; passing.py
    shared  seal.py: opaque state on its way through clients; writer.py, response.py, usage.py, words.py

https://platform.openai.com/docs/api-reference/responses
"""

from __future__ import annotations

from llm_router.wire.dialect import Dialect
from llm_router.wire.dialects.openai_responses.decode import decode_request
from llm_router.wire.dialects.openai_responses.edit import edit_request
from llm_router.wire.dialects.openai_responses.encoder import ResponsesStreamEncoder
from llm_router.wire.dialects.openai_responses.errors import decode_error
from llm_router.wire.dialects.openai_responses.inspect import inspect
from llm_router.wire.dialects.openai_responses.passing import PassRelay, pass_reply
from llm_router.wire.dialects.openai_responses.paths import WORDS
from llm_router.wire.dialects.openai_responses.reply import decode_reply, encode_reply
from llm_router.wire.dialects.openai_responses.request import encode_request
from llm_router.wire.dialects.openai_responses.stream import ResponsesStreamDecoder
from llm_router.wire.dialects.openai_responses.words import ID_PREFIX, NAME
from llm_router.wire.heads import openai_head
from llm_router.wire.openaierrors import encode_error

PATHS = {"chat": "/responses", "models": "/models"}


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
    reply_id_prefix=ID_PREFIX,
    inspect=inspect,
    decode_request=decode_request,
    encode_request=encode_request,
    edit_request=edit_request,
    decode_reply=decode_reply,
    encode_reply=encode_reply,
    pass_reply=pass_reply,
    pass_relay=PassRelay,
    stream_decoder=ResponsesStreamDecoder,
    stream_encoder=ResponsesStreamEncoder,
    decode_error=decode_error,
    encode_error=encode_error,
    upstream_url=upstream_url,
    upstream_headers=upstream_headers,
    inspect_count_tokens=inspect,
    head=openai_head,
)

__all__ = ["DIALECT"]
