"""Every fault in front of the other client APIs: each kind in one of them, ``LLM_ROUTER_FAULTS=all`` in all.

What is charged and blamed is the matrix's; here it is what the client of each dialect has.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from fault_expectations import EXPECTED
from lab_kit import Lab, running
from test_fault_matrix import ANSWERS, DIALECTS, REPLY_BYTES_MAX, SETTINGS, model, provider, wanted

from llm_router.sandbox.faults.registry import KINDS
from llm_router.wire import chat, events
from llm_router.wire.dialects.registry import DIALECTS as SPOKEN

FRONTS = ("anthropic_messages", "openai_responses", "gemini_generate")
ALL = os.environ.get("LLM_ROUTER_FAULTS") == "all"
Case = tuple[str, str, str, bool]
"""(kind, the provider's letter, the client's dialect, streamed)."""


def cases() -> list[Case]:
    found: list[Case] = []
    for number, kind in enumerate(KINDS):
        for way in (False, True):
            if not (KINDS[kind].streams if way else KINDS[kind].wholes):
                continue
            fronts = FRONTS if ALL else (FRONTS[(number + way) % 3],)
            letters = DIALECTS if ALL else ("oag"[(number // 3 + way) % 3],)
            found += [(kind, letter, front, way) for letter in letters for front in fronts]
    return found


def name_of(case: Case) -> str:
    kind, letter, front, streamed = case
    return f"{letter}-{kind}-{front[0]}{'s' if streamed else 'w'}"


def config() -> str:
    text = SETTINGS
    for letter, dialect in DIALECTS.items():
        text += provider(f"{letter}-well", dialect) + model(f"{letter}-well", f"{letter}-well")
    for case in cases():
        text += provider(name_of(case), DIALECTS[case[1]]) + model(name_of(case), name_of(case))
    return text


def faults() -> str:
    names: dict[str, list[str]] = {}
    for case in cases():
        names.setdefault(case[0], []).append(f'"{name_of(case)}"')
    return "".join(f'[[fault]]\nkind = "{k}"\nprovider = [{", ".join(v)}]\n' for k, v in names.items())


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with running(tmp_path_factory.mktemp("fronts"), config(), faults()) as found:
        found.engine.state = msgspec.structs.replace(found.engine.state, reply_bytes_max=REPLY_BYTES_MAX)
        found.plain = {}
        yield found


async def ask(lab: Lab, front: str, name: str, streamed: bool) -> tuple[int, bytes]:
    """Status and body of what the client gets."""
    body: dict[str, Any] = {"model": name, "stream": streamed}
    if front == "gemini_generate":
        verb = "streamGenerateContent?alt=sse" if streamed else "generateContent"
        path = f"{lab.url}/v1beta/models/{name}:{verb}"
        body = {"contents": [{"role": "user", "parts": [{"text": "Hello there"}]}]}
    elif front == "openai_responses":
        path, body = f"{lab.url}/v1/responses", {**body, "input": "Hello there"}
    else:
        body |= {"max_tokens": 4000, "messages": [{"role": "user", "content": "Hello there"}]}
        path = f"{lab.url}/v1/messages"
    async with lab._session.post(path, json=body) as reply:
        return reply.status, await reply.read()


def read(front: str, data: bytes, streamed: bool) -> tuple[str, bool, Any]:
    """Text, whether it has its end, and the error."""
    dialect = SPOKEN[front]
    if not streamed:
        reply = dialect.decode_reply(data)
        text = "".join(p.text for c in reply.choices for p in c.parts if isinstance(p, chat.Text))
        return text, True, None
    decoder = dialect.stream_decoder()
    found = [*decoder.feed(data), *decoder.close()]
    text = "".join(e.text for e in found if isinstance(e, events.PartDelta))
    failed = next((e.error for e in found if isinstance(e, events.Failed)), None)
    return text, any(isinstance(e, events.Ended) for e in found), failed


def test_every_kind_is_seen_in_another_dialect() -> None:
    assert {case[0] for case in cases()} == set(EXPECTED)


@pytest.mark.slow
@pytest.mark.parametrize("case", cases(), ids=name_of)
def test_fault(lab: Lab, case: Case) -> None:
    kind, letter, front, streamed = case
    want = wanted(kind, letter, streamed)
    status, data = lab.run(ask(lab, front, name_of(case), streamed))
    if want not in ANSWERS and not want.startswith("cut"):
        assert status == int(want.split()[0]), data
        assert b'"message"' in data
        return
    assert status == 200, data
    text, ended, failed = read(front, data, streamed)
    if want.startswith("cut"):
        assert text != ""
        assert failed is not None, data[-400:]
        assert not ended
        return
    assert failed is None, data[-400:]
    assert ended
    key = (letter, front, streamed)
    if key not in lab.plain:
        lab.plain[key] = read(front, lab.run(ask(lab, front, f"{letter}-well", streamed))[1], streamed)[0]
    if want in ("sound", "estimated", "unbilled"):
        assert text == lab.plain[key]
