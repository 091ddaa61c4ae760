"""A stream that is cut anywhere and gone on with says what the uncut one says, in all pairs of dialects."""

from __future__ import annotations

import itertools
import json
import random
import sys

import msgspec
import pytest
from continuing_kit import FRONTS, SCRIPTS, Bench, read, reply_of, scripted, stream_of, visible

from llm_router.domain.errors import UpstreamError
from llm_router.wire import chat, events
from llm_router.wire.continuing.overlap import Diverged, Overlap
from llm_router.wire.continuing.told import KEPT_BYTES, Transcript
from llm_router.wire.dialects.registry import DIALECTS
from llm_router.wire.toolsback import ToolsBack

PROSE = (
    "The tide turns twice a day. When the moon stands over the sea, water rises; when it sets, water falls. "
    "Fishermen knew this long before anybody wrote it down: “Every tide: high or low, ß — comes back.”\n\n"
    "1. First high water\n2. First low water\n\nThat is all there is to it. \n```py\nprint('tide')\n```\n"
)
JSON = json.dumps({"city": "Kraków", "list": [1, -2.5e3, None, True], "deep": {"a": '"x"\n', "b": []}})
CALLS = (
    chat.ToolCall(
        id="call_aaaaaaaaaaaaaaaaaaaaaaaa", name="weather", arguments='{"city": "Oslo", "days": 3}'
    ),
    chat.ToolCall(
        id="call_bbbbbbbbbbbbbbbbbbbbbbbb", name="weather", arguments='{"city": "Rome", "days": 5}'
    ),
)
CASES = {
    "prose": reply_of(chat.Text(text=PROSE)),
    "reasoning": reply_of(chat.Thinking(text="Let me think about tides."), chat.Text(text=PROSE[:120])),
    "calls": reply_of(chat.Text(text="I will look."), *CALLS, finish=events.Finish.TOOL_CALLS),
    "one call": reply_of(CALLS[0], finish=events.Finish.TOOL_CALLS),
    "json": reply_of(chat.Text(text=JSON)),
}
PAIRS = list(itertools.product(FRONTS, FRONTS))


@pytest.mark.parametrize(("front", "behind"), PAIRS)
@pytest.mark.parametrize("case", CASES)
def test_a_cut_at_any_event_is_gone_on_with(case: str, front: str, behind: str) -> None:
    whole = CASES[case]
    pieces = stream_of(behind, whole)
    uncut = visible(whole)
    went_on = 0
    scripts = list(SCRIPTS.values())
    for cut in range(1, len(pieces)):
        bench = Bench(front, behind, b"".join(pieces[:cut]))
        if not bench.seen.content_started or bench.seen.ended or bench.told.finished:
            continue
        found = bench.ask(json_mode=case == "json", prefill=cut % 2 == 0)
        other = FRONTS[(FRONTS.index(behind) + cut) % len(FRONTS)]
        script = scripts[cut % len(scripts)]
        answer = scripted(bench, found, whole, script)
        try:
            data = bench.go_on(other, answer, chars=1 + cut % 7)
        except UpstreamError:
            assert (
                script is SCRIPTS["begins anew"]
            )  # which cannot always be told from a text that repeats itself
            continue
        try:
            got = visible(read(front, data))
        except UpstreamError as error:
            raise AssertionError((cut, found.way, error.message, data[-600:])) from None
        assert got == uncut, (cut, found.way, bench.told.text[-40:])
        went_on += 1
    assert went_on > 0


def _said(before: str, *said: str, prompted: bool = True) -> str:
    overlap = Overlap(before, prompted=prompted)
    return "".join([*(overlap.feed(piece) for piece in said), overlap.close()])


@pytest.mark.parametrize("size", [1, 4, 11, 1000])
@pytest.mark.parametrize(
    ("before", "said", "told"),
    [
        ("The quick brown fox jumps ov", "brown fox jumps over the dog.", "er the dog."),
        ("The quick brown fox jumps", "The quick brown fox jumps over.", " over."),
        ("The quick brown fox jumps over\n\n", "quick brown fox jumps over\nall", "all"),
        ("The quick brown fox jumps", "Sure, here is the rest: brown fox jumps over.", " over."),
        ("The quick brown fox jumps", "Here it is:\n\nThe quick brown fox jumps over.", " over."),
        ("The quick brown fox jumps", "Sorry for the interruption.\n\nbrown fox jumps over.", " over."),
        ("The quick brown fox jumps", " over the lazy dog.", " over the lazy dog."),
        ("The quick brown fox jumped, and", " okay, it fell far.", " okay, it fell far."),
    ],
)
def test_what_is_repeated_is_taken_off(before: str, said: str, told: str, size: int) -> None:
    assert _said(before, *[said[at : at + size] for at in range(0, len(said), size)]) == told


