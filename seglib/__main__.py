"""The command line: ``python -m seglib check | train | evaluate | predict``; thin, over the functions of the course."""

import argparse
import contextlib
import csv
import itertools
import os
import re
import sys
from dataclasses import asdict
from pathlib import Path

os.environ.setdefault("MPLBACKEND", "Agg")  # figures are files
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow tells of the processor, not of the work

PLANNED = "minutes steps epochs scale crop batch_size model filters rate augment seed".split()
MOST_PIXELS = 2**20  # that a model sees at once
EXIT = "exit codes: 0 all is well, 1 something is wrong and said, 2 the command was not understood, 130 interrupted"
MODEL = "a .keras file; or a checkpoint that comes with seglib: unet, deeplab_v3_plus, fcn_8s"
DATA = """DATA is a name, such as streets/tiny or oxford_iiit_pet; two folders, of images and of masks of the same
names; a COCO file and the folder of its images; or one folder of <image>/images/*.png and <image>/masks/*.png, a mask
an instance. Folders are split by chance, the same way each time; what is inferred is printed."""
PLAN = "What is not said by an option is planned from the data, printed with its reasons, and kept in plan.json."


def main(arguments=None):
    """Runs a command, and returns its exit code; what goes wrong is said in a line, without a stack trace."""
    options = _build_parser().parse_args(arguments)
    options.words = sys.argv[1:] if arguments is None else arguments
    try:
        return options.run(options)
    except KeyboardInterrupt:
        goes_on = "; run it again, and it goes on" if options.command in ("train", "predict") else ""
        print(f"seglib {options.command}: interrupted{goes_on}", file=sys.stderr)
        return 130
    except (ValueError, OSError, ImportError) as error:
        said = [str(error)]
    except Exception as error:  # what goes wrong within tf.data comes as TensorFlow's, with many words around it
        said = re.findall(r"^[\w.]*Error: (.+)$", str(error), re.MULTILINE)
        if not (said and type(error).__module__.startswith("tensorflow.")):
            raise
    in_python = re.search(r"\b(labels|ids|val|test|groups)=", said[-1])
    hint = " (arguments of seglib.data.from_folder in Python; here there is --classes)" if in_python else ""
    print(f"seglib {options.command}: {said[-1]}{hint}", file=sys.stderr)
    return 1


def check(options):
    """Reads all pairs and reports what is wrong with them."""
    from seglib import doctor

    report = doctor.check(_load_data(options))
    print(report)
    return 0 if report.clean else 1


def train(options):
    """Plans a training from the data, trains a model, keeps the best, and goes on with a run that was interrupted."""
    from seglib import hosts

    if options.minutes and (options.hosts or options.devices):
        raise ValueError("--minutes times steps on one device; with --devices or --hosts say --steps")
    several = options.hosts, options.process, options.processes
    if several == (None, None, None):
        return _train(options)
    if hosts.INSIDE not in os.environ:
        return hosts.watch(options.words, options.process, options.processes)
    with hosts.join(*several):
        return _train(options)


