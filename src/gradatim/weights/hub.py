"""Files of the Hugging Face hub at a pinned revision, from its cache or downloaded."""

from pathlib import Path

from gradatim.errors import MissingExtraError, WeightsError


def hub_file(repo: str, *, revision: str, file: str, download: bool = True) -> Path:
    """Path of a repository's file in the local cache; downloaded where it is absent and the hub may be reached.

    `HF_HOME`, `HF_HUB_CACHE` and `HF_HUB_OFFLINE` are honored by huggingface_hub itself.

    Args:
        repo: owner and name.
        revision: branch, tag or commit.
        file: in the repository.
        download: whether the hub may be asked; else only the cache is looked at.

    Raises:
        MissingExtraError: huggingface_hub is not installed.
        WeightsError: no such repository, revision or file, or it is not cached and the hub cannot be reached.
    """
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
    except ImportError as error:
        raise MissingExtraError("huggingface_hub", "hub", "a `hub:` source") from error
    try:
        return Path(hf_hub_download(repo, file, revision=revision, local_files_only=not download))
    except LocalEntryNotFoundError as error:
        if download:
            raise WeightsError(_wording(repo, revision, file, str(error))) from error
        raise WeightsError(
            f"hub repository {repo!r}, revision {revision!r}, file {file!r}: not in the cache yet; `run` downloads it"
        ) from error
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        raise WeightsError(_wording(repo, revision, file, str(error))) from error


def _wording(repo: str, revision: str, file: str, reason: str) -> str:
    first = reason.strip().split("\n")[0]
    return f"hub repository {repo!r}, revision {revision!r}, file {file!r}: {first}"
