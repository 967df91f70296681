"""Reading the files of a foreign model: regular files of bounded size only."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rerank_core._concurrency import no_forks
from rerank_core._errors import ConfigurationError
from rerank_core._local.failures import loading

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from tokenizers import Tokenizer

__all__ = [
    "check_file",
    "folder_files",
    "hash_files",
    "read_json",
    "read_object",
    "read_tensors",
    "read_tokenizer",
]

_MOST_FILES = 10_000
_MOST_SETTINGS = 16 * 2**20
_MOST_VOCABULARY = 128 * 2**20
_MOST_WEIGHTS = 64 * 2**30
_MOST_TENSORS = 256 * 2**20  # of a file that is read into memory
_SETTINGS = ("config.json", "modules.json", "special_tokens_map.json", "added_tokens.json")
_VOCABULARIES = ("tokenizer.json", "vocab.json")
# Files that change no score.
_DOCUMENTS = (".md", ".png", ".jpg", ".jpeg", ".gif", ".svg", ".pdf", ".html")
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def check_file(path: Path, most: int | None = None) -> None:
    """Refuse what is not a regular file, which might never end, and a file that is too large.

    Args:
        path: The file, or a link to it.
        most: Greatest size in bytes. Default: as many as a file of this name can need.

    Raises:
        ConfigurationError: If it is refused, or is not there.
    """
    if most is None:
        most = _most(path.name)
    try:
        facts = path.stat()
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    if not stat.S_ISREG(facts.st_mode):
        kind = _KINDS.get(stat.S_IFMT(facts.st_mode), "no file")
        raise ConfigurationError(f"{path} is {kind}; a model has regular files only")
    if facts.st_size > most:
        raise _too_large(path, most)


def _most(name: str) -> int:
    if name in _VOCABULARIES:
        return _MOST_VOCABULARY
    return _MOST_SETTINGS if name.endswith(_SETTINGS) else _MOST_WEIGHTS


def _read(path: Path, most: int) -> bytes:
    check_file(path, most)
    try:
        with path.open("rb") as file:
            content = file.read(most + 1)  # a file of the system's own may have more than it says
    except OSError as error:
        raise _unreadable(path, error) from error
    if len(content) > most:
        raise _too_large(path, most)
    return content


def _too_large(path: Path, most: int) -> ConfigurationError:
    return ConfigurationError(
        f"{path} has more than the {most:,} bytes that such a file may have; check what it is"
    )


def _unreadable(path: Path, error: Exception) -> ConfigurationError:
    return ConfigurationError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        ConfigurationError: If it cannot be read, or is not valid JSON.
    """
    content = _read(path, _MOST_SETTINGS)
    try:
        return json.loads(content.decode())
    except ValueError as error:
        raise ConfigurationError(f"{path} is not valid JSON: {error}") from error
    except RecursionError as error:
        raise ConfigurationError(f"{path} is nested too deeply") from error


def read_object(path: Path) -> Mapping[str, Any]:
    """Read a JSON object from a file; a missing file is an empty object.

    Raises:
        ConfigurationError: If the file cannot be read, or holds anything else.
    """
    try:
        if not path.exists():
            return {}
    except OSError as error:
        raise _unreadable(path, error) from error
    content = read_json(path)
    if not isinstance(content, dict):
        raise ConfigurationError(f"{path} must hold a JSON object")
    return content


def read_tokenizer(path: Path) -> Tokenizer:
    """Read a tokenizer, and switch its truncation and padding off.

    Args:
        path: Its ``tokenizer.json``.

    Raises:
        ConfigurationError: If the file cannot be read, or is no tokenizer.
    """
    with no_forks():
        from tokenizers import Tokenizer

    content = _read(path, _MOST_VOCABULARY)
    with loading(f"{path} is not a tokenizer"):
        tokenizer = Tokenizer.from_buffer(content)
        tokenizer.no_truncation()
        tokenizer.no_padding()
    return tokenizer


def read_tensors(path: Path) -> dict[str, npt.NDArray[np.float32]]:
    """Read the tensors of a safetensors file.

    Raises:
        ConfigurationError: If the file cannot be read, is too large, or is malformed.
    """
    with no_forks():
        import numpy as np
        from safetensors import deserialize

    content = _read(path, _MOST_TENSORS)
    tensors = {}
    with loading(f"{path} is no safetensors file of floating-point numbers"):
        for name, tensor in deserialize(content):  # type: ignore[no-untyped-call] # its stub
            kind, data = tensor["dtype"], tensor["data"]
            if kind == "BF16":  # the upper half of a single-precision number
                values = (np.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4")
            else:
                values = np.frombuffer(data, {"F64": "<f8", "F32": "<f4", "F16": "<f2"}[kind])
            tensors[name] = values.reshape(tensor["shape"]).astype(np.float32)
    return tensors


def folder_files(folder: Path) -> list[Path]:
    """Return the files of a model's folder, in a fixed order, having checked each.

    Hidden files and documents, such as its README, are left out.

    Raises:
        ConfigurationError: If it is no folder, or a file in it is no regular one or too large, or
            there are too many.
    """
    if not folder.is_dir():
        check_file(folder)
        raise ConfigurationError(f"{folder} is a file; name the model's folder")
    files: list[Path] = []
    seen: set[tuple[int, int]] = set()
    for name, folders, names in os.walk(folder, followlinks=True):
        here = Path(name)
        facts = here.stat()
        if (facts.st_dev, facts.st_ino) in seen:  # a link to a folder above it
            folders.clear()
            continue
        seen.add((facts.st_dev, facts.st_ino))
        folders[:] = sorted(each for each in folders if not each.startswith((".", "__pycache__")))
        for path in sorted(here / each for each in names if not each.startswith(".")):
            if path.suffix.lower() in _DOCUMENTS or not path.exists():
                continue
            check_file(path)
            files.append(path)
        if len(files) + len(folders) > _MOST_FILES:
            raise ConfigurationError(
                f"{folder} has more than {_MOST_FILES:,} files; name the folder of one model"
            )
    return files


def hash_files(paths: Iterable[Path], folder: Path | None = None) -> str:
    """Return a hash of the content of files, in this order.

    Args:
        paths: The files.
        folder: Folder of the files, whose names within it are hashed as well.

    Raises:
        ConfigurationError: If one cannot be read, or is no regular file.
    """
    digest = hashlib.blake2b(digest_size=16)
    for path in paths:
        check_file(path)
        if folder is not None:
            digest.update(f"{path.relative_to(folder).as_posix()}\0".encode(errors="replace"))
        try:
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "blake2b").digest())
        except OSError as error:
            raise _unreadable(path, error) from error
    return digest.hexdigest()
