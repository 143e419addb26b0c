"""How long do lessons 03 to 06 take on a GPU under JAX, and do their claims hold there? Ten minutes at most.

    python bench/gpu.py                                         # needs a GPU, and pip install "jax[cuda12]"
    python bench/gpu.py 04                                      # these lessons only
    SEGLIB_STEPS=2 KERAS_BACKEND=tensorflow python bench/gpu.py # two steps of each training, on any machine

Each lesson runs as it is, with the settings of the GPU's profile, in a kernel of its own. A cell at its end takes
twenty more steps of its network on one batch, for the images a second, and asks for the most memory of the GPU that was
in use (without a GPU: the memory of the process). A lesson that does not end in time is stopped, and is said to be.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "notebooks"))

import course  # noqa: E402, found only once its folder is on the path
from nbformat.v4 import new_code_cell  # noqa: E402

LESSONS = ("03", "04", "05", "06")
SECONDS = 600  # for all lessons together
STEPS = 20
PROBE = f"""
import json

images, masks = (np.array(part) for part in next(iter(train_ds)))  # JAX takes no tensors of TensorFlow
model.train_on_batch(images, masks)
times = PROFILE.steps or {STEPS}
began = time.perf_counter()
for _ in range(times):
    model.train_on_batch(images, masks)
rate = times * len(images) / (time.perf_counter() - began)
name, peak = "no GPU", None
if lesson.gpu_capability() and keras.backend.backend() == "jax":
    import jax

    name, peak = jax.devices()[0].device_kind, jax.devices()[0].memory_stats()["peak_bytes_in_use"]
elif lesson.gpu_capability() and keras.backend.backend() == "tensorflow":
    import tensorflow as tf

    name = tf.config.experimental.get_device_details(tf.config.list_physical_devices("GPU")[0])["device_name"]
    peak = tf.config.experimental.get_memory_info("GPU:0")["peak"]
print("probe:", json.dumps(dict(gpu=name, peak=peak, rate=rate, precision=PROFILE.precision)))
"""


def measure(number):
    """Runs one lesson and prints its lines."""
    (lesson,) = course.read_lessons(HERE.parent / "notebooks", number)
    lesson.notebook.cells.append(new_code_cell(PROBE))
    try:
        course.run_lesson(lesson, {"SEGLIB_PROFILE": "gpu"})
    except course.LessonError as error:
        sys.exit(str(error))
    lines = [line for text in course.streams(lesson, "stdout") for line in text.splitlines()]
    probe = json.loads(next(line for line in lines if line.startswith("probe: ")).partition(" ")[2])
    peak = (probe["peak"] or lesson.peak_bytes) / 2**30
    print(
        f"{lesson.name}: {lesson.seconds:.0f} s · {probe['rate']:.1f} images/s of a training step · peak memory "
        f"{peak:.1f} GiB · {probe['gpu']}, {os.environ['KERAS_BACKEND']}, {probe['precision']}"
    )
    for line in lines:
        if line.startswith(("claim: ", "trained for ")):
            print(f"    {line}")


def main():
    numbers = sys.argv[1:] or LESSONS
    os.environ.setdefault("KERAS_BACKEND", "jax")
    if not os.environ.get("SEGLIB_STEPS") and not shutil.which("nvidia-smi"):
        raise SystemExit("there is no GPU here (no nvidia-smi); SEGLIB_STEPS=2 python bench/gpu.py walks the script")
    end, failed = time.monotonic() + SECONDS, False
    for number in numbers:
        command = [sys.executable, "-c", f"import gpu; gpu.measure({number!r})"]
        try:
            subprocess.run(command, cwd=HERE, check=True, timeout=max(1, end - time.monotonic()))
        except subprocess.CalledProcessError:
            failed = True  # what went wrong is on the terminal already
        except subprocess.TimeoutExpired:
            raise SystemExit(f"lesson {number} was stopped: the {SECONDS} s for all lessons are over") from None
    raise SystemExit(failed)


if __name__ == "__main__":
    main()
