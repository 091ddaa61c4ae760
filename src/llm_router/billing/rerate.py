"""Calculate the cost of a stored exchange again, from its usage and the prices that it was charged by."""

from __future__ import annotations

from collections.abc import Mapping

from llm_router.billing.meter import rate
from llm_router.domain.price import Price
from llm_router.domain.record import ExchangeRecord


def rerated(record: ExchangeRecord, prices: Mapping[str, Price]) -> str | None:
    """What is wrong with the cost of a record; None if the same comes out, line by line.

    ``prices``: by version.
    """
    if not record.cost:
        if record.cost_pusd or record.absorbed_pusd:
            return f"it costs {record.cost_pusd} p$, but no line says for what"
        return None
    price = None if record.price_version is None else prices.get(record.price_version)
    if price is None:
        return f"its price version {record.price_version} is not known"
    others: dict[str, Price] = {}
    for model, version in record.other_prices:
        if version not in prices:
            return f"the price version {version} of {model} is not known"
        others[model] = prices[version]
    lines, _, _ = rate(record.usage, price, others.get)
    if lines != record.cost:
        was, now = _sum(record.cost), _sum(lines)
        return f"its usage comes to {now} p$ at {price.version}, but its lines say {was} p$"
    return lines_doubt(record)


def lines_doubt(record: ExchangeRecord) -> str | None:
    """What is wrong with the lines of a record in themselves."""
    for line in record.cost:
        if min(line.quantity, line.rate_pusd) < 0 or line.quantity * line.rate_pusd != line.amount_pusd:
            return f"its line of {line.bucket} does not multiply"
    total = _sum(record.cost)
    if record.cost_pusd < 0 or record.absorbed_pusd < 0 or record.cost_pusd + record.absorbed_pusd != total:
        return (
            f"its lines come to {total} p$, but {record.cost_pusd} p$ were charged and "
            f"{record.absorbed_pusd} p$ absorbed"
        )
    return None


def _sum(lines: object) -> int:
    assert isinstance(lines, tuple)
    return sum(line.amount_pusd for line in lines)
