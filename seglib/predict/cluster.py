"""Images segmented by the workers of a Ray cluster: Ray Data schedules them, and repeats the batch of one that dies."""

import contextlib
import os
import socket
from urllib.parse import urlsplit

BATCH = 16  # images in a task; those that a worker has not finished when it dies go to another
TRIES = 4  # for a batch at which workers die, as where an image needs more memory than there is


@contextlib.contextmanager
def connect(address=""):
    """Connects to a Ray cluster, and gives what :func:`~seglib.predict.segment_files` takes as ``spread``.

    A worker is a process with a model: one a GPU, or one a processor core where the cluster has no GPU. All hosts want
    seglib, and the folders of images and masks under the same paths.

    Args:
        address: ``"host:6379"`` of the head node; "local" starts a cluster on this machine, which ends with the
            block; "" takes ``RAY_ADDRESS`` or the cluster of this machine, and starts one where there is neither.

    Raises:
        ImportError: Ray is not installed.
        ConnectionError: nobody answers at the address, or not Ray of the same version.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray.data
    except ImportError as error:
        raise ImportError(f'Ray Data is not installed ({error}); pip install "seglib[ray]", or go without Ray') from None
    address = address or os.environ.get("RAY_ADDRESS", "")
    place = urlsplit(address if "//" in address else f"//{address}")
    try:
        if place.port:  # Ray itself would try for two minutes
            socket.create_connection((place.hostname, place.port), timeout=5).close()
        ray.init(address or None, log_to_driver=False, logging_level="ERROR")
    except (OSError, RuntimeError, SystemExit) as error:
        raise ConnectionError(f"no Ray cluster at {address or 'this machine'}: {error}; ray status tells of one") from error
    if ray.cluster_resources().get("GPU"):
        os.environ["CUDA_VISIBLE_DEVICES"] = "-1"  # of this process: the workers want the whole memory
    try:
        yield _spread
    finally:
        ray.shutdown()


def _spread(function, items):
    """Pairs of an item and ``function(item)``, in the order in which the workers finish."""
    import ray

    settings, there = ray.data.DataContext.get_current(), ray.cluster_resources()
    settings.enable_progress_bars = settings.print_on_execution_start = False
    settings.max_consecutive_actor_init_deaths = TRIES - 1
    count = max(1, int(there.get("GPU") or there["CPU"]))
    needs = {"num_gpus": 1} if there.get("GPU") else {"num_cpus": 1}
    pool = ray.data.ActorPoolStrategy(min_size=1, max_size=count, initial_size=count)
    batches = ray.data.from_items(items, override_num_blocks=-(-len(items) // BATCH))
    answers = batches.map_batches(
        _Worker, fn_constructor_args=(function,), compute=pool, max_task_retries=TRIES - 1, **needs
    )
    try:
        for row in answers.iter_rows():
            yield row["item"], row["answer"]
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None


class _Worker:
    def __init__(self, function):
        self.function = function

    def __call__(self, batch):
        return batch | {"answer": [self.function(item) for item in batch["item"]]}
