"""Signatures for AWS: the published examples, AWS's own client as a second opinion, and what is signed."""

from __future__ import annotations

import importlib.util

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_router.wire import sigv4

EXAMPLE = sigv4.AwsCredentials(
    access_key="AKIDEXAMPLE", secret_key="wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
)
MOMENT = "20150830T123600Z"
CONVERSE = "https://bedrock-runtime.us-east-1.amazonaws.com/model/us.anthropic.claude-x-v1%3A0/converse"


def sign(
    method: str, url: str, headers: dict[str, str], body: bytes = b"", **changes: object
) -> dict[str, str]:
    given: dict[str, object] = {
        "credentials": EXAMPLE, "region": "us-east-1", "service": "bedrock", "amz_date": MOMENT, **changes,
    }  # fmt: skip
    return sigv4.sign(method, url, headers, body, **given)  # type: ignore[arg-type]


def signature(headers: dict[str, str]) -> str:
    return headers["authorization"].rpartition("Signature=")[2]


FORM = {"content-type": "application/x-www-form-urlencoded; charset=utf-8"}


@pytest.mark.parametrize(
    ("method", "url", "headers", "service", "expected"),
    [
        ("GET", "https://iam.amazonaws.com/?Action=ListUsers&Version=2010-05-08", FORM, "iam",
         "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"),
        ("GET", "https://example.amazonaws.com/", {}, "service",
         "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
        ("POST", "https://example.amazonaws.com/", {}, "service",
         "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
        ("GET", "https://example.amazonaws.com/?Param2=value2&Param1=value1", {}, "service",
         "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"),
    ],
    ids=["iam", "get", "post", "query in order"],
)  # fmt: skip
def test_the_signatures_that_aws_publishes(
    method: str, url: str, headers: dict[str, str], service: str, expected: str
) -> None:
    assert signature(sign(method, url, headers, service=service)) == expected


def test_the_headers_are_those_that_aws_reads() -> None:
    added = sign("POST", CONVERSE, {"Content-Type": "application/json"}, b"{}")
    assert set(added) == {"x-amz-date", "authorization"}
    assert added["x-amz-date"] == MOMENT
    assert added["authorization"].startswith(
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/bedrock/aws4_request, "
        "SignedHeaders=content-type;host;x-amz-date, Signature="
    )


def test_a_session_token_is_sent_and_signed() -> None:
    temporary = sigv4.AwsCredentials(access_key="A" * 16, secret_key="s", session_token="token")
    added = sign("POST", CONVERSE, {}, b"{}", credentials=temporary)
    assert added["x-amz-security-token"] == "token"
    assert "SignedHeaders=host;x-amz-date;x-amz-security-token," in added["authorization"]


def test_a_model_id_is_encoded_once_more_than_it_is_sent() -> None:
    text = sigv4.canonical_request("POST", CONVERSE, {"host": "h"}, "-")
    assert text.splitlines()[1] == "/model/us.anthropic.claude-x-v1%253A0/converse"


@pytest.mark.parametrize(
    "change",
    [
        {"body": b"{ }"}, {"url": CONVERSE + "-stream"}, {"headers": {"content-type": "text/plain"}},
        {"amz_date": "20150830T123601Z"}, {"region": "us-west-2"}, {"service": "other"}, {"method": "PUT"},
        {"credentials": sigv4.AwsCredentials(access_key="AKIDEXAMPLE", secret_key="another")},
    ],
)  # fmt: skip
def test_every_argument_counts(change: dict[str, object]) -> None:
    given: dict[str, object] = {
        "method": "POST", "url": CONVERSE, "headers": {"content-type": "application/json"}, "body": b"{}",
    }  # fmt: skip
    assert signature(sign(**given)) != signature(sign(**(given | change)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://h.example/", "h.example"),
        ("https://h.example:443/", "h.example"),
        ("http://h.example:443/", "h.example:443"),
        ("http://127.0.0.1:8080/x", "127.0.0.1:8080"),
        ("https://H.Example./", "h.example"),
        ("http://[::1]:8080/", "[::1]:8080"),
    ],
)
def test_the_host_is_signed_as_it_is_sent(url: str, host: str) -> None:
    alone = sign("POST", url, {})
    assert signature(alone) == signature(sign("POST", url, {"host": host}))


def test_a_moment_as_aws_writes_it() -> None:
    assert sigv4.amz_date_of(1_440_938_160_999) == MOMENT


@pytest.mark.parametrize(
    ("url", "region"),
    [
        ("https://bedrock-runtime.us-east-1.amazonaws.com", "us-east-1"),
        ("https://bedrock-runtime-fips.us-gov-west-1.amazonaws.com", "us-gov-west-1"),
        ("https://bedrock-runtime.cn-north-1.amazonaws.com.cn/x", "cn-north-1"),
        ("https://vpce-0a1b-2c3d.bedrock-runtime.eu-west-3.vpce.amazonaws.com", "eu-west-3"),
        ("https://bedrock-runtime.example.com", None),
        ("https://proxy.example/bedrock-runtime.us-east-1.amazonaws.com", None),
        ("http://127.0.0.1:9", None),
    ],
)
def test_the_region_of_an_address(url: str, region: str | None) -> None:
    assert sigv4.region_of(url) == region


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("AKIAEXAMPLE0EXAMPLE0:abc/+=", ("AKIAEXAMPLE0EXAMPLE0", "abc/+=", None)),
        ("ASIAEXAMPLE0EXAMPLE0:abc:IQoJ+/=", ("ASIAEXAMPLE0EXAMPLE0", "abc", "IQoJ+/=")),
        ("ABSKQmVkcm9ja0FQSUtleS1leGFtcGxl", None),
        ("AKIAEXAMPLE0EXAMPLE0:", None),
        ("AKIAEXAMPLE0EXAMPLE0:a:b:c", None),
        ("short:secret", None),
        ("", None),
    ],
)
def test_credentials_are_read_or_refused(text: str, expected: tuple[str, str, str | None] | None) -> None:
    found = sigv4.parse_credentials(text)
    told = None if found is None else (found.access_key, found.secret_key, found.session_token)
    assert told == expected


