"""OpenAI's legacy completions, in front of every chat model. No provider is asked in this format.

A prompt becomes the one message of a user, and what the model says the text. The members that it
shares with chat completions are checked, measured and translated as those are.

https://platform.openai.com/docs/api-reference/completions
"""

from __future__ import annotations

from llm_router.wire.chat import ChatRequest
from llm_router.wire.completions.reply import CompletionStreamEncoder, encode_reply
from llm_router.wire.completions.request import decode_request, inspect
from llm_router.wire.dialect import Front
from llm_router.wire.dialects.openai_chat import DIALECT as CHAT
from llm_router.wire.events import Reply

FRONT: Front[ChatRequest, Reply] = Front(
    name="openai_completions",
    content_type_stream=CHAT.content_type_stream,
    reply_id_prefix="cmpl-",
    inspect=inspect,
    decode_request=decode_request,
    encode_reply=encode_reply,
    stream_encoder=CompletionStreamEncoder,
    encode_error=CHAT.encode_error,
    head=CHAT.head,
)
