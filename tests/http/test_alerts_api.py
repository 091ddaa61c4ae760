"""Whether alerts arrive: tried by the API and the command line, with what came of it."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from gateway_kit import Gateway
from people_kit import first_operator


class Hook(BaseHTTPRequestHandler):
    """Takes webhooks, until it is told not to."""

    def do_POST(self) -> None:
        self.server.got.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
        self.send_response(self.server.status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def hook():
    server = HTTPServer(("127.0.0.1", 0), Hook)
    server.got, server.status = [], 204
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("workers", [1, 2])
def test_alerts_are_tried_out(tmp_path, hook, workers):
    pytest.importorskip("argon2")
    port = hook.server_address[1]
    gateway = Gateway(
        tmp_path,
        "--sandbox",
        config=f'[server]\nworkers = {workers}\n[alerts]\nwebhook_url = "http://127.0.0.1:{port}/hook"\n'
        f'webhook_secret = "{"s" * 32}"\nallow_hosts = ["127.0.0.1:{port}"]\n',
    )
    try:
        ada = first_operator(gateway)
        way = {"name": "webhook", "waiting": 0, "last_tried": None, "delivered": None, "problem": None}
        assert ada.get("/gateway/alerts").json["data"] == [way]
        assert ada.post("/gateway/alerts/webhook/test").json == {
            "name": "webhook", "delivered": True, "problem": None,
        }  # fmt: skip
        assert [each["type"] for each in hook.got] == ["test"]
        hook.status = 500
        assert ada.post("/gateway/alerts/webhook/test").json["problem"] == "answered with status 500"
        (row,) = ada.get("/gateway/alerts").json["data"]
        assert (row["delivered"], row["problem"]) == (False, "answered with status 500")
        assert row["last_tried"] is not None
        missing = ada.post("/gateway/alerts/mail/test")
        assert (missing.status, missing.error["param"]) == (404, "name")
        assert gateway.command("alerts.list")["alerts"][0]["problem"] == "answered with status 500"
    finally:
        gateway.stop()
