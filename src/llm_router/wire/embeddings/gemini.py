"""Gemini's embedContent and batchEmbedContents. https://ai.google.dev/api/embeddings

Clients call either, under one path each. Providers are asked by batchEmbedContents alone: a single
request goes up verbatim as the one item of a batch, and its vector comes back verbatim out of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from llm_router.domain.errors import InvalidRequest, UnsupportedContent
from llm_router.domain.usage import Usage, token_count
from llm_router.wire.bill import bill_members
from llm_router.wire.chat import Raw
from llm_router.wire.dialect import Bill, Dialect, Fetched, Inspected, Observed, ReplyContext, Target
from llm_router.wire.dialects.gemini_generate import DIALECT as CHAT
from llm_router.wire.embeddings.asking import (
    DIMENSIONS_MAX,
    check_number,
    measure,
    read_name,
    read_object,
    read_text,
    read_whole,
)
from llm_router.wire.embeddings.canonical import (
    EmbedReply,
    EmbedRequest,
    NeverStreamed,
    Purpose,
    check_count,
    edited,
    malformed,
    never_streamed,
)
from llm_router.wire.embeddings.vectors import check_numbers, read_vector
from llm_router.wire.lenient import mapping
from llm_router.wire.loss import Loss, Losses
from llm_router.wire.routed import MEMBERS, routing_in, strip
from llm_router.wire.verbatim import dump, items, members, value

NAME = "gemini_embeddings"

BATCH_MAX = 100
"""Google refuses larger batches with "at most 100 requests can be in one batch"."""

PURPOSES: dict[str, Purpose] = {
    "RETRIEVAL_QUERY": "query",
    "RETRIEVAL_DOCUMENT": "document",
    "SEMANTIC_SIMILARITY": "similarity",
    "CLASSIFICATION": "classification",
    "CLUSTERING": "clustering",
    "QUESTION_ANSWERING": "question",
    "FACT_VERIFICATION": "fact",
    "CODE_RETRIEVAL_QUERY": "code_query",
}
TASKS = {purpose: task for task, purpose in PURPOSES.items()}

_SINGLE = Raw(b"true")


class _Item(msgspec.Struct, frozen=True, kw_only=True):
    """One input, checked."""

    text: str
    purpose: Purpose | None
    title: str | None
    dimensions: int | None


class _Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A checked request: the items verbatim, and the request they make."""

    items: list[dict[str, Raw]]
    request: EmbedRequest


def inspect_one(body: bytes, path_model: str | None, path_stream: bool | None) -> Inspected:
    """Check and measure an embedContent request.

    Raises:
        InvalidRequest: with ``param`` set.
        UnsupportedContent: it holds something else than text.
    """
    found = read_object(body)
    return _inspected(path_model, [found], [_item(found, "")], routing_in(found), single=True)


def inspect_batch(body: bytes, path_model: str | None, path_stream: bool | None) -> Inspected:
    """Check and measure a batchEmbedContents request.

    Raises:
        InvalidRequest, UnsupportedContent: as for one.
    """
    whole_body = read_object(body)
    listed = items(whole_body.get("requests"))
    if listed is None:
        raise InvalidRequest("requests must be an array of embedding requests.", param="requests")
    check_number(len(listed), "requests")
    wholes = [members(raw) for raw in listed]
    for at, whole in enumerate(wholes):
        if whole is None:
            raise InvalidRequest(f"requests[{at}] must be an object.", param=f"requests[{at}]")
    known = [whole for whole in wholes if whole is not None]
    found = [_item(whole, f"requests[{at}].") for at, whole in enumerate(known)]
    if len({item.dimensions for item in found}) > 1:
        raise InvalidRequest(
            "outputDimensionality must be the same in all requests of a batch.", param="requests"
        )
    return _inspected(path_model, known, found, routing_in(whole_body), single=False)


def _inspected(
    path_model: str | None,
    verbatim: list[dict[str, Raw]],
    found: list[_Item],
    routing: Mapping[str, Any],
    *,
    single: bool,
) -> Inspected:
    model = (path_model or "").removeprefix("models/")
    read_name(dump(model), "model")
    purposes = tuple(item.purpose for item in found)
    titles = tuple(item.title for item in found)
    request = EmbedRequest(
        model=model,
        dialect=NAME,
        inputs=tuple(item.text for item in found),
        dimensions=found[0].dimensions,
        purposes=purposes if any(purposes) else (),
        purpose_field="taskType",
        titles=titles if any(titles) else (),
        extras={name: raw for name, raw in verbatim[0].items() if name not in _OWN and bytes(raw) != b"null"},
    )
    text_bytes, _ = measure(request.inputs)
    text_bytes += sum(len(title.encode()) for title in titles if title)
    return Inspected(
        model=model,
        stream=False,
        tree=_Asked(items=verbatim, request=request),
        text_bytes=text_bytes,
        inputs=len(found),
        routing=routing,
        echo={"single": _SINGLE} if single else {},
    )


