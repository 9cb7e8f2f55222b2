"""The official FT-Transformer package with our weights, for parity tests and as the benchmark's peer."""

import torch
from rtdl_revisiting_models import FTTransformer
from torch import Tensor, nn

from cappuccino_ml.encoder import FTTransformerEncoder


def make_peer(ours: FTTransformerEncoder) -> FTTransformer:
    """`rtdl_revisiting_models.FTTransformer` of the same shape and with the same weights, dropout off."""
    settings, tokenizer = ours.settings, ours.tokenizer
    peer = FTTransformer(
        n_cont_features=tokenizer.market_tokens + tokenizer.entries,
        cat_cardinalities=[],
        d_out=settings.encoding_dim,
        n_blocks=settings.n_blocks,
        d_block=settings.d_token,
        attention_n_heads=settings.n_heads,
        attention_dropout=0.0,
        ffn_d_hidden_multiplier=4 / 3,
        ffn_dropout=0.0,
        residual_dropout=0.0,
    )
    ours_by_name = paired(ours, dict(ours.named_parameters()))
    with torch.no_grad():
        for name, parameter in peer.named_parameters():
            parameter.copy_(ours_by_name[name])
    return peer


def paired(ours: FTTransformerEncoder, values: dict[str, Tensor | nn.Parameter]) -> dict[str, Tensor]:
    """Our tensors (weights or gradients, by our names) under the peer's names and in its layout."""
    joint = ours.tokenizer.entries > 0

    def embedding(market: str, entry: str) -> Tensor:
        parts = [values[f"tokenizer.{market}"].reshape(-1, ours.settings.d_token)]
        return torch.cat([*parts, values[f"tokenizer.{entry}"]] if joint else parts)

    found = {
        "cls_embedding.weight": values["tokenizer.cls"],
        "cont_embeddings.weight": embedding("weight", "entry_weight"),
        "cont_embeddings.bias": embedding("bias", "entry_bias"),
    }
    for kind in ("weight", "bias"):
        found[f"backbone.output.normalization.{kind}"] = values[f"norm.{kind}"]
        found[f"backbone.output.linear.{kind}"] = values[f"head.{kind}"]
        for index in range(ours.settings.n_blocks):
            mine, theirs = f"blocks.{index}", f"backbone.blocks.{index}"
            key, value = values[f"{mine}.attention.key_value.{kind}"].chunk(2)
            found[f"{theirs}.attention.W_q.{kind}"] = values[f"{mine}.attention.query.{kind}"]
            found[f"{theirs}.attention.W_k.{kind}"] = key
            found[f"{theirs}.attention.W_v.{kind}"] = value
            found[f"{theirs}.attention.W_out.{kind}"] = values[f"{mine}.attention.out.{kind}"]
            found[f"{theirs}.ffn_normalization.{kind}"] = values[f"{mine}.ffn_norm.{kind}"]
            found[f"{theirs}.ffn.linear1.{kind}"] = values[f"{mine}.ffn_in.{kind}"]
            found[f"{theirs}.ffn.linear2.{kind}"] = values[f"{mine}.ffn_out.{kind}"]
            if index > 0:
                found[f"{theirs}.attention_normalization.{kind}"] = values[f"{mine}.attention_norm.{kind}"]
    return found


def peer_inputs(ours: FTTransformerEncoder, windows: Tensor, entries: Tensor | None) -> Tensor:
    """What our encoder takes as windows [B, L, N, F] (and entries), as the peer's [B, scalars]."""
    market = ours.tokenizer.group(windows)[..., 0].T
    return market if entries is None else torch.cat([market, entries], dim=1)
