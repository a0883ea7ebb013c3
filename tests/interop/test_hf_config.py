"""Tests of `jaxlab.interop.hf_config`."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.core.errors import InputError
from jaxlab.interop.hf_config import check_types, read_json
from jaxlab.interop.hf_files import read_source
from jaxlab.interop.text.gpt2 import load_hf_gpt2, to_hf_gpt2
from jaxlab.models.transformer.decoder import TransformerLM
from tests.damage import check_reader
from tests.safetensors_writer import entries, write

DEFAULTS = {
    "model_type": "gpt2",
    "hidden_size": 768,
    "n_layer": 12,
    "dropout": 0.1,
    "tie": True,
    "pad_token_id": 0,
    "n_inner": None,
    "rope_scaling": None,
    "image_size": 224,
}
CONFIG = {
    "model_type": "gpt2",
    "vocab_size": 7,
    "n_positions": 6,
    "n_embd": 8,
    "n_layer": 1,
    "n_head": 2,
    "n_inner": 12,
    "resid_pdrop": 0.1,
    "layer_norm_epsilon": 1e-5,
    "tie_word_embeddings": True,
}


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"dropout": 0, "tie": False, "pad_token_id": None, "n_inner": 4},
        {"rope_scaling": {"rope_type": "default"}, "image_size": [32, 16]},
        {"more": object(), "pad_token_id": 58100, "n_layer": 100},
    ],
)
def test_what_can_be_is_taken(change):
    check_types({**DEFAULTS, **change}, DEFAULTS, "config", 5)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model_type": None}, "model_type 'None' of config must be a text"),
        ({"hidden_size": 0}, "hidden_size '0' of config must be a whole number of at"),
        ({"hidden_size": True}, "hidden_size 'True'"),
        ({"hidden_size": 8.0}, r"hidden_size '8\.0'"),
        ({"hidden_size": [8, 8]}, "hidden_size"),
        ({"hidden_size": None}, "hidden_size 'None'"),
        ({"hidden_size": 10**30}, "hidden_size '1000"),
        ({"n_layer": 101}, "n_layer 101 of config is more than the 5 weights"),
        ({"dropout": "0.1"}, "dropout .* a number of at least 0"),
        ({"dropout": float("nan")}, "dropout 'nan'"),
        ({"dropout": -0.1}, r"dropout '-0\.1'"),
        ({"tie": 1}, "tie '1' of config must be true or false"),
        ({"pad_token_id": -1}, "pad_token_id '-1' of config must be a token, or null"),
        ({"n_inner": "4"}, "n_inner '4'"),
        ({"rope_scaling": 2.0}, r"rope_scaling '2\.0' of config must be a table"),
        ({"image_size": [32]}, "image_size .* two numbers of pixels"),
        ({"image_size": [32, "x" * 99]}, "image_size .{40,60} of config"),
    ],
)
def test_what_cannot_be_is_named(change, said):
    with pytest.raises(InputError, match=said):
        check_types({**DEFAULTS, **change}, DEFAULTS, "config", 5)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "cannot be read as JSON"),
        (b"{", "cannot be read as JSON"),
        (b"\xff\xfe{\x00}\x00", "cannot be read as JSON"),
        (b"[" * 100_000, "cannot be read as JSON"),
        (b"[1]", "holds list, not a table"),
    ],
)
def test_what_is_no_table_is_refused_by_name(content, said, tmp_path):
    file = tmp_path / "config.json"
    file.write_bytes(content)
    with pytest.raises(InputError, match=rf"config\.json {said}"):
        read_json(file)
    with pytest.raises(InputError, match="cannot be read as JSON"):
        read_json(tmp_path)  # a folder
    file.write_bytes(b'\xef\xbb\xbf{"a": 1}\r\n')
    assert read_json(file) == {"a": 1}


@pytest.fixture
def folder(tmp_path):
    """Write a small GPT-2 in the layout of transformers."""
    network = TransformerLM(
        vocab_size=7, width=8, num_heads=2, depth=1, hidden_dim=12, max_len=6
    )
    tokens = jnp.zeros((1, 1), jnp.int32)
    shapes = jax.eval_shape(network.init, jax.random.key(0), tokens)["params"]
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda s: rng.normal(size=s.shape).astype("f4"), shapes)
    weights = to_hf_gpt2(network, params)
    weights = {k: np.ascontiguousarray(w) for k, w in weights.items()}
    write(tmp_path / "model.safetensors", *entries(weights))
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    return tmp_path, params


def test_what_does_not_fit_names_the_folder(folder):
    path, params = folder
    found = load_hf_gpt2(path)[1]
    jax.tree.map(np.testing.assert_array_equal, found, params)
    for change in ({"n_embd": 16}, {"n_head": 3}, {"resid_pdrop": 3}):
        (path / "config.json").write_text(json.dumps(CONFIG | change))
        with pytest.raises(InputError, match="cannot be loaded: ") as raised:
            load_hf_gpt2(path)
        assert f"config.json of {path}" in str(raised.value)


@pytest.mark.parametrize("name", ["../other.safetensors", "/etc/passwd", "", 3, None])
def test_an_index_names_files_beside_it(name, folder):
    path, _ = folder
    (path / "model.safetensors").unlink()
    index = path / "model.safetensors.index.json"
    for table in ({"weight_map": {"a": name}}, {"weight_map": name}, {}):
        index.write_text(json.dumps(table))
        with pytest.raises(InputError, match=r"index\.json has no weight_map"):
            load_hf_gpt2(path)


@pytest.mark.fuzz
def test_a_damaged_configuration_is_refused_or_could_be_one(folder):
    file = folder[0] / "config.json"

    def read(file):
        return read_source(file.parent, None, CONFIG)[1]

    def is_right(config):
        return all(
            type(config[k]) is type(CONFIG[k]) or k == "resid_pdrop" for k in CONFIG
        )

    assert check_reader(read, file, is_right) > 10


@pytest.mark.soak
def test_a_damaged_configuration_never_gives_other_weights(folder):
    path, params = folder

    def is_right(found):
        return jax.tree.all(jax.tree.map(np.array_equal, found[1], params))

    check_reader(lambda file: load_hf_gpt2(file.parent), path / "config.json", is_right)
