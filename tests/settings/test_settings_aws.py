"""Keys of AWS: where they are found, when they are used, and what is no key."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from llm_router.catalog.snapshot import compile_snapshot, load_builtin
from llm_router.settings import ConfigError, Settings, load

PAIR = {"AWS_ACCESS_KEY_ID": "AKIAEXAMPLE0EXAMPLE0", "AWS_SECRET_ACCESS_KEY": "se/cret+"}
HERE = """
[providers.rock]
base_url = "https://bedrock-runtime.{env:AWS_REGION}.amazonaws.com"
dialect = "bedrock_converse"
auth = "sigv4"
"""
ELSEWHERE = HERE.replace("bedrock-runtime.{env:AWS_REGION}.amazonaws.com", "proxy.example")


def key(settings: Settings) -> str | None:
    found = settings.provider_keys.get("rock")
    return None if found is None else found.reveal()


def test_the_usual_variables(load_text: Callable[..., Settings]) -> None:
    region = {"AWS_REGION": "eu-west-1"}
    assert key(load_text(HERE, {**PAIR, **region})) == "AKIAEXAMPLE0EXAMPLE0:se/cret+"
    token = load_text(HERE, {**PAIR, **region, "AWS_SESSION_TOKEN": "to/ken=="})
    assert key(token) == "AKIAEXAMPLE0EXAMPLE0:se/cret+:to/ken=="
    assert "rock" not in token.inactive
    (provider,) = (p for p in token.providers if p.id == "rock")
    assert provider.base_url == "https://bedrock-runtime.eu-west-1.amazonaws.com"


def test_half_a_pair_is_none(load_text: Callable[..., Settings]) -> None:
    for name in PAIR:
        settings = load_text(HERE, {name: PAIR[name], "AWS_REGION": "eu-west-1"})
        assert settings.inactive["rock"] == "set AWS_ACCESS_KEY_ID with AWS_SECRET_ACCESS_KEY"


def test_a_key_of_the_file(load_text: Callable[..., Settings]) -> None:
    for text in ("AKIAEXAMPLE0EXAMPLE0:a", "ASIAEXAMPLE0EXAMPLE0:a:b", "ABSKQmVkcm9ja0FQSUtleQ=="):
        settings = load_text(HERE + 'key = "env:KEY"', {"KEY": text, "AWS_REGION": "eu-west-1", **PAIR})
        assert key(settings) == text


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("AKIAEXAMPLE0EXAMPLE0", "the secret behind the access key is missing"),
        ("AKIAEXAMPLE0EXAMPLE0:", "its secret is empty"),
        ("AKIAEXAMPLE0EXAMPLE0:s:", "its session token is empty"),
        ("a:b:c:d", "it has 4 parts between colons"),
        ("AKIAX:SECRETX", "its access key has 5 characters, and one of AWS 16 or more"),
        ("AKIA-EXAMPLE0EXAMPLE0:SECRETX", "its access key holds other characters"),
    ],
)
def test_what_is_no_key(load_text: Callable[..., Settings], text: str, why: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_text(HERE + 'key = "env:KEY"', {"KEY": text, "AWS_REGION": "eu-west-1"})
    assert "providers.rock.key" in str(caught.value)
    assert why in str(caught.value)
    assert "ACCESS_KEY:SECRET" in str(caught.value)
    assert text not in str(caught.value)


def test_the_region_is_of_the_address_or_told(load_text: Callable[..., Settings]) -> None:
    lost = load_text(ELSEWHERE, PAIR)
    assert lost.inactive["rock"] == "set auth_name under [providers.rock] to the AWS region to sign for"
    assert "rock" not in load_text(ELSEWHERE + 'auth_name = "us-east-1"', PAIR).inactive
    assert "rock" not in load_text(ELSEWHERE + 'key = "env:KEY"', {"KEY": "ABSKQmVkcm9jaw=="}).inactive
    with pytest.raises(ConfigError, match="region"):
        load_text(ELSEWHERE + 'auth_name = "us east"', PAIR)


def test_the_catalogues_provider_leaves_general_keys_alone() -> None:
    catalog, region = compile_snapshot(load_builtin()), {"AWS_REGION": "us-east-1", "HOME": "/nowhere"}
    assert load(None, {**PAIR, **region}, catalog).inactive["bedrock"] == "set AWS_BEARER_TOKEN_BEDROCK"
    assert (
        load(None, {**PAIR, "HOME": "/nowhere"}, catalog).inactive["bedrock"]
        == "set AWS_REGION or AWS_DEFAULT_REGION (the AWS region; or parameters.region under "
        "[providers.bedrock]) and AWS_BEARER_TOKEN_BEDROCK"
    )
    active = load(None, {**region, "AWS_BEARER_TOKEN_BEDROCK": "ABSKQmVkcm9jaw=="}, catalog)
    assert "bedrock" not in active.inactive


def test_a_bare_table_is_the_operators_word(tmp_path: Path) -> None:
    file = tmp_path / "router.toml"
    file.write_text("[providers.bedrock]\n")
    settings = load(
        file, {**PAIR, "AWS_REGION": "us-east-1", "HOME": "/nowhere"}, compile_snapshot(load_builtin())
    )
    assert "bedrock" not in settings.inactive
    assert settings.provider_keys["bedrock"].reveal() == "AKIAEXAMPLE0EXAMPLE0:se/cret+"
