import re

import pytest
import torch

from gradatim.errors import WeightsError
from gradatim.systems.maefuse.layouts import LAYOUTS
from gradatim.systems.maefuse.model import PARTS, MaeFuseSettings
from gradatim.weights import Weights, Wish, read_weights, transfer

SIZES = {"image_size": 16, "patch_size": 8, "width": 16, "depth": 2, "heads": 2}
DECODER = {"decoder_width": 12, "decoder_depth": 1, "decoder_heads": 2, "mlp_ratio": 3.0}
SETTINGS = MaeFuseSettings(**SIZES, **DECODER)


def parts(settings=SETTINGS, *names):
    torch.manual_seed(0)
    return {name: PARTS[name](settings) for name in names or ("encoder", "decoder")}


def weights_of(arrays, path="file.pth"):
    return Weights(path=path, format="test", arrays=arrays)


@pytest.fixture(scope="module")
def theirs():
    """A masked autoencoder of `transformers`, with more decoder blocks than ours; nothing is hidden."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(1)
    config = transformers.ViTMAEConfig(
        image_size=16,
        patch_size=8,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=48,
        decoder_hidden_size=12,
        decoder_num_hidden_layers=3,
        decoder_num_attention_heads=2,
        decoder_intermediate_size=36,
        layer_norm_eps=1e-6,
        mask_ratio=0.0,
        initializer_range=0.3,
    )
    return transformers.ViTMAEForPreTraining(config).eval()


def classic(name):
    """The name that an array has in the published files, from the one in the installed library's memory."""
    name = re.sub(r"^vit\.layers\.", "vit.encoder.layer.", name)
    name = re.sub(
        r"\.attention\.([qkv])_proj",
        lambda match: ".attention.attention." + {"q": "query", "k": "key", "v": "value"}[match[1]],
        name,
    )
    return (
        name.replace(".o_proj", ".output.dense")
        .replace(".mlp.fc1", ".intermediate.dense")
        .replace(".mlp.fc2", ".output.dense")
    )


def arrays_as(kind, model, folder):
    state = model.state_dict()
    if kind == "memory":
        return state
    if kind == "classic":
        return {classic(name): array for name, array in state.items()}
    if kind == "encoder":
        return {classic(name).removeprefix("vit."): array for name, array in state.items() if name.startswith("vit.")}
    model.save_pretrained(folder)
    return read_weights(folder / "model.safetensors").arrays


@pytest.mark.parametrize("kind", ["memory", "classic", "saved"])
def test_a_masked_autoencoder_of_transformers_gives_the_same_values(theirs, tmp_path, kind):
    ours, image = parts(), torch.randn(2, 3, 16, 16)
    weights = weights_of(arrays_as(kind, theirs, tmp_path))
    wishes = [Wish(part=name, module=part, file_part=name, resize="position") for name, part in ours.items()]

    accounts = transfer(weights, wishes, layout=LAYOUTS["huggingface"])

    with torch.no_grad():
        embeddings = theirs.vit.embeddings
        tokens = embeddings.patch_embeddings(image) + embeddings.position_embeddings[:, 1:]
        latent = theirs.vit.layernorm(through(theirs.vit.layers, tokens))
        inner = theirs.decoder.decoder_embed(latent) + theirs.decoder.decoder_pos_embed[:, 1:]
        pixels = theirs.decoder.decoder_pred(
            theirs.decoder.decoder_norm(through(theirs.decoder.decoder_layers[:1], inner))
        )
        torch.testing.assert_close(ours["encoder"](image), latent, atol=1e-5, rtol=0)
        torch.testing.assert_close(ours["decoder"](latent), pixels, atol=1e-5, rtol=0)
    assert all(account.arrays[0] == account.arrays[1] for account in accounts)


def through(layers, tokens):
    for layer in layers:
        tokens = layer(tokens)
        tokens = tokens[0] if isinstance(tokens, tuple) else tokens
    return tokens


def test_an_encoder_alone_is_read_without_the_librarys_prefix(theirs, tmp_path):
    ours = parts(SETTINGS, "encoder")

    (account,) = transfer(weights_of(arrays_as("encoder", theirs, tmp_path)), ours, layouts=LAYOUTS)

    assert account.layout == "huggingface"
    assert account.kept == {"by formula for this grid; `resize: position` takes the file's": ("pos_embed",)}


def mae_names(state_of):
    """Our arrays under the authors' names."""
    result = {}
    for part, module in state_of.items():
        for name, array in module.state_dict().items():
            name = name.replace("patch_embed.", "patch_embed.proj.").replace("head.", "pred.")
            result[name if part == "encoder" else f"decoder_{name}"] = array
    return result


def test_a_resume_file_is_told_from_a_public_one_though_both_tables_know_its_names():
    source = parts()
    ours = parts(SETTINGS)
    ours["encoder"].pos_embed.zero_()

    accounts = transfer(weights_of(mae_names(source)), ours, layouts=LAYOUTS)

    assert {account.layout for account in accounts} == {"mae"}
    assert torch.equal(ours["encoder"].pos_embed, source["encoder"].pos_embed)


def test_the_heads_one_table_feeds_both_fusion_parts():
    ours = parts(SETTINGS, "cfm", "mfm")
    arrays = {"pos_embed": torch.full((1, 4, 16), 7.0)}
    for key, part in (("cross_model", "cfm"), ("merge_model", "mfm")):
        for kind in ("weight", "bias"):
            arrays[f"{key}.in_proj_{kind}"] = ours[part].state_dict()[f"attn.qkv.{kind}"] + 1
            arrays[f"{key}.out_proj.{kind}"] = ours[part].state_dict()[f"attn.proj.{kind}"] + 1
    for key, name in (("fc1", "mlp.fc1"), ("fc2", "mlp.fc2"), ("ln", "norm")):
        for kind in ("weight", "bias"):
            arrays[f"{key}.{kind}"] = ours["mfm"].state_dict()[f"{name}.{kind}"] + 1

    accounts = transfer(weights_of(arrays), ours, layouts=LAYOUTS)

    assert [account.arrays for account in accounts] == [(5, 5), (11, 11)]
    assert all(part.pos_embed.eq(7).all() for part in ours.values())


def test_a_public_file_of_too_few_blocks_is_refused():
    source = parts(MaeFuseSettings(**{**SIZES, **DECODER, "depth": 1}))
    arrays = {**mae_names(source), "cls_token": torch.zeros(1, 1, 16), "mask_token": torch.zeros(1, 1, 12)}

    with pytest.raises(WeightsError, match=r"missing in the file \(12\): blocks\.1\.norm1\.weight"):
        transfer(weights_of(arrays), parts(), layout=LAYOUTS["facebook"])


def test_the_authors_weights_demand_the_attention_that_they_were_trained_with():
    for name in ("head", "whole"):
        for part in ("cfm", "mfm"):
            assert LAYOUTS[name].requires[part] == {"attention_axis": ("sample", "batch")}
    assert set(LAYOUTS) == {"mae", "head", "whole", "facebook", "huggingface"}
