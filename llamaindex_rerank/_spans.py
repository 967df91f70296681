"""Where in a node's own text a passage of its scored text lies."""

from __future__ import annotations

from uuid import uuid4

from llama_index.core.schema import BaseNode, MetadataMode

from rerank_core import Span

__all__ = ["span_in_node"]


def span_in_node(node: BaseNode, scored: str, mode: MetadataMode, span: Span) -> Span | None:
    """Return the part of a span that lies in the node's own text; None if there is none.

    Args:
        node: The node as it was scored.
        scored: ``node.get_content(mode)``, which may have metadata around the node's text.
        mode: The metadata that was scored with it.
        span: Characters of `scored`.

    Returns:
        Characters of ``node.get_content(MetadataMode.NONE)``.
    """
    text = node.get_content(MetadataMode.NONE)
    before = 0 if text == scored else _before(node, text, scored, mode)
    if before is None:
        return None
    start, end = max(0, span.start - before), min(len(text), span.end - before)
    return Span(start, end) if start < end else None


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
