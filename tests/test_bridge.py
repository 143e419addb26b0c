import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from seglib.data.bridge import call_python

LEAVE_EARLY = """
import sys
from seglib.data import DataError, from_folder, dataset
dataset.CACHE_BYTES = 0  # the files are read again and again
mine = from_folder(sys.argv[1], sys.argv[2], val=0, test=0)
batches = iter(mine.batches("train", (300, 300), 1))
next(batches)
print("left")
"""


def test_a_loop_that_is_left_early_does_not_keep_the_program_from_ending(folders):
    command = [sys.executable, "-c", LEAVE_EARLY, *map(str, folders)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0 and done.stdout.endswith("left\n"), done.stderr


def test_what_is_wrong_is_said_once():
    def fail(number):
        try:
            raise OSError("the cause")
        except OSError as error:
            raise ValueError(f"file {number}: damaged") from error

    numbers = tf.data.Dataset.from_tensors(3).map(lambda n: call_python(fail, [n], tf.int32, lambda: np.int32(0)))
    with pytest.raises(tf.errors.InvalidArgumentError, match="file 3: damaged") as found:
        next(iter(numbers))
    assert "the cause" not in str(found.value)
