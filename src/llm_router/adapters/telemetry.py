"""One line a finished exchange on standard error, from the record that the ledger keeps."""

from __future__ import annotations

import contextlib
import sys
from typing import TextIO

from llm_router.domain.money import format_usd
from llm_router.domain.record import ExchangeRecord

DOUBTS = frozenset({"usage_absurd", "usage_invalid", "usage_contradictory", "unpriced_tier"})
"""Flags that an operator should look into: the provider, or the price list, is wrong."""


class AccessLog:
    """The port Telemetry as lines of ``key=value``. Holds no prompt, no answer, no secret."""

    def __init__(self, out: TextIO = sys.stderr) -> None:
        self._out = out

    def exchange(self, record: ExchangeRecord) -> None:
        fields = [
            record.id,
            str(record.status),
            f"{record.operation}{'/stream' if record.stream else ''}",
            f"api={record.dialect}",
            f"model={record.model or _printable(record.asked_model)}",
            f"provider={record.provider or '-'}",
            f"tokens={record.usage.prompt_tokens}+{record.usage.completion_tokens}",
            f"cost=${format_usd(record.cost_pusd)}",
            f"ms={record.duration_ms}",
        ]
        if record.first_token_ms is not None:
            fields.append(f"first_token_ms={record.first_token_ms}")
        if record.error_code is not None:
            fields.append(f"error={record.error_code}")
        if record.absorbed_pusd:
            fields.append(f"absorbed=${format_usd(record.absorbed_pusd)}")
        doubts = [flag for flag in record.flags if flag in DOUBTS]
        if doubts:
            fields.append(f"flags={','.join(doubts)}")
        if record.client_gone:
            fields.append("client_gone")
        with contextlib.suppress(OSError, ValueError):  # a closed standard error must not fail an exchange
            print(" ".join(fields), file=self._out)


def _printable(text: str) -> str:
    """Text of a client, safe for a terminal and a log reader."""
    return "".join(c if c.isprintable() and c != " " else "?" for c in text[:80]) or "-"


class NoTelemetry:
    """Tells nobody."""

    def exchange(self, record: ExchangeRecord) -> None:
        del record
