"""Stripe's REST API over the gateway's own HTTP client: forms out, JSON in, each write once.

https://docs.stripe.com/api · https://docs.stripe.com/api/idempotent_requests
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from llm_router.billing.stripe import form
from llm_router.domain.errors import NotFound, PaymentDeclined, PaymentUnavailable, UpstreamError
from llm_router.ports import Deadlines, Upstream, UpstreamRequest

REPLY_BYTES_MAX = 1024 * 1024
DEADLINES = Deadlines(connect_s=10, first_byte_s=30, idle_s=30, total_s=60)
TRIES = 3
"""A write that broke is sent again under its idempotency key, which Stripe takes once."""


class StripeApi:
    """Implements :class:`~llm_router.ports.PaymentApi`."""

    def __init__(self, *, upstream: Upstream, key: str, base_url: str) -> None:
        self._upstream = upstream
        self._authorization = f"Bearer {key}"
        self._base_url = base_url.rstrip("/")

    async def post(self, path: str, members: Mapping[str, object], idempotency_key: str) -> dict[str, Any]:
        headers = (
            ("content-type", "application/x-www-form-urlencoded"),
            ("idempotency-key", idempotency_key),
        )
        return await self._call("POST", path, form(members), headers)

    async def get(self, path: str) -> dict[str, Any]:
        return await self._call("GET", path, b"", ())

    async def _call(
        self, method: str, path: str, body: bytes, headers: tuple[tuple[str, str], ...]
    ) -> dict[str, Any]:
        request = UpstreamRequest(
            method=method,
            url=self._base_url + path,
            headers=(("authorization", self._authorization), *headers),
            body=body,
        )
        for left in reversed(range(TRIES)):
            try:
                status, data = await self._send(request)
            except UpstreamError as error:
                if left:
                    continue
                raise PaymentUnavailable(
                    "The payment provider cannot be reached. Nothing was paid; try again shortly.",
                    retry_after_s=10,
                ) from error
            if left and (status >= 500 or status == 409):
                continue
            return _checked(status, data)
        raise AssertionError("the last try returns or raises")

    async def _send(self, request: UpstreamRequest) -> tuple[int, bytes]:
        reply = await self._upstream.send(request, DEADLINES)
        try:
            return reply.status, await reply.read(REPLY_BYTES_MAX)
        finally:
            await reply.close()


def _checked(status: int, data: bytes) -> dict[str, Any]:
    """The object of an answer.

    Raises:
        NotFound: there is no such object.
        PaymentDeclined: the customer's bank said no (402); details say how, in Stripe's words.
        PaymentUnavailable: it is no answer, or a refusal that is the operator's to mend.
    """
    try:
        value = msgspec.json.decode(data, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        value = {}
    if 200 <= status < 300 and value:
        return value
    found = value.get("error")
    error = found if isinstance(found, dict) else {}
    code = error.get("decline_code") or error.get("code")
    shown = code if isinstance(code, str) and len(code) <= 100 else "unknown"
    if status == 402:
        raise PaymentDeclined(f"The payment was declined ({shown}).", details={"decline_code": shown})
    if status == 404:
        raise NotFound("The payment provider knows no such object.")
    raise PaymentUnavailable(
        f"The payment provider refused the request (status {status}, {shown}). Nothing was paid. "
        "This is the operator's to mend."
    )
