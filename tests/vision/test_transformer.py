import math

import torch

from gradatim.vision.transformer import Attention, Block, FeedForward, initialize


def test_attention_is_a_softmax_of_scaled_products_in_each_head():
    torch.manual_seed(0)
    attention, tokens = Attention(8, 2), torch.randn(2, 5, 8)

    query, key, value = attention.qkv(tokens).chunk(3, dim=-1)
    heads = [
        torch.softmax(query[..., s] @ key[..., s].transpose(1, 2) / 2, dim=-1) @ value[..., s]
        for s in (slice(0, 4), slice(4, 8))
    ]

    torch.testing.assert_close(attention(tokens), attention.proj(torch.cat(heads, dim=-1)))


def test_the_feed_forward_network_uses_the_exact_gelu():
    torch.manual_seed(0)
    network, tokens = FeedForward(4, 6), 3 * torch.randn(2, 3, 4)

    hidden = network.fc1(tokens)
    expected = network.fc2(hidden * (1 + torch.erf(hidden / math.sqrt(2))) / 2)

    torch.testing.assert_close(network(tokens), expected)


def test_a_block_adds_attention_and_then_the_network_on_normalized_tokens():
    torch.manual_seed(0)
    block, tokens = Block(8, 2, mlp_ratio=1.5), torch.randn(2, 5, 8)

    after = tokens + block.attn(block.norm1(tokens))
    expected = after + block.mlp(block.norm2(after))

    torch.testing.assert_close(block(tokens), expected)
    assert block.mlp.fc1.out_features == 12
    assert block.norm1.eps == block.norm2.eps == 1e-6


def test_initialize_draws_linear_layers_uniformly_within_xaviers_bound_and_zeroes_biases():
    block = Block(16, 2)

    initialize(block)

    assert block.attn.qkv.weight.abs().max() <= math.sqrt(6 / (16 + 48))
    assert block.attn.qkv.weight.abs().max() > 0.9 * math.sqrt(6 / (16 + 48))
    assert not any(layer.bias.any() for layer in (block.attn.qkv, block.attn.proj, block.mlp.fc1, block.mlp.fc2))
    assert block.norm1.weight.eq(1).all()
