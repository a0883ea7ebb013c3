"""VQ-VAE and PatchGAN in torch, written from their sources."""

import pytest

torch = pytest.importorskip("torch")
nn, F = torch.nn, torch.nn.functional


def vqvae(channels, width, num_blocks, block_width, code_dim):
    """Sonnet's example, as torch's layers by our paths."""
    half = width // 2

    def blocks():
        return nn.ModuleList(
            nn.ModuleDict(
                {
                    "conv_0": nn.Conv2d(width, block_width, 3, padding=1),
                    "conv_1": nn.Conv2d(block_width, width, 1),
                }
            )
            for _ in range(num_blocks)
        )

    return nn.ModuleDict(
        {
            "down_0": nn.Conv2d(channels, half, 4, 2, padding=1),
            "down_1": nn.Conv2d(half, width, 4, 2, padding=1),
            "encoder_in": nn.Conv2d(width, width, 3, padding=1),
            "encoder_blocks": blocks(),
            "encoder_out": nn.Conv2d(width, code_dim, 1),
            "decoder_in": nn.Conv2d(code_dim, width, 3, padding=1),
            "decoder_blocks": blocks(),
            "up": nn.ConvTranspose2d(width, half, 4, 2, padding=1),
            "last_layer": nn.ConvTranspose2d(half, channels, 4, 2, padding=1),
        }
    )


def residual_stack(blocks, x):
    for block in blocks:
        x = x + block["conv_1"](F.relu(block["conv_0"](F.relu(x))))
    return F.relu(x)


def encode(m, images):
    x = F.relu(m["down_0"](images))
    x = m["encoder_in"](F.relu(m["down_1"](x)))
    return m["encoder_out"](residual_stack(m["encoder_blocks"], x))


def decode(m, codes):
    x = residual_stack(m["decoder_blocks"], m["decoder_in"](codes))
    return m["last_layer"](F.relu(m["up"](x)))


class NLayerDiscriminator(nn.Module):
    """PatchGAN of taming-transformers: taming/modules/discriminator/model.py."""

    def __init__(self, channels=3, width=64, num_layers=3, norm="batch"):
        super().__init__()

        def normed(features):
            if norm == "none":
                return nn.Identity()
            layer = norm == "layer"
            return nn.GroupNorm(1, features) if layer else nn.BatchNorm2d(features)

        layers = [nn.Conv2d(channels, width, 4, 2, 1), nn.LeakyReLU(0.2, True)]
        factor = 1
        for n in range(1, num_layers + 1):
            before, factor = factor, min(2**n, 8)
            stride = 2 if n < num_layers else 1
            has_bias = norm != "batch"
            layers += [
                nn.Conv2d(width * before, width * factor, 4, stride, 1, bias=has_bias),
                normed(width * factor),
                nn.LeakyReLU(0.2, True),
            ]
        layers += [nn.Conv2d(width * factor, 1, 4, 1, 1)]
        self.main = nn.Sequential(*layers)

    def forward(self, images):
        return self.main(images)
