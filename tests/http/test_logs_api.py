"""The log, sums, statements and the live tail over a real gateway, with one process and with two workers."""

from __future__ import annotations

import contextlib
import csv
import json
import socket
import threading
from decimal import Decimal
from importlib.util import find_spec

import pytest
from gateway_kit import WAIT_S, Gateway, until
from people_kit import first_operator, invited

MODELS = ("gpt-5-mini", "claude-haiku-4-5")


@pytest.fixture(scope="module", params=[1, 2], ids=["one process", "two workers"])
def gateway(request, tmp_path_factory):
    pytest.importorskip("argon2")
    running = Gateway(
        tmp_path_factory.mktemp("logs"), "--sandbox", config=f"[server]\nworkers = {request.param}\n"
    )
    yield running
    running.stop()


@pytest.fixture(scope="module")
def ada(gateway):
    return first_operator(gateway)


@pytest.fixture(scope="module")
def used(gateway, ada):
    """What was asked for in the account, the newest first: (id, model)."""
    gateway.command("credits.add", account="acme", amount="5", ref="acme")
    key = gateway.new_key("k", account="acme")
    answers = [(gateway.chat(MODELS[at % 2], key=key), MODELS[at % 2]) for at in range(5)]
    assert [answer.status for answer, _ in answers] == [200] * 5
    refused = gateway.chat("no-such-model", key=key)
    assert refused.status == 404
    return [(answer.headers["x-generation-id"], model) for answer, model in reversed(answers)]


def ids(answer):
    assert answer.status == 200, answer.body
    return [row["id"] for row in answer.json["data"]]


def test_the_log_is_read_by_pages(ada, used):
    answer = ada.get("/exchanges?account=acme&outcome=succeeded&limit=2")
    found = ids(answer)
    while answer.json["has_more"]:
        answer = ada.get(f"/exchanges?account=acme&outcome=succeeded&limit=2&after={answer.json['next']}")
        found += ids(answer)
    assert found == [id_ for id_, _ in used]
    only = ids(ada.get(f"/exchanges?account=acme&outcome=succeeded&model={MODELS[1]}"))
    assert only == [id_ for id_, model in used if model == MODELS[1]]
    assert ids(ada.get("/exchanges?account=acme&provider=nobody")) == []
    assert ids(ada.get("/exchanges?account=acme&to=2020-01-01")) == []
    for query in ("after=x", "outcome=x", "from=x", "limit=0", f"key={'k' * 300}", "after=12345"):
        assert ada.get(f"/exchanges?account=acme&{query}").status == 400, query


def test_one_exchange_with_all_that_is_known(ada, used):
    id_, model = used[0]
    shown = ada.get(f"/exchanges/{id_}?account=acme").json
    assert (shown["id"], shown["model"], shown["status"], shown["error"]) == (id_, model, 200, None)
    assert shown["cost"] == shown["explanation"]["settlement"]["cost"] > 0
    assert [each["outcome"] for each in shown["explanation"]["attempts"]] == ["delivered"]
    receipt = ada.get(f"/exchanges/{id_}/receipt?account=acme").json
    assert (receipt["object"], receipt["id"]) == ("receipt", f"use:{id_}")
    assert ada.get(f"/exchanges/{id_}?account=default").status == 404
    assert ada.get("/exchanges/gen-none?account=acme").status == 404


def test_an_exchange_is_found_by_its_id_in_all_accounts_of_who_asks(gateway, ada, used):
    id_, _ = used[0]
    developer = invited(ada, "acme", "developer", "both@example.com")
    answer = ada.post("/invitations?account=default", {"email": "both@example.com", "role": "developer"})
    token = answer.json["url"].partition("#")[2]
    assert developer.post("/me/invitations", {"token": token}).status in (200, 201)
    assert developer.get("/exchanges").status == 400
    assert developer.get(f"/exchanges/{id_}").json["id"] == id_
    assert developer.get(f"/exchanges/{id_}/receipt").json["id"] == f"use:{id_}"
    assert developer.get(f"/exchanges/{id_}/content").status == 404  # nothing is kept
    assert developer.get("/exchanges/gen-none").status == 404
    assert developer.get(f"/exchanges/{id_}?account=default").status == 404


def test_sums_and_statements_come_to_what_was_charged(ada, used):
    costs = [Decimal(str(row["cost"])) for row in ada.get("/exchanges?account=acme").json["data"]]
    report = ada.get("/usage?account=acme&by=model,day").json
    assert Decimal(str(report["total"]["cost"])) == sum(costs)
    by_model = {row["model"]: row["requests"] for row in report["data"]}
    assert by_model.get(MODELS[0]) == 3
    assert by_model.get(MODELS[1]) == 2
    assert "operator_cost" not in report["total"]
    only = ada.get(f"/usage?account=acme&by=hour&model={MODELS[0]}").json
    assert only["total"]["requests"] == 3
    assert ada.get("/usage?account=acme&session=s").status == 400
    whole = ada.get("/gateway/usage?by=account").json
    assert {row["account"] for row in whole["data"]} >= {"acme"}
    assert "operator_cost" in whole["total"]
    listed = ada.get("/statements?account=acme").json
    assert set(listed["missing_formats"]) == (set() if find_spec("fpdf") else {"pdf"})
    months = listed["data"]
    assert Decimal(months[0]["used"]) == sum(costs)
    month = ada.get(f"/statements/{months[0]['month']}?account=acme").json
    assert Decimal(month["closing"]) == Decimal(months[0]["closing"]) == 5 - sum(costs)


