"""The error envelope of OpenAI, for the dialects that have it in common.

https://platform.openai.com/docs/guides/error-codes
"""

from __future__ import annotations

import msgspec

from llm_router.domain.errors import RouterError, UpstreamError


def error_members(error: RouterError, request_id: str) -> dict[str, object]:
    """The ``error`` object for a client. ``metadata`` keeps the provider's own words beside ours."""
    members: dict[str, object] = {
        "message": error.message,
        "type": error.type,
        "param": error.param,
        "code": error.code,
        "request_id": request_id,
    }
    if isinstance(error, UpstreamError):
        said = {
            "provider": error.provider,
            "error_type": error.kind.value,
            "provider_code": error.native_code,
            "provider_type": error.native_type,
        }
        members["metadata"] = {name: value for name, value in said.items() if value is not None}
    for name, value in error.details.items():
        members.setdefault(name, value)
    return members


def encode_error(error: RouterError, request_id: str) -> bytes:
    """The body of an error reply."""
    return msgspec.json.encode({"error": error_members(error, request_id)})
