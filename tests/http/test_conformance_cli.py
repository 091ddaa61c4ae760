"""``llm-router conformance`` as a command: its words, its exit status, its output."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from conformance_proxy import Proxy, whole
from gateway_kit import Gateway

from llm_router.conformance import ALL_CHECKS


def _run(*words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "llm_router.cli", "conformance", *words],
        env={"PATH": os.environ["PATH"], **environ},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_it_succeeds_and_names_the_model_that_it_chose(sandbox: Gateway) -> None:
    done = _run("--base-url", sandbox.url, "--only", "chat.whole.*", LLM_ROUTER_API_KEY=sandbox.key)
    assert (done.returncode, done.stderr) == (0, ""), done
    assert "Score 100 %  19 passed, 0 failed, 0 skipped" in done.stdout
    assert "  chat        " in done.stdout
    assert sandbox.key not in done.stdout
    assert "\x1b" not in done.stdout


def test_it_fails_with_a_curl_line_that_hides_the_key(sandbox: Gateway) -> None:
    proxy = Proxy(sandbox.port)
    proxy.fault = whole(lambda value: value.update(object="thing"))
    try:
        words = ("--base-url", proxy.url, "--key", sandbox.key, "--model", "gpt-6-luna")
        done = _run(*words, "--only", "chat.whole.object")
        as_json = _run(*words, "--only", "chat.whole.object", "--json")
    finally:
        proxy.close()
    assert done.returncode == as_json.returncode == 1
    assert 'expected  object "chat.completion"' in done.stdout
    assert 'got       "thing"' in done.stdout
    assert "-H 'Authorization: Bearer '\"$KEY\"''" in done.stdout
    value = json.loads(as_json.stdout)
    (check,) = value["checks"]
    assert (value["score"], value["passed"], value["failed"], check["verdict"]) == (0, 0, 1, "failed")
    assert check["curl"].startswith("curl -X POST ")
    assert sandbox.key not in done.stdout + as_json.stdout


def test_wrong_words_and_nobody_there_are_status_2() -> None:
    dead = ("--base-url", "http://127.0.0.1:9", "--key", "k", "--timeout", "2")
    for words in (
        dead,
        ("--only", "no.such.*"),
        ("--api", "telnet", "--key", "k"),
        ("--api", "chat"),
        ("--timeout", "0"),
        ("--key", "two words"),
        ("--key", "k", "--base-url", "ftp://x"),
        ("--key", "k", "--base-url", "http://x:99999"),
    ):
        done = _run(*words)
        assert (done.returncode, done.stdout) == (2, ""), done
        assert done.stderr
    told = json.loads(_run(*dead, "--json").stdout)
    assert told["error"]["code"] == "unreachable"


def test_the_list_asks_nobody() -> None:
    assert len(_run("--list").stdout.splitlines()) == len(ALL_CHECKS) + 1
    listed = json.loads(_run("--list", "--json", "--only", "gemini.stream.*").stdout)["checks"]
    assert {check["api"] for check in listed} == {"gemini"}
    assert {"id", "title", "why", "source", "severity", "group", "api"} == set(listed[0])
