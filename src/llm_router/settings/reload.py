"""What a reload says: which changes wait for a restart, or why it was refused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from llm_router.domain.errors import InvalidRequest
from llm_router.settings.problems import ConfigError
from llm_router.settings.result import Settings

_AT_START = {
    "server": (
        "host",
        "port",
        "data_dir",
        "body_bytes_max",
        "header_bytes_max",
        "headers_max",
        "head_s",
        "body_s",
        "unread_s",
        "keep_alive_s",
        "connections_max",
        "connections_per_address_max",
        "drain_s",
        "concurrency_max",
        "access_log",
        "workers",
        "public_url",
        "trusted_proxies",
    ),
    "responses": ("store", "retention_days", "bytes_max", "background_max"),
    "counters": ("url", "timeout_s", "local_share"),
    "fetch": ("bytes_max", "timeout_s", "allow_hosts"),
    "side_car": ("enabled", "ttl_s", "bytes_max"),
}
"""Keys that are read once, when the gateway starts."""


def needs_restart(old: Settings, new: Settings) -> tuple[str, ...]:
    """The keys that changed but take effect only at the next start, dotted."""
    return tuple(_changed(old, new))


def _changed(old: Settings, new: Settings) -> Iterator[str]:
    for section, keys in _AT_START.items():
        for key in keys:
            if getattr(getattr(old, section), key) != getattr(getattr(new, section), key):
                yield f"{section}.{key}"
    if (old.own_keys is None) != (new.own_keys is None):
        yield "byok.enabled"
    if (old.oidc, old.oidc_hosts) != (new.oidc, new.oidc_hosts):
        yield "oidc"
    if old.alerts != new.alerts:
        yield "alerts"
    if old.store != new.store:
        yield "store"
    if old.papers.receipt_keys != new.papers.receipt_keys:
        yield "receipts.key_file"
    if old.papers.issuer != new.papers.issuer:
        yield "invoices"
    if old.stripe != new.stripe:
        yield "stripe"
    if old.credits.starting_pusd != new.credits.starting_pusd:
        yield "credits.starting"


def refused_restart(problems: Sequence[str]) -> str:
    """What is said when a gateway does not begin anew, since it could not."""
    return "\n".join(("The configuration has problems; the gateway goes on as it is:", *problems))


def refused_reload(problems: Sequence[str]) -> InvalidRequest:
    """The error of a reload: code and details of :class:`ConfigError`, and that nothing changed."""
    return InvalidRequest(
        "\n".join(("The configuration has problems; the one in use stays:", *problems)),
        code=ConfigError.code,
        details={"problems": list(problems)},
    )


def reload_lines(result: Mapping[str, object]) -> tuple[str, ...]:
    """The words of a gateway's log for a reload that was done."""
    warnings = result["warnings"]
    assert isinstance(warnings, list), "the reload's own result"
    return (
        f"configuration reloaded: {result['models']} models",
        *(f"warning: {warning}" for warning in warnings),
    )
