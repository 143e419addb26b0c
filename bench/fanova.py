"""Does functional ANOVA find a known answer? The toy of appendix A2, as random trials, given to Optuna's forest.

    pip install optuna
    python bench/fanova.py            # writes bench/fanova.csv

The score is 2 rate + width + 3 rate · width, with each hyperparameter drawn evenly from −1 to 1; a seed is drawn, too,
and has no effect. Of the variance, rate alone explains ½, width ⅛ and the seed nothing; ⅜ is what rate and width do
only together, which Optuna leaves out: scaled to a sum of one, the answer is 0.8, 0.2 and 0. For 64 trials (as in
``study.py``) and for 512, ten sets of trials each; every set is explained by a forest of its own.
"""

import itertools
import statistics
from pathlib import Path

import numpy as np
import optuna
import seeds

TRIALS, DRAWS = (64, 512), range(10)
KNOWN = {"rate": 0.8, "width": 0.2, "seed": 0.0}
FIELDS = ("trials", "draw", *KNOWN)
CSV = Path(__file__).with_suffix(".csv")
EVEN = optuna.distributions.FloatDistribution(-1, 1)


def run(trials, draw):
    """The shares that one forest gives the three hyperparameters of the toy."""
    rng, study = np.random.default_rng(draw), optuna.create_study(direction="maximize")
    for values in rng.uniform(-1, 1, (trials, len(KNOWN))).tolist():
        params = dict(zip(KNOWN, values, strict=True))
        score = 2 * params["rate"] + params["width"] + 3 * params["rate"] * params["width"]
        space = dict.fromkeys(KNOWN, EVEN)
        study.add_trial(optuna.trial.create_trial(params=params, distributions=space, value=score))
    forest = optuna.importance.FanovaImportanceEvaluator(seed=draw)
    shares = optuna.importance.get_param_importances(study, evaluator=forest)
    return [f"{shares[name]:.4f}" for name in KNOWN]


def main():
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    rows = seeds.collect(CSV, FIELDS, list(itertools.product(TRIALS, DRAWS)), run)
    for trials, (name, known) in itertools.product(TRIALS, KNOWN.items()):
        found = [float(row[name]) for row in rows if row["trials"] == str(trials)]
        print(f"{trials:3} trials, {name:5} {seeds.spread(found)}, known {known}")
    assert statistics.mean(float(row["seed"]) for row in rows) < 0.1


if __name__ == "__main__":
    main()
