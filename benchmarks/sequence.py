"""Sequence models beside torch and transformers: training, recurrence, decoding.

python -m benchmarks.sequence
python -m benchmarks.sequence --parts rnn --repeats 20
"""

import argparse
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from benchmarks.harness import Call, Candidate, Timing, report
from benchmarks.peak import take_turns_beside_matmul
from benchmarks.training import meshes, training_step
from jaxlab.core.host_memory import keep_freed_memory
from jaxlab.core.mesh import make_mesh, shard_batch, use_cpu_devices
from jaxlab.core.model import from_linen
from jaxlab.interop.text.gpt2 import load_hf_gpt2
from jaxlab.interop.text.marian import load_hf_marian
from jaxlab.losses.tokens import token_cross_entropy, weighted_mean
from jaxlab.models.decode.decoding import greedy
from jaxlab.models.decode.translation import translate
from jaxlab.models.transformer.encoder_decoder import Transformer
from jaxlab.nn.recurrent import Cell, RecurrentStack

try:
    from benchmarks import torch_sequence as peers
except ImportError:
    peers = None  # type: ignore[assignment]

# By name: candidates, of which the first is the peer; floating-point operations of a
# call; its tokens.
Groups = dict[str, tuple[dict[str, Candidate], float, int]]

VOCAB, WIDTH, HEADS, HIDDEN, DEPTH = 8000, 256, 8, 512, 3
BATCH, LENGTH = 128, 20  # tokens of a source, and of a target
ROWS, TIMES = 64, 100  # of recurrent networks
PROMPT, NEW, LM_DEPTH = 32, 128, 4
BEAMS, BEAM_NEW = 4, 40


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parts = {"train": train, "rnn": rnn, "decode": decode}
    parser.add_argument("--parts", nargs="+", choices=parts, default=list(parts))
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    keep_freed_memory()
    use_cpu_devices("")
    if peers is None:
        print("torch or transformers is not installed: no peers")
    for part in options.parts:
        parts[part](options.repeats)


def train(repeats: int) -> None:
    """Steps of an encoder-decoder."""
    candidates: dict[str, Candidate] = {}
    if peers is not None:
        candidates["torch"] = _torch_train
    for mesh in meshes():
        candidates[f"jaxlab {mesh}"] = functools.partial(_jax_train, mesh)
    encoder = DEPTH * (4 * WIDTH**2 + 2 * WIDTH * HIDDEN)
    decoder = DEPTH * (8 * WIDTH**2 + 2 * WIDTH * HIDDEN) + VOCAB * WIDTH
    attention = 3 * DEPTH * 2 * LENGTH * WIDTH  # multiplications a token
    flops = 6.0 * BATCH * LENGTH * (encoder + decoder + attention)
    title = (
        f"Encoder-decoder {DEPTH}+{DEPTH} x {WIDTH}, {VOCAB} tokens, batch {BATCH} of "
        f"{LENGTH}+{LENGTH} tokens: one training step"
    )
    _compare("train", title, {"": (candidates, flops, 2 * BATCH * LENGTH)}, repeats)


def _batch() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "source": rng.integers(4, VOCAB, (BATCH, LENGTH), np.int32),
        "target": rng.integers(4, VOCAB, (BATCH, LENGTH + 1), np.int32),
    }


def _jax_train(mesh: str) -> Call:
    network = Transformer(
        vocab_size=VOCAB,
        width=WIDTH,
        num_heads=HEADS,
        hidden_dim=HIDDEN,
        encoder_depth=DEPTH,
        decoder_depth=DEPTH,
        norm_first=True,
    )
    model, optimizer = from_linen(network), optax.adam(1e-3)

    def loss_fn(params, model_state, batch, context):  # type: ignore[no-untyped-def]
        inputs, labels = batch["target"][:, :-1], batch["target"][:, 1:]
        logits, model_state = model.apply(
            params, model_state, batch["source"], inputs, key=context.key, train=True
        )
        losses = token_cross_entropy(logits, labels, 0.1)
        return weighted_mean(losses, labels != 0), (model_state, {})

    batch = _batch()
    example = (batch["source"][:1], batch["target"][:1, 1:])
    return training_step(model, loss_fn, optimizer, batch, mesh, *example)


def _torch_train() -> Call:
    model = peers.TorchTransformer(VOCAB, WIDTH, HEADS, HIDDEN, DEPTH)
    return peers.train_step(model, _batch())


def rnn(repeats: int) -> None:
    """Outputs and gradients of recurrent stacks."""
    groups: Groups = {}
    cells: dict[Cell, int] = {"lstm": 4, "gru": 3}  # gates of each
    for cell, gates in cells.items():
        for width, depth in ((256, 2), (512, 1)):
            candidates: dict[str, Candidate] = {}
            if peers is not None:
                candidates["torch"] = functools.partial(
                    peers.recurrent, cell, width, depth, _series(width)
                )
            for mesh in meshes():
                build = functools.partial(_jax_rnn, cell, width, depth, mesh)
                candidates[f"jaxlab {mesh}"] = build
            flops = 6.0 * ROWS * TIMES * depth * 2 * width * gates * width
            group = f"{cell} {depth} x {width}"
            groups[group] = (candidates, flops, ROWS * TIMES)
    title = f"Recurrent stacks, batch {ROWS}, {TIMES} times: outputs and gradients"
    _compare("rnn", title, groups, repeats)


