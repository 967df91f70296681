from __future__ import annotations

import pytest

from rerank_core import ConfigurationError
from rerank_core._local.settings import resolve_max_length


@pytest.mark.parametrize(
    ("settings", "length"),
    [
        ({}, 512),
        ({"max_length": 256, "max_position_embeddings": 512}, 256),
        ({"model_max_length": 128, "max_position_embeddings": 512}, 128),
        ({"model_max_length": int(1e30), "max_position_embeddings": 8192}, 8192),
        ({"max_position_embeddings": 514, "model_type": "roberta", "pad_token_id": 1}, 512),
        ({"max_position_embeddings": 514, "model_type": "xlm-roberta"}, 512),
    ],
)
def test_the_least_stated_limit_counts(settings: dict[str, object], length: int) -> None:
    assert resolve_max_length(settings, None, "m") == length


def test_the_choice_wins_within_the_positions() -> None:
    settings = {"max_length": 256, "max_position_embeddings": 512}
    assert resolve_max_length(settings, 512, "m") == 512
    with pytest.raises(ConfigurationError, match="513 is more than the 512 positions of model 'm'"):
        resolve_max_length(settings, 513, "m")
