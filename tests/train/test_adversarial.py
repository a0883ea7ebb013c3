"""Two players in one update: against torch, over meshes, and who may change what."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from jaxlab.core.errors import InputError
from jaxlab.core.mesh import make_mesh
from jaxlab.core.model import from_linen
from jaxlab.losses.adversarial import wasserstein_critic, wasserstein_generator
from jaxlab.losses.lipschitz import clip_weights, critic_of_rows
from jaxlab.train.adversarial import (
    AdversarialState,
    Optimizers,
    Player,
    generator_params_to_evaluate,
    init_adversarial_state,
    make_adversarial_step,
    make_optimizers,
)
from jaxlab.train.adversarial_recipes import RECIPES
from jaxlab.train.engine import Engine, compile_step, pmap_step
from jaxlab.train.step import Context, whole_batch

BATCH, LATENT, WIDTH = 8, 2, 16
# Two orders of the same float32 sums, and Adam's division by small second moments.
TORCH = 1e-5
SUMS = 2e-6


class Generator(nn.Module):
    normalize: bool = False

    @nn.compact
    def __call__(self, z, *, train):
        x = nn.Dense(WIDTH)(z)
        if self.normalize:
            x = nn.BatchNorm(use_running_average=not train)(x)
        return nn.Dense(2)(nn.tanh(x))


class Critic(nn.Module):
    """Counts its training calls in its state, where it keeps one."""

    counts: bool = False

    @nn.compact
    def __call__(self, x, *, train):
        if self.counts:
            calls = self.variable("count", "calls", lambda: jnp.zeros(()))
            calls.value += 1.0 * train
        x = nn.tanh(nn.Dense(WIDTH)(x))
        return nn.Dense(1)(x)[:, 0]


ADAM = Optimizers(optax.adam(1e-2, 0.5, 0.9), optax.adam(1e-2))


@dataclasses.dataclass
class Game:
    """WGAN-GP of two small networks; noise from the key, or given in the batch."""

    normalize: bool = False
    counts: bool = False
    optimizers: Optimizers = ADAM

    def __post_init__(self):
        self.generator = from_linen(Generator(self.normalize))
        self.critic = from_linen(Critic(self.counts))

    def critic_loss(self, params, model_state, generator, batch, context):
        noise_key, place_key = jax.random.split(context.key)
        x = batch["x"]
        z = jax.random.normal(noise_key, (len(x), LATENT)) if "z" not in batch else 0
        z = batch.get("z", z)
        fake, _ = self.generator.apply(
            generator.params, generator.model_state, z, train=True
        )
        both, model_state = self.critic.apply(
            params, model_state, jnp.concatenate([x, fake]), train=True
        )
        loss = wasserstein_critic(both[: len(x)], both[len(x) :])
        rows = critic_of_rows(self.critic, params, {})
        if "epsilon" in batch:
            epsilon = batch["epsilon"]
            place = epsilon * x + (1 - epsilon) * fake
            slopes = jnp.linalg.norm(jax.grad(lambda x: rows(x).sum())(place), axis=1)
            penalty = 10 * jnp.square(slopes - 1).mean()
        elif self.counts:
            penalty = 0.0
        else:
            penalty = RECIPES["wgan-gp"].penalize(rows, x, fake, place_key)
        return loss + penalty, (model_state, {"gap": -loss})

    def generator_loss(self, params, model_state, critic, batch, context):
        shape = (len(batch["x"]), LATENT)
        z = batch["z"] if "z" in batch else jax.random.normal(context.key, shape)
        fake, model_state = self.generator.apply(params, model_state, z, train=True)
        scores, _ = self.critic.apply(
            critic.params, critic.model_state, fake, train=True
        )
        return wasserstein_generator(scores), (model_state, {"spread": fake.std()})

    def state(self, mesh="data=1", seed=0, **options):
        z, x = np.zeros((1, LATENT), np.float32), np.zeros((1, 2), np.float32)
        return init_adversarial_state(
            *(self.generator, self.critic, self.optimizers, jax.random.key(seed)),
            *(make_mesh(mesh), z, x),
            **options,
        )

    def step(self, **options):
        return make_adversarial_step(
            *(self.critic_loss, self.generator_loss, self.optimizers),
            batch_size=BATCH,
            **options,
        )


def batch_of(step, k, **more):
    rng = np.random.default_rng(step)
    shapes = {"x": (2,), **more}
    return {
        name: rng.uniform(size=(BATCH * k, *shape)).astype(np.float32)
        for name, shape in shapes.items()
    }


def close(a, b, tolerance):
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, tolerance, tolerance), a, b
    )


def torch_players(state):
    """The two networks of a state in torch, and their parameters as in JAX."""
    torch = pytest.importorskip("torch")
    nets = {}
    for name, player in (("critic", state.critic), ("generator", state.generator)):
        layers = []
        for layer in ("Dense_0", "Dense_1"):
            weights = player.params[layer]
            rows, columns = weights["kernel"].shape
            linear = torch.nn.Linear(rows, columns)
            with torch.no_grad():
                linear.weight.copy_(torch.tensor(np.array(weights["kernel"].T)))
                linear.bias.copy_(torch.tensor(np.array(weights["bias"])))
            layers += [linear, torch.nn.Tanh()]
        nets[name] = torch.nn.Sequential(*layers[:-1])
    return nets["critic"], nets["generator"]


def as_params(net):
    return {
        f"Dense_{i}": {
            "kernel": net[2 * i].weight.detach().numpy().T,
            "bias": net[2 * i].bias.detach().numpy(),
        }
        for i in range(2)
    }


@pytest.mark.peer
@pytest.mark.slow
def test_updates_of_wgan_gp_equal_a_loop_of_torch():
    torch = pytest.importorskip("torch")
    k, game = 3, Game()
    recipe = dataclasses.replace(RECIPES["wgan-gp"], b1=0.5)
    game.optimizers = make_optimizers(recipe)
    rate = optax.constant_schedule(1e-2)
    state, step = game.state(), jax.jit(game.step(schedule=rate))
    critic, generator = torch_players(state)
    critic_adam = torch.optim.Adam(critic.parameters(), 1e-2, (0.5, 0.9))
    generator_adam = torch.optim.Adam(generator.parameters(), 1e-2, (0.5, 0.9))
    for t in range(4):
        batch = batch_of(t, k, z=(LATENT,), epsilon=(1,))
        state, metrics = step(state, batch)
        losses = []
        for i in range(k):  # row r of step i is row r * k + i
            x, z, epsilon = (
                torch.tensor(batch[n][i::k]) for n in ("x", "z", "epsilon")
            )
            fake = generator(z).detach()
            place = (epsilon * x + (1 - epsilon) * fake).requires_grad_()
            (slope,) = torch.autograd.grad(
                critic(place).sum(), place, create_graph=True
            )
            loss = critic(fake).mean() - critic(x).mean()
            loss = loss + 10 * ((slope.norm(dim=1) - 1) ** 2).mean()
            critic_adam.zero_grad()
            loss.backward()
            critic_adam.step()
            losses.append(loss.item())
        generator_adam.zero_grad()
        loss = -critic(generator(z)).mean()
        loss.backward()
        generator_adam.step()
        assert metrics["critic_loss"] == pytest.approx(np.mean(losses), abs=TORCH)
        assert metrics["generator_loss"] == pytest.approx(loss.item(), abs=TORCH)
    close(state.critic.params, as_params(critic), TORCH)
    close(state.generator.params, as_params(generator), TORCH)


FROZEN = optax.sgd(0.0)


@pytest.mark.slow
def test_each_player_leaves_the_other_alone_its_statistics_too(same):
    """A frozen optimiser shows what the other player's move alone changes."""
    moving = optax.sgd(0.1)
    k, batch = 3, batch_of(0, 3)
    game = Game(normalize=True, counts=True, optimizers=Optimizers(moving, FROZEN))
    before = game.state()
    critic_only, _ = jax.jit(game.step())(before, batch)
    assert same(critic_only.generator.params, before.generator.params)
    assert not same(critic_only.critic.params, before.critic.params)
    # The critic ran k + 1 times in training mode, but only its own k steps count.
    assert float(critic_only.critic.model_state["count"]["calls"]) == k
    game.optimizers = Optimizers(FROZEN, moving)
    generator_only, _ = jax.jit(game.step())(before, batch)
    assert same(generator_only.critic.params, before.critic.params)
    assert not same(generator_only.generator.params, before.generator.params)
    # The generator's statistics moved once, by its own batch: not by the critic's k.
    step_key = jax.random.fold_in(jax.random.clone(before.key), 0)
    z = jax.random.normal(jax.random.split(step_key)[1], (BATCH, LATENT))
    start = before.generator
    _, expected = game.generator.apply(start.params, start.model_state, z, train=True)
    close(critic_only.generator.model_state, expected, SUMS)


