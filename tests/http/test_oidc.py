"""Signing in at an issuer: a mock of one in a process of its own, and a browser's steps."""

from __future__ import annotations

import http.client
import importlib.util
import io
import json
import subprocess
import sys
from urllib.parse import parse_qs, unquote, urlencode, urlsplit

import pytest
from gateway_kit import Gateway
from people_kit import Browser, first_operator

from llm_router.cli import main

ISSUER = """
import json, sys, warnings
warnings.simplefilter("ignore")
import oidc_provider_mock as mock
users = [mock.User(sub=sub, claims=claims) for sub, claims in json.loads(sys.argv[1]).items()]
with mock.run_server_in_thread(0, require_nonce=True, user_claims=users) as server:
    print(server.server_port, flush=True)
    sys.stdin.read()
"""

USERS = """{
"dev": {"email": "Dev@Example.com", "email_verified": true, "name": "Dev", "groups": ["eng", "all"]},
"boss": {"email": "boss@example.com", "email_verified": true, "groups": ["bosses"]},
"ada": {"email": "ada@example.com", "email_verified": true, "groups": []},
"liar": {"email": "ada@example.com", "email_verified": false, "groups": ["bosses"]},
"stranger": {"email": "stranger@example.com", "email_verified": true, "groups": ["others"]}
}"""


