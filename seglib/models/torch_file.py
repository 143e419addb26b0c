"""Weights from a file of torch's old format, read with NumPy alone; nothing that a file says is executed.

Before version 1.6 ``torch.save`` wrote five pickles one behind the other (a magic number, the protocol's version, facts
of the system, the tensors, the storages' keys), then each storage as its length and its raw numbers. A pickle is a
program, so what these may call is limited here to three harmless names.
"""

import collections
import hashlib
import io
import math
import pickle
import pickletools
from pathlib import Path

import numpy as np

MAGIC, VERSION = 0x1950A86A20F9469CFC6C, 1001
STORAGES = {"torch.FloatStorage": np.dtype("<f4"), "torch.LongStorage": np.dtype("<i8")}

# A block of numbers further down in the file; and where a tensor's are in it, counted in numbers.
Storage = collections.namedtuple("Storage", "key dtype length")
Tensor = collections.namedtuple("Tensor", "storage offset shape strides")
HARMLESS = {name: name for name in STORAGES} | {
    "collections.OrderedDict": collections.OrderedDict,
    "torch._utils._rebuild_tensor_v2": lambda *arguments: Tensor(*arguments[:4]),
}


def read_torch(path, sha256):
    """Maps the names of a file's tensors to arrays of float32 or int64, in the file's order.

    ``torch.save(model.state_dict(), path)`` of torch before 1.6 has written the file. Its SHA-256, in hexadecimal, is
    compared before anything else is read. A ValueError says that it is another, that the file is cut short or damaged,
    or that one of its pickles calls other code.
    """
    content = Path(path).read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise ValueError(f"{path}: {len(content):,} bytes with the SHA-256 {found}, wanted {sha256}")
    try:
        return _read(content)
    except Exception as error:  # a damaged pickle can raise anything
        raise ValueError(f"{path}: no whole file of torch's old format ({error})") from error


class _Unpickler(pickle.Unpickler):
    """Builds numbers, texts, lists, dicts, and what describes a tensor; refuses everything else."""

    def find_class(self, module, name):
        if f"{module}.{name}" not in HARMLESS:
            raise pickle.UnpicklingError(f"it calls {module}.{name}")
        return HARMLESS[f"{module}.{name}"]

    def persistent_load(self, pid):
        _, storage_type, key, _, length, _ = pid
        return Storage(key, STORAGES[storage_type], length)


def _load(file, size):
    """The next pickle of a file of this many bytes, none of whose instructions can ask for more memory than that."""
    start = file.tell()
    for instruction, argument, _ in pickletools.genops(file):  # does nothing of it, and reads no more than there is
        if instruction.name.endswith("PUT") and argument > size:  # Python would make a table as long as that
            raise pickle.UnpicklingError(f"it has {size} bytes and numbers a value {argument}")
    file.seek(start)
    return _Unpickler(file).load()


def _read(content):
    file = io.BytesIO(content)
    magic, version, system, tensors, keys = (_load(file, len(content)) for _ in range(5))
    if (magic, version, system["little_endian"]) != (MAGIC, VERSION, True):
        raise ValueError("it does not begin as one")
    wanted, arrays = {tensor.storage.key: tensor.storage for tensor in tensors.values()}, {}
    for key in keys:
        storage, length = wanted[key], int.from_bytes(file.read(8), "little")
        if length != storage.length:
            raise ValueError(f"storage {key} has {length} numbers, wanted {storage.length}")
        arrays[key] = np.frombuffer(file.read(length * storage.dtype.itemsize), storage.dtype, length)
    if rest := file.read():
        raise ValueError(f"{len(rest)} bytes are left over")
    return {name: _view(tensor, arrays[tensor.storage.key]).copy() for name, tensor in tensors.items()}


def _view(tensor, array):
    """A tensor's numbers, whose strides may be any order of the axes; NumPy checks that they lie in its storage."""
    offset, *strides = (array.itemsize * n for n in (tensor.offset, *tensor.strides))
    try:
        if math.prod(tensor.shape) <= array.size:  # with strides of 0 a few numbers could be any number
            return np.ndarray(tensor.shape, array.dtype, array, offset, strides)
    except (TypeError, ValueError, OverflowError):
        pass
    raise ValueError(f"offset, shape and strides {tensor[1:]} do not fit a storage of {array.size} numbers")
