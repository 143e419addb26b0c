"""Images segmented by the workers of a Ray cluster: Ray Data schedules them, and repeats the batch of one that dies."""

import contextlib
import os
import socket
from pathlib import Path
from urllib.parse import urlsplit

BATCH = 16  # images in a task: where a worker dies, another takes those that have no mask yet
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DATA_LOG_LEVEL": "CRITICAL", "RAY_BACKEND_LOG_LEVEL": "fatal"}


@contextlib.contextmanager
def connect(address=""):
    """Connects to a Ray cluster, and gives what :func:`~seglib.predict.segment_files` takes as ``spread``.

    A worker is a process with a model: one per GPU, or one per processor core in a cluster without GPUs. Every host
    needs seglib, and the images and the folder of the masks under the same paths.

    Args:
        address: ``"host:6379"``, the head node; "local", a new cluster on this machine that ends with the block; or "":
            ``RAY_ADDRESS``, else the cluster that runs on this machine, else a new one.

    Raises:
        ImportError: Ray is not installed.
        ConnectionError: no Ray cluster answers at the address, or one of another version of Ray or Python.
    """
    address = address or os.environ.get("RAY_ADDRESS", "")
    place = urlsplit(address if "//" in address else f"//{address}")
    try:
        if place.port:  # ray.init would wait for two minutes
            socket.create_connection((place.hostname, place.port), timeout=5).close()
        os.environ.update(QUIET | os.environ)
        import ray.data

        ray.init(address or None, log_to_driver=False, logging_level="ERROR")
    except ImportError as error:
        raise ImportError(
            f'Ray Data is not installed ({error}); pip install "seglib[ray]", or go without Ray'
        ) from None
    except (Exception, SystemExit) as error:  # ray.init ends the program where what answers is not Ray
        raise ConnectionError(f"no Ray cluster answers at {address or 'this machine'}: {error}") from error
    if ray.cluster_resources().get("GPU"):
        os.environ["CUDA_VISIBLE_DEVICES"] = "-1"  # for this process: a worker takes all memory of its GPU
    try:
        yield _spread
    finally:
        ray.shutdown()


def _spread(function, paths):
    """Pairs of a path and ``function(path)``, a text, in the order in which the workers finish."""
    import ray

    if not paths:
        return
    settings, there = ray.data.DataContext.get_current(), ray.cluster_resources()
    settings.enable_progress_bars = settings.print_on_execution_start = False
    settings.raise_original_map_exception = True
    settings.max_consecutive_actor_init_deaths = 3  # workers may also be killed while they start
    unit = "GPU" if there.get("GPU") else "CPU"
    count = max(1, int(there[unit]))
    pool = ray.data.ActorPoolStrategy(min_size=1, max_size=count, initial_size=count)
    data = ray.data.from_items([*map(str, paths)], override_num_blocks=-(-len(paths) // BATCH))
    data = data.map_batches(_Worker, fn_constructor_args=(function,), compute=pool, **{f"num_{unit.lower()}s": 1})
    try:
        yield from ((Path(row["item"]), row["answer"]) for row in data.iter_rows())
    except Exception as error:
        if cause := getattr(error, "cause", None):  # what went wrong in a worker
            raise cause from None
        said = str(error).strip().rpartition("\n")[2]
        raise ConnectionError(f"the workers of the Ray cluster failed, {type(error).__name__}: {said}") from error


class _Worker:
    def __init__(self, function):
        self.function = function

    def __call__(self, batch):
        return {"item": batch["item"], "answer": [self.function(Path(path)) for path in batch["item"]]}
