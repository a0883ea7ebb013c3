"""Transformer, LSTM or GRU from one sequence to another (Vaswani et al. 2017).

python -m experiments.translate_multi30k                    dates to ISO, minutes
python -m experiments.translate_multi30k --data reverse     letters backwards
python -m experiments.translate_multi30k --data multi30k    German to English
"""

import dataclasses
import functools

import jax
import numpy as np
import tyro

from jaxlab.core.model import from_linen
from jaxlab.core.precision import Precision, compute_dtype
from jaxlab.core.pytree import num_elements
from jaxlab.core.ranges import Count, Natural, NotNegative, Rate, Seed
from jaxlab.core.recorded import record
from jaxlab.core.typing import Array, Batch, ModelState, Params
from jaxlab.data.fingerprint import fingerprint_sources
from jaxlab.data.text.buckets import bucket_batches
from jaxlab.data.text.find import EMBEDDED_PAIRS, find_pairs
from jaxlab.data.text.pairs import encode_pairs
from jaxlab.data.text.vocabulary import PAD, UNK, VocabularyKind
from jaxlab.data.text.words import Normalization
from jaxlab.evals.bucket_collector import make_bucket_collector
from jaxlab.evals.translations import report_translations
from jaxlab.losses.tokens import token_cross_entropy, token_sums, weighted_mean
from jaxlab.models.decode.translation import attention_weights, translate
from jaxlab.models.recurrent.seq2seq import Attention
from jaxlab.models.transformer.encoder_decoder import TENSOR_RULES
from jaxlab.models.translators import TranslatorName, make_translator
from jaxlab.runs.run_folder import RunFolder
from jaxlab.runs.run_options import RunOptions
from jaxlab.train.engine import make_engine
from jaxlab.train.evaluate import token_means
from jaxlab.train.launch import launch
from jaxlab.train.loop import fit
from jaxlab.train.optim import Schedule, adamw, make_schedule
from jaxlab.train.state import TrainState, eval_params, init_state
from jaxlab.train.step import Context, LossResult, make_train_step, whole_batch


@dataclasses.dataclass(frozen=True)
class Config:
    data: str = "dates"  # copy, reverse, sort, multi30k, a folder of train.SOURCE, ...
    source: str = "de"  # ending of the files to translate from
    target: str = "en"  # and to
    seed: Seed = 0
    steps: Count = 1200  # updates
    batch_size: Count = 64  # pairs an update, on average, over all devices
    model: TranslatorName = "transformer"
    vocabulary: VocabularyKind = "char"  # shared by source and target
    vocab_size: Natural = 0  # tokens at most; 0: all
    lowercase: bool = False  # learn and compare in lower case
    normalization: Normalization = "NFC"  # of all texts; none: as they are written
    batch_multiple: Count = 8  # every batch is a multiple of it, for as many devices
    max_len: Count = 64  # tokens; longer pairs are left out, those to test with cut
    num_buckets: Count = 1  # shapes of batches; more: less padding, more compiling
    width: Count = 128
    depth: Count = 2  # layers of the encoder, and of the decoder
    num_heads: Count = 4
    hidden_dim: Count = 256  # width inside the MLPs
    norm_first: bool = True  # False: as in the paper
    attention: Attention = "luong"  # of lstm and gru
    dropout_rate: Rate = 0.0
    schedule: Schedule = "cosine"  # noam: as in the paper, with the root of the step
    learning_rate: NotNegative = 2e-3  # peak, after warm-up
    warmup_rate: Rate = 0.1  # share of the steps
    label_smoothing: Rate = 0.0
    ema_decay: Rate = 0.99  # average of the parameters to evaluate with; 0: off
    precision: Precision = "float32"  # of the computation
    beams: Count = 4  # hypotheses of the search; 1: greedy
    length_penalty: NotNegative = 0.6
    eval_every: Natural = 300  # updates
    run: tyro.conf.OmitArgPrefixes[RunOptions] = RunOptions()


MULTI30K = Config(
    data="multi30k",
    steps=2800,
    batch_size=128,
    vocabulary="bpe",
    vocab_size=8000,
    lowercase=True,
    num_buckets=4,
    width=256,
    depth=3,
    num_heads=8,
    hidden_dim=512,
    dropout_rate=0.2,
    label_smoothing=0.1,
    learning_rate=1.5e-3,
    ema_decay=0.995,
    eval_every=400,
)
SMOKE = Config(
    data="copy",
    steps=6,
    batch_size=16,
    max_len=18,
    width=16,
    depth=1,
    hidden_dim=16,
    eval_every=3,
)
SHOWN = ("loss", "token_accuracy")  # of the validation set
SEARCH = ("beams", "length_penalty")  # may change when a run is resumed


