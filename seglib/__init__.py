"""Semantic segmentation, small enough to read: the helper package of the course.

Importing ``seglib`` loads nothing heavy; import the module you need (``from seglib import data``).
The floor plan, that is which module may import which, is in the README.
"""

__version__ = "0.2.0"
