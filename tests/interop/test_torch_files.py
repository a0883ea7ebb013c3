"""Tests of `jaxlab.interop.torch_files`."""

import os
import pickle
import zipfile

import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.core.errors import InputError
from jaxlab.interop.torch_files import read_torch
from jaxlab.interop.weight_files import read_weights
from tests.damage import check_reader


@pytest.fixture(params=[True, False], ids=["zip", "legacy"])
def save(request, tmp_path):
    """Give what saves an object by torch, in one of its two formats."""
    torch = pytest.importorskip("torch")

    def save(content, name="weights.pth"):
        path = tmp_path / name
        torch.save(content, path, _use_new_zipfile_serialization=request.param)
        return path

    return save


@pytest.mark.peer
def test_tensors_of_all_dtypes_are_read_as_they_were(save):
    torch = pytest.importorskip("torch")
    base = torch.arange(-6, 6).reshape(3, 4)
    names = "float64 float32 float16 int64 int32 int16 int8 bool complex64 complex128"
    tensors = {name: base.to(getattr(torch, name)) for name in names.split()}
    tensors["uint8"] = base.abs().to(torch.uint8)
    read = read_torch(save(tensors))
    assert list(read) == list(tensors)
    for name, tensor in tensors.items():
        assert read[name].dtype == name
        np.testing.assert_array_equal(read[name], tensor.numpy())
    narrow = torch.tensor([1.5, -2.0, 3e38], dtype=torch.bfloat16)
    got = read_torch(save({"a": narrow}))["a"]
    assert got.dtype == jnp.bfloat16
    np.testing.assert_array_equal(got.astype(np.float32), narrow.float().numpy())


@pytest.mark.peer
def test_views_parameters_and_the_state_of_modules_are_read(save):
    torch = pytest.importorskip("torch")
    base = torch.randn(4, 6)
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    tensors = {
        "base": base,
        "transposed": base.T,
        "part": base[1:3, ::2],
        "scalar": torch.tensor(3.0),
        "empty": torch.zeros(0, 3),
        "parameter": torch.nn.Parameter(base[2]),
        **module.state_dict(),
    }
    for content in (tensors, {"state_dict": tensors, "epoch": 3}, module.state_dict()):
        expected = content.get("state_dict", content)
        read = read_torch(save(content))
        assert list(read) == list(expected)
        for name, tensor in expected.items():
            np.testing.assert_array_equal(read[name], tensor.detach().numpy())
            assert read[name].flags.writeable
            assert read[name].flags.c_contiguous


@pytest.mark.peer
def test_the_readers_of_weights_take_files_of_torch(save, tmp_path):
    torch = pytest.importorskip("torch")
    one, other = ({name: torch.ones(3)} for name in "ab")
    assert list(read_weights(save(one, "pytorch_model.bin"))) == ["a"]
    assert list(read_weights(tmp_path)) == ["a"]
    (tmp_path / "pytorch_model.bin").unlink()
    save(one, "pytorch_model-1.bin")
    save(other, "pytorch_model-2.bin")
    index = '{"weight_map": {"a": "pytorch_model-1.bin", "b": "pytorch_model-2.bin"}}'
    (tmp_path / "pytorch_model.bin.index.json").write_text(index)
    assert list(read_weights(tmp_path)) == ["a", "b"]


@pytest.mark.peer
def test_what_is_no_tensor_is_named(save):
    torch = pytest.importorskip("torch")
    with pytest.raises(InputError, match=r"holds more under epoch, .*state_dict\(\)"):
        read_torch(save({"a": torch.ones(2), "epoch": 3}))
    with pytest.raises(InputError, match="holds list"):
        read_torch(save([torch.ones(2)]))
    # Where a module itself is saved, the pickle names its class.
    with pytest.raises(InputError, match=r"names torch\.nn\.modules\.linear\.Linear"):
        read_torch(save(torch.nn.Linear(2, 2)))


@pytest.mark.peer
@pytest.mark.parametrize("share", [0.3, 0.7, 0.99])
def test_a_file_that_was_cut_is_refused(save, share):
    torch = pytest.importorskip("torch")
    path = save({"a": torch.ones(1000), "b": torch.zeros(1000)})
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(InputError, match=r"weights\.pth cannot be read"):
        read_torch(path)


class Evil:
    """Runs code where it is unpickled without care."""

    def __init__(self, call, *args):
        self.call = call, args

    def __reduce__(self):
        return self.call


