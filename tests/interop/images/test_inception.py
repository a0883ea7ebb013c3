"""Weights of Inception, and the network itself, `jaxlab.models.vision.inception`.

The oracle is the network restated with layers of torch.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.core.errors import InputError
from jaxlab.core.pytree import num_elements
from jaxlab.data.images.find import find_images
from jaxlab.evals.feature_networks import find_features
from jaxlab.interop.images.inception import load_torch_inception, to_torch_inception
from jaxlab.metrics.sample_scores import INCEPTION
from tests.closeness import relative_error

torch = pytest.importorskip("torch")
nn, F = torch.nn, torch.nn.functional

pytestmark = [pytest.mark.peer, pytest.mark.slow]

# Float32 sums of up to 2048 * 9 products, through 17 layers, in another order.
ORDER_OF_SUMS = 1e-5


class ConvNorm(nn.Module):
    def __init__(self, channels, features, size=1, stride=1, padding="same"):
        super().__init__()
        padding = 0 if stride > 1 else padding
        self.conv = nn.Conv2d(channels, features, size, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(features, eps=0.001)

    def forward(self, x):
        return F.relu(self.bn(self.conv(x)))


class Block(nn.Module):
    """Branches by the names of their layers; `a` and `b` are side by side."""

    def __init__(self, channels, pool, *branches):
        super().__init__()
        self.pool, self.branches = pool, branches
        for branch in branches:
            before = channels
            for name, features, *shape in branch:
                setattr(self, name, ConvNorm(before, features, *shape))
                before = before if name.endswith("a") else features

    def forward(self, x):
        outputs = []
        for branch in self.branches:
            is_pool = not branch or branch[0][0] == "branch_pool"
            y = self.pool(x) if is_pool else x
            for name, *_ in branch:
                if name.endswith("a"):
                    outputs.append(getattr(self, name)(y))
                else:
                    y = getattr(self, name)(y)
            outputs.append(y)
        return torch.cat(outputs, 1)


def average(x):
    return F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)


def halve(x):
    return F.max_pool2d(x, 3, 2)


def block_a(channels, pool):
    return Block(
        channels,
        average,
        [("branch1x1", 64)],
        [("branch5x5_1", 48), ("branch5x5_2", 64, 5)],
        [
            ("branch3x3dbl_1", 64),
            ("branch3x3dbl_2", 96, 3),
            ("branch3x3dbl_3", 96, 3),
        ],
        [("branch_pool", pool)],
    )


def block_b():
    return Block(
        288,
        halve,
        [("branch3x3", 384, 3, 2)],
        [
            ("branch3x3dbl_1", 64),
            ("branch3x3dbl_2", 96, 3),
            ("branch3x3dbl_3", 96, 3, 2),
        ],
        [],
    )


def block_c(c7):
    long = [("branch7x7dbl_1", c7), ("branch7x7dbl_2", c7, (7, 1))]
    long += [("branch7x7dbl_3", c7, (1, 7)), ("branch7x7dbl_4", c7, (7, 1))]
    return Block(
        768,
        average,
        [("branch1x1", 192)],
        [
            ("branch7x7_1", c7),
            ("branch7x7_2", c7, (1, 7)),
            ("branch7x7_3", 192, (7, 1)),
        ],
        [*long, ("branch7x7dbl_5", 192, (1, 7))],
        [("branch_pool", 192)],
    )


def block_d():
    return Block(
        768,
        halve,
        [("branch3x3_1", 192), ("branch3x3_2", 320, 3, 2)],
        [
            ("branch7x7x3_1", 192),
            ("branch7x7x3_2", 192, (1, 7)),
            ("branch7x7x3_3", 192, (7, 1)),
            ("branch7x7x3_4", 192, 3, 2),
        ],
        [],
    )


def block_e(channels, pool):
    return Block(
        channels,
        pool,
        [("branch1x1", 320)],
        [
            ("branch3x3_1", 384),
            ("branch3x3_2a", 384, (1, 3)),
            ("branch3x3_2b", 384, (3, 1)),
        ],
        [
            ("branch3x3dbl_1", 448),
            ("branch3x3dbl_2", 384, 3),
            ("branch3x3dbl_3a", 384, (1, 3)),
            ("branch3x3dbl_3b", 384, (3, 1)),
        ],
        [("branch_pool", 192)],
    )


class Restated(nn.Module):
    def __init__(self):
        super().__init__()
        self.Conv2d_1a_3x3 = ConvNorm(3, 32, 3, 2)
        self.Conv2d_2a_3x3 = ConvNorm(32, 32, 3, 1, 0)
        self.Conv2d_2b_3x3 = ConvNorm(32, 64, 3)
        self.Conv2d_3b_1x1 = ConvNorm(64, 80)
        self.Conv2d_4a_3x3 = ConvNorm(80, 192, 3, 1, 0)
        self.Mixed_5b, self.Mixed_5c = block_a(192, 32), block_a(256, 64)
        self.Mixed_5d, self.Mixed_6a = block_a(288, 64), block_b()
        self.Mixed_6b, self.Mixed_6c = block_c(128), block_c(160)
        self.Mixed_6d, self.Mixed_6e = block_c(160), block_c(192)
        self.Mixed_7a, self.Mixed_7b = block_d(), block_e(1280, average)
        self.Mixed_7c = block_e(2048, lambda x: F.max_pool2d(x, 3, 1, 1))
        self.fc = nn.Linear(2048, 1008)

    def forward(self, x):
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = halve(self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(halve(x))))
        for name, module in self.named_children():
            if name.startswith("Mixed"):
                x = module(x)
        features = x.mean((2, 3))
        return features, features @ self.fc.weight.T, self.fc(features)


def randomise(module):
    """Draw weights that keep the size of activations, and all statistics."""
    torch.manual_seed(0)
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight)
        if isinstance(part, nn.BatchNorm2d):
            part.weight.data.uniform_(0.5, 1.5)
            part.running_var.uniform_(0.5, 1.5)
            part.bias.data.normal_(0, 0.2)
            part.running_mean.normal_(0, 0.2)
    return module.eval()


@pytest.fixture(scope="module")
def restated():
    return randomise(Restated())


@pytest.fixture(scope="module")
def file(restated, tmp_path_factory):
    path = tmp_path_factory.mktemp("inception") / "weights.pth"
    torch.save(restated.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def loaded(file):
    return load_torch_inception(file)


def assert_equal(loaded, images, expected):
    inception, params = loaded
    variables = {"params": params}

    @jax.jit
    def apply(variables, images):
        embedded = inception.apply(variables, images, method=inception.embed)
        return *embedded, inception.apply(variables, images)

    for got, wanted in zip(apply(variables, images), expected, strict=True):
        assert relative_error(got, wanted) < ORDER_OF_SUMS


def test_features_and_logits_are_those_of_the_network_in_torch(restated, loaded, rng):
    # Sides from which pools and strides leave rows over, and do not.
    images = rng.uniform(-1, 1, (2, 107, 139, 3)).astype(np.float32)
    with torch.no_grad():
        expected = restated(torch.tensor(images.transpose(0, 3, 1, 2)))
    assert_equal(loaded, jnp.asarray(images), expected)


def test_all_weights_are_used_and_given_back(restated, loaded):
    inception, params = loaded
    assert params["fc_bias"].shape == (inception.num_classes,) == (1008,)
    weights, theirs = to_torch_inception(params), restated.state_dict()
    counts = {key for key in theirs if key.endswith("num_batches_tracked")}
    assert weights.keys() == theirs.keys() - counts
    assert num_elements(params) == sum(weight.size for weight in weights.values())
    for key, weight in weights.items():
        np.testing.assert_array_equal(weight, theirs[key].numpy())


def test_weights_of_another_inception_are_refused(restated):
    weights = restated.state_dict()
    with pytest.raises(InputError, match=r"missing: Mixed_7c\.branch_pool\.bn\.weight"):
        load_torch_inception(
            {k: w for k, w in weights.items() if k != "Mixed_7c.branch_pool.bn.weight"}
        )
    with pytest.raises(InputError, match=r"torchvision's Inception.*pytorch-fid"):
        load_torch_inception({**weights, "AuxLogits.fc.bias": np.zeros(3)})


def test_the_file_is_all_that_scores_of_images_need(file, rng):
    features = find_features(str(file), find_images("digits"))
    assert features.name == INCEPTION
    images = rng.integers(0, 256, (2, 8, 8, 1), dtype=np.uint8)
    rows, probabilities = features.embed(images)
    assert rows.shape == (2, 2048)
    assert probabilities.shape == (2, 1008)
    np.testing.assert_allclose(np.sum(probabilities, 1), 1, rtol=ORDER_OF_SUMS)
