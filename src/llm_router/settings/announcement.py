"""What a gateway tells its operator once it listens. Filled by ``app``, shown by ``cli``."""

from __future__ import annotations

from pathlib import Path

import msgspec


class LocalModel(msgspec.Struct, frozen=True, kw_only=True):
    """The small model on this machine. ``note`` says what it is ("SmolLM2 135M, 92 MB")."""

    model: str
    note: str = ""


class Announcement(msgspec.Struct, frozen=True, kw_only=True):
    """The state of a gateway at the moment it begins to answer.

    Attributes:
        url: where it listens, without a path: ``http://127.0.0.1:4040``.
        data_dir: where its store lies; data_dir_named: by a flag, so that commands need the flag too.
        config: the configuration file; None if there is none. config_named: as for data_dir.
        setup_url: a link by which the first operator is made, good once; None: there is one.
        first_key: the text of the key made by this start; None on every later start.
        starting_pusd: credit of the first key's account.
        keys: how many keys can be used now; more_keys: of those that were looked at, and there are others.
        active: ids of the providers that can be called, without simulated ones and the local model.
        switches: how to switch on others: variables of well-known providers that are not active.
        models: how many models can be called now.
        example_model: a model that answers now, for the curl line; None if none does.
        sandbox: simulated upstreams answer in place of the providers.
        warnings: of the configuration.
        faults: what the simulated providers commit, a line for each rule.
    """

    version: str
    url: str
    data_dir: Path
    data_dir_named: bool = False
    config: Path | None = None
    config_named: bool = False
    setup_url: str | None = None
    first_key: str | None = None
    starting_pusd: int = 0
    keys: int = 0
    more_keys: bool = False
    active: tuple[str, ...] = ()
    switches: tuple[str, ...] = ()
    models: int = 0
    example_model: str | None = None
    sandbox: bool = False
    local: LocalModel | None = None
    warnings: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()