def test_tags_are_what_usage_is_told_by(ada, gateway, used):
    key = gateway.new_key("tagged", account="tagged")
    gateway.command("credits.add", account="tagged", amount="5", ref="tagged")
    answers = [
        gateway.chat(MODELS[0], key=key, headers={name: tags} if name else {})
        for name, tags in (
            ("x-llm-router-tags", "shop, batch"),
            ("x-litellm-tags", "shop"),
            ("", ""),
            ("x-llm-router-tags", "none of that"),
        )
    ]
    assert [answer.status for answer in answers] == [200, 200, 200, 400]
    assert answers[3].json["error"]["param"] == "x-llm-router-tags"
    report = ada.get("/usage?account=tagged&by=tag").json
    rows = {row["tag"]: row["requests"] for row in report["data"]}
    assert (rows["shop"], rows["batch"]) == (2, 1)
    costs = {row["tag"]: Decimal(str(row["cost"])) for row in report["data"]}
    assert Decimal(str(report["total"]["cost"])) == costs["shop"] + costs[None]
    shown = ada.get("/exchanges?account=tagged&tag=batch").json["data"]
    assert [(row["id"], row["tags"]) for row in shown] == [
        (answers[0].headers["x-generation-id"], ["batch", "shop"])
    ]
    untagged = ada.get("/usage?account=tagged&by=tag,model&tag=").json
    assert {row["tag"] for row in untagged["data"]} == {None}
    command = gateway.command("usage.show", by=["tag"], account="tagged")
    assert {row["tag"]: row["requests"] for row in command["data"]} == rows
    lines = ada.get("/usage/export?account=tagged&format=jsonl").body.decode().splitlines()
    assert {json.loads(line)["tags"] for line in lines} == {"batch shop", "shop", ""}


def test_the_export_has_every_exchange(ada, used):
    answer = ada.get("/usage/export?account=acme&format=csv")
    rows = list(csv.DictReader(answer.body.decode().splitlines()))
    assert {id_ for id_, _ in used} <= {row["id"] for row in rows}
    assert answer.headers["content-disposition"] == 'attachment; filename="usage.csv"'
    lines = ada.get("/usage/export?account=acme&format=jsonl").body.decode().splitlines()
    assert len(lines) == len(rows)
    assert ada.get("/usage/export?account=acme&format=xml").status == 400


def test_health_tells_what_was_called(ada, used):
    answer = ada.get("/health").json
    called = {row["model"]: row for row in answer["data"] if row["called"]}
    assert set(MODELS) <= set(called)
    assert sum(row["calls"] for row in answer["data"]) >= 5
    assert all(row["available"] for row in called.values())


def test_roles_see_what_is_theirs(ada, used):
    viewer = invited(ada, "acme", "viewer", "viewer@example.com")
    developer = invited(ada, "acme", "developer", "developer@example.com")
    assert viewer.get("/usage").status == 200
    assert viewer.get("/exchanges").status == 403
    assert viewer.get("/exchanges/live").status == 403
    assert developer.get("/exchanges").status == 200
    assert developer.get("/exchanges?account=default").status == 404
    assert developer.get("/health").status == 403
    assert developer.get("/gateway/usage").status == 403


class Watcher:
    """Reads the live tail of an account. Of the chunks that it comes in, each holds whole lines."""

    def __init__(self, browser, query, key=None):
        self._socket = socket.create_connection(("127.0.0.1", browser.gateway.port), WAIT_S)
        who = f"cookie: {browser.cookie}" if key is None else f"authorization: Bearer {key}"
        head = f"GET /api/v1/exchanges/live?{query} HTTP/1.1\r\nhost: x\r\n{who}\r\n\r\n"
        self._socket.sendall(head.encode())
        self._lines = self._socket.makefile("rb")
        assert self._lines.readline().startswith(b"HTTP/1.1 200")
        while self._lines.readline() != b": watching\n":
            pass
        self.rows = []
        self.ended = False
        self._left = False
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self):
        try:
            self._follow()
        except ConnectionResetError:
            if not self._left:  # else the gateway was just sending when the watcher went
                raise

    def _follow(self):
        event = b""
        for line in self._lines:
            if line.startswith(b"event: "):
                event = line[7:].strip()
                self.ended = self.ended or event == b"end"
            elif line.startswith(b"data: ") and event == b"exchange":
                self.rows.append(json.loads(line[6:]))

    def join(self):
        """Wait until the gateway has ended it."""
        self._thread.join(WAIT_S)

    def leave(self):
        self._left = True
        with contextlib.suppress(OSError):  # the gateway may have closed it
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(WAIT_S)
        self._lines.close()
        self._socket.close()


