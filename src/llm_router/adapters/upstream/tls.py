"""The TLS of all connections: verified, always; and taken up again where it was left."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module

HOSTS_MAX = 256
"""Hosts whose session is kept; beyond, the one that was kept first is forgotten."""

VERIFIED_S = 3600.0
"""How long sessions follow from one look at a certificate: a host that has lost it since is found out by then."""


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


class Sessions:
    """The latest session of each host, by which the next connection to it needs no certificates: a handshake costs
    half of the CPU, with TLS 1.2 a third and a round trip less.

    A session is kept under the name that its certificate was verified for, and offered for no other.
    """

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._known: dict[str, tuple[ssl.SSLSession, float]] = {}  # with the time of the next look

    def serve(self, context: ssl.SSLContext) -> None:
        """Have the connections of a context take up what is known."""
        sessions = self

        class Resuming(ssl.SSLObject):
            _begun = False

            def do_handshake(self) -> None:
                if not self._begun:
                    self._begun = True
                    sessions._offer(self)
                super().do_handshake()

        context.sslobject_class = Resuming

    def keep(self, tls: ssl.SSLObject) -> None:
        """Remember where a connection stands, after it has read something: TLS 1.3 sends its tickets late."""
        host, session = tls.server_hostname, tls.session
        if not host or session is None:
            return
        known = self._known.pop(host, None)
        if known is None and tls.session_reused:
            return  # its time is over, or it was forgotten: no certificate was seen since
        until_s = known[1] if known is not None and tls.session_reused else self._now_s() + VERIFIED_S
        if len(self._known) >= HOSTS_MAX:
            del self._known[next(iter(self._known))]
        self._known[host] = (session, until_s)

    def forget(self, host: str) -> None:
        """No connection came about: whatever it was, not twice with the same session."""
        self._known.pop(host, None)

    def _offer(self, tls: ssl.SSLObject) -> None:
        host = tls.server_hostname or ""
        session, until_s = self._known.get(host, (None, 0.0))
        if session is None:
            return
        if self._now_s() < until_s:
            with suppress(ValueError):  # of another context
                tls.session = session
        else:
            del self._known[host]
