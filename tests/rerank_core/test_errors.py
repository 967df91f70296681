from __future__ import annotations

import pickle

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


def test_a_pickled_error_keeps_what_was_spent() -> None:
    for error in (_errors.MissingExtraError("cohere", "X"), _errors.ServiceError("down")):
        error.add_usage(Usage(requests=2))
        assert pickle.loads(pickle.dumps(error)).usage == Usage(requests=2)
