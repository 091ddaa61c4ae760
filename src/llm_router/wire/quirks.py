"""The nine declarative edits of a request that a provider may need.

They work on a decoded JSON object whose values may still be verbatim (:class:`msgspec.Raw`); a
value is decoded only where a dotted path leads into it. ``messages[].name`` means the member
``name`` of every item of the list ``messages``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

import msgspec

from llm_router.domain.model import Quirk
from llm_router.wire.loss import Loss

_MISSING = object()


def apply_quirks(body: dict[str, Any], quirks: tuple[Quirk, ...], *names: str) -> list[Loss]:
    """Edit ``body`` in place for the upstream model of any of these names; return what was lost by it."""
    losses: list[Loss] = []
    for quirk in quirks:
        if not applies(quirk, names):
            continue
        path, listed, _ = quirk.field.partition("[].")
        inner = listed and quirk.when is not None and quirk.when.startswith(f"{path}[].")
        if quirk.when is not None and not inner and not _holds(body, quirk.when):
            continue
        losses += _edit_items(body, quirk) if listed else _edit(body, quirk)
    return losses


def applies(quirk: Quirk, names: Iterable[str]) -> bool:
    """Whether the quirk is meant for a model of one of these names."""
    return not quirk.models or any(fnmatchcase(name, pattern) for name in names for pattern in quirk.models)


def _holds(body: Mapping[str, Any], condition: str) -> bool:
    """Whether the condition of a quirk is met: a member that is there, or that is one of some words."""
    path, asked, words = condition.partition("=")
    value: object = body
    for name in path.split("."):
        value = _plain(value.get(name, _MISSING)) if isinstance(value, Mapping) else _MISSING
    return value in words.split("|") if asked else value is not _MISSING and value not in (None, [], {}, "")


def _edit(body: dict[str, Any], quirk: Quirk) -> list[Loss]:
    """Make one edit; what was lost by it."""
    holder, name = _holder(body, quirk.field, create=quirk.edit in ("default", "set"))
    if holder is None:
        return []
    value = holder.get(name, _MISSING)
    lost = False
    match quirk.edit:
        case "set" | "default":
            if quirk.edit == "set" or value is _MISSING:
                holder[name] = quirk.value if quirk.value is not None else msgspec.Raw(b"null")
            lost = quirk.edit == "set" and _differ(value, holder[name])
        case _ if value is _MISSING:
            return []
        case "drop":
            del holder[name]
            lost = True
        case "rename" | "move":
            del holder[name]
            target, new = _holder(body, quirk.to or "", create=True)
            if target is not None:
                target.setdefault(new, value)
        case "merge":
            holder[name] = _merged(value)
        case "clamp" | "limit" | "replace":
            changed = _CHANGES[quirk.edit](value, quirk)
            if changed is not None:
                holder[name] = changed
            lost = changed is not None
    return [Loss(field=quirk.field, why=quirk.why)] if lost and not quirk.lossless else []


def _edit_items(body: dict[str, Any], quirk: Quirk) -> list[Loss]:
    """Edit the items of a list; those that change are copied, since others may hold them too."""
    path, _, rest = quirk.field.partition("[].")
    holder, name = _holder(body, path, create=False)
    items = holder.get(name) if holder is not None else None
    if isinstance(items, msgspec.Raw):
        named = rest if quirk.edit not in ("default", "set") else _item_condition(quirk, path) or rest
        if f'"{named.partition(".")[0].partition("=")[0]}"'.encode() not in bytes(items):
            return []
        items = msgspec.json.decode(items)
    if holder is None or not isinstance(items, list):
        return []
    condition = _item_condition(quirk, path)
    to = quirk.to.removeprefix(f"{path}[].") if quirk.to is not None else None
    inner = msgspec.structs.replace(quirk, field=rest, to=to)
    losses: list[Loss] = []
    edited = []
    for item in items:
        if isinstance(item, dict) and (condition is None or _holds(item, condition)):
            item = dict(item)
            losses += _edit(item, inner)
        edited.append(item)
    holder[name] = edited
    return [Loss(field=quirk.field, why=quirk.why)] if losses else []


def _item_condition(quirk: Quirk, path: str) -> str | None:
    """The part of the condition that is about the item itself."""
    prefix = f"{path}[]."
    return (
        quirk.when.removeprefix(prefix) if quirk.when is not None and quirk.when.startswith(prefix) else None
    )


def _merged(value: object) -> object:
    """Messages with neighbours of the same role (user or assistant) put together; calls stay apart."""
    messages = _plain(value)
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        return value
    out: list[dict[str, Any]] = []
    for message in messages:
        last = out[-1] if out else {}
        joins = message.get("role") in ("user", "assistant") and last.get("role") == message.get("role")
        if joins and {*last, *message} <= {"role", "content"}:
            out[-1] = {**last, "content": _joined(last.get("content"), message.get("content"))}
        else:
            out.append(message)
    return value if len(out) == len(messages) else out


def _joined(one: object, other: object) -> object:
    if isinstance(one, str) and isinstance(other, str):
        return f"{one}\n\n{other}"
    return [*_parts(one), *_parts(other)]


def _parts(content: object) -> list[Any]:
    if isinstance(content, list):
        return content
    return [{"type": "text", "text": content}] if content else []


def _differ(asked: object, sent: object) -> bool:
    """Whether the client asked for something, and for something else than what is sent."""
    return asked is not _MISSING and _plain(asked) != _plain(sent)


def _plain(value: object) -> object:
    return msgspec.json.decode(value) if isinstance(value, msgspec.Raw) else value


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


def _limit(value: object, quirk: Quirk) -> list[Any] | None:
    """The first items, or None if the list is short enough (or none)."""
    items = _plain(value)
    most = int(quirk.max) if quirk.max is not None else 0
    return items[:most] if isinstance(items, list) and len(items) > most else None


def _replace(value: object, quirk: Quirk) -> Any:
    """What stands for the word, or None if it is not in the table."""
    word, table = _plain(value), _plain(quirk.value)
    return table.get(word) if isinstance(word, str) and isinstance(table, dict) else None


_CHANGES: Mapping[str, Callable[[object, Quirk], Any]] = {
    "clamp": _clamp,
    "limit": _limit,
    "replace": _replace,
}
