"""Commands on presets, experiments and decisions."""

from __future__ import annotations

from pathlib import Path

from llm_router.cli.grammar import Command, Option
from llm_router.cli.kinds import count, resamples

ROUTING = (
    Command(
        "presets create",
        "save one, or its next version",
        run="presets:create",
        operation="presets.create",
        options=(
            Option("name", "it is asked for as @NAME", metavar="NAME"),
            Option("--model", "model string; may be repeated", metavar="M", action="append", default=[]),
            Option("--system", "system prompt of requests that have none", metavar="TEXT"),
            Option("--parameters", 'what requests leave out: {"temperature": 0.2}', metavar="JSON"),
            Option("--provider", 'wishes: {"sort": "price"}', metavar="JSON"),
            Option("--dial", "of auto: cost (0) or quality (10)", metavar="0-10", read=float),
            Option("--description", "for people", metavar="TEXT"),
        ),
    ),
    Command(
        "presets list", "show the newest version of each", run="presets:list_all", operation="presets.list"
    ),
    Command(
        "presets show",
        "show one",
        run="presets:show",
        operation="presets.show",
        options=(Option("name", "its name, or NAME:VERSION", metavar="NAME"),),
    ),
    Command(
        "presets versions",
        "show all versions of one",
        run="presets:versions",
        operation="presets.versions",
        options=(Option("name", "its name", metavar="NAME"),),
    ),
    Command(
        "presets delete",
        "delete one with all its versions",
        run="presets:delete",
        operation="presets.delete",
        options=(Option("name", "its name", metavar="NAME"),),
    ),
    Command(
        "experiments create",
        "begin an experiment",
        run="experiments:create",
        operation="experiments.create",
        options=(
            Option("name", "what reports are asked for by", metavar="NAME"),
            Option(
                "--of",
                "@PRESET, or a model as clients write it",
                more="`@PRESET`, or a model string as clients write it",
                metavar="WHAT",
                required=True,
            ),
            Option(
                "--kind",
                "ab, canary or shadow (ab)",
                more="`ab` (if left out), `canary` or `shadow`",
                default="ab",
                choices=("ab", "canary", "shadow"),
            ),
            Option(
                "--arm",
                "NAME[:WEIGHT][=MODEL or JSON]; the first is compared with",
                more="`NAME[:WEIGHT]`, and behind `=` a model string or a JSON object with `model`, `system`, `parameters`, `provider`, `dial`; at least two, the first to compare with",
                metavar="ARM",
                action="append",
                default=[],
            ),
            Option(
                "--sticky",
                "what keeps its arm (user)",
                more="who keeps an arm: `user` (if left out), `session`, `key` or `request`",
                default="user",
                choices=("user", "session", "key", "request"),
            ),
            Option("--share", "shadow: copied part, 0 to 1 (1)", metavar="PART", default=1.0, read=float),
            Option("--concurrency", "shadow: copies at a time (4)", metavar="N", default=4, read=count),
            Option(
                "--billed",
                "shadow: who pays (operator)",
                default="operator",
                choices=("operator", "customer"),
            ),
            Option(
                "--guard-requests", "canary: judged from so many on (20)", metavar="N", default=20, read=count
            ),
            Option(
                "--guard-margin",
                "canary: errors it may have more (0)",
                metavar="PART",
                default=0.0,
                read=float,
            ),
            Option("--description", "what it is for", more="for people"),
        ),
    ),
    Command(
        "experiments list", "list all experiments", run="experiments:list_all", operation="experiments.list"
    ),
    Command(
        "experiments show",
        "print an experiment as JSON",
        run="experiments:show",
        operation="experiments.show",
        options=(Option("name", "of experiments list", metavar="NAME"),),
    ),
    Command(
        "experiments stop",
        "end an experiment",
        run="experiments:stop",
        operation="experiments.stop",
        options=(
            Option("name", "of experiments list", metavar="NAME"),
            Option("--reason", "why, for the report"),
        ),
    ),
    Command(
        "experiments report",
        "compare the arms",
        run="experiments:report",
        operation="experiments.report",
        options=(Option("name", "of experiments list", metavar="NAME"),),
    ),
    Command(
        "explain",
        "say why an exchange went where it went",
        run="explain:explain",
        operation="explain",
        prints="the body of [`GET /v1/generations/{id}/explain`](explain.md#after-get-v1generationsidexplain)",
        options=(
            Option(
                "id",
                "of the exchange (x-generation-id) or of the reply",
                more="of the exchange (`x-generation-id`), or of the reply",
                metavar="ID",
            ),
            Option("--account", "whose it is (default)", more="whose it is (`default`)", default="default"),
        ),
    ),
    Command(
        "routes test",
        "say what would route, cost and fail differently",
        run="routes:try_routes",
        prints="every request with both plans, costs, reasons and errors",
        options=(
            Option(
                "file",
                "requests, or what was kept of some, one JSON object a line; - reads them",
                more="one JSON object a line: requests, explanations (`llm-router explain ID --json`, in one line) or exported rows (`llm-router usage export --format jsonl`); `-` reads standard input",
                metavar="FILE",
            ),
            Option(
                "--against",
                "compare with this configuration, not with what was recorded",
                more="the other one; without it requests that were served are compared with where they went",
                metavar="OLD",
                read=Path,
            ),
            Option("--all", "print what stays the same too", action="store_true"),
            Option(
                "--fail-on",
                "status 1 if a request fails that did not (failures), or goes elsewhere too (moves)",
                more="`failures` (status 1 if a request fails that did not), `moves` (also if one goes elsewhere), `never`",
                default="failures",
                choices=("failures", "moves", "never"),
            ),
        ),
    ),
    Command(
        "routes rehearse",
        "say what a change would have done to the last requests",
        run="routes:rehearse",
        operation="routes.rehearse",
        prints="prints the requests with both plans, costs, reasons and errors",
        options=(
            Option(
                "file",
                "TOML to lay over the configuration; - reads standard input",
                more="TOML that is laid over the configuration; `-` reads standard input",
                metavar="FILE",
            ),
            Option("--whole", "the file is a whole configuration", action="store_true"),
            Option("--last", "how many requests, the newest (100)", metavar="N", read=count, default=100),
            Option("--account", "of this account (all)"),
            Option("--model", "that this model answered"),
            Option("--all", "print what stays the same too", action="store_true"),
        ),
    ),
    Command(
        "eval-router",
        "measure the auto router on labelled prompts",
        run="auto_router:eval_router",
        sandbox=None,
        place=False,
        prints="Print JSON.",
        options=(
            Option(
                "file",
                "labelled prompts: .jsonl, .csv or .parquet",
                more="`.jsonl`, `.csv` or `.parquet` (needs pyarrow): rows with `prompt` and `scores` (quality by model, 0 to 1) and perhaps `costs` (US dollars by model) and `task`; or with `prompt`, `model`, `score` and perhaps `cost` or `out_chars`.",
                metavar="FILE",
                read=Path,
            ),
            Option(
                "--outcomes",
                "the labels, joined by the column pid",
                more="The labels in a file of their own, joined by the column `pid`.",
                metavar="FILE",
                read=Path,
            ),
            Option(
                "--where",
                "only such rows",
                more="Only rows whose column has that value: `split=dev`. May be repeated.",
                metavar="COLUMN=VALUE",
                action="append",
                default=[],
            ),
            Option("--weak", "the cheap side, by comma (the worst model)", metavar="MODELS"),
            Option("--strong", "the dear side, by comma (the best model)", metavar="MODELS"),
            Option(
                "--price",
                "US dollars per million tokens",
                more="`MODEL=IN/OUT`, US dollars per million tokens, for rows without a cost. May be repeated.",
                metavar="MODEL=IN/OUT",
                action="append",
                default=[],
            ),
            Option(
                "--resamples",
                "for intervals (200)",
                more="Of the bootstrap (200).",
                metavar="N",
                default=200,
                read=resamples,
            ),
            Option("--seed", "of the resamples (1)", more="Of the resamples (1).", default=1, read=count),
        ),
    ),
    Command(
        "calibrate-router",
        "find the cheapest dial that reaches a quality",
        run="auto_router:calibrate_router",
        sandbox=None,
        place=False,
        options=(
            Option("file", "labelled prompts: .jsonl, .csv or .parquet", metavar="FILE", read=Path),
            Option("--outcomes", "the labels, joined by the column pid", metavar="FILE", read=Path),
            Option("--where", "only such rows", metavar="COLUMN=VALUE", action="append", default=[]),
            Option("--weak", "the cheap side, by comma (the worst model)", metavar="MODELS"),
            Option("--strong", "the dear side, by comma (the best model)", metavar="MODELS"),
            Option(
                "--price",
                "US dollars per million tokens",
                metavar="MODEL=IN/OUT",
                action="append",
                default=[],
            ),
            Option("--resamples", "for intervals (200)", metavar="N", default=200, read=resamples),
            Option("--seed", "of the resamples (1)", default=1, read=count),
            Option(
                "--target-quality",
                "mean quality to reach, 0 to 1",
                more="The mean quality to reach, 0 to 1.",
                metavar="Q",
                read=float,
                required=True,
            ),
        ),
    ),
)
