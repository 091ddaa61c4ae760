"""The commands on keys."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from llm_router.cli.asking import show as show_rows
from llm_router.cli.asking import wanted
from llm_router.cli.commands import command_of
from llm_router.cli.output import dollars_of, note, print_json, print_table, text_of
from llm_router.domain.errors import InvalidRequest


def create(arguments: argparse.Namespace) -> int:
    """The key alone on standard output, so that a script can take it; the rest beside it."""
    from llm_router.cli.world import run_command

    made = run_command(
        arguments,
        "keys.create",
        {
            "name": arguments.name,
            "account": arguments.account,
            "team": arguments.team,
            "user": arguments.user,
            "expires": arguments.expires,
            "models": arguments.models,
            "providers": arguments.providers,
            "scopes": arguments.scopes,
            "ip_ranges": arguments.ip_ranges,
            "tags": arguments.tags or (),
            "limit": arguments.limit,
            "limit_reset": arguments.limit_reset,
            "requests_per_minute": arguments.rpm,
            "tokens_per_minute": arguments.tpm,
            "concurrency": arguments.concurrency,
            "usage_chunk": not arguments.no_usage_chunk,
            "strict": arguments.strict,
            "priority": "batch" if arguments.batch else "interactive",
        },
    )
    if arguments.json:
        print_json(made)
        return 0
    print(made["key"])
    note(f'{made["id"]} "{made["name"]}" spends from the account {made["account"]}: {dollars_of(made)} left.')
    if made["expires"] is not None:
        note(f"It expires at {made['expires']}.")
    note("It is shown this once; only its hash is stored.")
    return 0


def _next(page: Mapping[str, object], keys: list[dict[str, object]]) -> object:
    found = page["keys"]
    assert isinstance(found, list), "the command's own result"
    keys += found
    return keys[-1]["id"] if page["more"] else None


def show(arguments: argparse.Namespace) -> int:
    from llm_router.cli.world import run_command, run_pages

    keys: list[dict[str, object]] = []
    if arguments.account is None:
        found = run_command(arguments, "keys.list", {})["keys"]
        assert isinstance(found, list), "the command's own result"
        keys = found
    else:
        run_pages(arguments, "keys.list", {"account": arguments.account}, lambda page: _next(page, keys))
    if arguments.json:
        print_json({"keys": keys})
    elif not keys:
        note("There is no key yet; make one: llm-router keys create --name NAME")
    else:
        columns = ("ID", "NAME", "KEY", "ACCOUNT", "STATUS", "CREATED", "EXPIRES", "MODELS", "LIMITS")
        print_table(columns, [_key_row(key) for key in keys])
    return 0


def _key_row(key: dict[str, object]) -> tuple[str, ...]:
    models, limits = key["models"], key["limits"]
    assert isinstance(limits, dict), "the command's own result"
    short = {"requests_per_minute": "rpm", "tokens_per_minute": "tpm", "concurrency": "at once"}
    return (
        str(key["id"]),
        str(key["name"]),
        f"{key['prefix']}...",
        str(key["account"]),
        str(key["status"]),
        str(key["created"])[:10],
        "never" if key["expires"] is None else str(key["expires"])[:16].replace("T", " "),
        ", ".join(models) if isinstance(models, list) else "all",
        ", ".join(f"{limits[name]} {word}" for name, word in short.items() if limits[name] is not None)
        or "-",
    )


_BOUNDS = {
    **{
        name: name
        for name in (
            "team",
            "user",
            "expires",
            "models",
            "providers",
            "scopes",
            "tags",
            "concurrency",
            "limit",
        )
    },
    "ip-ranges": "ip_ranges",
    "rpm": "requests_per_minute",
    "tpm": "tokens_per_minute",
}
"""What can be taken away from a key, and what the gateway calls it."""


def change(arguments: argparse.Namespace) -> int:
    """What is left out stays."""
    from llm_router.cli.rows.people import KEY
    from llm_router.cli.world import run_command

    command = command_of(arguments)
    without = arguments.without or ()
    unknown = [name for name in without if name not in _BOUNDS]
    if unknown:
        raise InvalidRequest(
            f"--without takes {', '.join(_BOUNDS)}, and not {', '.join(unknown)[:100]}", param="without"
        )
    values = {name: value for name, value in wanted(command, arguments).items() if name != "without"}
    both = [name for name in without if _BOUNDS[name] in values]
    if both:
        raise InvalidRequest(f"--{both[0]} and --without {both[0]} exclude each other", param="without")
    result = run_command(
        arguments, command.operation, {**values, **{_BOUNDS[name]: None for name in without}}
    )
    if arguments.json:
        print_json(result)
    else:
        show_rows(KEY, text_of(result))
    return 0


def revoke(arguments: argparse.Namespace) -> int:
    from llm_router.cli.world import run_command

    result = run_command(arguments, "keys.revoke", {"id": arguments.id})
    if arguments.json:
        print_json(result)
    else:
        print(f'{result["id"]} "{result["name"]}" is revoked.')
    return 0


def rotate(arguments: argparse.Namespace) -> int:
    """The new text alone on standard output, as of a new key."""
    from llm_router.cli.world import run_command

    wanted = {"id": arguments.id}
    if arguments.overlap_s is not None:
        wanted["overlap_s"] = arguments.overlap_s
    turned = run_command(arguments, "keys.rotate", wanted)
    if arguments.json:
        print_json(turned)
        return 0
    print(turned["key"])
    until = turned["old_text_until"]
    note(f'{turned["id"]} "{turned["name"]}" has another text; it is shown this once.')
    note(
        "The one before is refused from now on." if until is None else f"The one before works until {until}."
    )
    return 0
