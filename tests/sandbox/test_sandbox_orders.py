"""Orders in the prompt: what is one, what is not, and how they are bounded."""

from __future__ import annotations

import pytest

from llm_router.sandbox.directives import STALL_S_MAX, CallOrder, Fault, read_directives
from llm_router.sandbox.tries import Tries


def test_orders_are_read_and_taken_out() -> None:
    found = read_directives("Hello [[error 429 after 7 x2]] world [[slow 50ms]] [[no-usage]]")
    assert found.text == "Hello world"
    assert found.faults == (Fault(kind="error", status=429, retry_after_s=7, tries=2),)
    assert found.slow_s == 0.05
    assert found.no_usage


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[[error 500]]", Fault(kind="error", status=500)),
        ("[[ERROR 503 mid]]", Fault(kind="error", status=503, mid=True)),
        ("[[overloaded on groq]]", Fault(kind="overloaded", on="groq")),
        ("[[too-long]]", Fault(kind="too-long")),
        ("[[cut]]", Fault(kind="cut")),
        ("[[cut clean]]", Fault(kind="cut", clean=True)),
        ("[[stall 3]]", Fault(kind="stall", seconds=3)),
        ("[[stall 99999]]", Fault(kind="stall", seconds=STALL_S_MAX)),
        ("[[malformed]]", Fault(kind="malformed")),
        ("[[empty x1]]", Fault(kind="empty", tries=1)),
    ],
)
def test_faults(text: str, fault: Fault) -> None:
    assert read_directives(text).faults == (fault,)


@pytest.mark.parametrize(
    "text",
    [
        "[[Wiki link]]", "if [[ -f x ]]; then", "[[error]]", "[[error 200]]", "[[error abc]]", "[[stall]]",
        "[[slow]]", "[[long many]]", "[[refuse me]]", "[[call]]", "[[]]", "[[error 500", "[[cut mid]]",
    ],
)  # fmt: skip
def test_other_brackets_are_text(text: str) -> None:
    found = read_directives(text)
    assert found.text == text
    assert found.faults == ()
    assert not found.refuse


def test_calls_are_bounded() -> None:
    found = read_directives("[[call a.b x999]] [[call c]]").calls
    assert found == (CallOrder(name="a.b", times=16), CallOrder(name="c"))


def test_a_script_of_calls_with_their_arguments() -> None:
    found = read_directives(
        'Do it. [[call Bash {"command": "if [[ -f x ]]; then echo; fi"}]] [[then call patch "a\\nb"]]'
        '[[then call Read {"path": "x"}]] [[call Read {broken]]'
    )
    assert found.text == "Do it. [[call Read {broken]]"
    assert [(order.name, order.step) for order in found.calls] == [("Bash", 0), ("patch", 1), ("Read", 2)]
    assert found.calls[0].arguments == '{"command": "if [[ -f x ]]; then echo; fi"}'
    assert found.calls[1].arguments == '"a\\nb"'


def test_a_script_in_a_quoted_prompt() -> None:
    found = read_directives('"Go. [[call Read {\\"path\\": \\"a\\"}]]"')
    assert found.text == '"Go. "'
    assert found.calls == (CallOrder(name="Read", arguments='{"path": "a"}'),)


def test_tries_count_to_the_end_and_begin_again() -> None:
    tries = Tries()
    assert [tries.left(b"k", 2) for _ in range(6)] == [True, True, False, True, True, False]
    assert tries.left(b"other", 1)
