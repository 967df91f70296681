"""Downloads of a model's files from the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath

from rerank_core._concurrency import no_forks
from rerank_core._errors import ConfigurationError, RerankError, ServiceError
from rerank_core._local.external_data import external_names, states_output

__all__ = ["fetch"]

_SETTINGS = ("*config.json", "modules.json", "tokenizer.json")  # in all folders


def fetch(model: str, graphs: Sequence[str], revision: str | None, local_files_only: bool) -> Path:
    """Download a model's configuration, its tokenizer, and the first graph that it has.

    The files that the graph reads its weights from are fetched as well, and the weights of its
    head if it has one in modules of its own.

    Args:
        model: Hub id.
        graphs: Paths of graphs in the repository, in order of preference.
        revision: Branch, tag or commit; None for the main branch.
        local_files_only: Look in the local cache only.

    Returns:
        The snapshot's folder. It has no graph if the repository has none.

    Raises:
        ConfigurationError: If there is no such repository or revision, or no access to it, or the
            graph is no ONNX file.
        ServiceError: If the hub cannot be reached and a file is not in the local cache.
    """
    with no_forks():
        from huggingface_hub import hf_hub_download, snapshot_download
        from huggingface_hub.errors import (
            EntryNotFoundError,
            GatedRepoError,
            HFValidationError,
            LocalEntryNotFoundError,
            OfflineModeIsEnabled,
            RepositoryNotFoundError,
            RevisionNotFoundError,
        )

    unknown: list[LocalEntryNotFoundError] = []

    def fetch_file(file: str) -> bool:
        try:
            hf_hub_download(model, file, revision=snapshot.name, local_files_only=local_files_only)
        except LocalEntryNotFoundError as error:  # not cached; the hub may have it or not
            unknown.append(error)
            return False
        except EntryNotFoundError:
            return False
        return True

    graph_name = f"{model}/{graphs[-1]}" + (f" at revision {revision!r}" if revision else "")
    try:
        snapshot = Path(
            snapshot_download(
                model,
                revision=revision,
                allow_patterns=list(_SETTINGS),
                local_files_only=local_files_only,
            )
        )
        for graph in graphs:
            if (snapshot / graph).exists() or fetch_file(graph):
                for name in external_names(snapshot / graph):
                    if not {"..", "/"} & set(PurePosixPath(name).parts):
                        fetch_file(str(PurePosixPath(graph).parent / name))
                if all(fetch_file(name) for name in _head_weights(snapshot, graph)):
                    return snapshot
                break
        # With torch weights in the cache, the model can run on torch without asking the hub.
        if unknown and not any(snapshot.glob("*.safetensors")):
            raise unknown[0]
        return snapshot
    except GatedRepoError as error:
        raise ConfigurationError(
            f"{graph_name}: the repository is gated; accept its terms on the hub and set HF_TOKEN"
        ) from error
    except (RepositoryNotFoundError, RevisionNotFoundError, HFValidationError) as error:
        raise ConfigurationError(
            f"{graph_name}: no such repository or revision on the hub, or it is private "
            "(set HF_TOKEN for those)"
        ) from error
    except (LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
        raise ServiceError(
            f"{graph_name} is not in the local cache and the hub was not reached",
            provider="huggingface-hub",
            retryable=not local_files_only,
            hint="Connect once to fetch it, copy it into the cache, unset HF_HUB_OFFLINE, "
            'or use the embedded model "nano"',
        ) from error
    except RerankError:
        raise
    except Exception as error:  # errors of the HTTP library, which differ between versions
        raise ServiceError(
            f"{graph_name} could not be fetched: {type(error).__name__}",
            provider="huggingface-hub",
            retryable=True,
            hint='Try again, or use the embedded model "nano"',
        ) from error


def _head_weights(snapshot: Path, graph: str) -> list[str]:
    """Return the names of the files with the weights of a graph's head."""
    if states_output(snapshot / graph) is None:
        return []
    with no_forks():
        from rerank_core._local.head import weight_names
    with suppress(ConfigurationError):  # who composes the head says what is wrong with it
        return weight_names(snapshot)
    return []
