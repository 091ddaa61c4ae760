"""Ollama's errors: ``{"error": "text"}``, and other shapes before it. https://docs.ollama.com/api/errors"""

from __future__ import annotations

from collections.abc import Mapping

from llm_router.domain.errors import UpstreamError
from llm_router.wire.failures import failure, read_failure


def decode_error(status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
    """An error reply, classified. Takes any bytes and never raises."""
    return failure(read_failure(body), status=status, headers=headers)
