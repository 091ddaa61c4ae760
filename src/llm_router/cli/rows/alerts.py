"""Commands on how the operator hears of what goes wrong."""

from __future__ import annotations

from llm_router.cli.grammar import Command, Option, View

_NAME = Option("name", "of alerts list", metavar="WAY")
_TO = Option(
    "--to", "who gets mail, by the configured server; may be repeated", metavar="ADDRESS", action="append"
)
_TYPE = Option(
    "--type",
    "what it is told of (everything); may be repeated",
    more="What it is told of: `credits.low`, `auto_topup.disabled`; everything, if it is left out. May be repeated.",
    metavar="TYPE",
    action="append",
    argument="types",
)
_URL = Option("--url", "where notices are posted", metavar="URL", argument="address")
_OWN_SECRET = Option(
    "--own-secret", "sign with what stands on standard input", action="store_true", apart="secret"
)

ALERTS = (
    Command(
        "alerts list",
        "the ways in which alerts leave, and how the last try ended",
        operation="alerts.list",
        view=View(
            rows="alerts",
            columns=(
                ("WAY", "name"),
                ("KIND", "kind"),
                ("SOURCE", "source"),
                ("URL", "url"),
                ("TO", "to"),
                ("TYPES", "types"),
                ("ENABLED", "enabled"),
                ("WAITING", "waiting"),
                ("LAST TRIED", "last_tried"),
                ("PROBLEM", "problem"),
            ),
            empty="Alerts leave in no way: llm-router alerts add makes one, or [alerts] of the configuration.",
            right=frozenset({"WAITING"}),
        ),
    ),
    Command(
        "alerts show",
        "one of them",
        operation="alerts.show",
        options=(_NAME,),
        view=View(
            "",
            (
                ("Way", "name"),
                ("Kind", "kind"),
                ("Source", "source"),
                ("URL", "url"),
                ("To", "to"),
                ("Types", "types"),
                ("Enabled", "enabled"),
                ("Created", "created"),
                ("Waiting", "waiting"),
                ("Last tried", "last_tried"),
                ("Problem", "problem"),
            ),
            "",
        ),
    ),
    Command(
        "alerts add",
        "have alerts leave in one more way: as a signed webhook, or as mail",
        run="alerts:add",
        operation="alerts.add",
        options=(
            Option("name", "what it is called from now on", metavar="NAME"),
            _URL._replace(apart="kind"),
            _TO._replace(apart="kind"),
            _OWN_SECRET._replace(apart=""),
            _TYPE,
        ),
        prints="prints the way, with `secret` where the gateway made one: it is told once",
    ),
    Command(
        "alerts change",
        "change such a way",
        run="alerts:change",
        operation="alerts.change",
        options=(
            _NAME,
            _URL,
            _TO,
            Option("--new-secret", "have another secret made", action="store_true", apart="secret"),
            _OWN_SECRET,
            _TYPE,
            Option("--all-types", "tell it of everything", action="store_true"),
            Option("--off", "send nothing there any more", action="store_true", apart="state"),
            Option("--on", "send there again", action="store_true", apart="state"),
        ),
        prints="prints the way, with `secret` where the gateway made one: it is told once",
    ),
    Command(
        "alerts remove",
        "have no more alerts leave that way",
        operation="alerts.remove",
        done="Alerts do not leave by {name} any more.",
        options=(_NAME,),
    ),
    Command(
        "alerts try",
        "send a test of alerts, now",
        operation="alerts.try",
        done="Delivered: {delivered}. Problem: {problem}.",
        options=(_NAME,),
    ),
)
