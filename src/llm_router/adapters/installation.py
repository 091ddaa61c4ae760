"""The secret of this installation: made once, kept beside the store, readable by its owner alone."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from llm_router.domain.errors import ServerError

FILE_NAME = "installation.key"
SECRET_BYTES = 32


def installation_secret(folder: Path) -> bytes:
    """The secret in the data folder; made at the first call.

    Whoever deletes the file makes what was sealed with it unreadable, and nothing else.

    Raises:
        ServerError: it cannot be made or read, or is no secret of ours.
    """
    path = folder / FILE_NAME
    try:
        if not path.exists():
            _make(path)
        found = path.read_bytes()
    except OSError as error:
        raise _refused(path, f"cannot be used: {error.strerror or error}") from None
    if len(found) != SECRET_BYTES:
        raise _refused(path, f"does not hold {SECRET_BYTES} bytes; delete it to have it made again")
    return found


def _make(path: Path) -> None:
    """Write it under another name first: a crash leaves a whole secret or none."""
    draft = path.with_suffix(f".{os.getpid()}")
    file = os.open(draft, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
    try:
        os.write(file, secrets.token_bytes(SECRET_BYTES))
        os.fsync(file)
    finally:
        os.close(file)
    draft.replace(path)


def _refused(path: Path, why: str) -> ServerError:
    return ServerError(f"the file {path} {why}", code="data_dir_unusable")