def _series(width: int) -> np.ndarray:
    shape = (ROWS, TIMES, width)
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def _jax_rnn(cell: Cell, width: int, depth: int, mesh_text: str) -> Call:
    mesh = make_mesh(mesh_text)
    stack = from_linen(RecurrentStack(width, depth, cell))
    x = _series(width)
    params, _ = stack.init(jax.random.key(0), x[:1])
    params = jax.device_put(params, NamedSharding(mesh, P()))
    x = shard_batch({"x": x}, mesh)["x"]

    @jax.jit
    @functools.partial(jax.value_and_grad, argnums=(0, 1))
    def run(params, x):  # type: ignore[no-untyped-def]
        return jnp.square(stack.apply(params, {}, x)[0][0]).mean()

    return lambda: jax.block_until_ready(run(params, x))


def decode(repeats: int) -> None:
    """Tokens by greedy and beam search, the same as the peers'."""
    if peers is None:
        return
    groups: Groups = {}
    lm = peers.gpt2(VOCAB, WIDTH, HEADS, LM_DEPTH)
    weights = LM_DEPTH * 12 * WIDTH**2 + VOCAB * WIDTH
    for rows in (1, 16):
        tokens = _prompts(rows, PROMPT)
        theirs = functools.partial(peers.generate, lm, tokens, NEW)
        ours = functools.partial(_jax_greedy, lm, tokens)
        _check_equal(ours()(), theirs()())
        group = f"greedy, batch {rows}"
        candidates: dict[str, Candidate] = {"transformers": theirs, "jaxlab": ours}
        flops = 2.0 * rows * weights * NEW
        groups[group] = (candidates, flops, rows * NEW)
    model = peers.marian(VOCAB, WIDTH, HEADS, HIDDEN, DEPTH)
    weights = DEPTH * (6 * WIDTH**2 + 2 * WIDTH * HIDDEN) + VOCAB * WIDTH
    for rows in (1, 16):
        tokens = _prompts(rows, LENGTH)
        theirs = functools.partial(peers.generate, model, tokens, BEAM_NEW, BEAMS)
        ours = functools.partial(_jax_beams, model, tokens)
        _check_equal(ours()(), theirs()())
        group = f"{BEAMS} beams, batch {rows}"
        candidates = {"transformers": theirs, "jaxlab": ours}
        flops = 2.0 * rows * BEAMS * weights * BEAM_NEW
        groups[group] = (candidates, flops, rows * BEAM_NEW)
    title = (
        f"Width {WIDTH}, {VOCAB} tokens. Greedy: {LM_DEPTH} layers, {PROMPT} tokens "
        f"read, {NEW} new; beams: {DEPTH}+{DEPTH} layers, {LENGTH} read, {BEAM_NEW} new"
    )
    _compare("decode", title, groups, repeats)


def _prompts(rows: int, length: int) -> np.ndarray:
    shape = (rows, length)
    return np.random.default_rng(0).integers(4, VOCAB, shape, np.int32)


def _jax_greedy(model: Any, prompts: np.ndarray) -> Call:
    network, params = load_hf_gpt2(model.state_dict(), model.config.to_dict())
    lengths = np.full(len(prompts), PROMPT, np.int32)

    @jax.jit
    def generate(params, prompts, lengths):  # type: ignore[no-untyped-def]
        apply = functools.partial(network.apply, {"params": params})
        begin, state = apply(prompts, lengths, PROMPT + NEW, method="prefill")
        step = functools.partial(apply, method="step")
        return greedy(step, begin, state, max_new=NEW).tokens

    return lambda: np.asarray(generate(params, prompts, lengths))


def _jax_beams(model: Any, source: np.ndarray) -> Call:
    network, params = load_hf_marian(model.state_dict(), model.config.to_dict())

    @jax.jit
    def search(params, source):  # type: ignore[no-untyped-def]
        found = translate(network, params, source, max_new=BEAM_NEW, beams=BEAMS, bos=0)
        return found.best().tokens

    return lambda: np.asarray(search(params, source))


def _check_equal(ours: np.ndarray, theirs: np.ndarray) -> None:
    if not np.array_equal(ours, theirs):
        share = (ours != theirs).mean()
        raise RuntimeError(f"{share:.0%} of the tokens are not those of the peer")


def _compare(part: str, title: str, groups: Groups, repeats: int) -> None:
    """Time all groups by turns, and report.

    Args:
        part: Of the results.
        title: What was measured.
        groups: What is compared with each other.
        repeats: Timed calls of each.
    """
    timings, peak = take_turns_beside_matmul(
        {group: candidates for group, (candidates, *_) in groups.items()}, repeats
    )
    rows = []
    for group, (_, flops, tokens) in groups.items():
        rows += _rows(group, timings[group], flops, tokens, peak.rate)
    report("sequence", f"{title}; {peak.text}", rows, part=part)


def _rows(
    group: str, timings: dict[str, Timing], flops: float, tokens: int, peak: float
) -> list[dict[str, Any]]:
    first, *_ = timings
    has_peer = not first.startswith("jaxlab")
    return [
        {
            "what": f"{group} {name}".strip(),
            "cold_seconds": timing.cold,
            "warm_seconds": timing.median,
            "tokens_per_second": tokens / timing.median,
            "percent_of_peak": 100 * flops / timing.median / peak,
            "times_peer": timings[first].median / timing.median if has_peer else "-",
        }
        for name, timing in timings.items()
    ]


if __name__ == "__main__":
    main()
