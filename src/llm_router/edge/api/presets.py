"""Presets: saved sets of models, parameters and a system prompt, which requests name as ``@NAME``.

They are the gateway's, and every account may use them; so the operator alone makes and deletes them, and sees what is
in them. Others see their names and what they are for.
"""

from __future__ import annotations

from typing import Any

import msgspec

from llm_router.edge.api.table import ApiRoute, Ask, Body, Reply


class PresetEntry(Reply, frozen=True, kw_only=True):
    """A preset. ``system``, ``parameters``, ``provider`` and ``dial`` are shown to the operator alone.

    ``warnings``: of the one that is being saved: parameters that are not known here.
    """

    name: str
    version: int
    models: list[str]
    description: str | None
    created: str
    system: str | None = None
    parameters: dict[str, Any] = {}
    provider: dict[str, Any] = {}
    dial: float | None = None
    warnings: list[str] = []


class PresetList(Reply, frozen=True, kw_only=True):
    data: list[PresetEntry]


class MakePreset(Body, frozen=True, kw_only=True):
    """A preset, or the next version of one that is there."""

    name: str
    models: tuple[str, ...] = ()
    system: str | None = None
    parameters: dict[str, msgspec.Raw] = {}
    provider: dict[str, msgspec.Raw] = {}
    dial: float | None = None
    description: str | None = None


_SHOWN = ("name", "version", "models", "description", "created")


async def list_presets(ask: Ask) -> dict[str, object]:
    """The newest version of each preset of the store."""
    rows = await ask.desk.rows("presets.list", ask.by, {}, "presets")
    if "house:read" not in ask.subject.house():
        rows = [{name: row[name] for name in _SHOWN} for row in rows]
    return {"data": rows}


async def make_preset(ask: Ask) -> dict[str, object]:
    body: MakePreset = ask.body
    return {**await ask.desk.run("presets.create", ask.by, msgspec.structs.asdict(body))}


async def show_preset(ask: Ask) -> dict[str, object]:
    """All versions of a preset, the newest first."""
    return {**await ask.desk.run("presets.versions", ask.by, {"name": ask.parameters["preset"]})}


async def delete_preset(ask: Ask) -> dict[str, object]:
    """Delete a preset with all its versions."""
    return {**await ask.desk.run("presets.delete", ask.by, {"name": ask.parameters["preset"]})}


PRESET_ROUTES = (
    ApiRoute(
        method="GET", path="/api/v1/presets", handler=list_presets, summary="The presets that requests may name.",
        permission="preset:read", reply=PresetList,
    ),
    ApiRoute(
        method="POST", path="/api/v1/presets", handler=make_preset, status=201,
        summary="Save a preset; one of that name gets its next version.",
        permission="model:write", house=True, body=MakePreset, reply=PresetEntry,
    ),
    ApiRoute(
        method="GET", path="/api/v1/presets/{preset}", handler=show_preset,
        summary="All versions of a preset, the newest first.", permission="preset:read", house=True,
    ),
    ApiRoute(
        method="DELETE", path="/api/v1/presets/{preset}", handler=delete_preset, summary="Delete a preset.",
        permission="model:write", house=True,
    ),
)  # fmt: skip
