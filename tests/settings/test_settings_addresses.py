"""What an operator has to name of an address, and what is said when it is missing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from llm_router.catalog.snapshot import Snapshot, compile_snapshot, load_builtin
from llm_router.settings import ConfigError, Settings, google, load

HOME = {"HOME": "/nowhere"}
PRIVATE_KEY = "-----BEGIN PRIVATE KEY-----\nMAMC\nAQA=\n-----END PRIVATE KEY-----\n"
WHOLE = {
    "type": "service_account",
    "client_email": "me@my-project.test",
    "token_uri": "https://oauth2.test/token",
    "private_key": PRIVATE_KEY,
}
ACCOUNT = json.dumps(WHOLE, indent=1)
USER = json.dumps({"type": "authorized_user", "client_id": "i", "client_secret": "s", "refresh_token": "r"})


@pytest.fixture(scope="module")
def catalog() -> Snapshot:
    return compile_snapshot(load_builtin())


def loaded(catalog: Snapshot, folder: Path, text: str = "", **environ: str) -> Settings:
    file = folder / "router.toml"
    file.write_text(text)
    return load(file, {**HOME, **environ}, catalog)


def problems(catalog: Snapshot, folder: Path, text: str, **environ: str) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        loaded(catalog, folder, text, **environ)
    return [line.partition("router.toml: ")[2] for line in str(raised.value).splitlines()]


def url(settings: Settings, id_: str) -> str:
    return next(p.base_url for p in settings.providers if p.id == id_)


def test_everything_that_is_missing_is_said_at_once(catalog: Snapshot, tmp_path: Path) -> None:
    inactive = loaded(catalog, tmp_path).inactive
    assert inactive["azure"] == (
        "set AZURE_OPENAI_ENDPOINT (the address of your resource, such as https://NAME.openai.azure.com; or "
        "parameters.endpoint under [providers.azure]) and AZURE_OPENAI_API_KEY or AZURE_API_KEY"
    )
    assert inactive["vertex"] == (
        "set GOOGLE_CLOUD_LOCATION or VERTEXAI_LOCATION (the location: global, or a region such as us-east5; or "
        "parameters.location under [providers.vertex]) and GOOGLE_CLOUD_PROJECT or VERTEXAI_PROJECT (the Google "
        "Cloud project; or parameters.project under [providers.vertex]) and GOOGLE_APPLICATION_CREDENTIALS"
    )
    assert inactive["cloudflare"].startswith("set CLOUDFLARE_ACCOUNT_ID (the id of your account; or ")


@pytest.mark.parametrize(
    ("location", "host"),
    [
        ("us-east5", "us-east5-aiplatform.googleapis.com"),
        ("global", "aiplatform.googleapis.com"),
        ("eu", "aiplatform.eu.rep.googleapis.com"),
    ],
)
def test_vertex_by_its_variables(catalog: Snapshot, tmp_path: Path, location: str, host: str) -> None:
    account = tmp_path / "account.json"
    account.write_text(ACCOUNT)
    settings = loaded(
        catalog, tmp_path, GOOGLE_CLOUD_PROJECT="my-project", GOOGLE_CLOUD_LOCATION=location,
        GOOGLE_APPLICATION_CREDENTIALS=str(account),
    )  # fmt: skip
    assert "vertex" in settings.active
    base = f"https://{host}/v1/projects/my-project/locations/{location}"
    provider = next(p for p in settings.providers if p.id == "vertex")
    assert provider.base_url == f"{base}/publishers/google/models"
    assert [way.base_url for way in provider.also] == [
        f"{base}/publishers/anthropic/models",
        f"{base}/endpoints/openapi",
    ]
    assert json.loads(settings.provider_keys["vertex"].reveal())["type"] == "service_account"


def test_credentials_for_other_ends_are_left_alone(catalog: Snapshot, tmp_path: Path) -> None:
    account = tmp_path / "account.json"
    account.write_text(ACCOUNT)
    settings = loaded(catalog, tmp_path, GOOGLE_APPLICATION_CREDENTIALS=str(account))
    assert "vertex" not in settings.active
    assert settings.warnings == ()
    gcloud = tmp_path / ".config" / "gcloud"
    gcloud.mkdir(parents=True)
    (gcloud / "application_default_credentials.json").write_text(USER)
    place = {"GOOGLE_CLOUD_PROJECT": "p", "GOOGLE_CLOUD_LOCATION": "global", "HOME": str(tmp_path)}
    assert "vertex" not in loaded(catalog, tmp_path, **place).active
    assert "vertex" in loaded(catalog, tmp_path, "[providers.vertex]", **place).active


def test_the_file_goes_over_the_variables(catalog: Snapshot, tmp_path: Path) -> None:
    text = """
