from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from rerank_core.export._first_token import first_token_only
from rerank_core.export._graph import PairLogits, random_inputs
from rerank_core.export._source import Source, load_source
from support.models import TinyModel

FAMILIES = ["bert", "roberta", "xlm-roberta", "modernbert"]


def load(folder: Path) -> tuple[Source, PairLogits]:
    source = load_source(str(folder), revision=None, max_length=None, activation=None)
    return source, PairLogits(source)


def last_layer(logits: PairLogits) -> Any:
    base: Any = logits.model.base_model
    return (base.encoder.layer if hasattr(base, "encoder") else base.layers)[-1]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("labels", [1, 2])
@torch.no_grad()
def test_it_is_exact(tiny: Callable[..., TinyModel], family: str, labels: int) -> None:
    source, logits = load(tiny(family, labels).torch)
    inputs = [random_inputs(logits, pairs=6, length=n, seed=100 + n) for n in (1, 2, 13, 64)]
    plain = [logits(*batch) for batch in inputs]
    layer = last_layer(logits)
    lengths: list[int] = []
    with first_token_only(source, logits) as reason:
        assert reason is None
        assert last_layer(logits) is not layer
        hook = last_layer(logits).register_forward_hook(
            lambda _module, _inputs, output: lengths.append(output.shape[1])
        )
        for batch, expected in zip(inputs, plain, strict=True):
            assert torch.allclose(logits(*batch), expected, atol=1e-5, rtol=0)
        hook.remove()
    assert set(lengths) == {1}
    assert last_layer(logits) is layer


def test_an_exception_puts_the_layer_back(tiny: Callable[..., TinyModel]) -> None:
    source, logits = load(tiny().torch)
    layer = last_layer(logits)
    with pytest.raises(KeyboardInterrupt), first_token_only(source, logits):
        raise KeyboardInterrupt
    assert last_layer(logits) is layer


def test_a_mean_over_tokens_keeps_the_layer(tiny: Callable[..., TinyModel]) -> None:
    source, logits = load(tiny("modernbert").torch)
    layer = last_layer(logits)
    source.model.config.classifier_pooling = "mean"
    with first_token_only(source, logits) as reason:
        assert reason == "the head's pooling is 'mean'"
        assert last_layer(logits) is layer


def test_an_unknown_head_keeps_the_layer(tiny: Callable[..., TinyModel]) -> None:
    source, logits = load(tiny().torch)
    source.model.config.model_type = "deberta-v2"
    with first_token_only(source, logits) as reason:
        assert "is not known here" in str(reason)


def test_unknown_layers_are_kept(tiny: Callable[..., TinyModel]) -> None:
    source, logits = load(tiny("modernbert").torch)
    layers: Any = logits.model.base_model.layers
    layers[-1] = torch.nn.Linear(32, 32)
    with first_token_only(source, logits) as reason:
        assert "not built as known here" in str(reason)


class Smoothed(torch.nn.Module):
    """Reads like a known layer, but does one thing more."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.layer = layer
        self.attention, self.intermediate = layer.attention, layer.intermediate
        self.output = layer.output

    def forward(self, hidden_states: torch.Tensor, *rest: Any, **options: Any) -> Any:
        mixed = hidden_states + hidden_states.mean(dim=1, keepdim=True)
        return self.layer(mixed, *rest, **options)


def test_layers_that_compute_something_else_are_kept(tiny: Callable[..., TinyModel]) -> None:
    source, logits = load(tiny().torch)
    layers: Any = logits.model.base_model.encoder.layer
    layers[-1] = Smoothed(layers[-1])
    with first_token_only(source, logits) as reason:
        assert "gave other logits that way" in str(reason)
        assert isinstance(layers[-1], Smoothed)
