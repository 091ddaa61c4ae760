"""What is taken out of texts before they are kept."""

from __future__ import annotations

import json

import pytest

from llm_router.domain.bodies import KINDS, BodyRule, is_sampled
from llm_router.privacy.content import Cleaner
from llm_router.privacy.redact import Redactor

ALL = BodyRule(redact=KINDS)


def redacted(text: str, *kinds: str, **options) -> str:
    return Redactor(kinds or KINDS, **options).text(text)


def side(value: object, rule: BodyRule = ALL, **options):
    cleaner = Cleaner(rule, Redactor(rule.redact, rule.patterns, **options))
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return cleaner.side(data), cleaner


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("mail anna.b+x@mail.example.co.uk now", "mail [redacted:email] now"),
        ("call +49 151 2345-6789 or (030) 1234567", "call [redacted:phone] or [redacted:phone]"),
        ("555-123-4567, 0151 23456789", "[redacted:phone], [redacted:phone]"),
        ("4111 1111 1111 1111", "[redacted:card]"),
        ("1 4111 1111 1111 1111, 5500005555555559", "1 [redacted:card], [redacted:card]"),
        ("4111-1111-1111-1112 is none", "4111-1111-1111-1112 is none"),
        ("DE89 3704 0044 0532 0130 00 EUR", "[redacted:iban] EUR"),
        ("GB82WEST12345698765432. DE00370400440532013000", "[redacted:iban]. DE00370400440532013000"),
        ("10.0.0.1 2001:db8::1 ::1", "[redacted:ip] [redacted:ip] [redacted:ip]"),
        ("1.2.3.4.5 999.1.1.1 std::vector 12:30:45", "1.2.3.4.5 999.1.1.1 std::vector 12:30:45"),
        ("2024-01-02 12:00, 1.2.3, order 1234567890", "2024-01-02 12:00, 1.2.3, order 1234567890"),
    ],
)
def test_what_is_wanted_is_taken_out_and_the_rest_is_left(text: str, kept: str) -> None:
    assert redacted(text) == kept


@pytest.mark.parametrize(
    "secret",
    [
        "sk-lr-abcDEF123456789012345", "sk-ant-api03-abcdefghijk-lmnop", "sk-or-v1-0123456789abcdef0123",
        "AIza" + "b" * 20 + "C123456789012345", "gsk_" + "a1" * 20, "hf_" + "Ab" * 15, "xai-" + "a1" * 20, "ghp_" + "a1" * 18,
        "AKIAABCDEFGHIJKLMNOP", "eyJhbGciOiJIUzI1.eyJzdWIiOiIxMjM0.abc-_", "whsec_abcdefghijkl123",
        "-----BEGIN PRIVATE KEY-----\nMIIabc\n-----END PRIVATE KEY-----", "my-provider-word",
    ],
)  # fmt: skip
def test_credentials_always_go(secret: str) -> None:
    kept = Redactor((), literals=["my-provider-word"]).text(f"it is {secret}, keep it")
    assert kept == "it is [redacted:credential], keep it"


def test_credentials_by_where_they_stand() -> None:
    assert redacted("Authorization: Bearer abcdef-123456") == "Authorization: Bearer [redacted:credential]"
    assert redacted("postgres://u:pa55@host/db") == "postgres://u:[redacted:credential]@host/db"
    assert redacted("risk-assessment-of-many-things") == "risk-assessment-of-many-things"
    body = {"api_key": "short", "password": {"type": "string"}, "tool": '{"apiKey":"x","to":"a@b.example"}'}
    found, _ = side(body)
    assert found.body == {
        "api_key": "[redacted:credential]",
        "password": {"type": "string"},
        "tool": '{"apiKey":"[redacted:credential]","to":"[redacted:email]"}',
    }


def test_escapes_numbers_and_names_hide_nothing() -> None:
    found, cleaner = side(
        b'{"a":"anna\\u0040b.example","n":4111111111111111,"x@y.example":[1e400,true,12345678901234]}'
    )
    assert found.body == {
        "a": "[redacted:email]", "n": "[redacted:card]", "[redacted:email]": ["inf", True, 12345678901234],
    }  # fmt: skip
    assert cleaner._redactor.counts == {"email": 2, "card": 1}


def test_files_are_left_out_or_kept_and_never_looked_into() -> None:
    picture = "data:image/png;base64," + "iVBO" * 40
    body = {
        "url": f"see {picture} of a@b.example",
        "data": "AAAA" * 100,
        "vector": [0.5] * 100,
        "short": "AAAA",
    }
    found, cleaner = side(body)
    assert found.body == {
        "url": "see [file left out: image/png, about 120 bytes] of [redacted:email]",
        "data": "[file left out: about 300 bytes]",
        "vector": "[100 numbers]",
        "short": "AAAA",
    }
    assert cleaner.files == 2
    kept, _ = side(body, BodyRule(files=True))
    assert kept.body["data"] == body["data"]
    assert kept.body["url"] == body["url"]


def test_what_is_too_long_is_cut_after_it_was_redacted() -> None:
    found, _ = side({"text": "x" * 2000 + " a@b.example"}, BodyRule(redact=("email",), bytes_max=2020))
    assert found.truncated
    assert found.size_bytes == 2024
    assert found.body == '{"text":"' + "x" * 2000 + " [redacted:"[:11]
    cut, _ = side({"text": "ü" * 1000}, BodyRule(bytes_max=1024))
    assert cut.body.endswith("ü")


def test_a_body_that_is_no_json_is_redacted_as_text() -> None:
    found, _ = side(b'{"broken": a@b.example \xff')
    assert found.body == '{"broken": [redacted:email] \ufffd'
    hidden, _ = side(b'{"broken": "a\\u0040b.example')
    assert hidden.body == '{"broken": "[redacted:email]'
    deep, _ = side(b"[" * 100_000)
    assert deep.body.startswith("[[")
    nested, _ = side(b'{"a":' * 300 + b'"x@y.example"' + b"}" * 300)
    assert "x@y" not in json.dumps(nested.body)


def test_patterns_of_an_account() -> None:
    found, _ = side({"a": "EMP-1234 and EMP-12"}, BodyRule(patterns=(r"\bEMP-\d{4}\b",)))
    assert found.body == {"a": "[redacted:pattern] and EMP-12"}


def test_the_share_that_is_kept_is_the_same_for_the_same_exchange() -> None:
    ids = [f"gen-{n}" for n in range(2000)]
    assert all(is_sampled(id_, 1.0) for id_ in ids)
    assert not any(is_sampled(id_, 0.0) for id_ in ids)
    third = [id_ for id_ in ids if is_sampled(id_, 0.3)]
    assert 500 < len(third) < 700
    assert set(third) <= {id_ for id_ in ids if is_sampled(id_, 0.5)}


@pytest.mark.parametrize(
    "unit",
    [
        "a@",
        "1 ",
        ":",
        "+1 ",
        "DE12 ",
        "://a:",
        "eyJ",
        "-----BEGIN ",
        "sk-a",
        "0 1",
        "1.",
        "data:a/b;x",
        "(12)",
    ],
)
def test_no_text_keeps_it_busy(unit: str) -> None:
    text = unit * 5000
    assert len(Redactor(KINDS).text(text)) > 0
