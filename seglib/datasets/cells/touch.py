"""Who owns which pixel where cells touch: outlines, competition, connected pieces, and the border map."""

import math

import numpy as np
from scipy import ndimage

SIGMA = 5 / 192
"""σ of the border maps that are drawn, as a fraction of the image's height: 5 pixels of 192."""


def measure_depth(blob, y, x):
    """How deep each point lies inside a blob: ``r(θ) − ρ``, about its distance from the outline, negative outside.

    Args:
        blob: a :class:`~seglib.datasets.cells.plan.Blob`. y: (rows,), x: (cols,), in fractions of the field's side.

    Returns:
        (rows, cols) float64, in the same unit.
    """
    away = (x[None, :] - blob.x) + 1j * (y[:, None] - blob.y)
    away = away * complex(math.cos(blob.angle), -math.sin(blob.angle))
    root = math.sqrt(blob.stretch)
    away = away.real / root + 1j * (away.imag * root)
    rho = np.sqrt(away.real**2 + away.imag**2)
    radius, turn = 1.0, 1.0
    if blob.wobble:
        direction = away / np.maximum(rho, 1e-9)
    for wave in blob.wobble:
        radius = radius + (wave * turn).real
        turn = turn * direction
    return blob.radius * radius - rho


def window(blob, y, x, reach):
    """The part of a grid within ``reach`` radii of a blob's centre, in each direction: two slices."""
    far = reach * blob.radius
    rows, cols = np.searchsorted(y, (blob.y - far, blob.y + far)), np.searchsorted(x, (blob.x - far, blob.x + far))
    return slice(*rows), slice(*cols)


def compete(outlines, y, x):
    """Gives each point to the blob in which it lies deepest.

    Returns:
        ``owner`` (rows, cols) int32, 0 outside all, else 1 + the index of the blob; ``best`` and ``second`` float64,
        the depth in the owner and in the runner-up, −1 where there is none. Each blob owns one connected piece.
    """
    parts = [(window(blob, y, x, 2.2), blob) for blob in outlines]
    parts = [(at, measure_depth(blob, y[at[0]], x[at[1]])) for at, blob in parts]
    while True:
        best, second = np.full((2, len(y), len(x)), -1.0)
        owner = np.zeros(best.shape, np.int32)
        for number, (at, depth) in enumerate(parts, start=1):
            wins = depth > best[at]
            second[at] = np.where(wins, best[at], np.maximum(second[at], depth))
            best[at] = np.where(wins, depth, best[at])
            owner[at] = np.where(wins & (depth > 0), number, owner[at])
        lost = owner * ~keep_largest(owner)
        if not lost.any():
            return owner, best, second
        for number, (at, depth) in enumerate(parts, start=1):
            depth[lost[at] == number] = -1  # cut off by another: it is left to whoever comes next


def keep_largest(ids):
    """Where the largest 4-connected piece of each id is: (height, width) bool; id 0 counts as kept."""
    kept = ids == 0
    for number, at in enumerate(ndimage.find_objects(ids), start=1):
        if at is not None:
            piece, count = ndimage.label(ids[at] == number)
            size = np.bincount(piece.ravel())[1:]
            kept[at] |= piece == count - np.argmax(size[::-1])  # the last of equals
    return kept


def separate(owner, apart, smallest):
    """Instances with background between them, so that the connected pieces of the mask are the cells.

    Args:
        owner: (height, width) integers, 0 where there is no cell.
        apart: (height, width) bool, the pixels that are left out between two cells in any case. Where others are
            needed lest two cells touch, even at a corner, they are left out too.
        smallest: pieces of fewer pixels are left out: a cell's last corner at the frame.

    Returns:
        (height, width) uint16, 0 for background, else 1 … n, from the top.
    """
    ids = np.where(apart, 0, owner)
    height, width = ids.shape
    for dy, dx in ((0, 1), (1, -1), (1, 0), (1, 1)):  # the other four neighbours see the same pairs
        framed = np.pad(ids, 1)
        other = framed[1 + dy : 1 + dy + height, 1 + dx : 1 + dx + width]
        ids = np.where((ids > 0) & (other > 0) & (other != ids), 0, ids)
    piece, _ = ndimage.label(ids)  # by now no two ids touch
    large = np.bincount(piece.ravel()) >= smallest
    large[0] = False
    return (np.cumsum(large) * large)[piece].astype(np.uint16)


def border_map(instances, sigma):
    """How narrow the gap between two cells is at each pixel of the background: U-Net's second weight term.

    ``255 · exp(−(d1 + d2)² / (2 σ²))``, rounded, on the background, and 0 in cells. ``d1`` and ``d2`` are the distances
    in pixels from the pixel's centre to the centre of the nearest pixel of the nearest cell, and of the second nearest.
    The weights of the paper are ``class weight + 10 · border / 255`` with σ about 5 pixels; what holds in cells it does
    not say. Where there are fewer than two cells, all is 0.

    Args:
        instances: (height, width) integers, 0 for background, another id for each cell. sigma: σ in pixels, > 0.

    Returns:
        (height, width) uint8.

    Raises:
        ValueError: ``instances`` is not a picture of integers, or ``sigma`` is not positive.

    Reference:
        Ronneberger, Fischer & Brox (2015), "U-Net", section 3, equation 2, whose factor w0 is 10.
    """
    instances = np.asarray(instances)
    if instances.ndim != 2 or instances.dtype.kind not in "iu":
        raise ValueError(f"instances are (height, width) integers, got {instances.shape} {instances.dtype}")
    if not sigma > 0:
        raise ValueError(f"sigma must be above 0 pixels, got {sigma}")
    reach = math.ceil(sigma * math.sqrt(2 * math.log(510)))  # beyond it the value rounds to 0
    nearest, second = np.full((2, *instances.shape), np.inf)
    for number in np.unique(instances[instances > 0]):
        rows, cols = (np.flatnonzero((instances == number).any(axis=axis)) for axis in (1, 0))
        at = tuple(slice(max(0, line[0] - reach), line[-1] + 1 + reach) for line in (rows, cols))
        distance = ndimage.distance_transform_edt(instances[at] != number)
        second[at] = np.minimum(second[at], np.maximum(nearest[at], distance))
        nearest[at] = np.minimum(nearest[at], distance)
    value = np.exp(-((nearest + second) ** 2) / (2 * sigma**2))
    return np.where(instances > 0, 0, np.rint(255 * value)).astype(np.uint8)
