"""Presets as the engine finds and keeps them: those of the configuration, and those of the store with versions.

A version never changes: a change makes the next one, and a deletion too, so that ``@name:3`` means the same for
ever. What the store said is believed for a moment, so that all processes and nodes have a change within it.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any

import msgspec

from llm_router.domain.errors import InvalidRequest, ModelNotFound, NotFound
from llm_router.domain.preset import NAME, Preset
from llm_router.engine.admit import Call
from llm_router.engine.moments import iso_time
from llm_router.engine.operator import Arguments, Context, Result
from llm_router.engine.saved import check_known, check_parameters
from llm_router.engine.state import State
from llm_router.ports import Clock, Document, TreasuryBooks
from llm_router.routing.query import PresetName, is_auto, read_query
from llm_router.wire.dialect import Inspected
from llm_router.wire.presets import fill
from llm_router.wire.routed import MEMBERS

KIND = "preset"
BELIEVED_MS = 1_000
"""How long what the store said of a preset is taken as it was."""

KNOWN_MAX = 1_000
BYTES_MAX = 1024 * 1024
"""All versions of one preset together."""

WRITE_TRIES = 5
NOT_PARAMETERS = ("model", "messages", "input", "contents", "prompt", "stream", "stream_options", *MEMBERS)


class StoredPresets:
    """The presets of the store."""

    def __init__(self, books: TreasuryBooks, clock: Clock) -> None:
        self._books = books
        self._clock = clock
        self._known: dict[str, tuple[int, tuple[Preset, ...]]] = {}

    async def versions(self, name: str) -> tuple[Preset, ...]:
        """All versions of a preset, the oldest first; none if there is no such preset."""
        now_ms = self._clock.now_ms()
        known = self._known.get(name)
        if known is not None and now_ms - known[0] < BELIEVED_MS:
            return known[1]
        document = await self._books.document(KIND, name)
        found = () if document is None else msgspec.json.decode(document.body, type=tuple[Preset, ...])
        if len(self._known) >= KNOWN_MAX:
            self._known.clear()
        self._known[name] = (now_ms, found)
        return found

    async def names(self) -> tuple[str, ...]:
        """Some of the presets that there are, for an error."""
        page = await self._books.documents(KIND)
        newest = ((each.id, msgspec.json.decode(each.body, type=tuple[Preset, ...])[-1]) for each in page)
        return tuple(name for name, preset in newest if not preset.deleted)

    async def find(self, asked: PresetName) -> Preset | None:
        """A version, or the newest; None if there is none, or it was deleted."""
        versions = await self.versions(asked.name)
        if asked.version is not None:
            found = next((each for each in versions if each.version == asked.version), None)
        else:
            found = versions[-1] if versions else None
        return None if found is None or found.deleted else found


class Applied(msgspec.Struct, frozen=True, kw_only=True):
    """A request with its preset written into it. ``preset`` None: it names none, and is as it was."""

    call: Call
    inspected: Inspected
    preset: Preset | None = None


async def applied(
    state: State, stored: StoredPresets | None, call: Call, inspected: Inspected, inspect: Any
) -> Applied:
    """The request with the preset that it names written into it, inspected again.

    Raises:
        ModelNotFound: there is no such preset.
        InvalidRequest: it leaves the model open, and so does the request; or what it fills in is refused.
    """
    if "@" not in inspected.model and "preset" not in inspected.routing:
        return Applied(call=call, inspected=inspected)
    query = read_query(inspected.model, inspected.routing)
    if query.preset is None:
        return Applied(call=call, inspected=inspected)
    preset = await _found(state, stored, query.preset)
    names = [name if sort is None else f"{name}:{_SUFFIX[sort]}" for name, sort in _pairs(query.names)]
    models = names or list(preset.models)
    if names and query.preset_at is not None:  # its models in its place among the others
        models = [*names[: query.preset_at], *preset.models, *names[query.preset_at :]]
    if not models:
        raise InvalidRequest(
            f"The preset '@{preset.name}' names no model: name one in front of it, as MODEL@preset/{preset.name}.",
            param="model",
        )
    model, in_path = "|".join(models), call.path_model is not None
    body, losses = fill(call.dialect.name, call.body, preset, model, in_path=in_path)
    call = msgspec.structs.replace(call, body=body, path_model=model if in_path else None)
    again: Inspected = inspect(body, call.path_model, call.path_stream)
    again.losses = (*again.losses, *losses)
    again.routing = {**again.routing, "preset": preset.name}
    return Applied(call=call, inspected=again, preset=preset)


_SUFFIX = {"price": "floor", "throughput": "nitro", "exacto": "exacto"}


def _pairs(names: Any) -> list[tuple[str, str | None]]:
    return [(asked.name, asked.sort) for asked in names]


async def _found(state: State, stored: StoredPresets | None, asked: PresetName) -> Preset:
    own = state.routing.presets.get(asked.name)
    if own is not None and asked.version is None:
        return own
    found = None if stored is None else await stored.find(asked)
    if found is None:
        version = "" if asked.version is None else f":{asked.version}"
        known = [*state.routing.presets, *([] if stored is None else await stored.names())]
        near = get_close_matches(asked.name, known, 3)
        hint = f" Nearest: {', '.join(f'@{name}' for name in near)}." if near else ""
        raise ModelNotFound(
            f"There is no preset '@{asked.name}{version}' here.{hint}",
            param="model",
            details={"nearest": [f"@{name}" for name in near]},
        )
    return found


# -- the operator's commands -----------------------------------------------------------------------


class CreatePreset(Arguments, frozen=True, kw_only=True):
    """``presets.create``: the first version, or the next one."""

    name: str
    models: tuple[str, ...] = ()
    system: str | None = None
    parameters: dict[str, Any] = {}
    provider: dict[str, Any] = {}
    dial: float | None = None
    description: str | None = None


class NamedPreset(Arguments, frozen=True, kw_only=True):
    """``presets.show``, ``presets.versions``, ``presets.delete``."""

    name: str
    version: int | None = None


async def create_preset(arguments: CreatePreset, context: Context) -> Result:
    """Save a preset; one that is there already gets its next version.

    Raises:
        InvalidRequest: a part of it cannot be or is misspelt, or it has grown too large.
    """
    preset = Preset(
        name=arguments.name,
        models=arguments.models,
        system=arguments.system,
        parameters={name: msgspec.Raw(msgspec.json.encode(v)) for name, v in arguments.parameters.items()},
        provider={name: msgspec.Raw(msgspec.json.encode(v)) for name, v in arguments.provider.items()},
        dial=arguments.dial,
        description=arguments.description,
    )
    check_preset(preset)
    check_known(preset.models, context.snapshot(), context.configured().tasks)
    warnings = check_parameters(preset.parameters)
    if is_auto(preset.name) or preset.name == "preset" or _is_model(preset.name, context):
        raise InvalidRequest(
            f"'{preset.name}' is the name of a model or a word of its own: give the preset another name",
            param="name",
        )
    saved = shown(await _add(preset, context))
    return {**saved, "warnings": list(warnings)} if warnings else saved


def _is_model(name: str, context: Context) -> bool:
    try:
        context.snapshot().resolve(name)
    except ModelNotFound:
        return False
    return True


async def list_presets(arguments: Arguments, context: Context) -> Result:
    """The newest version of every stored preset."""
    found: list[dict[str, object]] = []
    after = ""
    while page := await _books(context).documents(KIND, after=after):
        for document in page:
            newest = msgspec.json.decode(document.body, type=tuple[Preset, ...])[-1]
            if not newest.deleted:
                found.append(shown(newest))
        after = page[-1].id
    return {"presets": found}


async def show_preset(arguments: NamedPreset, context: Context) -> Result:
    """One version of a preset, or the newest.

    Raises:
        NotFound: there is none.
    """
    stored = StoredPresets(_books(context), context.clock)
    found = await stored.find(PresetName(name=arguments.name, version=arguments.version))
    if found is None:
        raise await _no_version(arguments, stored)
    return shown(found)


async def preset_versions(arguments: NamedPreset, context: Context) -> Result:
    """All versions of a preset, the newest first.

    Raises:
        NotFound: there is none.
    """
    versions = await StoredPresets(_books(context), context.clock).versions(arguments.name)
    if not versions:
        raise _none(arguments.name)
    return {"name": arguments.name, "versions": [shown(each) for each in reversed(versions)]}


async def delete_preset(arguments: NamedPreset, context: Context) -> Result:
    """Delete a preset with all its versions. Another one of that name goes on counting.

    Raises:
        NotFound: there is none.
    """
    versions = await StoredPresets(_books(context), context.clock).versions(arguments.name)
    if not versions or versions[-1].deleted:
        raise _none(arguments.name)
    gone = await _add(Preset(name=arguments.name, deleted=True), context)
    return {"name": gone.name, "deleted": True}


def check_preset(preset: Preset) -> None:
    """Refuse what can be no preset.

    Raises:
        InvalidRequest: says what to change.
    """
    if not NAME.fullmatch(preset.name):
        raise InvalidRequest("a preset's name has 1 to 64 letters, digits and . _ -", param="name")
    for model in preset.models:
        if not model or "@" in model or " " in model:
            raise InvalidRequest("a preset's models are model strings without presets", param="models")
        read_query(model, {})
    for name in preset.parameters:
        if name in NOT_PARAMETERS:
            raise InvalidRequest(f"'{name}' is no parameter that a preset may fill in", param="parameters")
    if preset.dial is not None and not 0 <= preset.dial <= 10:
        raise InvalidRequest("dial must be from 0 (cheapest) to 10 (best)", param="dial")
    plain = {name: msgspec.json.decode(raw) for name, raw in preset.provider.items()}
    read_query("x", {"provider": plain})
    if not (preset.models or preset.system or preset.parameters or preset.provider or preset.deleted):
        raise InvalidRequest("a preset must say something: models, system, parameters or provider")


def shown(preset: Preset) -> dict[str, object]:
    """A preset as the operator sees it."""
    return {
        "name": preset.name,
        "version": preset.version,
        "models": list(preset.models),
        "system": preset.system,
        "parameters": preset.parameters,
        "provider": preset.provider,
        "dial": preset.dial,
        "description": preset.description,
        "created": iso_time(preset.created_ms),
        **({"deleted": True} if preset.deleted else {}),
    }


async def _add(preset: Preset, context: Context) -> Preset:
    books, now_ms = _books(context), context.clock.now_ms()
    for _ in range(WRITE_TRIES):
        known = await books.document(KIND, preset.name)
        before = () if known is None else msgspec.json.decode(known.body, type=tuple[Preset, ...])
        if preset.deleted:  # what was deleted cannot be called, so that its text is not kept either
            before = tuple(Preset(name=p.name, version=p.version, deleted=True) for p in before)
        preset = msgspec.structs.replace(preset, version=len(before) + 1, created_ms=now_ms)
        body = msgspec.json.encode((*before, preset))
        if len(body) > BYTES_MAX:
            raise InvalidRequest(
                "all versions of a preset together may have 1 MiB; delete it, or take another name"
            )
        document = Document(
            kind=KIND,
            id=preset.name,
            account="",
            version=preset.version,
            open=False,
            created_ms=now_ms,
            body=body,
        )
        if await books.put_document(document):
            return preset
    raise InvalidRequest("the preset is being changed by others; try again")


def _books(context: Context) -> TreasuryBooks:
    if context.treasury is None:
        raise InvalidRequest("this store has no room for presets")
    return context.treasury.books


async def _no_version(arguments: NamedPreset, stored: StoredPresets) -> NotFound:
    """What is said of a preset, or of a version of one, that there is not."""
    versions = await stored.versions(arguments.name)
    left = [each.version for each in versions if not each.deleted]
    if arguments.version is None or not left:
        return _none(arguments.name)
    which = f"version {left[0]}" if len(left) == 1 else f"versions {left[0]} to {left[-1]}"
    return NotFound(
        f"the preset '{arguments.name[:64]}' has no version {arguments.version}; it has {which}",
        param="version",
    )


def _none(name: str) -> NotFound:
    return NotFound(f"there is no preset '{name[:64]}'", param="name")