def _train(options):
    """Trains on one device, or on all that there are."""
    from seglib import hosts, runs
    from seglib import train as training

    dataset, place = _load_data(options), options.out / "plan.json"
    given = {name: getattr(options, name) for name in PLANNED}
    recipe = {"data": dataset.name, "classes": dataset.labels.names, "pairs": dataset.counts, **given}
    recipe |= {f"{split} files": runs.sign_names(itertools.chain(*pairs)) for split, pairs in dataset.files.items()}
    runs.check_recipe(options.out, recipe, "state-*", "*.keras")
    goes_on = place.is_file() and any(options.out.glob("state-*"))
    plan = training.Plan.load(place) if goes_on else training.plan(dataset, **given)
    seen = [runs.sign_file(image) for split in ("train", "val") for image, _ in dataset.files.get(split, ())]
    if options.hosts:
        states = {path.name: runs.sign_file(path) for path in sorted(options.out.glob("state-*"))}
        told = {f"the plan's {name}": value for name, value in plan._replace(reasons={})._asdict().items()}
        hosts.agree({"the data or options": [recipe, seen], "the state in --out": states} | told)
    with hosts.spread(plan.batch_size) if options.hosts or options.devices else contextlib.nullcontext():
        training.build(plan, dataset.labels)  # not later: settings that cannot be leave nothing behind
        if hosts.is_first():
            runs.note_recipe(options.out, recipe)
            plan.save(place)
        print(plan)
        table = getattr(dataset.read_mask, "table", None)
        note = {"labels": asdict(dataset.labels), "ids": table and [*table.items()], "scale": plan.scale, "seen": seen}
        training.fit(plan, dataset, options.out, recipe, note)
    if options.process:
        return 0
    best = options.out / "best.keras"
    if not best.is_file():
        raise ValueError(f"{best} is gone, but its run has ended; delete state-*.npz in that folder to train anew")
    _draw_progress(best, dataset)
    print(f"the best model: {best}; how it learned: progress.png, and worst.png of validation images, beside it")
    return 0


def _draw_progress(best, dataset):
    """Draws the curves of a run and its worst validation images into the folder of its best model."""
    import matplotlib.pyplot as plt

    from seglib import predict as predicting
    from seglib import runs, viz

    epochs = [*csv.DictReader(best.with_name("log.csv").read_text().splitlines())]
    viz.show_history({name: [float(epoch[name]) for epoch in epochs] for name in epochs[0]})
    plt.savefig(best.with_name("progress.png"))
    model, method = predicting.load_model(best), _make_method(scale=runs.read_note(best)["scale"])
    pairs = [*dataset.val.take(20).as_numpy_iterator()]
    images, masks = ([pair[key] for pair in pairs] for key in ("image", "mask"))
    viz.show_worst(images, masks, [method(model, image) for image in images], dataset.labels)
    plt.savefig(best.with_name("worst.png"))


def evaluate(options):
    """Scores a model at the images' own size, on those that its training has not seen, or on a split."""
    from tqdm import tqdm

    from seglib import metrics, runs

    model, known, method = _open_model(options)
    note = runs.read_note(options.model)
    dataset = _load_data(options, note, **({} if options.split else {"val": 0, "test": 0}) if note.get("seen") else {})
    labels = dataset.labels
    if known.num_classes != labels.num_classes:
        raise ValueError(f"{options.model} has {known.num_classes} classes, {dataset.name} has {labels.num_classes}")
    matrix = metrics.ConfusionMatrix(labels.num_classes, labels.ignore_id)
    what, count, pairs = _choose_pairs(dataset, options.split, set(note.get("seen", ())))
    for pair in tqdm(pairs, total=count, desc="images", disable=None, delay=2):
        matrix.update_state(pair["mask"], method(model, pair["image"]))
    width = max(map(len, labels.names))
    for name, iou in zip(labels.names, matrix.iou(), strict=True):
        print(f"{name:<{width}}  IoU {iou:.3f}")
    print(f"{dataset.name}, {what}: mean IoU {matrix.mean_iou():.3f}, accuracy {matrix.accuracy():.3f}")
    return 0


def predict(options):
    """Segments images into a folder of palette PNGs."""
    from seglib import predict as predicting
    from seglib.predict import cluster

    paths = _find_images(options.images)
    with contextlib.nullcontext() if options.ray is None else cluster.connect(options.ray) as spread:
        model, labels, method = _open_model(options)
        recipe = {"size": options.size, "tile": options.tile}
        run = predicting.segment_files(model, paths, options.out, labels, method, recipe, spread)
    for message in run.failed.values():
        print(message, file=sys.stderr)
    print(f"{options.out}: {len(run.written)} masks written, {len(run.kept)} there already, {len(run.failed)} failed")
    return 1 if run.failed else 0


