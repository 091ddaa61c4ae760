"""The commands that stay: the gateway, the sandbox by itself, and fetching the local model."""

from __future__ import annotations

import argparse
import errno
import socket
from collections.abc import Mapping

from llm_router.cli.output import note, print_json
from llm_router.domain.errors import InvalidRequest, RouterError, ServerError


def serve(arguments: argparse.Namespace) -> int:
    """Run the gateway until it is told to stop.

    Raises:
        RouterError: it cannot start; the message says what to change.
    """
    from llm_router.adapters.data_dir import prepare_data_dir
    from llm_router.adapters.descriptors import allow_descriptors
    from llm_router.adapters.heap import begin_start
    from llm_router.adapters.signals import note as note_signals
    from llm_router.adapters.store_errors import StoreError
    from llm_router.cli.announce import announce
    from llm_router.cli.world import find_place, options_of

    note_signals()
    if arguments.faults is not None and not arguments.sandbox:
        raise InvalidRequest("--faults is for simulated providers: add --sandbox", code="usage")
    begin_start()
    allow_descriptors()
    place = find_place(arguments)
    prepare_data_dir(place.server.data_dir)
    allow_descriptors()
    from llm_router import app, workers  # the whole gateway: after the quick checks

    run = app.run if place.server.workers == 1 else workers.run
    try:
        return run(options_of(arguments), announce=announce)
    except StoreError as error:
        raise ServerError(str(error), code="store_unusable") from None
    except OSError as error:
        raise _explain(error, place.server.host, place.server.port) from None


def sandbox(arguments: argparse.Namespace) -> int:
    """Run the simulated providers alone until interrupted."""
    from llm_router.sandbox.faults.load import load_faults
    from llm_router.sandbox.server import run_standalone

    def ready(url: str, doors: Mapping[str, str]) -> None:
        print(f"The simulated providers answer at {url} (Ctrl-C stops them)")
        for provider, own in doors.items():
            print(f"{provider}, which is refused at times, has an address of its own: {own}/at/{provider}")
        print(end="", flush=True)

    faults = None if arguments.faults is None else load_faults(arguments.faults).begin()
    try:
        run_standalone(arguments.host, arguments.port, faults=faults, ready=ready)
    except OSError as error:
        raise _explain(error, arguments.host, arguments.port) from None
    return 0


def pull_local(arguments: argparse.Namespace) -> int:
    """Fetch the local model's file, so that a later start needs no network."""
    from llm_router.cli.world import find_place
    from llm_router.local import pull

    place = find_place(arguments)
    path = pull(place.server.shared_dir, url=arguments.url, sha256=arguments.sha256)
    if arguments.json:
        print_json({"path": str(path)})
    else:
        print(path)
        note("llm-router serve --local uses it.")
    return 0


def _explain(error: OSError, host: str, port: int) -> RouterError:
    """An error of listening as one sentence that says what to change."""
    where = f"{host}:{port}"
    if error.errno == errno.EADDRINUSE:
        other = port + 1 if 0 < port < 65535 else 0
        return ServerError(
            f"{where} is in use by another program; stop it, or listen elsewhere with --port {other}",
            code="address_in_use",
        )
    if error.errno in (errno.EACCES, errno.EPERM) and port < 1024 and error.filename is None:
        return ServerError(
            f"this user may not listen on {where}; use a port from 1024 on, such as --port 4040",
            code="address_refused",
        )
    if error.errno == errno.EADDRNOTAVAIL or isinstance(error, socket.gaierror):
        return ServerError(
            f"{host} is no address of this machine; --host 127.0.0.1 listens for this machine alone, "
            "--host 0.0.0.0 for all",
            code="address_refused",
        )
    name = f"{error.filename}: " if error.filename else ""
    return ServerError(f"the gateway cannot start: {name}{error.strerror or error}", code="system_error")