def main(config: Config) -> dict[str, float]:
    """Train, translate the test set, draw, and return the final metrics."""
    multiple = config.batch_multiple
    engine = make_engine(config.run.mesh, config.run.engine, batch_size=multiple)
    place, seed = config.run.data_dir, config.seed
    pairs = find_pairs(
        config.data, place, source=config.source, target=config.target, seed=seed
    )
    data = encode_pairs(
        pairs,
        config.vocabulary,
        config.vocab_size,
        lowercase=config.lowercase,
        normalization=config.normalization,
        max_len=config.max_len,
        batch_size=config.batch_size,
        num_buckets=config.num_buckets,
        multiple=multiple,
    )
    recorded = record(
        make_translator,
        config.model,
        len(data.vocabulary),
        width=config.width,
        depth=config.depth,
        num_heads=config.num_heads,
        hidden_dim=config.hidden_dim,
        norm_first=config.norm_first,
        attention=config.attention,
        dropout_rate=config.dropout_rate,
        pad=PAD,
        dtype=compute_dtype(config.precision),
    )
    model = from_linen(recorded.network)
    warmup, peak = int(config.warmup_rate * config.steps), config.learning_rate
    schedule = make_schedule(config.schedule, peak, config.steps, warmup)
    optimizer = adamw(schedule, b2=0.98, eps=1e-9, clip_norm=1.0)

    @whole_batch  # a mean over tokens, of which rows have different numbers
    def loss_fn(
        params: Params, model_state: ModelState, batch: Batch, context: Context
    ) -> LossResult:
        inputs, labels = batch["target"][:, :-1], batch["target"][:, 1:]
        logits, _ = model.apply(
            params, model_state, batch["source"], inputs, key=context.key, train=True
        )
        losses = token_cross_entropy(logits, labels, config.label_smoothing)
        return weighted_mean(losses, labels != PAD), (model_state, {})

    def per_pair(state: TrainState, batch: Batch) -> dict[str, Array]:
        inputs, labels = batch["target"][:, :-1], batch["target"][:, 1:]
        logits, _ = model.apply(eval_params(state), {}, batch["source"], inputs)
        return token_sums(logits, labels, labels != PAD)

    def search(state: TrainState, batch: Batch) -> dict[str, Array]:
        found = translate(
            recorded.network,
            eval_params(state),
            batch["source"],
            max_new=config.max_len,
            beams=config.beams,
            length_penalty=config.length_penalty,
            forbidden=(UNK,),
        )
        return {"tokens": found.best().tokens}

    key, ema = jax.random.key(config.seed), config.ema_decay > 0
    source, target = data.valid.rows(np.array([0])).values()
    state = init_state(
        model, optimizer, key, engine.mesh, source, target, rules=TENSOR_RULES, ema=ema
    )
    step = make_train_step(loss_fn, optimizer, schedule, ema_decay=config.ema_decay)
    jax.eval_shape(search, state, {"source": source})  # wrong values are told at once
    collect = make_bucket_collector(per_pair, data.valid, engine.mesh)
    decode = make_bucket_collector(search, data.test, engine.mesh)
    with RunFolder("translate_multi30k", config, free=SEARCH) as run:
        run.write_network(
            recorded,
            preprocessing={"lowercase": config.lowercase, "max_len": config.max_len},
            vocabulary=data.vocabulary,
            data=fingerprint_sources(data.train, data.valid, data.test),
        )
        run.say(f"{config.model}, {num_elements(state.params):,} parameters, on {data}")
        fitted = fit(
            engine.compile(step, state),
            state,
            bucket_batches(data.train, config.seed, engine.mesh),
            steps=config.steps,
            batch_size=config.batch_size,
            run=run,
            evaluate=lambda state: token_means(collect(state), *SHOWN),
            eval_every=config.eval_every,
            best="-loss",
            held_out="valid",
        )
        tokens, params = decode(fitted.chosen)["tokens"], eval_params(fitted.chosen)
        look = functools.partial(attention_weights, recorded.network, params)
        facts = fitted.facts | {"sets": data.sizes}
        report = report_translations(run, data, tokens, look, facts, config.lowercase)
        return run.finish(report.scores, report.facts)


if __name__ == "__main__":
    launch(
        main,
        Config(),
        smoke=SMOKE,
        recipes={"dates": Config(), "multi30k": MULTI30K},
        by_data={**dict.fromkeys(EMBEDDED_PAIRS, "dates"), "*": "multi30k"},
        description=__doc__,
    )
