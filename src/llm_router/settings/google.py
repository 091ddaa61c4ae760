"""Credentials of Google: the JSON of a service account or of a user, or those of this machine.

https://cloud.google.com/docs/authentication/application-default-credentials
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from llm_router.ports import MACHINE_CREDENTIALS
from llm_router.settings.secrets import Secret, SecretError, expand_home, file_text, variable_text

_KINDS = frozenset({"service_account", "authorized_user", "external_account"})
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
    if not isinstance(found, dict) or found.get("type") not in _KINDS:
        raise SecretError(f"{what} holds no Google credentials (the JSON of a service account or of a user)")
    return Secret(msgspec.json.encode(found).decode())
