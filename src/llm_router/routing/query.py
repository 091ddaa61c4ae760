"""What a request asks of routing: the models, in order, and the wishes about who runs them.

Two sources: the model string, and the members of the body that speak to the gateway, which are OpenRouter's
and mean what they mean there: https://openrouter.ai/docs/guides/routing/provider-selection

    model string     NAME[:SUFFIX] | NAME[:SUFFIX] | ...
    NAME             a model, provider/model, @PRESET[:VERSION], auto, auto:TASK
    SUFFIX           floor (cheapest), nitro (fastest), exacto (best with tools)
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from decimal import Decimal, InvalidOperation
from difflib import get_close_matches
from typing import Any, Final, Literal, get_args

import msgspec

from llm_router.domain.errors import InvalidRequest

Sort = Literal["price", "throughput", "latency", "exacto"]
SUFFIXES: Final[Mapping[str, Sort]] = {"floor": "price", "nitro": "throughput", "exacto": "exacto"}

MODELS_MAX: Final = 16
"""Models that one request may name."""

SLUGS_MAX: Final = 100
SLUG_CHARS_MAX: Final = 256
SESSION_CHARS_MAX: Final = 256
"""https://openrouter.ai/docs/api-reference/parameters, of ``session_id``."""

Quantization = Literal[
    "int4", "int8", "fp4", "mxfp4", "nvfp4", "fp6", "fp8", "mxfp8", "fp16", "bf16", "fp32", "unknown",
]  # fmt: skip
QUANTIZATIONS: Final = get_args(Quantization)
_PERCENTILES: Final = ("p50", "p75", "p90", "p99")
_RATE_PUSD: Final = 1_000_000
"""Picodollars a token of one dollar for a million tokens."""
_PUSD: Final = 10**12

_PRESET = re.compile(r"@(?:preset/)?([A-Za-z0-9][A-Za-z0-9._-]{0,63})(?::([0-9]{1,9}))?")


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """One name of a model string.

    Attributes:
        name: without its suffix.
        sort: what the suffix asks for.
    """

    name: str
    sort: Sort | None = None


class PresetName(msgspec.Struct, frozen=True, kw_only=True):
    """``version`` None is the newest."""

    name: str
    version: int | None = None


class MaxPrice(msgspec.Struct, frozen=True, kw_only=True):
    """The dearest rates that are wished: picodollars a token, or for a request."""

    prompt: int | None = None
    completion: int | None = None
    audio: int | None = None
    request: int | None = None