@pytest.mark.slow
def test_gradients_stop_at_the_other_player():
    game, batch = Game(), jax.tree.map(jnp.asarray, batch_of(0, 1))
    state, key = game.state(), jax.random.key(0)

    def of_generator(generator):
        loss, _ = game.critic_loss(
            state.critic.params,
            {},
            generator,
            batch,
            Context(jax.random.clone(key), state.step),
        )
        return loss

    # The loss itself does depend on the generator ...
    grads = jax.grad(of_generator, allow_int=True)(state.generator)
    assert optax.tree.norm(grads.params) > 0
    # ... but with a generator that does not move, no step of the critic moves it.
    game.optimizers = Optimizers(optax.sgd(1.0), FROZEN)
    new, metrics = jax.jit(game.step())(state, batch)
    key = jax.random.split(jax.random.fold_in(jax.random.clone(state.key), 0))[0]
    expected = jax.grad(
        lambda p: game.critic_loss(
            p,
            {},
            state.generator,
            batch,
            Context(jax.random.fold_in(key, 0), state.step),
        )[0]
    )(state.critic.params)
    moved = jax.tree.map(jnp.subtract, state.critic.params, new.critic.params)
    close(moved, expected, SUMS)
    assert metrics["critic_grad_norm"] == pytest.approx(
        float(optax.tree.norm(expected)), rel=1e-5
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["jit", "pmap"])
def test_the_mesh_does_not_change_the_update(name):
    # By pmap, each device would draw its own noise: it is given.
    more = {"z": (LATENT,), "epsilon": (1,)} if name == "pmap" else {}
    # Not Adam: it would blow up the rounding of gradients that are 0.
    optimizers = Optimizers(optax.sgd(0.01), optax.sgd(0.02))
    game, results = Game(normalize=name == "jit", optimizers=optimizers), []
    for mesh in ("data=1", "data=2", "data=4"):
        state = game.state(mesh, ema=True)
        engine = Engine(make_mesh(mesh), name)
        step = engine.compile(game.step(ema_decay=0.5), state)
        for t, k in enumerate((2, 2)):
            state, metrics = step(state, batch_of(t, k, **more))
        results.append(jax.device_get((state.generator, state.critic.params, metrics)))
        if name == "pmap":
            results[-1] = (results[-1][0].params, *results[-1][1:2])
    for other in results[1:]:
        close(results[0], other, 5 * SUMS)


