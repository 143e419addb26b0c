"""Streets: an endless town of street scenes with exact class masks and boxes, drawn on this machine, nothing fetched.

A pinhole camera looks along a gently bending street; houses, trees, posts, cars and people are painted far to near as
projected polygons into buffers of colour, class and instance that are three times finer than the picture. Colours are
averaged down, so that edges are soft; the mask takes the label at the centre of each pixel, so that it stays crisp.
"""

from seglib.datasets.streets.builder import SPLITS, Streets
from seglib.datasets.streets.drawing import LABELS, MIN_VISIBLE, SIZES, Drawing, draw_scene

__all__ = ["LABELS", "MIN_VISIBLE", "SIZES", "SPLITS", "Drawing", "Streets", "draw_scene"]
