"""Every fault, whole and streamed, in three dialects, with and without another deployment behind it.

Each case asserts what the client got, what it was charged, and which deployment was blamed. Streams that break after
their beginning are tried both ways: told as broken, and gone on with, as they are where nothing is set.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from fault_expectations import EXPECTED, Row
from lab_kit import Lab, Seen, running

from llm_router.domain.errors import UpstreamError, UpstreamKind
from llm_router.sandbox.faults.registry import KINDS

DIALECTS = {"o": "openai_chat", "a": "anthropic_messages", "g": "gemini_generate"}
REPLY_BYTES_MAX = 1024 * 1024
GRANT = Decimal(1000)

SETTINGS = """
[server]
heartbeat_s = 0
access_log = false
[credits]
starting = 1000
hold_wait_s = 0
[continuation]
mode = "off"  # unless the request says otherwise
[timeouts]
connect_s = 3
first_byte_s = 3
idle_s = 3
total_s = 10
[retries]
repeats_max = 0
"""

STAYS = {UpstreamKind.INVALID_REQUEST, UpstreamKind.CONTEXT_LENGTH, UpstreamKind.CONTENT_POLICY}
"""What another deployment of the same model would not do better."""

BLAMELESS = {*STAYS, UpstreamKind.PAYLOAD, UpstreamKind.RATE_LIMIT}
"""What does not count against the deployment."""

ANSWERS = ("sound", "estimated", "unbilled", "mended", "partial", "shuffled", "repeated", "hollow")


def provider(id_: str, dialect: str) -> str:
    return f'[providers."{id_}"]\ndialect = "{dialect}"\nbase_url = "http://127.0.0.1:9"\nkey = "k"\nauth = "bearer"\n'


def model(id_: str, *providers: str) -> str:
    text = f'[models."{id_}"]\nprice = {{ input_per_mtok = 1, output_per_mtok = 2 }}\n'
    for name in providers:
        text += f'[[models."{id_}".deployments]]\nprovider = "{name}"\nupstream_model = "up"\n'
    return text


def cases(kind: str) -> list[tuple[str, bool, bool]]:
    """(dialect's letter, streamed, whether another deployment is behind it)."""
    ways = [way for way in (False, True) if (KINDS[kind].streams if way else KINDS[kind].wholes)]
    return [
        (letter, way, backed)
        for letter in DIALECTS
        for way in ways
        for backed in (False, True)
        if not (backed and wanted(kind, letter, way) in ANSWERS)
    ]


WHOLE_ALREADY = {"no-last-chunk", "left-open", "long-length"}
"""What breaks a stream of Gemini's, which has no end marker, behind its finish reason: nothing is missing."""


def broken(kind: str) -> list[str]:
    """The letters of the dialects in which this fault breaks a stream after its beginning. An endless one is
    left out: what is told of it here, where replies may be small, is no beginning of the answer."""
    if not KINDS[kind].streams or kind == "endless":
        return []
    return [letter for letter in DIALECTS if wanted(kind, letter, True).startswith("cut ")]


def name_of(kind: str, letter: str, streamed: bool, backed: bool) -> str:
    return f"{letter}-{kind}-{'s' if streamed else 'w'}{'f' if backed else 'm'}"


def config() -> str:
    text = SETTINGS
    for letter, dialect in DIALECTS.items():
        text += provider(f"{letter}-well", dialect) + model(f"{letter}-well", f"{letter}-well")
    for kind in KINDS:
        for letter, streamed, backed in cases(kind):
            id_ = name_of(kind, letter, streamed, backed)
            text += provider(id_, DIALECTS[letter])
            text += model(id_, id_, *([f"{letter}-well"] if backed else []))
        for letter in broken(kind):
            id_ = gone_on(kind, letter)
            text += provider(id_, DIALECTS[letter]) + model(id_, id_, f"{letter}-well")
    return text


def gone_on(kind: str, letter: str) -> str:
    """The model whose broken streams another deployment goes on with."""
    return f"{letter}-{kind}-go"


def faults() -> str:
    text = ""
    for kind in KINDS:
        names = f'"?-{kind}-??"'
        if KINDS[kind].door:
            every = [name_of(kind, *case) for case in cases(kind)]
            every += [gone_on(kind, letter) for letter in broken(kind)]
            names = "[" + ", ".join(f'"{name}"' for name in every) + "]"
        text += f'[[fault]]\nkind = "{kind}"\nprovider = {names}\n'
    return text


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with running(tmp_path_factory.mktemp("faults"), config(), faults()) as found:
        state = found.engine.state
        found.engine.state = msgspec.structs.replace(state, reply_bytes_max=REPLY_BYTES_MAX)
        found.charged_pusd = 0
        found.plain = {
            (letter, streamed): found.run(_baseline(found, letter, streamed))
            for letter in DIALECTS
            for streamed in (False, True)
        }
        yield found
        told = found.run(found.get("/v1/credits"))["data"]
        left = Decimal(str(told["total_credits"])) - Decimal(str(told["total_usage"]))
        assert left == GRANT - Decimal(found.charged_pusd) / 10**12, told
        assert told["held"] == 0


async def _baseline(lab: Lab, letter: str, streamed: bool) -> tuple[str, Any]:
    seen = await lab.chat(f"{letter}-well", stream=streamed)
    record = await lab.record(seen)
    lab.charged_pusd += record["cost_pusd"]
    return seen.text, record


def wanted(kind: str, letter: str, streamed: bool) -> str:
    row: Row = EXPECTED[kind][streamed]
    return row if isinstance(row, str) else row["oag".index(letter)]


def test_every_kind_has_its_row() -> None:
    assert set(EXPECTED) == set(KINDS)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_fault(lab: Lab, kind: str) -> None:
    async def all_of_them() -> list[Any]:
        return await asyncio.gather(*(one(lab, kind, *case) for case in cases(kind)), return_exceptions=True)

    wrong = [
        f"{name_of(kind, *case)}: {found!r}"
        for case, found in zip(cases(kind), lab.run(all_of_them()), strict=True)
        if found is not None
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [kind for kind in KINDS if broken(kind)])
def test_a_stream_that_a_fault_breaks_is_gone_on_with(lab: Lab, kind: str) -> None:
    async def all_of_them() -> list[Any]:
        every = (went_on(lab, kind, letter) for letter in broken(kind))
        return await asyncio.gather(*every, return_exceptions=True)

    wrong = [
        f"{gone_on(kind, letter)}: {found!r}"
        for letter, found in zip(broken(kind), lab.run(all_of_them()), strict=True)
        if found is not None
    ]
    assert not wrong, "\n".join(wrong)


async def went_on(lab: Lab, kind: str, letter: str) -> None:
    """One broken stream. Raises AssertionError if its client does not see one whole answer."""
    name, word = gone_on(kind, letter), wanted(kind, letter, True).split()[1]
    seen = await lab.chat(name, stream=True, headers={"x-llm-router-continue": "equal"})
    record = await lab.record(seen)
    lab.charged_pusd += record["cost_pusd"]
    told = f"{seen.status} {seen.body[-300:]!r} {record}"
    first, *others = record["attempts"]
    if kind in WHOLE_ALREADY:
        assert (first["outcome"], others) == ("delivered", []), told
        assert "cut_after_end" in record["flags"], told
        answered(lab, "sound", letter, seen, record, True)
        return
    assert (first["outcome"], first["error_kind"]) == ("failed", word), told
    assert blame(lab, name) == blamed(UpstreamKind(word)), told
    assert [(each["outcome"], each["deployment"]) for each in others] == [
        ("delivered", f"{letter}-well/{name}")
    ], told
    text, plain = lab.plain[letter, True]
    assert (seen.status, seen.error, seen.done, seen.finish) == (200, None, True, ["stop"]), told
    assert seen.text == text, told
    (seam,) = record["continued"]
    assert seam["cause"] == word, told
    assert 0 < seam["at_chars"] <= len(text), told
    assert record["cost_pusd"] > plain["cost_pusd"], told  # the answer so far went up once more
    assert Decimal(str(seen.usage["cost"])) == Decimal(record["cost_pusd"]) / 10**12


async def one(lab: Lab, kind: str, letter: str, streamed: bool, backed: bool) -> None:
    """One case. Raises AssertionError if anything is not as it must be."""
    name, want = name_of(kind, letter, streamed, backed), wanted(kind, letter, streamed)
    seen = await lab.chat(name, stream=streamed)
    record = await lab.record(seen)
    lab.charged_pusd += record["cost_pusd"]
    first, *others = record["attempts"]
    assert first["deployment"] == f"{name}/{name}", record
    told = f"{seen.status} {seen.body[-300:]!r} {record}"
    if want in ANSWERS:
        assert not others, told
        assert first["outcome"] == "delivered", told
        answered(lab, want, letter, seen, record, streamed)
        assert blame(lab, name) == (1, 0.0), told
        return
    how, word = want.split()
    upstream = UpstreamKind(word)
    assert (first["outcome"], first["error_kind"]) == ("failed", word), told
    assert blame(lab, name) == blamed(upstream), (blame(lab, name), told)
    if how == "cut":
        assert not others, told
        cut(lab, letter, seen, upstream)
    elif backed and upstream not in STAYS:
        (second,) = others
        assert second["outcome"] == "delivered", told
        assert second["deployment"] == f"{letter}-well/{name}", told
        answered(lab, "sound", letter, seen, record, streamed)
        return
    else:
        assert not others, told
        refused(seen, int(how), upstream)
    assert record["cost_pusd"] == 0, told
    assert record["error_code"] == seen.error["code"], told


def answered(lab: Lab, want: str, letter: str, seen: Seen, record: Any, streamed: bool) -> None:
    """The client has a whole answer, and its bill."""
    text, plain = lab.plain[letter, streamed]
    assert seen.status == 200, seen.body
    assert seen.error is None, seen.body
    assert seen.done is streamed
    assert seen.finish == ["stop"], seen.body
    cost_pusd = record["cost_pusd"]
    match want:
        case "sound" | "estimated" | "unbilled":
            assert seen.text == text
        case "mended":
            assert seen.text != text
            assert seen.text.partition("]")[2] == text.partition("]")[2]
            seen.text.encode("utf-8", "surrogatepass")
        case "partial" | "shuffled":
            assert 0 < len(seen.text) <= len(text)
            assert set(seen.text) <= set(text)
        case "repeated":
            assert seen.text.endswith(text[1:])
        case "hollow":
            assert seen.text == ""
    if want == "unbilled":
        assert cost_pusd == 0
    elif want == "estimated":
        own = plain["usage"]["prompt_tokens"] * 1_000_000 + 2_000_000 * (len(text) // 4)
        assert record["usage"]["provenance"] == "estimated"
        assert own / 2 < cost_pusd < own * 2
    else:
        assert cost_pusd == plain["cost_pusd"]
    assert Decimal(str(seen.usage["cost"])) == Decimal(cost_pusd) / 10**12


def cut(lab: Lab, letter: str, seen: Seen, kind: UpstreamKind) -> None:
    """The client has a part of the answer, knows that it is one, and why."""
    text, _ = lab.plain[letter, True]
    assert seen.status == 200
    assert seen.text != ""
    assert not seen.done
    assert seen.finish == []
    assert seen.error["code"] == UpstreamError("", kind=kind).code
    assert seen.error["request_id"] == seen.headers["x-generation-id"]
    assert "error" in seen.chunks[-1]
    assert text.startswith(seen.text) or seen.text.startswith(text[:40])  # an endless one says more


def refused(seen: Seen, status: int, kind: UpstreamKind) -> None:
    """The client has an error of the right status and code, whole."""
    assert seen.status == status, seen.body
    error = seen.error
    assert error["code"] == UpstreamError("", kind=kind).code, error
    assert error["message"]
    assert error["request_id"] == seen.headers["x-generation-id"]


def blame(lab: Lab, name: str) -> tuple[int, float | None]:
    """Calls that count, and the part of them that failed."""
    clock = lab.engine.clock
    view = lab.engine.trying.health.view(f"{name}/{name}", clock.now_ms())
    return view.calls, view.error_rate


def blamed(kind: UpstreamKind) -> tuple[int, float | None]:
    return (0, None) if kind in BLAMELESS else (1, 1.0)
