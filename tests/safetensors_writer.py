"""Files of safetensors, written without the library of that name."""

import json

NAMES = {"float32": "F32", "bfloat16": "BF16", "int8": "I8", "float64": "F64"}
NAMES |= {"float16": "F16"}


def entries(tensors):
    """Give the header of a file, and its numbers."""
    header, data = {"__metadata__": {"format": "pt"}}, b""
    for name, array in tensors.items():
        place = [len(data), len(data) + array.nbytes]
        data += array.tobytes()
        dtype = NAMES[str(array.dtype)]
        header[name] = {"dtype": dtype, "shape": [*array.shape], "data_offsets": place}
    return header, data


def write(path, header, data):
    text = header if isinstance(header, str) else json.dumps(header)
    path.write_bytes(len(text).to_bytes(8, "little") + text.encode() + data)
    return path
