"""The data folder: made for its owner alone, or refused in one clear sentence."""

from __future__ import annotations

import os
from pathlib import Path

from llm_router.domain.errors import ServerError

STORE_NAME = "llm-router.db"
"""The SQLite database in the data folder."""


DIRECTORY_NAME = "directory.db"
"""The SQLite database of accounts and people beside it."""

RESPONSES_NAME = "responses.db"
"""The SQLite database of kept responses beside it."""


BODIES_NAME = "bodies.db"
"""The SQLite database of what accounts have kept of what was said, beside it."""


def prepare_data_dir(path: Path) -> Path:
    """Make the folder if it is missing; return the path of the store in it.

    Raises:
        ServerError: it is not a folder, or cannot be made or written.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except FileExistsError:
        raise _refused(path, "is not a folder") from None
    except OSError as error:
        raise _refused(path, f"cannot be made: {error.strerror or error}") from None
    if not os.access(path, os.W_OK | os.X_OK):
        raise _refused(path, "cannot be written by this user")
    return path / STORE_NAME


def _refused(path: Path, why: str) -> ServerError:
    return ServerError(
        f"the data folder {path} {why}; choose another with --data-dir or LLM_ROUTER_DATA_DIR",
        code="data_dir_unusable",
    )
