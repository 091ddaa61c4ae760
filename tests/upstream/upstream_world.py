"""The client under test in its world: servers, certificates, and an event loop of either kind."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from scripted_server import Script, Server

from llm_router.adapters.upstream.aiohttp_client import AiohttpUpstream
from llm_router.adapters.upstream.client import LeanUpstream
from llm_router.domain.errors import UpstreamError
from llm_router.ports import Deadlines, Upstream, UpstreamReply, UpstreamRequest

LEAN = [("lean", "asyncio"), ("lean", "uvloop")]
BOTH = [*LEAN, ("aiohttp", "asyncio")]


class World:
    """The client under test, and servers for it."""

    def __init__(self, client: str, loop: str) -> None:
        self.kind = client
        self.loop = loop
        self._clients: list[Upstream] = []
        self._servers: list[Server] = []

    def client(self, **options: Any) -> Any:
        made: Upstream = LeanUpstream(**options) if self.kind == "lean" else AiohttpUpstream(**options)
        self._clients.append(made)
        return made

    async def server(self, script: Script, context: ssl.SSLContext | None = None) -> Server:
        server = await Server(script, context).start()
        self._servers.append(server)
        return server

    async def send(self, server: Server, client: Upstream | None = None, **changes: Any) -> UpstreamReply:
        return await (client or self.client()).send(
            request(server.url(), **{k: v for k, v in changes.items() if k != "deadlines"}),
            changes.get("deadlines", Deadlines()),
        )

    async def close(self) -> None:
        for client in self._clients:
            await client.close()
        for server in self._servers:
            await server.close()
        assert [failure for server in self._servers for failure in server.failures] == []

    def run(self, main: Callable[[], Any]) -> None:
        factory = uvloop.new_event_loop if self.loop == "uvloop" else asyncio.new_event_loop
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(self._bounded(main))

    async def _bounded(self, main: Callable[[], Any]) -> None:
        try:
            async with asyncio.timeout(10):
                await main()
        finally:
            await self.close()


def request(url: str, **changes: Any) -> UpstreamRequest:
    values: dict[str, Any] = {
        "method": "POST",
        "url": url,
        "headers": (("authorization", "Bearer sk-canary-1"), ("content-type", "application/json")),
        "body": b'{"model":"m"}',
    }
    return UpstreamRequest(**(values | changes))


def lean_only(reason: str) -> Callable[[Any], Any]:
    """Mark a test that aiohttp cannot pass, and say why."""

    def mark(function: Any) -> Any:
        function.lean_only = reason
        return function

    return mark


class Authority:
    """A certificate authority of this test run."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test authority")])
        self._count = 0
        self.certificate = self._sign(self._key, self._name, [], ca=True)

    def client_context(self) -> ssl.SSLContext:
        """A verified context that trusts this authority."""
        pem = self.certificate.public_bytes(serialization.Encoding.PEM).decode()
        return ssl.create_default_context(cadata=pem)

    def server_context(self, *names: str, days: int = 1, own: bool = False) -> ssl.SSLContext:
        """A server's context; ``days`` below 0 is expired, ``own`` is self-signed."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
        certificate = self._sign(key, subject, list(names), days=days, own=own)
        self._count += 1
        path = self._folder / f"{self._count}.pem"
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
            + certificate.public_bytes(serialization.Encoding.PEM)
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context

    def _sign(
        self,
        key: ec.EllipticCurvePrivateKey,
        subject: x509.Name,
        names: list[str],
        *,
        days: int = 1,
        ca: bool = False,
        own: bool = False,
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject if own else self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=9))
            .not_valid_after(now + datetime.timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )
        if names:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([_general_name(n) for n in names]), critical=False
            )
        return builder.sign(key if own else self._key, hashes.SHA256())


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


async def failure(awaitable: Awaitable[object]) -> UpstreamError:
    """The error of a call that must fail; it never shows the request's credential."""
    with pytest.raises(UpstreamError) as caught:
        await awaitable
    assert "sk-canary" not in str(caught.value)
    return caught.value
