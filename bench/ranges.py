"""What the scripts that time share; there is nothing to run here, and nothing heavy is imported."""

import statistics


def form_range(values, form=".3g"):
    """``median (lowest–highest)``, as text, each number in the given format, such as ``".2f"``."""
    middle, low, high = (format(choose(values), form) for choose in (statistics.median, min, max))
    return f"{middle} ({low}–{high})"
