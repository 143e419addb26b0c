"""The lists of classes that annotation tools write beside their masks."""

import json
import re

from seglib.labels.label_map import VOID, LabelMap

# The file: a regular expression for one of its lines, and what its first line must hold to be of this kind.
CLASS_FILES = {
    "labelmap.txt": (r"(?P<name>[^:]+):(?P<colour>\d+,\d+,\d+):.*", ""),  # CVAT
    "_classes.csv": (r"(?P<id>\d+)\s*,(?P<name>.+)", "pixel value"),  # Roboflow
    "class_dict.csv": (r"(?P<name>[^,]+),(?P<colour>\s*\d+,\s*\d+,\s*\d+)\s*", "name"),  # CamVid, DeepGlobe
    "class_names.txt": (r"(?P<name>.+)", ""),  # labelme2voc
    "dataset.json": (r"(?P<id>\d+)\s*,(?P<name>.+)", ""),  # nnU-Net
}
_VOID = re.compile(r"_*(void|ignore|unlabell?ed)_*", re.IGNORECASE)


def find_class_file(folders):
    """The classes that a list in one of the folders names, or None: ``(path, label map, tables)``.

    ``tables`` are mappings to class ids, from colours if the list has them and from the ids of the files, whichever the
    masks are stored in. A class called void, ignore or unlabelled becomes void.

    Raises:
        ValueError: a line that is none of such a list, two lists that differ, or classes that no label map can have.
    """
    found = {}
    for path in (folder / name for folder in folders for name in CLASS_FILES):
        if path.is_file() and (rows := _read_rows(path)):
            found[path] = rows
    if not found:
        return None
    path, rows = next(iter(found.items()))
    if other := next((other for other in found if found[other] != rows), None):
        raise ValueError(f"{path} and {other} name different classes; delete the wrong one, or say labels=")
    void = [row for row in rows if _VOID.fullmatch(row[0])]
    classes = [row for row in rows if row not in void]
    names, colours = [row[0] for row in classes], [row[2] for row in classes]
    try:
        painted = {"colours": colours} | ({"void_colour": void[0][2]} if void else {}) if all(colours) else {}
        labels = LabelMap(names, **painted)
    except ValueError as error:
        raise ValueError(f"{path}: {error}; correct it, or say labels=") from error
    by_id = {VOID: VOID} | dict.fromkeys((row[1] for row in void), VOID) | {row[1]: i for i, row in enumerate(classes)}
    by_colour = dict.fromkeys((row[2] for row in void), VOID) | {row[2]: i for i, row in enumerate(classes)}
    return path, labels, [by_colour, by_id] if all(row[2] for row in rows) else [by_id]


def _read_rows(path):
    """``(name, id, colour or None)`` of each class; an empty list for a file of another kind."""
    pattern, head = CLASS_FILES[path.name]
    text = path.read_text("utf-8-sig", errors="replace")
    lines = _list_nnunet(path, text) if path.suffix == ".json" else text.splitlines()
    lines = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    if not lines or not lines[0].lower().startswith(head):
        return []
    rows = []
    for line in lines[bool(head) :]:
        match = re.fullmatch(pattern, line)
        if not match:
            raise ValueError(f"{path}: found the line {line!r}; wanted such as {_EXAMPLES[path.name]}; or say labels=")
        parts = match.groupdict()
        name = {"_background_": "background"}.get(name := parts["name"].strip(" \"'"), name)
        colour = parts.get("colour") and tuple(int(value) for value in parts["colour"].split(","))
        rows.append((name, int(parts.get("id") or len(rows)), colour))
    return rows


_EXAMPLES = {"labelmap.txt": "road:128,64,128::", "_classes.csv": "1, road", "class_dict.csv": "road,128,64,128"}


def _list_nnunet(path, text):
    """nnU-Net's ``labels``, ``{"road": 1}`` or in its first version ``{"1": "road"}``, as lines ``1,road``."""
    content = json.loads(text)
    labels = content.get("labels") if isinstance(content, dict) else None
    if not isinstance(labels, dict) or not content.keys() & {"channel_names", "modality", "file_ending"}:
        return []
    rows = [(key, value) if str(key).isdigit() else (value, key) for key, value in labels.items()]
    if regions := [name for number, name in rows if isinstance(number, list)]:
        raise ValueError(f"{path}: {regions[0]} is a region of several ids, not a class; say labels= and ids=")
    return [f"{number},{name}" for number, name in sorted(rows, key=lambda row: int(row[0]))]
