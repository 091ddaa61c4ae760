"""What a right configuration comes to: precedence, providers, models, prices."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from llm_router.domain.model import Quirk
from llm_router.domain.price import Rates
from llm_router.settings import (
    ConfigError,
    Place,
    ServeOptions,
    Settings,
    find_config,
    load,
    load_place,
    needs_restart,
)

Loader = Callable[..., Settings]


def _provider(settings: Settings, id_: str):  # type: ignore[no-untyped-def]
    return next(provider for provider in settings.providers if provider.id == id_)


def test_defaults_without_a_file(catalog: object) -> None:
    settings = load(None, {"HOME": "/home/op"}, catalog)  # type: ignore[arg-type]
    assert (settings.server.host, settings.server.port) == ("127.0.0.1", 4040)
    assert settings.server.data_dir == Path("/home/op/.local/share/llm-router")
    assert settings.credits.starting_pusd == 5 * 10**12
    assert settings.active == ()
    assert settings.inactive["ollama"] == "needs no key; add [providers.ollama] or a model of yours there"
    assert settings.inactive["anthropic"] == "set ANTHROPIC_API_KEY or CLAUDE_API_KEY"
    assert settings.models == ()
    assert settings.warnings == ()


def test_flag_over_environment_over_file_over_default(load_text: Loader) -> None:
    text = '[server]\nhost = "10.0.0.1"\nport = 1\ndata_dir = "/from/file"'
    environ = {"LLM_ROUTER_HOST": "10.0.0.2", "LLM_ROUTER_PORT": "2", "LLM_ROUTER_DATA_DIR": "/from/env"}
    options = ServeOptions(host="10.0.0.3", port=0, data_dir=Path("/from/flag"))

    def where(settings: Settings) -> tuple[str, int, str]:
        return settings.server.host, settings.server.port, str(settings.server.data_dir)

    assert where(load_text(text)) == ("10.0.0.1", 1, "/from/file")
    assert where(load_text(text, environ)) == ("10.0.0.2", 2, "/from/env")
    assert where(load_text(text, environ, options=options)) == ("10.0.0.3", 0, "/from/flag")


def test_the_sandbox_has_a_folder_of_its_own_unless_the_flag_names_one(load_text: Loader) -> None:
    text = '[server]\ndata_dir = "/from/file"'
    environ = {"LLM_ROUTER_DATA_DIR": "/from/env"}

    def where(environ: dict[str, str], data_dir: Path | None = None) -> tuple[str, str]:
        server = load_text(text, environ, options=ServeOptions(sandbox=True, data_dir=data_dir)).server
        return str(server.data_dir), str(server.shared_dir)

    assert where({}) == ("/from/file/sandbox", "/from/file")
    assert where(environ) == ("/from/env/sandbox", "/from/env")
    assert where(environ, Path("/from/flag")) == ("/from/flag", "/from/flag")


def test_the_data_folder_of_the_file_begins_at_the_file(load_text: Loader, tmp_path: Path) -> None:
    assert load_text('[server]\ndata_dir = "data"').server.data_dir == tmp_path / "data"
    assert load_text('[server]\ndata_dir = "~/data"').server.data_dir == Path("/home/op/data")


def test_the_usual_places_follow_xdg(tmp_path: Path, catalog: object) -> None:
    environ = {"HOME": "/home/op", "XDG_DATA_HOME": "/data", "XDG_CONFIG_HOME": str(tmp_path)}
    settings = load(None, environ, catalog)  # type: ignore[arg-type]
    assert settings.server.data_dir == Path("/data/llm-router")
    assert find_config(None, environ) is None
    usual = tmp_path / "llm-router" / "config.toml"
    usual.parent.mkdir()
    usual.touch()
    assert find_config(None, environ) == usual
    other = tmp_path / "other.toml"
    other.touch()
    assert find_config(None, {**environ, "LLM_ROUTER_CONFIG": str(other)}) == other
    flag = tmp_path / "flag.toml"
    flag.touch()
    assert find_config(flag, {**environ, "LLM_ROUTER_CONFIG": str(other)}) == flag


def test_without_a_home_the_data_folder_must_be_named(catalog: object) -> None:
    with pytest.raises(ConfigError, match="there is no HOME"):
        load(None, {}, catalog)  # type: ignore[arg-type]
    assert load(None, {"LLM_ROUTER_DATA_DIR": "/d"}, catalog).server.data_dir == Path("/d")  # type: ignore[arg-type]


def test_numbers_are_exact(load_text: Loader) -> None:
    settings = load_text(
        "[credits]\nstarting = 0.000000000001\n[server]\nheartbeat_s = 0\n[timeouts]\nconnect_s = 2.5"
    )
    assert settings.credits.starting_pusd == 1
    assert settings.server.heartbeat_s == 0
    assert settings.timeouts.connect_s == 2.5
    assert load_text('[credits]\nstarting = "12.50"').credits.starting_pusd == 12_500_000_000_000
    assert load_text("[credits]\nstarting = 0").credits.starting_pusd == 0


def test_a_known_provider_keeps_what_the_file_does_not_say(load_text: Loader) -> None:
    settings = load_text(
        '[providers.openai]\nbase_url = "https://eu.openai.test/v1/"', {"OPENAI_API_KEY": "k"}
    )
    openai = _provider(settings, "openai")
    assert openai.base_url == "https://eu.openai.test/v1"
    assert openai.headers == {"x-client": "router"}
    assert openai.takes_urls == ("image",)
    assert len(openai.quirks) == 1
    assert settings.provider_keys["openai"].reveal() == "k"


def test_the_key_of_the_file_goes_over_the_variable(load_text: Loader) -> None:
    environ = {"OPENAI_API_KEY": "usual", "OTHER": "named"}
    settings = load_text('[providers.openai]\nkey = "env:OTHER"', environ)
    assert settings.provider_keys["openai"].reveal() == "named"


def test_variables_are_tried_in_order_and_empty_ones_are_unset(load_text: Loader) -> None:
    environ = {"ANTHROPIC_API_KEY": " ", "CLAUDE_API_KEY": "second\n"}
    settings = load_text("", environ)
    assert settings.provider_keys["anthropic"].reveal() == "second"
    assert "anthropic" in settings.active


def test_an_own_provider_extends_a_known_one_but_not_its_key(load_text: Loader) -> None:
    text = """
        [providers.acme]
        base_url = "https://acme.test/v1"
        extends = "openai"
        [[providers.acme.quirks]]
        edit = "set"
        field = "options.depth"
        value = { a = 0.10, b = [1, true] }
        models = ["x-*"]
        why = "needed"
    """
    settings = load_text(text, {"OPENAI_API_KEY": "secret-of-openai"})
    acme = _provider(settings, "acme")
    assert acme.base_url == "https://acme.test/v1"
    assert acme.headers == {"x-client": "router"}
    assert acme.quirks == (
        Quirk(edit="drop", field="top_k", why="unknown there"),
        Quirk(
            edit="set",
            field="options.depth",
            why="needed",
            value=msgspec.Raw(b'{"a":0.10,"b":[1,true]}'),
            models=("x-*",),
        ),
    )
    assert "acme" not in settings.provider_keys
    assert settings.inactive["acme"] == 'set key = "env:NAME" under [providers.acme]'


def test_an_own_provider_without_auth_is_active(load_text: Loader) -> None:
    settings = load_text('[providers.box]\nbase_url = "http://10.0.0.7:8000/v1"\nauth = "none"')
    assert "box" in settings.active


@pytest.mark.parametrize(
    "text",
    [
        "[providers.ollama]",
        "[[models.own.deployments]]\nprovider = 'ollama'\nupstream_model = 'x'\nprice = 0",
    ],
)
def test_a_server_of_this_machine_is_active_once_the_file_names_it(load_text: Loader, text: str) -> None:
    assert load_text(text).active == ("ollama",)


def test_a_provider_can_be_switched_off(load_text: Loader) -> None:
    settings = load_text("[providers.openai]\nenabled = false", {"OPENAI_API_KEY": "k"})
    assert settings.inactive["openai"] == "switched off in the configuration"
    assert "openai" not in settings.provider_keys
    assert settings.disabled == {"openai"}
    assert load_text("[providers.openai]\nenabled = true").disabled == frozenset()


def test_a_key_file_is_read_from_beside_the_configuration(load_text: Loader, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("sk-from-file\n")
    settings = load_text('[providers.openai]\nkey = "file:key"')
    assert settings.provider_keys["openai"].reveal() == "sk-from-file"


def test_the_keys_of_receipts_must_be_there(load_text: Loader, tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"receipts\.key_file: there is no file .*/signing; make one: openssl"
    ):
        load_text('[receipts]\nkey_file = "signing"')
    (tmp_path / "signing").write_text("A" * 43 + "=\n")
    assert load_text('[receipts]\nkey_file = "signing"').papers.receipt_keys == tmp_path / "signing"


def test_placeholders_of_a_base_url_come_from_the_environment(load_text: Loader) -> None:
    assert load_text("").inactive["azure"] == "set AZURE_ENDPOINT and AZURE_API_KEY"
    key = {"AZURE_API_KEY": "k"}
    without = load_text("", key)
    assert without.inactive["azure"] == "set AZURE_ENDPOINT"
    assert without.warnings == ("azure: has a key, but its address needs AZURE_ENDPOINT",)
    settings = load_text("", {**key, "AZURE_ENDPOINT": "https://me.azure.test/"})
    assert _provider(settings, "azure").base_url == "https://me.azure.test/openai/v1"
    assert "azure" in settings.active
    broken = load_text("", {**key, "AZURE_ENDPOINT": "me.azure.test"})
    assert broken.inactive["azure"] == 'its address must begin with "https://" or "http://"'


def test_prices_become_whole_picodollars_a_token(load_text: Loader) -> None:
    text = """
        [models.gpt-5.price]
        input_per_mtok = 0.15
        output_per_mtok = 0.6
        cache_read_per_mtok = 0
        cache_write_1h_per_mtok = 1.000001
        web_search_usd = 0.01
        request_usd = 0.000000000001
    """
    (model,) = load_text(text).models
    expected = Rates(
        input=150_000,
        output=600_000,
        cache_read=0,
        cache_write_1h=1_000_001,
        web_search=10**10,
        request=1,
    )
    for deployment in model.deployments:
        assert deployment.price is not None
        assert deployment.price.rates == expected
        assert deployment.price.tiers == ()


def test_a_price_is_named_by_its_figures(load_text: Loader) -> None:
    def version(text: str) -> str:
        price = load_text(f"[models.gpt-5]\nprice = {text}").models[0].deployments[0].price
        assert price is not None
        return price.version

    one = version("{ input_per_mtok = 1, output_per_mtok = 2 }")
    assert one == version("{ output_per_mtok = 2.0, input_per_mtok = 1.00 }")
    assert one != version("{ input_per_mtok = 1, output_per_mtok = 2.01 }")
    assert one != version("{ input_per_mtok = 1, output_per_mtok = 2, cache_read_per_mtok = 1 }")


def test_an_own_model_with_two_deployments(load_text: Loader) -> None:
    text = """
        [providers.box]
        base_url = "http://10.0.0.7:8000/v1"
        auth = "none"
        price = 0
        [models."acme/large.v2"]
        name = "Large"
        context_tokens = 1000
        aliases = ["large", "gpt-5-2025-08-07"]
        capabilities = { tools = true }
        [[models."acme/large.v2".deployments]]
        provider = "box"
        upstream_model = "large"
        [[models."acme/large.v2".deployments]]
        provider = "openai"
        upstream_model = "ft:large"
        price = { input_per_mtok = 1, output_per_mtok = 2 }
        context_tokens = 500
    """
    (model,) = load_text(text).models
    assert (model.id, model.name, model.family, model.developer) == (
        "acme/large.v2",
        "Large",
        "Custom",
        "Custom",
    )
    assert model.aliases == ("large", "gpt-5-2025-08-07")
    assert model.capabilities.tools is True
    assert model.capabilities.input_modalities == ("text",)
    box, openai = model.deployments
    assert (box.id, box.upstream_model, box.context_tokens) == ("box/acme/large.v2", "large", 1000)
    assert box.price is not None
    assert box.price.rates == Rates(input=0, output=0)
    assert openai.price is not None
    assert openai.price.rates == Rates(input=1_000_000, output=2_000_000)
    assert openai.context_tokens == 500


def test_a_known_model_changes_only_where_the_file_says_so(load_text: Loader, catalog: object) -> None:
    text = """
        [models.gpt-5]
        aliases = ["big"]
        capabilities = { json_schema = true }
        [[models.gpt-5.deployments]]
        provider = "azure"
        output_tokens_max = 1000
        [[models.gpt-5.deployments]]
        provider = "groq"
        upstream_model = "gpt-5-fast"
        price = 0
    """
    (model,) = load_text(text).models
    before = catalog.models["gpt-5"]  # type: ignore[attr-defined]
    assert model.aliases == ("gpt-5-2025-08-07", "big")
    assert model.capabilities == msgspec.structs.replace(before.capabilities, json_schema=True)
    assert [d.provider for d in model.deployments] == ["azure", "groq", "openai"]
    openai, azure = before.deployments
    assert model.deployments[0] == msgspec.structs.replace(azure, output_tokens_max=1000)
    assert model.deployments[2] == openai


def test_a_price_of_a_model_holds_at_all_its_deployments_but_those_with_their_own(load_text: Loader) -> None:
    text = """
        [models.gpt-5]
        price = { input_per_mtok = 1, output_per_mtok = 1 }
        [[models.gpt-5.deployments]]
        provider = "azure"
        price = { input_per_mtok = 2, output_per_mtok = 2 }
    """
    (model,) = load_text(text).models
    rates = {d.provider: d.price.rates.input for d in model.deployments if d.price is not None}
    assert rates == {"azure": 2_000_000, "openai": 1_000_000}


def test_what_is_allowed_but_hardly_meant_is_warned_of(load_text: Loader, tmp_path: Path) -> None:
    (tmp_path / "router.toml").touch(mode=0o644)
    text = """
        [providers.acme]
        base_url = "http://acme.example/v1"
        key = "sk-literal"
    """
    settings = load_text(text, {"OPENAI_API_KEY": "two words"})
    assert settings.warnings == (
        'providers.acme.key: stands in the file in clear; better "env:NAME" or "file:PATH"',
        f"{tmp_path / 'router.toml'}: holds a key and can be read by other users; "
        f"run: chmod 600 {tmp_path / 'router.toml'}",
        "openai: the environment variable OPENAI_API_KEY holds spaces, line breaks or other characters "
        "that no key has",
        "acme: its key is sent to http://acme.example/v1 without encryption",
        'providers.acme: no model is served by it; add [[models."MODEL".deployments]] with provider = "acme" '
        "and upstream_model",
    )
    assert "openai" in settings.inactive


def test_finding_the_data_does_not_need_the_rest_to_be_right(tmp_path: Path) -> None:
    path = tmp_path / "router.toml"
    path.write_text('[server]\ndata_dir = "/d"\n[credits]\nstarting = 1\n[providers.x]\nkey = "env:NOT_SET"')
    place = load_place(path, {})
    assert isinstance(place, Place)
    assert place.server.data_dir == Path("/d")
    assert place.credits.starting_pusd == 10**12
    path.write_text("[server]\nprt = 1")
    with pytest.raises(ConfigError, match=r"server\.prt"):
        load_place(path, {"HOME": "/h"})


def test_credentials_can_be_left_aside(tmp_path: Path, catalog: object) -> None:
    path = tmp_path / "router.toml"
    path.write_text('[providers.openai]\nkey = "env:NOT_SET"')
    settings = load(path, {"HOME": "/h"}, catalog, secrets=False)  # type: ignore[arg-type]
    assert settings.provider_keys == {}


def test_a_reload_names_what_waits_for_a_restart(load_text: Loader) -> None:
    old = load_text("")
    new = load_text("[server]\nport = 1\nheartbeat_s = 1\n[fetch]\ntimeout_s = 1\n[credits]\nstarting = 1")
    assert needs_restart(old, new) == ("server.port", "fetch.timeout_s", "credits.starting")
    assert needs_restart(old, load_text("[timeouts]\nidle_s = 1")) == ()


MODELS = "".join(
    f"""
