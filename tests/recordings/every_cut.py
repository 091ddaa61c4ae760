"""Every recorded stream, cut behind each of its content events and gone on with, in front of every client's dialect.

The model that goes on is scripted: it says what is missing, in one of the ways in which models do so. What the
client then has must be what it has of the uncut stream. All of it, with figures::

    python tests/recordings/every_cut.py
"""

from __future__ import annotations

import json
import random
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

sys.path.insert(0, str(Path(__file__).parents[1] / "wire"))

from continuing_kit import BILL, FRONTS, SCRIPTS, Bench, read, relay_of, scripted, visible
from kit import FOLDER, Recording, load

from llm_router.domain.errors import RouterError, UpstreamError
from llm_router.wire import chat, events
from llm_router.wire.chat import ChatRequest
from llm_router.wire.continuing.anchor import PROOF_MIN
from llm_router.wire.continuing.asking import why_not
from llm_router.wire.dialects.registry import DIALECTS

REQUEST = ChatRequest(model="m", messages=(), dialect="openai_chat")
BEHIND = FRONTS


def streams() -> list[Recording]:
    return [each for each in load("dev", "reported") if each.stream and each.status < 300]


def frames(recording: Recording) -> list[bytes]:
    """The stream in the pieces of its own framing."""
    data = recording.data
    if recording.dialect == "bedrock_converse":
        out = []
        while data:
            size = int.from_bytes(data[:4], "big")
            out.append(data[:size])
            data = data[size:]
        return out
    separator = rb"(?<=\n)" if recording.dialect == "ollama_chat" else rb"(?<=\n\n)|(?<=\r\n\r\n)"
    return [piece for piece in re.split(separator, data) if piece]


def unfit(recording: Recording) -> str | None:
    """Why a recording shows no answer that could be gone on with; None: it does."""
    decoder = DIALECTS[recording.dialect].stream_decoder()
    found = [*decoder.feed(recording.data), *decoder.close()]
    if any(isinstance(event, events.Failed) for event in found):
        return "it failed when it was recorded"
    if not any(isinstance(event, events.Finished) for event in found):
        return "it has no end"
    try:
        bench = Bench("openai_chat", recording.dialect, recording.data)
    except RouterError:
        return "it cannot be read"
    try:
        visible(uncut(recording, "openai_chat"))
    except ValueError:
        return "the arguments of its calls are no JSON"
    return why_not(bench.told, REQUEST)


class Case(msgspec.Struct, frozen=True):
    """A stream, a client's dialect, and behind which of its pieces it is cut; ``inside``: so many bytes further."""

    recording: str
    front: str
    cut: int
    inside: int = 0


def cases(recording: Recording, fronts: tuple[str, ...] = FRONTS) -> Iterator[Case]:
    """All cuts: behind every piece, and every third one within the next."""
    pieces = frames(recording)
    for cut in range(1, len(pieces)):
        for front in fronts:
            inside = (cut * 7) % len(pieces[cut]) if cut % 3 == 0 else 0
            yield Case(recording.id, front, cut, inside)


def uncut(recording: Recording, front: str) -> events.Reply:
    """What the client of a dialect has of the whole stream."""
    relay = relay_of(front, recording.dialect)
    data = relay.feed(recording.data)
    if not relay.observed.ended:
        data += relay.close()
    return read(front, data + relay.finish(BILL))


def go_on(case: Case, recording: Recording, whole: events.Reply, pieces: list[bytes]) -> str | None:
    """Cut and go on; the way it was asked, or None where nothing was to be gone on with.

    Raises:
        AssertionError: the client has another answer than of the uncut stream.
    """
    data = b"".join(pieces[: case.cut]) + pieces[case.cut][: case.inside]
    bench = Bench(case.front, recording.dialect, data)
    if not bench.seen.content_started or bench.seen.ended or bench.told.finished:
        return None
    if why_not(bench.told, REQUEST) is not None:
        return "refused"
    text, calls, _ = expected = visible(whole)
    is_json = not calls and _is_json(text)
    found = bench.ask(json_mode=is_json, prefill=case.cut % 2 == 0)
    script = list(SCRIPTS.values())[case.cut % len(SCRIPTS)]
    answer = scripted(bench, found, whole, script)
    try:
        out = bench.go_on(BEHIND[case.cut % len(BEHIND)], answer, chars=1 + case.cut % 11)
    except UpstreamError as error:
        if "cannot be told" in error.message and (
            script is SCRIPTS["begins anew"] or _repeats(answer, bench) or _begins_twice(text)
        ):
            return "undecided"
        raise
    got = visible(read(case.front, out))
    if is_json or calls:  # white space behind a value, and behind calls, says nothing
        got, expected = (got[0].rstrip(), *got[1:]), (text.rstrip(), *expected[1:])
    assert got == expected, f"{found.way}: {_apart(got, expected)}"
    assert not is_json or _is_json(got[0])
    return found.way


