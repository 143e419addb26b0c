"""Findings in the files: what cannot be read, differs in size, or holds what a mask should not."""

from collections import Counter

from seglib.data.doctor.case import count, list_names, make_finding
from seglib.data.doctor.report import Finding

# Share of a mask's edges that hold a value between their neighbours. Masks of CamVid, membranes and streets, also made
# smaller by nearest neighbour: at most 0.053 (0.106 for streets of 16×24 pixels); made smaller or larger bilinearly,
# bicubically or by Lanczos: at least 0.16.
SOFT = 0.12
# Images have at most 0.33 of their pixels equal to their right neighbour, their masks at least 0.83.
SWAPPED = 0.3


def find_unreadable(case):
    """Files that are missing, empty, truncated or no pictures."""
    do = "fetch or export these files again, or delete the pairs"
    images = {look.image: _reason(look.image_error, look.image) for look in case.looks if look.image_error}
    masks = _mask_reasons(look for look in case.looks if not look.readable)
    if images:
        yield make_finding("unreadable images", "error", images, f"{count(images, 'image')} cannot be read", do)
    if masks:
        yield make_finding("unreadable masks", "error", masks, f"{count(masks, 'mask')} cannot be read", do)


def find_wrong_sizes(case):
    """Masks of another size than their image."""
    hints = Counter()
    details = {}
    for look in case.looks:
        if look.size and look.mask_size and look.size != look.mask_size:
            hints[_size_hint(look.size, look.mask_size)] += 1
            details[look.mask] = f"{_times(look.mask_size)}, its image {_times(look.size)}"
    if details:
        do = "; ".join(hint for hint, _ in hints.most_common())
        yield make_finding(
            "sizes differ", "error", details, f"{count(details, 'mask')} of another size than the image", do
        )


def _size_hint(size, mask_size):
    if size == mask_size[::-1]:
        return (
            "height and width are exchanged: one of the two was rotated, often because a tool ignored the camera's "
            "orientation mark (EXIF); rotate the mask like the image"
        )
    if abs(size[0] * mask_size[1] - size[1] * mask_size[0]) < max(*size, *mask_size):
        return (
            "the proportions agree, so one is a resized copy: take the original of the same size, or resize the mask "
            "to the image by nearest neighbour"
        )
    return "the proportions differ, so one was cropped or belongs to another image: compare the two and pair them anew"


def find_strange_contents(case):
    """Masks that hold what they should not; each has one name for it, the first that fits."""
    sorted_out = _sort_out(case)
    for kind, tell in _CONTENTS.items():
        if sorted_out[kind]:
            yield tell(sorted_out[kind], case)


def _sort_out(case):
    """From a name of ``_CONTENTS`` to the looks it fits."""
    forms = Counter(look.form for look in case.looks if look.mask_size)
    painted = bool(forms) and forms.most_common(1)[0][0] == "colours"
    void = case.labels.ignore_id
    several = [look for look in case.looks if look.pixels is not None and look.pixels[1:void].any()]
    no_void = 2 * len(several) > len(case.looks) and not any(look.pixels[void] for look in several)
    # 0 and 255, taken for class 0 and void: where no other mask has void, or where other masks are the exception.
    mostly = several and 2 * sum(_holds_two(look, void) for look in case.looks) >= len(case.looks)
    void_is_odd = void == 255 and (no_void or mostly)
    found = {kind: [] for kind in _CONTENTS}
    for look in case.looks:
        if look.readable and (kind := _name_content(look, painted)):
            found[kind].append(look)
        elif void_is_odd and _holds_two(look, void):
            found["mixed"].append(look)
    return found


def _holds_two(look, void):
    """Whether a mask holds class 0 and void, and nothing else."""
    return look.pixels is not None and look.pixels[0] and look.pixels[void] and not look.pixels[1:void].any()


def _name_content(look, painted):
    if look.flat_image is not None and look.flat_mask is not None and look.flat_image > look.flat_mask + SWAPPED:
        return "swapped"
    if look.mask_error and (look.form == "colours") != painted:
        return "mixed"
    if look.lossy:
        return "lossy"
    if look.soft > SOFT:
        return "interpolated"
    if look.mask_error:
        return "colours" if look.form == "colours" else "ids"
    return ""


