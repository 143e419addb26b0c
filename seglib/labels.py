"""Class maps: what the ids in a mask mean, how they are painted, and how other schemes of ids map onto them."""

import colorsys
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

VOID = 255
"""The id of pixels without a label, which loss and metric ignore."""

VOID_COLOUR = (221, 221, 221)

# Okabe & Ito (2008), "Color Universal Design", without black; then darker and lighter relatives of the same hues.
_HEX = "56b4e9 cc79a7 4d4d4d e69f00 009e73 f0e442 0072b2 d55e00 999999 753c1e aadc96 5a286e"
PALETTE = tuple(tuple(bytes.fromhex(colour)) for colour in _HEX.split())


@dataclass(frozen=True)
class LabelMap:
    """Names and colours of the classes of a dataset; the class id is the position in ``names``.

    Args:
        names: one name per class, id 0 first.
        colours: one ``(red, green, blue)`` in 0–255 per class. Default: a palette that colour-blind readers can
            tell apart (Okabe & Ito 2008), for up to 12 classes, and evenly spaced hues beyond.
        ignore_id: the id of void pixels, 0–255. It must not be a class id.
        void_colour: the colour in which void is painted; light grey by default.

    Raises:
        ValueError: no names, a string in place of names, a name twice, a colour missing or out of range, two classes
            of one colour, or an ``ignore_id`` that is also a class.

    Example:
        >>> LabelMap(("sky", "road")).num_classes
        2
    """

    names: tuple[str, ...]
    colours: tuple[tuple[int, int, int], ...] | None = None
    ignore_id: int = VOID
    void_colour: tuple[int, int, int] = VOID_COLOUR

    def __post_init__(self):
        if isinstance(self.names, str):
            raise ValueError(f"names must be a list of names, got the string {self.names!r}: give [{self.names!r}]")
        names = tuple(self.names)
        if not names or len(set(names)) != len(names) or not all(isinstance(name, str) for name in names):
            raise ValueError(f"names must be one or more different strings, got {names}")
        if not (len(names) <= self.ignore_id <= 255):
            raise ValueError(f"ignore_id must lie in {len(names)}–255, beyond the class ids, got {self.ignore_id}")
        colours = _default_colours(len(names)) if self.colours is None else self.colours
        colours = tuple(tuple(int(value) for value in colour) for colour in colours)
        if len(colours) != len(names) or any(len(c) != 3 or min(c) < 0 or max(c) > 255 for c in colours):
            raise ValueError(f"{len(names)} names need {len(names)} colours of three values in 0–255, got {colours}")
        if len(set(colours)) != len(colours):
            raise ValueError(f"two classes share a colour, so a painted mask could not be read back: {colours}")
        void_colour = tuple(int(value) for value in self.void_colour)
        vars(self).update(names=names, colours=colours, ignore_id=int(self.ignore_id), void_colour=void_colour)

    @classmethod
    def load(cls, path):
        """Reads a label map that :meth:`save` wrote; a ``ValueError`` names a file that is missing or holds none."""
        try:
            return cls(**json.loads(Path(path).read_text(encoding="utf-8")))
        except (OSError, TypeError, ValueError) as error:  # of the file, of JSON, of UTF-8, or of __post_init__
            raise ValueError(f"{path}: no label map can be read: {getattr(error, 'strerror', error)}") from error

    def save(self, path):
        """Writes the label map as JSON, to be kept beside a model; FileExistsError if the file says something else."""
        path, text = Path(path), json.dumps(asdict(self), indent=1)
        if path.exists() and LabelMap.load(path) != self:
            raise FileExistsError(f"{path} holds another label map; delete it, or write elsewhere")
        path.write_text(text, encoding="utf-8")

    @property
    def num_classes(self):
        """How many classes there are, void not counted."""
        return len(self.names)

    @property
    def palette(self):
        """(256, 3) uint8: the colour of every id, void's for those that are no class."""
        table = np.full((256, 3), self.void_colour, np.uint8)
        table[: self.num_classes] = self.colours
        return table

    def id_of(self, name):
        """The id of the class called ``name``; a ``KeyError`` lists the names there are."""
        if name not in self.names:
            raise KeyError(f"no class {name!r}; there are {', '.join(self.names)}")
        return self.names.index(name)

    def to_rgb(self, mask):
        """Paints a mask: (…,) integer ids → (…, 3) uint8 colours; a ValueError lists ids that are no class or void."""
        return self.palette[self.check_ids(mask)]

    def from_rgb(self, rgb):
        """Reads a painted mask back: (…, 3) uint8 colours → (…,) uint8 ids. The void colour gives ``ignore_id``.

        A ``ValueError`` names the first colour that is of no class.
        """
        rgb = np.asarray(rgb)
        if rgb.shape[-1:] != (3,) or rgb.dtype != np.uint8:
            raise ValueError(f"a painted mask is (…, 3) uint8, got {rgb.shape} {rgb.dtype}")
        # A class may be painted in the very colour that stands for void; the class, listed later, then wins.
        codes = pack_colours([self.void_colour, *self.colours]).tolist()
        table = dict(zip(codes, [self.ignore_id, *range(self.num_classes)], strict=True))
        found, strange = look_up(pack_colours(rgb), table)
        if strange.any():
            colour = tuple(rgb[strange][0].tolist())
            raise ValueError(f"colour {colour} belongs to no class ({int(strange.sum())} pixels are of unknown colour)")
        return found

    def check_ids(self, mask, name="mask"):
        """Returns ``mask`` as an array; a ``ValueError`` with ``name`` lists ids that are no class and not void."""
        mask = np.asarray(mask)
        if mask.dtype.kind not in "iu":
            raise ValueError(f"{name}: a mask holds integer ids, got {mask.dtype}")
        strange = (mask != self.ignore_id) & ((mask < 0) | (mask >= self.num_classes))
        if strange.any():
            found = f"{name}: found ids outside the label map: {list_some(np.unique(mask[strange]))}"
            wanted = f"classes 0–{self.num_classes - 1}, void {self.ignore_id}"
            raise ValueError(f"{found} ({wanted}); remap them with ids={{file id: class id}}")
        return mask


