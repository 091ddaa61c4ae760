"""What an operator is told of a wrong configuration: where, what, and what was probably meant."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from llm_router.settings import ConfigError, find_config, load

Problems = Callable[..., list[str]]
ACME = '[providers.acme]\nbase_url = "https://acme.test/v1"\nkey_required = false\n'


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[serer]", 'serer: unknown key; did you mean "server"?'),
        ("[server]\nhots = 1", 'server.hots: unknown key; did you mean "host"?'),
        ('[server]\nport = "4040"', "server.port: expected a whole number, found text"),
        ("[server]\nport = 4040.0", "server.port: expected a whole number, found a number with a fraction"),
        ("[server]\nport = 70000", "server.port: must be from 0 to 65535, found 70000"),
        ("[server]\nport = true", "server.port: expected a whole number, found true or false"),
        ("[server]\naccess_log = 1", "server.access_log: expected true or false, found a whole number"),
        ("server = 3", "server: expected a table, found a whole number"),
        ("[[server]]\nport = 1", "server: expected a table, found an array"),
        ("[server]\nhost = 2026-01-01", "server.host: expected text in quotes, found a date or time"),
        ('[server]\nhost = " "', "server.host: must not be empty"),
        ("[timeouts]\nidle_s = 0", "timeouts.idle_s: must be greater than 0, found 0"),
        ("[timeouts]\nidle_s = -0.5", "timeouts.idle_s: must be greater than 0, found -0.5"),
        ("[timeouts]\ntotal_s = inf", "timeouts.total_s: must be a finite number"),
        ("[timeouts]\ntotal_s = 1e9", "timeouts.total_s: must be at most 86400, found 1E+9"),
        ('[credits]\nstarting = "1e3"', "credits.starting: expected a number, found text"),
        ("[credits]\nstarting = -1", "credits.starting: must be 0 or more, found -1"),
        (
            '[settlement]\ncut = "delivred"',
            'settlement.cut: must be one of "delivered", "free", "reported"; did you mean "delivered"?',
        ),
        (
            '[credits]\ncharge_on_error = "none"\n[settlement]\ncut = "reported"',
            "credits.charge_on_error: is the older name of settlement.cut; leave it out",
        ),
        (
            '[credits]\ncharge_on_error = "deliverd"',
            'credits.charge_on_error: must be one of "delivered", "none"; did you mean "delivered"?',
        ),
        ("[limits]\nconcurrency = 0", "limits.concurrency: must be from 1 to 1000000000, found 0"),
        ('[fetch]\nallow_hosts = "a"', "fetch.allow_hosts: expected an array, found text"),
        ("[fetch]\nallow_hosts = [1]", "fetch.allow_hosts[0]: expected text in quotes, found a whole number"),
        ("[providers]\nopenai = 1", "providers.openai: expected a table, found a whole number"),
        (
            '[providers.opnai]\nkey = "x"',
            'providers.opnai.base_url: is missing for a provider that is not known (did you mean "openai"?)',
        ),
        (
            ACME + 'dialect = "openai"',
            'providers.acme.dialect: there is no dialect "openai"; did you mean "openai_chat"?',
        ),
        (
            ACME + 'extends = "opanai"',
            'providers.acme.extends: there is no provider "opanai"; did you mean "openai"?',
        ),
        (
            '[providers.openai]\nextends = "groq"',
            "providers.openai.extends: openai is known already; leave this key out to change it",
        ),
        (
            ACME + 'auth = "beerer"',
            'providers.acme.auth: must be one of "bearer", "google", "header", "none", "query", "sigv4"; did you mean "bearer"?',
        ),
        (ACME + 'auth = "header"', 'providers.acme.auth_name: is missing: auth = "header" needs its name'),
        (ACME + 'auth_name = "x"', 'providers.acme.auth_name: has no meaning with auth = "bearer"'),
        (ACME + 'auth = "none"\nkey = "x"', 'providers.acme.key: has no meaning with auth = "none"'),
        (ACME + "headers = { Host = 'x' }", "providers.acme.headers.Host: is set by the gateway itself"),
        (
            ACME + 'headers = { x-a = "1\\r\\nx-b: 2" }',
            "providers.acme.headers.x-a: must be one line of ASCII characters",
        ),
        (
            ACME + "headers = { Authorization = 'Bearer 1' }",
            'providers.acme.headers.Authorization: holds a credential: write it as key = "env:NAME", '
            'with auth = "header" and auth_name',
        ),
        (
            '[providers.openai]\nbase_url = "api.openai.com/v1"',
            'providers.openai.base_url: must begin with "https://" or "http://"',
        ),
        (
            '[providers.openai]\nbase_url = "https://u:p@h/v1"',
            'providers.openai.base_url: must hold no user name or password; use key = "env:NAME"',
        ),
        (
            '[providers.openai]\nbase_url = "https://h/v1?x=1"',
            "providers.openai.base_url: must end with its path: no query or fragment",
        ),
        ('[providers.openai]\nbase_url = "https://h:99999/v1"', "providers.openai.base_url: is not a URL"),
        (
            "[providers.openai]\nprice = 1",
            "providers.openai.price: may only be 0 (its models are free); a price stands at a model",
        ),
        (
            '["providers"."Big Corp"]\nbase_url = "https://h"',
            'providers."Big Corp": a provider\'s id consists of lower-case letters, digits and . _ -',
        ),
        (
            '[providers.openai]\nkey = "env:OPENAI_API_KYE"',
            "providers.openai.key: the environment variable OPENAI_API_KYE is not set; "
            'did you mean "OPENAI_API_KEY"?',
        ),
        (
            '[providers.openai]\nkey = "${OPENAI_API_KEY}"',
            'providers.openai.key: looks like a reference of another tool; write "env:NAME" or "file:PATH"',
        ),
        (
            '[providers.openai]\nkey = "file:/no/such/file"',
            "providers.openai.key: the file /no/such/file cannot be read: No such file or directory",
        ),
        (
            '[models."gpt-5.1"]\nname = "x"',
            'models."gpt-5.1": is not in the catalogue (did you mean "gpt-5"?) and has no deployment: add '
            '[[models."gpt-5.1".deployments]] with provider and upstream_model',
        ),
        (
            '[[models.gpt-5.deployments]]\nprovider = "opnai"\nupstream_model = "x"\nprice = 0',
            'models.gpt-5.deployments[0].provider: there is no provider "opnai"; did you mean "openai"?',
        ),
        (
            '[[models.own.deployments]]\nprovider = "openai"\nprice = 0',
            "models.own.deployments[0].upstream_model: is missing: what the provider calls this model",
        ),
        (
            '[[models.own.deployments]]\nprovider = "openai"\nupstream_model = "x"',
            "models.own.deployments[0].price: is missing: write price = { input_per_mtok = 0.15, "
            "output_per_mtok = 0.60 } in US dollars per million tokens, or price = 0 if it is free",
        ),
        (
            '[models.gpt-5]\naliases = ["gpt-5-mini"]',
            'models.gpt-5.aliases[0]: "gpt-5-mini" is already a name of the model gpt-5-mini',
        ),
        (
            "[models.gpt-5.price]\ninput_per_mtok = 3",
            "models.gpt-5.price.output_per_mtok: is missing",
        ),
        (
            "[models.gpt-5]\ncapabilities = { input_modalities = ['txt'] }",
            'models.gpt-5.capabilities.input_modalities[0]: must be one of "audio", "file", "image", "text", '
            '"video"; did you mean "text"?',
        ),
    ],
)
def test_one_problem_is_said_with_its_place_and_a_way_out(
    problems_of: Problems, text: str, problem: str
) -> None:
    assert problems_of(text, {"OPENAI_API_KEY": "sk-1"}) == [problem]


QUIRK = ACME + "[[providers.acme.quirks]]\nfield = 'x'\nwhy = 'y'\n"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "providers.acme.quirks[0].edit: is missing"),
        ("edit = 'rename'", 'providers.acme.quirks[0].to: is missing: edit = "rename" needs it'),
        ("edit = 'set'", 'providers.acme.quirks[0].value: is missing: edit = "set" needs it'),
        ("edit = 'set'\nvalue = nan", "providers.acme.quirks[0].value: inf and nan do not exist in JSON"),
        ("edit = 'drop'\nto = 'z'", 'providers.acme.quirks[0].to: has no meaning with edit = "drop"'),
        ("edit = 'clamp'", 'providers.acme.quirks[0]: edit = "clamp" needs min, max or both'),
        ("edit = 'clamp'\nmin = 2\nmax = 1", "providers.acme.quirks[0].min: is greater than max (1)"),
        (
            "edit = 'move'\nto = 'a..b'",
            'providers.acme.quirks[0].to: is not a path such as "stream_options.include_usage"',
        ),
    ],
)
def test_quirks_are_checked_for_what_their_edit_needs(problems_of: Problems, text: str, problem: str) -> None:
    assert problems_of(QUIRK + text) == [problem]


def test_all_problems_of_a_file_come_at_once(problems_of: Problems) -> None:
    found = problems_of(
        """
        [server]
        prot = 1
        [timeouts]
        idle_s = "30"
        [providers.acme]
        base_ulr = "https://acme.test"
        key = "env:NOT_SET"
        [models.own]
        price = 0.5
        [[models.own.deployments]]
        provider = "nobody"
        """
    )
    assert [problem.split(": ")[0] for problem in found] == [
        "server.prot",
        "timeouts.idle_s",
        "providers.acme.base_ulr",
        "models.own.price",
        "models.own.deployments[0].provider",
        "models.own.deployments[0].upstream_model",
        "providers.acme.key",
    ]


@pytest.mark.parametrize("value", ["0.000003", "0.0000000000001"])
def test_a_price_per_token_is_recognised(problems_of: Problems, value: str) -> None:
    found = problems_of(f"[models.gpt-5]\nprice = {{ input_per_mtok = {value}, output_per_mtok = 1 }}")
    assert len(found) == 1
    assert "models.gpt-5.price.input_per_mtok: " in found[0]
    assert "per 1,000,000 tokens" in found[0]


def test_a_price_per_token_is_told_how_to_be_written(problems_of: Problems) -> None:
    found = problems_of("[models.gpt-5]\nprice = { input_per_mtok = 0.000003, output_per_mtok = 1 }")
    assert found[0].endswith("0.000003 a token is written 3")


@pytest.mark.parametrize(
    ("price", "words"),
    [
        ("{ input_per_mtok = 3000, output_per_mtok = 1 }", "implausible (at most 1000)"),
        ("{ input_per_mtok = 1.0000001, output_per_mtok = 1 }", "more than 6 digits"),
        ("{ input_per_mtok = -1, output_per_mtok = 1 }", "must be 0 or more"),
        ("{ input_per_mtok = 1, output_per_mtok = 1, web_search_usd = 10 }", "$10 per 1,000 is written 0.01"),
        ("{ input_per_mtok = 1, output_per_mtok = 1, request_usd = 0.0000000000001 }", "more than 12 digits"),
        ("0.15", "must be 0 (free of charge) or a table"),
    ],
)
def test_prices_that_cannot_be_meant_are_refused(problems_of: Problems, price: str, words: str) -> None:
    found = problems_of(f"[models.gpt-5]\nprice = {price}")
    assert len(found) == 1
    assert words in found[0]


def test_every_wrong_figure_of_a_price_is_named(problems_of: Problems) -> None:
    found = problems_of("[models.gpt-5]\nprice = { input_per_mtok = 3000, output_per_mtok = 9000 }")
    assert [problem.split(": ")[0] for problem in found] == [
        "models.gpt-5.price.input_per_mtok",
        "models.gpt-5.price.output_per_mtok",
    ]


PLACED = '[[models.own.deployments]]\nprovider = "openai"\nupstream_model = "x"\n'


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (
            PLACED + '[models.own.price]\ninput_per_mtok = "3"\noutput_per_mtok = 1',
            "models.own.price.input_per_mtok",
        ),
        (
            PLACED + '[models.own.deployments.price]\ninput_per_mtok = "3"\noutput_per_mtok = 1',
            "models.own.deployments[0].price.input_per_mtok",
        ),
        (PLACED.replace("openai", "acme") + "price = 0\n[provders.acme]", "provders"),
        (PLACED.replace("openai", "acme") + "price = 0\n[providers]\nacme = 1", "providers.acme"),
    ],
)
def test_a_mistake_is_not_followed_by_what_only_comes_of_it(
    problems_of: Problems, text: str, place: str
) -> None:
    assert [problem.split(": ")[0] for problem in problems_of(text)] == [place]


def test_places_count_the_elements_that_are_wrong_too(problems_of: Problems) -> None:
    lost = "[[models.own.deployments]]\nprovider = 1\n"
    found = problems_of(lost + PLACED + "[models.gpt-5]\naliases = [1, 'gpt-5-mini']")
    assert [problem.split(": ")[0] for problem in found] == [
        "models.own.deployments[0].provider",
        "models.gpt-5.aliases[0]",
        "models.own.deployments[1].price",
        "models.gpt-5.aliases[1]",
    ]


def test_what_may_be_a_key_is_not_quoted(problems_of: Problems) -> None:
    (problem,) = problems_of(PLACED.replace("openai", "sk-" + "x" * 48) + "price = 0")
    assert "there is no such provider; " in problem
    assert "xxx" not in problem


def test_the_same_provider_twice_needs_a_second_provider(problems_of: Problems) -> None:
    entry = '[[models.own.deployments]]\nprovider = "openai"\nupstream_model = "x"\nprice = 0\n'
    (problem,) = problems_of(entry * 2)
    assert problem.endswith('add a provider with extends = "openai"')


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"[server", "is not valid TOML: expected ']'"),
        (b"a = 1\na = 2", "is not valid TOML: cannot overwrite a value (at end of document)"),
        (b"[server]\nhost = '\xff'", "is not UTF-8 text (byte 17)"),
        (b"a = " + b"[" * 5000, "is nested too deeply"),
    ],
)
def test_what_is_no_toml_is_said_in_one_line(
    tmp_path: Path, catalog: object, content: bytes, words: str
) -> None:
    path = tmp_path / "router.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load(path, {"HOME": "/h"}, catalog)  # type: ignore[arg-type]
    (problem,) = caught.value.problems
    assert problem.startswith(f"{path}: {words}")
    assert "\n" not in problem


def test_a_named_file_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no such file"):
        find_config(tmp_path / "absent.toml", {})
    with pytest.raises(ConfigError, match="there is no such file"):
        find_config(None, {"LLM_ROUTER_CONFIG": str(tmp_path / "absent.toml")})


def test_a_folder_is_no_configuration(tmp_path: Path, catalog: object) -> None:
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load(tmp_path, {"HOME": "/h"}, catalog)  # type: ignore[arg-type]


def test_a_wrong_variable_is_not_laid_to_the_file(problems_of: Problems) -> None:
    assert problems_of("", {"LLM_ROUTER_PORT": "many"}) == [
        "environment: LLM_ROUTER_PORT: must be a whole number from 0 to 65535"
    ]
