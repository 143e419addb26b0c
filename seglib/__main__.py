"""The command line: ``python -m seglib check | train | evaluate | predict``; thin, over the functions of the course."""

import argparse
import itertools
import os
import re
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow tells of the processor, not of the work

MODELS = {"unet": {"depth": 5}, "fcn": {"backbone": "small"}, "deeplab_v3_plus": {}}
EXIT = "exit codes: 0 all is well, 1 something is wrong and said, 2 the command was not understood, 130 interrupted"
MODEL = "a .keras file; or a checkpoint that comes with seglib: unet, deeplab_v3_plus, fcn_8s"
DATA = """DATA is a name, such as streets/tiny or oxford_iiit_pet; or two folders, of images and of masks that have the
same names. Folders are split by chance, the same way each time; what is inferred is printed."""


def main(arguments=None):
    """Runs a command, and returns its exit code; what goes wrong is said in a line, without a stack trace."""
    options = _build_parser().parse_args(arguments)
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
    """Trains a model, keeps the best, and goes on with a run that was interrupted."""
    from seglib import augment, predict, runs
    from seglib import train as training

    dataset = _load_data(options)
    labels, size = dataset.labels, tuple(options.size)
    recipe = {"data": dataset.name, "classes": labels.names, "pairs": dataset.counts}
    recipe |= {f"{split} files": runs.sign_names(itertools.chain(*pairs)) for split, pairs in dataset.files.items()}
    settings = ("model", "filters", "size", "epochs", "batch_size", "rate", "augment", "seed")
    recipe |= {name: getattr(options, name) for name in settings}
    runs.check_recipe(options.out, recipe, "state-*", "*.keras")
    views = None if options.augment == "none" else getattr(augment, options.augment)(size, ignore_id=labels.ignore_id)
    choice = dict(batch_size=options.batch_size, augment=views, seed=options.seed)
    model = _make_model(options, labels, steps=options.epochs * len(dataset.batches("train", size, **choice)))
    runs.note_recipe(options.out, recipe)  # not earlier: settings that cannot be leave nothing behind
    (options.out / predict.LABELS).unlink(missing_ok=True)  # of a run that made no model
    labels.save(options.out / predict.LABELS)
    done = training.resume(model, options.out, recipe)
    if done:
        print(f"{options.out}: {done} of {options.epochs} epochs are done")
    model.fit(
        dataset.batches("train", size, epoch=done, **choice),
        validation_data=dataset.batches("val", size, options.batch_size),
        initial_epoch=done,
        epochs=options.epochs,
        shuffle=False,
        verbose=0,
        callbacks=training.callbacks(model, options.out, lines=options.epochs),
    )
    best = options.out / "best.keras"
    if not best.is_file():
        raise ValueError(f"{best} is gone, but its run has ended; delete state-*.npz in that folder to train anew")
    print(f"the best model: {best}; it was trained at --size {size[0]} {size[1]}")
    return 0


