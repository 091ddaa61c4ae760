"""Receipts of a running gateway, by its API and its command line, verified offline."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from gateway_kit import Gateway

from llm_router.domain.errors import RouterError

SCRIPT = Path(__file__).parents[2] / "tools" / "verify_receipts.py"


@pytest.fixture(scope="module", params=[1, 2], ids=["one process", "workers"])
def gateway(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    config = f"[credits]\nstarting = 5\n[server]\nworkers = {request.param}\n"
    gateway = Gateway(tmp_path_factory.mktemp("papers"), "--sandbox", config=config)
    yield gateway
    assert gateway.stop() == 0


def ask(gateway: Gateway) -> Any:
    body = {"model": "gpt-5-mini", "messages": [{"role": "user", "content": "hello"}]}
    return gateway.send("POST", "/v1/chat/completions", json.dumps(body).encode())


def cli(gateway: Gateway, *words: str) -> str:
    where = ["--data-dir", str(gateway.data_dir), "--config", str(gateway.config), "--sandbox"]
    done = subprocess.run(
        [sys.executable, "-m", "llm_router.cli", *words, *where], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_receipts_verify_offline(gateway: Gateway, tmp_path: Path) -> None:
    replies = [ask(gateway) for _ in range(3)]
    id_ = replies[1].json["id"]
    receipt = gateway.get(f"/v1/generations/{id_}/receipt").json
    shown = receipt["receipt"]["exchange"]
    assert shown["reply_id"] == id_
    assert Decimal(receipt["receipt"]["amount"]) == -replies[1].json["usage"]["cost"]
    page = gateway.get("/v1/receipts?limit=2").json
    assert (len(page["data"]), page["has_more"], page["last_number"]) == (2, True, 2)
    rest = gateway.get("/v1/receipts?after=2").json
    assert receipt in page["data"] + rest["data"]
    written = cli(gateway, "receipts", "export")
    assert [json.loads(line) for line in written.splitlines()] == page["data"] + rest["data"]
    keys = gateway.get("/.well-known/llm-router-receipts.json", key="")
    assert keys.json == json.loads(cli(gateway, "receipts", "keys"))
    cli(gateway, "receipts", "rotate")
    both = gateway.get("/.well-known/llm-router-receipts.json", key="").json["keys"]
    assert both[1:] == keys.json["keys"]
    (tmp_path / "keys.json").write_text(json.dumps({"keys": both}))
    (tmp_path / "receipts").write_text(written + cli(gateway, "receipts", "export", "--after", "4"))
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(tmp_path / "receipts"), "--keys", str(tmp_path / "keys.json")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "default: 4 receipts up to number 4, all signed and chained" in done.stdout


def test_a_reply_names_its_receipt_when_asked(gateway: Gateway) -> None:
    body = {"model": "gpt-5-mini", "messages": [{"role": "user", "content": "hello"}]}
    for stream in (False, True):
        data = json.dumps({**body, "stream": stream}).encode()
        reply = gateway.send("POST", "/v1/chat/completions", data, headers={"x-receipt": "1"})
        path = reply.headers["x-llm-router-receipt"]
        assert gateway.get(path).json["receipt"]["exchange"]["id"] == reply.headers["x-generation-id"]
    assert "x-llm-router-receipt" not in ask(gateway).headers


def test_others_see_none_of_it(gateway: Gateway) -> None:
    id_ = ask(gateway).json["id"]
    other = gateway.command("keys.create", name="other", account="other")["key"]
    assert gateway.get(f"/v1/generations/{id_}/receipt", key=other).status == 404
    assert gateway.get("/v1/receipts", key=other).json["data"] == []
    assert gateway.get("/v1/receipts", key="sk-lr-wrong").status == 401
    assert gateway.get("/v1/receipts?limit=0").error["param"] == "limit"
    assert gateway.get("/v1/receipts?after=x").error["param"] == "after"
    assert gateway.get("/v1/generations/none/receipt").status == 404


def test_what_was_used_is_shown_and_exported(gateway: Gateway) -> None:
    key = gateway.command("keys.create", name="used", account="used")["key"]
    gateway.command("credits.add", amount="1", account="used", ref="used")
    body = {"model": "gpt-5-mini", "messages": [{"role": "user", "content": "hello"}]}
    cost = gateway.send("POST", "/v1/chat/completions", json.dumps(body).encode(), key=key).json["usage"][
        "cost"
    ]
    page = gateway.get("/v1/usage?by=model,provider", key=key).json
    assert [(row["model"], row["cost"]) for row in page["data"]] == [("gpt-5-mini", cost)]
    assert page["total"]["cost"] == cost
    written = gateway.get("/v1/usage/export", key=key)
    header, row, *rest = written.body.decode().splitlines()
    assert header.startswith("id,created,account")
    assert "operator_cost" not in header
    assert (row.split(",")[2], rest) == ("used", [])
    assert gateway.get("/v1/usage/export?format=xml", key=key).error["param"] == "format"
    assert gateway.get("/v1/usage?from=yesterday", key=key).error["param"] == "from"
    assert gateway.get("/v1/usage", key="sk-lr-wrong").status == 401
    shown = cli(gateway, "usage", "--by", "account")
    assert "used" in shown
    assert "█" in shown
    [found] = json.loads(cli(gateway, "usage", "show", "--account", "used", "--json"))["data"]
    assert found["requests"] == 1
    lines = [json.loads(line) for line in cli(gateway, "usage", "export", "--format", "jsonl").splitlines()]
    [mine] = [line for line in lines if line["account"] == "used"]
    assert Decimal(mine["cost"]) == cost


def test_a_month_is_shown_and_written(gateway: Gateway) -> None:
    month = gateway.get("/v1/usage").json["from"][:7]
    shown = gateway.get(f"/v1/statements/{month}").json
    assert (shown["account"], shown["issued"], shown["invoice"]) == ("default", None, None)
    assert Decimal(shown["closing"]) == gateway.get("/v1/credits").json["data"]["credits_remaining"]
    assert json.loads(cli(gateway, "statements", "show", "--month", month, "--json")) == shown
    assert json.loads(cli(gateway, "statements", "export", "--month", month, "--format", "json")) == shown
    assert "closing balance" in cli(gateway, "statements", "show", "--month", month)
    assert gateway.get("/v1/statements/yesterday").error["param"] == "month"
    assert gateway.get(f"/v1/statements/{month}", key="sk-lr-wrong").status == 401
    issued = json.loads(cli(gateway, "statements", "issue", "--month", "2020-01", "--json"))
    assert issued == {"statements": [], "skipped": []}
    assert cli(gateway, "statements", "list") == ""
    for command in ("statements.show", "receipts.export"):
        with pytest.raises(RouterError, match="there is no account 'nobody'"):
            gateway.command(command, account="nobody", **({"month": month} if command[0] == "s" else {}))


def test_a_provider_s_export_is_compared(gateway: Gateway, tmp_path: Path) -> None:
    ask(gateway)
    where = ["--data-dir", str(gateway.data_dir), "--config", str(gateway.config), "--sandbox", "--json"]

    def judged(text: str, *words: str) -> tuple[int, Any]:
        (tmp_path / "bill.csv").write_text(text)
        command = [
            sys.executable,
            "-m",
            "llm_router.cli",
            "reconcile",
            str(tmp_path / "bill.csv"),
            *words,
            *where,
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.returncode, json.loads(done.stdout)

    calls = [json.loads(line) for line in cli(gateway, "usage", "export", "--format", "jsonl").splitlines()]
    calls = [call for call in calls if call["upstream_id"]]
    head = "start_time_iso,model,num_model_requests,input_tokens,output_tokens,amount_value\n"

    def bill(model: str, factor: int) -> str:
        """What the provider would export: one row a call, which are added up."""
        rows = (
            f"{call['created']},{model},1,{call['input_tokens']},{call['output_tokens'] + call['reasoning_tokens']},"
            f"{Decimal(call['operator_cost']) * factor}\n"
            for call in calls
        )
        return head + "".join(rows)

    status, same = judged(bill("gpt-5-mini-2025-08-07", 1), "--provider", "openai", "--all")
    assert (status, set(same["causes"]), same["ok"]) == (0, {"equal"}, True)
    assert same["total"]["theirs"]["requests"] == same["total"]["ours"]["requests"] == len(calls)
    status, more = judged(bill("gpt-5-mini", 2), "--provider", "openai")
    assert (status, set(more["causes"])) == (1, {"price_differs"})
    by_id = cli(gateway, "usage", "export")
    words = ["--provider", "generic", "--of", "openai", "--column", "cost=operator_cost"]
    words += ["--column", "output=output_tokens+reasoning_tokens"]
    status, each = judged(by_id, *words, "--all")
    assert (status, each["by"], each["causes"]) == (0, "id", {"equal": len(calls)})
    fewer = "\n".join(by_id.splitlines()[:-1]) + "\n"
    assert judged(fewer, *words)[1]["causes"] == {"equal": len(calls) - 1, "missing_there": 1}
    status, refused = judged("a\n1\n", "--provider", "openai")
    assert (status, refused["error"]["code"]) == (1, "bill_unreadable")
