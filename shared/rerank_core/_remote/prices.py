"""Prices of services."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

from rerank_core._checks import check_number, describe, optional
from rerank_core._errors import ConfigurationError
from rerank_core._usage import Usage

__all__ = ["Prices", "check_prices"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """Prices of a service, in a currency of your choice; several prices add up.

    Args:
        search_unit: Price of one of the search units that the service says it billed.
        million_tokens: Price of a million of the tokens that it says it billed, else read.
        request: Price of one answered request.

    Raises:
        ConfigurationError: If a price is no number of at least 0, or there is none.

    Example:
        ```python
        from rerank_core import Prices, Usage

        prices = Prices(million_tokens=0.05)
        assert prices.cost(Usage(tokens=2_000_000)) == 0.1
        ```
    """

    search_unit: float | None = None
    million_tokens: float | None = None
    request: float | None = None

    def __post_init__(self) -> None:
        prices = {f.name: getattr(self, f.name) for f in fields(self)}
        if all(price is None for price in prices.values()):
            raise ConfigurationError(f"prices must hold one of {', '.join(prices)}")
        for name, price in prices.items():
            optional(check_number, price, f"prices: {name}", least=0)

    def cost(self, usage: Usage) -> float | None:
        """Return what one answered request cost; None if it does not say how much it billed."""
        billed = usage.billed_units
        # 0 tokens are tokens that nobody counted: a pair always has some.
        tokens = billed.get("input_tokens", billed.get("total_tokens", usage.tokens or None))
        total = self.request or 0.0
        for price, amount in (
            (self.search_unit, billed.get("search_units")),
            (self.million_tokens, tokens and tokens / 1_000_000),
        ):
            if price is not None:
                if amount is None:
                    return None
                total += price * amount
        return total

    def to_config(self) -> dict[str, float]:
        """Return the prices that were set."""
        return {f.name: price for f in fields(self) if (price := getattr(self, f.name)) is not None}


def check_prices(prices: Prices | Mapping[str, float] | None) -> Prices | None:
    """Return a price table, made from a mapping if it is one.

    Raises:
        ConfigurationError: If it cannot be one.
    """
    if prices is None or isinstance(prices, Prices):
        return prices
    try:
        return Prices(**prices)
    except TypeError:
        names = ", ".join(f.name for f in fields(Prices))
        raise ConfigurationError(
            f"prices must be Prices, or a mapping of {names} to numbers, not {describe(prices)}"
        ) from None
