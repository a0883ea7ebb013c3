"""PatchGAN's weights, and the network itself, `jaxlab.models.codes.patch_gan`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.core.errors import InputError
from jaxlab.core.model import from_linen
from jaxlab.interop.images.patch_gan import load_taming_critic, to_taming_critic
from jaxlab.models.codes.patch_gan import PatchGAN
from tests.closeness import relative_error

torch = pytest.importorskip("torch")
from tests.models.codes.codes_in_torch import NLayerDiscriminator  # noqa: E402

pytestmark = pytest.mark.peer

# Relative to the largest value: float32 sums of hundreds of products, in another order.
ORDER_OF_SUMS = 1e-5


@pytest.fixture
def images(rng):
    return rng.uniform(-1, 1, (4, 20, 16, 3)).astype(np.float32)


def in_torch(**fields):
    """Make a critic with every parameter and statistic random."""
    torch.manual_seed(0)
    critic = NLayerDiscriminator(width=6, num_layers=2, **fields)
    for part in critic.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.weight.data.uniform_(0.5, 1.5)
            part.bias.data.normal_()
            part.running_mean.normal_()
            part.running_var.uniform_(0.5, 2)
    return critic


@pytest.mark.parametrize("train", [False, True])
def test_scores_and_statistics_are_those_of_torch(images, train):
    theirs = in_torch().train(train)
    critic, params, state = load_taming_critic(theirs.state_dict())
    assert (critic.width, critic.num_layers, critic.norm) == (6, 2, "batch")
    apply = jax.jit(from_linen(critic).apply, static_argnames="train")
    scores, updated = apply(params, state, jnp.asarray(images), train=train)
    expected = theirs(torch.tensor(images.transpose(0, 3, 1, 2)))[:, 0]
    assert relative_error(scores, expected) < ORDER_OF_SUMS
    weights, moved = to_taming_critic(critic, params, updated), theirs.state_dict()
    counts = {key for key in moved if key.endswith("num_batches_tracked")}
    assert weights.keys() == moved.keys() - counts
    for key, weight in weights.items():
        assert relative_error(weight, moved[key]) < ORDER_OF_SUMS, key


@pytest.mark.parametrize("norm", ["layer", "none"])
def test_scores_without_statistics_of_a_batch_are_those_of_torch(images, norm):
    theirs = in_torch(norm=norm)
    critic = PatchGAN(width=6, num_layers=2, norm=norm)
    shapes = jax.eval_shape(critic.init, jax.random.key(0), jnp.asarray(images))
    assert shapes.keys() == {"params"}
    arrays = iter([p.detach().numpy() for p in theirs.parameters()])
    params = {}
    for layer in ("conv_0", "conv_1", "norm_1", "conv_2", "norm_2", "score"):
        if layer in shapes["params"]:
            first, bias = next(arrays), next(arrays)
            is_conv = first.ndim == 4
            params[layer] = (
                {"kernel": first.transpose(2, 3, 1, 0), "bias": bias}
                if is_conv
                else {"layer": {"scale": first, "bias": bias}}
            )
    assert jax.tree.map(np.shape, params) == jax.tree.map(np.shape, shapes["params"])
    scores = jax.jit(critic.apply)({"params": params}, jnp.asarray(images))
    expected = theirs(torch.tensor(images.transpose(0, 3, 1, 2)))[:, 0]
    assert relative_error(scores, expected) < ORDER_OF_SUMS


def test_a_critic_is_found_in_a_whole_checkpoint(tmp_path, same):
    weights = in_torch().state_dict()
    whole = {f"loss.discriminator.{key}": weight for key, weight in weights.items()}
    whole["encoder.conv_in.bias"] = torch.zeros(3)
    torch.save(whole, tmp_path / "vqgan.pth")
    assert same(
        load_taming_critic(tmp_path / "vqgan.pth")[1:], load_taming_critic(weights)[1:]
    )


def test_what_is_no_such_critic_is_refused(images):
    weights = in_torch().state_dict()
    rest = {key: w for key, w in weights.items() if key != "main.6.running_var"}
    with pytest.raises(InputError, match=r"missing: main\.6\.running_var"):
        load_taming_critic(rest)
    with pytest.raises(InputError, match=r"not known: main\.9\.bias"):
        load_taming_critic({**weights, "main.9.bias": np.zeros(1)})
    with pytest.raises(InputError, match="no critic with batch normalisation"):
        load_taming_critic(in_torch(norm="layer").state_dict())
    with pytest.raises(InputError, match="norm='layer' and spectral=False"):
        to_taming_critic(PatchGAN(norm="layer"), {}, {})
