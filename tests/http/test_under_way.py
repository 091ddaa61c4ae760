"""The requests that run are told and can be ended one by one, by one process or several; the log by command."""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from gateway_kit import Gateway, Streamed, until
from people_kit import Browser, first_operator, invited
from scripted_upstream import ScriptedUpstream, config_for, frames, good, head, stalls

from llm_router.cli.output import text_of
from llm_router.cli.top import figures_of, look
from llm_router.domain.errors import RouterError

O = "openai_chat"  # noqa: E741
TIMEOUTS = {"connect_s": 30, "first_byte_s": 60, "idle_s": 60, "total_s": 120}


@pytest.fixture(scope="module", params=[1, 2], ids=["one process", "two workers"])
def gateway(
    request: pytest.FixtureRequest, scripted: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    config = config_for(scripted, TIMEOUTS).replace("[server]\n", f"[server]\nworkers = {request.param}\n", 1)
    found = Gateway(tmp_path_factory.mktemp("under-way"), config=config)
    yield found
    assert found.stop() == 0


def words(gateway: Gateway, *said: str) -> list[str]:
    place = ["--config", str(gateway.config), "--data-dir", str(gateway.data_dir)]
    command = [sys.executable, "-m", "llm_router.cli", *said, *place]
    done = subprocess.run(command, capture_output=True, check=False, timeout=60, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("text", ["hi", [{"type": "text", "text": "hi"}]], ids=["plain", "parts"])
def test_a_request_that_runs_is_told_and_can_be_ended(
    gateway: Gateway, upstream: ScriptedUpstream, text: Any
) -> None:
    before = gateway.credits()
    upstream.play("o1", stalls(head(200), b"".join(frames(O, "Hello there")[:2])))
    answers: list[Streamed] = []
    thread = threading.Thread(target=lambda: answers.append(gateway.stream("mo", text)))
    thread.start()

    def rows() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = gateway.command("requests.list")["requests"]
        return [row for row in found if row["provider"] is not None]

    until(lambda: len(rows()) == 1)
    row = rows()[0]
    assert (row["account"], row["asked_model"], row["provider"], row["stream"]) == (
        "default", "mo", "o1", True,
    )  # fmt: skip
    until(lambda: rows()[0]["output_tokens"] == 3)  # "Hello there" is eleven characters
    (figure,) = figures_of([], [text_of(each) for each in rows()])
    assert figure.estimated
    assert figure.tokens_per_s > 0
    assert 0 < figure.dollars_per_min <= Decimal(text_of(rows()[0])["cost"])
    assert gateway.command("requests.list", account="another")["requests"] == []
    assert gateway.command("requests.end", id=row["id"]) == {"id": row["id"], "ended": True}
    thread.join(60)
    told = json.dumps(answers[0].failure or answers[0].error)
    assert "ended_by_operator" in told
    with pytest.raises(RouterError, match="runs"):
        gateway.command("requests.end", id=row["id"])
    until(lambda: gateway.credits() == before)
    assert gateway.command("requests.list")["requests"] == []


def test_an_account_sees_what_runs_of_its_own_and_its_owner_can_end_it(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    pytest.importorskip("argon2")
    ada = first_operator(gateway)
    assert ada.post("/accounts", {"id": "other", "title": "Other"}).status == 201
    developer = invited(ada, "default", "developer", "dev@example.com")
    stranger = invited(ada, "other", "owner", "eve@example.com")
    upstream.play("o1", stalls(head(200), frames(O, "Hello there")[0]))
    answers: list[Streamed] = []
    thread = threading.Thread(target=lambda: answers.append(gateway.stream("mo", "hi")))
    thread.start()

    def rows(browser: Browser) -> list[dict[str, Any]]:
        answer = browser.get("/requests")
        assert answer.status == 200, answer.body
        return [row for row in answer.json["data"] if row["provider"] is not None]

    until(lambda: len(rows(developer)) == 1)
    id_ = rows(developer)[0]["id"]
    assert rows(stranger) == []
    assert stranger.delete(f"/requests/{id_}").status == 404
    assert stranger.delete(f"/requests/{id_}?account=default").status == 404
    assert developer.delete(f"/requests/{id_}").status == 403
    assert len(rows(developer)) == 1
    ended = ada.delete(f"/requests/{id_}?account=default")
    assert (ended.status, ended.json) == (200, {"id": id_, "ended": True})
    thread.join(60)
    assert "ended_by_operator" in json.dumps(answers[0].failure or answers[0].error)
    assert ada.delete(f"/requests/{id_}?account=default").status == 404
    acts = ada.get("/audit?account=default&limit=20").json["data"]
    assert any(id_ in json.dumps(act) for act in acts)


def test_the_log_and_figures_of_the_last_minute_by_command(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    upstream.play("o1", good(O, False))
    answer = gateway.chat("mo")
    rows = [json.loads(line) for line in words(gateway, "logs", "--json", "--outcome", "succeeded")]
    assert rows[0]["id"] == answer.id
    assert rows[0]["output_tokens"] == 5
    assert answer.id in "\n".join(words(gateway, "logs", "--model", rows[0]["model"]))
    arguments = argparse.Namespace(
        account="default", config=gateway.config, data_dir=gateway.data_dir, command="top"
    )
    recent, running = asyncio.run(look(arguments))
    assert running == []
    assert len(recent) <= 1  # none if this machine took a minute from there to here
    figures = figures_of(rows, [])
    assert [(figure.model, figure.requests, figure.errors) for figure in figures] == [
        (rows[0]["model"], len(rows), 0)
    ]
    assert figures[0].dollars_per_min == sum(Decimal(str(row["cost"])) for row in rows)
