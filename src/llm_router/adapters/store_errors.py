"""Why a store of credits and keys cannot be opened. The messages say what to do."""

from __future__ import annotations


class StoreError(Exception):
    """The store cannot be opened; the message says why and what to do."""


class StoreTooNew(StoreError):
    """A later version of the program wrote it."""


class StoreTooOld(StoreError):
    """An earlier version of the program wrote it; ``llm-router migrate`` brings it up to date."""


class StoreCorrupt(StoreError):
    """The books in it do not add up, or it is another program's."""
