"""``llm-router routes test``: requests, and what was kept of some, under a changed configuration."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from gateway_kit import Gateway
from people_kit import first_operator

from llm_router.cli import main

CHAT = [{"role": "user", "content": "Hello there"}]
BODIES: list[dict[str, Any]] = [
    {"model": "gpt-6-luna", "messages": CHAT, "max_tokens": 100},
    {
        "model": "claude-haiku-4-5",
        "provider": {"only": ["anthropic"], "ignore": ["openrouter"]},
        "messages": CHAT,
        "max_tokens": 100,
    },
    {"model": "auto", "messages": CHAT},
    {"api": "messages", "body": {"model": "claude-haiku-4-5", "messages": CHAT, "max_tokens": 10}},
    {"model": "gemini-3.5-flash-lite", "contents": [{"parts": [{"text": "a"}]}]},
]
WITHOUT_ANTHROPIC = "[providers.anthropic]\nenabled = false\n"


class Place:
    """A folder with configurations and a file of requests."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self._capsys = capsys
        (folder / "old.toml").write_text("")
        (folder / "new.toml").write_text(WITHOUT_ANTHROPIC)
        self.write([json.dumps(body) for body in BODIES])

    def write(self, lines: list[str]) -> None:
        (self.folder / "requests.jsonl").write_text("\n".join(lines) + "\n")

    def run(self, *words: str, config: str = "new.toml") -> tuple[int, str, str]:
        status = main(
            ["routes", "test", str(self.folder / "requests.jsonl"), "--sandbox", "--data-dir", str(self.folder),
             "--config", str(self.folder / config), *words]
        )  # fmt: skip
        said = self._capsys.readouterr()
        return status, said.out, said.err


@pytest.fixture
def place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Place:
    return Place(tmp_path, capsys)


def test_what_would_change_is_told_and_fails(place: Place) -> None:
    status, out, _ = place.run("--against", str(place.folder / "old.toml"), "--json")
    found = json.loads(out)
    assert status == 1
    assert (found["all"], found["failing"], found["unknown"]) == (5, 1, 0)
    first, failing, _, moved, _ = found["requests"]
    assert not first["moved"]
    assert failing["after"]["error"]["code"] == "no_eligible_deployment"
    assert moved["before"]["plan"][0] == "anthropic/claude-haiku-4-5"
    assert moved["after"]["plan"][0] != "anthropic/claude-haiku-4-5"
    assert moved["moved"]
    reasons = {each["deployment"]: each["reason"] for each in moved["after"]["rejected"]}
    assert reasons["anthropic/claude-haiku-4-5"] == "provider not configured"


def test_the_table_tells_people_and_the_status_is_chosen(place: Place) -> None:
    against = ("--against", str(place.folder / "old.toml"))
    status, out, err = place.run(*against, "--fail-on", "never")
    assert status == 0
    assert "left out: provider not configured" in out
    assert "FAILS: " in out
    assert "1 fail that did not" in err
    assert place.run(*against, config="old.toml")[:2] == (0, "")
    place.write([json.dumps(BODIES[3])])
    assert place.run(*against)[0] == 0
    assert place.run(*against, "--fail-on", "moves")[0] == 1


ROW = {"asked_model": "gpt-6-luna", "operation": "chat", "dialect": "openai_chat"}
SHOWN = {"object": "explanation", "id": "gen-1", "request": {"needs": []}}
GARBAGE = {
    "of nobody": json.dumps({**ROW, "dialect": "nobody"}),
    "a list": "[]",
    "cut off": "{",
    "no text": '{"model": "x"}',
    "no model": '{"messages": []}',
    "a number for a model": '{"asked_model": 1, "dialect": "x"}',
    "bytes": "\0" * 20,
    "not a number": '{"model": "gpt-6-luna", "messages": [], "n": NaN}',
    "deep": "[" * 100_000,
    "deep inside": '{"model": "gpt-6-luna", "messages": ' + "[" * 5_000 + "]" * 5_000 + "}",
    "half a pair": '{"body": {"model": "gpt-6-luna", "messages": [{"content": "\\ud800"}]}}',
    "an explanation of nothing": '{"object": "explanation"}',
    "a request that is a number": json.dumps({**SHOWN, "request": 5}),
    "an explanation without most": json.dumps(SHOWN),
    "a deployment that is a list": json.dumps({**ROW, "deployment": [1]}),
    "a key that is a list": json.dumps({**ROW, "key": [1]}),
    "tokens of 400 digits": json.dumps({**ROW, "input_tokens": 10**400}),
    "tokens below nothing": json.dumps({**ROW, "input_tokens": -1}),
    "a cost without end": json.dumps({**ROW, "input_tokens": 1, "cost": "Infinity"}),
    "a cost of a million digits": json.dumps({**ROW, "input_tokens": 1, "cost": "1e999999"}),
    "a cost of words": json.dumps({**ROW, "input_tokens": 1, "cost": "much"}),
}


