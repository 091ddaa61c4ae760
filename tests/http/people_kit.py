"""People who use the API of accounts as a browser does."""

from __future__ import annotations

import json
import re
from typing import Any

from gateway_kit import Answer, Gateway

PASSWORD = "correct horse battery"


class Browser:
    """Keeps the cookie of its session."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.cookie = ""
        self.set_cookie = ""

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        sent = {"x-llm-router-csrf": "1", "origin": f"http://127.0.0.1:{self.gateway.port}"}
        if self.cookie:
            sent["cookie"] = self.cookie
        if body is not None:
            sent["content-type"] = "application/json"
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        sent = {name: value for name, value in sent.items() if value}
        data = None if body is None else json.dumps(body).encode()
        answer = self.gateway.send(method, f"/api/v1{path}", data, sent, key="")
        found = answer.headers.get("set-cookie")
        if found is not None:
            self.set_cookie = found
            self.cookie = found.partition(";")[0]
        return answer

    def get(self, path: str) -> Answer:
        return self.ask("GET", path)

    def post(self, path: str, body: Any = None, **headers: str) -> Answer:
        return self.ask("POST", path, {} if body is None else body, **headers)

    def patch(self, path: str, body: Any) -> Answer:
        return self.ask("PATCH", path, body)

    def delete(self, path: str) -> Answer:
        return self.ask("DELETE", path)

    def sign_in(self, email: str, password: str = PASSWORD) -> Answer:
        return self.post("/sign-in", {"email": email, "password": password})


def setup_token(gateway: Gateway) -> str:
    """The token of the link that makes the first operator."""
    return str(gateway.command("people.set_up")["path"]).partition("#")[2]


def first_operator(gateway: Gateway, email: str = "ada@example.com") -> Browser:
    browser = Browser(gateway)
    answer = browser.post(
        "/set-up", {"token": setup_token(gateway), "email": email, "name": "Ada", "password": PASSWORD}
    )
    assert answer.status == 200, answer.body
    return browser


def invited(owner: Browser, account: str, role: str, email: str) -> Browser:
    """Somebody new in an account."""
    answer = owner.post(f"/invitations?account={account}", {"email": email, "role": role})
    assert answer.status == 201, answer.body
    token = re.sub(r".*#", "", answer.json["url"])
    browser = Browser(owner.gateway)
    joined = browser.post("/join", {"token": token, "name": role.title(), "password": PASSWORD})
    assert joined.status == 200, joined.body
    return browser
