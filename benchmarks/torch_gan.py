"""The peers of `benchmarks.gan` in torch: WGAN-GP and the autoencoder of Sonnet."""

import itertools

import numpy as np
import torch
from torch import nn

from benchmarks.harness import Call
from benchmarks.torch_training import training_step


class Critic(nn.Module):
    """`jaxlab.models.gan.conv.CNNCritic` for images of 32 x 32."""

    def __init__(self, width: int) -> None:
        super().__init__()
        channels = [3, width, 2 * width, 4 * width]
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(channels):
            layers += [nn.Conv2d(before, after, 5, 2, 2), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, nn.Flatten())
        self.head = nn.Linear(4 * 4 * 4 * width, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.layers(x))[:, 0]


class Generator(nn.Module):
    """`jaxlab.models.gan.conv.CNNGenerator` for images of 32 x 32."""

    def __init__(self, width: int, latent_dim: int) -> None:
        super().__init__()
        wide = 4 * width

        def up(before: int, after: int) -> nn.ConvTranspose2d:
            return nn.ConvTranspose2d(before, after, 5, 2, 2, output_padding=1)

        self.layers = nn.Sequential(
            *(nn.Linear(latent_dim, 16 * wide), nn.BatchNorm1d(16 * wide), nn.ReLU()),
            nn.Unflatten(1, (wide, 4, 4)),
            *(up(wide, 2 * width), nn.BatchNorm2d(2 * width), nn.ReLU()),
            *(up(2 * width, width), nn.BatchNorm2d(width), nn.ReLU()),
            *(up(width, 3), nn.Tanh()),
        )

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return self.layers(z)


class Residual(nn.Module):
    """Sonnet's residual layer of an autoencoder."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.ReLU(), nn.Conv2d(width, hidden, 3, 1, 1)),
            *(nn.ReLU(), nn.Conv2d(hidden, width, 1)),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.layers(x)


def autoencoder(width: int, hidden: int, embedding: int) -> nn.Module:
    """Give the networks of Sonnet's VQ-VAE, without its codebook."""

    def residuals() -> list[nn.Module]:
        return [Residual(width, hidden), Residual(width, hidden), nn.ReLU()]

    half = width // 2
    return nn.Sequential(
        *(nn.Conv2d(3, half, 4, 2, 1), nn.ReLU()),
        *(nn.Conv2d(half, width, 4, 2, 1), nn.ReLU()),
        nn.Conv2d(width, width, 3, 1, 1),
        *residuals(),
        nn.Conv2d(width, embedding, 1),
        nn.Conv2d(embedding, width, 3, 1, 1),
        *residuals(),
        *(nn.ConvTranspose2d(width, half, 4, 2, 1), nn.ReLU()),
        nn.ConvTranspose2d(half, 3, 4, 2, 1),
    )


def critic_step(width: int, real: np.ndarray, fake: np.ndarray) -> Call:
    """Give a step of Adam on the critic's loss with a gradient penalty."""
    critic = Critic(width)
    x, y = _channels_first(real), _channels_first(fake)

    def loss() -> torch.Tensor:
        epsilon = torch.rand(len(x), 1, 1, 1)
        between = (epsilon * x + (1 - epsilon) * y).requires_grad_()
        scores = critic(between).sum()
        (gradient,) = torch.autograd.grad(scores, between, create_graph=True)
        penalty = (gradient.flatten(1).norm(dim=1) - 1).square().mean()
        scores = critic(torch.cat([x, y]))
        return scores[len(x) :].mean() - scores[: len(x)].mean() + 10 * penalty

    return training_step(_adam(critic), loss)


def generator_step(width: int, z: np.ndarray) -> Call:
    """Give a step of Adam on the generator's loss."""
    critic, generator = (
        Critic(width).requires_grad_(False),
        Generator(width, z.shape[1]),
    )
    latents = torch.from_numpy(z)
    return training_step(_adam(generator), lambda: -critic(generator(latents)).mean())


def autoencoder_step(sizes: tuple[int, int, int], images: np.ndarray) -> Call:
    """Give a step of Adam on the squared error of an autoencoder."""
    network = autoencoder(*sizes)
    x = _channels_first(images)
    return training_step(_adam(network), lambda: (network(x) - x).square().mean())


def _adam(network: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.Adam(network.parameters(), lr=1e-4, betas=(0.5, 0.9), fused=True)


def _channels_first(images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(images.transpose(0, 3, 1, 2).copy())