def _open_model(options):
    """The model that is named, its classes, and how it predicts: at the scale, or at the size, of its training."""
    from seglib import checkpoints, runs
    from seglib import predict as predicting

    path, scale = Path(options.model), None
    if path.suffix not in ("", ".npz"):
        model, beside = predicting.load_model(path), path
        scale = runs.read_note(path).get("scale")
    else:
        model, beside = checkpoints.load(path.stem), checkpoints.FOLDER / path.stem
        if not (options.size or options.tile):
            options.size = checkpoints.CHECKPOINTS[path.stem].size
    method = _make_method(options.size, options.tile, scale)
    return model, predicting.find_labels(beside, model.output_shape[-1]), method


def _load_data(options, note=(), **shares):
    """The dataset that is named; folders are read as the model was trained on them, if its ``note`` says how."""
    from seglib import data
    from seglib.labels import LabelMap

    places = options.data
    if len(places) > 2:
        raise ValueError(f"DATA is a name, or one or two folders; got {' '.join(places)}")
    labels, ids = _read_classes(options.classes)
    if not labels and "labels" in note:
        ids = note.get("ids") and {tuple(key) if isinstance(key, list) else key: target for key, target in note["ids"]}
        labels = LabelMap(**note["labels"])
    coco = [place for place in places if place.endswith(".json")]
    if coco and len(places) == 2:
        return data.from_coco(coco[0], places[1 - places.index(coco[0])], labels, **shares)
    if len(places) == 2:
        return data.from_folder(*places, labels, ids, **shares)
    if Path(places[0]).is_dir():
        return data.from_instances(places[0], labels, **shares)
    if options.classes:
        raise ValueError(f"--classes names the classes of folders; {places[0]} is none")
    return data.load(places[0])


def _read_classes(text):
    """``(label map, table of ids)`` of the names in ``--classes``, or Nones; what is called void is not scored."""
    from seglib.labels import VOID, LabelMap

    if not text:
        return None, None
    names = [name.strip() for name in text.split(",")]
    labels = LabelMap(tuple(name for name in names if name != "void"))
    if "void" not in names:
        return labels, None
    return labels, {VOID: VOID} | {i: VOID if name == "void" else labels.id_of(name) for i, name in enumerate(names)}


def _choose_pairs(dataset, split, seen):
    """What is scored, in words, how many pairs, and these: of the split, or all whose images are not ``seen``."""
    from seglib import runs
    from seglib.data.dataset import read_pair

    if split or not (seen and any(dataset.files.values())):
        split = split or "test"
        return split, dataset.counts.get(split), dataset.split(split).as_numpy_iterator()
    files = [pair for pairs in dataset.files.values() for pair in pairs if runs.sign_file(pair[0]) not in seen]
    if not files:
        raise ValueError(f"{dataset.name}: training has seen all of these images; --split train scores them still")
    pairs = (dict(zip(("image", "mask"), read_pair(*pair, dataset.read_mask), strict=True)) for pair in files)
    return f"{len(files)} images that training has not seen", len(files), pairs


def _find_images(sources):
    """The files named, and of the folders named all images, by name, without hidden files and folders inside."""
    from seglib.images import EXTENSIONS

    found = []
    for source in map(Path, sources):
        files = sorted(path for path in source.glob("[!.]*") if path.is_file() and path.suffix.lower() in EXTENSIONS)
        inside = files if source.is_dir() else [source]
        if not inside:
            raise ValueError(f"{source}: no image in this folder; wanted {', '.join(EXTENSIONS)}")
        found += inside
    return found


