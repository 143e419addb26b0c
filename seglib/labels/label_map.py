"""The names and colours of classes, and look-up tables from other schemes of ids."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

VOID = 255
"""The id of pixels without a label, which loss and metric ignore."""

VOID_COLOUR = (221, 221, 221)


def _from_hex(colours):
    """``"ff0000 00ff00"`` as tuples ``(red, green, blue)`` in 0–255."""
    return tuple(tuple(bytes.fromhex(colour)) for colour in colours.split())


# Okabe & Ito (2008), "Color Universal Design", without black; then darker and lighter relatives of the same hues.
PALETTE = _from_hex("56b4e9 cc79a7 4d4d4d e69f00 009e73 f0e442 0072b2 d55e00 999999 753c1e aadc96 5a286e")


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
            raise ValueError(
                f"ignore_id must lie outside the class ids 0–{len(names) - 1} and within 0–255, got {self.ignore_id}"
            )
        colours = _default_colours(len(names)) if self.colours is None else self.colours
        colours = tuple(tuple(int(value) for value in colour) for colour in colours)
        if len(colours) != len(names) or any(len(c) != 3 or not all(0 <= v <= 255 for v in c) for c in colours):
            raise ValueError(f"{len(names)} names need {len(names)} colours of three values in 0–255, got {colours}")
        if len(set(colours)) != len(colours):
            raise ValueError(f"two classes share a colour, so a painted mask could not be read back: {colours}")
        object.__setattr__(self, "names", names)
        object.__setattr__(self, "colours", colours)
        object.__setattr__(self, "ignore_id", int(self.ignore_id))
        object.__setattr__(self, "void_colour", tuple(int(value) for value in self.void_colour))

    @classmethod
    def load(cls, path):
        """Reads a label map that :meth:`save` wrote.

        Raises:
            ValueError: there is no such file, it is no JSON, or it holds no label map; the file is named.
        """
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

        Raises:
            ValueError: a colour that is in no class; the first one found is named.
        """
        rgb = np.asarray(rgb)
        if rgb.shape[-1:] != (3,) or rgb.dtype != np.uint8:
            raise ValueError(f"a painted mask is (…, 3) uint8, got {rgb.shape} {rgb.dtype}")
        codes = _pack(rgb)
        known = _pack(np.array((*self.colours, self.void_colour)))
        ids = np.array([*range(self.num_classes), self.ignore_id], np.uint8)
        # A class may be painted in the very colour that stands for void; the class, listed first, then wins.
        known, first = np.unique(known, return_index=True)
        place = np.minimum(np.searchsorted(known, codes), len(known) - 1)
        strange = known[place] != codes
        if strange.any():
            colour = tuple(int(v) for v in rgb[strange][0])
            raise ValueError(f"colour {colour} belongs to no class ({int(strange.sum())} pixels are of unknown colour)")
        return ids[first][place]

    def check_ids(self, mask, name="mask"):
        """Returns ``mask`` as an array if all its ids are classes or void.

        Raises:
            ValueError: the mask is not of integers, or holds other ids; they are listed, with ``name``.
        """
        mask = np.asarray(mask)
        if mask.dtype.kind not in "iu":
            raise ValueError(f"{name}: a mask holds integer ids, got {mask.dtype}")
        strange = (mask != self.ignore_id) & ((mask < 0) | (mask >= self.num_classes))
        if strange.any():
            raise ValueError(
                f"{name}: found ids outside the label map: {_list_ids(mask[strange])} "
                f"(classes 0–{self.num_classes - 1}, void {self.ignore_id}); remap them with ids={{file id: class id}}"
            )
        return mask


def remap_table(ids):
    """A look-up table for masks from another scheme of ids: ``table[mask]`` holds class ids.

    Args:
        ids: mapping from the id in the file (0–255) to the class id wanted (0–255).

    Returns:
        (256,) int16; −1 for the file ids that ``ids`` does not name.

    Example:
        >>> table = remap_table({0: 0, 255: 1})   # a 0/255 mask becomes 0/1
        >>> int(table[255]), int(table[7])
        (1, -1)
    """
    for source, target in ids.items():
        if not (0 <= source <= 255 and 0 <= target <= 255):
            raise ValueError(f"ids must lie in 0–255, got {source}: {target}")
    table = np.full(256, -1, np.int16)
    table[list(ids)] = list(ids.values())
    return table


def remap(mask, table, name="mask"):
    """Applies a table of :func:`remap_table`: (height, width) integers → (height, width) uint8.

    Raises:
        ValueError: the mask holds ids that the table does not know; they are listed, with ``name``.
    """
    mask = np.asarray(mask)
    known = np.flatnonzero(table >= 0)
    strange = ~np.isin(mask, known)
    if strange.any():
        found = _list_ids(mask[strange])
        raise ValueError(f"{name}: found ids that have no class: {found} (known: {_list_ids(known)})")
    return table[mask].astype(np.uint8)


def _default_colours(count):
    if count <= len(PALETTE):
        return PALETTE[:count]
    import colorsys

    hues = [colorsys.hsv_to_rgb(i / count, 0.9 - 0.4 * (i % 2), 0.95 - 0.25 * (i % 3)) for i in range(count)]
    return tuple(tuple(round(255 * v) for v in colour) for colour in hues)


def _list_ids(values, most=8):
    ids = np.unique(values)
    return ", ".join(str(i) for i in ids[:most]) + (", …" if len(ids) > most else "")


def _pack(rgb):
    rgb = rgb.astype(np.int32)
    return (rgb[..., 0] << 16) | (rgb[..., 1] << 8) | rgb[..., 2]
