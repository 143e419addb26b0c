"""Class maps: what the ids in a mask mean, how they are painted, and how other schemes of ids map onto them."""

from seglib.labels.label_map import PALETTE, VOID, VOID_COLOUR, LabelMap, _from_hex, remap, remap_table

BINARY_255 = {0: 0, 255: 1}
"""Masks saved as black and white: 255 is the foreground, class 1."""


def one_based(num_classes, void=0):
    """``ids`` of masks that count their classes from 1, such as ADE20K's; the file id ``void`` (None: none) is void."""
    ids = {i + 1: i for i in range(num_classes)}
    return ids if void is None else {void: VOID, **ids}


def voc_colours(count=21):
    """The PASCAL VOC palette: bit ``3j + c`` of the id is bit ``7 − j`` of channel c (VOC devkit).

    Returns:
        ``count`` tuples ``(red, green, blue)``, id 0 (black, background) first.
    """

    def channel(i, c):
        return sum(((i >> (3 * j + c)) & 1) << (7 - j) for j in range(8))

    return tuple(tuple(channel(i, c) for c in range(3)) for i in range(count))


def _named(names):
    """The label map of names with commas between them."""
    return LabelMap([name.strip() for name in names.split(",")])


VOC = LabelMap(
    (
        "background aeroplane bicycle bird boat bottle bus car cat chair cow dining-table dog horse motorbike person "
        "potted-plant sheep sofa train tv-monitor"
    ).split(),
    voc_colours(),
    void_colour=(224, 224, 192),
)
"""PASCAL VOC 2012: 21 classes; the cream-coloured border of its masks is void, id 255 in the palette files."""

CITYSCAPES = LabelMap(
    (
        "road sidewalk building wall fence pole traffic-light traffic-sign vegetation terrain sky person rider car "
        "truck bus train motorcycle bicycle"
    ).split(),
    _from_hex(
        "804080 f423e8 464646 66669c be9999 999999 faaa1e dcdc00 6b8e23 98fb98 4682b4 dc143c ff0000 00008e "
        "000046 003c64 005064 0000e6 770b20"
    ),
    void_colour=(0, 0, 0),
)
"""Cityscapes' 19 classes of the evaluation, in train-id order (Cordts et al. 2016)."""

# Position in the list = train id, value = the id in a *_labelIds.png file; ids 0–33 that are not listed are void.
_CITYSCAPES_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
CITYSCAPES_IDS = {i: VOID for i in range(34)} | {file: train for train, file in enumerate(_CITYSCAPES_IDS)}
"""Cityscapes ``labelIds`` (0–33) → train ids 0–18 or void."""

PETS = LabelMap(("pet", "background", "border"))
"""Oxford-IIIT Pet's trimap, 1–3 in the files: the pet, the background, and an uncertain border between them."""

PETS_BINARY = LabelMap(("background", "pet"))
"""Oxford-IIIT Pet without its border: its description calls those pixels "not classified", so here they are void."""

ADE20K = _named("""
wall, building, sky, floor, tree, ceiling, road, bed, windowpane, grass, cabinet, sidewalk, person, earth, door, table,
mountain, plant, curtain, chair, car, water, painting, sofa, shelf, house, sea, mirror, rug, field, armchair, seat,
fence, desk, rock, wardrobe, lamp, bathtub, railing, cushion, base, box, column, signboard, chest of drawers, counter,
sand, sink, skyscraper, fireplace, refrigerator, grandstand, path, stairs, runway, case, pool table, pillow,
screen door, stairway, river, bridge, bookcase, blind, coffee table, toilet, flower, book, hill, bench, countertop,
stove, palm, kitchen island, computer, swivel chair, boat, bar, arcade machine, hovel, bus, towel, light, truck, tower,
chandelier, awning, streetlight, booth, television, airplane, dirt track, apparel, pole, land, bannister, escalator,
ottoman, bottle, buffet, poster, stage, van, ship, fountain, conveyer belt, canopy, washer, plaything, swimming pool,
stool, barrel, basket, waterfall, tent, bag, minibike, cradle, oven, ball, food, step, tank, trade name, microwave, pot,
animal, bicycle, lake, dishwasher, screen, blanket, sculpture, hood, sconce, vase, traffic light, tray, ashcan, fan,
pier, crt screen, plate, monitor, bulletin board, shower, radiator, glass, clock, flag
""")
"""ADE20K's 150 classes (Zhou et al. 2017; objectInfo150.txt of the benchmark, the first of each class's words).

The benchmark's masks count from 1, and 0 is void: read them with ``ids=one_based(150)``.
"""

ADE20K_THINGS = _named("""
background, bed, windowpane, cabinet, person, door, table, curtain, chair, car, painting, sofa, shelf, mirror, armchair,
seat, fence, desk, wardrobe, lamp, bathtub, railing, cushion, box, column, signboard, chest of drawers, counter, sink,
fireplace, refrigerator, stairs, case, pool table, pillow, screen door, bookcase, coffee table, toilet, flower, book,
bench, countertop, stove, palm, kitchen island, computer, swivel chair, boat, arcade machine, bus, towel, light, truck,
chandelier, awning, streetlight, booth, television receiver, airplane, apparel, pole, bannister, ottoman, bottle, van,
ship, fountain, washer, plaything, stool, barrel, basket, bag, minibike, oven, ball, food, step, trade name, microwave,
pot, animal, bicycle, dishwasher, screen, sculpture, hood, sconce, vase, traffic light, tray, ashcan, fan, plate,
monitor, bulletin board, radiator, glass, clock, flag
""")
"""ADE20K's 100 classes of objects (instanceInfo100_train.txt of its instance release), and 0 for the background."""

COCO_PANOPTIC = _named("""
person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire hydrant, stop sign,
parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe, backpack, umbrella, handbag,
tie, suitcase, frisbee, skis, snowboard, sports ball, kite, baseball bat, baseball glove, skateboard, surfboard,
tennis racket, bottle, wine glass, cup, fork, knife, spoon, bowl, banana, apple, sandwich, orange, broccoli, carrot,
hot dog, pizza, donut, cake, chair, couch, potted plant, bed, dining table, toilet, tv, laptop, mouse, remote, keyboard,
cell phone, microwave, oven, toaster, sink, refrigerator, book, clock, vase, scissors, teddy bear, hair drier,
toothbrush, banner, blanket, bridge, cardboard, counter, curtain, door-stuff, floor-wood, flower, fruit, gravel, house,
light, mirror-stuff, net, pillow, platform, playingfield, railroad, river, road, roof, sand, sea, shelf, snow, stairs,
tent, towel, wall-brick, wall-stone, wall-tile, wall-wood, water-other, window-blind, window-other, tree-merged,
fence-merged, ceiling-merged, sky-other-merged, cabinet-merged, table-merged, floor-other-merged, pavement-merged,
mountain-merged, grass-merged, dirt-merged, paper-merged, food-other-merged, building-other-merged, rock-merged,
wall-other-merged, rug-merged
""")
"""COCO 2017 panoptic (Kirillov et al. 2019): 80 classes of things, then 53 of stuff, in official order."""
