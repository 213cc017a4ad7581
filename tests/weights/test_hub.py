"""Files of the hub, from a cache that lies on the disk; nothing is downloaded."""

import sys

import pytest
import torch
from safetensors.torch import save_file

from gradatim.engine.build import settings_of
from gradatim.engine.sources import Builder, load_sources
from gradatim.errors import MissingExtraError, WeightsError
from gradatim.plan import Plan
from gradatim.weights import hub_file
from toy import TOY

SHA = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache of one repository, `org/name`, at one revision that `main` refers to; the hub is out of reach."""
    constants = pytest.importorskip("huggingface_hub.constants")
    folder = tmp_path / "models--org--name"
    (folder / "snapshots" / SHA).mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(SHA)
    torch.manual_seed(0)
    arrays = {"net.a.weight": torch.rand(6, 6), "net.a.bias": torch.rand(6)}
    save_file(arrays, folder / "snapshots" / SHA / "model.safetensors")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    return folder / "snapshots" / SHA


@pytest.mark.parametrize("revision", [SHA, "main"])
def test_a_cached_file_is_found_by_its_revision(cache, revision):
    assert hub_file("org/name", revision=revision, file="model.safetensors") == cache / "model.safetensors"


@pytest.mark.parametrize(
    ("repo", "revision", "file"),
    [
        ("org/name", "f" * 40, "model.safetensors"),
        ("org/name", SHA, "pytorch_model.bin"),
        ("org/nobody", SHA, "model.safetensors"),
        ("no/such/form", SHA, "model.safetensors"),
    ],
)
def test_what_is_not_there_is_named_with_repository_revision_and_file(cache, repo, revision, file):
    with pytest.raises(WeightsError) as error:
        hub_file(repo, revision=revision, file=file)

    message = str(error.value)
    assert message.startswith(f"hub repository {repo!r}, revision {revision!r}, file {file!r}: ")
    assert "\n" not in message


def test_an_older_repository_holds_its_arrays_in_another_file(cache):
    (cache / "model.safetensors").rename(cache / "pytorch_model.bin")

    assert hub_file("org/name", revision=SHA, file="model.safetensors") == cache / "pytorch_model.bin"
    with pytest.raises(WeightsError, match=r"file 'other\.safetensors'"):
        hub_file("org/name", revision=SHA, file="other.safetensors")


def test_without_the_package_the_line_to_install_it_is_given(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)

    with pytest.raises(MissingExtraError) as error:
        hub_file("org/name", revision=SHA, file="model.safetensors")

    assert str(error.value) == (
        "a `hub:` source needs 'huggingface_hub', which is not installed: pip install 'gradatim[hub]'"
    )


def test_a_part_from_the_hub_notes_repository_revision_and_file(cache):
    source = {"hub": "org/name", "revision": SHA, "layout": "foreign"}
    stage = {"name": "s", "task": "fit", "init": {"body": source}}
    plan = Plan.model_validate({"system": "toy", "stages": [stage]})
    builder = Builder(system=TOY, settings=settings_of(TOY, plan), seed=0)

    loaded = load_sources(plan.stages[0], builder, ["body"])["body"]

    origin = loaded.lineage.origin
    assert (origin.kind, origin.detail["hub"], origin.detail["revision"]) == ("hub", "org/name", SHA)
    assert origin.detail["file"].endswith("model.safetensors")
    assert loaded.module.weight.abs().sum() > 0


def test_looking_at_a_plan_asks_the_cache_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))

    with pytest.raises(WeightsError, match="not in the cache yet; `run` downloads it"):
        hub_file("org/name", revision="main", file="model.safetensors", download=False)
