"""Retries, health, deadlines, fallbacks and pools of keys as the file and the environment say them."""

from __future__ import annotations

from pathlib import Path

import pytest

from llm_router.catalog.snapshot import Snapshot, compile_snapshot, load_builtin
from llm_router.ports import Deadlines
from llm_router.routing.concurrency import ConcurrencyRules
from llm_router.routing.health import HealthRules, ProbeRules
from llm_router.routing.hedging import HedgeRules
from llm_router.routing.retry import RetryRules
from llm_router.settings import ConfigError, Settings, load


@pytest.fixture(scope="module")
def builtin() -> Snapshot:
    return compile_snapshot(load_builtin())


def read(builtin: Snapshot, folder: Path, text: str, **environ: str) -> Settings:
    path = folder / "router.toml"
    path.write_text(text)
    return load(path, {"HOME": str(folder), **environ}, builtin)


def test_without_a_word_the_rules_are_the_usual_ones(builtin: Snapshot, tmp_path: Path) -> None:
    settings = read(builtin, tmp_path, "")
    assert settings.retries == RetryRules()
    assert settings.health == HealthRules()
    assert settings.probes == ProbeRules()
    assert settings.concurrency == ConcurrencyRules()
    assert settings.fallbacks.empty
    assert settings.timeouts_by_model == {}


def test_what_is_said_arrives(builtin: Snapshot, tmp_path: Path) -> None:
    text = """
    [timeouts]
    idle_s = 7
    [retries]
    attempts_max = 5
    budget_percent = 12.5
    [health]
    enabled = false
    error_percent_max = 25
    [models."gpt-5".timeouts]
    total_s = 90.5
    [routing.fallbacks]
    general = ["gpt-5", "no-such-model"]
    [routing.fallbacks.keys.key_1]
    context = []
    [routing.probes]
    deployments = ["openai/*"]
    interval_s = 5
    [routing.concurrency]
    wait_max_s = 0.25
    latency_factor = 3
    [routing.concurrency.most]
    "gpu-box/*" = 8
    """
    settings = read(builtin, tmp_path, text)
    assert (settings.retries.attempts_max, settings.retries.budget) == (5, 0.125)
    assert (settings.health.enabled, settings.health.error_rate_max) == (False, 0.25)
    assert settings.timeouts_by_model == {"gpt-5": Deadlines(idle_s=7, total_s=90.5, own=("total_s",))}
    assert settings.concurrency == ConcurrencyRules(
        wait_s_max=0.25, latency_factor=3.0, most=(("gpu-box/*", 8),)
    )
    assert settings.fallbacks.every.general == ("gpt-5", "no-such-model")
    assert settings.fallbacks.keys["key_1"].context == ()
    assert settings.probes == ProbeRules(deployments=("openai/*",), interval_s=5.0)
    assert any("no-such-model" in warning for warning in settings.warnings)
    assert not any("'gpt-5'" in warning for warning in settings.warnings)


def test_who_goes_on_is_said_for_all_models_keys_and_presets(builtin: Snapshot, tmp_path: Path) -> None:
    text = """
    [continuation]
    mode = "on"
    models = { "claude-*" = "off" }
    keys = { key_1 = "equal" }
    presets = { mail = "off" }
    """
    rules = read(builtin, tmp_path, text).continuing
    assert [rules.mode_for(model) for model in ("gpt-5", "claude-x", None)] == ["on", "off", "on"]
    assert rules.mode_for("claude-x", key="key_1") == "equal"
    assert rules.mode_for("gpt-5", key="key_1", preset="mail") == "off"
    assert rules.mode_for("gpt-5", key="key_2", preset="other") == "on"


@pytest.mark.parametrize("place", ["mode =", "models.gpt-5 =", "keys.key_1 =", "presets.mail ="])
def test_a_mode_that_there_is_not_is_refused(builtin: Snapshot, tmp_path: Path, place: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(builtin, tmp_path, f'[continuation]\n{place} "perhaps"')
    assert f'continuation.{place[:-2]}: must be one of "equal", "off", "on"' in str(caught.value)


def revealed(settings: Settings, provider: str) -> list[str]:
    return [secret.reveal() for secret in settings.key_pools.get(provider, ())]


def test_several_keys_are_named_in_the_file(builtin: Snapshot, tmp_path: Path) -> None:
    text = '[providers.openai]\nkeys = ["env:A", "env:B"]\nkey_weights = [3, 1]'
    settings = read(builtin, tmp_path, text, A="sk-a", B="sk-b", OPENAI_API_KEY="sk-c", OPENAI_API_KEY_2="d")
    assert revealed(settings, "openai") == ["sk-a", "sk-b"]
    assert settings.provider_keys["openai"].reveal() == "sk-a"
    assert settings.key_weights["openai"] == (3, 1)
    assert "sk-a" not in repr(settings)


def test_numbered_variables_are_further_keys(builtin: Snapshot, tmp_path: Path) -> None:
    environ = {"OPENAI_API_KEY": "sk-1", "OPENAI_API_KEY_2": "sk-2", "OPENAI_API_KEY_3": "sk-1"}
    settings = read(builtin, tmp_path, "", **environ, OPENAI_API_KEY_5="sk-5")
    assert revealed(settings, "openai") == ["sk-1", "sk-2"]  # the same one twice is one; 4 is missing
    alone = read(builtin, tmp_path, "", OPENAI_API_KEY="sk-1")
    assert alone.key_pools == {}
    named = read(builtin, tmp_path, '[providers.openai]\nkey = "env:OPENAI_API_KEY"', **environ)
    assert named.key_pools == {}  # what the file names is meant


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ('keys = ["env:A"]\nkey = "env:A"', "stands beside key"),
        ('keys = ["env:A", "env:A"]', "names a key twice"),
        ('keys = ["env:A", "env:B"]\nkey_weights = [1]', "as many numbers as keys"),
        ('keys = ["env:A", "env:NOT_SET"]', "NOT_SET is not set"),
        ('auth = "none"\nkeys = ["env:A"]', "has no meaning"),
    ],
)
def test_what_cannot_be_meant_is_refused(builtin: Snapshot, tmp_path: Path, text: str, word: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(builtin, tmp_path, f"[providers.openai]\n{text}", A="sk-a", B="sk-b")
    assert word in str(caught.value)


def test_hedging_and_single_flight_arrive(builtin: Snapshot, tmp_path: Path) -> None:
    usual = read(builtin, tmp_path, "").routing
    assert usual.hedging == HedgeRules()
    assert usual.hedging.never
    assert usual.single_flight == "off"
    text = """
    [routing]
    single_flight = "asked"
    [routing.hedging]
    mode = "asked"
    percentile = 97.5
    extra_percent_max = 2.25
    [routing.hedging.models]
    "gpt-*" = "on"
    [routing.hedging.keys]
    key_1 = "off"
    [routing.hedging.presets]
    mail = "on"
    """
    found = read(builtin, tmp_path, text).routing
    assert found.single_flight == "asked"
    assert found.hedging == HedgeRules(
        mode="asked", percentile=97.5, share_bp=225, models=(("gpt-*", "on"),), keys={"key_1": "off"},
        presets={"mail": "on"},
    )  # fmt: skip
    with pytest.raises(ConfigError, match="extra_percent_max"):
        read(builtin, tmp_path, "[routing.hedging]\nextra_percent_max = 101")
