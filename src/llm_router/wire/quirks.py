"""The six declarative edits of a request that a provider may need.

They work on a decoded JSON object whose values may still be verbatim (:class:`msgspec.Raw`); a
value is decoded only where a dotted path leads into it. ``messages[].name`` means the member
``name`` of every item of the list ``messages``.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any

import msgspec

from llm_router.domain.model import Quirk
from llm_router.wire.loss import Loss

_MISSING = object()


def apply_quirks(body: dict[str, Any], quirks: tuple[Quirk, ...], model: str) -> list[Loss]:
    """Edit ``body`` in place for the upstream ``model``; return what was lost by it."""
    losses: list[Loss] = []
    for quirk in quirks:
        if quirk.models and not any(fnmatchcase(model, pattern) for pattern in quirk.models):
            continue
        if quirk.when is not None and _is_empty(body.get(quirk.when, _MISSING)):
            continue
        if "[]." in quirk.field:
            losses += _edit_items(body, quirk)
            continue
        holder, name = _holder(body, quirk.field, create=quirk.edit in ("default", "set"))
        if holder is None:
            continue
        value = holder.get(name, _MISSING)
        match quirk.edit:
            case "set" | "default":
                if quirk.edit == "set" or value is _MISSING:
                    holder[name] = quirk.value if quirk.value is not None else msgspec.Raw(b"null")
                if quirk.edit == "set" and not quirk.lossless and _differ(value, holder[name]):
                    losses.append(Loss(field=quirk.field, why=quirk.why))
                continue
            case _ if value is _MISSING:
                continue
            case "drop":
                del holder[name]
                if not quirk.lossless:
                    losses.append(Loss(field=quirk.field, why=quirk.why))
            case "rename" | "move":
                del holder[name]
                target, new = _holder(body, quirk.to or "", create=True)
                if target is not None:
                    target.setdefault(new, value)
            case "clamp":
                clamped = _clamp(value, quirk)
                if clamped is not None:
                    holder[name] = clamped
                    losses.append(Loss(field=quirk.field, why=quirk.why))
    return losses


def _edit_items(body: dict[str, Any], quirk: Quirk) -> list[Loss]:
    """Edit the items of a list; those that change are copied, since others may hold them too."""
    path, _, rest = quirk.field.partition("[].")
    holder, name = _holder(body, path, create=False)
    items = holder.get(name) if holder is not None else None
    if isinstance(items, msgspec.Raw):
        if f'"{rest.partition(".")[0]}"'.encode() not in bytes(items):
            return []
        items = msgspec.json.decode(items)
    if holder is None or not isinstance(items, list):
        return []
    to = quirk.to.removeprefix(f"{path}[].") if quirk.to is not None else None
    inner = (msgspec.structs.replace(quirk, field=rest, to=to, models=(), when=None),)
    losses: list[Loss] = []
    edited = []
    for item in items:
        if isinstance(item, dict):
            item = dict(item)
            losses += apply_quirks(item, inner, "")
        edited.append(item)
    holder[name] = edited
    return [Loss(field=quirk.field, why=quirk.why)] if losses else []


def _differ(asked: object, sent: object) -> bool:
    """Whether the client asked for something, and for something else than what is sent."""
    return asked is not _MISSING and _plain(asked) != _plain(sent)


def _plain(value: object) -> object:
    return msgspec.json.decode(value) if isinstance(value, msgspec.Raw) else value


def _is_empty(value: object) -> bool:
    return value is _MISSING or _plain(value) in (None, [], {}, "")


def _holder(body: dict[str, Any], path: str, *, create: bool) -> tuple[dict[str, Any] | None, str]:
    *parents, name = path.split(".")
    holder = body
    for parent in parents:
        value = holder.get(parent, _MISSING)
        if isinstance(value, msgspec.Raw):
            value = msgspec.json.decode(value)
            holder[parent] = value
        if value is _MISSING and create:
            value = holder[parent] = {}
        if not isinstance(value, dict):
            return None, name
        holder = value
    return holder, name


def _clamp(value: object, quirk: Quirk) -> float | int | None:
    """The bounded value, or None if it was within bounds (or no number)."""
    if isinstance(value, msgspec.Raw):
        value = msgspec.json.decode(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    bounded = value
    if quirk.min is not None and bounded < quirk.min:
        bounded = quirk.min
    if quirk.max is not None and bounded > quirk.max:
        bounded = quirk.max
    if bounded == value:
        return None
    return int(bounded) if float(bounded).is_integer() and isinstance(value, int) else bounded
