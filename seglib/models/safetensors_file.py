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

    A ValueError says what is wrong with a file that is cut short, damaged or of another format.
    """
    content = Path(path).read_bytes()
    try:
        return _read(content)
    except Exception as error:  # a damaged header can raise anything
        raise ValueError(f"{path}: no whole safetensors file ({error})") from error


def _read(content):
    start, tensors, at = 8 + int.from_bytes(content[:8], "little"), {}, 0
    if len(content) < start:
        raise ValueError(f"it has {len(content)} bytes, wanted {start} or more")
    header = json.loads(content[8:start])
    header.pop("__metadata__", None)
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        (first, last), shape, dtype = (entry[key] for key in ("data_offsets", "shape", "dtype"))
        if dtype not in DTYPES:
            raise ValueError(f"{name} has the type {dtype}, wanted one of {', '.join(DTYPES)}")
        end = at + math.prod(shape) * np.dtype(DTYPES[dtype]).itemsize
        if (first, last) != (at, end):
            raise ValueError(f"{name} is at the bytes {first} to {last}, wanted {at} to {end}")
        if start + end > len(content):
            raise ValueError(f"it has {len(content)} bytes, wanted {start + end} or more, for {name}")
        array, at = np.frombuffer(content, DTYPES[dtype], math.prod(shape), start + at).reshape(shape), end
        # bfloat16 is the upper half of a float32
        tensors[name] = (array.astype("<u4") << 16).view("<f4") if dtype == "BF16" else array
    if start + at != len(content):
        raise ValueError(f"it has {len(content)} bytes, wanted {start + at}")
    return tensors