def _tell_swapped(looks, case):
    return Finding(
        "images and masks swapped",
        "error",
        tuple(file for look in looks for file in (look.image, look.mask)),
        f"{count(looks, 'image')} with the flat areas of a mask, paired with masks that look like photographs",
        "exchange the two folders in the call, or the files on disk",
    )


def _tell_mixed(looks, case):
    usual = Counter(look.form for look in case.looks if look.mask_size).most_common(1)[0][0]
    what = f"{count(looks, 'mask')} stored in another way than the others ({usual})"
    if not any(look.mask_error for look in looks):
        what = (
            f"{count(looks, 'mask')} of nothing but 0 and 255, which counts as void, where others hold further ids: is "
            "255 their foreground?"
        )
    return make_finding(
        "mixed encodings",
        _severity(looks),
        {look.mask: look.form if look.mask_error else "0 and 255" for look in looks},
        what,
        "save these again like the others; the painted ones with LabelMap.from_rgb, black and white ones with "
        "labels.BINARY_255; or, if all masks are binary, say ids={0: 0, 1: 1, 255: 1}",
    )


def _tell_lossy(looks, case):
    return Finding(
        "lossy masks",
        _severity(looks),
        tuple(look.mask for look in looks),
        f"{count(looks, 'mask')} stored with loss, as JPEG is, which invents values along every border",
        "export the masks again from their source as PNG; saving the JPEG as PNG keeps the invented values",
    )


def _tell_interpolated(looks, case):
    return make_finding(
        "interpolated masks",
        _severity(looks),
        {look.mask: f"{look.soft:.0%} of its edges hold a value in between" for look in looks},
        f"{count(looks, 'mask')} with values along borders that lie between those of the neighbours and mean other "
        "classes or none: resized smoothly, drawn with antialiasing, or once stored as JPEG",
        "make them anew from the originals, and resize masks by nearest neighbour only",
    )


def _tell_colours(looks, case):
    return make_finding(
        "unknown colours",
        "error",
        _mask_reasons(looks),
        f"{count(looks, 'painted mask')} with colours that stand for no class",
        "correct these pixels, or add the colours: ids={(red, green, blue): class id, …}, or colours= of the labels",
    )


def _tell_ids(looks, case):
    return make_finding(
        "ids out of range",
        "error",
        _mask_reasons(looks),
        f"{count(looks, 'mask')} with values that stand for no class; there are {list_names(case.labels.names)}",
        _ids_hint(looks, case),
    )


def _ids_hint(looks, case):
    values = set().union(*(look.values for look in looks))
    classes = case.labels.num_classes
    strange = values - {*range(classes), case.labels.ignore_id}
    if values and values <= {0, 255}:
        return "black and white masks: say ids=labels.BINARY_255"
    if classes == 19 and strange and max(strange) <= 33:
        return "these look like Cityscapes' labelIds: say ids=labels.CITYSCAPES_IDS"
    if strange == {classes}:
        if 0 not in values:
            return (
                f"if the ids count from 1, say ids=labels.one_based({classes}, void=None); if not, correct these masks"
            )
        ids = f"{{**{{i: i for i in range({classes})}}, {classes}: 255}}"
        return (
            f"which id is void? If {classes} is, say ids={ids}; if 0 is, and {case.labels.names[0]} is 1, say "
            f"ids=labels.one_based({classes}); if neither, the label map lacks a name"
        )
    if 2 * len(looks) > sum(look.readable for look in case.looks):
        return "say what the values mean, ids={value: class id, …}, or give a label map with as many classes"
    return "the other masks have no such values: correct these, or add the classes to the label map"


_CONTENTS = {
    "swapped": _tell_swapped,
    "mixed": _tell_mixed,
    "lossy": _tell_lossy,
    "interpolated": _tell_interpolated,
    "colours": _tell_colours,
    "ids": _tell_ids,
}


def _severity(looks):
    return "error" if any(look.mask_error for look in looks) else "warning"


def _mask_reasons(looks):
    return {look.mask: _reason(look.mask_error, look.mask) for look in looks}


def _reason(message, path):
    """What is wrong, without the path and without the advice of a message."""
    return message.removeprefix(f"{path}: ").split("; ")[0]


def _times(size):
    return f"{size[0]}×{size[1]}"


FINDERS = (find_unreadable, find_wrong_sizes, find_strange_contents)
