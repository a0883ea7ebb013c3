"""Language models of characters: Transformer, LSTM and GRU, equally large.

python -m experiments.lm_shakespeare                     a Transformer on Shakespeare
python -m experiments.lm_shakespeare --model all         three models, in one table
python -m experiments.lm_shakespeare --data python       text that needs no download
"""

import dataclasses
import functools
from typing import Any, Literal, TypeAlias

import jax
import numpy as np
import tyro

from jaxlab.core.config import fields
from jaxlab.core.mesh import make_mesh
from jaxlab.core.model import from_linen
from jaxlab.core.precision import Precision, compute_dtype
from jaxlab.core.pytree import num_elements
from jaxlab.core.typing import Array, Batch, Key, Metrics, ModelState, Params, Scalar
from jaxlab.data.batches import evaluation_batches, training_batches
from jaxlab.data.order import Order
from jaxlab.data.text.find import find_text
from jaxlab.data.text.vocabulary import BOS, EOS, PAD, UNK, VocabularyKind
from jaxlab.data.text.windows import encode_text
from jaxlab.losses.tokens import token_cross_entropy, token_sums
from jaxlab.models.decode.generation import generate_by_windows, gradients_of_tokens
from jaxlab.models.recurrent.language import RNNLM
from jaxlab.models.sizing import width_for
from jaxlab.models.transformer.decoder import TransformerLM
from jaxlab.models.transformer.encoder_decoder import TENSOR_RULES
from jaxlab.nn.activation import Activation, GatedActivation
from jaxlab.nn.norm import Norm
from jaxlab.nn.tokens import Positions
from jaxlab.plots import text as text_plots
from jaxlab.train.comparison import train_all
from jaxlab.train.engine import compile_step
from jaxlab.train.evaluate import make_collector, token_means
from jaxlab.train.launch import launch
from jaxlab.train.loop import fit
from jaxlab.train.optim import Schedule, adamw, make_schedule
from jaxlab.train.printed_table import table_lines
from jaxlab.train.run_folder import RunFolder, RunOptions
from jaxlab.train.state import TrainState, eval_params, init_state
from jaxlab.train.step import make_train_step

ModelName: TypeAlias = Literal["transformer", "lstm", "gru", "rnn", "all"]
MODELS: tuple[ModelName, ...] = ("transformer", "lstm", "gru", "rnn")  # of `all`
BLOCK = ("depth", "num_heads", "num_kv_heads", "positions", "norm", "act")
SAMPLE = 500  # tokens to generate
DRAW = ("temperature", "top_p")  # may change when a run is resumed


@dataclasses.dataclass(frozen=True)
class Config:
    data: str = "tinyshakespeare"  # python, or a .txt file
    seed: int = 0
    steps: int = 1000  # updates
    batch_size: int = 32  # windows an update, over all devices
    length: int = 128  # tokens of a window
    model: ModelName = "transformer"
    num_parameters: int = 800_000  # about; the width follows from it
    depth: int = 4  # layers of the transformer
    rnn_depth: int = 2  # layers of the others
    num_heads: int = 4
    num_kv_heads: int = 0  # of keys and values; 0: as many
    positions: Positions = "rotary"
    norm: Norm = "layer"
    act: Activation | GatedActivation = "gelu"
    vocabulary: VocabularyKind = "char"
    vocab_size: int = 0  # tokens at most; 0: all
    dropout_rate: float = 0.1
    schedule: Schedule = "cosine"
    learning_rate: float = 3e-3  # peak, after warm-up
    warmup_rate: float = 0.05  # share of the steps
    weight_decay: float = 0.1
    precision: Precision = "float32"  # of the computation
    temperature: float = 0.8  # of the generated text
    top_p: float = 0.95  # least share of probability to draw from
    eval_every: int = 250  # updates
    run: tyro.conf.OmitArgPrefixes[RunOptions] = RunOptions()


SMOKE = Config(
    data="python",
    steps=4,
    batch_size=8,
    length=16,
    num_parameters=20_000,
    depth=1,
    rnn_depth=1,
)


def main(config: Config) -> dict[str, float]:
    """Train one model, or all of them, and return the final metrics."""
    if config.model == "all":
        return compare(config)
    with RunFolder("lm_shakespeare", config, free=DRAW) as run:
        scores, facts = train(config, run)
        return run.finish(scores, **facts)


