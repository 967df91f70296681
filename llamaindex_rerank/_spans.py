"""Passages of a scored text, in the characters of the node's own text."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import uuid4

from llama_index.core.schema import BaseNode, MetadataMode

from rerank_core import Span
from rerank_core._metadata import shift_spans

__all__ = ["spans_in_node"]


def spans_in_node(
    node: BaseNode, scored: str, mode: MetadataMode, spans: Sequence[Span]
) -> list[Span]:
    """Return the parts of passages that lie in the node's own text.

    Args:
        node: The node as it was scored.
        scored: ``node.get_content(mode)``, which may have metadata around the node's text.
        mode: The metadata that was scored with it.
        spans: Passages of `scored`.

    Returns:
        Passages of ``node.get_content(MetadataMode.NONE)``, in their order.
    """
    if not spans:
        return []
    text = node.get_content(MetadataMode.NONE)
    before = 0 if text == scored else _before(node, text, scored, mode)
    return [] if before is None else shift_spans(spans, before, len(text))


def _before(node: BaseNode, text: str, scored: str, mode: MetadataMode) -> int | None:
    """Count the characters before the node's text, however its templates place it.

    Negative where LlamaIndex stripped the text's own leading whitespace.
    """
    # LlamaIndex renders a copy with a marker for text, so no template is read here.
    marker = uuid4().hex
    marked = node.model_copy()
    marked.set_content(marker)
    at = marked.get_content(mode).find(marker)
    indent = len(text) - len(text.lstrip())
    for stripped in (0, indent):
        if at >= 0 and scored.startswith(text[stripped:].rstrip(), at):
            return at - stripped
    return None