_OWN = (
    "model", "content", "taskType", "task_type", "title", "outputDimensionality", "output_dimensionality",
    *MEMBERS,
)  # fmt: skip


def _either(found: Mapping[str, Raw], camel: str, snake: str) -> Raw | None:
    """Google's JSON takes both spellings of a name."""
    return found.get(camel, found.get(snake))


def _item(found: dict[str, Raw], where: str) -> _Item:
    content = members(found.get("content"))
    parts = None if content is None else items(content.get("parts"))
    if not parts:
        raise InvalidRequest(f"{where}content must hold parts with text.", param=f"{where}content")
    texts = []
    for raw in parts:
        part = mapping(value(raw))
        text = part.get("text")
        if isinstance(text, str):
            texts.append(text)
        elif "text" in part:
            raise InvalidRequest(f"{where}content.parts.text must be a string.", param=f"{where}content")
        else:
            raise UnsupportedContent(
                "Only text is embedded here: no price is known for pictures, sound and files.",
                param=f"{where}content",
            )
    if not any(texts):
        raise InvalidRequest(f"{where}content is empty: there is nothing to embed.", param=f"{where}content")
    task = read_text(_either(found, "taskType", "task_type"), f"{where}taskType")
    if task is not None and task not in PURPOSES and task != "TASK_TYPE_UNSPECIFIED":
        raise InvalidRequest(
            f"{where}taskType must be one of {', '.join(PURPOSES)}.", param=f"{where}taskType"
        )
    return _Item(
        text="\n".join(texts),
        purpose=PURPOSES.get(task) if task is not None else None,
        title=read_text(found.get("title"), f"{where}title"),
        dimensions=read_whole(
            _either(found, "outputDimensionality", "output_dimensionality"),
            f"{where}outputDimensionality",
            DIMENSIONS_MAX,
        ),
    )


def decode_request(inspected: Inspected) -> EmbedRequest:
    """The canonical form. Parts of one content are lines of one text."""
    assert isinstance(inspected.tree, _Asked)
    return inspected.tree.request


def _path(model: str) -> str:
    return model if "/" in model else f"models/{model}"


def edit_request(
    inspected: Inspected, target: Target, fetched: Mapping[str, Fetched]
) -> tuple[bytes, tuple[Loss, ...]]:
    """The client's own items, each with the provider's model."""
    assert isinstance(inspected.tree, _Asked)
    _check_batch(len(inspected.tree.items))
    name = dump(_path(target.model))
    losses: list[Loss] = []
    requests: list[dict[str, Any]] = []
    for item in inspected.tree.items:
        body: dict[str, Any] = {**item, "model": name}
        strip(body)
        losses += edited(body, target)
        requests.append(body)
    return msgspec.json.encode({"requests": requests}), tuple(dict.fromkeys(losses))


def encode_request(request: EmbedRequest, target: Target) -> tuple[bytes, tuple[Loss, ...]]:
    """The request for a provider of this format.

    Raises:
        UnsupportedContent: it holds tokens, which only the model's own tokenizer could read, or too many inputs.
    """
    _check_batch(len(request.inputs))
    losses = Losses()
    lost: list[Loss] = []
    requests: list[dict[str, Any]] = []
    for at, text in enumerate(request.inputs):
        if not isinstance(text, str):
            raise UnsupportedContent("This model takes text, not tokens: send strings.", param="input")
        body: dict[str, Any] = {"model": _path(target.model), "content": {"parts": [{"text": text}]}}
        purpose = request.purposes[at] if request.purposes else None
        if purpose is not None:
            body["taskType"] = TASKS[purpose]
        if request.titles and request.titles[at] is not None:
            body["title"] = request.titles[at]
        if request.dimensions is not None:
            body["outputDimensionality"] = request.dimensions
        lost += edited(body, target)
        requests.append(body)
    if request.user is not None:
        losses.add("user", "the API has no such option")
    if request.truncate is not None:
        losses.add("truncate", "the API has no such option")
    for name in request.extras:
        losses.add(name, "the API has no such option")
    return msgspec.json.encode({"requests": requests}), (*losses.found, *dict.fromkeys(lost))


def _check_batch(count: int) -> None:
    if count > BATCH_MAX:
        raise UnsupportedContent(
            f"This model takes at most {BATCH_MAX} inputs in one request; there are {count}. "
            "Send several requests.",
            param="input",
        )


# -- replies -----------------------------------------------------------------------------------------


