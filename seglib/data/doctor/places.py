"""Findings about where masks lie: shifted, turned, or another image's."""

import os

import numpy as np

from seglib.data.dataset import read_pair
from seglib.data.doctor.align import CERTAIN, find_fit
from seglib.data.doctor.case import count, is_featureless, make_finding
from seglib.data.doctor.report import Finding

SHIFTED = 2.5  # pixels; the masks of CamVid that fit with certainty lie within 1.4 of where they should
SET_SHIFTED = 2  # pixels in the median of all
# Masks of another image have a certainty (align.CERTAIN) under 4.2 in 9 of 10 cases; of CamVid's own with a peak
# further off than SHIFTED none did.
UNRELATED = 4.2
FEW = 10  # pairs
SAMPLE = 12  # pairs whose neighbours are tried


def find_out_of_step(dataset, looks):
    """Pairs that slipped by one: masks that fit the image before or after their own in the order of the names.

    Only looked for where most masks do not fit their own image with certainty.
    """
    rows = sorted((look.image, look.mask) for look in looks if look.fit and os.path.isfile(look.image))
    if len(rows) < FEW or np.median([look.fit.certainty for look in looks if look.fit]) >= CERTAIN:
        return
    places = np.linspace(1, len(rows) - 2, SAMPLE).astype(int)
    fits = {by: np.median([_fit(rows[i][0], rows[i + by][1], dataset.read_mask) for i in places]) for by in (-1, 1)}
    by = max(fits, key=fits.get)
    if fits[by] >= CERTAIN:
        yield Finding(
            "pairs out of step",
            "warning",
            tuple(file for row in rows for file in row),
            f"each image is fitted by the mask of the pair {'after' if by > 0 else 'before'} it, not by its own",
            "pair them anew: the numbers of images and masks start differently, or a file is missing from a list",
        )


def _fit(image, mask, read_mask):
    try:
        fit = find_fit(*read_pair(image, mask, read_mask))
    except ValueError:
        return 0.0
    return fit.certainty if fit else 0.0


def find_misplaced(case):
    """Masks that are shifted, turned, or another image's."""
    looks = [look for look in case.looks if look.fit is not None and not is_featureless(look)]
    sure = [look for look in looks if look.fit.is_sure]
    yield from _find_shifted(looks, sure)
    flipped = {look.mask: f"fits when turned {look.flip}" for look in looks if look.flip}
    if flipped:
        what = f"{count(flipped, 'mask')} that would follow the edges of the image if turned"
        yield make_finding("flipped masks", "warning", flipped, what, "turn these masks, and look at some pairs")
    usual = np.median([look.fit.border for look in looks]) if looks else 0
    strange = [look for look in looks if look.fit.certainty < UNRELATED and not look.flip]
    strange = [look for look in strange if look.fit.steps > SHIFTED and look.fit.border > usual / 2]
    if strange and len(sure) >= 0.8 * len(looks):
        yield Finding(
            "masks of other images",
            "warning",
            tuple(file for look in strange for file in (look.image, look.mask)),
            f"{count(strange, 'mask')} that, unlike the others, nowhere follow the edges of the image",
            "compare the two and pair them anew; a file left out shifts all that follow in sorted lists",
        )
    elif len(looks) >= FEW and np.median([look.fit.certainty for look in looks]) < UNRELATED:
        what = "the masks of this set do not follow the edges of their images"
        do = "look at some pairs: if they do not belong together, pair them anew; if borders are just rough, go on"
        yield Finding("masks off the edges", "note", (), what, do)


def _find_shifted(looks, sure):
    shifts = np.array([(look.fit.down, look.fit.right) for look in sure]).reshape(-1, 2)
    middle = np.median(shifts, axis=0) if len(sure) else np.zeros(2)
    steps = max((look.fit.step for look in sure), default=1)
    agree = np.hypot(*(shifts - middle).T) <= 1.5 * steps
    if len(sure) >= max(2, len(looks) / 2) and np.hypot(*middle) >= SET_SHIFTED * steps and agree.mean() > 0.8:
        yield Finding(
            "shifted masks",
            "warning",
            tuple(look.mask for look in looks),
            f"all masks lie {_direction(*middle)} of where the edges of their images are",
            "look for a crop, a border or a resize that images got and masks did not; move the masks back",
        )
        return
    shifted = [look for look in sure if look.fit.steps > SHIFTED]
    if shifted:
        details = {look.mask: f"{_direction(look.fit.down, look.fit.right)} of its image's edges" for look in shifted}
        what = f"{count(shifted, 'mask')} beside the edges of the image"
        yield make_finding("shifted masks", "warning", details, what, "move these masks back, or draw them anew")


def _direction(down, right):
    parts = [(abs(down), "below" if down > 0 else "above"), (abs(right), "right" if right > 0 else "left")]
    return " and ".join(f"{pixels:g} px {where}" for pixels, where in parts if pixels)


FINDERS = (find_misplaced,)
