"""The simulated embedding model: words to directions, so that texts which share words lie close.

A vector is the sum of a direction for each word and for each three letters of it, made from their
hashes, and of length one: the same for the same text, at any place and time.
"""

from __future__ import annotations

import hashlib
import math
import re
import struct
from collections.abc import Mapping

import msgspec

from llm_router.domain.errors import InvalidRequest
from llm_router.domain.usage import Usage
from llm_router.sandbox import tokens
from llm_router.wire.chat import ChatRequest, Message, Text
from llm_router.wire.dialect import Bill, Dialect, ReplyContext
from llm_router.wire.embeddings import gemini, openai
from llm_router.wire.embeddings.canonical import EmbedReply, EmbedRequest
from llm_router.wire.operations import SPOKEN

DIMENSIONS = 256
"""Of a request that names none."""

COHERE = "cohere_embed"
VERTEX = "vertex_predict"
OLLAMA = "ollama_embed"
TITAN = "titan"

_WORD = re.compile(r"\w+")


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A request as the sandbox reads it: what to embed, and what the reply is written by."""

    form: str
    request: EmbedRequest
    context: ReplyContext

    def as_chat(self) -> ChatRequest:
        """The texts as a chat's message, so that orders in them are read as everywhere."""
        text = "\n".join(item for item in self.request.inputs if isinstance(item, str))
        message = Message(role="user", parts=(Text(text=text),))
        return ChatRequest(model=self.request.model, dialect=self.form, messages=(message,))


def read(form: str, body: bytes, model: str | None) -> Asked:
    """Read a request in a format by its name.

    Raises:
        InvalidRequest: it is wrong.
    """
    reader = _READERS.get(form)
    if reader is not None:
        return Asked(form=form, request=reader(body, model or ""), context=_context({}))
    dialect = SPOKEN[form]
    assert isinstance(dialect, Dialect)
    inspected = dialect.inspect(body, model, None)
    return Asked(form=form, request=dialect.decode_request(inspected), context=_context(inspected.echo))


def _context(echo: dict[str, msgspec.Raw]) -> ReplyContext:
    return ReplyContext(reply_id="", model="", created_s=0, echo=echo)


def _read_cohere(body: bytes, model: str) -> EmbedRequest:
    asked = msgspec.json.decode(body, type=_Cohere)
    if not asked.texts or asked.input_type is None:
        raise InvalidRequest("texts and input_type are required.")
    return EmbedRequest(
        model=asked.model or model, dialect=COHERE, inputs=asked.texts, dimensions=asked.output_dimension
    )


def _read_bedrock(body: bytes, model: str) -> EmbedRequest:
    if "cohere." in model:
        return _read_cohere(body, model)
    asked = msgspec.json.decode(body, type=_Titan)
    return EmbedRequest(model=model, dialect=TITAN, inputs=(asked.inputText,), dimensions=asked.dimensions)


class _Titan(msgspec.Struct, frozen=True):
    inputText: str
    dimensions: int | None = None


def _read_ollama(body: bytes, model: str) -> EmbedRequest:
    asked = msgspec.json.decode(body, type=_Ollama)
    texts = (asked.input,) if isinstance(asked.input, str) else asked.input
    return EmbedRequest(model=asked.model, dialect=OLLAMA, inputs=texts, dimensions=asked.dimensions)


class _Ollama(msgspec.Struct, frozen=True):
    model: str
    input: str | tuple[str, ...]
    dimensions: int | None = None


def _read_vertex(body: bytes, model: str) -> EmbedRequest:
    asked = msgspec.json.decode(body, type=_Vertex)
    texts = tuple(instance["content"] for instance in asked.instances if "content" in instance)
    if not texts:
        raise InvalidRequest("instances must hold texts as content.")
    return EmbedRequest(
        model=model, dialect=VERTEX, inputs=texts, dimensions=asked.parameters.get("outputDimensionality")
    )


class _Vertex(msgspec.Struct, frozen=True):
    instances: tuple[dict[str, str], ...]
    parameters: dict[str, int] = {}


class _Cohere(msgspec.Struct, frozen=True):
    model: str = ""
    texts: tuple[str, ...] = ()
    input_type: str | None = None
    output_dimension: int | None = None


_READERS = {
    COHERE: _read_cohere,
    "bedrock_embed": _read_bedrock,
    VERTEX: _read_vertex,
    OLLAMA: _read_ollama,
}
"""Formats that no client of the gateway speaks, so that only the sandbox reads them."""


def answer(asked: Asked) -> bytes:
    """The reply, in the provider's own words and without the gateway's members."""
    request = asked.request
    size = DIMENSIONS if request.dimensions is None else request.dimensions
    usage = Usage(input_tokens=sum(_count(item) for item in request.inputs))
    vectors = tuple(vector(item, size) for item in request.inputs)
    if request.dialect == TITAN:
        return msgspec.json.encode({"embedding": vectors[0], "inputTextTokenCount": usage.input_tokens})
    if request.dialect == OLLAMA:
        counts = {"prompt_eval_count": usage.input_tokens}
        return msgspec.json.encode({"model": request.model, "embeddings": vectors, **counts})
    if request.dialect == COHERE:
        billed = {"billed_units": {"input_tokens": usage.input_tokens}}
        return msgspec.json.encode({"id": "simulated", "embeddings": {"float": vectors}, "meta": billed})
    if request.dialect == VERTEX:
        counted = zip(vectors, map(_count, request.inputs), strict=True)
        found = [{"values": v, "statistics": {"token_count": n, "truncated": False}} for v, n in counted]
        return msgspec.json.encode({"predictions": [{"embeddings": one} for one in found]})
    bill = Bill(usage=usage, cost_pusd=0, credits_remaining_pusd=0)
    form = openai.DIALECT if asked.form == openai.NAME else gemini.DIALECT
    body, _ = form.encode_reply(EmbedReply(vectors=vectors, model=request.model), asked.context, bill)
    whole = msgspec.json.decode(body)
    for counts in (whole.get("usage"), whole.get("usageMetadata")):
        for name in ("cost", "credits_remaining", "creditsRemaining"):
            if isinstance(counts, dict):
                counts.pop(name, None)
    return msgspec.json.encode(whole)


def _count(item: str | tuple[int, ...]) -> int:
    return tokens.count(item) if isinstance(item, str) else len(item)


def vector(item: str | tuple[int, ...], size: int) -> tuple[float, ...]:
    """The vector of a text or of tokens: float32 values, together of length one."""
    found = [0.0] * size
    for feature, weight in _features(item).items():
        digest = hashlib.sha256(feature.encode()).digest()
        for at in range(0, 16, 4):
            place = int.from_bytes(digest[at : at + 4]) % size
            found[place] += weight if digest[16 + at] & 1 else -weight
    length = math.sqrt(math.fsum(value * value for value in found))
    if length == 0:
        found[0] = length = 1.0
    return struct.unpack(f"<{size}f", struct.pack(f"<{size}f", *(value / length for value in found)))


def _features(item: str | tuple[int, ...]) -> Mapping[str, float]:
    if not isinstance(item, str):
        return {f"token {token}": 1.0 for token in item}
    features: dict[str, float] = {}
    for word in _WORD.findall(item.lower()):
        features[word] = features.get(word, 0.0) + 1.0
        padded = f" {word} "
        for at in range(len(padded) - 2):
            piece = f"part {padded[at : at + 3]}"
            features[piece] = features.get(piece, 0.0) + 0.25
    return features or {f"marks {item}": 1.0}
