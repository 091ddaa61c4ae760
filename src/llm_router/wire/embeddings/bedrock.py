"""Embeddings at Amazon Bedrock, by InvokeModel, in the form of each model's own vendor.

https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-titan-embed-text.html and
https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-embed.html

Titan takes one text a request and counts its tokens in the reply. Cohere's models say nothing of
tokens in the body, so that their use is estimated.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import msgspec

from llm_router.domain.errors import UnsupportedContent
from llm_router.domain.usage import Usage, token_count
from llm_router.wire.dialect import Behind, Target
from llm_router.wire.dialects.bedrock_converse import DIALECT as CHAT
from llm_router.wire.embeddings import cohere
from llm_router.wire.embeddings.canonical import EmbedReply, EmbedRequest, NeverStreamed, edited, malformed
from llm_router.wire.embeddings.vectors import read_vector
from llm_router.wire.loss import Loss, Losses
from llm_router.wire.verbatim import members, value

NAME = "bedrock_embed"


def upstream_url(base_url: str, operation: str, model: str, stream: bool) -> str:
    """``{base}/model/{model}/invoke``."""
    return f"{base_url.rstrip('/')}/model/{quote(model, safe='-_.~')}/invoke"


def encode_request(request: EmbedRequest, target: Target) -> tuple[bytes, tuple[Loss, ...]]:
    """The request for a model of Cohere or Amazon.

    Raises:
        UnsupportedContent: it holds tokens or too many inputs, or the model is of another vendor.
    """
    losses = Losses()
    if "cohere." in target.base:
        body = cohere.request_members(request, losses)
    elif "amazon.titan-embed-text" in target.base:
        body = _titan(request, target, losses)
    else:
        raise UnsupportedContent(
            f"No form of an embedding is known for the model '{target.model}' at this provider.",
            param="model",
        )
    lost = edited(body, target)
    return msgspec.json.encode(body), (*losses.found, *lost)


def _titan(request: EmbedRequest, target: Target, losses: Losses) -> dict[str, Any]:
    text = request.inputs[0]
    if len(request.inputs) > 1:
        raise UnsupportedContent(
            f"This model takes one input in a request; there are {len(request.inputs)}. Send several requests.",
            param="input",
        )
    if not isinstance(text, str):
        raise UnsupportedContent("This model takes text, not tokens: send strings.", param="input")
    body: dict[str, Any] = {"inputText": text}
    if request.dimensions is not None:
        if "text-v1" in target.base:
            losses.add("dimensions", "the model's vectors have one length")
        else:
            body["dimensions"] = request.dimensions
    if any(request.purposes):
        losses.add(request.purpose_field, "the model embeds all texts alike")
    if any(request.titles):
        losses.add("title", "the API has no titles")
    if request.user is not None:
        losses.add("user", "the API has no such option")
    if request.truncate is not None:
        losses.add("truncate", "the API has no such option")
    for name in request.extras:
        losses.add(name, "the API has no such option")
    return body


def decode_reply(body: bytes) -> EmbedReply:
    """A whole reply in canonical form.

    Raises:
        UpstreamError: it is an error in place of a reply, or no reply at all.
    """
    found = members(body)
    if found is None:
        raise malformed("a reply that is not a JSON object")
    if "embedding" not in found:
        return cohere.decode_reply(body)
    stated = value(found.get("inputTextTokenCount"))
    tokens = token_count(stated)
    return EmbedReply(
        vectors=(read_vector(found["embedding"], None),),
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
    upstream_headers=CHAT.upstream_headers,
)
