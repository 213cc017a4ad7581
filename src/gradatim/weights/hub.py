"""Files of the Hugging Face hub at a pinned revision, from its cache or downloaded."""

from pathlib import Path

from gradatim.errors import MissingExtraError, WeightsError

_OLDER = {"model.safetensors": ("pytorch_model.bin",)}
"""Names under which older repositories hold the same arrays."""


def hub_file(repo: str, *, revision: str, file: str, download: bool = True) -> Path:
    """Path of a repository's file in the local cache; downloaded where it is absent and the hub may be reached.

    `HF_HOME`, `HF_HUB_CACHE` and `HF_HUB_OFFLINE` are honored by huggingface_hub itself.

    Args:
        repo: owner and name.
        revision: branch, tag or commit.
        file: in the repository; where it has no `model.safetensors`, its `pytorch_model.bin` is taken.
        download: whether the hub may be asked; else only the cache is looked at.

    Raises:
        MissingExtraError: huggingface_hub is not installed.
        WeightsError: no such repository, revision or file, or it is not cached and the hub cannot be reached.
    """
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import (
            EntryNotFoundError,
            HfHubHTTPError,
            HFValidationError,
            LocalEntryNotFoundError,
        )
    except ImportError as error:
        raise MissingExtraError("huggingface_hub", "hub", "a `hub:` source") from error
    wrong: Exception | None = None
    reason, asked = "", download
    for name in (file, *_OLDER.get(file, ())):
        try:
            return Path(hf_hub_download(repo, name, revision=revision, local_files_only=not asked))
        except EntryNotFoundError as error:
            reason, wrong = reason or str(error), wrong or error
            # A hub that was out of reach once is not asked again.
            asked = asked and not isinstance(error, LocalEntryNotFoundError)
        except (HfHubHTTPError, HFValidationError, OSError) as error:
            reason, wrong = reason or str(error), wrong or error
            break
    if not download and isinstance(wrong, LocalEntryNotFoundError):
        reason = "not in the cache yet; `run` downloads it"
    first = reason.strip().split("\n")[0]
    raise WeightsError(f"hub repository {repo!r}, revision {revision!r}, file {file!r}: {first}") from wrong
