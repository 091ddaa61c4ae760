"""The gateway's own credential does not pass, wherever the stream is cut; nothing else is changed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from engine_kit import run
from hypothesis import given
from hypothesis import strategies as st

from llm_router.domain.errors import UpstreamError, UpstreamKind
from llm_router.engine.intake import TURN_BYTES, Intake, redact_body, redact_error

SECRET = "aab-aab-aac-0123456789"
PIECES = st.sampled_from([SECRET.encode(), b"aab-", b"aa", b"a", b"data: x\n\n", SECRET[:-1].encode(), b"9"])


async def _chunks(parts: list[bytes]) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def _all(parts: list[bytes], secret: str | None, bytes_max: int = 10**6) -> bytes:
    intake, out = Intake(_chunks(parts), secret, bytes_max), b""
    while (piece := await intake.next()) is not None:
        out += piece
    return out


@given(st.lists(PIECES, max_size=12), st.data())
def test_the_credential_is_taken_out_at_any_cut(pieces: list[bytes], data: st.DataObject) -> None:
    text = b"".join(pieces)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    parts = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    expected = text.replace(SECRET.encode(), b"[redacted]")
    assert asyncio.run(_all(parts, SECRET)) == expected == redact_body(text, SECRET)


@given(st.lists(st.binary(max_size=40), max_size=8))
def test_anything_else_passes_as_it_came(parts: list[bytes]) -> None:
    assert asyncio.run(_all(parts, SECRET)) == b"".join(parts)
    assert asyncio.run(_all(parts, None)) == b"".join(parts)


def test_whole_events_with_the_credential_are_not_read_as_they_are() -> None:
    intake = Intake(None, "sk-0123456789abcdef", 100)
    assert intake.clean(b"data: hello\n\n")
    assert not intake.clean(b"data: sk-0123456789abcdef\n\n")
    assert intake.take(b"data: sk-01234") == b"data: "
    assert not intake.clean(b"56789abcdef\n\n")
    intake.take(b"56789abcdef\n\n")
    intake.size += 60
    assert intake.clean(bytes(13))
    assert not intake.clean(bytes(14))


def test_a_placeholder_is_no_credential() -> None:
    assert asyncio.run(_all([b"run ollama locally"], "ollama")) == b"run ollama locally"
    assert redact_body(b"run ollama locally", "ollama") == b"run ollama locally"


@pytest.mark.parametrize(
    ("secret", "left"), [("own-key-xyz", "[redacted]"), ("own-key8", "[redacted]"), ("ollama", "ollama")]
)
def test_errors_are_rid_of_short_credentials_too(secret: str, left: str) -> None:
    said = f"bad key {secret} given"
    error = UpstreamError(said, kind=UpstreamKind.AUTHENTICATION, details={"upstream": [said]})
    redact_error(error, secret)
    assert error.message == f"bad key {left} given"
    assert error.details == {"upstream": [f"bad key {left} given"]}


def test_a_stream_has_an_end() -> None:
    with pytest.raises(UpstreamError) as caught:
        asyncio.run(_all([b"x" * 60, b"x" * 41], None, 100))
    assert caught.value.kind is UpstreamKind.MALFORMED
    assert asyncio.run(_all([b"x" * 60, b"x" * 40], None, 100)) == b"x" * 100


def test_others_get_their_turn_while_bytes_pour_in() -> None:
    """Compressed data is there without waiting; the event loop must not be kept from the others."""

    async def main() -> None:
        turns = 0

        async def other() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        task = asyncio.ensure_future(other())
        await _all([b"x" * TURN_BYTES] * 10, None, 10**9)
        task.cancel()
        assert turns >= 5

    async def guarded() -> None:
        await main()
        await asyncio.sleep(0)

    run(guarded())
