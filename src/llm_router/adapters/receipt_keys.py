"""The keys that sign receipts: Ed25519, made at the first call, readable by their owner alone.

The file holds one secret of 32 bytes a line, in base64: the oldest first, and the last one signs. Those
before it stay, so that what they signed can be told from what nobody signed.

Signatures are JWS (RFC 7515) with EdDSA, keys a JWK set (RFC 7517, RFC 8037), key ids their thumbprints
(RFC 7638).
"""

from __future__ import annotations

import base64
import binascii
import fcntl
import hashlib
import json
import os
import secrets
from pathlib import Path

from llm_router.domain.errors import ServerError

FILE_NAME = "receipts.key"
SECRET_BYTES = 32


def receipt_keys(named: Path | None, data_dir: Path) -> ReceiptKeys:
    """The keys in the named file, else those in the data folder."""
    return ReceiptKeys(data_dir / FILE_NAME if named is None else named, ours=named is None)


class ReceiptKeys:
    """The port ReceiptSigner over a file. What another process adds to the file is seen at once."""

    def __init__(self, path: Path, *, ours: bool) -> None:
        """``ours``: it is made where it is missing, and may be added to."""
        self._path = path
        self._ours = ours
        self._stamp: tuple[int, int] | None = None
        self._keys: tuple[_SigningKey, ...] = ()

    def sign(self, text: str) -> str:
        """The compact JWS of a text.

        Raises:
            ServerError: there is no key.
        """
        key = self._load()[-1]
        signed = f"{key.head}.{_base64(text.encode())}"
        return f"{signed}.{_base64(key.private.sign(signed.encode()))}"

    def public(self) -> list[dict[str, str]]:
        """All public keys, the one that signs first.

        Raises:
            ServerError: there is no key.
        """
        return [key.jwk for key in reversed(self._load())]

    def rotate(self) -> str:
        """Add a key, which signs from now on; return its id.

        Raises:
            ServerError: the file is not ours to change, or cannot be written.
        """
        if not self._ours:
            raise ServerError(
                f"the keys of receipts are those of {self._path}: add a line to that file there "
                "(32 random bytes in base64); the last line signs",
                code="receipt_keys_elsewhere",
            )
        self._load()
        try:
            with (self._path.parent / f".{FILE_NAME}.lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                self._write([*self._path.read_text().split(), _new_secret()])
        except OSError as error:
            raise _refused(self._path, f"cannot be written: {error.strerror or error}") from None
        return self._load()[-1].id

    def _load(self) -> tuple[_SigningKey, ...]:
        try:
            if self._ours and not self._path.exists():
                with (self._path.parent / f".{FILE_NAME}.lock").open("w") as lock:
                    fcntl.flock(lock, fcntl.LOCK_EX)  # of processes that start together, one makes it
                    if not self._path.exists():
                        self._write([_new_secret()])
            found = self._path.stat()
            stamp = (found.st_mtime_ns, found.st_ino)
            if stamp != self._stamp:
                self._keys = tuple(self._key(word) for word in self._path.read_text().split())
                self._stamp = stamp
        except (OSError, UnicodeDecodeError) as error:
            raise _refused(
                self._path, f"cannot be used: {getattr(error, 'strerror', None) or error}"
            ) from None
        if not self._keys:
            raise _refused(self._path, "holds no key")
        return self._keys

    def _key(self, word: str) -> _SigningKey:
        try:
            secret = base64.b64decode(word, validate=True)
        except (binascii.Error, ValueError):
            secret = b""
        if len(secret) != SECRET_BYTES:
            raise _refused(self._path, f"must hold lines of {SECRET_BYTES} bytes in base64")
        return _SigningKey(secret)

    def _write(self, words: list[str]) -> None:
        """Under another name first: a crash leaves the old file or the new one."""
        draft = self._path.with_suffix(f".{os.getpid()}")
        file = os.open(draft, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
        try:
            os.write(file, "".join(f"{word}\n" for word in words).encode())
            os.fsync(file)
        finally:
            os.close(file)
        draft.replace(self._path)


class _SigningKey:
    def __init__(self, secret: bytes) -> None:
        # megabytes that most gateways never need
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        self.private = Ed25519PrivateKey.from_private_bytes(secret)
        x = _base64(self.private.public_key().public_bytes_raw())
        self.id = _base64(hashlib.sha256(_json({"crv": "Ed25519", "kty": "OKP", "x": x})).digest())
        self.jwk = {"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": self.id, "x": x}
        self.head = _base64(_json({"alg": "EdDSA", "kid": self.id}))


def _new_secret() -> str:
    return base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def _json(members: dict[str, str]) -> bytes:
    return json.dumps(members, separators=(",", ":")).encode()


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _refused(path: Path, why: str) -> ServerError:
    """Clients are told it too: it names the file, but not its folder."""
    return ServerError(f"the file of the keys of receipts, {path.name}, {why}", code="receipt_keys_unusable")
