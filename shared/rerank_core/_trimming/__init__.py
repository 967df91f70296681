"""Trimmers, and how a ranking is trimmed by some of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, TypeAlias

from rerank_core._checks import check_whole, describe, suggest
from rerank_core._concurrency import in_thread
from rerank_core._errors import ConfigurationError, InvalidInputError
from rerank_core._trimming.base import Passage, Step, TrimContext, Trimmer, failure
from rerank_core._trimming.budget import Budget
from rerank_core._trimming.excerpt import Excerpt
from rerank_core._trimming.selection import Adaptive, Arrange, Distinct
from rerank_core._trimming.tokens import CounterLike, make_counter
from rerank_core._types import Ranking

__all__ = [
    "Adaptive",
    "Arrange",
    "Budget",
    "Distinct",
    "Excerpt",
    "Passage",
    "TrimContext",
    "TrimLike",
    "Trimmer",
    "atrim_ranking",
    "make_trimmers",
    "trim_ranking",
]

TrimLike: TypeAlias = Trimmer | Mapping[str, Any] | str
"""A trimmer, or what `make_trimmers` makes one from."""

# Each kind, and the argument that a short form such as "budget=2000" sets.
_KINDS: dict[str, tuple[type[Trimmer], str, type]] = {
    "adaptive": (Adaptive, "drop", float),
    "arrange": (Arrange, "order", str),
    "budget": (Budget, "tokens", int),
    "distinct": (Distinct, "overlap", float),
    "excerpt": (Excerpt, "drop", float),
}


def make_trimmers(
    specs: Iterable[TrimLike] | TrimLike | None,
    max_tokens: int | None = None,
    count_tokens: CounterLike | None = None,
    argument: str = "trim",
) -> tuple[Trimmer, ...]:
    """Make trimmers from the way users write them.

    Args:
        specs: A list of trimmers, names such as ``"excerpt"`` or ``"budget=2000"``, and mappings
            with the ``"type"`` and the arguments, as `Trimmer.to_config` writes them; or one of
            these alone.
        max_tokens: Short for a `Budget` of so many tokens.
        count_tokens: Counter of these tokens.
        argument: Name of `specs` in errors.

    Raises:
        ConfigurationError: If a trimmer is unknown, or an argument is wrong.
    """
    if specs is None:
        made = []
    elif isinstance(specs, Trimmer | Mapping | str):
        made = [_make(specs, argument)]
    elif isinstance(specs, Iterable):
        made = [_make(spec, f"{argument}[{position}]") for position, spec in enumerate(specs)]
    else:
        raise ConfigurationError(
            f"{argument} must be a list such as ['excerpt', 'budget=2000'], not {describe(specs)}"
        )
    if count_tokens is not None:
        make_counter(count_tokens, "count_tokens")
    if max_tokens is not None:
        check_whole(max_tokens, "max_tokens")
        made.append(Budget(max_tokens, "nano" if count_tokens is None else count_tokens))
    return tuple(made)


def _make(spec: TrimLike, argument: str) -> Trimmer:
    if isinstance(spec, Trimmer):
        return spec
    if isinstance(spec, str):
        kind, equals, value = spec.partition("=")
        options: dict[str, Any] = {}
        if equals and kind in _KINDS:
            _, name, convert = _KINDS[kind]
            try:
                options[name] = convert(value)
            except ValueError:
                raise ConfigurationError(
                    f"{argument}={spec!r}: {name} must be a number, not {value!r}"
                ) from None
    elif isinstance(spec, Mapping):
        options = dict(spec)
        kind = options.pop("type", None)
    else:
        raise ConfigurationError(
            f"{argument} must be a trimmer, a name such as 'excerpt' or 'budget=2000', or a "
            f"mapping, not {describe(spec)}"
        )
    if not isinstance(kind, str) or kind not in _KINDS:
        hint = suggest(kind, _KINDS) if isinstance(kind, str) else ""
        raise ConfigurationError(
            f"{argument}: there is no trimmer {describe(kind)}{hint}; known are {', '.join(_KINDS)}"
        )
    try:
        return _KINDS[kind][0](**options)
    except TypeError as error:
        raise ConfigurationError(
            f"{argument}: {kind} cannot be made from {describe(options)}: {error}"
        ) from error


def trim_ranking(
    ranking: Ranking, trimmers: Sequence[Trimmer], top_n: int | None, context: TrimContext
) -> Ranking:
    """Drop, cut to `top_n`, shorten and arrange, in this order.

    Raises:
        RerankError: If an argument of a trimmer is wrong, or it fails and is strict.
    """
    ranking = _counted(ranking, trimmers, top_n, context)
    for trimmer in _with_top(trimmers, top_n):
        try:
            ranking = _checked(trimmer.trim(ranking, context), trimmer)
        except Exception as error:  # noqa: BLE001 - a user's own trimmer raises what it likes
            ranking = _untrimmed(ranking, trimmer, error)
    return _recounted(ranking, trimmers, context)


async def atrim_ranking(
    ranking: Ranking, trimmers: Sequence[Trimmer], top_n: int | None, context: TrimContext
) -> Ranking:
    """Like `trim_ranking`, without blocking the event loop."""
    ranking = await in_thread(partial(_counted, ranking, trimmers, top_n, context))
    for trimmer in _with_top(trimmers, top_n):
        try:
            ranking = _checked(await trimmer.atrim(ranking, context), trimmer)
        except Exception as error:  # noqa: BLE001 - a user's own trimmer raises what it likes
            ranking = _untrimmed(ranking, trimmer, error)
    return await in_thread(partial(_recounted, ranking, trimmers, context))


@dataclass(frozen=True, slots=True)
class _Top(Trimmer):
    """Keeps the first candidates."""

    step: ClassVar[Step] = Step.CUT

    count: int | None

    def trim(self, ranking: Ranking, context: TrimContext) -> Ranking:  # noqa: ARG002
        return replace(ranking, items=ranking.items[: self.count])


def _with_top(trimmers: Sequence[Trimmer], top_n: int | None) -> list[Trimmer]:
    return sorted([*trimmers, _Top(top_n)], key=lambda trimmer: trimmer.step)


def _counted(
    ranking: Ranking, trimmers: Sequence[Trimmer], top_n: int | None, context: TrimContext
) -> Ranking:
    """Return the ranking with the tokens that would have stayed without trimmers."""
    texts = [item.text for item in ranking[:top_n]]
    return replace(ranking, tokens_before=_tokens(texts, trimmers, context))


def _recounted(ranking: Ranking, trimmers: Sequence[Trimmer], context: TrimContext) -> Ranking:
    texts = [item.excerpt for item in ranking]
    return replace(ranking, tokens_after=_tokens(texts, trimmers, context))


def _tokens(texts: Iterable[str], trimmers: Sequence[Trimmer], context: TrimContext) -> int | None:
    """Return the number of tokens; None if the counter fails, which its `Budget` tells."""
    try:
        count = context.counter(
            next((t.counter for t in trimmers if isinstance(t, Budget)), "nano")
        )
        return sum(map(count, texts))
    except (ConfigurationError, InvalidInputError):
        raise
    except Exception:  # noqa: BLE001 - a user's own counter raises what it likes
        return None


def _checked(result: object, trimmer: Trimmer) -> Ranking:
    if not isinstance(result, Ranking):
        raise TypeError(f"{type(trimmer).__name__} returned {describe(result)}, no Ranking")
    return result


def _untrimmed(ranking: Ranking, trimmer: Trimmer, error: Exception) -> Ranking:
    """Return the ranking as it was, unless the error is the caller's to know."""
    if trimmer.strict or isinstance(error, ConfigurationError | InvalidInputError):
        raise error
    return failure(ranking, trimmer, error)
