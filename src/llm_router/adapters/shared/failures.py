"""Errors on their way from one process to another: the same class, words and details arrive."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from llm_router.domain import errors
from llm_router.domain.errors import InsufficientCredits, RouterError, ServerError, UpstreamError


class Failure(msgspec.Struct, frozen=True, array_like=True):
    """An error as it travels.

    Attributes:
        kind: the name of its class; one that is not known there arrives as a ServerError.
        details: a JSON object, since amounts in it are verbatim numbers.
    """

    kind: str
    message: str
    code: str = ""
    param: str | None = None
    details: bytes = b"{}"
    retry_after_s: float | None = None
    available_pusd: int = 0
    reachable_pusd: int = 0


UNFORESEEN = Failure(kind="ServerError", message="The ledger's process met an unforeseen error.")


def told(error: RouterError | ValueError) -> Failure:
    """The error for the other side."""
    if isinstance(error, RouterError):
        money = error if isinstance(error, InsufficientCredits) else None
        return Failure(
            kind=type(error).__name__,
            message=error.message,
            code=error.code,
            param=error.param,
            details=msgspec.json.encode(error.details),
            retry_after_s=error.retry_after_s,
            available_pusd=0 if money is None else money.available_pusd,
            reachable_pusd=0 if money is None else money.reachable_pusd,
        )
    return Failure(kind="ValueError", message=str(error))


def raised(failure: Failure) -> Exception:
    """The error that the other side told."""
    if failure.kind == "ValueError":
        return ValueError(failure.message)
    error = _KINDS.get(failure.kind, ServerError)(
        failure.message,
        param=failure.param,
        code=failure.code or None,
        details=_details.decode(failure.details),
        retry_after_s=failure.retry_after_s,
    )
    if isinstance(error, InsufficientCredits):
        error.available_pusd = failure.available_pusd
        error.reachable_pusd = failure.reachable_pusd
    return error


def _verbatim(number: str) -> msgspec.Raw:
    return msgspec.Raw(number.encode())


_details = msgspec.json.Decoder(dict[str, object], float_hook=_verbatim)


def _kinds() -> Iterator[tuple[str, type[RouterError]]]:
    for name, kind in vars(errors).items():
        if isinstance(kind, type) and issubclass(kind, RouterError) and not issubclass(kind, UpstreamError):
            yield name, kind


_KINDS = dict(_kinds())
