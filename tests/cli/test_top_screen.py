"""The screen of top: what fits where, what keys do; and all of it once on a terminal, with a gateway that goes and comes."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import threading
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "http"))

from gateway_kit import Gateway

from llm_router.cli.top import Figure
from llm_router.cli.top_screen import _KEY, State, brief, learn, press, screen
from llm_router.domain.errors import NotFound

WAIT_S = 60.0


def figure(number: int, **more: Any) -> Figure:
    values: dict[str, Any] = {
        "key": f"key_{number:020}", "model": f"some-maker/some-long-model-name-{number}", "requests": 12_345, "errors": 6,
        "tokens_per_s": 1234.5, "dollars_per_min": Decimal("0.00035325"), "first_token_ms": 1234, "running": 12, **more,
    }  # fmt: skip
    return Figure(**values)


def row(number: int) -> dict[str, Any]:
    return {
        "id": f"gen-{number:026}", "key": "key_1", "key_name": "my key \x1b[31m", "model": None, "asked_model": "gpt-5.4-mini",
        "provider": "openai", "running_ms": 61_000, "first_token_ms": 512,
    }  # fmt: skip


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
def test_no_line_is_wider_than_the_screen_and_no_number_is_cut(width: int) -> None:
    lines = screen([figure(1)], [row(1)], State(), width, 24).plain.split("\n")
    assert max(map(len, lines)) <= width
    shown = lines[2]
    assert "$0.000353" in shown
    assert "…" not in shown.replace("some-maker/", "")[-20:]
    assert "1,234.5" in shown
    assert ("12,345" in shown) == (width >= 80)
    assert lines[6].startswith("1  ")
    assert "1.0" in lines[6]
    assert lines[6].endswith(f"gen-{1:026}") == (width >= 120)
    assert "\x1b" not in "".join(lines)


@pytest.mark.parametrize("height", [8, 12, 24, 50])
def test_what_is_too_much_for_the_screen_is_counted(height: int) -> None:
    figures, running = [figure(n) for n in range(30)], [row(n) for n in range(20)]
    lines = screen(figures, running, State(), 80, height).plain.split("\n")
    assert len(lines) <= height
    assert "more)" in lines[0] or height == 50
    assert lines[-1].startswith("q leaves")
    assert any(line.startswith("Running: 20") for line in lines)


def test_keys_are_read_as_terminals_send_them() -> None:
    typed = "1\x1b[B\x1bOA\x1b[15~\x1b[1;5Cxq"
    assert _KEY.findall(typed) == ["1", "\x1b[B", "\x1bOA", "\x1b[15~", "\x1b[1;5C", "x", "q"]


def test_what_keys_do() -> None:
    running, ended, state = [row(n) for n in range(3)], list[str](), State()
    press("2", state, running, ended.append)
    assert state.chosen == running[1]["id"]
    for key, at in (("\x1b[B", 2), ("j", 2), ("\x1b[A", 1), ("k", 0), ("\x1b[15~", 0), ("9", 0), ("²", 0)):
        press(key, state, running, ended.append)
        assert state.chosen == running[at]["id"], key
    press("\x1b", state, running, ended.append)
    assert state.chosen is None
    press("x", state, running, ended.append)
    assert ended == []
    press("k", state, running, ended.append)
    press("x", state, running, ended.append)
    assert ended == [running[2]["id"]]
    assert (state.chosen, state.said) == (None, f"{running[2]['id']} is ended.")

    def gone(id_: str) -> None:
        raise NotFound(f"{id_} does not run.")

    press("1", state, running, gone)
    press("x", state, running, gone)
    assert state.said.endswith("does not run.")
    press("j", state, [], ended.append)
    assert state.chosen is None


def test_keys_have_their_names() -> None:
    def name_of(id_: str) -> str:
        if id_ == "session:usr_1":
            raise NotFound("no such key")
        return "mine"

    state = State()
    learn(state, {"key_1", "session:usr_1"}, name_of)
    assert state.names == {"key_1": "mine", "session:usr_1": "session:usr_1"}


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        ("0", "$0"),
        ("12.3456", "$12.35"),
        ("1234.5", "$1,234.50"),
        ("0.00035325", "$0.000353"),
        ("0.05", "$0.0500"),
    ],
)
def test_dollars_have_the_digits_that_matter(amount: str, text: str) -> None:
    assert brief(Decimal(amount)) == text


class Terminal:
    """A program on a terminal of its own, and all that it wrote there."""

    def __init__(self, words: list[str], columns: int = 100, lines: int = 24) -> None:
        self.handle, inner = pty.openpty()
        fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        environ = {n: v for n, v in os.environ.items() if n not in ("COLUMNS", "LINES", "NO_COLOR")}
        self.process = subprocess.Popen(
            words,
            stdin=inner,
            stdout=inner,
            stderr=inner,
            env={**environ, "TERM": "xterm"},
            start_new_session=True,
        )
        os.close(inner)
        self.written = ""

    def wait(self, *words: str) -> None:
        """Until these words stand in what it writes from now on."""
        until, new = time.monotonic() + WAIT_S, ""
        while not all(word in new for word in words):
            assert time.monotonic() < until, f"never {words}: {new[-3000:]!r}"
            ready, _, _ = select.select([self.handle], [], [], 0.5)
            if ready:
                new += os.read(self.handle, 65536).decode(errors="replace")
        self.written += new

    def type(self, text: str) -> None:
        os.write(self.handle, text.encode())

    def end(self) -> int:
        """Its exit status."""
        try:
            while True:
                self.written += os.read(self.handle, 65536).decode(errors="replace")
        except OSError:  # the other side is closed
            pass
        os.close(self.handle)
        return self.process.wait(WAIT_S)


def test_a_terminal_shows_requests_ends_one_and_outlives_the_gateway(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path, "--sandbox")
    assert gateway.chat("openai/gpt-4o-mini").status == 200
    words = [sys.executable, "-m", "llm_router.cli", "top", "--sandbox"]
    place = ["--config", str(gateway.config), "--data-dir", str(gateway.data_dir)]
    plain = subprocess.run(
        [*words, *place], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=WAIT_S
    )
    assert plain.returncode == 0
    assert plain.stdout.startswith("KEY ")  # without a terminal it is told once
    answers: list[Any] = []
    thread = threading.Thread(
        target=lambda: answers.append(gateway.stream("openai/gpt-4o-mini", "[[slow 100]] hi"))
    )
    thread.start()
    terminal = Terminal([*words, *place])
    try:
        terminal.wait("Running: 1", "gpt-4o-mini", "q leaves")
        terminal.type("\x1b[15~1")
        terminal.wait("x ends the chosen request")
        terminal.type("x")
        terminal.wait("is ended.")
        thread.join(WAIT_S)
        assert "ended_by_operator" in str(answers[0].failure or answers[0].error)
        assert gateway.stop() == 0
        terminal.wait("No answer")
        gateway.start()
        terminal.wait("Running: 0", "The last minute")
        terminal.type("q")
        assert terminal.end() == 0
        assert "\x1b[?1049l" in terminal.written  # the screen is as it was before
    finally:
        if terminal.process.poll() is None:
            terminal.process.kill()
            terminal.end()
        gateway.stop()
