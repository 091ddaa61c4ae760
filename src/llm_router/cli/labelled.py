"""Labelled prompts from files: JSON lines, CSV or Parquet, a row a prompt or a row an answer."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import msgspec

from llm_router.domain.errors import InvalidRequest

ROWS_MAX = 5_000_000

USD_MAX = 10**6
"""Of what one answer may have cost."""


class Answer(msgspec.Struct, kw_only=True):
    """How one model did on a prompt. ``cost_pusd`` and ``chars`` (of the answer) are None if not told."""

    quality: float
    cost_pusd: int | None = None
    chars: int | None = None


class Labelled(msgspec.Struct, kw_only=True):
    """A prompt with its answers by model."""

    prompt: str
    task: str = ""
    answers: dict[str, Answer] = {}


def read_labelled(path: Path, outcomes: Path | None, where: Mapping[str, str]) -> list[Labelled]:
    """Read prompts and labels.

    A row has ``prompt`` and either ``scores`` (an object, quality by model) with ``costs`` (US dollars by
    model) beside, or ``model``, ``score`` and perhaps ``cost`` and ``out_chars``, so that a prompt has a row
    for each model that answered it. With ``outcomes`` the latter stand in a file of their own, joined by
    ``pid``. ``task`` (or ``benchmark``, with ``source`` before it) says what a prompt belongs to.

    Args:
        where: only rows whose column has that value.

    Raises:
        InvalidRequest: a file cannot be read, or a row makes no sense; says which.
    """
    found: dict[str, Labelled] = {}
    for number, row in enumerate(_rows(path), 1):
        if any(str(row.get(name)) != value for name, value in where.items()):
            continue
        if not isinstance(prompt := row.get("prompt"), str):
            raise InvalidRequest(f"{path}, row {number}: 'prompt' is missing", code="invalid_file")
        key = str(row["pid"]) if row.get("pid") is not None else prompt
        labelled = found.setdefault(key, Labelled(prompt=prompt, task=_task(row)))
        if outcomes is None:
            _take(labelled, row, f"{path}, row {number}")
    if outcomes is not None:
        for number, row in enumerate(_rows(outcomes), 1):
            at = found.get(str(row.get("pid")))
            if at is not None:
                _take(at, row, f"{outcomes}, row {number}")
    return list(found.values())


def _task(row: Mapping[str, Any]) -> str:
    if row.get("task"):
        return str(row["task"])
    return "/".join(str(row[name]) for name in ("source", "benchmark") if row.get(name))


def _take(labelled: Labelled, row: Mapping[str, Any], place: str) -> None:
    scores = _object(row.get("scores"), place)
    if scores is not None:
        costs = _object(row.get("costs"), place) or {}
        for model, score in scores.items():
            answer = Answer(quality=_quality(score, place), cost_pusd=_pusd(costs.get(model), place))
            labelled.answers[str(model)] = answer
        return
    if not row.get("model") or row.get("score") in (None, ""):
        raise InvalidRequest(
            f"{place}: give 'scores' (an object: model to quality 0..1), or 'model' and 'score'",
            code="invalid_file",
        )
    chars = row.get("out_chars")
    labelled.answers[str(row["model"])] = Answer(
        quality=_quality(row["score"], place),
        cost_pusd=_pusd(row.get("cost"), place),
        chars=None if chars in (None, "") else int(chars),
    )


def _object(value: Any, place: str) -> dict[str, Any] | None:
    """An object, also as text (in a cell of CSV)."""
    if isinstance(value, str) and value:
        try:
            value = msgspec.json.decode(value)
        except msgspec.DecodeError:
            raise InvalidRequest(f"{place}: {value[:40]!r} is no JSON object", code="invalid_file") from None
    if isinstance(value, list):  # Parquet's maps
        value = dict(value)
    return value if isinstance(value, dict) and value else None


def _quality(value: Any, place: str) -> float:
    try:
        quality = float(value)
    except (TypeError, ValueError):
        quality = -1.0
    if not 0 <= quality <= 1:
        raise InvalidRequest(f"{place}: the score {value!r} is not between 0 and 1", code="invalid_file")
    return quality


def _pusd(value: Any, place: str) -> int | None:
    if value is None or value == "":
        return None
    try:
        dollars = Decimal(str(value))
        pusd = int(dollars * 10**12) if 0 <= dollars <= USD_MAX else -1
    except (InvalidOperation, ValueError):
        pusd = -1
    if pusd < 0:
        raise InvalidRequest(f"{place}: the cost {value!r} is no amount of US dollars", code="invalid_file")
    return pusd


def _rows(path: Path) -> Iterator[Mapping[str, Any]]:
    if not path.is_file():
        raise InvalidRequest(f"there is no file {path}", code="no_file")
    kind = path.suffix.lower()
    rows: Iterable[Mapping[str, Any]]
    if kind == ".parquet":
        rows = _parquet(path)
    elif kind == ".csv":
        rows = _csv(path)
    else:
        rows = _json_lines(path)
    for number, row in enumerate(rows, 1):
        if number > ROWS_MAX:
            raise InvalidRequest(f"{path} has more than {ROWS_MAX} rows", code="invalid_file")
        yield row


def _json_lines(path: Path) -> Iterator[Mapping[str, Any]]:
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                try:
                    yield msgspec.json.decode(line, type=dict[str, Any])
                except msgspec.MsgspecError as error:
                    raise InvalidRequest(f"{path}, line {number}: {error}", code="invalid_file") from None


def _csv(path: Path) -> Iterator[Mapping[str, Any]]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        try:
            yield from csv.DictReader(file)
        except (csv.Error, UnicodeDecodeError) as error:
            raise InvalidRequest(f"{path}: {error}", code="invalid_file") from None


def _parquet(path: Path) -> Iterator[Mapping[str, Any]]:
    try:
        import pyarrow as arrow
        import pyarrow.parquet as parquet
    except ImportError:
        raise InvalidRequest(
            f"{path}: Parquet files need pyarrow (pip install pyarrow); JSON lines and CSV need nothing",
            code="needs_pyarrow",
        ) from None
    try:
        for batch in parquet.ParquetFile(path).iter_batches():
            yield from batch.to_pylist()
    except arrow.ArrowException as error:
        raise InvalidRequest(f"{path}: {error}", code="invalid_file") from None