def _repeats(answer: events.Reply, bench: Bench) -> bool:
    """Whether it makes a call that was made already: again, or the same twice in one answer."""
    made = [(part.opened.name, json.loads(part.text or "{}")) for part in bench.told.calls if part.whole]
    return any(call in made for call in visible(answer)[1])


def _begins_twice(text: str) -> bool:
    """Whether the answer itself says its first words again: who goes on so seems to begin anew."""
    return text.find(text[: 2 * PROOF_MIN], 1) > 0


def _apart(got: Any, expected: Any) -> str:
    for one, other in zip(got, expected, strict=True):
        if one != other:
            if isinstance(one, str):
                at = next(
                    (n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b),
                    min(len(one), len(other)),
                )
                return f"at {at}: {one[max(0, at - 30) : at + 40]!r} != {other[max(0, at - 30) : at + 40]!r}"
            return f"{one!r:.300} != {other!r:.300}"
    return ""


def _is_json(text: str) -> bool:
    if text.strip()[:1] not in ("{", "["):
        return False
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


class Outcome(msgspec.Struct):
    """Figures of a run."""

    streams: int = 0
    skipped: Counter[str] = msgspec.field(default_factory=Counter)
    ways: Counter[str] = msgspec.field(default_factory=Counter)
    json: int = 0
    wrong: list[str] = msgspec.field(default_factory=list)


def run(recordings: list[Recording], sample: int | None = None, seed: int = 20261123) -> Outcome:
    """All cuts, or so many of them all together."""
    outcome, dice = Outcome(), random.Random(seed)
    fit = []
    for recording in recordings:
        why = unfit(recording)
        if why is None:
            fit.append(recording)
        else:
            outcome.skipped[why] += 1
    outcome.streams = len(fit)
    chosen: dict[str, list[Case]] = {each.id: list(cases(each)) for each in fit}
    if sample is not None:
        every = [case for found in chosen.values() for case in found]
        chosen = {}
        for case in dice.sample(every, min(sample, len(every))):
            chosen.setdefault(case.recording, []).append(case)
    for recording in fit:
        _cut(recording, chosen.get(recording.id, []), outcome)
    return outcome


def _cut(recording: Recording, found: list[Case], outcome: Outcome) -> None:
    pieces = frames(recording)
    wholes: dict[str, events.Reply] = {}
    for case in found:
        try:
            if case.front not in wholes:
                wholes[case.front] = uncut(recording, case.front)
            way = go_on(case, recording, wholes[case.front], pieces)
        except (AssertionError, RouterError, ValueError) as error:
            said = error.message if isinstance(error, UpstreamError) else str(error)
            outcome.wrong.append(
                f"{case.recording} {case.front} cut {case.cut}: {type(error).__name__} {said}"
            )
            continue
        if way is not None:
            outcome.ways[way] += 1
            outcome.ways["json"] += _is_json(visible(wholes[case.front])[0])
            outcome.ways["calls"] += any(
                isinstance(p, chat.ToolCall) for p in wholes[case.front].choices[0].parts
            )


def main() -> int:
    if not FOLDER.is_dir():
        print("The recordings are not beside the project: there is nothing to cut.")
        return 1
    sample = int(sys.argv[1]) if len(sys.argv) > 1 else None
    outcome = run(streams(), sample)
    print(f"streams {outcome.streams}, left out {sum(outcome.skipped.values())}")
    for why, count in outcome.skipped.most_common():
        print(f"  {count:4d} {why}")
    print("gone on with:", dict(outcome.ways))
    print(f"wrong {len(outcome.wrong)}")
    for line in outcome.wrong[:200]:
        print(" ", line[:400])
    return 1 if outcome.wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
