"""Quotes and facts from the model table inside the litellm wheel (https://github.com/BerriAI/litellm).

The table is data under MIT; the package itself is not installed, the wheel is only read as a zip.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import zipfile
from decimal import Decimal
from pathlib import Path
from typing import Any

from catalog.quotes import Quote, Rates, SourceError, Tiers, picodollars

LITELLM_VERSION = "1.109.1"
_TABLE = "litellm/model_prices_and_context_window_backup.json"

_BUCKETS = {
    "input_cost_per_token": "input",
    "output_cost_per_token": "output",
    "cache_read_input_token_cost": "cache_read",
    "cache_creation_input_token_cost": "cache_write",
    "cache_creation_input_token_cost_above_1hr": "cache_write_1h",
    "cache_creation_input_token_cost_above_12hr": "cache_write_1h",
    "input_cost_per_audio_token": "input_audio",
    "output_cost_per_audio_token": "output_audio",
    "output_cost_per_image_token": "output_image",
    "output_cost_per_reasoning_token": "reasoning",
    "input_cost_per_request": "request",
}
"""The longer of two cache lifetimes is billed by one bucket, whether it is 1 h or 12 h."""

_SERVICES = {"priority": "priority", "flex": "flex", "batches": "batch"}
_FIELD = re.compile(
    r"(?P<base>[a-z_]+?(?:_above_(?:1|12)hr)?)"
    r"(?:_above_(?P<above>\d+)k_tokens)?"
    rf"(?:_(?P<service>{'|'.join(_SERVICES)}))?"
)


class LitellmTable:
    """Look up rows of the table by their key."""

    def __init__(self, rows: dict[str, dict[str, Any]], version: str) -> None:
        self._rows = rows
        self.name = f"litellm {version}"

    def row(self, keys: list[str]) -> dict[str, Any] | None:
        """The first of several keys that the table has."""
        for key in keys:
            if key in self._rows:
                return self._rows[key]
        return None

    def quote(self, keys: list[str], *, input_only: bool = False) -> Quote | None:
        """The price under the first key that has one; None if there is none or it is free.

        ``input_only``: as of :meth:`GenaiPrices.quotes`.
        """
        row = self.row(keys)
        if row is not None and input_only:
            row = {**row, "output_cost_per_token": 0}
        return None if row is None else self._quote(row, keys[0])

    def _quote(self, row: dict[str, Any], what: str) -> Quote | None:
        parts: dict[tuple[str | None, int | None], Rates] = {}
        for key, value in row.items():
            found = _FIELD.fullmatch(key)
            if found is None or found["base"] not in _BUCKETS or not isinstance(value, Decimal | int):
                continue
            bucket = _BUCKETS[found["base"]]
            amount = picodollars(Decimal(value), f"{what} {key}")
            if bucket.startswith("cache_write") and amount == 0:
                continue  # "no surcharge", not "free": such tokens cost what input costs
            above = int(found["above"]) * 1000 if found["above"] else None
            parts.setdefault((found["service"], above), {})[bucket] = amount
        rates = parts.get((None, None), {})
        tiers = {above: {**rates, **own} for (name, above), own in parts.items() if name is None and above}
        for step in row.get("tiered_pricing", ()):
            _add_step(step, rates, tiers, what)
        if "input" not in rates or "output" not in rates or not (rates["input"] or rates["output"]):
            return None
        _add_searches(row, rates, tiers)
        return Quote(
            source=self.name,
            rates=rates,
            tiers=dict(sorted(tiers.items())),
            services=_services(row, rates, tiers, parts),
            page=_page(row),
        )


def _add_step(step: dict[str, Any], rates: Rates, tiers: Tiers, what: str) -> None:
    """One step of ``tiered_pricing``: its range begins at 0 or above the previous one."""
    own = {
        _BUCKETS[key]: picodollars(Decimal(value), what)
        for key, value in step.items()
        if key in _BUCKETS and isinstance(value, Decimal | int)
    }
    start = int(step["range"][0])
    if start == 0:
        rates.update(own)
    else:
        tiers[start] = {**rates, **own}


def _add_searches(row: dict[str, Any], rates: Rates, tiers: Tiers) -> None:
    """Fees by search context size: the dearest, since a reply does not say which size was billed.

    Perplexity searches in every request, so there it is a fee per request.
    """
    fees = row.get("search_context_cost_per_query")
    if not fees:
        return
    fee = max(picodollars(Decimal(value), "search fee") for value in fees.values())
    bucket = "request" if row["litellm_provider"] == "perplexity" else "web_search"
    for part in (rates, *tiers.values()):
        part.setdefault(bucket, fee)


def _services(
    row: dict[str, Any], rates: Rates, tiers: Tiers, parts: dict[tuple[str | None, int | None], Rates]
) -> dict[str, tuple[Rates, Tiers]]:
    found: dict[str, tuple[Rates, Tiers]] = {}
    for suffix, name in _SERVICES.items():
        own = parts.get((suffix, None), {})
        if "input" in own and "output" in own:
            above = {
                start: long
                for (service, start), long in sorted(parts.items(), key=str)
                if service == suffix and start is not None and "input" in long
            }
            found[name] = (own, above)
    factors = row.get("provider_specific_entry") or {}
    for name, parts_of in (("fast", ("fast",)), ("us", ("us",)), ("us fast", ("us", "fast"))):
        if all(factors.get(part) for part in parts_of):
            factor = Decimal(1)
            for part in parts_of:
                factor *= Decimal(str(factors[part]))
            found[name] = (_times(rates, factor), {s: _times(r, factor) for s, r in tiers.items()})
    return found


def _times(rates: Rates, factor: Decimal | int) -> Rates:
    scaled = {}
    for bucket, rate in rates.items():
        amount = rate if bucket in ("web_search", "request") else Decimal(rate) * factor
        if amount != int(amount):
            raise SourceError(f"{rate} picodollars times {factor} are not whole")
        scaled[bucket] = int(amount)
    return scaled


def _page(row: dict[str, Any]) -> str | None:
    page = row.get("source")
    return page if isinstance(page, str) and page.startswith("http") else None


def load(path: Path | None) -> LitellmTable:
    """Read the table from a wheel or a JSON file; without a path, fetch the wheel with pip."""
    if path is not None:
        return _load_file(path)
    with tempfile.TemporaryDirectory() as folder:
        wanted = f"litellm=={LITELLM_VERSION}"
        flags = ("--quiet", "--no-deps", "--only-binary=:all:", "--dest", folder)
        subprocess.run([sys.executable, "-m", "pip", "download", *flags, wanted], check=True)
        return _load_file(next(Path(folder).glob("litellm-*.whl")))


def _load_file(path: Path) -> LitellmTable:
    if path.suffix == ".whl":
        found = path.name.split("-")[1]
        with zipfile.ZipFile(path) as wheel:
            text = wheel.read(_TABLE)
    else:
        found, text = LITELLM_VERSION, path.read_bytes()
    if found != LITELLM_VERSION:
        raise SourceError(
            f"{path.name} is litellm {found}; the overlay was checked against {LITELLM_VERSION}"
        )
    rows = json.loads(text, parse_float=Decimal)
    return LitellmTable({key: row for key, row in rows.items() if key != "sample_spec"}, found)
