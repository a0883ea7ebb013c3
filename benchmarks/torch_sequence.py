"""The peers of `benchmarks.sequence`: networks of torch and transformers."""

import math
import warnings
from typing import Any

import numpy as np
import torch
import transformers
from torch import nn
from torch.nn import functional as F

from benchmarks.harness import Call
from benchmarks.torch_training import training_step


class TorchTransformer(nn.Module):
    """The encoder-decoder `Transformer(norm_first=True)` from torch's modules."""

    def __init__(
        self, vocab_size: int, width: int, heads: int, hidden: int, depth: int
    ) -> None:
        super().__init__()
        self.width = width
        self.embed = nn.Embedding(vocab_size, width)
        nn.init.normal_(self.embed.weight, std=width**-0.5)
        self.register_buffer("positions", _sinusoids(512, width))
        self.dropout = nn.Dropout(0.1)
        with warnings.catch_warnings():  # that norm_first has no nested tensors
            warnings.simplefilter("ignore")
            self.transformer = nn.Transformer(
                *(width, heads, depth, depth, hidden, 0.1),
                batch_first=True,
                norm_first=True,
            )
        for module in self.modules():  # ours drops no attention weights
            if isinstance(module, nn.MultiheadAttention):
                module.dropout = 0.0

    def forward(self, source: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        length = targets.shape[1]
        mask = nn.Transformer.generate_square_subsequent_mask(length)
        hidden = self.transformer(
            self._read(source), self._read(targets), tgt_mask=mask, tgt_is_causal=True
        )
        return F.linear(hidden, self.embed.weight)

    def _read(self, tokens: torch.Tensor) -> torch.Tensor:
        vectors = self.embed(tokens) * math.sqrt(self.width)
        return self.dropout(vectors + self.positions[: tokens.shape[1]])


def _sinusoids(length: int, width: int) -> torch.Tensor:
    rates = 10_000.0 ** (-torch.arange(0, width, 2) / width)
    angles = torch.arange(length)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)


def train_step(model: nn.Module, batch: dict[str, np.ndarray]) -> Call:
    """Give a step of Adam on the smoothed cross-entropy."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    source = torch.from_numpy(batch["source"]).long()
    target = torch.from_numpy(batch["target"]).long()
    inputs, labels = target[:, :-1], target[:, 1:].flatten()
    criterion = nn.CrossEntropyLoss(ignore_index=0, label_smoothing=0.1)
    model.train()

    def loss() -> torch.Tensor:
        return criterion(model(source, inputs).flatten(0, 1), labels)

    return training_step(optimizer, loss)


def recurrent(cell: str, width: int, depth: int, x: np.ndarray) -> Call:
    """Give outputs and all gradients, of the inputs too, of `nn.LSTM` or `nn.GRU`."""
    kind = {"lstm": nn.LSTM, "gru": nn.GRU}[cell]
    network = kind(x.shape[-1], width, depth, batch_first=True)
    inputs = torch.from_numpy(x).requires_grad_()

    def call() -> float:
        network.zero_grad(set_to_none=True)
        inputs.grad = None
        loss = network(inputs)[0].square().mean()
        loss.backward()
        return loss.item()

    return call


def gpt2(vocab_size: int, width: int, heads: int, depth: int) -> Any:
    """Give a `GPT2LMHeadModel` of random weights whose likeliest tokens are clear."""
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=vocab_size,
        n_positions=512,
        n_embd=width,
        n_layer=depth,
        n_head=heads,
        initializer_range=0.2,
        bos_token_id=1,
        eos_token_id=None,
        pad_token_id=0,
    )
    return transformers.GPT2LMHeadModel(config).eval()


def marian(vocab_size: int, width: int, heads: int, hidden: int, depth: int) -> Any:
    """Give a `MarianMTModel` of random weights that never ends nor pads."""
    torch.manual_seed(0)
    config = transformers.MarianConfig(
        vocab_size=vocab_size,
        d_model=width,
        encoder_layers=depth,
        decoder_layers=depth,
        encoder_attention_heads=heads,
        decoder_attention_heads=heads,
        encoder_ffn_dim=hidden,
        decoder_ffn_dim=hidden,
        activation_function="relu",
        scale_embedding=True,
        init_std=0.1,
        max_position_embeddings=512,
        pad_token_id=0,
        eos_token_id=2,
        decoder_start_token_id=0,
        forced_eos_token_id=None,
    )
    model = transformers.MarianMTModel(config).eval()
    model.final_logits_bias[:, [0, 2]] = -1e4
    return model


def generate(
    model: Any,
    tokens: np.ndarray,
    new: int,
    beams: int = 1,
    *,
    is_sampled: bool = False,
) -> Call:
    """Give the new tokens of `generate`, the best ones or drawn from all."""
    inputs = torch.from_numpy(tokens).long()
    start = 1 if model.config.is_encoder_decoder else tokens.shape[1]

    def call() -> np.ndarray:
        with torch.inference_mode():
            found = model.generate(
                inputs,
                attention_mask=torch.ones_like(inputs),
                do_sample=is_sampled,
                top_k=0 if is_sampled else None,
                num_beams=beams,
                max_new_tokens=new,
                use_cache=True,
            )
        return found[:, start:].numpy()

    return call
