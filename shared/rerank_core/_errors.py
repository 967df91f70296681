"""The exceptions that this library raises on purpose.

```
RerankError
├── ConfigurationError (ValueError)      a setting that cannot work
├── MissingExtraError  (ImportError)     an optional dependency is not installed
├── InvalidInputError  (ValueError)      a query, a text or an argument of a call is wrong
├── ScorerError                          a scorer could not score
│   ├── AuthenticationError              the service refused the key
│   ├── RateLimitError                   the service asked for a pause
│   ├── DeadlineExceeded                 no answer in time
│   ├── ServiceError                     the service failed or could not be reached
│   ├── MalformedResponseError           the answer does not fit the request
│   └── NonFiniteScoreError              a score is NaN or infinite
└── AllScorersFailed   (ExceptionGroup)  every scorer of a chain failed
```

A provider's own exception is always chained as ``__cause__``. Messages never hold a key.
"""

from __future__ import annotations

from rerank_core._usage import Usage

__all__ = [
    "AllScorersFailed",
    "AuthenticationError",
    "ConfigurationError",
    "DeadlineExceeded",
    "InvalidInputError",
    "MalformedResponseError",
    "MissingExtraError",
    "NonFiniteScoreError",
    "RateLimitError",
    "RerankError",
    "ScorerError",
    "ServiceError",
]


class RerankError(Exception):
    """Base of every exception this library raises on purpose.

    Attributes:
        usage: What had been spent on the call before it failed; None if nothing is known.

    Example:
        ```python
        from rerank_core import RerankError, rerank

        try:
            rerank("How do plants eat?", ["Plants use light."], scorer="nanoo")
        except RerankError as error:
            assert "did you mean 'nano'?" in str(error)
        ```
    """

    usage: Usage | None = None

    def add_usage(self, spent: Usage) -> None:
        """Add what was spent before it."""
        self.usage = spent if self.usage is None else spent + self.usage


class ConfigurationError(RerankError, ValueError):
    """A setting that cannot work: an unknown model, an option out of range, a missing key."""


class MissingExtraError(RerankError, ImportError):
    """An optional dependency is not installed; the message holds the ``pip install`` line.

    Args:
        extra: The extra of ``rerank-core`` that brings the dependency, such as ``"cohere"``.
        purpose: What needed it, as the start of a sentence.
    """

    def __init__(self, extra: str, purpose: str) -> None:
        super().__init__(f'{purpose} needs an extra: pip install "rerank-core[{extra}]"')
        self.extra = extra
        self.purpose = purpose

    def __reduce__(self) -> tuple[type[MissingExtraError], tuple[str, str], dict[str, object]]:
        return type(self), (self.extra, self.purpose), self.__dict__


class InvalidInputError(RerankError, ValueError):
    """A query, a text or an argument of a call is wrong; the message names it and what it was."""


class ScorerError(RerankError):
    """A scorer could not score.

    Args:
        message: What happened, in a sentence.
        provider: Who failed, such as ``"cohere"`` or ``"onnx"``.
        status_code: The HTTP status, where there was one.
        request_id: The provider's id of the request, where it sent one.
        retryable: Whether the same call may succeed later.
        retry_after: Seconds the provider asked to wait, where it did.
        hint: Advice to the user.
    """

    def __init__(
        self,
        message: str,
        *,
        provider: str | None = None,
        status_code: int | None = None,
        request_id: str | None = None,
        retryable: bool = False,
        retry_after: float | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message)
        self.provider = provider
        self.status_code = status_code
        self.request_id = request_id
        self.retryable = retryable
        self.retry_after = retry_after
        self.hint = hint

    def __str__(self) -> str:
        facts = [
            f"{label} {value}"
            for label, value in (
                ("status", self.status_code),
                ("request id", self.request_id),
            )
            if value is not None
        ]
        text = super().__str__()
        if self.provider:
            text = f"{self.provider}: {text}"
        if facts:
            text = f"{text} ({', '.join(facts)})"
        return f"{text}. {self.hint}" if self.hint else text


class AuthenticationError(ScorerError):
    """The service refused the key, or there is none."""


class RateLimitError(ScorerError):
    """The service asked for a pause; ``retry_after`` holds the seconds where it said so."""


class DeadlineExceeded(ScorerError):
    """No answer came within the time allowed."""


class ServiceError(ScorerError):
    """The service failed, refused the request, or could not be reached."""


class MalformedResponseError(ScorerError):
    """The answer does not fit the request: not JSON, an index out of range, a text unscored."""


class NonFiniteScoreError(ScorerError):
    """A score is NaN or infinite, so it has no place in an order."""


class AllScorersFailed(RerankError, ExceptionGroup[Exception]):
    """Every scorer of a chain failed; ``exceptions`` holds one cause for each."""
