"""The TLS settings of all connections: verified, always."""

from __future__ import annotations

import ssl
from contextlib import suppress
from importlib import import_module


def verified_context() -> ssl.SSLContext:
    """A context that verifies certificates and host names against the system's trust store.

    Where the system has no store at all (some minimal images), that of the package ``certifi`` is
    used if it is installed; else every handshake fails, which is right.
    """
    paths = ssl.get_default_verify_paths()
    context = ssl.create_default_context()
    if paths.cafile is None and paths.capath is None and not context.cert_store_stats()["x509_ca"]:
        with suppress(ImportError):
            context.load_verify_locations(cafile=import_module("certifi").where())
    context.set_alpn_protocols(["http/1.1"])
    return context
