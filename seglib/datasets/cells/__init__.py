"""Cells: drawn phase-contrast microscopy of touching cells, with exact masks, instances and U-Net's border map.

Cells are smooth blobs that grow in colonies until they press against each other; each pixel belongs to the cell whose
edge lies deepest beyond it. What the microscope makes of them follows from their thickness: a blurred copy of it, less
the thickness itself. That is the halo of phase contrast, and why the inside of a cell is about as grey as the ground.
"""

from seglib.datasets.cells.builder import SPLITS, Cells
from seglib.datasets.cells.drawing import LABELS, SIZES, Drawing, draw_cells
from seglib.datasets.cells.touch import SIGMA, border_map, separate

__all__ = ["LABELS", "SIGMA", "SIZES", "SPLITS", "Cells", "Drawing", "border_map", "draw_cells", "separate"]
