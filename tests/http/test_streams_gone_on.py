"""With nothing set: a stream that breaks is gone on with, and the official clients see one answer; or a clean error."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest
from gateway_kit import Gateway
from scripted_upstream import (
    CHUNKED,
    DIALECTS,
    LETTERS,
    Script,
    ScriptedUpstream,
    answers,
    chunk,
    config_for,
    frames,
    head,
    stalls,
)

OFF = '[continuation]\nmode = "off"\n'
SAID = "Once upon a time there was a king who had a crown of gold and of thorns."
BEGUN, ENDING = SAID[:37], ["there was a king who", " had a crown of gold", " and of thorns."]
MORE = """
[models.mixed]
price = { input_per_mtok = 1, output_per_mtok = 2 }
deployments = [{ provider = "o1", upstream_model = "up" }, { provider = "a2", upstream_model = "up" }]
"""
NORMAL = {"connect_s": 5, "first_byte_s": 20, "idle_s": 20, "total_s": 60}
IMPATIENT = {**NORMAL, "idle_s": 0.6}


@pytest.fixture(scope="module", params=["cut", "closed", "silent"])
def cut(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def usual(scripted: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway in which nothing is said about streams that break."""
    config = config_for(scripted, IMPATIENT, MORE)
    assert OFF in config
    gateway = Gateway(tmp_path_factory.mktemp("usual"), config=config.replace(OFF, ""))
    yield gateway
    assert gateway.stop() == 0


@pytest.fixture(scope="module")
def gpt(usual: Gateway) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=usual.url, api_key=usual.key, max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def claude(usual: Gateway) -> Iterator[anthropic.Anthropic]:
    address = usual.url.removesuffix("/v1")
    with anthropic.Anthropic(base_url=address, api_key=usual.key, max_retries=0) as client:
        yield client


def breaks(dialect: str, how: str) -> Script:
    """A stream that begins the answer and breaks before it is finished."""
    said = frames(dialect, BEGUN[:20], BEGUN[20:], "never said")
    begun = said[: next(at for at, frame in enumerate(said) if b"never said" in frame)]
    match how:
        case "cut":
            return answers(head(200, CHUNKED), *map(chunk, begun))
        case "closed":
            return answers(head(200), *begun)
    return stalls(head(200, CHUNKED), *map(chunk, begun))


def ends(dialect: str) -> Script:
    return answers(head(200), *frames(dialect, *ENDING))


Asked = tuple[str, dict[str, Any], str]


def by_openai(client: openai.OpenAI, model: str) -> Asked:
    """(text, last usage, the generation's id)."""
    stream = client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": "Tell me a tale."}],
        stream=True,
        max_tokens=300,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    text = "".join(choice.delta.content or "" for each in chunks for choice in each.choices)
    finishes = [c.finish_reason for each in chunks for c in each.choices if c.finish_reason]
    assert finishes == ["stop"]
    assert chunks[-1].usage is not None
    assert len({each.id for each in chunks}) == 1
    return text, chunks[-1].usage.model_dump(), stream.response.headers["x-generation-id"]


def by_anthropic(client: anthropic.Anthropic, model: str) -> Asked:
    """The same."""
    messages: Any = [{"role": "user", "content": "Tell me a tale."}]
    usage: dict[str, Any] = {}
    with client.messages.stream(model=model, messages=messages, max_tokens=300) as stream:
        for event in stream:
            if event.type == "message_delta":
                usage = event.usage.model_dump()
        message = stream.get_final_message()
    assert message.stop_reason == "end_turn"
    assert len(message.content) == 1
    return message.content[0].text, usage, stream.response.headers["x-generation-id"]


def check(usual: Gateway, asked: Asked, went_on: str) -> None:
    """One answer, whose seam stands in the usage and in the record alone."""
    text, usage, id_ = asked
    assert text == SAID
    (seam,) = usage["continued"]
    assert (seam["at_chars"], seam["provider"]) == (len(BEGUN), went_on)
    record = usual.generation(id_)
    assert "continued" in record["flags"]
    assert record["continued"] == [seam]
    assert [attempt["outcome"] for attempt in record["attempts"]] == ["failed", "delivered"]


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("client", ["openai", "anthropic"])
def test_a_cut_in_the_middle_is_not_seen(
    usual: Gateway,
    upstream: ScriptedUpstream,
    gpt: openai.OpenAI,
    claude: anthropic.Anthropic,
    dialect: str,
    client: str,
    cut: str,
) -> None:
    letter = LETTERS[dialect]
    upstream.play(f"{letter}1", breaks(dialect, cut))
    upstream.play(f"{letter}2", ends(dialect))
    asked = by_openai(gpt, f"f{letter}") if client == "openai" else by_anthropic(claude, f"f{letter}")
    check(usual, asked, f"{letter}2")
    assert [seen.place for seen in upstream.requests] == [f"{letter}1", f"{letter}2"]


@pytest.mark.parametrize("client", ["openai", "anthropic"])
def test_another_dialect_goes_on(
    usual: Gateway, upstream: ScriptedUpstream, gpt: openai.OpenAI, claude: anthropic.Anthropic, client: str
) -> None:
    """The deployment of the client's own dialect is asked first."""
    if client == "openai":
        upstream.play("o1", breaks("openai_chat", "cut"))
        upstream.play("a2", ends("anthropic_messages"))
        check(usual, by_openai(gpt, "mixed"), "a2")
    else:
        upstream.play("a2", breaks("anthropic_messages", "cut"))
        upstream.play("o1", ends("openai_chat"))
        check(usual, by_anthropic(claude, "mixed"), "o1")


@pytest.mark.parametrize("client", ["openai", "anthropic"])
def test_with_nobody_to_go_on_it_is_a_clean_error(
    usual: Gateway,
    upstream: ScriptedUpstream,
    gpt: openai.OpenAI,
    claude: anthropic.Anthropic,
    client: str,
    cut: str,
) -> None:
    """One deployment alone: one that fell silent is not asked again, and one that breaks is, until it is too often."""
    upstream.play("o1", breaks("openai_chat", cut))
    if client == "openai":
        with pytest.raises(openai.APIError) as caught:
            by_openai(gpt, "mo")
    else:
        with pytest.raises(anthropic.APIError) as caught:
            by_anthropic(claude, "mo")
    word = "timeout" if cut == "silent" else "truncated"
    assert word in str(caught.value.body) + str(caught.value)
    assert len(upstream.at("o1")) == (1 if cut == "silent" else 3)
