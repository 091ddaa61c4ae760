"""Cohere's errors: ``{"id", "message"}``, at times with ``error_type``. https://docs.cohere.com/reference/errors"""

from __future__ import annotations

from collections.abc import Mapping

from llm_router.domain.errors import UpstreamError, UpstreamKind
from llm_router.wire.failures import failure, read_failure
from llm_router.wire.lenient import load_object

_KINDS = {
    498: UpstreamKind.CONTENT_POLICY,  # a deny-listed token in the request or the answer
    499: UpstreamKind.SERVER,  # the request was cancelled, not by us: may be tried again
}


def decode_error(status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
    """An error reply, classified. Takes any bytes and never raises."""
    id_ = (load_object(body) or {}).get("id") or headers.get("x-debug-trace-id")
    details = {"upstream_request_id": id_} if isinstance(id_, str) else None
    said = read_failure(body)
    return failure(said, status=status, headers=headers, kind=_KINDS.get(status), details=details)
