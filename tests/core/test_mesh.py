"""Meshes: reading them, laying batches and states over them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from jaxlab.core.errors import InputError
from jaxlab.core.mesh import (
    AXES,
    check_batch_size,
    init_sharded,
    make_mesh,
    parse_mesh,
    process_rows,
    replicate,
    shard_batch,
    state_shardings,
    use_cpu_devices,
)

RULES = ((r"up/kernel", P(None, "tensor")), (r"down/kernel", P("tensor", None)))


def spec(mesh, shape, path="w", **options):
    """The spec that `state_shardings` lays on one array of a name and shape."""
    tree = jax.ShapeDtypeStruct(shape, jnp.float32)
    for name in reversed(path.split("/")):
        tree = {name: tree}
    return jax.tree.leaves(state_shardings(tree, mesh, **options))[0].spec


def init(key):
    kernel_key, bias_key = jax.random.split(key)
    return {
        "kernel": jax.random.normal(kernel_key, (256, 128)),
        "bias": jax.random.normal(bias_key, (128,)),
    }


@pytest.mark.parametrize(
    ("text", "sizes"),
    [
        ("", {}),
        ("data=2", {"data": 2}),
        (" fsdp=2 , data=1 ", {"fsdp": 2, "data": 1}),
        ("data=2,tensor=16,", {"data": 2, "tensor": 16}),
    ],
)
def test_a_mesh_is_read_from_text(text, sizes):
    assert parse_mesh(text) == sizes


@pytest.mark.parametrize(
    "text",
    [
        "data",
        "data=",
        "data=0",
        "data=00",
        "data=-1",
        "data=two",
        "data=1.5",
        "model=2",
        "=2",
        "data=2,data=2",
        "data=2;fsdp=2",
    ],
)
def test_a_mesh_that_cannot_be_read_names_the_axes(text):
    with pytest.raises(InputError, match=r"AXIS=SIZE .* data, fsdp, tensor"):
        parse_mesh(text)


@pytest.mark.parametrize(
    ("text", "sizes"),
    [
        ("", (4, 1, 1)),
        ("data=2", (2, 1, 1)),
        ("data=2,fsdp=2", (2, 2, 1)),
        ("tensor=4", (1, 1, 4)),
    ],
)
def test_a_mesh_has_three_axes_of_the_sizes_asked_for(text, sizes):
    mesh = make_mesh(text)
    assert mesh.axis_names == AXES
    assert tuple(mesh.shape.values()) == sizes


def test_more_devices_than_there_are_is_an_error_with_both_numbers():
    with pytest.raises(InputError, match=r"needs 8 devices, but there are 4 \(cpu\)"):
        make_mesh("data=2,fsdp=4")


def test_asking_for_cpu_devices_is_harmless_once_they_are_up():
    before = jax.devices()
    use_cpu_devices("data=2")
    use_cpu_devices("")
    assert jax.devices() == before


def test_a_batch_must_divide_among_the_data_and_fsdp_devices():
    mesh = make_mesh("data=2,fsdp=2")
    check_batch_size(8, mesh)
    check_batch_size(5, make_mesh("tensor=4"))
    with pytest.raises(InputError, match=r"10 does not divide among 4 .* use 8 or 12$"):
        check_batch_size(10, mesh)
    for size in (-1, 0, 3):
        with pytest.raises(InputError, match=r"use 4$"):
            check_batch_size(size, mesh)


@pytest.mark.parametrize("text", ["data=1", "data=4", "data=2,tensor=2", "tensor=4"])
def test_one_process_loads_all_rows_whatever_the_mesh(text):
    assert process_rows(12, make_mesh(text)) == slice(0, 12)


@pytest.mark.parametrize("text", ["data=4", "fsdp=4", "data=2,fsdp=2"])
def test_a_batch_is_split_along_its_first_axis(text):
    batch = {"x": np.arange(24.0, dtype=np.float32).reshape(8, 3), "y": np.arange(8)}
    placed = shard_batch(batch, make_mesh(text))
    for name, array in batch.items():
        np.testing.assert_array_equal(placed[name], array)
        for device, shard in enumerate(placed[name].addressable_shards):
            rows = slice(2 * device, 2 * device + 2)
            np.testing.assert_array_equal(shard.data, array[rows])


def test_a_batch_is_copied_along_the_tensor_axis():
    placed = shard_batch(np.arange(8), make_mesh("data=2,tensor=2"))
    shards = [shard.data.tolist() for shard in placed.addressable_shards]
    assert shards == [[0, 1, 2, 3], [0, 1, 2, 3], [4, 5, 6, 7], [4, 5, 6, 7]]


def test_arrays_on_the_devices_stay_where_they_are():
    mesh = make_mesh("data=4")
    array = replicate(np.arange(8), mesh)
    assert shard_batch(array, mesh) is array


def test_replicate_gives_every_device_the_whole():
    placed = replicate({"x": np.arange(6), "n": np.int32(3)}, make_mesh("data=4"))
    assert [s.data.tolist() for s in placed["x"].addressable_shards] == [
        [0, 1, 2, 3, 4, 5]
    ] * 4
    assert placed["n"].shape == ()


def test_replicate_copies_so_that_donation_spares_the_original(key):
    mesh = make_mesh("data=1")
    original = {"x": jnp.arange(4.0), "key": key}
    copy = replicate(original, mesh)
    assert (jax.random.key_data(copy["key"]) == jax.random.key_data(key)).all()
    jax.jit(lambda tree: jax.tree.map(jnp.copy, tree), donate_argnums=0)(copy)
    assert copy["x"].is_deleted()
    assert original["x"].tolist() == [0, 1, 2, 3]
    assert not original["key"].is_deleted()


def test_with_data_parallelism_alone_every_array_is_copied():
    assert spec(make_mesh("data=4"), (512, 512)) == P(None, None)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((128, 256), P(None, "fsdp")),  # the largest axis
        ((258, 128), P(None, "fsdp")),  # the largest axis that divides
        ((257, 129), P(None, None)),  # none divides
        ((4, 64, 64), P(None, "fsdp", None)),  # of equal axes the first
        ((64, 64), P(None, None)),  # small arrays are copied
        ((2**14,), P("fsdp")),
        ((), P()),
    ],
)
def test_fsdp_splits_the_largest_axis_that_divides(shape, expected):
    assert spec(make_mesh("fsdp=4"), shape) == expected


def test_the_smallest_size_to_split_can_be_chosen():
    assert spec(make_mesh("fsdp=4"), (8, 4), min_size=32) == P("fsdp", None)
    assert spec(make_mesh("fsdp=4"), (8, 4), min_size=33) == P(None, None)


@pytest.mark.parametrize(
    ("path", "shape", "expected"),
    [
        ("mlp/up/kernel", (64, 256), P(None, "tensor")),
        ("mlp/down/kernel", (256, 64), P("tensor", None)),
        ("blocks/mlp/up/kernel", (12, 64, 256), P(None, None, "tensor")),  # scanned
        ("0/mu/mlp/up/kernel", (64, 256), P(None, "tensor")),  # Adam's moments
        ("0/v_row/mlp/down/kernel", (1,), P(None)),  # Adafactor's factors
        ("mlp/up/kernel", (64, 255), P(None, None)),  # does not divide
        ("mlp/up/bias", (256,), P(None)),  # no rule
    ],
)
def test_the_tensor_axis_follows_the_rules_of_the_model(path, shape, expected):
    mesh = make_mesh("tensor=2")
    assert spec(mesh, shape, path, rules=RULES) == expected


def test_fsdp_takes_an_axis_that_the_rules_left():
    mesh = make_mesh("fsdp=2,tensor=2")
    found = spec(mesh, (128, 256), "up/kernel", rules=RULES)
    assert found == P("fsdp", "tensor")
    assert spec(make_mesh("fsdp=4"), (128, 256), "up/kernel", rules=RULES) == P(
        None, "fsdp"
    )


@pytest.mark.slow
@pytest.mark.parametrize("text", ["data=4", "fsdp=4", "fsdp=2,tensor=2"])
def test_initial_values_do_not_depend_on_the_mesh(text):
    rules = (("kernel", P(None, "tensor")),)
    plain = jax.jit(init)(jax.random.key(0))
    placed = init_sharded(init, make_mesh(text), jax.random.key(0), rules=rules)
    for name, array in plain.items():
        np.testing.assert_array_equal(placed[name], array)


def test_initial_values_are_laid_out_by_the_rules(key):
    placed = init_sharded(init, make_mesh("fsdp=4"), key)
    assert placed["kernel"].sharding.spec == P("fsdp", None)
    assert placed["kernel"].addressable_shards[0].data.shape == (64, 128)
    assert placed["bias"].sharding.is_fully_replicated


def test_without_a_request_a_cpu_uses_what_divides_the_batch():
    assert make_mesh(batch_size=8).shape["data"] == 4
    assert make_mesh(batch_size=6).shape["data"] == 2
    assert make_mesh(batch_size=7).shape["data"] == 1


def test_a_mesh_that_does_not_divide_the_batch_is_refused():
    with pytest.raises(InputError, match="batch_size 6 does not divide among 4"):
        make_mesh("data=4", batch_size=6)
