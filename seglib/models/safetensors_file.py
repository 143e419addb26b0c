"""Weights from a safetensors file, read with NumPy alone: the format holds names and numbers, and no program.

Eight bytes hold the header's length; the header, JSON, each tensor's type, shape and place in the bytes behind it.
"""

import json
import math
from pathlib import Path

import numpy as np

DTYPES = {"F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8"}


def read_safetensors(path):
    """Maps the names of a file's tensors to arrays; bfloat16 becomes float32.

    A ValueError says that the file is cut short, damaged or of another format, or which tensor has another type.
    """
    content = Path(path).read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    if len(content) < start:
        raise ValueError(f"{path}: {len(content)} bytes, wanted {start} or more: cut short, or no safetensors file")
    try:
        header = json.loads(content[8:start])
        header.pop("__metadata__", None)
        entries = sorted((*x["data_offsets"], name, x["dtype"], math.prod(x["shape"])) for name, x in header.items())
        if not all(type(n) is int and n >= 0 for x in header.values() for n in (*x["data_offsets"], *x["shape"])):
            raise ValueError("offsets and shapes are whole numbers from 0")
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: no header of a safetensors file ({error!r})") from error
    tensors, at = {}, 0
    for first, last, name, dtype, count in entries:
        if dtype not in DTYPES:
            raise ValueError(f"{path}: {name} has the type {dtype}, wanted one of {', '.join(DTYPES)}")
        end = at + count * np.dtype(DTYPES[dtype]).itemsize
        if (first, last) != (at, end):
            raise ValueError(f"{path}: {name} is at the bytes {first} to {last}, wanted {at} to {end}")
        if start + end > len(content):
            raise ValueError(f"{path}: {len(content)} bytes, wanted {start + end} or more: cut short in {name}")
        array, at = np.frombuffer(content, DTYPES[dtype], count, start + at), end
        if dtype == "BF16":  # the upper half of a float32
            array = (array.astype("<u4") << 16).view("<f4")
        tensors[name] = array.reshape(header[name]["shape"])
    if start + at != len(content):
        raise ValueError(f"{path}: {len(content)} bytes, wanted {start + at}: some are left over")
    return tensors
