"""Quantisers beside vector-quantize-pytorch, with its codebook copied."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.nn.quantizers.ema import CosineQuantizer, EMAQuantizer
from jaxlab.nn.quantizers.estimators import rotation_trick
from jaxlab.nn.quantizers.fsq import FSQ
from jaxlab.nn.quantizers.lfq import LFQ
from jaxlab.nn.quantizers.quantized import CODEBOOK
from jaxlab.nn.quantizers.simvq import SimVQ
from tests.closeness import assert_close
from tests.jitted import jitted_apply

pytestmark = pytest.mark.peer

# Float32, sums of some dozen numbers in another order.
ORDER_OF_SUMS = 2e-6
# Of a code that a batch does not use ours stays, while Laplace's count moves theirs.
SMOOTHING = 2e-5

CODES, WIDTH = 12, 5


@pytest.fixture
def torch():
    """Give torch, with the peer imported."""
    pytest.importorskip("vector_quantize_pytorch")
    return pytest.importorskip("torch")


@pytest.fixture
def latents(rng):
    """Give a batch of sequences."""
    return rng.normal(size=(3, 8, WIDTH)).astype(np.float32)


@pytest.mark.parametrize("is_cosine", [False, True])
def test_a_step_of_averages(is_cosine, torch, latents):
    from vector_quantize_pytorch import VectorQuantize

    peer = VectorQuantize(
        WIDTH,
        CODES,
        decay=0.8,
        commitment_weight=0.25,
        use_cosine_sim=is_cosine,
        rotation_trick=False,
    )
    book = peer._codebook
    codes, counts, sums = (
        jnp.asarray(part[0].numpy().copy())
        for part in (book.embed, book.cluster_size, book.embed_avg)
    )
    kind = CosineQuantizer if is_cosine else EMAQuantizer
    further = {"code_dim": WIDTH} if is_cosine else {}
    ours = kind(
        num_codes=CODES,
        dim=WIDTH,
        decay=0.8,
        start="random",
        revive_below=0.0,
        **further,
    )
    state = {"codes": codes, "counts": counts, "sums": sums}
    state |= {"weight": jnp.ones(()), "started": jnp.array(True)}
    variables = {CODEBOOK: state}
    for factor in (1.0, 0.5):
        z = factor * latents
        out, variables = jax.jit(
            lambda v, z: ours.apply(v, z, train=True, mutable=[CODEBOOK])
        )(variables, jnp.asarray(z))
        peer.train()
        theirs, indices, loss = peer(torch.tensor(z, requires_grad=True))
        np.testing.assert_array_equal(out.indices, indices.numpy())
        assert_close(out.codes, theirs, ORDER_OF_SUMS)
        assert_close(out.loss, loss.sum(), ORDER_OF_SUMS)
        new = variables[CODEBOOK]
        assert_close(new["counts"], book.cluster_size[0], ORDER_OF_SUMS)
        assert_close(new["sums"], book.embed_avg[0], ORDER_OF_SUMS)
        used = np.unique(out.indices)
        assert_close(new["codes"][used], book.embed[0][used], ORDER_OF_SUMS)
        assert_close(new["codes"], book.embed[0], SMOOTHING)


def test_the_rotation_trick(torch, rng):
    from vector_quantize_pytorch.vector_quantize_pytorch import rotate_to

    z, codes, factors = rng.normal(size=(3, 20, WIDTH)).astype(np.float32)
    their_z = torch.tensor(z, requires_grad=True)
    theirs = rotate_to(their_z, torch.tensor(codes))
    (theirs * torch.tensor(factors)).sum().backward()

    def weighted(z):
        return (rotation_trick(z, jnp.asarray(codes)) * factors).sum()

    assert_close(rotation_trick(*map(jnp.asarray, (z, codes))), theirs, 5e-6)
    assert_close(jax.jit(jax.grad(weighted))(jnp.asarray(z)), their_z.grad, 5e-6)


@pytest.mark.parametrize("levels", [(8, 5, 5, 5), (3, 4, 7)])
def test_rounded_channels(levels, torch, rng):
    import vector_quantize_pytorch

    z = rng.normal(0, 2, (3, 50, len(levels))).astype(np.float32)
    codes, indices = vector_quantize_pytorch.FSQ(list(levels))(torch.tensor(z))
    out = jitted_apply(FSQ(levels), {}, jnp.asarray(z))
    np.testing.assert_array_equal(out.indices, indices.numpy())
    np.testing.assert_array_equal(out.codes, codes.numpy())


def test_signs_of_channels(torch, rng):
    import vector_quantize_pytorch

    # Few enough codes, and near enough, that no chance is under the peer's 1e-5.
    z = 0.3 * rng.normal(size=(3, 20, 4)).astype(np.float32)
    peer = vector_quantize_pytorch.LFQ(
        dim=4, entropy_loss_weight=0.7, commitment_loss_weight=0.2
    )
    peer.train()
    their_z = torch.tensor(z, requires_grad=True)
    theirs, indices, loss = peer(their_z, inv_temperature=1.0)
    (theirs.sum() + loss).backward()
    ours = LFQ(16, beta=0.2, entropy_weight=0.7, temperature=1.0)

    def total(z):
        out = ours.apply({}, z, train=True)
        return out.codes.sum() + out.loss, out

    slope, out = jax.jit(jax.grad(total, has_aux=True))(jnp.asarray(z))
    np.testing.assert_array_equal(out.indices, indices.numpy())
    assert_close(out.codes, theirs, ORDER_OF_SUMS)
    assert_close(out.loss, loss, 1e-5)
    assert_close(slope, their_z.grad, 1e-5)


@pytest.mark.parametrize("estimator", ["straight_through", "rotation"])
def test_one_layer_over_fixed_codes(estimator, torch, latents):
    from vector_quantize_pytorch import SimVQ as Peer

    peer = Peer(WIDTH, CODES, rotation_trick=estimator == "rotation")
    kernel = jnp.asarray(peer.code_transform.weight.detach().numpy().T.copy())
    fixed = jnp.asarray(peer.frozen_codebook.numpy().copy())
    their_z = torch.tensor(latents, requires_grad=True)
    theirs, indices, loss = peer(their_z)
    (theirs.square().sum() + loss).backward()
    ours = SimVQ(num_codes=CODES, dim=WIDTH, estimator=estimator)

    def total(kernel, z):
        layer = {"kernel": kernel, "bias": jnp.zeros(WIDTH)}
        variables = {"params": {"layer": layer}, CODEBOOK: {"fixed": fixed}}
        out = ours.apply(variables, z)
        return jnp.square(out.codes).sum() + out.loss, out

    run = jax.jit(jax.grad(total, (0, 1), has_aux=True))
    slopes, out = run(kernel, jnp.asarray(latents))
    np.testing.assert_array_equal(out.indices, indices.numpy())
    assert_close(out.codes, theirs, 5e-6)
    assert_close(out.loss, loss, ORDER_OF_SUMS)
    assert_close(slopes[0].T, peer.code_transform.weight.grad, 5e-6)
    assert_close(slopes[1], their_z.grad, 5e-6)
