"""What the scripts of agents share: a folder to work in, the agent's command, a session to play.

The simulated model calls the agent's own tools in the order that the prompt gives (see the orders in
docs/sandbox.md), so that a session really reads, runs and writes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "python"))


HOME = Path(os.environ["LLM_ROUTER_CLIENT_HOME"])
TURN_S = 60
NOTE = "The word is marzipan."


def version_of(package: str) -> str:
    """The version of an installed npm package."""
    found = json.loads((HOME / "node_modules" / package / "package.json").read_text())
    return str(found["version"])


def program(name: str) -> str:
    for folder in (HOME / "node_modules" / ".bin", HOME / "bin"):
        if (folder / name).exists():
            return str(folder / name)
    raise FileNotFoundError(f"{name} is not in {HOME}")


def work_folder() -> Path:
    """A folder with a note in it, for one session."""
    folder = Path(tempfile.mkdtemp(prefix="agent-")).resolve()
    (folder / "note.txt").write_text(NOTE)
    return folder


def turn(command: list[str], folder: Path, environ: dict[str, str], *, status: int | None = 0) -> str:
    """Run the agent once, without a terminal; what it prints. Status None: it must fail.

    Raises:
        AssertionError: it ended otherwise.
    """
    done = subprocess.run(
        command,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TURN_S,
        env={"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], **environ},
    )
    said = done.stdout + done.stderr
    good = done.returncode == status if status is not None else done.returncode != 0
    assert good, f"status {done.returncode}: {said[-500:]}"
    return said


def script(*steps: tuple[str, object]) -> str:
    """A prompt that has the model call these tools, one after the other."""
    told = [
        f"[[{'then ' if n else ''}call {tool} {json.dumps(input_)}]]"
        for n, (tool, input_) in enumerate(steps)
    ]
    return " ".join(["Do as you are told.", *told])


def wrote(folder: Path) -> None:
    """See to it that the session's command ran."""
    found = (folder / "out.txt").read_text() if (folder / "out.txt").exists() else None
    assert found == "hello\n", f"the session wrote {found!r}"


COMMAND = "echo hello > out.txt; cat out.txt"
