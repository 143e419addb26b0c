"""The tab on which one clicks on a picture, and the network of ``checkpoints.load("promptable")`` segments the object.

A click says that a pixel belongs to the object. With Shift, or where the choice beside the picture says so, it says
that the pixel does not.
"""

import functools
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from seglib import checkpoints, images, predict, viz
from seglib.demo import photos
from seglib.labels import LabelMap

EXAMPLES = {"Cells": "cells.png", "Street": "street.png"}  # drawn by seglib.datasets: seeds 30001 and 30006
SIDE = 128  # the shorter side of the largest images of the training
SHOWN = 768  # pixels of the longer side to which small pictures are enlarged
LOWEST_IOU = 0.3  # where the network expects less, the page says that there may be no object
BLUE, ORANGE, GREEN, *_ = viz.COLOURS
MARKS = {True: GREEN, False: ORANGE}
LABELS = LabelMap(("background", "object"), colours=((0, 0, 0), tuple(bytes.fromhex(BLUE[1:]))))
INTRODUCTION = """<p>Click on an object: a network segments it. Another click inside the object, or one with Shift
outside it, corrects the mask. The picture stays on this machine.</p>
<p>Any image file of up to 20 MB, or an example:</p>"""
ICON = '<svg viewBox="0 0 20 20" aria-hidden="true"><path d="{}" stroke="{}"/></svg><span>{}</span>'
LEGEND = "".join(
    f'<div class="entry">{ICON.format(*entry)}</div>'
    for entry in (
        ("M10 2V18M2 10H18", GREEN, "a click inside the object"),
        ("M4 4L16 16M16 4L4 16", ORANGE, "Shift and a click: outside the object"),
        ("M5 5H15V15H5Z", BLUE, "the mask and its contour"),
    )
)
# Gradio's event does not tell of Shift. LISTEN, which the page runs at its start, hears of each click before Gradio.
LISTEN = "() => document.addEventListener('click', event => { window.shiftHeld = event.shiftKey }, true)"
HAND_ON = "(work, folder, inside) => [work, folder, window.shiftHeld ? false : inside]"


class Scene(NamedTuple):
    """A picture to click on; the first three fields are those of :func:`seglib.demo.photos.read_photo`."""

    name: str
    image: np.ndarray  # (height, width, 3) uint8
    file_size: tuple  # (height, width) of the file
    input_size: tuple  # (height, width) of the network's input, in whose pixels clicks and masks are
    features: object  # what the encoder found in it


class Work(NamedTuple):
    """A picture, the clicks on it as ``(row, column, inside)``, and the answers, the highest estimate first."""

    scene: Scene
    clicks: tuple = ()
    answers: predict.Answers | None = None  # None without a click


@functools.cache
def open_network():
    """The network of the repository's checkpoint."""
    return checkpoints.load(checkpoints.PROMPTABLE)


def encode_photo(photo, shorter=photos.TRAINED):
    """Encodes what :func:`seglib.demo.photos.read_photo` returned, at this shorter side: a :class:`Work`.

    ``TRAINED`` is the photo's own side, and ``SIDE`` at most; 0 is the photo's own.
    """
    size = photo[1].shape[:2]
    input_size = photos.fit_size(size, min(SIDE, *size) if shorter == photos.TRAINED else shorter)
    features = predict.encode_image(open_network(), images.resize_image(photo[1], input_size))
    return Work(Scene(*photo, input_size, features))


