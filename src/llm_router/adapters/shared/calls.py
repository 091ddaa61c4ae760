"""Ports as calls: what travels is read off the Protocol, so that a port is described once.

A method's arguments travel as a tuple of its annotated types, its result as the annotated one. A
method that takes a function, or does not wait, is no call: its remote is written by hand.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, get_type_hints

import msgspec
import msgspec.inspect

from llm_router.adapters.shared.link import Link
from llm_router.ports import Landing

CALL_S = 30.0
"""Deadline of an ask. A disk may be slow; what takes longer is not coming."""

_encoder = msgspec.msgpack.Encoder()
_bytes = msgspec.msgpack.Decoder(bytes)


class Codec:
    """One type on its way. Types with raw JSON in them travel as JSON, all others as MessagePack."""

    def __init__(self, kind: Any) -> None:
        self._json = _holds_raw(kind)
        self._decoder: Any = (msgspec.json if self._json else msgspec.msgpack).Decoder(kind)

    def encode(self, value: object) -> bytes:
        try:
            return _encoder.encode(msgspec.json.encode(value)) if self._json else _encoder.encode(value)
        except UnicodeEncodeError:  # a lone surrogate somewhere; a charge must not fail for it
            return _encoder.encode(_unicode(msgspec.to_builtins(value, builtin_types=(bytes,))))

    def decode(self, data: msgspec.Raw) -> Any:
        """
        Raises:
            ValueError: it is not of the type.
        """
        return self._decoder.decode(_bytes.decode(data) if self._json else data)


class Call:
    """A method of a port."""

    def __init__(self, name: str, method: Callable[..., object]) -> None:
        hints = get_type_hints(method)
        self.name = name
        _, *parameters = inspect.signature(method).parameters.values()
        self._signature = inspect.Signature(parameters)
        self._named = {at: p.name for at, p in enumerate(parameters) if p.kind is p.KEYWORD_ONLY}
        names = [parameter.name for parameter in parameters]
        kinds: Any = tuple
        self.arguments = Codec(kinds[tuple(hints[parameter] for parameter in names)])
        self.result = Codec(hints["return"])

    def ordered(self, arguments: tuple[object, ...], named: Mapping[str, object]) -> tuple[object, ...]:
        """All arguments in the order of the method's parameters, its defaults among them."""
        if not named and len(arguments) == len(self._signature.parameters):
            return arguments
        bound = self._signature.bind(*arguments, **named)
        bound.apply_defaults()
        return tuple(bound.arguments[name] for name in self._signature.parameters)

    def run(self, method: Callable[..., Awaitable[Any]], arguments: tuple[Any, ...]) -> Awaitable[Any]:
        """Call the method with arguments that were :meth:`ordered`."""
        if not self._named:
            return method(*arguments)
        named = {name: arguments[at] for at, name in self._named.items()}
        return method(*arguments[: len(arguments) - len(named)], **named)

    async def ask(self, link: Link, arguments: tuple[object, ...], timeout_s: float = CALL_S) -> Any:
        """
        Raises:
            LedgerUnavailable: nobody answers.
            RouterError, ValueError: what the method raises.
        """
        answer = await link.ask(self.name, self.arguments.encode(arguments), timeout_s)
        return self.result.decode(answer)

    def ask_now(self, link: Link, arguments: tuple[object, ...], timeout_s: float, landing: Landing) -> None:
        """Ask; ``landing`` hears of the result.

        Raises:
            LedgerUnavailable: nothing was asked, and ``landing`` hears nothing.
        """
        link.ask_now(self.name, self.arguments.encode(arguments), timeout_s, _Landing(landing, self.result))


class _Landing:
    """Decodes what comes for somebody."""

    __slots__ = ("_landing", "_result")

    def __init__(self, landing: Landing, result: Codec) -> None:
        self._landing = landing
        self._result = result

    def done(self) -> bool:
        return self._landing.done()

    def set_result(self, result: msgspec.Raw, /) -> None:
        self._landing.set_result(self._result.decode(result))

    def set_exception(self, exception: BaseException, /) -> None:
        self._landing.set_exception(exception)

    def exception(self) -> BaseException | None:
        return self._landing.exception()


def calls_of(prefix: str, port: type) -> dict[str, Call]:
    """The calls of a port by the names of its methods; each is called ``prefix.method``."""
    methods: dict[str, Callable[..., object]] = {}
    for base in reversed(port.__mro__):
        methods |= {
            name: method for name, method in vars(base).items() if inspect.iscoroutinefunction(method)
        }
    return {
        name: Call(f"{prefix}.{name}", method)
        for name, method in methods.items()
        if not name.startswith("_") and not _takes_function(method)
    }


class Remote:
    """A port whose object lives in another process: every call of it is asked over the link.

    A class that inherits may define methods of its own; they are not replaced.
    """

    def __init__(self, link: Link, prefix: str, port: type) -> None:
        self.link = link
        self.calls = calls_of(prefix, port)
        for name, call in self.calls.items():
            if not hasattr(type(self), name):
                setattr(self, name, _asking(link, call))


def _asking(link: Link, call: Call) -> Callable[..., Awaitable[Any]]:
    async def ask(*arguments: object, **named: object) -> Any:
        return await call.ask(link, call.ordered(arguments, named))

    return ask


def _unicode(value: Any) -> Any:
    """Plain data with each character that is none replaced."""
    if isinstance(value, str):
        return value.encode(errors="replace").decode()
    if isinstance(value, list | tuple):
        return [_unicode(part) for part in value]
    if isinstance(value, dict):
        return {_unicode(name): _unicode(part) for name, part in value.items()}
    return value


def _takes_function(method: Callable[..., object]) -> bool:
    return any("Callable" in str(p.annotation) for p in inspect.signature(method).parameters.values())


def _holds_raw(kind: Any) -> bool:
    """Whether raw JSON can be anywhere in values of a type."""
    return _any_raw(msgspec.inspect.type_info(kind), set())


def _any_raw(info: object, seen: set[type]) -> bool:
    if isinstance(info, msgspec.inspect.RawType):
        return True
    if isinstance(info, msgspec.inspect.StructType):
        if info.cls in seen:
            return False
        seen.add(info.cls)
    if isinstance(info, (list, tuple)):
        return any(_any_raw(part, seen) for part in info)
    if isinstance(info, (msgspec.inspect.Type, msgspec.inspect.Field)):
        return any(_any_raw(getattr(info, name), seen) for name in info.__struct_fields__)
    return False
