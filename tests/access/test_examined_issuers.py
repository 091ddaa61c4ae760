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
from llm_router.adapters.oidc import HttpIssuer


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
    server: HTTPServer, changes: dict[str, Any], pages: dict[str, Any] | None = None
) -> dict[str, str]:
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
    issuer = HttpIssuer(base, "gateway", "secret", SystemClock())
    found = asyncio.run(issuer.examine("openid email"))
    assert all(each.ok == (each.problem is None) for each in found)
    return {each.check: each.problem for each in found if each.problem is not None}


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
