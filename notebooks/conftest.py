"""How ``pytest --nbval notebooks`` compares."""

import os

import pytest

collect_ignore_glob = ["exercises/*"]  # without answers the checks fail; solutions/ is the same with answers


def pytest_itemcollected(item):
    """Leaves stderr out: libraries log there what they found on this machine. `course.py --save` refuses warnings."""
    if hasattr(item.parent, "skip_compare"):
        item.parent.skip_compare = (*item.parent.skip_compare, "stderr")


@pytest.hookimpl(tryfirst=True, wrapper=True)
def pytest_runtest_setup(item):
    """The kernel of a lesson shows figures, whatever the tests in the same worker want."""
    before = os.environ.get("MPLBACKEND")
    os.environ["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"
    try:
        return (yield)
    finally:
        os.environ.pop("MPLBACKEND")
        if before is not None:
            os.environ["MPLBACKEND"] = before
