"""Images segmented by the workers of a Ray cluster: Ray Data schedules them, and repeats the batch of one that dies."""

import contextlib
import os
import socket

BATCH = 16  # images in a task: where a worker dies, another takes those that have no mask yet
SETTINGS = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DATA_LOG_LEVEL": "CRITICAL", "RAY_BACKEND_LOG_LEVEL": "fatal"}
SETTINGS |= {"RAY_DATA_DISABLE_PROGRESS_BARS": "1", "RAY_DATA_RAISE_ORIGINAL_MAP_EXCEPTION": "1"}
SETTINGS |= {"RAY_DATA_MAX_CONSECUTIVE_ACTOR_INIT_DEATHS": "3"}  # a worker may be killed while it starts, too


@contextlib.contextmanager
def connect(address=""):
    """Connects to a Ray cluster: gives the ``spread`` of ``segment_files``, or raises ImportError, ConnectionError.

    ``"host:6379"`` is its head node; each host needs seglib, the images and the masks' folder under the same paths.
    "local" starts a cluster on this machine; "" takes ``RAY_ADDRESS``, else one that runs here, else starts one.
    """
    address = address or os.environ.get("RAY_ADDRESS", "")
    host, _, port = address.rpartition("/")[2].rpartition(":")
    try:
        if port.isdigit():  # ray.init would try for two minutes
            socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
        os.environ.update(SETTINGS | os.environ)
        import ray.data

        ray.init(address or None, log_to_driver=False, logging_level="ERROR")
    except ImportError as error:
        raise ImportError(f'Ray Data is not installed: {error}; pip install "seglib[ray]", or omit --ray') from None
    except (Exception, SystemExit) as error:  # ray.init ends the program where what answers is not Ray
        raise ConnectionError(f"no Ray cluster answers at {address or 'this machine'}: {error}") from error
    unit = "GPU" if ray.cluster_resources().get("GPU") else "CPU"
    if unit == "GPU":  # which are for the workers: TensorFlow would take their memory for this process
        os.environ["CUDA_VISIBLE_DEVICES"] = "-1"

    def spread(worker, state, paths):  # a worker for each GPU, else for each core; rows in the order of completion
        count = int(ray.cluster_resources()[unit])
        pool = ray.data.ActorPoolStrategy(min_size=1, max_size=count, initial_size=count)
        data = ray.data.from_items([*map(str, paths)], override_num_blocks=-(-len(paths) // BATCH))
        return data.map(worker, fn_constructor_args=state, compute=pool, **{f"num_{unit.lower()}s": 1}).iter_rows()

    try:
        yield spread
    except (ray.exceptions.RayError, ray.data.exceptions.ExecutionTimeoutError) as error:
        said, _, _ = str(getattr(error, "cause", error)).partition("Failed to apply")  # which Ray appends, with advice
        raise OSError(f"a Ray worker failed: {said.strip().splitlines()[-1]}") from error
    finally:
        ray.shutdown()
