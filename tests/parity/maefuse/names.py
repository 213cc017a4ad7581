"""The original's key of every array, and where that array lives in our parts."""

import re


def mae_key(key: str) -> tuple[str, str]:
    """Part and our key of an array of the masked autoencoder, without prefix."""
    if key.startswith("decoder_"):
        return "decoder", re.sub(r"^pred\.", "head.", key.removeprefix("decoder_"))
    return "encoder", key.replace("patch_embed.proj.", "patch_embed.")


def head_keys(key: str) -> list[tuple[str, str]]:
    """Parts and our keys of an array of the fusion head, without prefix; the table goes to both parts."""
    if key == "pos_embed":
        return [("cfm", key), ("mfm", key)]
    part = "cfm" if key.startswith("cross_model.") else "mfm"
    return [(part, attention_key(re.sub(r"^(fc\d)\.", r"mlp.\1.", re.sub(r"^ln\.", "norm.", key)), "attn"))]


def attention_key(key: str, name: str) -> str:
    """Our key of an array of the framework's packed attention."""
    key = re.sub(r"^(cross|merge|compare)_model\.", f"{name}.", key)
    return key.replace(".in_proj_", ".qkv.").replace(".out_proj.", ".proj.")