def remap(mask, ids, name="mask"):
    """Turns the ids in a file into class ids: (height, width) integers → (height, width) uint8.

    ``ids`` maps ids in the file to class ids, both 0–255, else a ``ValueError``. Another, with ``name``, lists the ids
    of the mask that are not among them.

    Example:
        >>> remap(np.array([[0, 255]]), {0: 0, 255: 1}).tolist()
        [[0, 1]]
    """
    for source, target in ids.items():
        if not (0 <= source <= 255 and 0 <= target <= 255):
            raise ValueError(f"ids must lie in 0–255, got {source}: {target}")
    mask = np.asarray(mask)
    found, strange = look_up(mask, ids)
    if strange.any():
        lacking, known = list_some(np.unique(mask[strange])), list_some(sorted(ids))
        raise ValueError(f"{name}: found ids that have no class: {lacking} (known: {known})")
    return found


def _default_colours(count):
    if count <= len(PALETTE):
        return PALETTE[:count]
    hues = [colorsys.hsv_to_rgb(i / count, 0.9 - 0.4 * (i % 2), 0.95 - 0.25 * (i % 3)) for i in range(count)]
    return tuple(tuple(round(255 * v) for v in colour) for colour in hues)


def list_some(values, form="{}", most=8):
    """The first of the values, in words."""
    return ", ".join(form.format(value) for value in values[:most]) + (", …" if len(values) > most else "")


def pack_colours(rgb):
    """(…, 3) colours → (…,) int64 numbers: 0xff8000 is orange."""
    return np.asarray(rgb).astype(np.int64) @ (1 << 16, 1 << 8, 1)


def look_up(codes, table):
    """What a mapping from integers to ids gives for (…,) codes, (…,) uint8; and where it lacks the code, (…,) bool."""
    known = np.fromiter(table, np.int64, len(table))
    order = np.argsort(known)
    known, ids = known[order], np.fromiter(table.values(), np.uint8, len(table))[order]
    place = np.minimum(np.searchsorted(known, codes), len(known) - 1)
    return ids[place], known[place] != codes


BINARY_255 = {0: 0, 255: 1}
"""Masks saved as black and white: 255 is the foreground, class 1."""


def one_based(num_classes, void=0):
    """``ids`` of masks that count their classes from 1, such as ADE20K's; the file id ``void`` (None: none) is void."""
    ids = {i + 1: i for i in range(num_classes)}
    return ids if void is None else {void: VOID, **ids}


def voc_colours(count=21):
    """The PASCAL VOC palette, ``count`` tuples ``(red, green, blue)``, id 0 (black, background) first.

    Bit ``3j + c`` of the id is bit ``7 − j`` of channel c (VOC devkit).
    """
    j, c = np.indices((8, 3))
    bits = (np.arange(count)[:, None, None] >> (3 * j + c)) & 1
    return tuple(map(tuple, (bits << (7 - j)).sum(axis=1).tolist()))


_LISTS = json.loads(Path(__file__).with_name("class_lists.json").read_text(encoding="utf-8"))

VOC = LabelMap(**_LISTS["VOC"], colours=voc_colours())
"""PASCAL VOC 2012: 21 classes; the cream-coloured border of its masks is void, id 255 in the palette files."""

CITYSCAPES = LabelMap(**_LISTS["CITYSCAPES"])
"""Cityscapes' 19 classes of the evaluation, in train-id order (Cordts et al. 2016)."""

# Position in the list = train id, value = the id in a *_labelIds.png file; ids 0–33 that are not listed are void.
_CITYSCAPES_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
CITYSCAPES_IDS = {i: VOID for i in range(34)} | {file: train for train, file in enumerate(_CITYSCAPES_IDS)}
"""Cityscapes ``labelIds`` (0–33) → train ids 0–18 or void."""

PETS = LabelMap(("pet", "background", "border"))
"""Oxford-IIIT Pet's trimap, 1–3 in the files: the pet, the background, and an uncertain border between them."""

PETS_BINARY = LabelMap(("background", "pet"))
"""Oxford-IIIT Pet without its border: its description calls those pixels "not classified", so here they are void."""

ADE20K = LabelMap(**_LISTS["ADE20K"])
"""ADE20K's 150 classes (Zhou et al. 2017; objectInfo150.txt of the benchmark, the first of each class's words).

The benchmark's masks count from 1, and 0 is void: read them with ``ids=one_based(150)``.
"""

ADE20K_THINGS = LabelMap(**_LISTS["ADE20K_THINGS"])
"""ADE20K's 100 classes of objects (instanceInfo100_train.txt of its instance release), and 0 for the background."""

COCO_PANOPTIC = LabelMap(**_LISTS["COCO_PANOPTIC"])
"""COCO 2017 panoptic (Kirillov et al. 2019): 80 classes of things, then 53 of stuff, in official order."""
