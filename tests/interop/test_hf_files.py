"""Tests of `jaxlab.interop.hf_files`."""

import json

import jax
import numpy as np
import pytest
from flax import linen as nn

from jaxlab.core.errors import InputError, WriteError
from jaxlab.interop.hf_config import check_config
from jaxlab.interop.hf_files import (
    check_offered,
    looped,
    merge_tied,
    num_rows,
    read_source,
)
from jaxlab.interop.weight_files import write_folder
from jaxlab.nn.stack import Stack, stack_blocks
from tests.safetensors_writer import entries, write

WEIGHTS = {"a": np.arange(3, dtype=np.float32), "b": np.ones((2, 2), np.float32)}


def test_what_the_configuration_says_comes_before_what_is_assumed(tmp_path):
    weights, config = read_source(WEIGHTS, {"depth": 3}, {"depth": 1, "width": 2})
    assert weights is WEIGHTS
    assert config == {"depth": 3, "width": 2}


def test_a_folder_is_read_whole_or_in_shards(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"depth": 3}))
    shards = {f"model-{k}.safetensors": k for k in WEIGHTS}
    for name, key in shards.items():
        write(tmp_path / name, *entries({key: WEIGHTS[key]}))
    index = {"weight_map": {key: name for name, key in shards.items()}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    weights, config = read_source(str(tmp_path), None, {})
    assert config == {"depth": 3}
    assert weights.keys() == WEIGHTS.keys()
    jax.tree.map(np.testing.assert_array_equal, weights, WEIGHTS)
    # A whole file comes before shards, as in transformers.
    write(tmp_path / "model.safetensors", *entries({"c": WEIGHTS["a"]}))
    weights, config = read_source(tmp_path, {"depth": 4}, {})
    assert (list(weights), config) == (["c"], {"depth": 4})


def test_the_home_folder_may_be_written_short(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"depth": 3}))
    np.savez(folder / "weights.npz", **WEIGHTS)
    for source in ("~/folder/weights.npz", folder / "weights.npz"):
        weights, config = read_source(source, None, {})
        assert config == {"depth": 3}
        jax.tree.map(np.testing.assert_array_equal, weights, WEIGHTS)


def test_a_missing_shard_is_named(tmp_path):
    index = {"weight_map": {"a": "model-1.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(InputError, match=r"no model-1\.safetensors"):
        read_source(tmp_path, {}, {})


def test_tied_weights_become_one_under_the_first_key():
    one = np.ones(2)
    merged = merge_tied({"head": one, "other": WEIGHTS["a"]}, "table", "head")
    assert set(merged) == {"table", "other"}
    assert merged["table"] is one
    assert set(merge_tied({"table": one, "head": one.copy()}, "table", "head")) == {
        "table"
    }
    assert merge_tied({"other": one}, "table", "head") == {"other": one}


@pytest.mark.parametrize("other", [np.zeros(2), np.ones(3), np.ones((2, 1))])
def test_tied_weights_that_differ_are_refused(other):
    with pytest.raises(InputError, match="table and head differ"):
        merge_tied({"table": np.ones(2), "head": other}, "table", "head")


def test_what_is_not_offered_is_named_with_what_is():
    offered = {"act": ["relu", "gelu"], "depth": [1]}
    check_config({"act": "gelu", "depth": 1}, "Network", offered)
    with pytest.raises(InputError, match=r"act 'tanh' .* Network has 'relu', 'gelu'$"):
        check_config({"act": "tanh", "depth": 1}, "Network", offered)
    dense = nn.Dense(3)
    check_offered(dense, "layer", {"use_bias": [True, False]})
    with pytest.raises(InputError, match=r"no layer with features=3; it has 4$"):
        check_offered(dense, "layer", {"features": [4]})


def test_rows_of_a_weight_that_is_not_there_are_none():
    assert (num_rows(WEIGHTS, "b"), num_rows(WEIGHTS, "c")) == (2, 0)


def test_stacked_blocks_are_looped_again():
    params = {"stack": {f"block_{i}": {"w": np.full(2, i)} for i in range(3)}}
    scanned = {"stack": stack_blocks(params["stack"])}
    again = looped(Stack(3, {}, scan=True), scanned, "stack")
    assert jax.tree.structure(again) == jax.tree.structure(params)
    jax.tree.map(np.testing.assert_array_equal, again, params)
    assert looped(Stack(3, {}), params, "stack") is params


def test_a_written_folder_is_read(tmp_path):
    folder = tmp_path / "new" / "folder"
    file = "diffusion_pytorch_model.safetensors"
    for depth in (1, 2):  # the second time over the first
        weights = {"a": WEIGHTS["a"] * depth}
        write_folder(folder, {"depth": depth}, weights, file=file)
        found, config = read_source(folder, None, {})
        assert config == {"depth": depth}
        np.testing.assert_array_equal(found["a"], weights["a"])
    assert {path.name for path in folder.iterdir()} == {file, "config.json"}
    with pytest.raises(WriteError, match=r"config\.json.*give another folder"):
        write_folder(folder / "config.json", {}, {}, file=file)
