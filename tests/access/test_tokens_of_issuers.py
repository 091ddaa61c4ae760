"""Tokens of issuers: what is right is taken, and nothing else."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils

from llm_router.adapters.jwt import verified_claims

NOW_S = 1_800_000_000
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def number(value: int) -> str:
    return b64(value.to_bytes((value.bit_length() + 7) // 8, "big"))


def rsa_jwk(kid: str, key: rsa.RSAPrivateKey = RSA, **members: str) -> dict[str, Any]:
    public = key.public_key().public_numbers()
    return {"kty": "RSA", "kid": kid, "n": number(public.n), "e": number(public.e), **members}


def keys() -> list[dict[str, Any]]:
    point = EC.public_key().public_numbers()
    raw = ED.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return [
        rsa_jwk("r", use="sig"),
        {"kty": "EC", "kid": "e", "crv": "P-256", "x": b64(point.x.to_bytes(32, "big")), "y": b64(point.y.to_bytes(32, "big"))},
        {"kty": "OKP", "kid": "d", "crv": "Ed25519", "x": b64(raw)},
    ]  # fmt: skip


def sign(algorithm: str, data: bytes, key: rsa.RSAPrivateKey = RSA) -> bytes:
    if algorithm == "RS256":
        return key.sign(data, padding.PKCS1v15(), hashes.SHA256())
    if algorithm == "PS256":
        return key.sign(data, padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256())
    if algorithm == "ES256":
        r, s = utils.decode_dss_signature(EC.sign(data, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")
    return ED.sign(data)


def token(
    algorithm: str = "RS256", kid: str | None = "r", signature: bytes | None = None, **claims: Any
) -> str:
    head = {"alg": algorithm} | ({} if kid is None else {"kid": kid})
    body = {"iss": "https://issuer.test", "aud": "me", "sub": "s", "exp": NOW_S + 60, "nonce": "n", **claims}
    body = {name: value for name, value in body.items() if value is not None}
    signed = f"{b64(json.dumps(head).encode())}.{b64(json.dumps(body).encode())}"
    return f"{signed}.{b64(sign(algorithm, signed.encode()) if signature is None else signature)}"


def read(text: str, shown: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    return verified_claims(
        text,
        keys() if shown is None else shown,
        issuer="https://issuer.test",
        audience="me",
        nonce="n",
        now_s=NOW_S,
    )


@pytest.mark.parametrize(
    ("algorithm", "kid"), [("RS256", "r"), ("PS256", "r"), ("ES256", "e"), ("EdDSA", "d"), ("RS256", None)]
)
def test_what_the_issuer_signed_is_taken(algorithm, kid):
    assert read(token(algorithm, kid))["sub"] == "s"
    assert read(token(algorithm, kid, aud=["me", "you"], azp="me"))["sub"] == "s"


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://issuer.test/"},
        {"aud": "you"},
        {"aud": ["me", "you"]},
        {"aud": None},
        {"exp": NOW_S - 61},
        {"exp": None},
        {"exp": "later"},
        {"nbf": NOW_S + 61},
        {"nonce": "other"},
        {"nonce": None},
        {"sub": ""},
        {"sub": 5},
    ],
)
def test_what_is_not_meant_for_this_is_refused(claims):
    with pytest.raises(ValueError, match="it "):
        read(token(**claims))


def test_what_others_signed_is_refused():
    good = token()
    signed, _, signature = good.rpartition(".")
    wrong = {
        "another key": token(signature=sign("RS256", b"x", OTHER)),
        "no signature": token(signature=b""),
        "changed": f"{signed}x.{signature}",
        "no token": "a.b",
        "no JSON": "AAAA.AAAA.AAAA",
    }
    for text in wrong.values():
        with pytest.raises(ValueError, match="it"):
            read(text)


@pytest.mark.parametrize("algorithm", ["none", "HS256", "None", ""])
def test_algorithms_without_a_public_key_are_refused(algorithm):
    head, body = {"alg": algorithm, "kid": "r"}, json.dumps({"sub": "s"}).encode()
    signed = f"{b64(json.dumps(head).encode())}.{b64(body)}"
    secret = json.dumps(keys()[0]).encode()  # the public key as a shared secret
    for signature in (b"", hmac.new(secret, signed.encode(), hashlib.sha256).digest()):
        with pytest.raises(ValueError, match="not taken"):
            read(f"{signed}.{b64(signature)}")


def test_a_key_that_is_not_shown_is_asked_for_again():
    with pytest.raises(KeyError):
        read(token(kid="new"))
    with pytest.raises(KeyError):
        read(token(), [rsa_jwk("r", use="enc")])


def test_short_keys_are_refused():
    short = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    with pytest.raises(ValueError, match="too short"):
        read(token(), [rsa_jwk("r", short)])
