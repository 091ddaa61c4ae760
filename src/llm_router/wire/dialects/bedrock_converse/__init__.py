"""The dialect of Amazon Bedrock's Converse API, behind the gateway only.

https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html and
https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStream.html

| file | what |
|---|---|
| encode, turns, sources, tools, thinking | canonical to the upstream request |
| reply, blocks, stream, usage | upstream replies and streams to events |
| errors, facts | exceptions, stop reasons, vendors |
"""

from __future__ import annotations

from urllib.parse import quote

from llm_router.wire.dialect import Behind
from llm_router.wire.dialects.bedrock_converse.encode import encode_request
from llm_router.wire.dialects.bedrock_converse.errors import decode_error
from llm_router.wire.dialects.bedrock_converse.facts import NAME
from llm_router.wire.dialects.bedrock_converse.reply import decode_reply
from llm_router.wire.dialects.bedrock_converse.stream import Decoder


def upstream_url(base_url: str, operation: str, model: str, stream: bool) -> str:
    """``{base}/model/{model}/converse`` or ``/converse-stream``; the model may be an ARN.

    All of the model but letters, digits and ``-_.~`` is percent-encoded, as AWS's own clients do it.

    Raises:
        ValueError: the API has no such operation.
    """
    if operation != "chat":
        raise ValueError(f"{NAME} has no operation {operation!r}")
    method = "converse-stream" if stream else "converse"
    return f"{base_url.rstrip('/')}/model/{quote(model, safe='-_.~')}/{method}"


def upstream_headers(stream: bool) -> tuple[tuple[str, str], ...]:
    """Headers beside auth."""
    return (("accept", "application/vnd.amazon.eventstream" if stream else "application/json"),)


DIALECT = Behind(
    name=NAME,
    encode_request=encode_request,
    decode_reply=decode_reply,
    stream_decoder=Decoder,
    decode_error=decode_error,
    upstream_url=upstream_url,
    upstream_headers=upstream_headers,
)
