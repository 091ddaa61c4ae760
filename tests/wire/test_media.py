"""Data URLs, base64 and magic bytes."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_router.wire import media


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


@given(st.binary(min_size=1))
def test_data_url_gives_back_its_bytes(data: bytes) -> None:
    media_type, text = media.parse_data_url(media.data_url("image/png", _b64(data)))
    assert media_type == "image/png"
    assert base64.b64decode(text, validate=True) == data


@given(st.binary(min_size=1))
def test_sloppy_base64_is_mended(data: bytes) -> None:
    sloppy = base64.urlsafe_b64encode(data).decode().rstrip("=")
    broken = "\n".join(sloppy[i : i + 7] for i in range(0, len(sloppy), 7))
    assert media.clean_base64(broken) == _b64(data)


def test_percent_encoded_data_urls() -> None:
    assert media.parse_data_url("data:text/plain;charset=utf-8,a%20b") == ("text/plain", _b64(b"a b"))
    assert media.parse_data_url("DATA:IMAGE/PNG;BASE64,iVBOR%77%3D%3D") == ("image/png", "iVBORw==")
    assert media.parse_data_url("data:,x") == ("text/plain", _b64(b"x"))


def test_missing_media_type_is_sniffed() -> None:
    assert media.parse_data_url("data:;base64," + _b64(b"%PDF-1.7"))[0] == "application/pdf"


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("https://example.com/a.png", "not a data URL"),
        ("data:image/png;base64", "no comma"),
        ("data:image/png;base64,", "empty"),
        ("data:text/plain,", "empty"),
        ("data:image/png;base64,a", "not valid base64"),
        ("data:image/png;base64,%%%", "not valid base64"),
        ("data:image/png;base64,ab*c", "not valid base64"),
        ("data:im age;base64,AAAA", "malformed"),
    ],
)
def test_malformed_data_urls_are_refused(url: str, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        media.parse_data_url(url)


@pytest.mark.parametrize(
    ("head", "media_type"),
    [
        (b"\x89PNG\r\n\x1a\n", "image/png"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"GIF89a", "image/gif"),
        (b"RIFF\x24\x00\x00\x00WEBPVP8 ", "image/webp"),
        (b"RIFF\x24\x00\x00\x00WAVEfmt ", "audio/wav"),
        (b"%PDF-1.4", "application/pdf"),
        (b"OggS\x00", "audio/ogg"),
        (b"fLaC", "audio/flac"),
        (b"ID3\x04", "audio/mpeg"),
        (b"\xff\xfb\x90\x00", "audio/mpeg"),
        (b"\xff\xf1\x50\x80", "audio/aac"),
        (b"\x00\x00\x00\x18ftypisom", "video/mp4"),
        (b"\x00\x00\x00\x18ftypavif", "image/avif"),
        (b"\x00\x00\x00\x18ftypM4A ", "audio/mp4"),
        (b"\x1aE\xdf\xa3", "video/webm"),
        (b"hello, world", None),
        (b"\xff", None),
    ],
)
def test_sniff(head: bytes, media_type: str | None) -> None:
    assert media.sniff(_b64(head + b"\x00" * 200)) == media_type


@given(st.text())
def test_sniff_never_raises(text: str) -> None:
    media.sniff(text)


def test_http_urls() -> None:
    assert media.is_http_url("https://example.com/a.png")
    assert media.is_http_url("HTTP://example.com")
    assert not media.is_http_url("https://")
    assert not media.is_http_url("ftp://example.com/a")
    assert not media.is_http_url("data:image/png;base64,AAAA")
    assert media.is_data_url("data:image/png;base64,AAAA")


def test_media_form() -> None:
    assert media.media_form("image/png") == "image"
    assert media.media_form("audio/wav") == "audio"
    assert media.media_form("VIDEO/mp4") == "video"
    assert media.media_form("application/pdf") == "file"


@given(st.text(alphabet=st.characters(exclude_categories=("Cs",))))
def test_text_documents_round_trip(text: str) -> None:
    if not text.startswith("\ufeff"):
        assert media.decode_text(media.encode_text(text)) == text


def test_text_documents_refuse_binary() -> None:
    with pytest.raises(ValueError, match="UTF-8"):
        media.decode_text(_b64(b"\xff\xfe\x00"))
