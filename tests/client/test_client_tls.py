"""TLS: the certificate is verified, and the bounds of time hold."""

from __future__ import annotations

import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from scripted_gateway import DONE, Step, choice, read_request, reply, silence, stream

from llm_router_client import LLMRouterClient

HI = [{"role": "user", "content": "hi"}]
GOOD = {"choices": []}


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of 127.0.0.1 and its key, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
        )
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "certificate.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return path


class TlsServer:
    """Answers every connection with one script."""

    def __init__(self, certificate: Path) -> None:
        self.script: list[Step] = []
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://127.0.0.1:{self._listener.getsockname()[1]}"
        self.accepted = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while True:
            try:
                raw, _ = self._listener.accept()
            except OSError:
                return
            self.accepted += 1
            try:
                with self._context.wrap_socket(raw, server_side=True) as connection:
                    read_request(connection)
                    for step in self.script:
                        step(connection)
            except OSError:
                pass  # refused by the client, or it went

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(timeout=30)


@pytest.fixture
def server(certificate: Path) -> Iterator[TlsServer]:
    running = TlsServer(certificate)
    yield running
    running.close()


@pytest.fixture
def trusted(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))


def test_a_certificate_that_nobody_signed_is_refused(server: TlsServer, pauses: list[float]) -> None:
    error = LLMRouterClient("sk-1", server.url).chat("m", HI)["error"]
    assert error["code"] == "NETWORK_ERROR"
    assert "certificate" in error["message"]
    assert (server.accepted, pauses) == (1, [])  # it would be refused again


def test_a_trusted_certificate(server: TlsServer, trusted: None) -> None:
    client = LLMRouterClient("sk-1", server.url)
    server.script = reply(200, GOOD)
    assert client.chat("m", HI) == GOOD
    server.script = stream(choice({"content": "Hello"}), DONE)
    assert list(client.chat_stream("m", HI)) == ["Hello"]


def test_time_is_bounded(server: TlsServer, trusted: None) -> None:
    server.script = [silence]
    client = LLMRouterClient("sk-1", server.url, timeout=0.5, max_retries=0)
    assert client.chat("m", HI)["error"]["code"] == "NETWORK_ERROR"
    server.script = [*stream(choice({"content": "Hel"}))[:-1], silence]
    got = client.chat("m", HI, stream=True)
    assert got["error"]["code"] == "STREAM_ERROR"
    assert got["partial"]["choices"][0]["message"]["content"] == "Hel"
