"""Language models of characters: Transformer, LSTM and GRU, equally large.

python -m experiments.lm_shakespeare                     a Transformer on Shakespeare
python -m experiments.lm_shakespeare --model all         three models, in one table
python -m experiments.lm_shakespeare --data python       text that needs no download
"""

import dataclasses
import functools
from typing import Literal, get_args

import jax
import numpy as np
import tyro

from jaxlab.core.model import from_linen
from jaxlab.core.precision import Precision, compute_dtype
from jaxlab.core.printed_table import table_lines
from jaxlab.core.pytree import num_elements
from jaxlab.core.ranges import Count, Natural, NotNegative, PositiveShare, Rate, Seed
from jaxlab.core.recorded import Recorded, record
from jaxlab.core.typing import Array, Batch, ModelState, Params
from jaxlab.data.batches import training_batches
from jaxlab.data.fingerprint import fingerprint_sources
from jaxlab.data.order import Order
from jaxlab.data.text.find import find_text
from jaxlab.data.text.vocabulary import BOS, EOS, PAD, UNK, VocabularyKind
from jaxlab.data.text.windows import encode_text
from jaxlab.data.text.words import Normalization
from jaxlab.losses.tokens import token_cross_entropy, token_sums
from jaxlab.models.decode.generation import generate_by_windows, gradients_of_tokens
from jaxlab.models.language_models import LanguageModelName, make_language_model
from jaxlab.models.recurrent.language import RNNLM
from jaxlab.models.transformer.decoder import TransformerLM
from jaxlab.models.transformer.encoder_decoder import TENSOR_RULES
from jaxlab.nn.activation import Activation, GatedActivation
from jaxlab.nn.norm import Norm
from jaxlab.nn.tokens import Positions
from jaxlab.plots.text import gradient_by_lag
from jaxlab.runs.run_folder import RunFolder
from jaxlab.runs.run_options import RunOptions
from jaxlab.train.comparison import Trained, train_all
from jaxlab.train.engine import make_engine
from jaxlab.train.evaluate import make_collector, token_means
from jaxlab.train.launch import launch
from jaxlab.train.loop import fit
from jaxlab.train.optim import Schedule, adamw, make_schedule
from jaxlab.train.state import TrainState, eval_params, init_state
from jaxlab.train.step import Context, LossResult, make_train_step

MODELS: tuple[LanguageModelName, ...] = get_args(LanguageModelName)
SAMPLE = 500  # tokens to generate
DRAW = ("temperature", "top_p")  # may change when a run is resumed


@dataclasses.dataclass(frozen=True)
class Config:
    data: str = "tinyshakespeare"  # python, or a .txt file
    seed: Seed = 0
    steps: Count = 1000  # updates
    batch_size: Count = 32  # windows an update, over all devices
    length: Count = 128  # tokens of a window
    model: LanguageModelName | Literal["all"] = "transformer"
    num_parameters: Count = 800_000  # about; the width follows from it
    depth: Count = 4  # layers of the transformer
    rnn_depth: Count = 2  # layers of the others
    num_heads: Count = 4
    num_kv_heads: Natural = 0  # of keys and values; 0: as many
    positions: Positions = "rotary"
    norm: Norm = "layer"
    act: Activation | GatedActivation = "gelu"
    vocabulary: VocabularyKind = "char"
    vocab_size: Natural = 0  # tokens at most; 0: all
    normalization: Normalization = "NFC"  # of the text; none: as it is written
    dropout_rate: Rate = 0.1
    schedule: Schedule = "cosine"
    learning_rate: NotNegative = 3e-3  # peak, after warm-up
    warmup_rate: Rate = 0.05  # share of the steps
    weight_decay: NotNegative = 0.1
    precision: Precision = "float32"  # of the computation
    temperature: NotNegative = 0.8  # of the generated text
    top_p: PositiveShare = 0.95  # least share of probability to draw from
    eval_every: Natural = 250  # updates
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
        metrics, facts, fitted = train(config, run)
        return run.finish(metrics, fitted.facts | facts)


