"""Exporting a model: load it, write its folder, verify the folder's scores."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from rerank_core._checks import check_whole, describe, optional
from rerank_core._errors import ConfigurationError, MissingExtraError
from rerank_core._local.files import MissingGraphError, Precision
from rerank_core._local.onnx import OnnxCrossEncoder
from rerank_core._local.settings import Activation, check_activation, scale_of
from rerank_core._types import Scale
from rerank_core._version import __version__
from rerank_core.export._folder import check_target, new_folder, write_settings
from rerank_core.export._verify import Verification, compare, judge

if TYPE_CHECKING:
    from rerank_core.export._ready import ReadySource
    from rerank_core.export._source import Source

__all__ = ["ExportReport", "export_model"]

_ONNX_TOOLS = ("onnx", "onnxruntime")
_TOOLS = ("torch", "transformers", "sentence-transformers", *_ONNX_TOOLS)


@dataclass(frozen=True, slots=True)
class ExportReport:
    """Summary of an export.

    Attributes:
        folder: The folder that was written.
        source: Hub id of the original model, or the name of its folder.
        revision: Commit of the original model on the hub; None for a local folder.
        precision: ``"fp32"`` or ``"int8"``.
        max_length: Maximum number of tokens in a pair, including special tokens.
        activation: Function that turns the graph's logits into scores.
        scale: Scale of the scores.
        first_token_only: True if the last layer is computed for the first token only.
        kept_whole: Reason why the last layer is computed for every token; None if it is not.
        size: Size of the folder in bytes.
        verification: Comparison with the original model.
        warnings: Sentences about what to check before using the export.

    Example:
        ```python
        from pathlib import Path

        from rerank_core import Scale
        from rerank_core.export import ExportReport, Verification

        report = ExportReport(  # as returned by export_model()
            folder=Path("minilm"),
            source="cross-encoder/ms-marco-MiniLM-L6-v2",
            revision="c5ee24cb16019beea0893ab7796b1df96625c6b8",
            precision="int8",
            max_length=512,
            activation="identity",
            scale=Scale.LOGIT,
            first_token_only=True,
            kept_whole=None,
            size=23_640_107,
            verification=Verification(248, 0.42, kendall_tau=0.96, top10_overlap=0.95),
        )
        print(f"{report.folder}: {report.size / 1e6:.1f} MB, {report.precision}")
        ```

        ```text
        minilm: 23.6 MB, int8
        ```
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

    The folder contains ``model.onnx`` (and ``model.onnx_data`` if the weights exceed 2 GB),
    ``tokenizer.json`` and ``rerank_config.json``. If the model's head reads only the first token,
    the last layer is computed for that token only, which gives the same scores with less work.
    The scores are compared with those of the original model before the folder is moved into place;
    if anything fails or is interrupted, no folder is written.

    With ``precision="int8"``, a folder that has a ready ONNX graph and no torch weights, or any
    model with such a graph where sentence-transformers is not installed, is quantised without torch
    and compared with its own graph. Modules of its head are copied as they are.

    Args:
        model: Hub id or folder of a cross-encoder: a model with a sequence classification head
            (BERT, RoBERTa, XLM-R, ModernBERT) of one or two labels, or Transformer + Pooling +
            Dense. The weights must be safetensors. Code in the model's repository is never run.
        out: Folder to write. Its parent folder must exist.
        precision: ``"fp32"``, or ``"int8"`` to quantise weights per channel and activations
            dynamically.
        max_length: Maximum number of tokens in a pair, including special tokens. Default: the
            model's own.
        revision: Branch, tag or commit on the hub. Default: the main branch.
        activation: ``"identity"`` or ``"sigmoid"``. Default: the one in the model's configuration.
        force: Replace an earlier export. Default: False.
        progress: Called with the name of each step as it begins. An exception that it raises
            ends the export.

    Returns:
        A summary with the comparison of both models.

    Raises:
        MissingExtraError: If the extra ``export`` is not installed.
        ConfigurationError: If an argument is invalid, `out` must not be replaced, or the model
            cannot be loaded or is not supported.
        ExportError: If the model cannot be traced, or the logits of an fp32 export differ by more
            than 0.001.
        ScorerError: If a model fails, or returns NaN or infinity.
        OSError: If a file cannot be written.

    Example:
        ```python
        # needs network: a model from the hub
        from rerank_core import OnnxCrossEncoder
        from rerank_core.export import export_model

        report = export_model("cross-encoder/ms-marco-MiniLM-L6-v2", "minilm", precision="int8")
        print(report.verification.kendall_tau, report.warnings)
        scorer = OnnxCrossEncoder("minilm")
        ```
    """
    if precision not in get_args(Precision):
        raise ConfigurationError(f"precision must be 'fp32' or 'int8', not {describe(precision)}")
    optional(check_whole, max_length, "max_length")
    check_activation(activation)
    folder = Path(os.path.abspath(Path(out).expanduser()))  # noqa: PTH100 - resolve() would follow a link
    check_target(folder, force=force)
    step = progress or (lambda _: None)

    step("loading the model")
    source = _load(os.fspath(model), precision, revision, max_length, activation)

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
        size = sum(path.stat().st_size for path in filled.rglob("*") if path.is_file())
    return ExportReport(
        **facts,
        folder=folder,
        first_token_only=kept_whole is None,
        kept_whole=kept_whole,
        size=size,
        verification=found,
        warnings=warnings,
    )


def _load(
    model: str,
    precision: Precision,
    revision: str | None,
    max_length: int | None,
    activation: Activation | None,
) -> Source | ReadySource:
    """Load the torch model; to quantise, take a ready graph where torch or its weights lack."""
    options: dict[str, Any] = {
        "revision": revision,
        "max_length": max_length,
        "activation": activation,
    }
    missing = MissingExtraError("export", "Exporting a model")
    try:
        import onnx  # noqa: F401 - used to write and quantise the graph
    except ImportError as error:
        raise missing from error
    from rerank_core.export._ready import has_torch_weights, load_ready

    if precision == "int8" and not has_torch_weights(model):
        return load_ready(model, **options)
    try:
        import sentence_transformers  # noqa: F401
    except ImportError as error:
        if precision == "int8":
            with suppress(MissingGraphError):
                return load_ready(model, **options)
        raise missing from error
    from rerank_core.export._source import load_source

    return load_source(model, **options)


def _write_model(
    source: Source | ReadySource,
    precision: Precision,
    filled: Path,
    scratch: Path,
    step: Callable[[str], None],
) -> str | None:
    """Write the graph and the tokenizer.

    Returns:
        The reason why the last layer is computed for every token; None if it is not.
    """
    from rerank_core.export._quantise import gather_graph, quantise_graph
    from rerank_core.export._ready import ReadySource, write_quantised

    if isinstance(source, ReadySource):
        step("quantising")
        write_quantised(source.files, filled, scratch)
        return "the graph was there"
    from rerank_core.export._first_token import first_token_only
    from rerank_core.export._graph import PairLogits, write_graph

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


def _settings(source: Source | ReadySource, kept_whole: str | None) -> dict[str, Any]:
    """Return the settings of the folder that are not in the report as well."""
    from rerank_core.export._ready import ReadySource

    ready = isinstance(source, ReadySource)
    config = source.config if isinstance(source, ReadySource) else source.model.config.to_dict()
    return {
        "source_fingerprint": source.reference.fingerprint,
        "model_type": config.get("model_type"),
        "max_position_embeddings": config.get("max_position_embeddings"),
        "pad_token_id": source.pad_token_id,
        "last_layer": "first token only" if kept_whole is None else f"whole: {kept_whole}",
        "exporter": {
            "rerank-core": __version__,
            **{
                tool: str(import_module(tool.replace("-", "_")).__version__)
                for tool in (_ONNX_TOOLS if ready else _TOOLS)
            },
        },
    }
