"""Every text, cut at every place, gone on with in every manner: the text itself, or an error, and nothing else.

Of the manners that say several things at each cut every fifth cut is taken, with ``LLM_ROUTER_CUTS=all`` all of them.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from llm_router.wire.continuing.anchor import anchor, is_too_little
from llm_router.wire.continuing.overlap import Diverged, Overlap
from llm_router.wire.continuing.partial import JsonText

CUTS = os.environ.get("LLM_ROUTER_CUTS")

TEXTS = {
    "prose": "The harbour froze early that year. Nobody could say when the boats would come back, and the "
    "old men sat by the stove. The harbour master counted his ropes. He had a hundred and four, and the frost "
    "had taken none. “A hundred and four,” he said; the frost — all of it — said nothing.",
    "dialogue": "“Sure, here is the rest:\n” she read aloud. “Sorry for the interruption.”\n\n"
    "Sure, here is the rest: two apples and a knife. He laughed. “Okay, continuing:\n”\n\nHere we go on.\n",
    "long prose": " ".join(
        f"{who} kept the {what} near the mill, {n} winters long, and spoke of {n * 7} {what}s since."
        for n, (who, what) in enumerate((("Ann", "goat"), ("Bert", "barge"), ("Cleo", "lamp")), 3)
    ),
    "long code": "Here is code:\n```python\n"
    + "\n".join(f"def f{n}(x):\n    return x + {n}\n" for n in range(5))
    + "```\nDone.",
    "indented": json.dumps({"items": [{"id": n, "note": "the same"} for n in range(9)]}, indent=1),
    "code": "Take this:\n\n```py\ndef add(a, b):\n    return a + b\n\n\ndef sub(a, b):\n    return a - b\n```\n\n"
    "and then that:\n\n```\nmake all\nmake all\n```\nThat is all.",
    "only code": "```json\n{\"a\": 1}\n```",
    "list": "- buy some milk\n- buy some milk\n- buy some milk\n- sell the cow\n1. one\n2. two\n3. three\n",
    "refrain": "Hip hip hurray! Hip hip hurray! Hip hip hurray!\nha ha ha ha ha ha ha ha\n\nla la la la.",
    "rows": "| name | size |\n|---|---|\n| ash | 12 |\n| ash | 12 |\n| ash | 12 |\n| elm | 9 |\n",
    "cjk": "春天来了\uff0c河水慢慢地涨起来。孩子们在岸边放风筝\uff0c风筝飞得很高很高。哈哈哈哈哈\uff0c他们笑了。春天来了\uff0c春天来了\uff01",
    "emoji": "🎉🎉🎉🎉 Party 👩‍👩‍👧‍👦 tonight 🎂! 🎉🎉🎉 Bring 🍰🍰🍰 and 🥂 — café, naïve, Ω. 🎉🎉",
    "numbers": "11 111 1111 and 2 22 222, which is 11 + 11 = 22; 11 + 11 = 22; 0.111111111111111111111111.",
    "lines": "x = 1\nx = 1\n\n\nx = 1\n    y = 2\n    y = 2\n\ty = 2\n   \n\nend  of   it",
}  # fmt: skip
VALUES = {
    "object": {"city": "Kraków", "deep": {"a": '"x"\n', "b": [], "c": None}, "ok": True, "n": -2.5e3},
    "equal numbers": [1, 1, 1, 1, 11, 1, 1],
    "equal strings": ["ab", "ab", "ab", "", "", "ab"],
    "equal objects": [{"id": 1, "name": "milk"}] * 4,
    "nested": [[1], [1], [[1]], [], []],
    "fence within": {"text": "```json\n{\"a\": 1}\n```\nSure, here is the rest:\nmore"},
    "arguments": {"path": "src/a b.py", "old": "x = 1\nx = 1", "new": "x = 2", "all": False},
    "cjk": {"名": "春天来了", "列": ["哈", "哈", "哈"]},
    "text": "a string, a string, a string",
}  # fmt: skip
JSONS = {
    **{name: json.dumps(value, ensure_ascii=False) for name, value in VALUES.items()},
    **{f"{name} in lines": json.dumps(value, indent=2) for name, value in VALUES.items()},
    **{f"{name} tight": json.dumps(value, separators=(",", ":")) for name, value in VALUES.items()},
}

Manner = Callable[[str, str], Iterator[str]]


def exactly(before: str, rest: str) -> Iterator[str]:
    yield rest


def the_last_words(before: str, rest: str) -> Iterator[str]:
    yield anchor(before) + rest


def some_last_words(before: str, rest: str) -> Iterator[str]:
    for size in (1, 2, 3, 5, 8, 11, 12, 13, 16, 17, 24, 31, 47, 80, 130, 201):
        if size < len(before):
            yield before[-size:] + rest


def anew(before: str, rest: str) -> Iterator[str]:
    yield before + rest


def in_a_fence(before: str, rest: str) -> Iterator[str]:
    for language in ("", "py", "json"):
        for said in (rest, anchor(before) + rest, before + rest):
            yield f"```{language}\n{said}"


def with_a_preamble(before: str, rest: str) -> Iterator[str]:
    for words in (
        "Sure, here is the rest:\n\n",
        "Sorry for the interruption. Continuing: ",
        "Here is the rest:\n```\n",
    ):
        for said in (rest, anchor(before) + rest, before + rest):
            yield words + said


MARKS = (
    "...", "... ", "\u2026", "\u2026 ", "[...] ", "(cont.) ", "(continued)\n", "- ", "\u2014 ", '"', "**", "> ", "\u200b", ". . . ",
)  # fmt: skip


def marks_then_the_last_words(before: str, rest: str) -> Iterator[str]:
    for mark in MARKS[len(before) % 3 :: 3]:
        yield mark + anchor(before) + rest
        for words in (2, 3, 5):
            if said := of_the_end(before, words):
                yield mark + said + rest


def of_the_end(before: str, words: int) -> str:
    """So many last words, letters in the first and the last one of them; else nothing."""
    said = before.split(" ")[-words:]
    several = len(said) == words and said[0][:1].isalnum() and any(map(str.isalnum, said[-1]))
    return " ".join(said) if several and len(" ".join(said)) < len(before) else ""


def the_last_words_in_other_letters(before: str, rest: str) -> Iterator[str]:
    for words in (2, 3, 5):
        if said := of_the_end(before, words):
            yield said[0].swapcase() + said[1:] + rest
            yield said.replace(" ", "\u200b ") + rest


PREFACES = (
    "Sure, here is it again:\n",
    "Certainly! ",
    "Here is the complete answer:\n\n",
    "No problem. The text in full: ",
    "As you wish\n\n",
    "Sure, here is it again:\n```\n",
)


def a_preface_then_anew(before: str, rest: str) -> Iterator[str]:
    for words in PREFACES:
        yield words + before + rest + ("\n```" if words.endswith("```\n") else "")


def a_preface_then_the_last_words(before: str, rest: str) -> Iterator[str]:
    for words in PREFACES[:-1]:
        yield words + anchor(before) + rest


WITHOUT_A_BREAK = (anew,)
"""What a model does that was asked for the answer from its beginning: it knows of no break."""

MANNERS = {
    m.__name__: m
    for m in (
        exactly,
        the_last_words,
        some_last_words,
        anew,
        in_a_fence,
        with_a_preamble,
        marks_then_the_last_words,
        the_last_words_in_other_letters,
        a_preface_then_anew,
        a_preface_then_the_last_words,
    )
}


def joined(before: str, said: str, *, size: int, json_mode: bool = False, again: bool = False) -> str:
    """What the client has in the end. ``again``: the answer was asked for from its beginning."""
    read = None
    if json_mode:
        read = JsonText()
        read.feed(before)
    overlap = Overlap(before, prompted=True, json=read, anew=again)
    pieces = [said[at : at + size] for at in range(0, len(said), size)]
    return "".join([before, *(overlap.feed(piece) for piece in pieces), overlap.close()])


def outcomes(whole: str, manner: Manner, *, json_mode: bool = False) -> Counter[str]:
    """Of every cut of a text: whether it was the text in the end, or an error. Else it raises."""
    found = Counter[str]()
    step = 1 if manner in (exactly, the_last_words, anew) or CUTS == "all" else 5
    for cut in range(1 + len(whole) % step, len(whole), step):
        before, rest = whole[:cut], whole[cut:]
        again = is_too_little(before)
        if again and manner not in WITHOUT_A_BREAK:
            continue
        for said in manner(before, rest):
            try:
                got = joined(before, said, size=1 + cut % 9, json_mode=json_mode, again=again)
            except Diverged:
                found["error"] += 1
                continue
            same = json.loads(got) == json.loads(whole) if json_mode else got == whole
            assert same, (manner.__name__, cut, before[-60:], said[:120], got[max(0, cut - 20) : cut + 60])
            found["whole"] += 1
    return found


@pytest.mark.parametrize("manner", MANNERS)
@pytest.mark.parametrize("name", TEXTS)
def test_a_text_is_itself_or_an_error(name: str, manner: str) -> None:
    outcomes(TEXTS[name], MANNERS[manner])


@pytest.mark.parametrize("manner", MANNERS)
@pytest.mark.parametrize("name", JSONS)
def test_json_is_itself_or_an_error(name: str, manner: str) -> None:
    outcomes(JSONS[name], MANNERS[manner], json_mode=True)
