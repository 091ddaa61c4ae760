"""Experiments and feedback of a running gateway, by its API and its command line, in one process and in several."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from gateway_kit import WAIT_S, Gateway

CONFIG = """
[credits]
starting = 5
[server]
workers = {workers}
[experiments.cheap]
of = "gpt-5"
sticky = "user"
arms = [{{ name = "old" }}, {{ name = "new", model = "gpt-5-mini" }}]
"""


@pytest.fixture(scope="module", params=[1, 2], ids=["one process", "workers"])
def gateway(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    config = CONFIG.format(workers=request.param)
    gateway = Gateway(tmp_path_factory.mktemp("experiments"), "--sandbox", config=config)
    yield gateway
    assert gateway.stop() == 0


def ask(gateway: Gateway, model: str, user: str) -> Any:
    body = {
        "model": model,
        "messages": [{"role": "user", "content": "hello"}],
        "user": user,
        "max_tokens": 20,
    }
    return gateway.send("POST", "/v1/chat/completions", json.dumps(body).encode())


def say(gateway: Gateway, id_: str, **said: Any) -> Any:
    return gateway.send("POST", f"/v1/generations/{id_}/feedback", json.dumps(said).encode())


def cli(gateway: Gateway, *words: str) -> str:
    where = ["--data-dir", str(gateway.data_dir), "--config", str(gateway.config), "--sandbox"]
    done = subprocess.run(
        [sys.executable, "-m", "llm_router.cli", *words, *where], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def until(gateway: Gateway, name: str, so: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The report, as soon as it says so."""
    end_s = time.monotonic() + WAIT_S
    while True:
        report: dict[str, Any] = json.loads(cli(gateway, "experiments", "report", name, "--json"))
        if so(report):
            return report
        shown = [(arm["requests"], arm["feedback"]["ratings"]) for arm in report["arms"]]
        assert time.monotonic() < end_s, shown


def test_an_experiment_of_the_configuration_from_requests_to_its_report(gateway: Gateway) -> None:
    models: dict[str, set[str]] = {}
    for n in range(24):
        answer = ask(gateway, "gpt-5", f"user{n % 12}")
        assert answer.status == 200
        record = gateway.get(f"/v1/generations/{answer.id}").json
        assert record["experiment"] == "cheap"
        assert record["model"] == {"old": "gpt-5", "new": "gpt-5-mini"}[record["arm"]]
        assert "features" not in record
        models.setdefault(f"user{n % 12}", set()).add(record["arm"])
        said = say(gateway, answer.id, score="up" if n % 2 else "down", label="tried")
        assert (said.status, said.json["score"]) == (200, 1 if n % 2 else -1)
    assert all(len(arms) == 1 for arms in models.values())
    assert len(set.union(*models.values())) == 2
    report = until(gateway, "cheap", lambda r: sum(arm["feedback"]["ratings"] for arm in r["arms"]) == 24)
    assert sum(arm["requests"] for arm in report["arms"]) == 24
    assert [arm["models"].keys() for arm in report["arms"]] == [{"gpt-5"}, {"gpt-5-mini"}]
    table = cli(gateway, "experiments", "report", "cheap")
    assert table.startswith("cheap (ab) of gpt-5: running\n")
    assert "too early to say" in table
    assert "cheap" in cli(gateway, "experiments", "list")


def test_a_shadow_made_by_command_is_seen_by_nobody(gateway: Gateway) -> None:
    cli(gateway, "experiments", "create", "beside", "--of", "claude-haiku-4-5", "--kind", "shadow",
        "--arm", "old", "--arm", 'new={"model": "gemini-2.5-flash", "parameters": {"temperature": 0}}')  # fmt: skip

    def found(report: dict[str, Any]) -> bool:
        answer = ask(gateway, "claude-haiku-4-5", "user1")
        assert answer.headers["x-llm-router-model"] == "claude-haiku-4-5"
        return bool(report["arms"][1]["requests"])

    report = until(gateway, "beside", found)
    assert report["arms"][1]["models"].keys() == {"gemini-2.5-flash"}
    assert "is over" in cli(gateway, "experiments", "stop", "beside", "--reason", "seen")
    assert json.loads(cli(gateway, "experiments", "show", "beside", "--json"))["reason"] == "seen"
    assert "every figure agrees" in cli(gateway, "ledger", "verify")


def test_feedback_is_its_owners_and_wrong_feedback_is_told(gateway: Gateway) -> None:
    id_ = ask(gateway, "gpt-5-mini", "user1").id
    assert gateway.get(f"/v1/generations/{id_}/feedback").status == 404
    first = say(gateway, id_, score=0.5, scale="unit", comment="so so", tags=["a", "b"])
    assert first.json["score"] == 0
    again = say(gateway, id_, score=-1)
    kept = gateway.get(f"/v1/generations/{id_}/feedback").json
    assert kept == again.json
    assert (kept["score"], kept["comment"], kept["tags"]) == (-1, None, [])
    assert kept["created"] == first.json["created"]
    key = json.loads(cli(gateway, "keys", "create", "--name", "x", "--account", "other", "--json"))["key"]
    mine, gateway.key = gateway.key, key
    try:
        assert say(gateway, id_, score=1).status == 404
        assert gateway.get(f"/v1/generations/{id_}/feedback").status == 404
    finally:
        gateway.key = mine
    for said in (
        {},
        {"score": 7},
        {"score": 10**400},
        {"score": -(10**400), "scale": "unit"},
        {"stars": 5},
        {"score": 1, "tags": "x"},
    ):
        refused = say(gateway, id_, **said)
        assert refused.status == 400
        assert refused.error["code"] == "invalid_request"
    assert gateway.get(f"/v1/generations/{id_}/feedback").json == kept
