"""Place of a node's own text in the text that is scored."""

from __future__ import annotations

from uuid import uuid4

from llama_index.core.schema import BaseNode, MetadataMode

__all__ = ["text_start"]


def text_start(node: BaseNode, scored: str, mode: MetadataMode) -> int | None:
    """Count the characters before the node's text, however its templates place it.

    Args:
        node: The node as it was scored.
        scored: ``node.get_content(mode)``, which may have metadata around the node's text.
        mode: The metadata that was scored with it.

    Returns:
        The number; negative where LlamaIndex stripped the text's own leading whitespace, and None
        where the text is not found.
    """
    text = node.get_content(MetadataMode.NONE)
    if text == scored:
        return 0
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