@pytest.fixture(scope="module")
def issuer():
    if importlib.util.find_spec("oidc_provider_mock") is None:
        pytest.skip("oidc-provider-mock is not installed")
    process = subprocess.Popen(
        [sys.executable, "-c", ISSUER, USERS],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    with process:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        process.stdin.close()
        process.wait(30)


@pytest.fixture(scope="module")
def gateway(issuer, tmp_path_factory):
    pytest.importorskip("argon2")
    config = f"""
[oidc]
issuer = "{issuer}"
client_id = "gateway"
client_secret = "env:OIDC_SECRET"
name = "Mock"
roles = {{ eng = "developer" }}
operators = ["bosses"]
"""
    running = Gateway(
        tmp_path_factory.mktemp("oidc"),
        "--sandbox",
        config=config,
        environ={"OIDC_SECRET": "a-secret-of-theirs"},
    )
    first_operator(running)
    yield running
    running.stop()


def at_issuer(url: str, sub: str) -> str:
    """Sign in there; where it sends the browser."""
    place = urlsplit(url)
    connection = http.client.HTTPConnection(place.hostname, place.port, timeout=30)
    connection.request(
        "POST", f"{place.path}?{place.query}", urlencode({"sub": sub}), {"content-type": "application/x-www-form-urlencoded"}
    )  # fmt: skip
    reply = connection.getresponse()
    reply.read()
    connection.close()
    assert reply.status == 302, reply.status
    return reply.getheader("location")


def cookies_of(gateway, path, cookie=""):
    """The answer to a GET, and the cookies that it sets."""
    connection = gateway.connect()
    connection.request("GET", path, headers={"cookie": cookie} if cookie else {})
    reply = connection.getresponse()
    body = reply.read()
    found = [value.partition(";")[0] for name, value in reply.getheaders() if name.lower() == "set-cookie"]
    connection.close()
    return reply.status, reply.getheader("location"), found, body


def sign_in(gateway, sub, back="/keys"):
    status, url, cookies, body = cookies_of(gateway, f"/api/v1/sign-in/oidc?back={back}")
    assert status == 302, body
    query = parse_qs(urlsplit(url).query)
    assert query["code_challenge_method"] == ["S256"]
    came = urlsplit(at_issuer(url, sub))
    return (
        cookies_of(gateway, f"{came.path}?{came.query}", cookies[0]),
        f"{came.path}?{came.query}",
        cookies[0],
    )


def me(gateway, cookies):
    browser = Browser(gateway)
    browser.cookie = next(c for c in cookies if not c.split("=")[0].endswith("_state"))
    return browser.get("/me").json


def test_groups_become_roles(gateway):
    assert Browser(gateway).get("/sign-in").json["oidc"] == "Mock"
    (status, location, cookies, body), _, _ = sign_in(gateway, "dev")
    assert (status, location) == (302, "/keys"), body
    told = me(gateway, cookies)
    assert (told["email"], told["accounts"], told["operator"]) == (
        "dev@example.com",
        {"default": "developer"},
        False,
    )
    (_, _, cookies, _), _, _ = sign_in(gateway, "boss")
    assert me(gateway, cookies)["operator"] is True
    (_, _, cookies, _), _, _ = sign_in(gateway, "dev")
    assert me(gateway, cookies)["id"] == told["id"]


def test_who_is_known_by_a_verified_address_stays_who_they_are(gateway):
    (_, _, cookies, body), _, _ = sign_in(gateway, "ada")
    told = me(gateway, cookies)
    assert (told["email"], told["accounts"]) == ("ada@example.com", {"default": "owner"}), body
    (status, _, _, body), _, _ = sign_in(gateway, "liar")
    assert status == 403
    assert b"not verified" in body


def test_who_is_in_no_group_is_not_let_in(gateway):
    (status, _, cookies, body), _, _ = sign_in(gateway, "stranger")
    assert (status, cookies) == (403, [])
    assert b"groups" in body


def test_a_person_is_led_back_with_what_went_wrong(gateway):
    _, url, cookies, _ = cookies_of(gateway, "/api/v1/sign-in/oidc")
    came = urlsplit(at_issuer(url, "stranger"))
    connection = gateway.connect()
    headers = {"cookie": cookies[0], "accept": "text/html,*/*"}
    connection.request("GET", f"{came.path}?{came.query}", headers=headers)
    reply = connection.getresponse()
    reply.read()
    told = [value for name, value in reply.getheaders() if name.lower() == "set-cookie"]
    connection.close()
    assert (reply.status, reply.getheader("location")) == (302, "/sign-in")
    assert any(each.startswith("llm_router_session_state=;") for each in told)
    trouble = next(each for each in told if each.startswith("llm_router_trouble="))
    assert "groups" in unquote(trouble)
    assert "Path=/sign-in" in trouble


def test_a_sign_in_is_finished_once_in_the_browser_that_began_it(gateway):
    (status, _, _, _), path, cookie = sign_in(gateway, "dev")
    assert status == 302
    assert cookies_of(gateway, path, cookie)[0] == 401  # again
    begun = cookies_of(gateway, "/api/v1/sign-in/oidc")
    came = urlsplit(at_issuer(begun[1], "dev"))
    path = f"{came.path}?{came.query}"
    assert cookies_of(gateway, path)[0] == 401  # another browser
    assert cookies_of(gateway, path, cookie)[0] == 401
    assert cookies_of(gateway, path, begun[2][0])[0] == 302


@pytest.mark.parametrize("back", ["//evil.example", "https://evil.example", "/%5Cevil.example"])
def test_nobody_is_led_elsewhere(gateway, back):
    (status, location, _, _), _, _ = sign_in(gateway, "dev", back)
    assert (status, location) == (302, "/")


def operator_of(gateway):
    browser = Browser(gateway)
    assert browser.sign_in("ada@example.com").status == 200
    return browser


def test_what_the_configuration_says_is_shown_and_can_be_tested(gateway, issuer):
    ada = operator_of(gateway)
    shown = ada.get("/gateway/sso").json
    assert (shown["source"], shown["kept"], shown["issuer"], shown["client_secret_set"]) == (
        "config", False, issuer, True,
    )  # fmt: skip
    assert shown["redirect_uri"] == f"http://127.0.0.1:{gateway.port}/api/v1/sign-in/oidc/callback"
    assert "a-secret-of-theirs" not in str(shown)
    refused = ada.ask("PUT", "/gateway/sso", {"issuer": issuer, "client_id": "x"})
    assert (refused.status, refused.error["code"]) == (409, "configured")
    tested = ada.post("/gateway/sso/test").json
    assert [(each["check"], each["problem"]) for each in tested["checks"] if not each["ok"]] == []
    assert {each["check"] for each in tested["checks"]} >= {
        "description",
        "issuer",
        "endpoints",
        "keys",
        "client",
    }
    tried = ada.post("/gateway/sso/test", {"issuer": f"{issuer}/other"}).json
    assert "is not https://" in tried["checks"][0]["problem"]


def test_an_issuer_is_set_while_the_gateway_runs(issuer, tmp_path, capsys, monkeypatch):
    pytest.importorskip("argon2")
    place = urlsplit(issuer).netloc
    config = f'[server]\nworkers = 2\n[oidc]\nallow_hosts = ["{place}"]\n'
    running = Gateway(tmp_path, "--sandbox", config=config)
    try:
        ada = first_operator(running)
        assert ada.get("/gateway/sso").json["source"] is None
        assert Browser(running).get("/sign-in").json["oidc"] is None
        assert cookies_of(running, "/api/v1/sign-in/oidc")[0] == 404
        assert ada.post("/gateway/sso/test").status == 404
        _what_cannot_be_set(ada, issuer)

        wanted = {
            "issuer": issuer, "client_id": "gateway", "client_secret": "their-secret", "name": "Mock",
            "roles": {"eng": "developer"}, "domains": ["Example.com"],
        }  # fmt: skip
        shown = ada.ask("PUT", "/gateway/sso", wanted).json
        assert (shown["source"], shown["client_secret_set"], shown["domains"]) == (
            "stored",
            True,
            ["example.com"],
        )
        for _ in range(4):  # whichever worker answers
            assert Browser(running).get("/sign-in").json["oidc"] == "Mock"
        tested = ada.post("/gateway/sso/test").json
        assert tested["ok"], tested
        (status, location, cookies, body), _, _ = sign_in(running, "dev")
        assert (status, location) == (302, "/keys"), body
        assert me(running, cookies)["accounts"] == {"default": "developer"}

        del wanted["client_secret"]
        kept = ada.ask("PUT", "/gateway/sso", {**wanted, "domains": ["elsewhere.org"]}).json
        assert kept["client_secret_set"] is True  # of the same client
        (status, _, _, body), _, _ = sign_in(running, "dev")
        assert status == 403
        assert b"domain" in body
        assert (
            ada.ask("PUT", "/gateway/sso", {**wanted, "client_id": "another"}).json["client_secret_set"]
            is False
        )

        acts = ada.get("/gateway/audit?limit=100").json["data"]
        changed = [act for act in acts if act["action"] == "sso.set"]
        assert (changed[0]["before"]["client_id"], changed[0]["after"]["client_id"]) == ("gateway", "another")
        assert "their-secret" not in str(acts)
        assert running.command("sso.remove") == {"id": "sso", "removed": True}
        assert Browser(running).get("/sign-in").json["oidc"] is None
        assert ada.delete("/gateway/sso").status == 404
        _and_by_the_command_line(running, issuer, capsys, monkeypatch)
    finally:
        running.stop()


def _and_by_the_command_line(running, issuer, capsys, monkeypatch):
    where = ["--data-dir", str(running.data_dir), "--config", str(running.config), "--sandbox"]
    monkeypatch.setattr(sys, "stdin", io.StringIO("a-secret\n"))
    words = ["sso", "set", issuer, "gateway", "--secret", "--role", "eng=viewer", "--domain", "example.com"]
    assert main([*words, *where]) == 0
    assert main(["sso", "test", *where]) == 0
    capsys.readouterr()
    assert main(["sso", "show", "--json", *where]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["roles"], shown["domains"]) == ({"eng": "viewer"}, ["example.com"])
    assert shown["client_secret_set"] is True
    assert main(["sso", "test", "--issuer", f"{issuer}/nobody", *where]) == 1
    assert main(["sso", "remove", *where]) == 0


def _what_cannot_be_set(ada, issuer):
    for change, param in (
        ({"issuer": "http://example.com"}, "issuer"),
        ({"issuer": "https://a:b@example.com"}, "issuer"),
        ({"issuer": "https://example.com/?a=b"}, "issuer"),
        ({"client_id": ""}, "client_id"),
        ({"client_secret": "two words"}, "client_secret"),
        ({"scopes": "email"}, "scopes"),
        ({"account": "no account"}, "account"),
        ({"domains": ["nowhere"]}, "domains"),
        ({"operators": [""]}, "operators"),
    ):
        answer = ada.ask("PUT", "/gateway/sso", {"issuer": issuer, "client_id": "x", **change})
        assert (answer.status, answer.error["param"]) == (400, param), (change, answer.json)
    assert (
        ada.ask("PUT", "/gateway/sso", {"issuer": issuer, "client_id": "x", "roles": {"g": "king"}}).status
        == 400
    )
    tried = ada.post("/gateway/sso/test", {"issuer": "https://127.0.0.1:9"}).json
    assert (tried["ok"], [each["check"] for each in tried["checks"]]) == (False, ["description"])
    assert "not a public address" in tried["checks"][0]["problem"]
    tried = ada.post("/gateway/sso/test", {"issuer": "https://localhost:9"}).json
    assert "not a public address" in tried["checks"][0]["problem"]
    tried = ada.post("/gateway/sso/test", {"issuer": issuer.replace("127.0.0.1", "localhost")}).json
    assert "is not https://" in tried["checks"][0]["problem"]
