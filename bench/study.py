"""Which hyperparameter matters? Trains one U-Net after another, all drawn at random (Bergstra & Bengio 2012).

    pip install optuna
    python bench/study.py               # writes bench/study.csv (goes on where an earlier run was stopped), then …
    python bench/study.py --importance  # … as this does by itself, bench/importance.csv from it

Each run is three epochs of ``streets/tiny`` from scratch and is scored on the validation streets, with the weights of
its last step. Drawn for each are the loss, the optimizer, its learning rate, the batch size, the schedule, the
augmentation, the width and the seed. Optuna (no requirement of the course) draws, and says by functional ANOVA (Hutter
et al. 2014) which share of the scores' variance each explains, with the scores of mean IoU, pole and pedestrian each
for itself. Its random forest is grown from ten seeds; importance.csv has a row for each. ``fanova.py`` checks the
method on a known answer.
"""

import argparse
import csv
import itertools
import math
import statistics
import time
from pathlib import Path

import keras
import optuna
import seeds

from seglib import augment, class_balance, data, losses, metrics, models, train

SIZE, EPOCHS, TRIALS, SEED = (64, 96), 3, 64, 0
RATES = (1e-4, 3e-2)
LOSSES = {
    "cross-entropy": ({"cross_entropy": 1}, None),
    "class weights": ({"cross_entropy": 1}, "inverse_log"),
    "focal": ({"focal": 1}, None),
    "cross-entropy + Dice": ({"cross_entropy": 1, "dice": 1}, None),
    "cross-entropy + Lovász": ({"cross_entropy": 1, "lovasz": 1}, None),
}
OPTIMIZERS = {
    "SGD": lambda rate: keras.optimizers.SGD(rate, momentum=0.9),
    "RMSprop": keras.optimizers.RMSprop,
    "Adam": keras.optimizers.Adam,
    "AdamW": lambda rate: keras.optimizers.AdamW(rate, weight_decay=1e-2),
}
SCHEDULES = {
    "constant": lambda rate, steps: rate,
    "poly": lambda rate, steps: seeds.poly(rate, steps, steps // 20),
    "cosine": lambda rate, steps: train.Warmup(keras.optimizers.schedules.CosineDecay(rate, steps), steps // 20),
    "long warm-up": lambda rate, steps: train.Warmup(keras.optimizers.schedules.CosineDecay(rate, steps), steps // 3),
}
AUGMENTATIONS = {
    "none": lambda: None,
    "flip": lambda: augment.Augment(SIZE, flip=0.5),
    "light": lambda: augment.light(SIZE),
    "standard": lambda: augment.standard(SIZE),
    "strong": lambda: augment.strong(SIZE),
}
SPACE = {
    "loss": optuna.distributions.CategoricalDistribution(list(LOSSES)),
    "optimizer": optuna.distributions.CategoricalDistribution(list(OPTIMIZERS)),
    "rate": optuna.distributions.FloatDistribution(*RATES, log=True),
    "batch_size": optuna.distributions.CategoricalDistribution([4, 8, 16]),
    "schedule": optuna.distributions.CategoricalDistribution(list(SCHEDULES)),
    "augmentation": optuna.distributions.CategoricalDistribution(list(AUGMENTATIONS)),
    "filters": optuna.distributions.CategoricalDistribution([8, 12, 16, 24]),
    "seed": optuna.distributions.IntDistribution(0, 4),
}
SCORES = ("miou", "pole", "pedestrian")
FIELDS = ("trial", *SPACE, *SCORES, "seconds")
READ = {"rate": lambda rate: math.log10(float(rate)), "batch_size": int, "filters": int, "seed": int}  # from the CSV
CSV, IMPORTANCE = Path(__file__).with_suffix(".csv"), Path(__file__).with_name("importance.csv")


def draw():
    """The hyperparameters of all trials, as Optuna's random sampler draws them: a list of tuples, the number first."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=SEED))
    trials = [study.ask(SPACE).params for _ in range(TRIALS)]
    trials = [{**trial, "rate": f"{trial['rate']:.2e}"} for trial in trials]
    return [(number, *(trial[knob] for knob in SPACE)) for number, trial in enumerate(trials)]


def run(_, loss, optimizer, rate, batch_size, schedule, augmentation, filters, seed):
    """One training; returns its scores and seconds."""
    town = data.load("streets/tiny")
    num_classes, (terms, scheme) = town.labels.num_classes, LOSSES[loss]
    batches = town.batches("train", SIZE, batch_size, augment=AUGMENTATIONS[augmentation](), seed=seed)
    weights = scheme and class_balance.class_weights(town.class_pixels("train"), scheme)
    rate = float(rate) * (10 if optimizer == "SGD" else 1)
    rate = SCHEDULES[schedule](rate, EPOCHS * len(batches))
    train.seed(seed)
    model = models.unet((None, None, 3), num_classes, filters, depth=4)
    model.compile(OPTIMIZERS[optimizer](rate), losses.CompoundLoss(terms, class_weights=weights))
    model.optimizer.build(model.trainable_variables)
    began = time.perf_counter()
    model.fit(batches, epochs=EPOCHS, shuffle=False, verbose=0)
    seconds = time.perf_counter() - began
    masks, preds = seeds.predict(model, town.batches("val", SIZE))
    iou = dict(zip(town.labels.names, metrics.iou(metrics.confusion_matrix(masks, preds, num_classes)), strict=True))
    scores = (statistics.mean(iou.values()), iou["pole"], iou["pedestrian"])
    return [*(f"{score:.4f}" for score in scores), f"{seconds:.0f}"]


def explain(rows):
    """Writes and prints the share of the variance of each score that each hyperparameter explains.

    The forest's predictions are averaged over evenly spread values. A rate is spread in its logarithm, as it was drawn;
    Optuna by itself would spread it from 0.0001 to 0.03 as it is, where nearly all rates are high.
    """
    space = {**SPACE, "rate": optuna.distributions.FloatDistribution(*map(math.log10, RATES))}
    with IMPORTANCE.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["hyperparameter", *SCORES])
        shares = {}
        for seed, score in itertools.product(range(10), SCORES):
            study = optuna.create_study(direction="maximize")
            for row in rows:
                params = {knob: READ.get(knob, str)(row[knob]) for knob in SPACE}
                study.add_trial(optuna.trial.create_trial(params=params, distributions=space, value=float(row[score])))
            forest = optuna.importance.FanovaImportanceEvaluator(seed=seed)
            for knob, share in optuna.importance.get_param_importances(study, evaluator=forest).items():
                shares.setdefault((knob, seed), {})[score] = share
        for knob, seed in itertools.product(SPACE, range(10)):
            writer.writerow([knob, *(f"{shares[knob, seed][score]:.4f}" for score in SCORES)])
    for knob in SPACE:
        print(f"{knob:12}", *(f"{s} {seeds.spread([shares[knob, i][s] for i in range(10)])}" for s in SCORES))


def main():
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--importance", action="store_true", help="only explain the table that is there")
    keys = draw()
    if not options.parse_args().importance:
        seeds.collect(CSV, FIELDS, keys, run)
    with CSV.open(newline="") as file:
        explain(list(csv.DictReader(file)))


if __name__ == "__main__":
    main()
