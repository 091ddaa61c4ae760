"""Credentials of Google: the JSON of a service account or of a user, or those of this machine.

https://cloud.google.com/docs/authentication/application-default-credentials
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import msgspec

from llm_router.ports import MACHINE_CREDENTIALS
from llm_router.settings.secrets import Secret, SecretError, expand_home, file_text, variable_text

_MEMBERS = {
    "service_account": ("client_email", "private_key", "token_uri"),
    "authorized_user": ("client_id", "client_secret", "refresh_token"),
    "external_account": ("audience", "subject_token_type", "token_url", "credential_source"),
}
"""What each kind of credentials must hold. https://google.aip.dev/auth/4110"""

_PEM = re.compile(
    r"\s*-----BEGIN (?:RSA )?PRIVATE KEY-----([A-Za-z0-9+/=\s]+)-----END (?:RSA )?PRIVATE KEY-----\s*"
)
LIBRARIES = ("google.auth", "requests")
"""What the extra ``vertex`` installs."""
_USUAL = "application_default_credentials.json"


def google_key(reference: str, environ: Mapping[str, str], folder: Path) -> Secret:
    """Resolve ``file:PATH`` or ``env:NAME`` (to the JSON of credentials), or ``metadata``.

    Raises:
        SecretError: there are no Google credentials. The message holds no part of what is there.
    """
    if reference == MACHINE_CREDENTIALS:
        return Secret(MACHINE_CREDENTIALS)
    if reference.startswith("env:"):
        name = reference.removeprefix("env:").strip()
        return _credentials(variable_text(name, environ), f"the environment variable {name}")
    if reference.startswith("file:"):
        path = folder / expand_home(reference.removeprefix("file:").strip(), environ)
        return _credentials(file_text(path), f"the file {path}")
    raise SecretError(
        'must be "file:PATH" of the JSON file of a service account, "env:NAME" with that JSON, or "metadata" '
        "on a machine of Google's"
    )


def named_credentials(name: str, environ: Mapping[str, str]) -> Secret | None:
    """The credentials whose file an environment variable names; None if it is not set.

    Raises:
        SecretError: the file is not there, or holds no Google credentials.
    """
    text = environ.get(name, "").strip()
    if not text:
        return None
    path = expand_home(text, environ)
    return _credentials(file_text(path), f"the file {path} (of {name})")


def usual_credentials(environ: Mapping[str, str]) -> Secret | None:
    """What ``gcloud auth application-default login`` has left for this user; None if there is nothing.

    Raises:
        SecretError: it cannot be read.
    """
    home = environ.get("HOME")
    folder = environ.get("CLOUDSDK_CONFIG") or (f"{home}/.config/gcloud" if home else None)
    if folder is None or not (Path(folder) / _USUAL).is_file():
        return None
    path = Path(folder) / _USUAL
    return _credentials(file_text(path), f"the file {path}")


def _credentials(text: str, what: str) -> Secret:
    try:
        found = msgspec.json.decode(text)
    except msgspec.DecodeError:
        found = None
    kind = found.get("type") if isinstance(found, dict) else None
    if not isinstance(found, dict) or not isinstance(kind, str) or kind not in _MEMBERS:
        raise SecretError(f"{what} holds no Google credentials (the JSON of a service account or of a user)")
    if lacking := [name for name in _MEMBERS[kind] if not found.get(name)]:
        raise SecretError(f"{what} holds incomplete Google credentials, without {' and '.join(lacking)}")
    if kind == "service_account" and not _is_private_key(found["private_key"]):
        raise SecretError(
            f"{what} holds Google credentials whose private_key is cut or changed; download the key of the "
            "service account again"
        )
    return Secret(msgspec.json.encode(found).decode())


def _is_private_key(text: object) -> bool:
    """Whether the text is a whole key: its PEM frame around one DER sequence of the length that it says.

    https://www.rfc-editor.org/rfc/rfc7468 and https://www.itu.int/rec/T-REC-X.690
    """
    framed = _PEM.fullmatch(text) if isinstance(text, str) else None
    if framed is None:
        return False
    try:
        der = base64.b64decode("".join(framed[1].split()), validate=True)
    except ValueError:
        return False
    if len(der) < 4 or der[0] != 0x30:
        return False
    if der[1] < 0x80:
        return len(der) == 2 + der[1]
    size = der[1] & 0x7F
    return len(der) == 2 + size + int.from_bytes(der[2 : 2 + size], "big")


def library_lacking() -> bool:
    """Whether what makes tokens of credentials is not installed."""
    return not all(map(_is_installed, LIBRARIES))


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # not even the package around it
        return False
