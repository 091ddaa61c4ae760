"""Tokens of Google credentials: asked for once, renewed in time, never without a word on what is wrong."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

import pytest

from llm_router.adapters.google_tokens import GoogleTokens
from llm_router.domain.errors import ProviderNotConfigured, UpstreamError, UpstreamKind

pytest.importorskip("google.auth")


class TokenServer:
    """Google's token endpoint on the loopback: answers by script, remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[dict[str, list[str]]] = []
        self.answers: list[tuple[int, dict[str, Any]]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.arrived = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                outer.asked.append(parse_qs(body.decode()))
                outer.arrived.set()
                outer.gate.wait(30)
                number = min(len(outer.asked), len(outer.answers)) - 1
                status, said = outer.answers[number]
                data = json.dumps(said).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/token"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self.gate.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def server() -> Iterator[TokenServer]:
    server = TokenServer()
    yield server
    server.close()


@pytest.fixture(scope="module")
def private_key() -> str:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


@pytest.fixture
def account(server: TokenServer, private_key: str) -> str:
    return json.dumps(
        {
            "type": "service_account", "project_id": "p", "private_key_id": "k1", "private_key": private_key,
            "client_email": "router@p.iam.example", "token_uri": server.url,
        }
    )  # fmt: skip


def given(token: str, expires_in: int = 3600) -> tuple[int, dict[str, Any]]:
    return 200, {"access_token": token, "expires_in": expires_in, "token_type": "Bearer"}


def test_a_token_is_asked_for_once_and_by_a_signed_assertion(server: TokenServer, account: str) -> None:
    server.answers = [given("one")]

    async def many() -> list[str]:
        tokens = GoogleTokens()
        first = await asyncio.gather(*(tokens.token(account) for _ in range(20)))
        return [*first, await tokens.token(account)]

    assert set(asyncio.run(many())) == {"one"}
    (asked,) = server.asked
    assert asked["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]
    claims = json.loads(base64.urlsafe_b64decode(asked["assertion"][0].split(".")[1] + "=="))
    assert claims["iss"] == "router@p.iam.example"
    assert claims["scope"] == "https://www.googleapis.com/auth/cloud-platform"


def test_a_token_is_renewed_before_it_expires(server: TokenServer, account: str) -> None:
    server.answers = [given("short", 120), given("long")]

    async def twice() -> list[str]:
        tokens = GoogleTokens()
        return [await tokens.token(account), await tokens.token(account), await tokens.token(account)]

    assert asyncio.run(twice()) == ["short", "long", "long"]
    assert len(server.asked) == 2


def test_a_token_that_still_holds_outlives_a_server_that_fails(server: TokenServer, account: str) -> None:
    server.answers = [given("short", 120), (400, {"error": "invalid_grant"})]

    async def twice() -> list[str]:
        tokens = GoogleTokens()
        return [await tokens.token(account), await tokens.token(account)]

    assert asyncio.run(twice()) == ["short", "short"]


def test_refused_credentials_say_so_and_keep_their_secrets(
    server: TokenServer, account: str, private_key: str
) -> None:
    server.answers = [(400, {"error": "invalid_grant", "error_description": "Invalid JWT Signature."})]
    with pytest.raises(UpstreamError, match="invalid_grant") as raised:
        asyncio.run(GoogleTokens().token(account))
    assert raised.value.kind is UpstreamKind.AUTHENTICATION
    assert private_key.splitlines()[1] not in raised.value.message


def test_a_server_that_is_not_there(account: str, server: TokenServer) -> None:
    dead = account.replace(server.url, "http://127.0.0.1:9/token")
    with pytest.raises(UpstreamError) as raised:
        asyncio.run(GoogleTokens().token(dead))
    assert raised.value.kind is UpstreamKind.UNAVAILABLE


@pytest.mark.parametrize("credential", ['{"type": "service_account"}', '{"type": "authorized_user"}'])
def test_incomplete_credentials(credential: str) -> None:
    with pytest.raises(UpstreamError) as raised:
        asyncio.run(GoogleTokens().token(credential))
    assert raised.value.kind is UpstreamKind.AUTHENTICATION


def test_a_client_that_leaves_does_not_end_the_renewal(server: TokenServer, account: str) -> None:
    server.answers = [given("one")]
    server.gate.clear()

    async def leave() -> str:
        tokens = GoogleTokens()
        leaving = asyncio.create_task(tokens.token(account))
        waiting = asyncio.create_task(tokens.token(account))
        await asyncio.sleep(0)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        server.gate.set()
        return await waiting

    assert asyncio.run(leave()) == "one"
    assert len(server.asked) == 1


def test_the_event_loop_goes_on_while_a_token_is_waited_for(server: TokenServer, account: str) -> None:
    server.answers = [given("one")]
    server.gate.clear()

    async def both() -> str:
        waiting = asyncio.create_task(GoogleTokens().token(account))
        assert await asyncio.to_thread(server.arrived.wait, 30)  # only a loop that is free starts this
        server.gate.set()
        return await waiting

    assert asyncio.run(both()) == "one"


def test_without_the_library() -> None:
    def load(credential: str) -> Any:
        raise ProviderNotConfigured("install it")

    with pytest.raises(ProviderNotConfigured, match="install it"):
        asyncio.run(GoogleTokens(load).token("x"))


def test_expiry_is_judged_by_the_library(account: str) -> None:
    from llm_router.adapters.google_library import GoogleCredentials

    credentials = GoogleCredentials(account)
    assert not credentials.fresh
    assert not credentials.holds
    now = datetime.now(UTC).replace(tzinfo=None)
    credentials._own.token = "t"
    for left, fresh, holds in ((3600, True, True), (100, False, True), (-5, False, False)):
        credentials._own.expiry = now + timedelta(seconds=left)
        assert (credentials.fresh, credentials.holds) == (fresh, holds)
