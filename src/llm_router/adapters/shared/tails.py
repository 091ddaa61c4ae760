"""Which workers have listeners to the log of which accounts, so that only what is watched travels."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from llm_router.adapters.shared.link import Link
from llm_router.domain.record import ExchangeRecord

_encoder = msgspec.msgpack.Encoder()


class Tails:
    """Kept by the process that owns the stores. ``links``: those to all workers."""

    def __init__(self, links: Callable[[], Iterable[Link]]) -> None:
        self._links = links
        self._watched: dict[Link, frozenset[str]] = {}

    def watch(self, link: Link, accounts: Iterable[str]) -> None:
        """A worker has listeners to these accounts and no others."""
        wanted = frozenset(accounts)
        if wanted:
            self._watched[link] = wanted
        else:
            self._watched.pop(link, None)
        for each in self._links():
            self.tell(each)

    def tell(self, link: Link) -> None:
        """Tell a worker what listeners of the others watch."""
        others = {name for other, names in self._watched.items() if other is not link for name in names}
        link.tell("tail", _encoder.encode((sorted(others),)))

    def hand_on(self, link: Link, record: ExchangeRecord) -> None:
        """Give the other workers that watch its account an exchange that has ended at one."""
        packed: bytes | None = None
        for other, accounts in self._watched.items():
            if other is not link and record.account in accounts:
                packed = packed or _encoder.encode((_encoder.encode(record),))
                other.tell("tailed", packed)
