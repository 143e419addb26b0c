"""Training: a plan made from the data, learning rates, and callbacks that keep the best model and resume a run."""

from seglib.train.loop import Checkpoint, Preview, Progress, RefuseNaN, callbacks, resume, seed, unchanged
from seglib.train.plans import Plan, build, fit, plan
from seglib.train.rates import DiscriminativeAdamW, Warmup, freeze, lr_range_test
