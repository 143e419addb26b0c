"""Weights from a safetensors file, read with NumPy alone: the format holds numbers and their names, and no program.

A file is 8 bytes (the header's length), the header in JSON (of each tensor its type, shape, first and last byte), and
the numbers, little-endian, one tensor behind the other.
"""

import json
import math
from pathlib import Path

import numpy as np

DTYPES = {"F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8"}


def read_safetensors(path):
    """The tensors of a safetensors file: a dict from their names to arrays, bfloat16 as float32.

    Raises:
        ValueError: no whole safetensors file, or a tensor of another type than float32, float16, bfloat16 and int64.
        OSError: there is no file.
    """
    content = Path(path).read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    if len(content) < max(start, 8):
        raise ValueError(f"{path}: {len(content)} bytes, wanted {start} or more: cut short, or no safetensors file")
    try:
        header = {k: v for k, v in json.loads(content[8:start]).items() if k != "__metadata__"}
        entries = [(*entry["data_offsets"], name, entry["dtype"], entry["shape"]) for name, entry in header.items()]
        numbers = [n for first, last, _, _, shape in entries for n in (first, last, *shape)]
        if not all(type(n) is int and n >= 0 for n in numbers):
            raise ValueError("offsets and shapes must be whole numbers from 0")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path}: its header is not that of a safetensors file ({error!r})") from error
    tensors, at = {}, 0
    for first, last, name, dtype, shape in sorted(entries, key=lambda entry: entry[:2]):
        if dtype not in DTYPES:
            raise ValueError(f"{path}: {name} has the type {dtype!r}, wanted one of {', '.join(DTYPES)}")
        size = math.prod(shape) * np.dtype(DTYPES[dtype]).itemsize
        if (first, last) != (at, at + size):
            raise ValueError(f"{path}: {name} is at bytes {first} to {last}, wanted {at} to {at + size}")
        if start + last > len(content):
            raise ValueError(f"{path}: {len(content)} bytes, wanted {start + last} to hold {name}: cut short")
        array, at = np.frombuffer(content[start + first : start + last], DTYPES[dtype]), last
        if dtype == "BF16":  # the upper half of a float32
            array = (array.astype("<u4") << 16).view("<f4")
        tensors[name] = array.reshape(shape)
    if start + at != len(content):
        raise ValueError(f"{path}: {len(content)} bytes, wanted {start + at}: bytes are left over")
    return tensors