@pytest.mark.slow
def test_each_number_of_critic_steps_compiles_once(compilations):
    game, mesh = Game(), make_mesh("data=2")
    state = game.state("data=2")
    step = compile_step(game.step(), state, mesh)
    with compilations() as names:
        for t, k in enumerate((2, 5, 2, 5, 2)):
            state, _ = step(state, batch_of(t, k))
    assert sum("train_step" in name for name in names) == 2
    assert int(state.step) == 5


@pytest.mark.slow
def test_weights_are_clipped_before_each_step_and_the_average_follows(same):
    game = Game(optimizers=Optimizers(optax.sgd(0.0), optax.sgd(0.1)))
    state = game.state(ema=True)
    schedule = optax.linear_schedule(1.0, 0.0, 4)
    step = game.step(clip=0.01, schedule=schedule, ema_decay=0.9)
    new, metrics = jax.jit(step)(state, batch_of(0, 2))
    assert same(new.critic.params, clip_weights(state.critic.params, 0.01))
    assert metrics["learning_rate"] == 1.0
    assert metrics.keys() >= {"gap", "spread", "critic_loss", "generator_loss"}
    close(
        new.ema,
        jax.tree.map(lambda a, b: 0.1 * a + 0.9 * b, state.ema, new.generator.params),
        SUMS,
    )
    assert generator_params_to_evaluate(new) is new.ema
    without = dataclasses.replace(new, ema=None)
    assert generator_params_to_evaluate(without) is new.generator.params


