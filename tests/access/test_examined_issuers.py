"""What is wrong with an issuer is told before anybody stands before it."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from llm_router.adapters.clock import SystemClock
from llm_router.adapters.oidc import ENDPOINTS, HttpIssuer
from llm_router.domain.errors import SignInRefused


class Page(BaseHTTPRequestHandler):
    """Answers what the server was told to."""

    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        status, body = self.server.pages.get(self.path, (404, b"{}"))
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = _answer

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[HTTPServer]:
    made = HTTPServer(("127.0.0.1", 0), Page)
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


def problems(
    server: HTTPServer, changes: dict[str, Any], pages: dict[str, Any] | None = None, *, named: bool = False
) -> dict[str, str]:
    issuer = described_by(server, changes, pages, named=named)
    found = asyncio.run(issuer.examine("openid email"))
    assert all(each.ok == (each.problem is None) for each in found)
    return {each.check: each.problem for each in found if each.problem is not None}


def described_by(
    server: HTTPServer, changes: dict[str, Any], pages: dict[str, Any] | None, *, named: bool
) -> HttpIssuer:
    """An issuer of the configuration; ``named``: of the API, with its host among those that need not be public."""
    base = f"http://127.0.0.1:{server.server_address[1]}"
    described = {
        "issuer": base, "authorization_endpoint": f"{base}/a", "token_endpoint": f"{base}/t", "jwks_uri": f"{base}/k",
        "id_token_signing_alg_values_supported": ["RS256"], "code_challenge_methods_supported": ["S256"],
        "scopes_supported": ["openid", "email", "profile"], **changes,
    }  # fmt: skip
    told = {
        "/.well-known/openid-configuration": (200, described),
        "/k": (200, {"keys": [{"kty": "RSA", "use": "sig"}]}),
        "/t": (400, {"error": "invalid_grant"}),
        **(pages or {}),
    }
    server.pages = {
        path: (status, body if isinstance(body, bytes) else json.dumps(body).encode())
        for path, (status, body) in told.items()
    }
    hosts = (base.removeprefix("http://"),) if named else None
    return HttpIssuer(base, "gateway", "secret", SystemClock(), hosts=hosts)


def test_one_that_does_all_that_is_needed_has_no_problem(server: HTTPServer) -> None:
    assert problems(server, {}) == {}
    assert problems(server, {"scopes_supported": None, "code_challenge_methods_supported": None}) == {}


@pytest.mark.parametrize(
    ("changes", "pages", "check", "told"),
    [
        ({"issuer": "https://x"}, {}, "issuer", "calls itself https://x"),
        ({"token_endpoint": None}, {}, "endpoints", "lacks token_endpoint"),
        ({"id_token_signing_alg_values_supported": ["HS256", "none", 1]}, {}, "signing", "EdDSA"),
        ({"code_challenge_methods_supported": ["plain"]}, {}, "pkce", "S256"),
        ({"scopes_supported": ["openid"]}, {}, "scopes", "email"),
        ({}, {"/k": (200, {"keys": []})}, "keys", "no public key"),
        ({}, {"/k": (200, {"keys": [{"kty": "oct"}, 3]})}, "keys", "no public key"),
        ({}, {"/k": (500, {})}, "keys", "status 500"),
        ({}, {"/t": (401, {"error": "invalid_client"})}, "client", "client_id"),
        ({}, {"/.well-known/openid-configuration": (200, b"<html>")}, "description", "no JSON object"),
        ({}, {"/.well-known/openid-configuration": (302, b"")}, "description", "status 302"),
    ],
)
def test_what_is_wrong_is_said(
    server: HTTPServer, changes: dict[str, Any], pages: dict[str, Any], check: str, told: str
) -> None:
    found = problems(server, changes, pages)
    assert list(found) == [check]
    assert told in found[check]


@pytest.mark.parametrize("endpoint", ["authorization_endpoint", "token_endpoint", "jwks_uri"])
@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("http://93.184.216.34/x", "is not https://"),
        ("http://idp.example.com/x", "is not https://"),
        ("https://10.1.2.3/x", "is not at a public address"),
        ("javascript:alert(1)", "cannot be used"),
        ("https://idp.example.com/a\r\nset-cookie: a=b", "cannot be used"),
    ],
)
def test_no_endpoint_leads_into_the_open_or_the_network(
    server: HTTPServer, endpoint: str, address: str, told: str
) -> None:
    found = problems(server, {endpoint: address}, named=True)
    assert f"its {endpoint} {told}" in found["endpoints"]
    issuer = described_by(server, {endpoint: address}, None, named=True)
    with pytest.raises(SignInRefused, match=f"its {endpoint} {told}"):
        asyncio.run(issuer.authorization_url())
    with pytest.raises(SignInRefused, match=f"its {endpoint} {told}"):
        asyncio.run(issuer.claims("code", "verifier", "https://gateway.example/back", "nonce"))


def test_hosts_that_are_named_may_be_plain_and_an_issuer_of_https_leads_to_https(server: HTTPServer) -> None:
    assert problems(server, {}, named=True) == {}

    def may(address: str, plain: tuple[str, ...] = ()) -> list[str]:
        issuer = HttpIssuer("https://idp.example.com", "gateway", None, SystemClock(), plain=plain)
        return issuer.wrong_endpoints(dict.fromkeys(ENDPOINTS, address))

    assert may("https://idp.example.com/x") == []
    assert len(may("http://idp.internal:8080/x")) == 3
    assert may("http://idp.internal:8080/x", ("idp.internal:8080",)) == []
