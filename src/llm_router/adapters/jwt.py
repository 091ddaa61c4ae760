"""Tokens that an issuer signed: https://www.rfc-editor.org/rfc/rfc7519, algorithms of RFC 7518 and 8037.

Only signatures by public keys are taken: never "none", and never one by a shared secret.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any

SKEW_S = 60
"""How far clocks may be apart."""

BYTES_MAX = 64 * 1024

_HASHES = {"256": "SHA256", "384": "SHA384", "512": "SHA512"}
_CURVES = {
    "ES256": ("P-256", "SECP256R1", 32),
    "ES384": ("P-384", "SECP384R1", 48),
    "ES512": ("P-521", "SECP521R1", 66),
}


def verified_claims(
    token: str, keys: list[dict[str, Any]], *, issuer: str, audience: str, nonce: str, now_s: int
) -> dict[str, Any]:
    """The claims of an id_token (OpenID Connect Core, 3.1.3.7).

    Raises:
        KeyError: none of the keys is the one that it names.
        ValueError: it is not signed by them, or not meant for this.
    """
    if len(token) > BYTES_MAX or token.count(".") != 2:
        raise ValueError("it is no signed token")
    signed, _, signature = token.rpartition(".")
    head, body = (_json(part) for part in signed.split("."))
    _verify(signed.encode(), _bytes(signature), head, keys)
    audiences = body.get("aud")
    audiences = audiences if isinstance(audiences, list) else [audiences]
    if body.get("iss") != issuer:
        raise ValueError("it is of another issuer")
    if audience not in audiences or (len(audiences) > 1 and body.get("azp") != audience):
        raise ValueError("it is for somebody else")
    expires = body.get("exp")
    if isinstance(expires, bool) or not isinstance(expires, int | float) or expires + SKEW_S <= now_s:
        raise ValueError("it has expired")
    begins = body.get("nbf", 0)
    if isinstance(begins, bool) or not isinstance(begins, int | float) or begins - SKEW_S > now_s:
        raise ValueError("it does not hold yet")
    if body.get("nonce") != nonce:
        raise ValueError("it is not the answer to this sign-in")
    if not isinstance(body.get("sub"), str) or not body["sub"]:
        raise ValueError("it names nobody")
    return body


def _verify(signed: bytes, signature: bytes, head: dict[str, Any], keys: list[dict[str, Any]]) -> None:
    from cryptography.exceptions import InvalidSignature

    algorithm, named = str(head.get("alg")), head.get("kid")
    if "crit" in head:
        raise ValueError("it asks for what is not known here")
    fitting = [
        key
        for key in keys
        if key.get("kty") == _kind(algorithm)
        and key.get("use", "sig") == "sig"
        and key.get("alg", algorithm) == algorithm
        and (named is None or key.get("kid") == named)
    ]
    if not fitting:
        raise KeyError(named)
    for key in fitting:
        try:
            _check(algorithm, key, signed, signature)
            return
        except InvalidSignature:
            continue
    raise ValueError("its signature is wrong")


def signs(algorithm: object) -> bool:
    """Whether signatures by that algorithm are taken."""
    try:
        return bool(_kind(str(algorithm)))
    except ValueError:
        return False


def _kind(algorithm: str) -> str:
    """
    Raises:
        ValueError: it is no algorithm of public keys.
    """
    if algorithm[:2] in ("RS", "PS") and algorithm[2:] in _HASHES:
        return "RSA"
    if algorithm in _CURVES:
        return "EC"
    if algorithm == "EdDSA":
        return "OKP"
    raise ValueError(f"its algorithm '{algorithm[:20]}' is not taken")


def _check(algorithm: str, key: dict[str, Any], signed: bytes, signature: bytes) -> None:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils

    if algorithm == "EdDSA":
        if key.get("crv") != "Ed25519":
            raise ValueError("its curve is not taken")
        ed25519.Ed25519PublicKey.from_public_bytes(_member(key, "x")).verify(signature, signed)
        return
    digest: hashes.HashAlgorithm = getattr(hashes, _HASHES[algorithm[2:]])()
    if algorithm in _CURVES:
        curve, name, size = _CURVES[algorithm]
        if key.get("crv") != curve or len(signature) != 2 * size:
            raise ValueError("its key is of another curve")
        numbers = ec.EllipticCurvePublicNumbers(_number(key, "x"), _number(key, "y"), getattr(ec, name)())
        pair = utils.encode_dss_signature(
            int.from_bytes(signature[:size], "big"), int.from_bytes(signature[size:], "big")
        )
        numbers.public_key().verify(pair, signed, ec.ECDSA(digest))
        return
    public = rsa.RSAPublicNumbers(_number(key, "e"), _number(key, "n")).public_key()
    if public.key_size < 2048:
        raise ValueError("its key is too short")
    if algorithm.startswith("RS"):
        public.verify(signature, signed, padding.PKCS1v15(), digest)
    else:
        public.verify(signature, signed, padding.PSS(padding.MGF1(digest), digest.digest_size), digest)


def _member(key: dict[str, Any], name: str) -> bytes:
    value = key.get(name)
    if not isinstance(value, str):
        raise ValueError("its key lacks something")
    return _bytes(value)


def _number(key: dict[str, Any], name: str) -> int:
    return int.from_bytes(_member(key, name), "big")


def _bytes(text: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        raise ValueError("it is no token") from None


def _json(text: str) -> dict[str, Any]:
    try:
        found = json.loads(_bytes(text))
    except (ValueError, RecursionError):
        raise ValueError("it is no token") from None
    if not isinstance(found, dict):
        raise ValueError("it is no token")
    return found
