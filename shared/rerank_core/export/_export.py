"""The way from a model's name to a verified folder."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from rerank_core._checks import check_whole, describe, optional
from rerank_core._errors import ConfigurationError
from rerank_core._local.files import Precision
from rerank_core._local.onnx import OnnxCrossEncoder
from rerank_core._local.settings import Activation, check_activation
from rerank_core._version import __version__
from rerank_core.errors import ConfigurationError, MissingExtraError
from rerank_core.export._folder import check_target, new_folder, write_settings
from rerank_core.export._verify import Verification, compare, judge
from rerank_core.scorers import OnnxCrossEncoder
from rerank_core.scorers._activation import Activation, check_activation, scale_of
from rerank_core.scorers.onnx._variants import Precision
from rerank_core.types import Scale
from rerank_core.validation import check_positive, describe

if TYPE_CHECKING:
    from rerank_core.export._source import Source

__all__ = ["ExportReport", "export_model"]

_TOOLS = ("torch", "transformers", "sentence-transformers", "onnx", "onnxruntime")


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What was exported, how, and how well.

    Attributes:
        folder: The folder written.
        source: Hub id of the original, or its folder's name.
        revision: Its commit on the hub; None for a folder.
        precision: ``"fp32"`` or ``"int8"``.
        max_length: Most tokens of a pair, special tokens included.
        activation: What turns the graph's logits into scores.
        scale: What those scores mean.
        first_token_only: Whether the last layer is computed for the first token alone.
        kept_whole: Why it is not; None if it is.
        size: Bytes of the folder.
        verification: The comparison with the original.
        warnings: What to look at before using it, in sentences.
    """

    folder: Path
    source: str
    revision: str | None
    precision: Precision
    max_length: int
    activation: Activation
    scale: Scale
    first_token_only: bool
    kept_whole: str | None
    size: int
    verification: Verification
    warnings: tuple[str, ...] = ()


def export_model(
    model: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    precision: Precision = "fp32",
    max_length: int | None = None,
    revision: str | None = None,
    activation: Activation | None = None,
    force: bool = False,
    progress: Callable[[str], None] | None = None,
) -> ExportReport:
    """Export a torch cross-encoder to a folder that `OnnxCrossEncoder` runs without torch.

    The folder holds ``model.onnx`` (beyond 2 GB with ``model.onnx_data``), ``tokenizer.json`` and
    ``rerank_config.json``. Where the head reads the first token only, so does the last layer, which
    is exact and less work. Before the folder appears, its scores are compared with the original's.
    It appears complete or not at all.

    Args:
        model: Hub id or folder of a cross-encoder: one with a sequence classification head (BERT,
            RoBERTa, XLM-R, ModernBERT) of one or two labels, or Transformer + Pooling + Dense. Its
            weights must be safetensors, and no code of its repository is run.
        out: The folder to write; the one above must exist.
        precision: ``"int8"`` quantises weights per channel, and activations dynamically.
        max_length: Most tokens of a pair, special tokens included. Default: the model's own.
        revision: Branch, tag or commit on the hub. Default: its main branch.
        activation: ``"identity"`` or ``"sigmoid"``. Default: what the model's configuration says.
        force: Replace an earlier export. Default: False.
        progress: Called with the name of each step as it begins. What it raises ends the export.

    Returns:
        What was done, and how far the export is from the original.

    Raises:
        MissingExtraError: If the extra ``export`` is not installed.
        ConfigurationError: If an argument is wrong, `out` is in the way, or the model cannot be
            loaded or is of an unsupported kind.
        ExportError: If the model cannot be traced, or an fp32 export gives logits that differ by
            more than 0.001.
        ScorerError: If a model fails, or gives NaN or infinity.
        OSError: If a file cannot be written.
    """
    if precision not in get_args(Precision):
        raise ConfigurationError(f"precision must be 'fp32' or 'int8', not {describe(precision)}")
    optional(check_whole, max_length, "max_length")
    check_activation(activation)
    folder = Path(os.path.abspath(Path(out).expanduser()))  # noqa: PTH100 - a link stays a link
    check_target(folder, force=force)
    step = progress or (lambda _: None)

    try:
        import onnx  # noqa: F401 - quantising needs it
        import sentence_transformers  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("export", "Exporting a model") from error
    from rerank_core.export._source import load_source

    step("loading the model")
    name = os.fspath(model)
    source = load_source(name, revision=revision, max_length=max_length, activation=activation)

    facts: dict[str, Any] = {
        "source": source.reference.name,
        "revision": source.revision,
        "precision": precision,
        "max_length": source.max_length,
        "activation": source.activation,
        "scale": scale_of(source.activation),
    }
    with new_folder(folder, force=force) as (filled, scratch):
        kept_whole = _write_model(source, precision, filled, scratch, step)
        settings = {**facts, **_settings(source, kept_whole)}
        write_settings(filled, settings)
        step("comparing with the original")
        exported = OnnxCrossEncoder(filled, activation="identity")
        found = compare(source.reference, exported, source.max_length)
        warnings = judge(found, precision)
        write_settings(filled, {**settings, "verification": asdict(found)})
        size = sum(path.stat().st_size for path in filled.iterdir())
    return ExportReport(
        **facts,
        folder=folder,
        first_token_only=kept_whole is None,
        kept_whole=kept_whole,
        size=size,
        verification=found,
        warnings=warnings,
    )


def _write_model(
    source: Source, precision: Precision, filled: Path, scratch: Path, step: Callable[[str], None]
) -> str | None:
    """Write graph and tokenizer; return why the last layer was kept whole, if it was."""
    from rerank_core.export._first_token import first_token_only
    from rerank_core.export._graph import PairLogits, gather_graph, quantise_graph, write_graph

    traced, prepared, quantised = (scratch / name for name in ("traced", "prepared", "quantised"))
    for folder in (traced, prepared, quantised):
        folder.mkdir()
    step("writing the graph")
    logits = PairLogits(source)
    graph = traced / "model.onnx"
    with first_token_only(source, logits) as kept_whole:
        write_graph(logits, graph)
    if precision == "int8":
        step("quantising")
        quantise_graph(graph, quantised / "model.onnx", prepared)
        graph = quantised / "model.onnx"
    gather_graph(graph, filled / "model.onnx")
    (filled / "tokenizer.json").write_text(source.tokenizer.to_str(), encoding="utf-8")
    return kept_whole


def _settings(source: Source, kept_whole: str | None) -> dict[str, Any]:
    """Return what the folder's settings say beside the facts that the report names too."""
    return {
        "source_fingerprint": source.reference.fingerprint,
        "model_type": source.model.config.model_type,
        "max_position_embeddings": getattr(source.model.config, "max_position_embeddings", None),
        "pad_token_id": source.pad_token_id,
        "last_layer": "first token only" if kept_whole is None else f"whole: {kept_whole}",
        "exporter": {
            "rerank-core": __version__,
            **{tool: str(import_module(tool.replace("-", "_")).__version__) for tool in _TOOLS},
        },
    }