def show_size(scene):
    """``(height, width)`` of the picture as it is shown: a small one is enlarged by a whole number."""
    height, width = scene.image.shape[:2]
    factor = max(1, SHOWN // max(height, width))
    return factor * height, factor * width


def find_pixel(scene, point):
    """``(row, column)`` of the network's input at a point ``(x, y)`` of the picture as it is shown."""
    sides = zip(point[::-1], show_size(scene), scene.input_size, strict=True)
    return tuple(int((place + 0.5) * pixels // shown) for place, shown, pixels in sides)


def answer(scene, clicks):
    """A :class:`Work` with what the network answers to these clicks; a ValueError says what is wrong with them."""
    if not clicks:
        return Work(scene)
    found = predict.segment_clicks(open_network(), scene.features, clicks, scene.input_size)
    order = np.argsort(-found.scores)
    return Work(scene, tuple(clicks), predict.Answers(found.masks[order], found.scores[order]))


def add_click(work, point, inside):
    """The work with one more click, at a point of the picture as it is shown, and what is wrong with the click.

    A click that contradicts another, lies outside the image, or comes first and is no click inside, is left out.
    """
    try:
        return answer(work.scene, (*work.clicks, (*find_pixel(work.scene, point), inside))), ""
    except ValueError as error:
        return work, f"This click does not count: {error}."


def find_mask(work, choice=0):
    """(height, width) bool, of the size of the network's input: the chosen answer, all False before a click."""
    return np.zeros(work.scene.input_size, bool) if work.answers is None else work.answers.masks[choice]


def describe(work, choice=0):
    """The clicks, the area of the chosen mask and its estimated IoU, or that there is no object, in sentences."""
    if work.answers is None:
        return "Click inside an object of the picture."
    mask, score = find_mask(work, choice), work.answers.scores[choice]
    if not mask.any():
        return f"No object found here: the mask is empty. Estimated IoU: {score:.2f}. Click inside an object."
    outside = sum(not inside for *_, inside in work.clicks)
    clicks = f"{len(work.clicks)} click{'s' * (len(work.clicks) > 1)}, {outside} of them outside the object"
    height, width = mask.shape
    area = f"{mask.sum():,} pixels of the network's input of {height:,} × {width:,}"
    doubt = " That is low: there may be no object here. Click inside one, or correct the mask."
    return f"{clicks}. Area: {area}. Estimated IoU: {score:.2f}.{doubt * bool(score < LOWEST_IOU)}"


def draw_work(work, choice=0):
    """The picture as it is shown, (height, width, 3) uint8: the mask with its contour, + clicks inside, × outside."""
    scene, size = work.scene, show_size(work.scene)
    factor = size[0] // len(scene.image)
    ids = images.resize_mask(find_mask(work, choice).astype(np.uint8), size)
    image = viz.overlay(scene.image.repeat(factor, axis=0).repeat(factor, axis=1), ids, LABELS, 0.35)
    picture, mask = Image.fromarray(image), Image.fromarray(255 * ids)
    for colour, larger, smaller in (
        ("white", mask.filter(ImageFilter.MaxFilter(5)), mask),
        (BLUE, mask, mask.filter(ImageFilter.MinFilter(5))),
    ):
        picture.paste(colour, mask=ImageChops.subtract(larger, smaller))
    pen = ImageDraw.Draw(picture)
    for *pixel, inside in work.clicks:
        y, x = ((i + 0.5) * shown / n for i, shown, n in zip(pixel, size, scene.input_size, strict=True))
        for colour, width, reach in (("white", 8, 13), (MARKS[inside], 4, 11)):
            for dx, dy in ((0, 1), (1, 0)) if inside else ((0.7, 0.7), (0.7, -0.7)):
                pen.line([x - reach * dx, y - reach * dy, x + reach * dx, y + reach * dy], colour, width)
    return np.asarray(picture)


def write_mask(work, choice, folder):
    """Writes the chosen mask, of the size of the picture's file, into a folder, and returns its path."""
    path = str(Path(folder) / f"{work.scene.name}-object.png")
    ids = find_mask(work, choice).astype(np.uint8)
    images.write_mask(path, images.resize_mask(ids, work.scene.file_size), LABELS)
    return path


def add_tab(tab):
    """Fills a tab with components."""
    import gradio as gr

    photo, work = (gr.State(None, time_to_live=photos.KEPT_SECONDS) for _ in range(2))
    folder = gr.State("", time_to_live=photos.KEPT_SECONDS, delete_callback=photos.delete)
    with gr.Row():
        with gr.Column(scale=2, min_width=300):
            gr.HTML(INTRODUCTION)
            kinds = list(images.EXTENSIONS)
            drop = gr.File(label="Picture", elem_id="picture", show_label=False, file_types=kinds, height=150)
            with gr.Row():
                examples = {name: gr.Button(name, elem_id=name.lower(), min_width=100) for name in EXAMPLES}
            info = f"Shorter side in pixels. As trained: {SIDE} at most. A change clears the clicks."
            shorter = gr.Radio(photos.SIDES, value=photos.TRAINED, label="Size of the network's input", info=info)
        with gr.Column(scale=5, min_width=420):
            alt = "The picture with the mask and the clicks; click on an object"
            picture = photos.show_picture("Clicks", elem_id="clicked", alt_text=alt, show_label=False, buttons=[])
            status = gr.HTML(elem_id="status")
            with gr.Row():
                undo = gr.Button("Undo", elem_id="undo")
                clear = gr.Button("Clear", elem_id="clear")
                save = gr.DownloadButton("Save the mask", elem_id="save-object")
        with gr.Column(scale=3, min_width=300):
            meanings = [("belongs to the object", True), ("does not belong (or hold Shift)", False)]
            inside = gr.Radio(meanings, value=True, label="What you click on", elem_id="inside")
            choice = gr.Radio(label="The network's answers", elem_id="answers", visible=False)
            gr.HTML(f'<div class="marks">{LEGEND}</div>')

    shown = [work, folder, picture, status, choice, undo, clear, save]
    one_by_one = {"concurrency_id": "clicks", "show_progress": "hidden", "api_visibility": "private"}

    def click(work, folder, inside, event: gr.SelectData):
        return _show(folder, *add_click(_find(work), event.index, inside))

    def change(work, folder, kept):
        work = _find(work)
        return _show(folder, answer(work.scene, work.clicks[:kept]))

    def choose(work, folder, choice):
        return _show(folder, _find(work), choice=choice)

    def start(photo, shorter, folder):
        with photos.told():
            return _show(folder, encode_photo(photo, shorter))

    def start_example(name, shorter, folder):
        return start(photos.read_photo(Path(__file__).with_name(EXAMPLES[name])), shorter, folder)

    def restart(work, shorter, folder):
        return start(_find(work).scene[:3], shorter, folder)

    read = drop.upload(photos.read_upload, drop, [photo, drop], api_visibility="private")
    read.failure(lambda: None, None, drop, api_visibility="private")
    read.success(start, [photo, shorter, folder], shown, **one_by_one)
    for name, button in examples.items():
        button.click(functools.partial(start_example, name), [shorter, folder], shown, **one_by_one)
    first = functools.partial(start_example, next(iter(EXAMPLES)))
    tab.select(lambda work, *rest: gr.skip() if work else first(*rest), [work, shorter, folder], shown, **one_by_one)
    shorter.input(restart, [work, shorter, folder], shown, **one_by_one)
    picture.select(click, [work, folder, inside], shown, js=HAND_ON, trigger_mode="multiple", **one_by_one)
    undo.click(functools.partial(change, kept=-1), [work, folder], shown, trigger_mode="multiple", **one_by_one)
    clear.click(functools.partial(change, kept=0), [work, folder], shown, **one_by_one)
    choice.input(choose, [work, folder, choice], shown, **one_by_one)


def _find(work):
    import gradio as gr

    if work is None:
        raise gr.Error(photos.FORGOTTEN, print_exception=False)
    return work


def _show(folder, work, wrong="", choice=0):
    """What the components show of some work, in the order of ``shown``."""
    import gradio as gr

    folder = photos.make_folder(folder)
    picture = photos.write_image(draw_work(work, choice), Path(folder) / f"{work.scene.name}-clicks.png")
    clicked = bool(work.clicks)
    scores = work.answers.scores if clicked else ()
    choices = [(f"estimated IoU {score:.2f}", i) for i, score in enumerate(scores)]
    status = f'<p role="status">{(wrong + " " + describe(work, choice)).strip()}</p>'
    buttons = [gr.Button(interactive=clicked)] * 2
    found = find_mask(work, choice).any()
    save = gr.DownloadButton(value=write_mask(work, choice, folder) if found else None, interactive=bool(found))
    return work, folder, picture, status, gr.Radio(choices, value=choice, visible=clicked), *buttons, save
