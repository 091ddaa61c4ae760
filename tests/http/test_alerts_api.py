"""Whether alerts arrive: tried by the API and the command line, with what came of it."""

from __future__ import annotations

import hmac
import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from gateway_kit import Gateway
from people_kit import first_operator

from llm_router.cli import main


class Hook(BaseHTTPRequestHandler):
    """Takes webhooks, until it is told not to."""

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers["content-length"]))
        self.server.raw.append((self.path, dict(self.headers), raw))
        self.server.got.append(json.loads(raw))
        self.send_response(self.server.status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def hook():
    server = HTTPServer(("127.0.0.1", 0), Hook)
    server.got, server.raw, server.status = [], [], 204
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("workers", [1, 2])
def test_alerts_are_tried_out(tmp_path, hook, workers, capsys):
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
        way = {
            "name": "webhook", "kind": "webhook", "source": "config", "url": f"http://127.0.0.1:{port}/hook",
            "to": None, "types": [], "enabled": True, "created": None, "waiting": 0, "last_tried": None,
            "delivered": None, "problem": None,
        }  # fmt: skip
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
        hook.status = 204
        _ways_are_made_while_it_runs(ada, gateway, hook, port)
        _and_by_the_command_line(gateway, hook, port, capsys)
    finally:
        gateway.stop()


def _ways_are_made_while_it_runs(ada, gateway: Gateway, hook, port: int) -> None:
    url = f"http://127.0.0.1:{port}/hook/a-long-part-that-opens-it?token=x"
    made = ada.post(
        "/gateway/alerts", {"name": "ops", "kind": "webhook", "url": url, "types": ["credits.low"]}
    )
    assert made.status == 201, made.json
    secret = made.json["secret"]
    assert secret.startswith("whsec_")
    assert (made.json["url"], made.json["source"]) == (f"http://127.0.0.1:{port}/hook/...?...", "stored")
    assert "secret" not in ada.get("/gateway/alerts/ops").json
    assert [way["name"] for way in ada.get("/gateway/alerts").json["data"]] == ["webhook", "ops"]

    assert ada.post("/gateway/alerts/ops/test").json["delivered"] is True
    path, headers, raw = hook.raw[-1]
    assert path.endswith("?token=x")
    assert signed_by(headers["llm-router-signature"], raw, secret)
    another = ada.patch("/gateway/alerts/ops", {"new_secret": True, "enabled": False}).json
    assert another["enabled"] is False
    ada.post("/gateway/alerts/ops/test")
    _, headers, raw = hook.raw[-1]
    assert signed_by(headers["llm-router-signature"], raw, another["secret"])
    assert not signed_by(headers["llm-router-signature"], raw, secret)

    for wrong, param in (
        ({"name": "a b", "kind": "webhook", "url": url}, "name"),
        ({"name": "webhook", "kind": "webhook", "url": url}, "name"),
        ({"name": "new", "kind": "webhook"}, "url"),
        ({"name": "new", "kind": "webhook", "url": "http://example.com/x"}, "url"),
        ({"name": "new", "kind": "webhook", "url": "https://me:pw@example.com/x"}, "url"),
        ({"name": "new", "kind": "webhook", "url": url, "secret": "short"}, "secret"),
        ({"name": "new", "kind": "webhook", "url": url, "types": ["all"]}, "types"),
        ({"name": "new", "kind": "webhook", "url": url, "to": ["a@b.cd"]}, "to"),
        ({"name": "new", "kind": "mail", "to": ["a@b.cd"]}, "kind"),
        ({"name": "new", "kind": "mail", "to": ["nobody"]}, "to"),
    ):
        refused = ada.post("/gateway/alerts", wrong)
        assert (refused.status, refused.error["param"]) == (400, param), (wrong, refused.json)
    assert (
        ada.post("/gateway/alerts", {"name": "ops", "kind": "webhook", "url": url}).error["code"] == "taken"
    )
    assert ada.patch("/gateway/alerts/webhook", {"enabled": False}).error["code"] == "configured"
    assert ada.delete("/gateway/alerts/webhook").status == 409
    local = ada.post("/gateway/alerts", {"name": "local", "kind": "webhook", "url": "https://127.0.0.1:9/x"})
    assert local.status == 201
    assert "not a public address" in ada.post("/gateway/alerts/local/test").json["problem"]
    assert gateway.command("alerts.remove", name="local") == {"name": "local", "removed": True}

    acts = ada.get("/gateway/audit?limit=50").json["data"]
    told = [act for act in acts if act["action"].startswith("alerts.") and act["object"] == "ops"]
    assert {act["action"] for act in told} >= {"alerts.add", "alerts.change"}
    changed = next(act for act in told if act["action"] == "alerts.change")
    assert (changed["before"]["enabled"], changed["after"]["enabled"]) == (True, False)
    assert not any(word in json.dumps(acts) for word in ("opens-it", "token=x", secret, another["secret"]))

    assert ada.delete("/gateway/alerts/ops").json == {"name": "ops", "removed": True}
    assert ada.get("/gateway/alerts/ops").status == 404
    assert ada.delete("/gateway/alerts/ops").status == 404


def _and_by_the_command_line(gateway: Gateway, hook, port: int, capsys) -> None:
    where = ["--data-dir", str(gateway.data_dir), "--config", str(gateway.config), "--sandbox"]

    def run(*words: str) -> str:
        assert main(["alerts", *words, *where]) == 0, capsys.readouterr().err
        return capsys.readouterr().out

    secret = run("add", "shell", "--url", f"http://127.0.0.1:{port}/shell", "--type", "credits.low").strip()
    assert "yes" in run("try", "shell")
    path, headers, raw = hook.raw[-1]
    assert (path, signed_by(headers["llm-router-signature"], raw, secret)) == ("/shell", True)
    assert run("change", "shell", "--off", "--all-types") == ""
    way = json.loads(run("show", "shell", "--json"))
    assert (way["enabled"], way["types"]) == (False, [])
    assert "/shell" in run("list")
    run("remove", "shell")
    assert main(["alerts", "show", "shell", *where]) == 1


def signed_by(header: str, body: bytes, secret: str) -> bool:
    at, _, found = header.partition(",v1=")
    text = at.removeprefix("t=").encode() + b"." + body
    return hmac.new(secret.encode(), text, "sha256").hexdigest() == found
