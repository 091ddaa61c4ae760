"""Vertex AI's predict, spoken with Google's embedding models there.

https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/text-embeddings-api

It is the dialect ``vertex_predict`` of a deployment, which has embeddings and nothing else.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import msgspec

from llm_router.domain.errors import UnsupportedContent
from llm_router.domain.usage import Usage, token_count
from llm_router.wire.dialect import Behind, Target
from llm_router.wire.dialects.gemini_generate import DIALECT as CHAT
from llm_router.wire.embeddings.canonical import EmbedReply, EmbedRequest, NeverStreamed, edited, malformed
from llm_router.wire.embeddings.gemini import TASKS
from llm_router.wire.embeddings.vectors import read_vector
from llm_router.wire.lenient import mapping
from llm_router.wire.loss import Loss, Losses
from llm_router.wire.verbatim import items, members, value

NAME = "vertex_predict"

INSTANCES_MAX = 250
GEMINI_INSTANCES_MAX = 1
"""Texts in one request; Gemini's embedding models take one."""


def upstream_url(base_url: str, operation: str, model: str, stream: bool) -> str:
    """``{base}/{model}:predict``; the base ends in the publisher's ``/models``."""
    return f"{base_url.rstrip('/')}/{quote(model, safe='-_.~@')}:predict"


def encode_request(request: EmbedRequest, target: Target) -> tuple[bytes, tuple[Loss, ...]]:
    """The request for Vertex AI.

    Raises:
        UnsupportedContent: it holds tokens, or too many inputs.
    """
    most = GEMINI_INSTANCES_MAX if target.base.startswith("gemini") else INSTANCES_MAX
    if len(request.inputs) > most:
        raise UnsupportedContent(
            f"This model takes at most {most} inputs in one request; there are {len(request.inputs)}. "
            "Send several requests.",
            param="input",
        )
    instances: list[dict[str, Any]] = []
    for at, text in enumerate(request.inputs):
        if not isinstance(text, str):
            raise UnsupportedContent("This model takes text, not tokens: send strings.", param="input")
        instance: dict[str, Any] = {"content": text}
        purpose = request.purposes[at] if request.purposes else None
        if purpose is not None:
            instance["task_type"] = TASKS[purpose]
        if request.titles and request.titles[at] is not None:
            instance["title"] = request.titles[at]
        instances.append(instance)
    parameters: dict[str, Any] = {}
    if request.dimensions is not None:
        parameters["outputDimensionality"] = request.dimensions
    if request.truncate is not None:
        parameters["autoTruncate"] = request.truncate
    losses = Losses()
    if request.user is not None:
        losses.add("user", "the API has no such option")
    for name in request.extras:
        losses.add(name, "the API has no such option")
    body: dict[str, Any] = {"instances": instances, **({"parameters": parameters} if parameters else {})}
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
    predictions = items(found.get("predictions"))
    if predictions is None:
        if "error" in found:
            raise CHAT.decode_error(200, {}, body)
        raise malformed("a reply without vectors")
    inner = [members((members(raw) or {}).get("embeddings")) or {} for raw in predictions]
    if not all("values" in one for one in inner):
        raise malformed("a reply without vectors")
    counts = [token_count(mapping(value(one.get("statistics"))).get("token_count")) for one in inner]
    known = [count for count in counts if count is not None]
    return EmbedReply(
        vectors=tuple(read_vector(one["values"], None) for one in inner),
        usage=Usage(input_tokens=sum(known)) if len(known) == len(counts) else None,
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