class _Read(msgspec.Struct, kw_only=True):
    members: dict[str, Raw]
    vectors: list[Raw]
    usage: Usage | None
    flags: tuple[str, ...]


def _read(body: bytes) -> _Read:
    found = members(body)
    if found is None:
        raise malformed("a reply that is not a JSON object")
    listed = items(found.get("embeddings"))
    if listed is None and "embedding" in found:
        listed = [found["embedding"]]
    if listed is None:
        if "error" in found:
            raise CHAT.decode_error(200, {}, body)
        raise malformed("a reply without vectors")
    usage, flags = _usage(found.get("usageMetadata"))
    return _Read(members=found, vectors=listed, usage=usage, flags=flags)


def _numbers(raw: Raw) -> Raw:
    found = members(raw)
    if found is None or "values" not in found:
        raise malformed("a reply without vectors")
    return found["values"]


def _usage(raw: Raw | None) -> tuple[Usage | None, tuple[str, ...]]:
    stated = mapping(value(raw)).get("promptTokenCount")
    if stated is None:
        return None, ()
    tokens = token_count(stated)
    return (None, ("usage_invalid",)) if tokens is None else (Usage(input_tokens=tokens), ())


def decode_reply(body: bytes) -> EmbedReply:
    """A whole reply in canonical form.

    Raises:
        UpstreamError: it is an error in place of a reply, or no reply at all.
    """
    read = _read(body)
    return EmbedReply(
        vectors=tuple(read_vector(_numbers(raw), None) for raw in read.vectors),
        usage=read.usage,
        flags=read.flags,
    )


def _usage_metadata(bill: Bill) -> dict[str, object]:
    tokens = bill.usage.prompt_tokens if bill.usage is not None else 0
    money = bill_members(bill)
    return {
        "promptTokenCount": tokens,
        "totalTokenCount": tokens,
        "cost": money["cost"],
        "creditsRemaining": money["credits_remaining"],
    }


def encode_reply(reply: EmbedReply, context: ReplyContext, bill: Bill) -> tuple[bytes, tuple[Loss, ...]]:
    """A whole reply for a client of this format."""
    vectors = [{"values": vector} for vector in reply.vectors]
    body: dict[str, object] = (
        {"embedding": vectors[0]} if "single" in context.echo else {"embeddings": vectors}
    )
    return msgspec.json.encode({**body, "usageMetadata": _usage_metadata(bill)}), ()


class PassedReply:
    """A provider's reply in the client's own format: the vectors keep their bytes."""

    def __init__(self, body: bytes, context: ReplyContext) -> None:
        """
        Raises:
            UpstreamError: it is an error in place of a reply, or not what was asked for.
        """
        read = _read(body)
        check_count(len(read.vectors), context.inputs)
        for raw in read.vectors:
            check_numbers(_numbers(raw))
        self._members: dict[str, Any] = dict(read.members)
        if "single" in context.echo:
            self._members.pop("embeddings", None)
            self._members["embedding"] = read.vectors[0]
        self._raw_usage = mapping(value(read.members.get("usageMetadata")))
        self.observed = Observed(
            content_started=True, ended=True, produced=True, usage=read.usage, flags=list(read.flags)
        )

    def finish(self, bill: Bill) -> bytes:
        ours = _usage_metadata(bill)
        if self.observed.usage is not None:
            ours = {**self._raw_usage, **ours}
        return msgspec.json.encode({**self._members, "usageMetadata": ours})


def upstream_url(base_url: str, operation: str, model: str, stream: bool) -> str:
    """``{base}/v1beta/models/{model}:batchEmbedContents``, with the tolerance of the chat's URL."""
    url = CHAT.upstream_url(base_url, "count_tokens", model, False)
    return url.removesuffix(":countTokens") + ":batchEmbedContents"


DIALECT: Dialect[EmbedRequest, EmbedReply] = Dialect(
    name=NAME,
    content_type_stream="application/json",
    inspect=inspect_batch,
    decode_request=decode_request,
    encode_request=encode_request,
    edit_request=edit_request,
    decode_reply=decode_reply,
    encode_reply=encode_reply,
    pass_reply=PassedReply,
    pass_relay=never_streamed,
    stream_decoder=NeverStreamed,
    stream_encoder=never_streamed,
    decode_error=CHAT.decode_error,
    encode_error=CHAT.encode_error,
    upstream_url=upstream_url,
    upstream_headers=CHAT.upstream_headers,
    key_parameter=CHAT.key_parameter,
)
"""Of batchEmbedContents."""

ONE: Dialect[EmbedRequest, EmbedReply] = msgspec.structs.replace(DIALECT, inspect=inspect_one)
"""Of embedContent: the same format, with a client that sends one input."""
