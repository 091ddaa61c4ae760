"""Outages as users rehearse them: waits that are told, faults that pass, providers that are away for a time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from lab_kit import Lab, LabLoop, running

from llm_router.sandbox.faults.load import read_faults
from llm_router.sandbox.server import RunningSandbox, start_sandbox

WAITS_S = {
    "429-seconds": 2.0,
    "429-ms": 0.25,
    "429-date": 2.0,
    "429-body": 2.0,
    "503-seconds": 2.0,
    "429-no-hint": 0.0,
    "429-past": 0.0,
    "429-words": 0.0,
}
"""How long a deployment asks to be left alone."""

PASSING = ("close", "reset-in-head", "server-error", "overloaded", "html", *WAITS_S)


def config() -> str:
    text = "[server]\nheartbeat_s = 0\naccess_log = false\n[retries]\nbudget_percent = 100\nreserve = 100\n"
    for kind in (*PASSING, "429-hours"):
        text += (
            f'[providers."p-{kind}"]\ndialect = "openai_chat"\nbase_url = "http://127.0.0.1:9"\nkey = "k"\n'
        )
        text += f'[models."m-{kind}"]\nprice = {{ input_per_mtok = 1, output_per_mtok = 2 }}\n'
        text += f'[[models."m-{kind}".deployments]]\nprovider = "p-{kind}"\nupstream_model = "up"\n'
    return text


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    kinds = (*PASSING, "429-hours")
    faults = "".join(f'[[fault]]\nkind = "{kind}"\nmodel = "m-{kind}"\nfirst = 1\n' for kind in kinds)
    with running(tmp_path_factory.mktemp("rehearsals"), config(), faults) as found:
        yield found


@pytest.mark.parametrize("kind", PASSING)
def test_what_passes_is_asked_again_when_it_said(lab: Lab, kind: str) -> None:
    began_s = lab.loop.time()
    seen = lab.run(lab.chat(f"m-{kind}", stream=True))
    assert seen.done, seen.body
    assert lab.loop.time() - began_s >= WAITS_S.get(kind, 0.0) - 0.01
    record = lab.run(lab.record(seen))
    assert [attempt["outcome"] for attempt in record["attempts"]] == ["failed", "delivered"]


def test_nobody_waits_for_hours(lab: Lab) -> None:
    seen = lab.run(lab.chat("m-429-hours", stream=False))
    assert seen.status == 429
    assert int(seen.headers["retry-after"]) >= 60
    assert len(lab.run(lab.record(seen))["attempts"]) == 1


def reached(loop: LabLoop, box: RunningSandbox, provider: str | None) -> bool:
    """Whether somebody listens where the provider is."""

    async def connect() -> bool:
        url = box.provider_base_url("openai_chat", provider=provider)
        host, _, port = url.split("/")[2].partition(":")
        try:
            _, writer = await asyncio.open_connection(host, int(port))
        except ConnectionRefusedError:
            return False
        writer.close()
        await writer.wait_closed()
        return True

    return loop.run_until_complete(connect())


@pytest.mark.parametrize("provider", ["groq", None])
def test_a_provider_that_is_away_for_a_while(provider: str | None) -> None:
    """Its port is refused from the third to the fifth second; others are not concerned."""
    loop = LabLoop()
    named = "" if provider is None else f'provider = "{provider}"\n'
    plan = read_faults(f'[[fault]]\nkind = "refused"\n{named}from_s = 3\nto_s = 5\n', "faults.toml")
    box = loop.run_until_complete(start_sandbox(faults=plan.begin()))
    try:
        began_s, there = loop.time(), []
        for second in (1, 4, 6):
            loop.run_until_complete(asyncio.sleep(began_s + second - loop.time()))
            there.append(reached(loop, box, provider))
            assert reached(loop, box, "openai") is (True if provider else there[-1])
        assert there == [True, False, True]
    finally:
        loop.run_until_complete(box.close())
        loop.close()
