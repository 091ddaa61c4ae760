"""The errors of the upstream clients. They name the host and the cause, never a URL or a credential."""

from __future__ import annotations

import ssl

from llm_router.domain.errors import UpstreamError, UpstreamKind


def unavailable(label: str, cause: str, *, sent: bool) -> UpstreamError:
    """The provider cannot be reached, or closed the connection before its reply."""
    return UpstreamError(f"{label}: {cause}", kind=UpstreamKind.UNAVAILABLE, sent=sent)


def timed_out(label: str, cause: str, *, sent: bool) -> UpstreamError:
    """A deadline passed."""
    return UpstreamError(f"{label}: {cause}", kind=UpstreamKind.TIMEOUT, sent=sent)


def truncated(label: str, cause: str) -> UpstreamError:
    """The body ended before its end."""
    return UpstreamError(f"{label}: {cause}", kind=UpstreamKind.TRUNCATED)


def malformed(label: str, cause: str) -> UpstreamError:
    """The reply is not HTTP as it should be, or larger than it may be."""
    return UpstreamError(f"{label}: {cause}", kind=UpstreamKind.MALFORMED)


def connect_cause(error: OSError) -> str:
    """Why a connection could not be made, in words of one line without any address."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate was refused ({error.verify_message})"
    if isinstance(error, ssl.SSLError):
        return f"the TLS handshake failed ({error.reason or 'no reason given'})"
    if isinstance(error, TimeoutError):
        return "connecting timed out"
    if isinstance(error, ConnectionRefusedError):
        return "the connection was refused"
    if isinstance(error, ConnectionError):
        return "the connection was reset while it was made"
    return f"no connection ({error.strerror or type(error).__name__})"
