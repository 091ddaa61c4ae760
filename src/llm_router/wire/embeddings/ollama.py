"""Ollama's native embed, spoken to servers alone. https://docs.ollama.com/api/embed"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from llm_router.domain.errors import UnsupportedContent
from llm_router.domain.usage import Usage, token_count
from llm_router.wire.dialect import Behind, Target
from llm_router.wire.dialects.ollama_chat import DIALECT as CHAT
from llm_router.wire.embeddings.canonical import EmbedReply, EmbedRequest, NeverStreamed, edited, malformed
from llm_router.wire.embeddings.vectors import read_vector
from llm_router.wire.loss import Loss, Losses
from llm_router.wire.verbatim import items, members, string, value

NAME = "ollama_embed"

_TAIL = re.compile(r"/(api|v1|api/embed)$")


def upstream_url(base_url: str, operation: str, model: str, stream: bool) -> str:
    """``{base}/api/embed``. The base may end with or without ``/api``, or in the compatible API's ``/v1``."""
    return _TAIL.sub("", base_url.rstrip("/")) + "/api/embed"


def upstream_headers(stream: bool) -> tuple[tuple[str, str], ...]:
    """Headers beside auth."""
    return (("accept", "application/json"),)


def encode_request(request: EmbedRequest, target: Target) -> tuple[bytes, tuple[Loss, ...]]:
    """The request for Ollama.

    Raises:
        UnsupportedContent: it holds tokens.
    """
    if not all(isinstance(item, str) for item in request.inputs):
        raise UnsupportedContent("This model takes text, not tokens: send strings.", param="input")
    losses = Losses()
    body: dict[str, Any] = {"model": target.model, "input": request.inputs}
    if request.dimensions is not None:
        body["dimensions"] = request.dimensions
    if request.truncate is not None:
        body["truncate"] = request.truncate
    if any(request.purposes):
        losses.add(request.purpose_field, "the model embeds all texts alike")
    if any(request.titles):
        losses.add("title", "the API has no titles")
    if request.user is not None:
        losses.add("user", "the API has no such option")
    for name in request.extras:
        losses.add(name, "the API has no such option")
    lost = edited(body, target)
    return msgspec.json.encode(body), (*losses.found, *lost)


def decode_reply(body: bytes) -> EmbedReply:
    """A whole reply in canonical form.

    Raises:
        UpstreamError: it is an error in place of a reply, or no reply at all.
    """
    found = members(body)
    if found is None:
        raise malformed("a reply that is not a JSON object")
    vectors = items(found.get("embeddings"))
    if vectors is None:
        if "error" in found:
            raise CHAT.decode_error(200, {}, body)
        raise malformed("a reply without vectors")
    stated = value(found.get("prompt_eval_count"))
    tokens = token_count(stated)
    return EmbedReply(
        vectors=tuple(read_vector(raw, None) for raw in vectors),
        model=string(found.get("model")) or "",
        usage=None if tokens is None else Usage(input_tokens=tokens),
        flags=("usage_invalid",) if stated is not None and tokens is None else (),
    )


DIALECT: Behind[EmbedRequest, EmbedReply] = Behind(
    name=NAME,
    encode_request=encode_request,
    decode_reply=decode_reply,
    stream_decoder=NeverStreamed,
    decode_error=CHAT.decode_error,
    upstream_url=upstream_url,
    upstream_headers=upstream_headers,
)