def _make_method(size=None, tile=None, scale=None):
    """``method(model, image)`` → ids, as the options say; where the scale is known, large images tile by tile."""
    from seglib import predict as predicting

    if tile and size:
        raise ValueError("--tile predicts a large image tile by tile, unresized; it goes without --size")

    def infer(model, image):
        image = predicting.to_image(image)
        scaled = predicting.Scaled(model, scale) if scale and not size else model
        is_large = scale and scale**2 * image.shape[0] * image.shape[1] > MOST_PIXELS
        if tile or is_large and not size:
            side = tile or round(512 / scale / 32) * 32
            return predicting.tiled(scaled, image, side, min(64, side // 64 * 32))
        return predicting.segment(scaled, image, size)

    return infer


def _build_parser():
    parser = argparse.ArgumentParser("python -m seglib", description="Semantic segmentation of images.", epilog=EXIT)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(run, example):
        """Adds a command, and returns the function that adds its arguments."""
        added = commands.add_parser(
            run.__name__,
            help=run.__doc__,
            description=f"{run.__doc__}\n\n{DATA if run is not predict else ''} {PLAN if run is train else ''}",
            epilog=f"example: python -m seglib {run.__name__} {example}\n\n{EXIT}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        added.set_defaults(run=run)
        return added.add_argument

    _add_data(command(check, "photos masks --classes background,crack"))

    add = command(train, "photos masks --out build/runs/mine --minutes 10")
    _add_data(add)
    add("--out", type=Path, required=True, metavar="DIR", help="for best.keras; run again, it resumes")
    add("--minutes", type=float, metavar="M", help="how long to train on this machine; some steps are timed for it")
    add("--steps", type=_whole_number, metavar="N", help="in place of the minutes (1000)")
    add("--epochs", type=_whole_number, metavar="N", help="parts of the steps, each with a validation at its end")
    add("--scale", type=float, help="the factor of the images' own sizes, in training and prediction")
    add("--crop", **SIZE, help="of what the network is trained on, at that scale")
    add("--batch-size", type=_whole_number, metavar="N", help="crops in a step")
    add("--model", choices=("unet", "fcn", "deeplab_v3_plus"), help="(unet)")
    add("--filters", type=_whole_number, metavar="N", help="of the U-Net's first level")
    add("--rate", type=float, help="the highest learning rate (0.003)")
    add("--no-augment", dest="augment", action="store_const", const={}, help="images as they are")
    add("--seed", type=int, metavar="N", help="of weights, order and augmentation (0)")
    add("--devices", choices=("all",), help="of this host, each with an equal part of a batch (one)")
    add("--hosts", metavar="ADDRESS:PORT", help="of process 0; the same command on each host, with an --out they share")
    add("--process", type=int, metavar="I", help="the number of this host, from 0")
    add("--processes", type=_whole_number, metavar="N", help="how many hosts there are")

    add = command(evaluate, "build/runs/mine/best.keras photos masks")
    add("model", metavar="MODEL", help=MODEL)
    _add_data(add)
    add("--split", choices=("train", "val", "test"), help="(what training has not seen; test)")
    _add_inference(add)

    add = command(predict, "unet photos --out masks")
    add("model", metavar="MODEL", help=f"{MODEL}; a file that train wrote knows its classes and scale")
    add("images", nargs="+", metavar="IMAGE", help="image files, and folders of them (not those inside)")
    add("--out", type=Path, required=True, metavar="DIR", help="for masks as PNG; run again, it resumes")
    add("--ray", nargs="?", const="", metavar="ADDRESS", help="on a Ray cluster, such as host:6379 (this machine's)")
    _add_inference(add)
    return parser


def _add_data(add):
    add("data", nargs="+", metavar="DATA", help="a name, or folders")
    add("--classes", metavar="A,B,…", help="names of a folder's classes, id 0 first; the one called void is not scored")


def _add_inference(add):
    add("--size", **SIZE, help="to resize images to for the model (that of its training)")
    add("--tile", type=_whole_number, metavar="N", help="predict large images in overlapping tiles of N pixels")


def _whole_number(text):
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"wanted 1 or more, got {text}")
    return number


SIZE = {"type": _whole_number, "nargs": 2, "metavar": ("HEIGHT", "WIDTH")}

if __name__ == "__main__":
    sys.stdout.reconfigure(errors="replace")  # names of classes and files, on a terminal that has only ASCII
    sys.exit(main())
