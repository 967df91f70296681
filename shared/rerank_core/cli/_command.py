"""The commands' behaviour towards users: help, suggestions, and errors that name options."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import Any

from typer.core import TyperCommand, TyperGroup

from rerank_core._checks import suggest
from rerank_core.cli._guard import guarded

__all__ = ["Command", "Group", "as_typed", "examples"]

_COUNT = ("--top-n", "--depth")
_OTHER_NAMES = {
    **dict.fromkeys(("k", "top-k", "topk", "topn", "top", "limit", "count", "max-results"), _COUNT),
    **dict.fromkeys(("m", "model", "model-name", "reranker", "ranker"), ("--scorer",)),
    **dict.fromkeys(("threshold", "score-threshold", "cutoff"), ("--min-score",)),
    **dict.fromkeys(("field", "column", "text-key", "text-column", "content"), ("--text-field",)),
    **dict.fromkeys(("out", "out-file", "output-file"), ("--output", "--out")),
    "v": ("--version",),
}
"""Options by what other programs call them; those that the command has are suggested."""


def examples(*lines: str) -> str:
    """Return command lines as a paragraph of a help text, which is not wrapped."""
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])


class _Parser:
    """Parsing that answers an unknown option with the one that was probably meant."""

    params: list[Any]

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments.

        Raises:
            Exception: If they are wrong, with a suggestion for an unknown option.
        """
        try:
            return super().parse_args(ctx, args)  # type: ignore[misc, no-any-return]
        except Exception as error:
            unknown = getattr(error, "option_name", None)
            if unknown and hasattr(error, "possibilities"):
                known = [option for parameter in self.params for option in parameter.opts]
                others = _OTHER_NAMES.get(unknown.lstrip("-").replace("_", "-").lower(), ())
                meant = [option for option in others if option in known]
                hint = (
                    f"; did you mean {' or '.join(map(repr, meant))}?"
                    if meant
                    else suggest(unknown, known)
                )
                error.possibilities = None
                error.message = f"No such option: {unknown}{hint}"  # type: ignore[attr-defined]
            raise


class Group(_Parser, TyperGroup):
    """The program itself."""


class Command(_Parser, TyperCommand):
    """A command whose errors name its options as they are typed."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the tables of arguments and options, without the types that Typer adds."""
        for title in ("Arguments", "Options"):
            records = [
                (re.sub(" <.*>$", "", record[0]), record[1])
                for parameter in self.get_params(ctx)
                if f"{parameter.param_type_name}s" == title.lower()
                and (record := parameter.get_help_record(ctx))
            ]
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)

    def invoke(self, ctx: Any) -> Any:
        """Run the command.

        Raises:
            SystemExit: As `guarded` does.
        """
        options = {
            str(parameter.name): max(parameter.opts, key=len)
            for parameter in self.params
            if parameter.param_type_name == "option"
        }
        with guarded(lambda message: _with_options(message, options)):
            return super().invoke(ctx)


def _with_options(message: str, options: Mapping[str, str]) -> str:
    """Call the arguments of Python in an error by the options that set them.

    An argument is the first word of the message, is written with an underscore, or as
    ``name=True``; other words may be English.
    """
    for name, option in options.items():
        anywhere = rf"|\b{name}\b" if "_" in name else ""
        pattern = rf"^{name.replace('_', '[_ ]')}(?=[ \[])|\b{name}=True\b{anywhere}"
        message = re.sub(pattern, option, message)
    return message


def as_typed(context: Any) -> str:
    """Return the command line of a command, without options that were left out."""
    words = ["rerank", context.command.name]
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name)
        if source is None or source.name != "COMMANDLINE":
            continue
        value = context.params[parameter.name]
        option = [max(parameter.opts, key=len)] if parameter.param_type_name == "option" else []
        for each in value if isinstance(value, list | tuple) else [value]:
            words += option if each is True else [*option, str(each)]
    return shlex.join(words)
