"""Weights from files of two formats, read with NumPy alone; nothing that a file says is executed.

A safetensors file: eight bytes hold the header's length; the header, JSON, each tensor's type, shape and place in the
bytes behind it.

A file of torch before 1.6: five pickles one behind the other (a magic number, the protocol's version, facts of the
system, the tensors, the storages' keys), then each storage as its length and its raw numbers. A pickle is a program, so
what these may call is limited here to harmless names, and only a file of a known SHA-256 is read at all.
"""

import collections
import hashlib
import io
import json
import pickle
from pathlib import Path

import numpy as np
from keras import layers

# Torch's kernels are (out, in, height, width), and a dense one (out, in); Keras's (height, width, in, out), (in, out).
AXES = {layers.Dense: (1, 0), layers.Conv2D: (2, 3, 1, 0), layers.DepthwiseConv2D: (2, 3, 0, 1)}
DTYPES = {"F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8"}
HARMLESS = {
    "torch.FloatStorage": "<f4",
    "torch.LongStorage": "<i8",
    "collections.OrderedDict": collections.OrderedDict,
    "torch._utils._rebuild_tensor_v2": lambda storage, *place: (*storage, *place[:3]),
}


def read_safetensors(path):
    """Maps the names of a safetensors file's tensors to arrays; bfloat16 becomes float32.

    A ValueError says what is wrong with a file that is cut short, damaged or of another format.
    """
    content = Path(path).read_bytes()
    try:
        start = 8 + int.from_bytes(content[:8], "little")
        header, numbers, tensors = json.loads(content[8:start]), content[start:], {}
        header.pop("__metadata__", None)
        wanted = start + max((entry["data_offsets"][1] for entry in header.values()), default=0)
        if len(content) != wanted:
            raise ValueError(f"it has {len(content)} bytes, wanted {wanted}")
        for name, entry in header.items():
            (first, last), dtype = entry["data_offsets"], entry["dtype"]
            if dtype not in DTYPES:
                raise ValueError(f"{name} has the type {dtype}, wanted one of {', '.join(DTYPES)}")
            array = np.frombuffer(numbers[first:last], DTYPES[dtype]).reshape(entry["shape"])
            # bfloat16 is the upper half of a float32
            tensors[name] = (array.astype("<u4") << 16).view("<f4") if dtype == "BF16" else array
    except Exception as error:  # a damaged header can raise anything
        raise ValueError(f"{path}: no whole safetensors file ({error})") from error
    return tensors


def read_torch(path, sha256):
    """Maps the names of a file's tensors to arrays of float32 or int64, in the file's order.

    ``torch.save(model.state_dict(), path)`` of torch before 1.6 has written the file. Its SHA-256, in hexadecimal, is
    compared before anything else is read; a ValueError says that it is another.
    """
    content = Path(path).read_bytes()
    if (found := hashlib.sha256(content).hexdigest()) != sha256:
        raise ValueError(f"{path}: {len(content):,} bytes with the SHA-256 {found}, wanted {sha256}")
    file, storages = io.BytesIO(content), {}
    *_, tensors, keys = (_Unpickler(file).load() for _ in range(5))
    dtypes = {key: np.dtype(dtype) for key, dtype, *_ in tensors.values()}
    for key in keys:
        length = int.from_bytes(file.read(8), "little")
        storages[key] = np.frombuffer(file.read(length * dtypes[key].itemsize), dtypes[key])
    arrays = {}
    for name, (key, dtype, offset, shape, strides) in tensors.items():
        offset, *strides = (dtypes[key].itemsize * n for n in (offset, *strides))
        arrays[name] = np.ndarray(shape, dtype, storages[key], offset, strides)  # which refuses what is not in there
    return arrays


class _Unpickler(pickle.Unpickler):
    """Builds numbers, texts, lists, dicts, and what describes a tensor; refuses everything else."""

    def find_class(self, module, name):
        if f"{module}.{name}" not in HARMLESS:
            raise ValueError(f"it calls {module}.{name}")
        return HARMLESS[f"{module}.{name}"]

    def persistent_load(self, pid):
        _, dtype, key, *_ = pid
        return key, dtype
