"""`Profile`: what was chosen for a collection, in one JSON file."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Never

from rerank_core._blend import Blend, BlendLike, make_blend
from rerank_core._checks import check_number, check_whole, describe, optional, suggest
from rerank_core._errors import ConfigurationError, InvalidInputError
from rerank_core._files import bounded_bytes, replacing
from rerank_core._loading import ScorerLike, load_scorer
from rerank_core._trimming import TrimLike, Trimmer, make_trimmers

__all__ = ["Profile"]

_VERSION = 1


@dataclass(frozen=True, init=False)
class Profile:
    """A scorer with the depth, blend, threshold and trimmers to use it with.

    ``rerank tune`` writes one. Both adapters (``from_profile``) and the commands ``rerank rank``
    and ``rerank eval`` (``--profile``) read it. It holds no secret: keys come from the
    environment. Its scorer may name any model and any address, so load only profiles that you
    trust.

    Args:
        scorer: The scorer, as for `load_scorer`; its configuration is kept.
        depth: Number of first candidates to score. Default: all.
        blend: Blend with the first stage, as for `rerank`. Default: none.
        min_score: Threshold, on the scale of the scorer, or of the blend where there is one.
            Default: none.
        trim: Trimmers, as for `rerank`. Default: none.
        found: How it was found, in plain JSON values. Default: nothing.

    Raises:
        ConfigurationError: If an argument is wrong, or the scorer or a trimmer has no
            configuration.

    Example:
        ```python
        from pathlib import Path
        from tempfile import mkdtemp

        from rerank_core import Profile, rerank

        path = Path(mkdtemp()) / "profile.json"
        Profile(scorer="nano", depth=50, blend="rrf:0.3").write(path)
        profile = Profile.read(path)
        texts = ["Cats purr.", "Plants use light."]
        ranking = rerank("How do plants eat?", texts, **profile.options)
        print(ranking[0].text, profile.blend)
        ```

        ```text
        Plants use light. Blend(method='rrf', weight=0.3, k=60.0)
        ```
    """

    scorer: Mapping[str, Any]
    depth: int | None = None
    blend: Blend | None = None
    min_score: float | None = None
    trim: tuple[Trimmer, ...] = ()
    found: Mapping[str, Any] = field(default_factory=dict)

    def __init__(
        self,
        *,
        scorer: ScorerLike,
        depth: int | None = None,
        blend: BlendLike | None = None,
        min_score: float | None = None,
        trim: Iterable[TrimLike] | TrimLike | None = None,
        found: Mapping[str, Any] | None = None,
    ) -> None:
        trimmers = make_trimmers(trim)
        for trimmer in trimmers:
            trimmer.to_config()  # one that cannot be written is refused here
        config = dict(load_scorer(scorer).to_config())
        load_scorer(config)  # so is one that cannot be read again
        values = {
            "scorer": config,
            "depth": optional(check_whole, depth, "depth"),
            "blend": make_blend(blend),
            "min_score": optional(check_number, min_score, "min_score"),
            "trim": trimmers,
            "found": _check_plain(found),
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @property
    def options(self) -> dict[str, Any]:
        """The arguments of `rerank` that it sets."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name != "found"}

    def to_json(self) -> dict[str, Any]:
        """Return what `write` writes, as plain JSON values."""
        return {
            "profile": _VERSION,
            **self.options,
            "blend": None if self.blend is None else asdict(self.blend),
            "trim": [trimmer.to_config() for trimmer in self.trim],
            "found": self.found,
        }

    def write(self, path: str | Path) -> None:
        """Write the profile to a file, which appears complete or not at all.

        Raises:
            OSError: If it cannot be written.
        """
        with replacing(Path(path)) as stream:
            stream.write(json.dumps(self.to_json(), indent=1, allow_nan=False).encode() + b"\n")

    @classmethod
    def read(cls, path: str | Path) -> Profile:
        """Read a profile that `write` wrote.

        Raises:
            ConfigurationError: If it is no profile, is of an unknown version, has an unknown key,
                or a value is wrong; the message names the file and the key.
            OSError: If it cannot be read.
        """
        try:
            written = bounded_bytes(Path(path))
            return cls(**_values(json.loads(written, parse_constant=_refuse_constant)))
        except (ConfigurationError, InvalidInputError) as error:
            raise ConfigurationError(f"profile {path}: {error}") from error
        except (ValueError, RecursionError) as error:
            raise ConfigurationError(f"profile {path}: is not JSON: {error}") from error


def _values(read: object) -> dict[str, Any]:
    """Return the arguments in what was read."""
    if not isinstance(read, dict) or "profile" not in read:
        raise ConfigurationError(
            'is no profile, which is an object with "profile" (its version) and "scorer"'
        )
    version = read.pop("profile")
    if type(version) is not int or version != _VERSION:
        raise ConfigurationError(
            f'"profile" is version {describe(version)}, and this release reads version {_VERSION}'
        )
    known = [f.name for f in fields(Profile)]
    if unknown := next((name for name in read if name not in known), None):
        hint = suggest(unknown, known)
        raise ConfigurationError(f"has an unknown key, {unknown!r}{hint or ';'} known: {known}")
    if "scorer" not in read:
        raise ConfigurationError('has no "scorer"')
    return read


def _refuse_constant(text: str) -> Never:
    raise ConfigurationError(f"holds {text}, which is no number of JSON")


def _check_plain(found: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return a copy in plain JSON values."""
    try:
        plain = json.loads(json.dumps(found or {}, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigurationError(f"found must hold plain JSON values: {error}") from None
    if not isinstance(plain, dict):
        raise ConfigurationError(f"found must be a mapping, not {describe(found)}")
    return plain
