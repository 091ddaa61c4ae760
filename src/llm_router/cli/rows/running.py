"""Commands that run something, or look at how it is set up."""

from __future__ import annotations

from pathlib import Path

from llm_router.cli.grammar import Command, Option
from llm_router.cli.kinds import CLIENTS, few, port, seconds, workers

RUNNING = (
    Command(
        "serve",
        "run the gateway",
        run="serve:serve",
        sandbox="simulated providers answer, without any key",
        json=False,
        options=(
            Option("--host", "address to listen on (127.0.0.1)"),
            Option(
                "--port",
                "port to listen on (4040; 0 = any)",
                more="port to listen on (4040); 0 takes any free one",
                read=port,
            ),
            Option(
                "--workers",
                "processes that serve requests (1)",
                more="processes that serve requests (1), see [several workers](deployment.md#several-workers-on-one-machine)",
                metavar="N",
                read=workers,
            ),
            Option(
                "--faults",
                "faults that the simulated providers commit: a TOML file, or a preset such as outage:openai",
                more="with `--sandbox`: the simulated providers fail as a file or a preset says, see [fault lab](fault-lab.md)",
                metavar="FILE",
            ),
            Option(
                "--local",
                "serve a small real model on this machine (needs pip install xllamacpp)",
                more="a small real model on this machine, free of charge; needs `pip install '.[local]'` in the checkout, or `pip install xllamacpp` elsewhere",
                action="store_true",
            ),
            Option(
                "--local-gguf",
                "serve this GGUF file (implies --local)",
                more="that model from a GGUF file of yours",
                metavar="FILE",
                read=Path,
            ),
        ),
    ),
    Command(
        "sandbox",
        "run only the simulated providers",
        run="serve:sandbox",
        sandbox=None,
        place=False,
        json=False,
        options=(
            Option("--host", "address to listen on (127.0.0.1)", default="127.0.0.1"),
            Option("--port", "port to listen on (4041; 0 = any)", default=4041, read=port),
            Option(
                "--faults",
                "faults that the simulated providers commit: a TOML file, or a preset such as outage:openai",
                metavar="FILE",
            ),
        ),
    ),
    Command(
        "local pull",
        "fetch the model file beforehand",
        run="serve:pull_local",
        sandbox=None,
        prints="prints `path`",
        options=(
            Option("--url", "a GGUF file to fetch in place of the default one"),
            Option("--sha256", "its checksum", more="its checksum, which is then verified", metavar="HEX"),
        ),
    ),
    Command("config check", "say what is wrong, or what is active", run="config:check"),
    Command(
        "config reload",
        "have the running gateway read it again",
        done="The gateway works with the new configuration.",
        operation="config.reload",
    ),
    Command(
        "deployments",
        "show how the deployments fare that are called",
        run="deployments:list_deployments",
        operation="deployments",
        prints="prints `processes`, each with `process` and `deployments`: `deployment`, `provider`, `model`, `available`, `reason`, `back`, `state`, `share`, `in_flight`, `calls`, `error_rate`, `ttft_ms` by size of the input in tokens, `tokens_per_s`, `limit` (calls at a time; null: none), `shed` (requests for which there was no place), `probes` (`calls`, `failed`, `cost`), `called`, `keys`",
        options=(Option("--all", "those that were never called too", action="store_true"),),
    ),
    Command(
        "models",
        "list models with their prices",
        run="models:list_models",
        operation="models",
        prints="the body of `GET /v1/models`, without `--all` of what can be called only",
        options=(
            Option(
                "--all",
                "those that cannot be called too",
                more="models whose providers are not active too, and those past their shutdown",
                action="store_true",
            ),
        ),
    ),
    Command(
        "conformance",
        "check the wire of this or any other gateway",
        run="conformance:conformance",
        sandbox=None,
        place=False,
        prints="the report, or the list, as one JSON object",
        options=(
            Option(
                "--base-url",
                "whom to check",
                more="whom to check (`http://127.0.0.1:4040`); with or without `/v1`",
                metavar="URL",
                default="http://127.0.0.1:4040",
            ),
            Option(
                "--key",
                "its API key (else the variable LLM_ROUTER_API_KEY)",
                more="its API key; else the variable `LLM_ROUTER_API_KEY`. It is never printed",
            ),
            Option(
                "--api",
                "chat, messages, responses, gemini, embeddings",
                more="of `chat`, `messages`, `responses`, `gemini`, `embeddings`, by commas: these must be there. If left out, all are tried and those that are not there are passed over",
                metavar="A,B",
            ),
            Option(
                "--model",
                "model to ask; may be repeated",
                more="the model to ask, or `API=NAME` for one API; may be repeated. If left out, a cheap one of `GET /v1/models`",
                metavar="[API=]NAME",
                action="append",
            ),
            Option(
                "--only",
                "checks by id or pattern; may be repeated",
                more="checks by id or pattern (`chat.stream.*`); may be repeated",
                metavar="ID",
                action="append",
            ),
            Option(
                "--list",
                "list the checks, ask nobody",
                more="lists the checks and asks nobody",
                action="store_true",
            ),
            Option(
                "--concurrency",
                "checks at once (4)",
                more="checks at the same time (4)",
                metavar="N",
                default=4,
                read=few,
            ),
            Option(
                "--timeout",
                "seconds a request (60)",
                more="seconds for a request (60)",
                metavar="S",
                default=60.0,
                read=seconds,
            ),
            Option(
                "--verbose",
                "name the checks that passed too",
                more="names the checks that passed too",
                action="store_true",
            ),
        ),
    ),
    Command(
        "print-config",
        "print ready settings for a client or agent",
        run="print_config:print_config",
        json=False,
        options=(
            Option("client", "none lists them", metavar="CLIENT", choices=CLIENTS, nargs="?"),
            Option(
                "--base-url",
                "the gateway's address (that of the settings)",
                more="the gateway's address, with or without `/v1`; else where the settings make it listen",
                metavar="URL",
            ),
            Option(
                "--key",
                "the key itself",
                more="the key itself, which then stands in the configuration",
                apart="secret",
            ),
            Option(
                "--key-env",
                "variable that holds it (LLM_ROUTER_API_KEY)",
                more="the variable that holds the key (`LLM_ROUTER_API_KEY`), which the configuration then refers to",
                metavar="NAME",
                apart="secret",
            ),
            Option(
                "--model",
                "a model, in place of a current one",
                more="the model; else the newest that can be called, of the family that the client expects",
                metavar="NAME",
            ),
        ),
    ),
    Command("migrate", "bring the data of an older version up to date", run="migrate:migrate"),
    Command("version", "print the version", sandbox=None, place=False),
)