def test_credentials_do_not_show_themselves() -> None:
    assert "wJalr" not in f"{EXAMPLE!r} {EXAMPLE}"


BOTOCORE = importlib.util.find_spec("botocore") is not None
segments = st.text(st.sampled_from("abcXYZ019-_.~"), min_size=1, max_size=8).filter(lambda s: set(s) != {"."})
encoded = st.lists(st.sampled_from(["%3A", "%2F", "%20", "%25", "x", "9"]), max_size=4).map("".join)
values = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=12)


@pytest.mark.skipif(not BOTOCORE, reason="botocore is not installed")
@settings(max_examples=150)
@given(
    path=st.lists(st.tuples(segments, encoded).map("".join), max_size=4),
    query=st.dictionaries(segments, segments, max_size=3),
    headers=st.dictionaries(st.sampled_from(["content-type", "x-amz-meta", "accept"]), values),
    body=st.binary(max_size=64),
    token=st.none() | segments,
)
def test_aws_own_client_signs_alike(
    path: list[str], query: dict[str, str], headers: dict[str, str], body: bytes, token: str | None
) -> None:
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    url = "https://bedrock-runtime.eu-west-1.amazonaws.com/" + "/".join(path)
    url += "?" + "&".join(f"{name}={value}" for name, value in query.items()) if query else ""
    mine = sign(
        "POST", url, headers, body, region="eu-west-1",
        credentials=sigv4.AwsCredentials(access_key="AKIDEXAMPLE", secret_key="secret", session_token=token),
    )  # fmt: skip
    request = AWSRequest(method="POST", url=url, data=body, headers={**headers, "x-amz-date": MOMENT})
    if token is not None:
        request.headers["x-amz-security-token"] = token
    request.context["timestamp"] = MOMENT
    signer = SigV4Auth(Credentials("AKIDEXAMPLE", "secret", token), "bedrock", "eu-west-1")
    text = signer.string_to_sign(request, signer.canonical_request(request))
    assert signature(mine) == signer.signature(text, request)
