"""Write the data files: valid JSON with one row a line, so that a changed fact is a changed line."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from catalog.overlay import Overlay
from llm_router.catalog.schema import CatalogData

_DEFAULTS = (("lossless", False), ("operations", ["chat"]))


def providers_file(text: Overlay) -> bytes:
    """The file of the providers, which stands in the overlay alone."""
    rows = tuple(text.providers[id_].provider() for id_ in text.catalogue.providers)
    return _file({"aliases": text.catalogue.provider_aliases}, rows)


def files(data: CatalogData) -> dict[str, bytes]:
    """File name -> contents."""
    return {
        "providers.json": _file({"aliases": data.provider_aliases}, data.providers),
        "models.json": _file({"as_of": data.as_of}, data.models),
        "prices.json": _file({}, data.prices),
    }


def _file(head: dict[str, object], rows: Iterable[object]) -> bytes:
    members = [f"{_json(name)}:{_json(value)}," for name, value in head.items()]
    lines = ",\n".join(_json(_pruned(msgspec.json.decode(msgspec.json.encode(row)))) for row in rows)
    return ("{" + "\n".join(members) + '"rows":[\n' + lines + "\n]}\n").encode()


def _pruned(value: object) -> object:
    """A row without the members that say nothing: null and empty ones."""
    if isinstance(value, dict):
        return {k: _pruned(v) for k, v in value.items() if _says(k, v)}
    if isinstance(value, list):
        return [_pruned(item) for item in value]
    return value


def _says(name: str, value: object) -> bool:
    """Whether a member is worth writing. ``simulated`` is never set in data."""
    return (
        value is not None and value not in ({}, []) and name != "simulated" and (name, value) not in _DEFAULTS
    )


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
