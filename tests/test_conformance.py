"""What every model must do, tested on one table of models."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxlab.core.mesh import make_mesh, replicate
from jaxlab.core.model import from_linen
from jaxlab.core.pytree import flat_paths
from jaxlab.models.codes.make_prior import make_code_gpt, make_maskgit
from jaxlab.models.codes.patch_gan import PatchGAN
from jaxlab.models.codes.vqgan import VQGAN, VQGANSizes
from jaxlab.models.codes.vqvae import VQVAE
from jaxlab.models.gan.make import make_gan
from jaxlab.models.recurrent.language import RNNLM, RNNClassifier
from jaxlab.models.recurrent.seq2seq import Seq2SeqRNN
from jaxlab.models.transformer.decoder import TransformerLM
from jaxlab.models.transformer.encoder import TransformerEncoder
from jaxlab.models.transformer.encoder_decoder import Transformer
from jaxlab.models.vision.feature_classifier import FeatureClassifier
from jaxlab.models.vision.vit import ViT
from jaxlab.nn.quantizers.vq import VectorQuantizer
from jaxlab.train.engine import compile_step
from jaxlab.train.state import TrainState
from jaxlab.train.step import make_train_step
from tests.closeness import relative_error

EXAMPLES, VOCABULARY = 8, 13


def images(*shape):
    """Give what draws images of that shape."""
    return lambda rng: jnp.asarray(rng.normal(size=(EXAMPLES, *shape)), jnp.float32)


def tokens(length):
    """Give what draws sequences of that length, without padding."""
    shape = (EXAMPLES, length)
    return lambda rng: jnp.asarray(rng.integers(1, VOCABULARY, shape), jnp.int32)


def latents(size):
    """Give what draws latent rows."""
    return lambda rng: jnp.asarray(rng.normal(size=(EXAMPLES, size)), jnp.float32)


def labels(rng):
    """Draw a class for each example."""
    return jnp.asarray(rng.integers(0, 3, EXAMPLES), jnp.int32)


def masks(rng):
    """Draw which of six codes are masked."""
    return jnp.asarray(rng.random((EXAMPLES, 6)) < 0.5)


class Penalised:
    """An autoencoder of codes, whose outputs depend on its codebook too."""

    def __call__(self, images, *, train=False):
        outputs, quantized = super().__call__(images, train=train)
        return outputs + quantized.loss


class PenalisedVQVAE(Penalised, VQVAE):
    pass


class PenalisedVQGAN(Penalised, VQGAN):
    pass


# One code: of two, another may be nearer in bfloat16.
CODES = VectorQuantizer(num_codes=1, dim=4)
LEVELS = VQGANSizes((8, 16), 1, (), latent_dim=6, code_dim=4, num_groups=4)

VIT = ViT(num_classes=3, patch_size=4, width=16, depth=2, num_heads=2)
SIZES = {"vocab_size": VOCABULARY, "width": 16, "num_heads": 2, "hidden_dim": 24}
TRANSFORMER = Transformer(**SIZES, encoder_depth=1, decoder_depth=1)
LM = TransformerLM(**SIZES, depth=1, max_len=6)
LLAMA = {"positions": "rotary", "norm": "rms", "act": "swiglu", "num_kv_heads": 1}
CLASSIFIER = FeatureClassifier(num_classes=3, num_features=32, depth=1)
BERT = TransformerEncoder(**SIZES, depth=1, max_len=6, pool="mean", num_classes=3)
PRIOR = {"length": 6, "width": 16, "depth": 1, "num_heads": 2}
CODE_GPT = make_code_gpt(VOCABULARY - 4, 3, **PRIOR)
MASKGIT = make_maskgit(VOCABULARY, 3, **PRIOR)

SMALL = {"width": 8, "latent_dim": 5}
MLP = make_gan("mlp", (8, 8, 3), **SMALL)
MAXOUT = make_gan("maxout", (8, 8, 3), **SMALL, critic_width=4)
POINT = make_gan("point", (2,), **SMALL)
DCGAN = make_gan("dcgan", (16, 16, 3), **SMALL)
CNN = make_gan("cnn", (16, 16, 3), **SMALL)
SNGAN_CNN = make_gan("sngan_cnn", (8, 8, 3), **SMALL)
RESNET = make_gan("resnet", (16, 16, 3), **SMALL)
SNGAN = make_gan("sngan", (8, 8, 3), **SMALL, conditional="projection", num_classes=3)

VQ_VAE = PenalisedVQVAE(quantizer=CODES, width=8, block_width=4, code_dim=4)
VQ_GAN = PenalisedVQGAN(quantizer=CODES, sizes=LEVELS)
PATCHES = PatchGAN(width=4, num_layers=1)

IMAGES, LARGER = images(8, 8, 3), images(16, 16, 3)

# Name: the Linen module, and what draws each of its inputs.
MODELS = {
    "vit": (VIT, IMAGES),
    "vit_scan": (VIT.clone(scan=True, remat=True, drop_path_rate=0.1), IMAGES),
    "vit_map": (VIT.clone(pool="map", pos_embed="learned2d", stem="conv"), IMAGES),
    "feature_classifier": (CLASSIFIER, IMAGES),
    "mlp_generator": (MLP.generator, latents(5)),
    "mlp_critic": (MLP.critic, IMAGES),
    "maxout_generator": (MAXOUT.generator, latents(5)),
    "maxout_critic": (MAXOUT.critic, IMAGES),
    "point_generator": (POINT.generator, latents(5)),
    "point_critic": (POINT.critic, latents(2)),
    "dcgan_generator": (DCGAN.generator, latents(5)),
    "dcgan_critic": (DCGAN.critic, LARGER),
    "cnn_generator": (CNN.generator, latents(5)),
    "cnn_critic": (CNN.critic, LARGER),
    "sngan_cnn_generator": (SNGAN_CNN.generator, latents(5)),
    "sngan_cnn_critic": (SNGAN_CNN.critic, IMAGES),
    "resnet_generator": (RESNET.generator, latents(5)),
    "resnet_critic": (RESNET.critic, LARGER),
    "sngan_generator": (SNGAN.generator, latents(5), labels),
    "sngan_critic": (SNGAN.critic, IMAGES, labels),
    "vqvae": (VQ_VAE, IMAGES),
    "vqgan": (VQ_GAN, IMAGES),
    "patch_gan": (PATCHES, IMAGES),
    "transformer": (TRANSFORMER, tokens(6), tokens(5)),
    "transformer_lm": (LM, tokens(6)),
    "transformer_lm_scan": (LM.clone(**LLAMA, depth=2, scan=True), tokens(6)),
    "transformer_encoder": (BERT, tokens(6)),
    "code_gpt": (CODE_GPT, tokens(6)),
    "maskgit": (MASKGIT, tokens(6), masks, labels),
    "rnn_lm": (RNNLM(VOCABULARY, width=16), tokens(6)),
    "rnn_classifier": (RNNClassifier(VOCABULARY, 3, width=16, cell="gru"), tokens(6)),
    "seq2seq_rnn": (Seq2SeqRNN(VOCABULARY, width=16), tokens(6), tokens(5)),
}
# One of each family, and what has no twin in another library.
EAGER = (
    "vit_map",
    "feature_classifier",
    "transformer_encoder",
    "rnn_classifier",
    "seq2seq_rnn",
    "maxout_critic",
    "dcgan_generator",
)
# No gradient but rounding: a softmax does not change when all its scores move alike,
# nor a batch normalisation when a channel does.
NO_GRADIENT = re.compile(
    r"key/bias$|^CNNGenerator/(input|up_\d)/bias$"
    # The first norm of SNGAN's is over pixels too: they differ in this bias.
    r"|SNGANCNNGenerator/up_\d/bias$"
    r"|ResNetGenerator/block_\d/(conv_\d|shortcut)/bias$"
)

# Relative to the largest value. Float32 programs of other fusion sum in another order.
ORDER_OF_SUMS = 1e-5
# The same for gradients, whose sums cancel.
UPDATE = 1e-3
# bfloat16 keeps 8 bits, so one rounding is 0.4 %; tens of them add up.
BFLOAT16 = 0.1
RATE = 0.1  # of the update


@pytest.fixture
def case(request, rng):
    """Give a module, inputs, parameters that are all random, and its first state."""
    module, *draws = MODELS[request.param]
    inputs = [draw(rng) for draw in draws]
    init = from_linen(module).init
    params, state = jax.eval_shape(init, jax.random.key(0), *inputs)
    if state:
        state = jax.jit(lambda key: init(key, *inputs)[1])(jax.random.key(0))

    def draw_leaf(path, leaf):
        mean = path[-1].key == "scale"  # near 0 it would stop the gradients
        return jnp.asarray(mean + 0.2 * rng.normal(size=leaf.shape), leaf.dtype)

    params = jax.tree_util.tree_map_with_path(draw_leaf, params)
    return module, inputs, params, state


@pytest.mark.slow  # eager, each operation is compiled by itself
@pytest.mark.parametrize("case", EAGER, indirect=True)
def test_init_and_apply_under_jit_equal_eager(case, key):
    module, inputs, params, state = case
    model = from_linen(module)
    eager, _ = model.init(key, *inputs)
    jitted, _ = jax.jit(model.init)(jax.random.clone(key), *inputs)
    assert jax.tree.structure(eager) == jax.tree.structure(params)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), eager, jitted
    )
    expected, _ = model.apply(params, state, *inputs)
    got, _ = jax.jit(model.apply)(params, state, *inputs)
    assert relative_error(got, expected) < ORDER_OF_SUMS


@pytest.mark.slow
@pytest.mark.parametrize("case", MODELS, indirect=True)
def test_bfloat16_gives_float32_close_to_float32(case):
    module, inputs, params, state = case

    @jax.jit
    def both(params):
        return [
            from_linen(module.clone(dtype=dtype)).apply(params, state, *inputs)[0]
            for dtype in (jnp.float32, jnp.bfloat16)
        ]

    expected, got = both(params)
    assert got.dtype == jnp.float32
    assert relative_error(got, expected) < BFLOAT16


@pytest.fixture
def compiled_names():
    """Collect the names of the functions that are compiled during a test."""
    names = []

    def listen(event, duration, **details):
        if event == "/jax/core/compile/backend_compile_duration":
            names.append(details["fun_name"])

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield names
    jax.monitoring.unregister_event_duration_listener(listen)


@pytest.mark.slow
@pytest.mark.parametrize("case", MODELS, indirect=True)
def test_four_devices_make_the_update_of_one_by_finite_gradients_everywhere(
    case, key, compiled_names
):
    module, inputs, params, state = case
    model, optimizer = from_linen(module), optax.sgd(RATE)

    def loss_fn(params, model_state, batch, context):
        outputs, model_state = model.apply(
            params, model_state, *batch, key=context.key, train=True
        )
        return ((outputs - 1.0) ** 2).mean(), (model_state, {})

    batch = tuple(map(np.asarray, inputs))
    step = make_train_step(loss_fn, optimizer)
    results = []
    for devices in (1, 4):
        mesh = make_mesh(f"data={devices}")
        start = TrainState(jnp.int32(0), key, params, state, optimizer.init(params))
        train_state = replicate(start, mesh)
        compiled = compile_step(step, train_state, mesh)
        compiled_names.clear()
        train_state, _ = compiled(train_state, batch)
        assert len(compiled_names) == 1
        first = jax.tree.map(np.asarray, train_state.params)
        train_state, metrics = compiled(train_state, batch)
        assert len(compiled_names) == 1
        last = jax.tree.map(np.asarray, (train_state.params, metrics))
        results.append((first, *last))
    (first, updated, metrics), (_, others, other_metrics) = results
    assert relative_error(other_metrics["loss"], metrics["loss"]) < ORDER_OF_SUMS
    before, firsts, others = map(flat_paths, (params, first, others))
    for path, leaf in flat_paths(updated).items():
        # Relative to the update, not to the parameter that it changes.
        change = np.abs(leaf - before[path]).max()
        error = np.abs(others[path] - leaf).max()
        assert error < 1e-6 + UPDATE * change, path
        gradient = (before[path] - firsts[path]) / RATE
        assert np.isfinite(gradient).all(), path
        if not NO_GRADIENT.search(f"{type(module).__name__}/{path}"):
            # One entry at rest is a dead unit; a whole array is a missing wire.
            assert np.abs(gradient).max() > 1e-6, path