def train(config: Config, run: RunFolder) -> tuple[dict[str, float], dict[str, Any]]:
    """Train, evaluate, generate and draw; give the metrics and facts of the run."""
    mesh = make_mesh(config.run.mesh, batch_size=config.batch_size)
    text = find_text(config.data, config.run.data_dir)
    data = encode_text(text, config.length, config.vocabulary, config.vocab_size)
    data.vocabulary.save(run.path / "vocabulary.json")
    module = make_module(config, len(data.vocabulary))
    model = from_linen(module)
    rates = config.schedule, config.learning_rate, config.steps
    schedule = make_schedule(*rates, int(config.warmup_rate * config.steps))
    decay = config.weight_decay
    optimizer = adamw(schedule, weight_decay=decay, b2=0.99, clip_norm=1.0)

    def loss_fn(
        params: Params, model_state: ModelState, batch: Batch, key: Key[Array, ""]
    ) -> tuple[Scalar, tuple[ModelState, Metrics]]:
        inputs, labels = batch["tokens"][:, :-1], batch["tokens"][:, 1:]
        logits, _ = model.apply(params, model_state, inputs, key=key, train=True)
        return token_cross_entropy(logits, labels).mean(), (model_state, {})

    def per_window(state: TrainState, batch: Batch) -> dict[str, Array]:
        inputs, labels = batch["tokens"][:, :-1], batch["tokens"][:, 1:]
        logits, _ = model.apply(eval_params(state), {}, inputs)
        return token_sums(logits, labels, batch["weights"])

    valid, test = (
        make_collector(per_window, evaluation_batches(windows, 64, mesh), mesh)
        for windows in (data.valid, data.test)
    )
    prompt = data.test.tokens[None, : max(config.length // 2, 1)]
    write = make_writer(config, module, prompt.size)
    key, example = jax.random.key(config.seed), np.zeros((1, 2), np.int32)
    state = init_state(model, optimizer, key, mesh, example, rules=TENSOR_RULES)
    jax.eval_shape(write, state.params, prompt)  # wrong values are told before training
    size = num_elements(state.params)
    run.say(f"{config.model} of {size:,} parameters, width {module.width}, on {data}")
    step = make_train_step(loss_fn, optimizer, schedule)
    order = Order(len(data.train), config.batch_size, config.seed)
    workers = config.run.stream_workers or 0  # windows overlap: never all at once
    state = fit(
        compile_step(step, state, mesh, engine=config.run.engine),
        state,
        training_batches(data.train, order, mesh, workers),
        steps=config.steps,
        batch_size=config.batch_size,
        run=run,
        evaluate=lambda state: token_means(valid(state), "loss"),
        eval_every=config.eval_every,
        best="-loss",
        held_out="valid",
    )
    loss = token_means(test(state), "loss")["loss"]
    drawn = np.asarray(write(eval_params(state), prompt))
    written = data.vocabulary.decode([[*prompt[0], *drawn[0]]])[0]
    run.write_text("sample.txt", written)
    run.say("\n".join(["sample", *written.splitlines()[:12]]))
    windows = data.test.rows(np.arange(min(8, len(data.test))))["tokens"]
    measure = jax.jit(functools.partial(gradients_of_tokens, module))
    norms = np.asarray(measure(eval_params(state), windows))
    text_plots.gradient_by_lag(run.path, {config.model: norms})
    facts = {"parameters": size, "width": module.width, "lags": norms.tolist()}
    return {"bits_per_character": data.bits_per_character(loss)}, facts


def compare(config: Config) -> dict[str, float]:
    """Train all models, each in a folder of its own, and lay them side by side."""
    configs = {str(name): dataclasses.replace(config, model=name) for name in MODELS}
    for part in configs.values():  # what cannot be built is told before training
        make_module(part, 99)
    with RunFolder("lm_shakespeare", config, free=DRAW) as run:
        rows = train_all(run, configs, train, "valid/loss")
        norms = {row["name"]: np.array(row.pop("lags")) for row in rows}
        text_plots.gradient_by_lag(run.path, norms)
        run.say("\n".join(table_lines(rows)))
        scores = {row["name"]: row["bits_per_character"] for row in rows}
        return run.finish(scores, models=rows)


def make_module(config: Config, vocab_size: int) -> Any:
    """Make the network, as wide as its number of parameters allows."""
    dtype = compute_dtype(config.precision)
    kind: Any
    rest: dict[str, Any]
    if config.model == "transformer":
        kind, multiple = TransformerLM, 2 * max(config.num_heads, 1)
        rest = fields(config, *BLOCK)
        rest["max_len"] = config.length
    else:
        kind, multiple = RNNLM, 8
        rest = {"cell": config.model, "depth": config.rnn_depth, "pad": None}

    rest |= {"vocab_size": vocab_size, "dropout_rate": config.dropout_rate}

    def build(width: int) -> Any:
        return kind(width=width, dtype=dtype, **rest)

    example = np.zeros((1, 2), np.int32)
    return build(width_for(build, config.num_parameters, example, multiple=multiple))


def make_writer(config: Config, module: Any, size: int) -> Any:
    """Make the function of parameters and a prompt that writes on."""
    options: dict[str, Any] = fields(config, *DRAW)
    options |= {"key": jax.random.key(config.seed), "forbidden": (PAD, BOS, EOS, UNK)}
    windows = -(-SAMPLE // size)
    return jax.jit(
        functools.partial(generate_by_windows, module, windows=windows, **options)
    )


if __name__ == "__main__":
    launch(main, Config(), smoke=SMOKE, description=__doc__)