class Wishes(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Who may run the request, and who rather. The defaults wish nothing.

    Attributes:
        order: providers to be tried first, in that order; the others follow if ``allow_fallbacks``.
        only, ignore: providers that may, and may not, be asked. None, and of ignore (), say nothing.
        require_parameters: only who takes all that the request says.
        sort: by what deployments are ordered; partition: of each model, or of all models together.
        data_collection: ``deny``: only providers that neither keep nor train on what they are sent.
        zdr: only providers that keep nothing at all.
        quantizations: precisions of the weights that will do.
        regions: where it may be run.
        throughput_min (tokens a second), latency_max_ms (to the first token): who does not meet them comes last.
    """

    order: tuple[str, ...] = ()
    only: tuple[str, ...] | None = None
    ignore: tuple[str, ...] = ()
    allow_fallbacks: bool = True
    require_parameters: bool = False
    sort: Sort | None = None
    partition: Literal["model", "none"] = "model"
    max_price: MaxPrice | None = None
    data_collection: Literal["allow", "deny"] = "allow"
    zdr: bool = False
    quantizations: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    throughput_min: float | None = None
    latency_max_ms: float | None = None


NO_WISHES: Final = Wishes()


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """What a request asks of routing.

    Attributes:
        preset: one that is named beside a model, or in the place of one.
        preset_at: behind how many of the names its own models stand; None if it only fills in the rest.
        session: of ``session_id``, for sticky routing.
    """

    names: tuple[Asked, ...]
    wishes: Wishes = NO_WISHES
    preset: PresetName | None = None
    preset_at: int | None = None
    session: str | None = None


def read_query(model: str, routing: Mapping[str, Any]) -> Query:
    """What a request asks: its model string, and its members that speak to the gateway.

    Raises:
        InvalidRequest: one of them is wrong, or unknown; the message names the nearest.
    """
    if not routing and "|" not in model and ":" not in model and "@" not in model:
        return Query(names=(Asked(name=model),))
    preset: PresetName | None = None
    if isinstance(slug := routing.get("preset"), str):
        preset = _preset(f"@{slug.removeprefix('@preset/').removeprefix('@')}", "preset")
    elif "preset" in routing:
        raise _bad("preset", "must be the name of a preset")
    names: dict[str, Asked] = {}
    preset_at: int | None = None
    for text in (*model.split("|"), *_models(routing)):
        asked, named = _asked(text.strip())
        if named is not None and preset not in (None, named):
            raise _bad("model", "names two presets: a request has one")
        preset = preset or named
        if asked is not None:
            names.setdefault(asked.name, asked)
        elif preset_at is None:
            preset_at = len(names)
    if len(names) > MODELS_MAX:
        raise _bad("models", f"must name at most {MODELS_MAX} models")
    wishes = _wishes(routing.get("provider"))
    if (partition := _route(routing)) is not None:
        wishes = msgspec.structs.replace(wishes, partition=partition)
    return Query(
        names=tuple(names.values()),
        wishes=wishes,
        preset=preset,
        preset_at=preset_at,
        session=_session(routing),
    )


def is_auto(name: str) -> bool:
    """Whether a name leaves the choice of the model to the gateway."""
    return name == "auto" or name.startswith("auto:")


def _models(routing: Mapping[str, Any]) -> tuple[str, ...]:
    models = routing.get("models")
    if models is None:
        return ()
    if not isinstance(models, list) or not all(isinstance(name, str) and name for name in models):
        raise _bad("models", "must be a list of model names")
    return tuple(part for name in models for part in name.split("|"))


def _asked(text: str) -> tuple[Asked | None, PresetName | None]:
    """A name and its suffix, or a preset, or both (``model@preset/name``)."""
    if not text:
        raise _bad("model", "names no model between two '|'")
    if text.startswith("@"):
        return None, _preset(text, "model")
    name, at, slug = text.partition("@preset/")
    preset = _preset(f"@{slug}", "model") if at else None
    head, colon, tail = name.rpartition(":")
    if colon and head and tail in SUFFIXES:
        if head.rpartition(":")[2] in SUFFIXES:
            raise _bad("model", f"has two suffixes in '{text[:100]}': a model has one of {_suffixes()}")
        return Asked(name=head, sort=SUFFIXES[tail]), preset
    return Asked(name=name), preset


def _suffixes() -> str:
    return ", ".join(f":{suffix}" for suffix in SUFFIXES)


def _preset(text: str, param: str) -> PresetName:
    found = _PRESET.fullmatch(text)
    if found is None:
        raise _bad(param, "names a preset as @NAME or @NAME:VERSION, of letters, digits and . _ -")
    return PresetName(name=found[1], version=None if found[2] is None else int(found[2]))


def _route(routing: Mapping[str, Any]) -> Literal["model", "none"] | None:
    """OpenRouter's older word for the partition: fallback keeps models apart, sort does not."""
    route = routing.get("route")
    if route is None:
        return None
    if route not in ("fallback", "sort"):
        raise _bad("route", 'must be "fallback" or "sort"')
    return "model" if route == "fallback" else "none"


def _session(routing: Mapping[str, Any]) -> str | None:
    session = routing.get("session_id")
    if session is None:
        return None
    if not isinstance(session, str) or not 0 < len(session) <= SESSION_CHARS_MAX:
        raise _bad("session_id", f"must be a text of 1 to {SESSION_CHARS_MAX} characters")
    return session


# -- provider --------------------------------------------------------------------------------------


def _wishes(provider: object) -> Wishes:
    if provider is None:
        return NO_WISHES
    if not isinstance(provider, dict):
        raise _bad("provider", 'must be an object such as {"order": ["openai"]}')
    _known(provider, _READERS, "provider")
    found: dict[str, Any] = {}
    for name, value in provider.items():
        if value is not None:
            found |= _READERS[name](f"provider.{name}", value)
    return Wishes(**found)


def _slugs(field: str) -> Any:
    def read(path: str, value: object) -> dict[str, Any]:
        if not isinstance(value, list) or not all(isinstance(slug, str) and slug for slug in value):
            raise _bad(path, "must be a list of provider names")
        if len(value) > SLUGS_MAX or any(len(slug) > SLUG_CHARS_MAX for slug in value):
            raise _bad(path, f"must hold at most {SLUGS_MAX} names of at most {SLUG_CHARS_MAX} characters")
        slugs = tuple(dict.fromkeys(slug.lower() for slug in value))
        return {field: slugs if slugs or field != "only" else None}

    return read


def _flag(field: str) -> Any:
    def read(path: str, value: object) -> dict[str, Any]:
        if not isinstance(value, bool):
            raise _bad(path, "must be true or false")
        return {field: value}

    return read


def _collection(path: str, value: object) -> dict[str, Any]:
    if value not in ("allow", "deny"):
        raise _bad(path, 'must be "allow" or "deny"')
    return {"data_collection": value}


def _quantizations(path: str, value: object) -> dict[str, Any]:
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        raise _bad(path, "must be a list of precisions")
    for word in value:
        if word not in QUANTIZATIONS:
            raise _bad(path, f"knows {', '.join(QUANTIZATIONS)}, not '{word[:40]}'")
    return {"quantizations": tuple(value)}


def _sort(path: str, value: object) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if isinstance(value, dict):
        _known(value, ("by", "partition"), path)
        partition = value.get("partition")
        if partition is not None:
            if partition not in ("model", "none"):
                raise _bad(f"{path}.partition", 'must be "model" or "none"')
            found["partition"] = partition
        value = value.get("by")
        if value is None:
            return found
    if value not in ("price", "throughput", "latency", "exacto"):
        raise _bad(path, 'must be "price", "throughput", "latency" or "exacto"')
    return {**found, "sort": value}


def _max_price(path: str, value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _bad(path, 'must be an object such as {"prompt": 1, "completion": 2}')
    _known(value, ("prompt", "completion", "audio", "image", "request"), path)
    found: dict[str, int] = {}
    for name, amount in value.items():
        dollars = _dollars(f"{path}.{name}", amount)
        if name != "image":  # no provider here has a rate for a picture that it is shown
            found[name] = int(dollars * (_PUSD if name == "request" else _RATE_PUSD))
    return {"max_price": MaxPrice(**found)}


def _dollars(path: str, value: object) -> Decimal:
    """Dollars, exactly as written."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise _bad(path, "must be dollars such as 0.5")
    try:
        amount = Decimal(str(value))
    except InvalidOperation:
        raise _bad(path, "must be dollars such as 0.5") from None
    if not amount.is_finite() or not 0 <= amount <= 10**6:
        raise _bad(path, "must be dollars from 0 to 1000000")
    return amount


def _cutoff(field: str, factor: float, strictest: Any) -> Any:
    """A number, or one for each percentile: what is measured here is a mean, so the strictest is taken."""

    def read(path: str, value: object) -> dict[str, Any]:
        numbers = [value]
        if isinstance(value, dict):
            _known(value, _PERCENTILES, path)
            numbers = [number for number in value.values() if number is not None]
        for number in numbers:
            if isinstance(number, bool) or not isinstance(number, int | float) or not 0 < number <= 10**6:
                raise _bad(
                    path, "must be a number above 0 and up to 1000000, or an object of p50, p75, p90, p99"
                )
        return {field: strictest(numbers) * factor} if numbers else {}

    return read


def _regions(path: str, value: object) -> dict[str, Any]:
    if not isinstance(value, list) or not all(isinstance(word, str) and word for word in value):
        raise _bad(path, 'must be a list of regions such as "eu"')
    return {"regions": tuple(word[:SLUG_CHARS_MAX].lower() for word in value[:SLUGS_MAX])}


_READERS: Final[Mapping[str, Any]] = {
    "order": _slugs("order"),
    "only": _slugs("only"),
    "ignore": _slugs("ignore"),
    "allow_fallbacks": _flag("allow_fallbacks"),
    "require_parameters": _flag("require_parameters"),
    "sort": _sort,
    "max_price": _max_price,
    "data_collection": _collection,
    "zdr": _flag("zdr"),
    "quantizations": _quantizations,
    "regions": _regions,
    "preferred_min_throughput": _cutoff("throughput_min", 1.0, max),
    "preferred_max_latency": _cutoff("latency_max_ms", 1000.0, min),
}
"""Member of ``provider`` -> what reads it."""


def _known(found: Mapping[str, Any], names: Iterable[str], path: str) -> None:
    """Refuse members that are not known.

    Raises:
        InvalidRequest: with the nearest one that is.
    """
    known = list(names)
    for name in found:
        if name not in known:
            near = get_close_matches(name[:60], known, n=1, cutoff=0.5)
            hint = f"did you mean '{near[0]}'?" if near else f"there are: {', '.join(known)}."
            where = f"{path}.{name[:60]}"
            raise InvalidRequest(f"'{where}' is not known; {hint}", param=where)


def _bad(param: str, what: str) -> InvalidRequest:
    return InvalidRequest(f"'{param}' {what}.", param=param)