def _make_model(options, labels, steps):
    import keras

    from seglib import losses, metrics, models
    from seglib import train as training

    training.seed(options.seed)
    settings = MODELS[options.model] | ({"filters": options.filters} if options.model == "unet" else {})
    model = getattr(models, options.model)((None, None, 3), labels.num_classes, **settings)
    poly = keras.optimizers.schedules.PolynomialDecay(options.rate, steps, end_learning_rate=0.0, power=0.9)
    optimizer = keras.optimizers.AdamW(training.Warmup(poly, min(50, steps // 10)), weight_decay=1e-2)
    loss = losses.CompoundLoss({"cross_entropy": 1, "dice": 1}, ignore_id=labels.ignore_id)
    model.compile(optimizer, loss, metrics=[metrics.ConfusionMatrix(labels.num_classes, labels.ignore_id)])
    return model


def evaluate(options):
    """Scores a model on a split, at the images' own size."""
    from tqdm import tqdm

    from seglib import metrics

    dataset, (model, _), method = _load_data(options), _open_model(options), _make_method(options)
    labels, known = dataset.labels, model.output_shape[-1]
    if known != labels.num_classes:
        raise ValueError(f"{options.model} has {known} classes, {dataset.name} has {labels.num_classes}")
    matrix = metrics.ConfusionMatrix(labels.num_classes, labels.ignore_id)
    pairs = dataset.split(options.split).as_numpy_iterator()
    for pair in tqdm(pairs, total=dataset.counts[options.split], desc="images", disable=None, delay=2):
        matrix.update_state(pair["mask"], method(model, pair["image"]))
    width = max(map(len, labels.names))
    for name, iou in zip(labels.names, matrix.iou(), strict=True):
        print(f"{name:<{width}}  IoU {iou:.3f}")
    print(f"{dataset.name} {options.split}: mean IoU {matrix.mean_iou():.3f}, accuracy {matrix.accuracy():.3f}")
    return 0


def predict(options):
    """Segments images into a folder of palette PNGs."""
    from seglib import predict as predicting

    paths = _find_images(options.images)
    model, labels = _open_model(options)
    recipe = {name: getattr(options, name) for name in ("size", "tta", "crf", "tile")}
    run = predicting.segment_files(model, paths, options.out, labels, _make_method(options), recipe)
    for message in run.failed.values():
        print(message, file=sys.stderr)
    print(f"{options.out}: {len(run.written)} masks written, {len(run.kept)} there already, {len(run.failed)} failed")
    return 1 if run.failed else 0


def _open_model(options):
    """The model that is named, and its classes; a checkpoint sees images at the size of its training."""
    from seglib import checkpoints
    from seglib import predict as predicting

    path = Path(options.model)
    if path.suffix not in ("", ".npz"):
        model = predicting.load_model(path)
        return model, predicting.find_labels(path, model.output_shape[-1])
    model = checkpoints.load(path.stem)
    if not (options.size or options.tile):
        options.size = checkpoints.CHECKPOINTS[path.stem].size
    return model, predicting.find_labels(checkpoints.FOLDER / path.stem, model.output_shape[-1])


def _load_data(options):
    from seglib import data

    if len(options.data) > 2:
        raise ValueError(f"DATA is a name, or two folders; got {' '.join(options.data)}")
    if len(options.data) == 1:
        if options.classes:
            raise ValueError(f"--classes names the classes of folders; {options.data[0]} is none")
        return data.load(options.data[0])
    names = options.classes and [name.strip() for name in options.classes.split(",")]
    return data.from_folder(*options.data, labels=names)


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


def _make_method(options):
    """``method(model, image)`` → ids, as the options say."""
    from seglib import crf
    from seglib import predict as predicting

    if options.tile:
        if options.tta or options.crf or options.size:
            raise ValueError("--tile predicts a large image tile by tile, unresized; it goes without the other options")
        overlap = min(64, options.tile // 64 * 32)
        return lambda model, image: predicting.tiled(model, image, options.tile, overlap)

    def infer(model, image):
        image = predicting.to_image(image)
        probs = (predicting.tta if options.tta else predicting.probabilities)(model, image, options.size)
        return predicting.to_ids(crf.refine(probs, image) if options.crf else probs)

    return infer


def _build_parser():
    parser = argparse.ArgumentParser("python -m seglib", description="Semantic segmentation of images.", epilog=EXIT)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(run, example):
        """Adds a command, and returns the function that adds its arguments."""
        added = commands.add_parser(
            run.__name__,
            help=run.__doc__,
            description=f"{run.__doc__}\n\n{DATA if run is not predict else ''}",
            epilog=f"example: python -m seglib {run.__name__} {example}\n\n{EXIT}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        added.set_defaults(run=run)
        return added.add_argument

    _add_data(command(check, "photos masks --classes background,crack"))

    add = command(train, "streets/tiny --out build/runs/mine --size 64 96 --epochs 10")
    _add_data(add)
    add("--out", type=Path, required=True, metavar="DIR", help="for best.keras; run again, it resumes")
    add("--model", choices=MODELS, default="unet", help="(unet)")
    add("--filters", type=_whole_number, default=32, metavar="N", help="of the U-Net's first level (32)")
    add("--size", **SIZE, default=(256, 256), help="(256 256)")
    add("--epochs", type=_whole_number, default=40, help="how often each training pair is used (40)")
    add("--batch-size", type=_whole_number, default=8, metavar="N", help="images in a step (8)")
    add("--rate", type=float, default=2e-3, help="the highest learning rate (0.002)")
    add("--augment", choices=("none", "light", "standard", "strong"), default="light", help="(light)")
    add("--seed", type=int, default=0, metavar="N", help="of weights, order and augmentation (0)")

    add = command(evaluate, "build/runs/mine/best.keras streets/tiny --size 64 96")
    add("model", metavar="MODEL", help=MODEL)
    _add_data(add)
    add("--split", choices=("train", "val", "test"), default="test", help="(test)")
    _add_inference(add)

    add = command(predict, "unet photos --out masks")
    add("model", metavar="MODEL", help=f"{MODEL}; labels.json beside a file names its classes")
    add("images", nargs="+", metavar="IMAGE", help="image files, and folders of them (not those inside)")
    add("--out", type=Path, required=True, metavar="DIR", help="for masks as PNG; run again, it resumes")
    _add_inference(add)
    return parser


def _add_data(add):
    add("data", nargs="+", metavar="DATA", help="a name, or a folder of images and one of masks")
    add("--classes", metavar="A,B,…", help="the names of a folder's classes, id 0 first")


def _add_inference(add):
    add("--size", **SIZE, help="to resize images to for the model; best that of its training (a checkpoint's; none)")
    add("--tta", action="store_true", help="average with the flipped view: twice the time")
    add("--crf", action="store_true", help="refine boundaries by a fully connected CRF")
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
