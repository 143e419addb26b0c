"""How ``pytest --nbval notebooks`` compares, and which lessons run in one worker when there are several."""

import os
from pathlib import Path

import pytest

ONE_WORKER = ("03", "04", "05", "07", "08")  # 07 and 08 use the networks that 03, 04 and 05 have trained


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


def pytest_xdist_make_scheduler(config, log):
    """Each file in one worker, and the lessons that build on each other in one."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            path = Path(nodeid.partition("::")[0])
            return "lessons" if path.suffix == ".ipynb" and path.stem[:2] in ONE_WORKER else str(path)

    return ByFile(config, log)
