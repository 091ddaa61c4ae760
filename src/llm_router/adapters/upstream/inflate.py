"""Decompression in bounded steps, with a bound on how much a byte may become."""

from __future__ import annotations

import zlib

STEP_BYTES = 64 * 1024
"""The most that one step yields, however little went in."""

RATIO_MAX = 200
"""Text of a model packs 3 to 20 fold, a bomb up to 1,030 fold."""

RATIO_FREE_BYTES = 1024 * 1024
"""Below this output the ratio is not looked at: a short reply of one repeated word is no attack."""

ENCODINGS = frozenset({"gzip", "x-gzip", "deflate"})


class Inflater:
    """Inflate one gzip or deflate body; ``deflate`` with or without its zlib wrapper.

    Source: https://www.rfc-editor.org/rfc/rfc9110#section-8.4.1
    """

    __slots__ = ("_encoding", "_in", "_out", "_tail", "_zlib")

    def __init__(self, encoding: str) -> None:
        self._encoding = encoding
        self._zlib: zlib._Decompress | None = None
        self._tail = b""
        self._in = 0
        self._out = 0

    @property
    def pending(self) -> bool:
        """Whether ``feed(b"")`` may yield more."""
        return bool(self._tail)

    @property
    def complete(self) -> bool:
        """Whether the body may end here: at the end of a member, or before any byte of one."""
        return not self._tail and (self._zlib is None or self._zlib.eof)

    def feed(self, data: bytes) -> bytes:
        """Take compressed bytes and yield at most STEP_BYTES of what they hold.

        Raises:
            ValueError: not of that encoding, or packed beyond RATIO_MAX.
        """
        self._in += len(data)
        data = self._tail + data if self._tail else data
        if not data:
            return b""
        engine = self._engine(data)
        try:
            output = engine.decompress(data, STEP_BYTES)
        except zlib.error as error:
            raise ValueError(f"the body is not {self._encoding}") from error
        self._tail = engine.unused_data if engine.eof else engine.unconsumed_tail
        self._out += len(output)
        if self._out > RATIO_FREE_BYTES and self._out > self._in * RATIO_MAX:
            raise ValueError(f"the {self._encoding} body inflates more than {RATIO_MAX} fold")
        return output

    def _engine(self, data: bytes) -> zlib._Decompress:
        if self._zlib is None or self._zlib.eof:
            self._zlib = zlib.decompressobj(self._window_bits(data))
        return self._zlib

    def _window_bits(self, data: bytes) -> int:
        if self._encoding != "deflate":
            return zlib.MAX_WBITS | 16
        wrapped = data[0] & 0x0F == 8 and data[0] >> 4 <= 7
        return zlib.MAX_WBITS if wrapped else -zlib.MAX_WBITS