def test_the_live_tail_shows_what_ends(gateway, ada):
    gateway.command("credits.add", account="live", amount="5", ref="live")
    key = gateway.new_key("k", account="live")
    other = gateway.new_key("k")
    every, one = Watcher(ada, "account=live"), Watcher(ada, f"account=live&model={MODELS[1]}")

    def both_saw():
        for model in MODELS:
            assert gateway.chat(model, key=key).status == 200
            assert gateway.chat(model, key=other).status == 200
        return len(every.rows) >= 4 and len(one.rows) >= 2

    until(both_saw)
    assert {row["model"] for row in every.rows} == set(MODELS)
    assert {row["model"] for row in one.rows} == {MODELS[1]}
    assert all(row["cost"] > 0 for row in every.rows)
    every.leave()
    one.leave()
    assert gateway.chat(MODELS[0], key=key).status == 200


def test_the_tail_ends_when_its_reader_may_read_no_more(gateway, ada):
    gateway.command("credits.add", account="gone", amount="5", ref="gone")
    asks = gateway.new_key("asks", account="gone")
    people = {
        name: invited(ada, "gone", "developer", f"{name}@gone.example")
        for name in ("removed", "disabled", "left")
    }
    ids_of = {name: browser.get("/me").json["id"] for name, browser in people.items()}
    made = ada.post("/keys?account=gone", {"name": "reads"}).json
    stays = Watcher(ada, "account=gone")
    gone = [Watcher(browser, "account=gone") for browser in people.values()]
    gone.append(Watcher(ada, "", key=made["key"]))
    assert ada.delete(f"/members/{ids_of['removed']}?account=gone").status == 200
    assert ada.patch(f"/gateway/people/{ids_of['disabled']}", {"disabled": True}).status == 200
    assert people["left"].post("/sign-out").status == 200
    assert ada.delete(f"/keys/{made['data']['hash']}").status == 200
    assert gateway.chat(MODELS[0], key=asks).status == 200
    until(lambda: stays.rows and all(watcher.ended for watcher in gone))
    assert not any(watcher.rows for watcher in gone)
    for watcher in gone:
        watcher.leave()
    assert not stays.ended
    stays.leave()


def test_the_tail_ends_when_the_gateway_stops(tmp_path):
    pytest.importorskip("argon2")
    running = Gateway(tmp_path, "--sandbox")
    try:
        watcher = Watcher(first_operator(running), "account=default")
    finally:
        running.stop()
    watcher.join()
    watcher.leave()
    assert watcher.ended


def test_a_statement_is_a_file_to_keep(ada, used):
    month = ada.get("/statements?account=acme").json["data"][0]["month"]
    for format_, begins, kind in (
        ("html", b"<!doctype html>", "text/html"),
        ("csv", b"", "text/csv"),
        ("json", b"{", "application/json"),
    ):
        answer = ada.get(f"/statements/{month}/file?account=acme&format={format_}")
        assert answer.status == 200, answer.body
        assert answer.body.lower().startswith(begins)
        assert answer.headers["content-type"].startswith(kind)
        assert answer.headers["content-disposition"] == f'attachment; filename="acme-{month}.{format_}"'
    assert ada.get(f"/statements/{month}/file?account=acme&format=doc").error["param"] == "format"
    assert ada.get("/statements/never/file?account=acme&format=csv").status == 400
    pytest.importorskip("fpdf", reason="fpdf2 is not installed")
    assert ada.get(f"/statements/{month}/file?account=acme").body.startswith(b"%PDF-")


@pytest.mark.parametrize(
    ("field", "where"),
    [
        ("model", "body"),
        ("models", "body"),
        ("preset", "body"),
        ("session_id", "body"),
        ("x-llm-router-tags", "head"),
        ("x-session-id", "head"),
        ("session_id", "head"),
    ],
)
def test_a_key_in_the_wrong_field_is_refused_and_not_kept(ada, gateway, field, where):
    key = gateway.new_key(f"misplaced {field} {where}", account="misplaced")
    body: dict[str, object] = {}
    if where == "body" and field != "model":
        body = {field: ["not-there", key] if field == "models" else key}
    model = key if field == "model" else MODELS[0]
    answer = gateway.chat(model, key=key, headers={field: key} if where == "head" else {}, **body)
    assert (answer.status, answer.json["error"]["param"]) == (400, field)
    assert "looks like a key; it was not kept" in answer.json["error"]["message"]
    shown = ada.get("/exchanges?account=misplaced")
    assert answer.id in [row["id"] for row in shown.json["data"]]
    for told in (answer.body, shown.body, ada.get(f"/exchanges/{answer.id}").body):
        assert key.encode() not in told
    assert not [
        each for each in gateway.data_dir.iterdir() if each.is_file() and key.encode() in each.read_bytes()
    ]