[providers.azure]
parameters = { endpoint = "https://mine.openai.azure.com/" }
key = "k"
[providers.azure-eu]
extends = "azure"
parameters = { endpoint = "https://eu.openai.azure.com" }
auth = "bearer"
key = "k"
"""
    settings = loaded(catalog, tmp_path, text, AZURE_OPENAI_ENDPOINT="https://other.openai.azure.com")
    assert url(settings, "azure") == "https://mine.openai.azure.com/openai/v1"
    assert url(settings, "azure-eu") == "https://eu.openai.azure.com/openai/v1"
    second = next(p for p in settings.providers if p.id == "azure-eu")
    assert (second.auth, second.auth_name) == ("bearer", None)
    assert {"developer", "functions"} <= set(second.knows)
    assert {way.dialect for way in second.also} == {"openai_responses"}


@pytest.mark.parametrize(
    ("id_", "base_url", "ways"),
    [
        ("openai", "https://proxy.test/ai/v1", {"openai_responses": None}),
        (
            "bedrock",
            "https://bedrock-runtime.eu-west-1.amazonaws.com",
            {
                "anthropic_messages": None,
                "openai_chat": "https://bedrock-runtime.eu-west-1.amazonaws.com/openai/v1",
            },
        ),
        (
            "deepseek",
            "https://proxy.test/deepseek/v1",
            {
                "anthropic_messages": "https://proxy.test/deepseek/anthropic",
                "openai_responses": "https://proxy.test/deepseek",
            },
        ),
        (
            "ollama",
            "http://10.0.0.7:11434/v1",
            {
                "ollama_chat": "http://10.0.0.7:11434",
                "anthropic_messages": "http://10.0.0.7:11434",
                "openai_responses": None,
            },
        ),
    ],
)
def test_the_further_dialects_move_along_with_the_address(
    catalog: Snapshot, tmp_path: Path, id_: str, base_url: str, ways: dict[str, str | None]
) -> None:
    settings = loaded(catalog, tmp_path, f'[providers.{id_}]\nbase_url = "{base_url}"')
    also = next(p for p in settings.providers if p.id == id_).also
    assert {way.dialect: way.base_url for way in also} == ways
    assert not any("is not spoken there" in warning for warning in settings.warnings)
    usual = {way.dialect: way.serves for way in catalog.providers[id_].also}
    assert {way.dialect: way.serves for way in also} == usual


def test_a_dialect_whose_new_address_nothing_tells_is_left_out_with_a_word(
    catalog: Snapshot, tmp_path: Path
) -> None:
    settings = loaded(catalog, tmp_path, '[providers.deepseek]\nbase_url = "https://proxy.test/chat"')
    assert next(p for p in settings.providers if p.id == "deepseek").also == ()
    said = [w for w in settings.warnings if "[[providers.deepseek.also]]" in w]
    assert [w.split(": ")[1].split()[0] for w in said] == ["anthropic_messages", "openai_responses"]


def test_no_further_dialects_where_the_file_says_none(catalog: Snapshot, tmp_path: Path) -> None:
    for line in ("also = []", 'dialect = "anthropic_messages"'):
        text = f'[providers.openai]\nbase_url = "https://proxy.test/v1"\n{line}'
        assert next(p for p in loaded(catalog, tmp_path, text).providers if p.id == "openai").also == ()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"private_key": PRIVATE_KEY.replace("MAMC", "MAMCAQ")}, "private_key is cut or changed"),
        ({"private_key": PRIVATE_KEY[:40]}, "private_key is cut or changed"),
        ({"private_key": None, "token_uri": ""}, "without private_key and token_uri"),
        ({"type": "gdch"}, "holds no Google credentials"),
        ({"type": ["service_account"]}, "holds no Google credentials"),
    ],
)
def test_credentials_that_cannot_work_are_found_before_the_first_request(
    catalog: Snapshot, tmp_path: Path, changes: dict[str, object], said: str
) -> None:
    account = tmp_path / "account.json"
    account.write_text(json.dumps({**WHOLE, **changes}))
    text = '[providers.vertex]\nparameters = { project = "p", location = "global" }\n'
    with pytest.raises(ConfigError, match=said):
        loaded(catalog, tmp_path, text + 'key = "file:account.json"')
    settings = loaded(
        catalog, tmp_path, GOOGLE_CLOUD_PROJECT="p", GOOGLE_CLOUD_LOCATION="global",
        GOOGLE_APPLICATION_CREDENTIALS=str(account),
    )  # fmt: skip
    assert "vertex" not in settings.active
    assert any(said in warning for warning in settings.warnings)


def test_the_word_for_the_machines_credentials_is_no_secret(catalog: Snapshot, tmp_path: Path) -> None:
    text = '[providers.vertex]\nparameters = { project = "p", location = "global" }\nkey = "metadata"\n'
    settings = loaded(catalog, tmp_path, text)
    assert "vertex" in settings.active
    assert settings.warnings == ()
    other = loaded(catalog, tmp_path, '[providers.openai]\nkey = "metadata"')
    assert any("in clear" in warning for warning in other.warnings)


def test_without_its_library_a_provider_of_google_is_not_active(
    catalog: Snapshot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = '[providers.vertex]\nparameters = { project = "p", location = "global" }\nkey = "metadata"\n'
    for module in google.LIBRARIES:
        monkeypatch.setattr(google, "find_spec", lambda name, lost=module: None if name == lost else name)
        settings = loaded(catalog, tmp_path, text)
        assert "pip install" in settings.inactive["vertex"]
        assert any("'.[vertex]'" in warning for warning in settings.warnings)


def test_a_provider_of_the_file_that_serves_no_model_gets_a_word(catalog: Snapshot, tmp_path: Path) -> None:
    box = '[providers.box]\nbase_url = "http://10.0.0.7:8000/v1"\nauth = "none"\nprice = 0\n'
    (warning,) = loaded(catalog, tmp_path, box).warnings
    assert warning.startswith("providers.box: no model is served by it")
    assert loaded(catalog, tmp_path, box + "enabled = false").warnings == ()
    model = '[[models."llama-3.1-8b".deployments]]\nprovider = "box"\nupstream_model = "llama"'
    assert loaded(catalog, tmp_path, box + model).warnings == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            '[providers.vertex]\nparameters = { projekt = "p" }',
            'providers.vertex.parameters.projekt: there is no parameter "projekt"; did you mean "project"?',
        ),
        (
            '[providers.vertex]\nparameters = { project = "a b" }',
            "providers.vertex.parameters.project: must be a word of an address, without spaces",
        ),
        (
            '[providers.acme]\nbase_url = "https://{region}.acme.test/v1"',
            "providers.acme.parameters.region: is missing: the address needs it for {region}",
        ),
        (
            '[providers.acme]\nbase_url = "https://acme.test/v1"\nplacement = "vertex_claud"',
            'providers.acme.placement: there is no placement "vertex_claud"; did you mean "vertex_claude"?',
        ),
        (
            '[providers.acme]\nbase_url = "https://acme.test/v1"\nplacement = "vertex_claude"',
            "providers.acme.placement: belongs to the dialect anthropic_messages, not to openai_chat",
        ),
        (
            '[providers.acme]\nbase_url = "https://acme.test/v1"\n[[providers.acme.also]]\ndialect = "klingon"',
            'providers.acme.also[0].dialect: there is no dialect "klingon"',
        ),
        (
            '[providers.vertex]\nparameters = { project = "p", location = "global" }\nkey = "AIza123"',
            'providers.vertex.key: must be "file:PATH" of the JSON file of a service account',
        ),
        (
            '[providers.vertex]\nparameters = { project = "p", location = "global" }\nkey = "file:router.toml"',
            "router.toml holds no Google credentials",
        ),
    ],
)
def test_mistakes_are_said_with_their_place(catalog: Snapshot, tmp_path: Path, text: str, said: str) -> None:
    (found,) = problems(catalog, tmp_path, text)
    assert said in found


def test_the_machines_own_account(catalog: Snapshot, tmp_path: Path) -> None:
    text = '[providers.vertex]\nparameters = { project = "p", location = "global" }\nkey = "metadata"'
    settings = loaded(catalog, tmp_path, text)
    assert settings.provider_keys["vertex"].reveal() == "metadata"
    assert "vertex" in settings.active
