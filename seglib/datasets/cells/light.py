"""What a phase-contrast microscope makes of the cells: thickness, halo, uneven light, blur and noise."""

import math

import numpy as np
from scipy.ndimage import gaussian_filter

from seglib.datasets.cells.touch import measure_depth, window


def draw_thickness(scene, owner, best, second, y, x):
    """How much each point delays the light: flat cells thin out to their edge and less so where they touch.

    Args:
        scene: of :func:`~seglib.datasets.cells.plan.plan_scene`. owner, best, second: of
            :func:`~seglib.datasets.cells.touch.compete`. y: (rows,), x: (cols,).

    Returns:
        (rows, cols) float64; 1 is a thick cell, negative is lighter than the ground.
    """
    rng = np.random.default_rng([scene.seed, 1])
    table = np.array([0.0, *(cell.thickness for cell in scene.cells)])
    free = 1 - np.exp(-np.maximum(best, 0) / 0.010)
    seam = np.exp(-(((best - second) / 2 / 0.007) ** 2))
    body = table[owner] * free * (1 - rng.uniform(0.4, 0.75) * seam)
    grain = 0.5 * waves(rng, (0.02, 0.04), y, x) + 0.5 * waves(rng, (0.035, 0.09), y, x)
    body *= 1 + 0.3 * grain
    for number, cell in enumerate(scene.cells, start=1):
        at = window(cell.outline, y, x, 2.2)
        mine = (owner[at] == number) * free[at]
        body[at] += mine * (_rounded(cell, y[at[0]], x[at[1]]) if cell.is_round else _insides(cell, y[at[0]], x[at[1]]))
    return body


def _insides(cell, y, x):
    """Nucleus, nucleoli and vacuoles of a flat cell, as an addition to its thickness."""
    depth = measure_depth(cell.nucleus, y, x)
    grains = 0.25 * np.exp(-((depth + 0.006) ** 2) / (2 * 0.012**2))  # organelles crowd around the nucleus
    total = grains - 0.35 * step(depth, 0.004) + 0.25 * np.exp(-((depth / 0.004) ** 2))
    for dot in cell.nucleoli:
        total += 0.8 * step(measure_depth(dot, y, x), 0.003)
    for dot in cell.vacuoles:
        total -= 0.7 * step(measure_depth(dot, y, x), 0.003)
    return total * cell.thickness


def _rounded(cell, y, x):
    """A cell rounded up to divide: bright within a dark rim, with the dark plate of its chromosomes."""
    depth = measure_depth(cell.outline, y, x)
    bright = step(depth - 0.3 * cell.outline.radius, 0.006)
    return -2.4 * bright + 0.9 * step(measure_depth(cell.nucleus, y, x), 0.005)


def draw_flecks(scene, y, x):
    """Debris and blobs out of focus, as thickness: a centre with a ring of the other sign around it."""
    total = np.zeros((len(y), len(x)))
    for blob, strength in scene.flecks:
        at = window(blob, y, x, 5)
        squared = (1 - measure_depth(blob, y[at[0]], x[at[1]]) / blob.radius) ** 2
        total[at] += strength * (1 - squared) * np.exp(-squared / 1.5)
    return total


def look(thickness, scene, height, width, margin):
    """The image of a thickness: phase contrast with its halo, a little relief, uneven light, blur and noise.

    Args:
        thickness: (height + 2 · margin[0], width + 2 · margin[1]) float64.

    Returns:
        (height, width) uint8.
    """
    rng = np.random.default_rng([scene.seed, 2])
    rows, cols = len(thickness), thickness.shape[1]
    halo = blur(thickness, 0.030 * height, 0.030 * width)
    signal = rng.uniform(1.0, 1.25) * halo - thickness
    relief = np.gradient(blur(thickness, 0.004 * height, 0.004 * width))
    slope = relief[0] * height * rng.uniform(-1, 1) + relief[1] * width * rng.uniform(-1, 1)
    signal = blur(signal + rng.uniform(0.002, 0.006) * slope, 0.0035 * height, 0.0035 * width)
    signal = signal[margin[0] : rows - margin[0], margin[1] : cols - margin[1]]
    # Bright things saturate softly, as on film; dark ones cannot be darker than nothing.
    signal = np.where(signal > 0, np.tanh(signal), 0.75 * np.tanh(signal / 0.75))
    picture = _light_ground(rng, height, width) * (1 + rng.uniform(0.6, 0.85) * signal)
    strength = rng.uniform(4, 8)
    picture += strength * (rng.random((4, height, width)).sum(axis=0) - 2)  # last, as its draws depend on the size
    return np.clip(np.floor(picture + 0.5), 0, 255).astype(np.uint8)


def _light_ground(rng, height, width):
    """The empty ground: brighter on one side, darker towards the corners, and not quite clean; (height, width)."""
    y, x = (np.arange(height) + 0.5) / height, (np.arange(width) + 0.5) / width
    down, right = y[:, None] - 0.5, x[None, :] - 0.5
    ground = rng.uniform(112, 142) + rng.uniform(-22, 22) * down + rng.uniform(-22, 22) * right
    ground = ground + rng.uniform(3, 6) * waves(rng, (0.03, 0.1), y, x) + 7 * waves(rng, (0.3, 0.8), y, x)
    return ground * (1.05 - rng.uniform(0.15, 0.4) * (down**2 + right**2))


def step(depth, width):
    """A soft step from 0 (outside) to 1 (inside), about ``width`` wide on each side."""
    return 0.5 + 0.5 * np.tanh(depth / width)


def blur(picture, rows, cols):
    """Gaussian blur, σ = ``rows`` and ``cols`` pixels, of an (height, width) array; its edge is carried on outwards."""
    reach = math.ceil(3 * rows), math.ceil(3 * cols)
    return gaussian_filter(picture, (rows, cols), mode="nearest", radius=reach)


def waves(rng, lengths, y, x, count=80):
    """Smooth noise that is the same at any size: plane waves in all directions, added up.

    Args:
        lengths: the shortest and the longest wavelength, in fractions of the field's side.

    Returns:
        (rows, cols) float64 of mean 0 and variance 1.
    """
    phase, spread = rng.uniform(0, 2 * np.pi, (count, 1)), rng.random((count, 1))
    turn = (np.arange(count)[:, None] + spread) * np.pi / count  # all around evenly, lest a weave is seen
    speed = 2 * np.pi / rng.uniform(*lengths, (count, 1))
    down, across = speed * np.sin(turn) * y + phase, speed * np.cos(turn) * x
    down = np.concatenate((np.cos(down), -np.sin(down)))  # cos(a + b) = cos a · cos b − sin a · sin b
    across = np.concatenate((np.cos(across), np.sin(across)))
    return np.einsum("ki,kj->ij", down, across) * np.sqrt(2 / count)
