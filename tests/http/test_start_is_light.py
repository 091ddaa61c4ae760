"""What a gateway that only waits has loaded: nothing that is needed by some requests alone."""

from __future__ import annotations

import gc
import subprocess
import sys

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from llm_router.adapters.heap import YOUNG_MAX, begin_start, end_start
from llm_router.adapters.sealing import _derived

HEAVY = (
    "cryptography", "smtplib", "email.message", "importlib.resources", "asyncpg", "botocore", "fpdf",
    "llm_router.wire.dialects.anthropic_messages", "llm_router.wire.dialects.bedrock_converse",
    "llm_router.wire.dialects.openai_responses.state", "llm_router.wire.embeddings.openai",
    "llm_router.edge.api.routes", "llm_router.engine.operations",
)  # fmt: skip


def loaded(code: str) -> set[str]:
    """The modules in a fresh interpreter after this code. What the environment itself loads does not count."""
    script = f"import sys; before = set(sys.modules)\n{code}\nprint(*(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.fixture(scope="module")
def gateway() -> set[str]:
    return loaded(
        "from llm_router.app import load_builtin, compile_snapshot\n"
        "import llm_router.workers, llm_router.cli.serve\n"
        "compile_snapshot(load_builtin())\n"
        "from llm_router.adapters.sealing import Sealer\n"
        "Sealer(b'secret', 'side-car')"
    )


@pytest.mark.parametrize("module", HEAVY)
def test_heavy_modules_wait_until_they_are_needed(gateway: set[str], module: str) -> None:
    assert "llm_router.edge.gateway" in gateway
    assert module not in gateway


def test_what_a_process_starts_with_is_not_collected() -> None:
    usual = gc.get_threshold()
    begin_start()
    try:
        assert not gc.isenabled()
        made = [[number] for number in range(1000)]
    finally:
        end_start()
    try:
        assert gc.isenabled()
        assert gc.get_freeze_count() >= len(made)
        assert gc.get_threshold() == (YOUNG_MAX, *usual[1:])
    finally:
        gc.unfreeze()
        gc.set_threshold(*usual)


def test_keys_are_derived_as_the_standard_says() -> None:
    secret = bytes(range(32))
    expected = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"llm-router side-car values").derive(
        secret
    )
    assert _derived(secret, "side-car values") == expected


def test_a_gateway_may_have_as_many_connections_as_the_system_allows() -> None:
    code = (
        "import resource as r; from llm_router.adapters.descriptors import allow_descriptors\n"
        "hard = min(2048, r.getrlimit(r.RLIMIT_NOFILE)[1]); r.setrlimit(r.RLIMIT_NOFILE, (256, hard))\n"
        "allow_descriptors(); assert r.getrlimit(r.RLIMIT_NOFILE) == (hard, hard)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