def write_zip(path, program):
    """Write a file in torch's format around any pickle."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", program)
        archive.writestr("archive/data/0", np.zeros(4, np.float32).tobytes())
    return path


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("legacy", [True, False])
def test_no_code_of_a_file_is_run(tmp_path, protocol, legacy):
    marker = tmp_path / "ran"
    for content in (
        Evil(os.mkdir, str(marker)),
        {"a": Evil(eval, f"__import__('os').mkdir({str(marker)!r})")},
        {"a": Evil(getattr, [1], "append")},
    ):
        program = pickle.dumps(content, protocol)
        path = tmp_path / "evil.pth"
        if legacy:
            path.write_bytes(program)
        else:
            write_zip(path, program)
        with pytest.raises(InputError, match=r"it names .* is not run"):
            read_torch(path)
    assert not marker.exists()


def tensor_program(offset=0, shape=(2, 2), strides=(2, 1), kind="FloatStorage"):
    """Give a pickle of one tensor of a storage of four numbers."""

    def text(value):
        return b"X" + len(value).to_bytes(4, "little") + value.encode()

    def numbers(values):
        return b"(" + b"".join(b"J" + v.to_bytes(4, "little") for v in values) + b"t"

    storage = (
        b"(" + text("storage") + f"ctorch\n{kind}\n".encode() + text("0") + text("cpu")
    ) + b"K\x04tQ"
    fields = storage + b"J" + offset.to_bytes(4, "little")
    fields += numbers(shape) + numbers(strides) + b"\x89N"
    rebuilt = b"ctorch._utils\n_rebuild_tensor_v2\n(" + fields + b"tR"
    return b"\x80\x02}" + text("a") + rebuilt + b"s."


def test_a_tensor_that_leaves_its_storage_is_refused(tmp_path):
    path = tmp_path / "weights.pth"
    write_zip(path, tensor_program())
    np.testing.assert_array_equal(read_torch(path)["a"], np.zeros((2, 2)))
    for harm in (
        {"offset": 1},
        {"strides": (3, 1)},
        {"strides": (1,)},
        {"shape": (2, 3)},
        {"shape": (1000, 1000), "strides": (0, 0)},
    ):
        write_zip(path, tensor_program(**harm))
        with pytest.raises(InputError, match="does not fit storage 0"):
            read_torch(path)
    write_zip(path, tensor_program(kind="DoubleStorage"))
    with pytest.raises(InputError, match="storage 0 has 16 bytes instead of 32"):
        read_torch(path)


@pytest.mark.parametrize("content", [b"", b"nothing", pickle.dumps(3)])
def test_a_file_of_something_else_is_refused(tmp_path, content):
    path = tmp_path / "other.pt"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"other\.pt cannot be read"):
        read_torch(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", content)
    with pytest.raises(InputError, match=r"no data\.pkl"):
        read_torch(path)
    with pytest.raises(InputError, match=r"none\.pth cannot be read"):
        read_torch(tmp_path / "none.pth")


def test_npz_files_hold_weights_too(tmp_path):
    weights = {"a.weight": np.arange(3.0), "b": np.ones((2, 2), np.float32)}
    np.savez(tmp_path / "weights.npz", **weights)
    read = read_weights(tmp_path / "weights.npz")
    assert read.keys() == weights.keys()
    for name, array in weights.items():
        np.testing.assert_array_equal(read[name], array)
    (tmp_path / "weights.npz").write_bytes(b"PK broken")
    with pytest.raises(InputError, match=r"weights\.npz cannot be read as npz"):
        read_weights(tmp_path / "weights.npz")


@pytest.mark.fuzz
def test_damaged_files_are_refused_or_read_right(tmp_path):
    path = write_zip(tmp_path / "weights.bin", tensor_program())

    def is_right(found):
        return list(found) == ["a"] and np.array_equal(found["a"], np.zeros((2, 2)))

    assert check_reader(read_torch, path, is_right) > 5


@pytest.mark.fuzz
@pytest.mark.peer
def test_damaged_files_of_the_old_format_are_refused_or_read_as_tensors(tmp_path):
    torch = pytest.importorskip("torch")
    path = tmp_path / "weights.bin"
    tensors = {"a": torch.ones(3, 4), "b": torch.arange(5)}
    torch.save(tensors, path, _use_new_zipfile_serialization=False)

    def is_right(found):  # no checksum guards the numbers and names of this format
        return all(isinstance(array, np.ndarray) for array in found.values())

    assert check_reader(read_torch, path, is_right) > 5