[models."own-{i}"]
name = "Own {i}"
context_tokens = 131072
aliases = ["own/{i}"]
capabilities = {{ input_modalities = ["text", "image"], tools = true }}
price = {{ input_per_mtok = 0.15, output_per_mtok = 0.6 }}
[[models."own-{i}".deployments]]
provider = "openai"
upstream_model = "ft:own-{i}"
[[models."own-{i}".deployments]]
provider = "groq"
upstream_model = "own-{i}"
"""
    for i in range(500)
)


def test_five_hundred_models_load(load_text: Loader) -> None:
    models = load_text(MODELS).models
    assert len(models) == 500
    assert models[499].deployments[1].id == "groq/own-499"


@pytest.mark.parametrize(
    ("dialect", "taken"),
    [
        ("openai_chat", ("image", "audio", "video", "file")),
        ("anthropic_messages", ("image", "file")),
        ("gemini_generate", ()),
    ],
)
def test_a_provider_of_one_s_own_takes_the_urls_that_its_dialect_takes(load_text, dialect, taken) -> None:  # type: ignore[no-untyped-def]
    text = f'[providers.acme]\ndialect = "{dialect}"\nbase_url = "https://a.example/v1"\nauth = "none"\n'
    acme = next(p for p in load_text(text).providers if p.id == "acme")
    assert acme.takes_urls == taken
    own = next(p for p in load_text(text + "takes_urls = []").providers if p.id == "acme")
    assert own.takes_urls == ()


def test_a_mail_server_needs_nobody_whom_alerts_go_to(load_text: Loader) -> None:
    server = '[alerts]\nsmtp_host = "127.0.0.1"\nmail_from = "router@example.com"\n'
    alerts = load_text(server).alerts
    assert (alerts.smtp_host, alerts.mail_to) == ("127.0.0.1", ())
    with pytest.raises(ConfigError, match="mail_from"):
        load_text('[alerts]\nsmtp_host = "127.0.0.1"\n')
    with pytest.raises(ConfigError, match="smtp_host"):
        load_text('[alerts]\nmail_to = ["ops@example.com"]\nmail_from = "router@example.com"\n')