@pytest.mark.parametrize("line", GARBAGE.values(), ids=list(GARBAGE))
def test_lines_that_are_no_request_are_named(place: Place, line: str) -> None:
    place.write([json.dumps(BODIES[0]), line])
    status, out, err = place.run()
    assert (status, out) == (2, "")
    assert "line 2: " in err
    assert "Traceback" not in err


def _cli(gateway: Gateway, *words: str) -> str:
    where = ("--data-dir", str(gateway.data_dir), "--config", str(gateway.config), "--sandbox")
    command = [sys.executable, "-W", "error", "-m", "llm_router.cli", *words, *where]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return done.stdout


def test_what_was_served_is_tried_again(sandbox: Gateway, place: Place) -> None:
    ids = [
        sandbox.send("POST", "/v1/chat/completions", json.dumps(body).encode(), {}).id for body in BODIES[:3]
    ]
    shown = [json.loads(_cli(sandbox, "explain", id_, "--json")) for id_ in ids]
    place.write([json.dumps(each) for each in shown])
    status, out, _ = place.run("--json", config="old.toml")
    same = json.loads(out)
    assert status == 0
    assert (same["moved"], same["failing"], same["unknown"]) == (0, 0, 1)  # auto needs the text
    assert [each["change"] for each in same["requests"]] == [0, 0, None]
    status, out, _ = place.run("--json")
    assert status == 1
    assert json.loads(out)["requests"][1]["fails"]
    rows = [json.loads(line) for line in _cli(sandbox, "usage", "export", "--format", "jsonl").splitlines()]
    mine = [row for row in rows if row["id"] in ids[:2]]
    place.write([json.dumps(row) for row in mine])
    found = json.loads(place.run("--json", config="old.toml")[1])
    assert found["all"] == 2
    assert {each["change"] for each in found["requests"]} == {0}


def test_exported_rows_are_planned_as_they_were(sandbox: Gateway, place: Place) -> None:
    sandbox.command(
        "presets.create", name="dry", models=["gpt-6-luna", "claude-haiku-4-5"], provider={"sort": "price"}
    )
    bodies: list[dict[str, Any]] = [
        {"model": "@dry", "messages": CHAT},
        {"model": "gpt-6-luna", "provider": {"only": ["azure"]}, "messages": CHAT},
        {"model": "gpt-6-luna", "provider": {"order": ["openrouter"]}, "messages": CHAT},
        {"models": ["claude-haiku-4-5", "gpt-6-luna"], "messages": CHAT},
        {"model": "gpt-6-luna:nitro", "messages": CHAT, "session_id": "dry-1"},
        {"model": "gpt-oss-120b:floor", "messages": CHAT, "session_id": "dry-2"},
        {"model": "openai/gpt-6-luna", "provider": {"sort": "exacto"}, "messages": CHAT},
    ]  # fmt: skip
    ids = []
    for body in (*bodies, *bodies):  # the second time there is something to remember
        answer = sandbox.send("POST", "/v1/chat/completions", json.dumps(body).encode(), {})
        assert answer.status == 200, answer.body
        ids.append(answer.id)
    refused = sandbox.send("POST", "/v1/chat/completions", json.dumps(bodies[1]).encode(), {}, key="sk-wrong")
    assert refused.status == 401
    rows = [json.loads(line) for line in _cli(sandbox, "usage", "export", "--format", "jsonl").splitlines()]
    mine = [row for row in rows if row["id"] in ids]
    assert len(mine) == len(ids)
    shadow = {**mine[0], "flags": "shadow", "account": "operator.shadow"}
    place.write([json.dumps(row) for row in (*mine, shadow)])
    status, out, _ = place.run("--json", config="old.toml")
    found = json.loads(out)
    assert (status, found["all"], found["moved"], found["failing"], found["unknown"]) == (
        0,
        len(ids),
        0,
        0,
        0,
    )
    assert {each["change"] for each in found["requests"]} == {0}
    by_id = dict(zip([row["id"] for row in mine], found["requests"], strict=True))
    for id_ in ids:
        decided = json.loads(_cli(sandbox, "explain", id_, "--json")) if id_ in (ids[0], ids[3]) else None
        if decided is not None:
            assert by_id[id_]["after"]["plan"] == decided["plan"]
    place.write(
        [
            json.dumps({name: value for name, value in mine[0].items() if name != "decision"} | {"asked_model": "@dry"}),
            json.dumps({"asked_model": "", "operation": "chat", "dialect": "openai_chat", "status": 401}),
            json.dumps({"asked_model": "gpt-6-luna", "operation": "chat", "dialect": "openai_chat", "status": 402, "error_code": "insufficient_credits"}),
        ]
    )  # fmt: skip
    status, out, err = place.run(config="old.toml")
    assert (status, "3 cannot be said" in err) == (0, True)
    assert "its preset was not kept" in err


