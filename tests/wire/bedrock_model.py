"""AWS's own model of the Converse request, as installed with botocore, checked to the letter.

botocore's validator leaves out patterns, upper bounds and enumerations; this one does not.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any


@cache
def request_shape(stream: bool) -> Any:
    from botocore.session import get_session

    model = get_session().get_service_model("bedrock-runtime")
    return model.operation_model("ConverseStream" if stream else "Converse").input_shape


def faults(body: dict[str, Any], model: str, *, stream: bool = False) -> list[str]:
    """What is wrong with a request; [] if nothing is."""
    return list(_check(request_shape(stream), {"modelId": model, **body}, "body"))


def _check(shape: Any, value: Any, path: str) -> Any:
    if getattr(shape, "is_document_type", False) or shape.name == "Document":
        return
    checks = {"structure": _structure, "list": _list, "map": _map, "string": _string, "blob": _string,
              "integer": _number, "long": _number, "float": _number, "double": _number, "boolean": _boolean}  # fmt: skip
    yield from checks[shape.type_name](shape, value, path)


def _structure(shape: Any, value: Any, path: str) -> Any:
    if not isinstance(value, dict):
        yield f"{path}: no object"
        return
    if shape.is_tagged_union and len(value) != 1:
        yield f"{path}: {len(value)} members of a union"
    for name in shape.required_members:
        if name not in value:
            yield f"{path}.{name}: is missing"
    for name, inner in value.items():
        if name not in shape.members:
            yield f"{path}.{name}: unknown"
        else:
            yield from _check(shape.members[name], inner, f"{path}.{name}")


def _list(shape: Any, value: Any, path: str) -> Any:
    if not isinstance(value, list):
        yield f"{path}: no list"
        return
    yield from _bounds(shape, len(value), path)
    for number, inner in enumerate(value):
        yield from _check(shape.member, inner, f"{path}[{number}]")


def _map(shape: Any, value: Any, path: str) -> Any:
    if not isinstance(value, dict):
        yield f"{path}: no object"
        return
    yield from _bounds(shape, len(value), path)
    for name, inner in value.items():
        yield from _check(shape.key, name, f"{path}.{name}")
        yield from _check(shape.value, inner, f"{path}.{name}")


def _string(shape: Any, value: Any, path: str) -> Any:
    if not isinstance(value, str):
        yield f"{path}: no text"
        return
    yield from _bounds(shape, len(value), path)
    words = getattr(shape, "enum", None)  # blobs have none
    if words and value not in words:
        yield f"{path}: {value!r} is none of {words}"
    pattern = shape.metadata.get("pattern")
    if pattern and shape.name != "ConversationalModelId" and not re.fullmatch(pattern, value):
        yield f"{path}: {value!r} does not match {pattern}"


def _number(shape: Any, value: Any, path: str) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        yield f"{path}: no number"
        return
    if shape.type_name in ("integer", "long") and not isinstance(value, int):
        yield f"{path}: {value} is not whole"
    yield from _bounds(shape, value, path)


def _boolean(shape: Any, value: Any, path: str) -> Any:
    if not isinstance(value, bool):
        yield f"{path}: no boolean"


def _bounds(shape: Any, size: float, path: str) -> Any:
    least, most = shape.metadata.get("min"), shape.metadata.get("max")
    if least is not None and size < least:
        yield f"{path}: below {least}"
    if most is not None and size > most:
        yield f"{path}: above {most}"
