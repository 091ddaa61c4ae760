"""The settings that print-config prints, executed: the official SDKs find the gateway by them alone."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from gateway_kit import Gateway

ASK = {
    "openai": (
        "import openai; c = openai.OpenAI(); r = c.chat.completions.create(model='gpt-6-luna', "
        "messages=[{'role': 'user', 'content': 'Say: fine.'}]); print(r.choices[0].message.content)"
    ),
    "anthropic": (
        "import anthropic; c = anthropic.Anthropic(); r = c.messages.create(model='gpt-6-luna', max_tokens=500, "
        "messages=[{'role': 'user', 'content': 'Say: fine.'}]); print(r.content[-1].text)"
    ),
    "gemini": (
        "from google import genai; c = genai.Client(); "
        "r = c.models.generate_content(model='gpt-6-luna', contents='Say: fine.'); print(r.text)"
    ),
}


def _config(sandbox: Gateway, client: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "llm_router.cli", "print-config", client, "--base-url", sandbox.url,
         "--key", sandbox.key, "--model", "gpt-6-luna", "--data-dir", str(sandbox.data_dir), "--sandbox"],
        env={"PATH": os.environ["PATH"], "HOME": str(sandbox.folder)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout


def _shell(sandbox: Gateway, code: str, *words: str) -> str:
    done = subprocess.run(
        ["sh", "-eu", "-c", code, *words],
        env={"PATH": os.environ["PATH"], "HOME": str(sandbox.folder)},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("client", ASK)
def test_sdks_find_the_gateway(sandbox: Gateway, client: str) -> None:
    said = _shell(sandbox, f'{_config(sandbox, client)}\n"$1" -c "$2"', "sh", sys.executable, ASK[client])
    assert said.startswith("[simulated ")


def test_the_curl_line_asks_the_gateway(sandbox: Gateway) -> None:
    assert '"object":"chat.completion"' in _shell(sandbox, _config(sandbox, "curl"))
