"""What lies in one field of view, before anything is drawn. Lengths are fractions of the field's side."""

import math
from dataclasses import dataclass

import numpy as np

MARGIN = 0.125
"""The scene goes on this far beyond each side of the field, so that halos and cells are cut by the frame, not ended."""


@dataclass(frozen=True)
class Blob:
    """A smooth closed outline: ``r(θ) = radius · (1 + Re Σ wobble[k] · e^(ikθ))``, then stretched and turned.

    ``y``, ``x`` is the centre; ``stretch`` ≥ 1 is the ratio of the axes; ``angle`` in radians; ``wobble`` are complex
    coefficients for k = 0, 1, 2, …
    """

    y: float
    x: float
    radius: float
    stretch: float = 1.0
    angle: float = 0.0
    wobble: tuple = ()


@dataclass(frozen=True)
class Cell:
    """One cell: its outline, how much it delays light, whether it is rounded up to divide, and what is inside."""

    outline: Blob
    thickness: float
    is_round: bool
    nucleus: Blob
    nucleoli: tuple
    vacuoles: tuple


@dataclass(frozen=True)
class Scene:
    """One field of view. ``flecks`` are pairs of an outline and a strength: debris, and blobs that are out of focus."""

    seed: int
    cells: tuple
    flecks: tuple


def plan_scene(seed):
    """The scene number ``seed`` (int ≥ 0); what is drawn of it does not depend on the size of the image."""
    rng = np.random.default_rng([seed, 0])
    spots = _grow_colonies(rng, int(rng.integers(40, 74)))
    stretch, angle = (1.0, 1.6), (0, math.pi)
    if rng.random() < 0.35:  # spindles, which lie side by side
        lie = rng.uniform(0, math.pi)
        stretch, angle = (1.4, 2.3), (lie - 0.45, lie + 0.45)
    cells = []
    for y, x, radius in spots:
        if rng.random() < 0.08:
            cells.extend(_dividing(rng, y, x, radius))
        else:
            cells.append(_flat(rng, y, x, radius, rng.uniform(*stretch), rng.uniform(*angle)))
    return Scene(seed, tuple(cells), tuple(_flecks(rng)))


def _grow_colonies(rng, number):
    """Up to ``number`` centres and radii (y, x, radius); most are laid against an earlier one, as daughters lie."""
    low, high, spots = -0.2, 1.2, []
    for _ in range(40 * number):
        if len(spots) == number:
            break
        radius = rng.uniform(0.055, 0.092)
        y, x = rng.uniform(low, high, 2)
        if spots and rng.random() > 0.07:
            by, bx, other = spots[rng.integers(len(spots))]
            turn, away = rng.uniform(0, 2 * math.pi), (radius + other) * rng.uniform(0.76, 0.94)
            y, x = by + away * math.sin(turn), bx + away * math.cos(turn)
        free = all(math.hypot(y - b, x - a) > 0.74 * (radius + other) for b, a, other in spots)
        if free and low < min(y, x) and max(y, x) < high:
            spots.append((y, x, radius))
    return spots


def _wobble(rng, strength):
    """Coefficients of k = 2–5, weaker for finer waves, so that outlines stay smooth."""
    waves = [rng.uniform(0, strength) / k * complex(*_unit(rng)) for k in range(2, 6)]
    return (0, 0, *waves)


def _unit(rng):
    turn = rng.uniform(0, 2 * math.pi)
    return math.cos(turn), math.sin(turn)


def _flat(rng, y, x, radius, stretch, angle):
    """A cell spread out on the ground, with a nucleus and what swims around it."""
    outline = Blob(y, x, radius, stretch, angle, _wobble(rng, 0.26))
    dy, dx = rng.uniform(-0.22, 0.22, 2) * radius
    size = radius * rng.uniform(0.36, 0.46)
    nucleus = Blob(y + dy, x + dx, size, rng.uniform(1, 1.35), outline.angle, _wobble(rng, 0.1))
    nucleoli = [_inside(rng, nucleus, 0.55, size * rng.uniform(0.16, 0.28)) for _ in range(rng.integers(1, 4))]
    vacuoles = [_inside(rng, outline, 0.75, radius * rng.uniform(0.04, 0.1)) for _ in range(rng.integers(0, 6))]
    return Cell(outline, rng.uniform(0.5, 1.15), False, nucleus, tuple(nucleoli), tuple(vacuoles))


def _dividing(rng, y, x, radius):
    """Two daughters, rounded up and pressed against each other."""
    dy, dx = _unit(rng)
    for sign in (-1, 1):
        size = radius * rng.uniform(0.56, 0.64)
        by, bx = y + sign * 0.84 * size * dy, x + sign * 0.84 * size * dx
        outline = Blob(by, bx, size, rng.uniform(1, 1.1), rng.uniform(0, math.pi), _wobble(rng, 0.06))
        plate = Blob(by, bx, size * 0.5, 2.4, math.atan2(dy, dx) + math.pi / 2)
        yield Cell(outline, rng.uniform(1.3, 1.6), True, plate, (), ())


def _inside(rng, blob, reach, radius):
    """A dot somewhere within ``reach`` radii of the blob's centre."""
    dy, dx = _unit(rng)
    away = blob.radius * reach * math.sqrt(rng.random())
    return Blob(blob.y + away * dy, blob.x + away * dx, radius)


def _flecks(rng):
    """Debris, sharp and small, and things that float above the focus, wide and soft: neither is a cell."""
    for _ in range(rng.integers(10, 40)):
        y, x = rng.uniform(-MARGIN, 1 + MARGIN, 2)
        stretch = rng.uniform(1, 4) if rng.random() < 0.35 else 1.0
        yield Blob(y, x, rng.uniform(0.004, 0.013), stretch, rng.uniform(0, math.pi)), rng.uniform(-0.7, 1.6)
    for _ in range(rng.integers(2, 7)):
        y, x = rng.uniform(-MARGIN, 1 + MARGIN, 2)
        yield Blob(y, x, rng.uniform(0.03, 0.07), rng.uniform(1, 1.4)), rng.choice((-1, 1)) * rng.uniform(0.5, 1.5)
