"""Tests of `jaxlab.interop.safetensors_files`."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.core.errors import InputError
from jaxlab.interop.safetensors_files import read_safetensors, to_safetensors
from tests.damage import check_reader
from tests.safetensors_writer import entries, write

NUMBERS = np.arange(-6, 6).reshape(3, 4)
TENSORS = {
    "matrix": NUMBERS.astype(np.float32),
    "half": NUMBERS.astype(jnp.bfloat16),
    "bytes": NUMBERS.astype(np.int8)[0],
    "scalar": np.asarray(3.5),
    "empty": np.zeros((0, 3), np.float16),
}


@pytest.fixture
def file(tmp_path):
    """Write a small file of tensors."""
    return write(tmp_path / "model.safetensors", *entries(TENSORS))


def test_tensors_are_read_as_they_were(file):
    found = read_safetensors(file)
    assert list(found) == list(TENSORS)
    for name, array in TENSORS.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)
    assert found["matrix"].flags.writeable


@pytest.mark.peer
def test_files_of_the_library_are_read(tmp_path):
    library = pytest.importorskip("safetensors.torch")
    torch = pytest.importorskip("torch")
    names = "float64 float32 float16 bfloat16 int64 int32 int16 int8 uint8 bool "
    names += "uint16 uint32 uint64 complex64 float8_e4m3fn float8_e5m2"
    base = torch.arange(12).reshape(3, 4).float()
    tensors = {name: base.to(getattr(torch, name)) for name in names.split()}
    tensors["empty"], tensors["scalar"] = torch.zeros(0, 3), torch.tensor(2.0)
    path = tmp_path / "model.safetensors"
    library.save_file(tensors, path, metadata={"format": "pt"})
    found = read_safetensors(path)
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert str(found[name].dtype) in str(tensor.dtype)
        assert found[name].tolist() == tensor.tolist()


@pytest.mark.peer
def test_what_is_written_is_read_by_the_library_and_by_us(tmp_path):
    library = pytest.importorskip("safetensors")
    pytest.importorskip("torch")
    path = tmp_path / "model.safetensors"
    path.write_bytes(to_safetensors(TENSORS))
    found = read_safetensors(path)
    assert list(found) == list(TENSORS)
    with library.safe_open(path, "pt") as file:
        assert file.metadata() == {"format": "pt"}
        for name, array in TENSORS.items():
            tensor = file.get_tensor(name)
            assert str(array.dtype) in str(tensor.dtype)
            assert found[name].dtype == array.dtype
            assert found[name].tolist() == tensor.tolist() == array.tolist()


def test_strides_are_no_matter_and_foreign_dtypes_are_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(to_safetensors({"turned": NUMBERS.T}))
    np.testing.assert_array_equal(read_safetensors(path)["turned"], NUMBERS.T)
    with pytest.raises(InputError, match=r"'names' of dtype <U1 .* use one of bool"):
        to_safetensors({"names": np.array(["a"])})


def broken(**change):
    """Give the parts of a file with a wrong entry of the first tensor."""
    header, data = entries(TENSORS)
    header["matrix"] = {**header["matrix"], **change}
    return header, data


@pytest.mark.parametrize(
    ("header", "data", "said"),
    [
        ("", b"", "ends before its header"),
        ("[1]", b"", "no table"),
        ("{1}", b"", "property name"),
        ('{"a": 1, "a": 1}', b"", "a key twice"),
        ('{"a": 1}', b"", "entry of tensor 'a'"),
        (*broken(dtype="F31"), "entry of tensor 'matrix'"),
        (*broken(dtype=["F32"]), "entry of tensor 'matrix'"),
        (*broken(shape=[3, 5]), "entry of tensor 'matrix'"),
        (*broken(shape=[-3, -4]), "entry of tensor 'matrix'"),
        (*broken(shape=[3.0, 4]), "entry of tensor 'matrix'"),
        (*broken(data_offsets=[0]), "entry of tensor 'matrix'"),
        (*broken(data_offsets=[24, 72]), "does not begin where another ends"),
        (entries(TENSORS)[0], b"", "has 0 bytes of numbers instead of 84"),
        (*entries(TENSORS), ""),
    ],
)
def test_a_file_whose_header_does_not_fit_is_refused(header, data, said, tmp_path):
    path = write(tmp_path / "model.safetensors", header, data)
    if not said:
        path.write_bytes(path.read_bytes() + b"!")
        said = "has 85 bytes of numbers instead of 84"
    with pytest.raises(
        InputError, match=r"model\.safetensors cannot be read"
    ) as raised:
        read_safetensors(path)
    assert said in str(raised.value)


def test_a_header_longer_than_the_file_is_not_made_room_for(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes((2**60).to_bytes(8, "little") + b"{}")
    with pytest.raises(InputError, match="ends before its header does"):
        read_safetensors(path)


@pytest.mark.fuzz
def test_damaged_files_are_refused_or_read_whole(file):
    def is_right(found):
        # No checksum guards the format: names and numbers may be others.
        return (
            len(found) <= len(TENSORS) and sum(a.nbytes for a in found.values()) == 84
        )

    assert check_reader(read_safetensors, file, is_right) > 5