@pytest.mark.parametrize("size", [1, 4, 11, 1000])
@pytest.mark.parametrize(
    ("before", "said"),
    [
        ("The quick brown fox jumps", "The quick red fox jumps over the dog."),
        ("The fox ran. ", "The dog sat down and slept."),  # anew, or the next sentence
        ("The quick brown fox jumps ov", "Foxes are quick and brown animals."),
        ("aaaa", "aaaab"),
        ("One, two, three", "three, four, five, six, seven"),
        ("One. Two. Three, and here it ends.", ""),
        (
            "He opened the letter. ",
            "Sure, here is the rest: two apples and a knife.",
        ),  # a preamble, or dialogue
        ("- buy some milk\n", "- buy some milk\n- sell the cow\n"),
        ("See:\n", "```py\nprint(1)\n```\n"),  # a block of the answer's, or around the rest
        ("“Nobody knows,” he said, “how", '"Nobody knows," he said, "how old it is."'),
    ],
)
def test_what_cannot_be_decided_is_not_told(before: str, said: str, size: int) -> None:
    with pytest.raises(Diverged):
        _said(before, *[said[at : at + size] for at in range(0, len(said), size)])


@pytest.mark.parametrize("before", ["T", "The", "1", "- buy some milk\n", "ha ha ha"])
def test_an_answer_that_is_asked_for_anew_must_begin_as_it_did(before: str) -> None:
    overlap = Overlap(before, prompted=True, anew=True)
    assert (
        overlap.feed(before + before + " end") + overlap.close() == (before + before + " end")[len(before) :]
    )
    with pytest.raises(Diverged):
        Overlap(before, prompted=True, anew=True).feed("Quite another one.")


def test_an_answer_that_begins_anew_and_differs_is_no_continuation() -> None:
    before = "The capital of France is Paris, a city on the Seine. It has two million inhabitants and"
    with pytest.raises(Diverged):
        _said(before, "The capital of France is Paris, and it is", " beautiful.")


def test_an_answer_that_was_begun_for_the_model_is_taken_as_it_comes() -> None:
    before = "ha ha ha ha ha ha ha ha ha ha"
    assert _said(before, " ha ha ha ha ha ha", " ha!", prompted=False) == " ha ha ha ha ha ha ha!"
    with pytest.raises(Diverged):  # all of it once more, or as much of it again
        _said(before, before, " end", prompted=False)
    assert _said("The quick brown fox", "The quick brown", " fox ran", prompted=False) == " ran"


@pytest.mark.parametrize("front", FRONTS)
def test_a_continuation_may_make_the_same_call_twice(front: str) -> None:
    text = chat.Text(text="I will look twice.")
    pieces = stream_of("openai_chat", reply_of(text))
    bench = Bench(front, "openai_chat", b"".join(pieces[:3]))
    found = bench.ask()
    assert (found.way, found.anew) == ("prompt", True)
    twice = msgspec.structs.replace(CALLS[0], id=CALLS[1].id)
    answer = reply_of(chat.Text(text=text.text), CALLS[0], twice, finish=events.Finish.TOOL_CALLS)
    got = visible(read(front, bench.go_on("openai_chat", answer)))
    assert got == visible(reply_of(text, CALLS[0], twice, finish=events.Finish.TOOL_CALLS))


@pytest.mark.parametrize("front", FRONTS)
def test_a_call_that_was_whole_may_be_made_again_before_the_one_that_broke(front: str) -> None:
    whole = reply_of(*CALLS, finish=events.Finish.TOOL_CALLS)
    pieces = stream_of("openai_chat", whole)
    at = next(n for n in range(len(pieces)) if b"Rome" in b"".join(pieces[n - 1 : n + 1]))
    bench = Bench(front, "openai_chat", b"".join(pieces[:at]))
    assert bench.ask().way == "call"
    assert visible(read(front, bench.go_on("openai_chat", whole))) == visible(whole)


def test_text_that_was_opened_behind_reasoning_and_never_said_is_said_by_the_continuation() -> None:
    whole = reply_of(chat.Thinking(text="The moon."), chat.Text(text=PROSE[:40]))
    pieces = stream_of("openai_responses", whole)
    text = b"".join(pieces)
    cut = text.index(b"event: response.output_text.delta")
    bench = Bench("openai_responses", "openai_responses", text[:cut])
    assert bench.ask().way == "again"
    got = visible(read("openai_responses", bench.go_on("openai_chat", reply_of(chat.Text(text=PROSE[:40])))))
    assert got == visible(reply_of(chat.Text(text=PROSE[:40])))


def test_a_long_stream_is_packed_and_read_again() -> None:
    text = PROSE * 60
    pieces = stream_of("openai_chat", reply_of(chat.Text(text=text)))
    transcript = Transcript(DIALECTS["openai_chat"].stream_decoder)
    for piece in pieces[:-4]:
        transcript.hear(piece)
    told, _ = transcript.told(ToolsBack({}))
    assert not transcript.lost
    assert told.text == text[: len(told.text)]
    assert len(told.text) > len(text) - 20


def test_of_a_stream_that_is_too_long_nothing_is_kept() -> None:
    transcript = Transcript(DIALECTS["openai_chat"].stream_decoder)
    noise = random.Random(7)
    while not transcript.lost:
        transcript.hear(noise.randbytes(KEPT_BYTES + 1))
    transcript.hear(b"more")
    assert sys.getsizeof(transcript._kept) + sys.getsizeof(transcript._packed) < 200
