"""Placements: the same dialect where it lives elsewhere, as data over the dialect's own codec.

Azure, Vertex AI and Bedrock offer the APIs of others under addresses, versions and framings of their
own. A placement says what differs: paths, members of the body, headers, the framing of streams and
errors. :func:`placed` puts it over a dialect, which knows nothing of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

import msgspec

from llm_router.domain.errors import UpstreamError
from llm_router.wire.chat import Raw
from llm_router.wire.dialect import Behind, Unframer
from llm_router.wire.loss import Loss
from llm_router.wire.verbatim import dump, members

BETAS = "anthropic-beta"


class Placement(msgspec.Struct, frozen=True, kw_only=True):
    """What a platform changes of a dialect.

    Attributes:
        dialects: those that may be placed so.
        paths: of an operation, and of ``OPERATION_stream`` where that differs, behind the base URL;
            ``{model}`` stands for the percent-encoded model. An operation without one is not offered.
        below: in place of ``paths``: the dialect's own paths stand below this one.
        safe: characters of a model's name that are not percent-encoded.
        members: written into the body where they are absent.
        drops: members that the body may not hold, since the address or the platform says them.
        betas: patterns of Anthropic's beta flags that the platform takes; the others it refuses.
        betas_member: where the flags stand in the body; None leaves them in their header.
        hides: headers of the dialect, and of its clients, that the platform does not know.
        accept: of streams, where it is not the dialect's own.
        decode_error, unframe: as of :class:`~llm_router.wire.dialect.Behind`, where they differ.
        why, source: the reason and the page it is from.
    """

    name: str
    dialects: tuple[str, ...]
    why: str
    source: str
    paths: Mapping[str, str] = MappingProxyType({})
    below: str | None = None
    safe: str = "-_.~"
    members: Mapping[str, Raw] = MappingProxyType({})
    drops: tuple[str, ...] = ()
    betas: tuple[str, ...] = ()
    betas_member: str | None = None
    hides: tuple[str, ...] = ()
    accept: str | None = None
    decode_error: Callable[[int, Mapping[str, str], bytes], UpstreamError] | None = None
    unframe: Callable[[], Unframer] | None = None


def _aws_error(status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
    from llm_router.wire.dialects.bedrock_converse import errors  # loaded where Bedrock is called alone

    return errors.decode_error(status, headers, body)


def _aws_unframer() -> Unframer:
    from llm_router.wire.dialects.bedrock_converse import errors
    from llm_router.wire.framing.invoke import InvokeUnframer

    return InvokeUnframer(errors.stream_error)


AZURE_DEPLOYMENTS = Placement(
    name="azure_deployments",
    dialects=("openai_chat",),
    why="the deployment stands in the path, and the version of the API in the query",
    source="https://learn.microsoft.com/azure/ai-services/openai/reference",
    below="/deployments/{model}",
)

VERTEX_CLAUDE = Placement(
    name="vertex_claude",
    dialects=("anthropic_messages",),
    why="the model stands in the path, and the version of the API in the body",
    source="https://docs.anthropic.com/en/api/claude-on-vertex-ai",
    paths=MappingProxyType(
        {
            "chat": "/{model}:rawPredict",
            "chat_stream": "/{model}:streamRawPredict",
            "count_tokens": "/count-tokens:rawPredict",
        }
    ),
    safe="-_.~@",
    members=MappingProxyType({"anthropic_version": Raw(b'"vertex-2023-10-16"')}),
    drops=("model",),
    betas=(
        "computer-use-*", "token-efficient-tools-*", "interleaved-thinking-*", "output-128k-*", "context-1m-*",
        "context-management-*", "fine-grained-tool-streaming-*", "effort-*", "tool-search-tool-*",
        "tool-examples-*", "web-search-*", "compact-*", "dev-full-thinking-*",
    ),
    hides=("anthropic-version",),
)  # fmt: skip

BEDROCK_CLAUDE = Placement(
    name="bedrock_claude",
    dialects=("anthropic_messages",),
    why="the model and the wish to stream stand in the path, version and beta flags in the body",
    source="https://docs.aws.amazon.com/bedrock/latest/userguide/"
    "model-parameters-anthropic-claude-messages-request-response.html",
    paths=MappingProxyType(
        {
            "chat": "/model/{model}/invoke",
            "chat_stream": "/model/{model}/invoke-with-response-stream",
        }
    ),
    members=MappingProxyType({"anthropic_version": Raw(b'"bedrock-2023-05-31"')}),
    drops=("model", "stream"),
    betas=(
        "computer-use-*", "token-efficient-tools-*", "interleaved-thinking-*", "output-128k-*", "context-1m-*",
        "context-management-*", "dev-full-thinking-*", "effort-*", "tool-search-tool-*", "tool-examples-*",
        "compact-*", "fine-grained-tool-streaming-*",
    ),
    betas_member="anthropic_beta",
    hides=("anthropic-version",),
    accept="application/vnd.amazon.eventstream",
    decode_error=_aws_error,
    unframe=_aws_unframer,
)  # fmt: skip

PLACEMENTS: Mapping[str, Placement] = MappingProxyType(
    {placement.name: placement for placement in (AZURE_DEPLOYMENTS, VERTEX_CLAUDE, BEDROCK_CLAUDE)}
)


def placed(dialect: Behind[Any, Any], name: str | None) -> Behind[Any, Any]:
    """The dialect as it lives under the placement of that name; itself for None."""
    if name is None:
        return dialect
    spot = PLACEMENTS[name]
    own_headers = dialect.upstream_headers

    def upstream_url(base_url: str, operation: str, model: str, stream: bool) -> str:
        return _url(spot, dialect, base_url, operation, model, stream)

    def upstream_headers(stream: bool) -> tuple[tuple[str, str], ...]:
        kept = {key: value for key, value in own_headers(stream) if key not in spot.hides}
        if spot.accept is not None:
            kept["accept"] = spot.accept if stream else "application/json"
        return tuple(kept.items())

    def place(
        body: bytes, headers: Mapping[str, str], operation: str
    ) -> tuple[bytes, dict[str, str], tuple[Loss, ...]]:
        return _place(spot, body, headers, operation)

    return msgspec.structs.replace(
        dialect,
        upstream_url=upstream_url,
        upstream_headers=upstream_headers,
        place=place,
        decode_error=spot.decode_error or dialect.decode_error,
        unframe=spot.unframe,
    )


def _url(
    spot: Placement, dialect: Behind[Any, Any], base_url: str, operation: str, model: str, stream: bool
) -> str:
    """The full URL of an operation.

    Raises:
        ValueError: the platform does not offer the operation.
    """
    base, name = base_url.rstrip("/"), quote(model, safe=spot.safe)
    if spot.below is not None:
        return dialect.upstream_url(base + spot.below.replace("{model}", name), operation, model, stream)
    path = spot.paths.get(f"{operation}_stream") if stream else None
    path = spot.paths.get(operation) if path is None else path
    if path is None:
        raise ValueError(f"{spot.name} has no operation {operation!r}")
    return base + path.replace("{model}", name)


def _place(
    spot: Placement, body: bytes, headers: Mapping[str, str], operation: str
) -> tuple[bytes, dict[str, str], tuple[Loss, ...]]:
    """The body and the client's forwarded headers as the platform takes them, and what was lost."""
    sent = {name: text for name, text in headers.items() if name not in spot.hides}
    losses: tuple[Loss, ...] = ()
    flags: list[str] = []
    if BETAS in sent and spot.betas:
        asked = [flag.strip() for flag in sent.pop(BETAS).split(",") if flag.strip()]
        flags = [flag for flag in asked if any(fnmatchcase(flag, known) for known in spot.betas)]
        losses = tuple(
            Loss(field=f"{BETAS}: {flag}", why="the platform refuses this flag")
            for flag in asked
            if flag not in flags
        )
    if flags and spot.betas_member is None:
        sent[BETAS] = ",".join(flags)
    found = members(body)
    if found is None or not (spot.members or spot.drops):
        return body, sent, losses
    written: dict[str, object] = {
        name: raw for name, raw in found.items() if name not in spot.drops or operation != "chat"
    }
    for name, value in spot.members.items():
        written.setdefault(name, value)
    if flags and spot.betas_member is not None:
        written.setdefault(spot.betas_member, flags)
    return bytes(dump(written)), sent, losses
