"""Libraries that only an export needs, and silence for those that talk."""

import contextlib
import importlib
import io
import logging
import os
import warnings


def need(module, package=None):
    """Imports a library that this installation may lack.

    Args:
        module: its name in Python.
        package: its name for pip, where that is another.

    Raises:
        ImportError: it is not there, or cannot be loaded; the message says what to install.
    """
    try:
        with quiet():
            return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(f"this wants {module}: pip install {package or module} ({error})") from error


@contextlib.contextmanager
def quiet():
    """Nothing is printed meanwhile, neither by Python nor by the C++ of the converters; exceptions tell what failed."""
    with contextlib.ExitStack() as stack:
        # sys.stdout is not always file 1: in a notebook it is a socket.
        stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        stack.enter_context(contextlib.redirect_stderr(io.StringIO()))
        stack.enter_context(warnings.catch_warnings(action="ignore"))
        stack.callback(logging.disable, logging.root.manager.disable)
        logging.disable(logging.CRITICAL)
        stack.callback(setattr, logging.root, "handlers", list(logging.root.handlers))  # tf2onnx adds one
        nowhere = os.open(os.devnull, os.O_WRONLY)
        stack.callback(os.close, nowhere)
        for number in (1, 2):
            kept = os.dup(number)
            stack.callback(os.close, kept)
            stack.callback(os.dup2, kept, number)
            os.dup2(nowhere, number)
        yield
