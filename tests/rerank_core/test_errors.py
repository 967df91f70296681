from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest

import rerank_core
from rerank_core import Usage, _errors

CLASSES = [getattr(_errors, name) for name in _errors.__all__]


def test_the_tree_is_the_documented_one() -> None:
    assert _errors.__doc__ is not None
    for cls in CLASSES:
        assert issubclass(cls, _errors.RerankError)
        assert cls.__name__ in _errors.__doc__
        assert getattr(rerank_core, cls.__name__) is cls
    assert issubclass(_errors.ConfigurationError, ValueError)
    assert issubclass(_errors.InvalidInputError, ValueError)
    assert issubclass(_errors.MissingExtraError, ImportError)
    assert issubclass(_errors.AllScorersFailed, ExceptionGroup)


def test_a_missing_extra_prints_the_install_line() -> None:
    error = _errors.MissingExtraError("cohere", "CohereScorer")
    assert 'pip install "rerank-core[cohere]"' in str(error)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_a_scorer_error_says_all_it_knows_and_survives_pickling() -> None:
    error = _errors.RateLimitError(
        "too many requests",
        provider="cohere",
        status_code=429,
        request_id="r-1",
        retryable=True,
        retry_after=2.5,
        hint="Wait",
    )
    assert str(error) == "cohere: too many requests (status 429, request id r-1). Wait"
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error)
    assert (again.retry_after, again.retryable) == (2.5, True)
    assert str(_errors.ScorerError("it broke")) == "it broke"


def test_all_scorers_failed_holds_every_cause() -> None:
    causes = [_errors.ServiceError("down"), _errors.DeadlineExceeded("slow")]
    with pytest.raises(_errors.RerankError) as caught:
        raise _errors.AllScorersFailed("every scorer failed", causes)
    assert isinstance(caught.value, ExceptionGroup)
    assert list(caught.value.exceptions) == causes


def every_error() -> list[_errors.RerankError]:
    """Make one of each class, those of the library's own use included."""
    told: dict[str, Any] = {"provider": "p", "status_code": 429, "request_id": "r", "hint": "h"}
    told |= {"retryable": True, "retry_after": 2.5}
    made: list[_errors.RerankError] = []
    kinds = [_errors.RerankError]
    for kind in kinds:
        kinds += [k for k in kind.__subclasses__() if k.__module__.startswith("rerank_core")]
        if issubclass(kind, _errors.ScorerError):
            made.append(kind("it broke", **told))
        elif issubclass(kind, _errors.AllScorersFailed):
            made.append(kind("all", list(made)))
        elif issubclass(kind, _errors.MissingExtraError):
            made.append(kind("cohere", "CohereScorer"))
        else:
            made.append(kind("it broke"))
    return made


@pytest.mark.parametrize("error", every_error(), ids=lambda error: type(error).__name__)
@pytest.mark.parametrize(
    "copied", [lambda error: pickle.loads(pickle.dumps(error)), copy.copy, copy.deepcopy]
)
def test_a_copied_error_keeps_what_it_holds(
    error: _errors.RerankError, copied: Callable[[_errors.RerankError], _errors.RerankError]
) -> None:
    error.usage = Usage(requests=2, billed_units={"search_units": 1})
    error.__notes__ = ["a note"]
    again = copied(error)
    assert type(again) is type(error)
    assert (str(again), repr(again), vars(again)) == (str(error), repr(error), vars(error))
    assert again.usage == error.usage
    inner = error.exceptions if isinstance(error, ExceptionGroup) else ()
    for one, other in zip(inner, getattr(again, "exceptions", ()), strict=True):
        assert (str(one), vars(one)) == (str(other), vars(other))