def train(config: Config, run: RunFolder) -> Trained:
    """Train, evaluate, generate and draw."""
    options = config.run
    engine = make_engine(options.mesh, options.engine, batch_size=config.batch_size)
    kind = config.vocabulary, config.vocab_size, config.normalization
    data = encode_text(find_text(config.data, options.data_dir), config.length, *kind)
    recorded = make_network(config, len(data.vocabulary))
    contents = fingerprint_sources(data.train, data.valid, data.test)
    run.write_network(recorded, vocabulary=data.vocabulary, data=contents)
    model = from_linen(recorded.network)
    warmup, peak = int(config.warmup_rate * config.steps), config.learning_rate
    schedule = make_schedule(config.schedule, peak, config.steps, warmup)
    optimizer = adamw(
        schedule, weight_decay=config.weight_decay, b2=0.99, clip_norm=1.0
    )

    def loss_fn(
        params: Params, model_state: ModelState, batch: Batch, context: Context
    ) -> LossResult:
        inputs, labels = batch["tokens"][:, :-1], batch["tokens"][:, 1:]
        logits, _ = model.apply(
            params, model_state, inputs, key=context.key, train=True
        )
        return token_cross_entropy(logits, labels).mean(), (model_state, {})

    def per_window(state: TrainState, batch: Batch) -> dict[str, Array]:
        inputs, labels = batch["tokens"][:, :-1], batch["tokens"][:, 1:]
        logits, _ = model.apply(eval_params(state), {}, inputs)
        return token_sums(logits, labels, batch["weights"])

    prompt = data.test.tokens[None, : max(config.length // 2, 1)]
    write = jax.jit(
        functools.partial(
            generate_by_windows,
            recorded.network,
            windows=-(-SAMPLE // prompt.size),
            key=jax.random.key(config.seed),
            temperature=config.temperature,
            top_p=config.top_p,
            forbidden=(PAD, BOS, EOS, UNK),
        )
    )
    key, example = jax.random.key(config.seed), np.zeros((1, 2), np.int32)
    state = init_state(model, optimizer, key, engine.mesh, example, rules=TENSOR_RULES)
    jax.eval_shape(write, state.params, prompt)  # wrong values are told before training
    size, width = num_elements(state.params), recorded.network.width
    run.say(f"{config.model} of {size:,} parameters, width {width}, on {data}")
    valid, test = (
        make_collector(per_window, windows, engine.mesh, batch_size=64)
        for windows in (data.valid, data.test)
    )
    order = Order(len(data.train), config.batch_size, config.seed)
    fitted = fit(
        engine.compile(make_train_step(loss_fn, optimizer, schedule), state),
        state,
        # Windows overlap: never all of them at once.
        training_batches(data.train, order, engine.mesh, options.stream_workers or 0),
        steps=config.steps,
        batch_size=config.batch_size,
        run=run,
        evaluate=lambda state: token_means(valid(state), "loss"),
        eval_every=config.eval_every,
        best="-loss",
        held_out="valid",
    )
    bits = data.bits_per_character(token_means(test(fitted.chosen), "loss")["loss"])
    params = eval_params(fitted.chosen)
    written = data.vocabulary.decode(np.hstack([prompt, write(params, prompt)]))[0]
    run.write_text("sample.txt", written)
    run.say("\n".join(["sample", *written.splitlines()[:12]]))
    windows = data.test.rows(np.arange(min(8, len(data.test))))["tokens"]
    measure = jax.jit(functools.partial(gradients_of_tokens, recorded.network))
    norms = np.asarray(measure(params, windows))
    sizes = {"parameters": size, "width": width, "sets": data.sizes}
    facts = {**sizes, "lags": norms.tolist()}
    run.write_summary({"bits_per_character": bits}, fitted.facts | facts)
    gradient_by_lag(run.path, {config.model: norms})
    return Trained({"bits_per_character": bits}, facts, fitted)


def compare(config: Config) -> dict[str, float]:
    """Train all models, each in a folder of its own, and lay them side by side."""
    configs = {str(name): dataclasses.replace(config, model=name) for name in MODELS}
    for part in configs.values():  # what cannot be built is told before training
        make_network(part, 99)
    with RunFolder("lm_shakespeare", config, free=DRAW) as run:
        rows = train_all(run, configs, train, "valid/loss")
        sets = [row.pop("sets") for row in rows]  # all the same
        gradient_by_lag(run.path, {r["name"]: np.array(r.pop("lags")) for r in rows})
        run.say("\n".join(table_lines(rows)))
        metrics = {row["name"]: row["bits_per_character"] for row in rows}
        return run.finish(metrics, {"models": rows, "sets": sets[0]})


def make_network(config: Config, vocab_size: int) -> Recorded[TransformerLM | RNNLM]:
    """Make the network, as wide as its number of parameters allows."""
    assert config.model != "all"
    return record(
        make_language_model,
        config.model,
        vocab_size,
        num_parameters=config.num_parameters,
        depth=config.depth if config.model == "transformer" else config.rnn_depth,
        max_len=config.length,
        num_heads=config.num_heads,
        num_kv_heads=config.num_kv_heads,
        positions=config.positions,
        norm=config.norm,
        act=config.act,
        dropout_rate=config.dropout_rate,
        dtype=compute_dtype(config.precision),
    )


if __name__ == "__main__":
    launch(main, Config(), smoke=SMOKE, description=__doc__)
