"""What a start says, in each of the states a stranger meets."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import msgspec
import pytest

from llm_router.cli.announce import announce, render
from llm_router.settings import Announcement, LocalModel

KEY = "sk-lr-" + "a" * 43
START = Announcement(
    version="1.2.3",
    url="http://127.0.0.1:4040",
    data_dir=Path("/data/of me"),
    first_key=KEY,
    starting_pusd=5 * 10**12,
    keys=1,
    switches=("OPENAI_API_KEY", "ANTHROPIC_API_KEY"),
)


def _with(**changes: object) -> str:
    return render(msgspec.structs.replace(START, **changes))


def _curl(text: str) -> list[str]:
    return shlex.split(text[text.index("curl ") :].replace("\\\n", " "))


def test_without_any_provider_it_says_how_to_go_on() -> None:
    text = render(START)
    assert "http://127.0.0.1:4040/v1" in text
    assert KEY in text
    assert "$5 of credit" in text
    assert "set OPENAI_API_KEY or ANTHROPIC_API_KEY and start again" in text
    assert "llm-router serve --sandbox" in text
    assert "llm-router serve --local" in text
    assert _curl(text) == ["curl", "http://127.0.0.1:4040/v1/models", "-H", f"Authorization: Bearer {KEY}"]


def test_the_curl_line_is_a_whole_request() -> None:
    words = _curl(_with(example_model="gpt-5-mini", active=("openai",), models=20))
    assert words[1] == "http://127.0.0.1:4040/v1/chat/completions"
    assert f"Authorization: Bearer {KEY}" in words
    body = json.loads(words[-1])
    assert body["model"] == "gpt-5-mini"
    assert body["messages"][0]["content"] == "What is the capital of France?"


def test_active_providers_are_named_and_others_hinted_at() -> None:
    text = _with(active=("openai", "groq"), switches=("XAI_API_KEY",), models=41)
    assert "openai and groq: 41 models" in text
    assert "for more set XAI_API_KEY and start again" in text
    assert "--sandbox" not in text


def test_sandbox_and_local_model_are_marked() -> None:
    text = _with(
        sandbox=True, models=300, active=("openai",), local=LocalModel(model="smol", note="SmolLM2, 135M")
    )
    assert "299 models answer from simulated providers" in text
    assert "smol on this machine (SmolLM2, 135M), free of charge" in text
    assert "OPENAI_API_KEY" not in text


def test_later_starts_show_no_key_but_how_to_make_one() -> None:
    text = _with(first_key=None, keys=3, config=Path("r.toml"), config_named=True, data_dir_named=True)
    assert "sk-lr-" not in text
    assert "curl" not in text
    assert (
        "3 exist; another: llm-router keys create --name NAME --config r.toml --data-dir '/data/of me'"
        in text
    )
    assert "none can be used; make one" in _with(first_key=None, keys=0)


def test_commands_for_the_sandbox_are_told_how_to_find_it() -> None:
    own = _with(sandbox=True, first_key=None, keys=1)
    assert "llm-router keys create --name NAME --sandbox\n" in own
    assert "keys and credits are the sandbox's own; for other commands add --sandbox" in own
    named = _with(sandbox=True, first_key=None, keys=1, data_dir_named=True)
    assert "--name NAME --data-dir '/data/of me'\n" in named
    assert "--sandbox" not in named


def test_one_model_is_one_model() -> None:
    assert "openai: 1 model\n" in _with(active=("openai",), models=1)
    assert "1 model answers from" in _with(sandbox=True, models=1)


def test_no_credit_is_said_with_the_way_to_some() -> None:
    assert "without credit" in _with(starting_pusd=0)
    assert "llm-router credits add 5" in _with(starting_pusd=0)


def test_many_names_are_cut_short() -> None:
    text = _with(active=tuple(f"p{n:02}" for n in range(20)))
    assert "p11 and 8 more" in text
    assert "p12" not in text


def test_warnings_are_shown() -> None:
    assert "Warning   x: its key is sent in the open" in _with(warnings=("x: its key is sent in the open",))


def test_where_no_terminal_is_it_is_plain(capsys: pytest.CaptureFixture[str]) -> None:
    announce(START)
    assert capsys.readouterr().out == render(START) + "\n"


def test_on_a_terminal_only_the_colours_are_added(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import re
    import sys

    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    announce(START)
    coloured = capsys.readouterr().out
    assert "\x1b[" in coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured).rstrip() == render(START).rstrip()
    monkeypatch.setenv("NO_COLOR", "1")
    announce(START)
    plain = capsys.readouterr().out
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]m", plain)


def test_of_many_keys_it_says_that_there_are_more_than_were_counted() -> None:
    assert "more than 100 exist; another: " in _with(first_key=None, keys=100, more_keys=True)
    assert "exist" not in _with(first_key=None, keys=0, more_keys=True)
