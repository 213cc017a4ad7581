"""Files of the Hugging Face hub at a pinned revision, from its cache or downloaded."""

from pathlib import Path

from gradatim.errors import MissingExtraError, WeightsError


def hub_file(repo: str, *, revision: str, file: str) -> Path:
    """Path of a repository's file in the local cache; downloaded where it is absent and the hub may be reached.

    `HF_HOME`, `HF_HUB_CACHE` and `HF_HUB_OFFLINE` are honored by huggingface_hub itself.

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
        return Path(hf_hub_download(repo, file, revision=revision))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        first = str(error).strip().split("\n")[0]
        raise WeightsError(f"hub repository {repo!r}, revision {revision!r}, file {file!r}: {first}") from error
