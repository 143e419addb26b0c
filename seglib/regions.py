"""Connected regions of a mask, their areas and contours, and their export as GeoJSON and COCO."""

from typing import NamedTuple

import numpy as np
from scipy import ndimage


class Region(NamedTuple):
    """A connected region: pixels of one class that touch at their sides (4-connectivity)."""

    class_id: int
    area: int  # in pixels
    top: int  # the first row of its bounding box
    left: int  # the first column
    pixels: np.ndarray  # (height, width) bool: the region within its bounding box


def find_regions(mask, classes, smallest=1):
    """The connected regions of some classes: a list of :class:`Region`, class by class, in the order of first pixels.

    Args:
        mask: (height, width) integer ids; a ValueError refuses other arrays.
        classes: the ids of the classes that are wanted.
        smallest: regions of fewer pixels are left out; predicted masks have specks.
    """
    mask = np.asarray(mask)
    if mask.ndim != 2 or mask.dtype.kind not in "iu":
        raise ValueError(f"a mask is (height, width) of integer ids, got {mask.shape} {mask.dtype}")
    regions = []
    for class_id in classes:
        numbers, count = ndimage.label(mask == class_id)
        areas = np.bincount(numbers.ravel(), minlength=count + 1)
        for number, (rows, columns) in enumerate(ndimage.find_objects(numbers), start=1):
            if areas[number] >= smallest:
                pixels = numbers[rows, columns] == number
                regions.append(Region(int(class_id), int(areas[number]), rows.start, columns.start, pixels))
    return regions


def find_contours(region):
    """The contours of a :class:`Region`: polygons around it and around each of its holes.

    A contour runs half-way between the centres of the pixels inside and those outside: filled, they give the region.

    Returns:
        A list of closed (n, 2) float64 polygons of ``x, y``, first point = last: the exterior, then the holes. A pixel
        covers ``[column, column + 1] × [row, row + 1]``; the exterior turns from ``x`` to ``y``, holes the other way
        (RFC 7946, GeoJSON, section 3.1.6).
    """
    from contourpy import FillType, contour_generator

    inside = np.pad(region.pixels, 1).astype(float)
    ((points,), (offsets,)) = contour_generator(z=inside, fill_type=FillType.OuterOffset).filled(0.5, 2)
    points = points + (region.left - 0.5, region.top - 0.5)  # pixel 0 of the padded box is half a pixel before the box
    return [points[start:stop] for start, stop in zip(offsets[:-1], offsets[1:], strict=True)]


def to_geojson(regions, labels):
    """The regions of :func:`find_regions` as a GeoJSON ``FeatureCollection`` of polygons, for ``json.dump``.

    Coordinates are pixels, x to the right and y *down*, where GeoJSON has degrees. Each feature's properties are
    ``class``, its name in the :class:`~seglib.labels.LabelMap`, ``class_id``, and ``area`` in pixels. A region of a
    class that the label map does not name, such as void, is a ValueError.
    """
    _check_named(regions, labels)
    features = []
    for region in regions:
        named = {"class": labels.names[region.class_id], "class_id": region.class_id, "area": region.area}
        polygon = {"type": "Polygon", "coordinates": [ring.tolist() for ring in find_contours(region)]}
        features.append({"type": "Feature", "properties": named, "geometry": polygon})
    return {"type": "FeatureCollection", "features": features}


def to_coco(regions, labels, file_name, size):
    """The regions of one image as COCO's ``instances`` JSON, for ``json.dump``; ``data.from_coco`` reads it.

    ``file_name`` and ``size``, ``(height, width)``, are the image's. Segmentations are run lengths, because COCO's
    polygons have no holes. The categories are named by the :class:`~seglib.labels.LabelMap`; a category's id is the
    class id plus 1, because many programs take 0 for the background. A region of a class that the label map does not
    name, such as void, is a ValueError.
    """
    _check_named(regions, labels)
    from pycocotools import mask as run_lengths

    height, width = map(int, size)
    annotations = []
    for number, region in enumerate(regions, start=1):
        rows, columns = region.pixels.shape
        whole = np.zeros(size, np.uint8, order="F")
        whole[region.top : region.top + rows, region.left : region.left + columns] = region.pixels
        shape = {"size": [height, width], "counts": run_lengths.encode(whole)["counts"].decode("ascii")}
        box = [region.left, region.top, columns, rows]
        annotation = {"id": number, "image_id": 1, "category_id": region.class_id + 1, "iscrowd": 0}
        annotations.append({**annotation, "segmentation": shape, "area": region.area, "bbox": box})
    return {
        "images": [{"id": 1, "file_name": file_name, "height": height, "width": width}],
        "categories": [{"id": i + 1, "name": name} for i, name in enumerate(labels.names)],
        "annotations": annotations,
    }


def _check_named(regions, labels):
    if strange := {region.class_id for region in regions} - set(range(labels.num_classes)):
        raise ValueError(f"labels names the classes 0–{labels.num_classes - 1}; there are regions of {strange}")
