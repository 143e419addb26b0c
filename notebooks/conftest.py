"""How ``pytest --nbval notebooks`` compares and, with several workers, what runs in one of them."""

import pytest

ONE_WORKER = ("03", "04", "05", "07", "08")  # 07 and 08 use the networks that 03, 04 and 05 have trained


def pytest_itemcollected(item):
    """Leaves stderr out: libraries log there what they found on this machine. `course.py --save` refuses warnings."""
    if hasattr(item.parent, "skip_compare"):
        item.parent.skip_compare = (*item.parent.skip_compare, "stderr")
    number = item.path.stem[:2]
    item.add_marker(pytest.mark.xdist_group("trained" if number in ONE_WORKER else number))
