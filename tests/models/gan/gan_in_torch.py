"""The networks of `jaxlab.models.gan.make` in torch, written from their sources.

They follow the authors' code: NCHW, pooling after convolutions, the first and last
layers of DCGAN as convolutions, torch's own batch and spectral norms. Each is given as
its layers, by our names, and what they compute. w is the width, n the number of
doublings from `base`.
"""

import functools

import pytest

torch = pytest.importorskip("torch")
nn, F = torch.nn, torch.nn.functional

CLASSES = 3


def spectral(layer, on):
    return nn.utils.parametrizations.spectral_norm(layer) if on else layer


def conditional_norm(width, classes):
    if not classes:
        return nn.BatchNorm2d(width)
    return nn.ModuleDict(
        {
            "stats": nn.BatchNorm2d(width, affine=False),
            "scale": nn.Embedding(classes, width),
            "bias": nn.Embedding(classes, width),
        }
    )


def normalize(norm, x, y=None):
    if not isinstance(norm, nn.ModuleDict):
        return norm(x)
    scale, bias = (norm[name](y)[:, :, None, None] for name in ("scale", "bias"))
    return norm["stats"](x) * scale + bias


def dcgan_g(w, n, base, channels, latent):
    layers = {
        "input": nn.ConvTranspose2d(latent, w << (n - 1), base, 1, 0, bias=False),
        "norm_0": nn.BatchNorm2d(w << (n - 1)),
        "out": nn.ConvTranspose2d(w, channels, 4, 2, 1, bias=False),
    }
    for i in range(1, n):
        wide = w << (n - i)
        layers[f"up_{i}"] = nn.ConvTranspose2d(wide, wide // 2, 4, 2, 1, bias=False)
        layers[f"norm_{i}"] = nn.BatchNorm2d(wide // 2)

    def forward(m, z, y):
        x = F.relu(m["norm_0"](m["input"](z[:, :, None, None])))
        for i in range(1, n):
            x = F.relu(m[f"norm_{i}"](m[f"up_{i}"](x)))
        return torch.tanh(m["out"](x))

    return layers, forward


def dcgan_d(w, n, base, channels, norm="batch"):
    def make_norm(width):
        if norm == "layer":
            return nn.GroupNorm(1, width)
        return nn.BatchNorm2d(width) if norm == "batch" else nn.Identity()

    layers = {"conv_0": nn.Conv2d(channels, w, 4, 2, 1, bias=False)}
    for i in range(1, n):
        wide = w << i
        layers[f"conv_{i}"] = nn.Conv2d(wide // 2, wide, 4, 2, 1, bias=False)
        layers[f"norm_{i}"] = make_norm(wide)
    score = nn.Conv2d(w << (n - 1), 1, base, 1, 0, bias=False)
    layers["head"] = nn.ModuleDict({"score": score})

    def forward(m, x, y):
        x = F.leaky_relu(m["conv_0"](x), 0.2)
        for i in range(1, n):
            x = F.leaky_relu(m[f"norm_{i}"](m[f"conv_{i}"](x)), 0.2)
        return m["head"]["score"](x)[:, 0, 0, 0]

    return layers, forward


def cnn_g(w, n, base, channels, latent):
    units = base * base * (w << (n - 1))
    layers = {
        "input": nn.Linear(latent, units),
        "norm_0": nn.BatchNorm1d(units),
        "out": nn.ConvTranspose2d(w, channels, 5, 2),
    }
    for i in range(1, n):
        wide = w << (n - i)
        layers[f"up_{i}"] = nn.ConvTranspose2d(wide, wide // 2, 5, 2)
        layers[f"norm_{i}"] = nn.BatchNorm2d(wide // 2)

    def same(x):  # TensorFlow's SAME of a stride of 2: one pixel before, two behind
        return x[:, :, 1:-2, 1:-2]

    def forward(m, z, y):
        x = F.relu(m["norm_0"](m["input"](z)))
        x = x.view(len(z), base, base, -1).permute(0, 3, 1, 2)
        for i in range(1, n):
            x = F.relu(m[f"norm_{i}"](same(m[f"up_{i}"](x))))
        return torch.tanh(same(m["out"](x)))

    return layers, forward


def cnn_d(w, n, base, channels):
    layers = {
        f"conv_{i}": nn.Conv2d((w << i) // 2 if i else channels, w << i, 5, 2)
        for i in range(n)
    }
    layers["head"] = nn.ModuleDict(
        {"score": nn.Linear(base * base * (w << (n - 1)), 1)}
    )

    def forward(m, x, y):
        for i in range(n):
            x = F.leaky_relu(m[f"conv_{i}"](F.pad(x, (1, 2, 1, 2))), 0.2)
        return m["head"]["score"](x.permute(0, 2, 3, 1).flatten(1))[:, 0]

    return layers, forward


def sngan_cnn_g(w, n, base, channels, latent):
    wide = w << n
    layers = {
        "input": nn.Linear(latent, base * base * wide),
        "norm_0": nn.BatchNorm2d(wide),
        "out": nn.Conv2d(w, channels, 3, 1, 1),
    }
    for i in range(1, n + 1):
        layers[f"up_{i}"] = nn.ConvTranspose2d(2 * wide >> i, wide >> i, 4, 2, 1)
        layers[f"norm_{i}"] = nn.BatchNorm2d(wide >> i)

    def forward(m, z, y):
        x = m["input"](z).view(len(z), base, base, -1).permute(0, 3, 1, 2)
        x = F.relu(m["norm_0"](x))
        for i in range(1, n + 1):
            x = F.relu(m[f"norm_{i}"](m[f"up_{i}"](x)))
        return torch.tanh(m["out"](x))

    return layers, forward


def sngan_cnn_d(w, n, base, channels):
    layers, inside = {}, channels
    for i in range(n):
        layers[f"conv_{i}"] = spectral(nn.Conv2d(inside, w << i, 3, 1, 1), True)
        inside = 2 * w << i
        layers[f"down_{i}"] = spectral(nn.Conv2d(w << i, inside, 4, 2, 1), True)
    layers[f"conv_{n}"] = spectral(nn.Conv2d(inside, inside, 3, 1, 1), True)
    score = spectral(nn.Linear(base * base * inside, 1), True)
    layers["head"] = nn.ModuleDict({"score": score})

    def forward(m, x, y):
        for i in range(n):
            x = F.leaky_relu(m[f"conv_{i}"](x), 0.1)
            x = F.leaky_relu(m[f"down_{i}"](x), 0.1)
        x = F.leaky_relu(m[f"conv_{n}"](x), 0.1)
        return m["head"]["score"](x.permute(0, 2, 3, 1).flatten(1))[:, 0]

    return layers, forward


def resnet_g(w, n, base, channels, latent, classes=0):
    def block():
        return nn.ModuleDict(
            {
                "norm_0": conditional_norm(w, classes),
                "conv_0": nn.Conv2d(w, w, 3, 1, 1),
                "norm_1": conditional_norm(w, classes),
                "conv_1": nn.Conv2d(w, w, 3, 1, 1),
                "shortcut": nn.Conv2d(w, w, 1),
            }
        )

    layers = {
        "input": nn.Linear(latent, base * base * w),
        **{f"block_{i}": block() for i in range(n)},
        "norm": nn.BatchNorm2d(w),
        "out": nn.Conv2d(w, channels, 3, 1, 1),
    }

    def up(x):
        return F.interpolate(x, scale_factor=2)

    def forward(m, z, y):
        x = m["input"](z).view(len(z), base, base, w).permute(0, 3, 1, 2)
        for i in range(n):
            b = m[f"block_{i}"]
            h = b["conv_0"](up(F.relu(normalize(b["norm_0"], x, y))))
            h = b["conv_1"](F.relu(normalize(b["norm_1"], h, y)))
            x = h + b["shortcut"](up(x))
        return torch.tanh(m["out"](F.relu(m["norm"](x))))

    return layers, forward


def critic_block(inside, w, shortcut, sn, norm):
    layers = {
        "conv_0": spectral(nn.Conv2d(inside, w, 3, 1, 1), sn),
        "conv_1": spectral(nn.Conv2d(w, w, 3, 1, 1), sn),
    }
    if norm:
        layers |= {f"norm_{i}": nn.GroupNorm(1, w) for i in (0, 1)}
    if shortcut:
        layers["shortcut"] = spectral(nn.Conv2d(inside, w, 1), sn)
    return nn.ModuleDict(layers)


def resnet_d(w, downs, channels, sn=False, norm=False, conditional="none"):
    """Write WGAN-GP's critic, or SNGAN's, which differ in norms, pool and bias."""

    layers = {
        f"block_{i}": critic_block(w if i else channels, w, i < downs, sn, norm and i)
        for i in range(downs + 2)
    }
    head = {"score": spectral(nn.Linear(w, 1, bias=not sn), sn)}
    if conditional == "acgan":
        head["classes"] = spectral(nn.Linear(w, CLASSES), sn)
    if conditional == "projection":
        head["embed"] = spectral(nn.Embedding(CLASSES, w), sn)
    layers["head"] = nn.ModuleDict(head)

    def activate(b, i, x):
        return F.relu(b[f"norm_{i}"](x) if f"norm_{i}" in b else x)

    def forward(m, x, y):
        pool = functools.partial(F.avg_pool2d, kernel_size=2)
        b = m["block_0"]
        h = pool(b["conv_1"](F.relu(b["conv_0"](x))))
        x = h + b["shortcut"](pool(x))
        for i in range(1, downs + 2):
            b = m[f"block_{i}"]
            h = b["conv_1"](activate(b, 1, b["conv_0"](activate(b, 0, x))))
            x = pool(h) + pool(b["shortcut"](x)) if i < downs else h + x
        x = F.relu(x)
        x = x.sum((2, 3)) if sn else x.mean((2, 3))
        scores = m["head"]["score"](x)[:, 0]
        if conditional == "acgan":
            return scores, m["head"]["classes"](x)
        if conditional == "projection":
            scores = scores + (m["head"]["embed"](y) * x).sum(1)
        return scores

    return layers, forward


def mlp_g(w, shape, latent):
    layers, inside = {}, latent
    for i, wide in enumerate((w // 4, w // 2, w)):
        layers[f"dense_{i}"] = nn.Linear(inside, wide)
        layers[f"norm_{i}"] = nn.BatchNorm1d(wide, eps=1e-3, momentum=0.2)
        inside = wide
    layers["out"] = nn.Linear(w, shape[0] * shape[1] * shape[2])

    def forward(m, z, y):
        for i in range(3):
            z = m[f"norm_{i}"](F.leaky_relu(m[f"dense_{i}"](z), 0.2))
        return torch.tanh(m["out"](z)).view(len(z), *shape).permute(0, 3, 1, 2)

    return layers, forward


def mlp_d(w, pixels):
    layers = {
        "dense_0": nn.Linear(pixels, w),
        "dense_1": nn.Linear(w, w // 2),
        "head": nn.ModuleDict({"score": nn.Linear(w // 2, 1)}),
    }

    def forward(m, x, y):
        x = x.permute(0, 2, 3, 1).flatten(1)
        for i in range(2):
            x = F.leaky_relu(m[f"dense_{i}"](x), 0.2)
        return m["head"]["score"](x)[:, 0]

    return layers, forward


def maxout_g(w, shape, latent):
    layers = {
        "dense_0": nn.Linear(latent, w),
        "dense_1": nn.Linear(w, w),
        "out": nn.Linear(w, shape[0] * shape[1] * shape[2]),
    }

    def forward(m, z, y):
        for i in range(2):
            z = F.relu(m[f"dense_{i}"](z))
        images = torch.sigmoid(m["out"](z)) * 2 - 1
        return images.view(len(z), *shape).permute(0, 3, 1, 2)

    return layers, forward


def maxout_d(w, pixels):
    layers = {
        "dense_0": nn.Linear(pixels, 5 * w),
        "dense_1": nn.Linear(w, 5 * w),
        "out": nn.Linear(w, 1),
    }

    def forward(m, x, y):
        x = (x.permute(0, 2, 3, 1).flatten(1) + 1) / 2
        for i in range(2):
            x = m[f"dense_{i}"](x).view(len(x), w, 5).amax(2)
        return m["out"](x)[:, 0]

    return layers, forward


def point(w, outputs):
    layers = {"dense_0": nn.Linear(2, w), "out": nn.Linear(w, outputs)}
    layers |= {f"dense_{i}": nn.Linear(w, w) for i in (1, 2)}

    def forward(m, x, y):
        for i in range(3):
            x = F.relu(m[f"dense_{i}"](x))
        x = m["out"](x)
        return x if outputs == 2 else x[:, 0]

    return layers, forward