def test_rows_of_auto_are_told_where_no_prompt_decides_and_within_what_their_key_may_use(
    sandbox: Gateway, place: Place
) -> None:
    bound = sandbox.new_key("dry", providers=["openrouter"])
    several = sandbox.new_key("dry models", models=["gpt-*"])
    asked = [
        ("auto:fast", None), ("auto:floor", several), ("auto:code:floor", bound), ("gpt-6-luna", bound),
        ("auto", None), ("auto:nothing", None),
    ]  # fmt: skip
    ids = []
    for model, key in asked:
        body = json.dumps({"model": model, "messages": CHAT}).encode()
        ids.append(sandbox.send("POST", "/v1/chat/completions", body, {}, key=key).id)
    rows = [json.loads(line) for line in _cli(sandbox, "usage", "export", "--format", "jsonl").splitlines()]
    place.write([json.dumps(row) for id_ in ids for row in rows if row["id"] == id_])
    found = json.loads(place.run("--json", config="old.toml")[1])
    assert (found["all"], found["moved"], found["failing"]) == (6, 0, 0)
    *told, unknown, nothing = found["requests"]
    assert all(each["after"]["plan"] == each["before"]["plan"] for each in told)
    assert (unknown["after"], "reads the prompt" in unknown["unknown"]) == (None, True)
    assert nothing["after"]["error"]["code"] == "model_not_found"
    place.write([_cli(sandbox, "explain", ids[0], "--json").replace("\n", " ")])
    (explained,) = json.loads(place.run("--json", config="old.toml")[1])["requests"]
    assert "take the exported row" in explained["unknown"]


def test_a_change_is_rehearsed_on_what_was_asked_last(tmp_path: Path) -> None:
    pytest.importorskip("argon2")
    gateway = Gateway(tmp_path, "--sandbox", config="[routing]\n")
    try:
        ada = first_operator(gateway)
        ids = [
            gateway.send("POST", "/v1/chat/completions", json.dumps(body).encode(), {}).id
            for body in BODIES[:3]
        ]
        same = ada.post("/gateway/routes/test", {"change": "", "all": True})
        assert same.status == 200, same.json
        assert (same.json["all"], same.json["moved"], same.json["failing"], same.json["unknown"]) == (
            3,
            0,
            0,
            1,
        )
        assert [each["id"] for each in same.json["requests"]] == ids[::-1]
        assert {each["change"] for each in same.json["requests"]} == {0, None}
        assert ada.post("/gateway/routes/test", {"change": ""}).json["requests"][0]["unknown"]

        found = ada.post("/gateway/routes/test", {"change": WITHOUT_ANTHROPIC}).json
        assert (found["all"], found["failing"], found["mended"]) == (3, 1, 0)
        failing = next(each for each in found["requests"] if each["fails"])
        assert failing["before"]["plan"] == ["anthropic/claude-haiku-4-5"]
        assert failing["after"]["error"]["code"] == "no_eligible_deployment"
        assert (
            found
            == ada.post("/gateway/routes/test", {"config": WITHOUT_ANTHROPIC, "account": "default"}).json
        )
        assert (
            ada.post("/gateway/routes/test", {"change": "", "model": "gpt-6-luna", "all": True}).json["all"]
            == 1
        )
        assert ada.post("/gateway/routes/test", {"change": "", "last": 1, "all": True}).json["all"] == 1
        assert gateway.send("POST", "/v1/chat/completions", json.dumps(BODIES[1]).encode(), {}).status == 200

        for body, param, told in (
            ({}, "change", "either"),
            ({"change": "", "config": ""}, "change", "either"),
            ({"change": "a = "}, "change", "not valid TOML"),
            ({"change": "[routing]\nstratgy = 1"}, "change", "strategy"),
            ({"config": "[server]\nport = 'x'"}, "config", "server.port"),
            ({"change": "", "last": 0}, "last", "from 1 to"),
        ):
            refused = ada.post("/gateway/routes/test", body)
            assert (refused.status, refused.error["param"]) == (400, param), (body, refused.json)
            assert told in refused.error["message"]
        (tmp_path / "change.toml").write_text(WITHOUT_ANTHROPIC)
        where = ("--data-dir", str(gateway.data_dir), "--config", str(gateway.config), "--sandbox")
        command = [
            sys.executable,
            "-m",
            "llm_router.cli",
            "routes",
            "rehearse",
            str(tmp_path / "change.toml"),
        ]
        done = subprocess.run([*command, *where], capture_output=True, text=True, timeout=60)
        assert (done.returncode, "FAILS" in done.stdout) == (1, True), done.stderr
    finally:
        gateway.stop()
