"""All kinds of faults by name."""

from __future__ import annotations

from collections.abc import Mapping

from llm_router.sandbox.faults import connections, contents, counts, transport, troubles
from llm_router.sandbox.faults.kind import Kind

KINDS: Mapping[str, Kind] = {
    kind.name: kind
    for kinds in (
        connections.KINDS,
        transport.KINDS,
        troubles.STATUS_KINDS,
        troubles.WAIT_KINDS,
        contents.BODY_KINDS,
        contents.MEMBER_KINDS,
        counts.KINDS,
    )
    for kind in kinds
}