def test_the_learning_rate_of_both_goes_by_the_generators_steps(key):
    """Whatever k is: WGAN's code makes 100 critic steps at times."""
    schedule = optax.linear_schedule(0.4, 0.0, 4)

    def fall(params, model_state, other, batch, key):
        return params.sum(), (model_state, {})

    optimizers = Optimizers(optax.sgd(1.0), optax.sgd(1.0))
    step = make_adversarial_step(
        fall, fall, optimizers, batch_size=2, schedule=schedule
    )
    player = Player(jnp.zeros(1), {}, optimizers.critic.init(jnp.zeros(1)))
    state = AdversarialState(jnp.int32(0), key, player, player)
    for k in (5, 2, 3):
        state, metrics = step(state, jnp.zeros((2 * k, 1)))
    rates = np.array([0.4, 0.3, 0.2])
    assert metrics["learning_rate"] == pytest.approx(0.2)
    close(state.generator.params, jnp.float32(-rates.sum())[None], SUMS)
    close(state.critic.params, jnp.float32(-rates @ (5, 2, 3))[None], SUMS)


def test_rmsprop_is_torchs():
    optimizer = make_optimizers(RECIPES["wgan-clip"]).critic
    params, moves = {"a": jnp.ones(2)}, []
    state = optimizer.init(params)
    for _ in range(6):
        updates, state = optimizer.update({"a": jnp.ones(2)}, state, params)
        moves.append(float(updates["a"][0]))
    # Of a constant gradient: 1 / sqrt(1 - decay^n)
    np.testing.assert_allclose(
        moves, -1 / np.sqrt(1 - 0.99 ** np.arange(1, 7)), rtol=1e-5
    )


@pytest.mark.parametrize("decay", [-0.1, 1.0, float("nan")])
def test_an_average_that_would_run_away_is_refused(decay):
    with pytest.raises(InputError, match=f"ema_decay {decay} must lie in"):
        Game().step(ema_decay=decay)


def test_rows_that_make_no_whole_steps_are_refused():
    game = Game()
    with pytest.raises(InputError, match="batch_size 0"):
        make_adversarial_step(
            game.critic_loss, game.generator_loss, game.optimizers, batch_size=0
        )
    batch = {"x": np.zeros((BATCH + 1, 2), np.float32)}
    with pytest.raises(InputError, match=r"9 rows .* batch_size 8"):
        game.step()(game.state(), batch)


def test_a_limit_that_no_number_keeps_is_refused():
    game = Game()
    with pytest.raises(InputError, match=r"limit -0\.1 of clipping must be positive"):
        game.step(clip=-0.1)(game.state(), batch_of(0, 1))


def test_both_losses_know_the_step_and_what_is_frozen():
    game = Game()

    def critic_loss(params, model_state, generator, batch, context):
        loss, (model_state, metrics) = game.critic_loss(
            params, model_state, generator, batch, context
        )
        return loss, (model_state, {"seen": context.frozen + context.step, **metrics})

    @whole_batch
    def generator_loss(params, model_state, critic, batch, context):
        loss, (model_state, metrics) = game.generator_loss(
            params, model_state, critic, batch, context
        )
        return loss, (model_state, {"known": context.frozen * context.step, **metrics})

    step = make_adversarial_step(
        critic_loss, generator_loss, game.optimizers, batch_size=BATCH
    )
    state = game.state("data=2", frozen=np.float32(5))
    with pytest.raises(InputError, match="engine 'pmap' would average"):
        pmap_step(step, make_mesh("data=2"))(state, batch_of(0, 2))
    step = jax.jit(step)
    for t in range(2):
        state, metrics = step(state, batch_of(t, 2))
        assert (metrics["seen"], metrics["known"]) == (5 + t, 5 * t)
    assert state.frozen == 5


def test_a_critic_of_batch_statistics_is_not_cut_into_devices():
    game = Game()
    state = game.state("data=2")
    statistics = {"batch_stats": {"mean": jnp.zeros(2)}}
    critic = dataclasses.replace(state.critic, model_state=statistics)
    state = dataclasses.replace(state, critic=critic)
    with pytest.raises(InputError, match="this critic's are of the whole batch"):
        pmap_step(game.step(), make_mesh("data=2"))(state, batch_of(0, 2))
