"""Secrets leave the settings by reveal() alone."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from llm_router.settings import ConfigError, Secret, Settings

CANARY = "sk-canary-0123456789"
Loader = Callable[..., Settings]


def test_no_form_of_a_secret_shows_it() -> None:
    secret = Secret(CANARY)
    assert secret.reveal() == CANARY
    for shown in (
        repr(secret),
        str(secret),
        f"{secret}",
        f"{secret!r:>40}",
        repr([secret]),
        repr({"k": secret}),
    ):
        assert CANARY not in shown
    with pytest.raises(TypeError):
        pickle.dumps(secret)
    with pytest.raises(TypeError):
        copy.copy(secret)
    with pytest.raises(TypeError):
        msgspec.json.encode(secret)
    with pytest.raises(TypeError):
        vars(secret)


def test_secrets_compare_by_their_text() -> None:
    assert Secret(CANARY) == Secret(CANARY)
    assert Secret(CANARY) != Secret("other")
    assert Secret(CANARY) != CANARY
    assert len({Secret(CANARY), Secret(CANARY)}) == 1


def test_settings_do_not_show_secrets(load_text: Loader, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(CANARY)
    text = f"""
        [providers.groq]
        key = "{CANARY}"
        [providers.openai]
        key = "file:key"
    """
    settings = load_text(text, {"ANTHROPIC_API_KEY": CANARY})
    assert {"groq", "openai", "anthropic"} <= set(settings.active)
    assert CANARY not in repr(settings)
    assert CANARY not in " ".join(settings.warnings)


@pytest.mark.parametrize(
    "text",
    [
        f'[providers.openai]\nkey = "{CANARY} with spaces"',
        f'[providers.openai]\nkey = ["{CANARY}"]',
        f'[providers.openai]\nkye = "{CANARY}"',
        f'[providers.openai]\nkey = "${{{CANARY}}}"',
        '[providers.openai]\nkey = "env:TWO_LINES"',
        '[providers.openai]\nkey = "file:spaced"',
        f'[providers.openai]\nheaders = {{ authorization = "{CANARY}" }}',
        f'[providers.openai]\nheaders = {{ x-a = "{CANARY}\\n" }}',
        f'[providers.openai]\nbase_url = "https://me:{CANARY}@host/v1"',
        f'[providers.openai]\nprice = "{CANARY}"',
        f'[providers.openai]\ntakes_urls = ["{CANARY}"]',
    ],
)
def test_no_error_repeats_a_value(load_text: Loader, tmp_path: Path, text: str) -> None:
    (tmp_path / "spaced").write_text(f"{CANARY} {CANARY}")
    with pytest.raises(ConfigError) as caught:
        load_text(text, {"TWO_LINES": f"{CANARY}\n{CANARY}"})
    assert CANARY not in str(caught.value)
    assert CANARY not in repr(caught.value)
    assert CANARY not in repr(caught.value.__context__)
