"""Wrong answers to the exercises, and how to run one exercise by itself."""

import ast
import re
from pathlib import Path
from typing import NamedTuple

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"
SOLUTIONS = sorted((NOTEBOOKS / "solutions").glob("*.ipynb"))


class Mistake(NamedTuple):
    """A classic mistake: the right answer with ``old`` replaced by ``new``. Only its own message ``says`` this term."""

    says: str
    old: str
    new: str


# The ``grade_id`` of the answer: its mistakes. The right answer is in the notebook of ``notebooks/solutions``.
MISTAKES = {
    "01-id-map": [
        Mistake("all three channels", ".all(axis=-1)", ".any(axis=-1)"),
        Mistake("unknown colour", "ignore_id, np.uint8", "0, np.uint8"),
        Mistake("start at 1", "enumerate(colours)", "enumerate(colours, 1)"),
        Mistake("argument ignore_id is not used", "shape[:2], ignore_id", "shape[:2], 255"),
        Mistake("not uint8", "ignore_id, np.uint8", "ignore_id"),
    ],
    "01-resizing": [
        Mistake(
            "Width and height are exchanged", "(factor * width, factor * height)", "(factor * height, factor * width)"
        ),
        Mistake("not the pixels", "(~np.isin(resized, mask)).sum()", "len(np.setdiff1d(resized, mask))"),
        Mistake("A share", "int((~np.isin(resized, mask)).sum())", "(~np.isin(resized, mask)).mean()"),
        Mistake("negate it", "~np.isin", "np.isin"),
    ],
    "01-iou": [
        Mistake("Did you mask ignore_id", "true != ignore_id", "true >= 0"),
        Mistake("intersection twice", "np.sum((true == c) | (pred == c))", "np.sum(true == c) + np.sum(pred == c)"),
        Mistake("recall", "(true == c) | (pred == c)", "true == c"),
        Mistake("Dice", "(pred == c)) / union", "(pred == c)) * 2 / (np.sum(true == c) + np.sum(pred == c) or 1)"),
        Mistake("absent class", "np.nan", "0.0"),
        Mistake("only predicted", "if union:", "if (true == c).any():"),
    ],
    "01-split": [
        Mistake(
            "whole groups",
            "np.asarray(groups) == group",
            "np.random.default_rng(seed).permutation(np.asarray(groups) == group)",
        ),
        Mistake("share is of the pairs", "members.sum() <= share * len(groups)", "0 < share * len(groups)"),
        Mistake("seed is not used", "default_rng(seed)", "default_rng()"),
        Mistake("Every seed", "np.random.default_rng(seed).permutation(sorted(set(groups)))", "sorted(set(groups))"),
        Mistake("would still fit", "in_val |= members", "in_val |= members\n        else:\n            break"),
        Mistake("in no split", "np.flatnonzero(~in_val)", "np.flatnonzero(~in_val)[:-1]"),
    ],
    "01-weights": [
        Mistake("Void", "labelled.sum()", "counts.sum()"),
        Mistake("mean is not 1", "return weights / weights.mean()", "return weights"),
        Mistake("1 / share", "1 / np.log(1.02 + labelled / labelled.sum())", "labelled.sum() / labelled"),
        Mistake("rare class", "1 / np.log(", "np.log("),
    ],
    "01-repair": [
        Mistake("pair is lost", 'path.rename(path.with_name(path.name.replace(" final", "")))', "path.unlink()"),
        Mistake("flipped masks", "for finding in examine(folder).findings", "for finding in ()"),
        Mistake("sizes differ", "mask = images.resize_mask(mask,", "unused = (mask,"),
        Mistake("mixed encodings", "mask = streets.LABELS.from_rgb(mask)", "continue"),
        Mistake("not the true one", 'streets.LABELS.id_of("road")', "255"),
    ],
    "04-sizes": [
        Mistake("each loses 2 rows", "        size -= 4", "        size -= 2"),
        Mistake("biases are missing", "kernel * a * b + b", "kernel * a * b"),
        Mistake("concatenation is forgotten", "count(9, 2 * b, b)", "count(9, b, b)"),
        Mistake("Their kernel is 2×2", "count(4, 2 * b, b)", "count(9, 2 * b, b)"),
        Mistake("574 is accepted", "size % 2:", "size < 0:"),
    ],
    "04-merge": [
        Mistake("output channels are doubled", "axis=2", "axis=3"),
        Mistake("no effect", "[kernel, kernel]", "[kernel, 0 * kernel]"),
        Mistake("no mean", "[kernel, kernel]", "[kernel / 2, kernel / 2]"),
        Mistake("All weights are counted", "wide.size - kernel.size", "wide.size"),
    ],
    "04-border": [
        Mistake("for the background alone", "background * w0", "w0"),
        Mistake("not balanced", "np.where(background, 0.5 / background.mean(), 0.5 / (~background).mean())", "1.0"),
        Mistake("squared and then added", "(nearest + second) ** 2", "nearest**2 + second**2"),
        Mistake("second nearest cell is missing", "(nearest + second) ** 2", "nearest**2"),
        Mistake("too narrow", "(2 * sigma**2)", "sigma**2"),
        Mistake("One cell alone", "if len(distances) > 1:", "for distances in [(distances * 2)[:2]]:"),
    ],
    "04-count": [
        Mistake(
            "Components are counted", "sum(owner > 0 and owners.count(owner) > 1 for owner in owners)", "found < 4"
        ),
        Mistake("never found", "> 0.5 * (cell | piece)", "> 0.9 * (cell | piece)"),
        Mistake("touch is enough", "> 0.5 * (cell | piece)", "> 0 * (cell | piece)"),
        Mistake("leave out number 0", "owner > 0 and owners", "owners"),
        Mistake("Corners connect", "label(pred)", "label(pred, np.ones((3, 3)))"),
    ],
    "04-tiles": [
        Mistake(
            "remainder is left out",
            "for y in range(0, height, tile) for x in range(0, width, tile)",
            "for y in range(0, height - tile + 1, tile) for x in range(0, width - tile + 1, tile)",
        ),
        Mistake("border is zero", 'mode="reflect"', 'mode="constant"'),
        Mistake("edge is repeated", 'mode="reflect"', 'mode="symmetric"'),
        Mistake(
            "column by column",
            "for y in range(0, height, tile) for x in range(0, width, tile)",
            "for x in range(0, width, tile) for y in range(0, height, tile)",
        ),
        Mistake("not cropped", "[:height, :width]", ""),
        Mistake("Swap the axes", ".swapaxes(1, 2)", ""),
    ],
    "04-streets": [
        Mistake("use max_steps", "min(150, max_steps)", "max_steps + 1"),
        Mistake("Take the argmax", ".argmax(axis=-1)", ""),
        Mistake("below the bar", "[:, :, ::-1])[:, :, ::-1]", "[:, :, ::-1])"),
        Mistake("trained network that predicts", "network.predict(", "models.unet((None, None, 3), 8, 4, 2).predict("),
    ],
    "03-dense": [
        Mistake("biases are missing", "[0] + biases", "[0]"),
        Mistake("keeps its size", '"valid"', '"same"'),
        Mistake("kernel are exchanged", "*size, features", "*size[::-1], features"),
        Mistake("kernel is flipped", "features[None], kernel,", "features[None], kernel[::-1, ::-1],"),
        Mistake(
            "in which order",
            "reshape(*size, features.shape[-1], -1)",
            "reshape(features.shape[-1], *size, -1).transpose(1, 2, 0, 3)",
        ),
    ],
    "03-bilinear": [
        Mistake("not symmetric", "+ 0.5 - factor", "- factor"),
        Mistake("gets darker", "np.outer(line, line)", "np.outer(line, line) / np.outer(line, line).sum()"),
        Mistake("axes are averaged", "np.outer(line, line)", "np.add.outer(line, line) / 2"),
        Mistake("too small", "np.arange(2 * factor) + 0.5 - factor", "np.arange(factor) + 0.5 - factor / 2"),
        Mistake("weights are equal", "1 - distance / factor", "np.ones(2 * factor)"),
    ],
    "03-stack": [
        Mistake("adds kernel − 1 to", "(kernel - 1) * stride", "kernel * stride"),
        Mistake("last layer", "stride *= step", "stride = step"),
        Mistake("as if nothing were downsampled", "(kernel - 1) * stride", "kernel - 1"),
        Mistake(
            "layer's own stride",
            "field += (kernel - 1) * stride\n        stride *= step",
            "stride *= step\n        field += (kernel - 1) * stride",
        ),
        Mistake("rounded up", "(size + 2 * padding - kernel) // step", "-((kernel - size - 2 * padding) // step)"),
        Mistake("zeros on both sides", "2 * padding", "padding"),
    ],
    "03-fuse": [
        Mistake(
            "concatenated",
            "upsampled + skip @ weights + biases",
            "np.concatenate([upsampled, skip @ weights + biases], axis=-1)",
        ),
        Mistake("are repeated", "double(coarse)", "coarse.repeat(2, axis=0).repeat(2, axis=1)"),
        Mistake("no ReLU", "double(coarse)", "double(np.maximum(coarse, 0))"),
        Mistake("mean comes back", "upsampled + skip @ weights + biases", "(upsampled + skip @ weights + biases) / 2"),
        Mistake("biases are missing", " + biases", ""),
        Mistake("do not fit", "[: skip.shape[0], : skip.shape[1]]", ""),
        Mistake("wrong end", "[: skip.shape[0], : skip.shape[1]]", "[-skip.shape[0] :, -skip.shape[1] :]"),
    ],
    "03-ceiling": [
        Mistake("Void pixels", "ids[ids != ignore_id]", "np.where(ids == ignore_id, 0, ids)"),
        Mistake("first pixel", "counts.argmax()", "mask[row, column]"),
        Mistake("accuracy", "np.mean(hits[unions > 0] / unions[unions > 0])", "hits.sum() / matrix.sum()"),
        Mistake("mean recall", "matrix.sum(axis=0) + matrix.sum(axis=1) - hits", "matrix.sum(axis=1)"),
        Mistake(
            "is nowhere", "np.mean(hits[unions > 0] / unions[unions > 0])", "np.mean(hits / np.maximum(unions, 1))"
        ),
        Mistake(
            "One confusion matrix",
            "    matrix = np.zeros(",
            "    if len(masks) > 1:\n        return np.mean([ceiling(one[None], cell, num_classes) for one in masks])\n"
            "    matrix = np.zeros(",
        ),
    ],
    "03-design": [
        Mistake("too coarse", "[1] < stride", "[1] < 4 * stride"),
        Mistake("too many parameters", "(3, 1, 16)", "(3, 1, 64)"),
        Mistake("last map", "[*stack, (1, 1, 32)]", "stack"),
        Mistake("does not see enough", "[0] < field", "[0] < field // 2"),
        Mistake("too thin", "(3, 2, 16)", "(3, 2, 4)"),
        Mistake("not allowed", "(3, 1, 16)", "(9, 1, 16)"),
    ],
    "02-flip": [
        Mistake(
            "drawn apart",
            "image, mask = image[:, ::-1], mask[:, ::-1]",
            "image = image[:, ::-1]\n    if rng.random() < 0.5:\n        mask = mask[:, ::-1]",
        ),
        Mistake("mask stays where it was", "mask[:, ::-1]", "mask"),
        Mistake("upside down", "image[:, ::-1]", "image[::-1]"),
        Mistake("Red and blue", "image[:, ::-1]", "image[..., ::-1]"),
        Mistake("always flipped", "rng.random() < 0.5", "rng is not None"),
        Mistake("argument rng is not used", "if rng.random()", "if np.random.default_rng().random()"),
    ],
    "02-compose": [
        Mistake("order is reversed", "product @ matrix", "matrix @ product"),
        Mistake("one by one", "product @ matrix", "product * matrix"),
        Mistake("Only the first two", "in matrices:", "in matrices[:2]:"),
        Mistake("not the identity", "np.eye(2)", "np.eye(2) if matrices else None"),
    ],
    "02-rotate": [
        Mistake("corners are class 0", "inside, ids, ignore_id", "inside, ids, 0"),
        Mistake("id at the border", "np.where(inside, ids, ignore_id)", "ids"),
        Mistake("argument ignore_id is not used", "inside, ids, ignore_id", "inside, ids, 255"),
        Mistake("anticlockwise", "np.radians(degrees)", "-np.radians(degrees)"),
        Mistake("The centre is wrong", "(height - 1) / 2, (width - 1) / 2", "height / 2, width / 2"),
        Mistake("not uint8", ".astype(np.uint8)", ".astype(float)"),
        Mistake(
            "holes",
            "return np.where(inside, ids, ignore_id)",
            "ids = np.full(mask.shape, ignore_id)\n"
            "    ids[rows[inside], columns[inside]] = mask[inside]\n"
            "    return ids",
        ),
    ],
    "02-resize": [
        Mistake("new ids", '"nearest"', '"bilinear"'),
        Mistake("no colour between", '"bilinear"', '"nearest"'),
        Mistake(
            "mask keeps its size",
            'ops.image.resize(pair["segmentation_masks"], size, interpolation="nearest")',
            'pair["segmentation_masks"]',
        ),
        Mistake("exchanged", 'ops.image.resize(pair["images"], size,', 'ops.image.resize(pair["images"], size[::-1],'),
        Mistake("not uint8", '"segmentation_masks": masks', '"segmentation_masks": ops.cast(masks, "float32")'),
    ],
    "02-mixup": [
        Mistake(
            "A label is hard",
            "labels = weight * first + (1 - weight) * other",
            "labels = np.eye(num_classes)[(weight * mask + (1 - weight) * other_mask).astype(int) % num_classes]",
        ),
        Mistake("add up to 1", "weight * first + (1 - weight) * other", "weight * first + weight * other"),
        Mistake(
            "labels have their weights exchanged",
            "weight * first + (1 - weight) * other",
            "(1 - weight) * first + weight * other",
        ),
        Mistake("not the weighted average", "weight * image + (1 - weight) * other_image", "image"),
        Mistake("A void pixel has a label", "labels[(mask == ignore_id) | (other_mask == ignore_id)] = 0", "pass"),
        Mistake("void in the other mask", "(mask == ignore_id) | (other_mask == ignore_id)", "mask == ignore_id"),
    ],
    "02-worlds": [
        Mistake("text is worse than", "rotation=25", "rotation=25, flip=0.5"),
        Mistake("street is below", "(24, 24), flip=0.5)", "(24, 24))"),
        Mistake("street is worse than", "(24, 24), flip=0.5)", "(24, 24), rotation=180)"),
        Mistake("cells is below", "flip=0.5, rotation=180", "flip=0.5"),
        Mistake("cells is worse than", "flip=0.5, rotation=180", "scale=(0.4, 2.5)"),
    ],
    "05-atrous": [
        Mistake("map gets smaller", "return output", "return output[pad:-pad, pad:-pad]"),
        Mistake("used as a stride", "return output", "return output[::rate, ::rate]"),
        Mistake("rate has no effect", "pad = rate * (size // 2)", "rate, pad = 1, size // 2"),
        Mistake("one axis only", "x = rate * row, rate * column", "x = rate * row, pad - size // 2 + column"),
        Mistake("output is shifted", "((pad, pad), (pad, pad), (0, 0))", "((0, 2 * pad), (0, 2 * pad), (0, 0))"),
        Mistake("kernel is flipped", "kernel[row, column]", "kernel[-1 - row, -1 - column]"),
        Mistake("border is repeated", "(0, 0)))", '(0, 0)), "edge")'),
    ],
    "05-stack": [
        Mistake("Count both ends", "max(offsets) + 1", "max(offsets)"),
        Mistake(
            "Paths are counted",
            "{offset + stride * rate * place for offset in offsets for place in range(kernel)}",
            "[offset + stride * rate * place for offset in offsets for place in range(kernel)]",
        ),
        Mistake("rate is left out", "stride * rate * place", "stride * place"),
        Mistake("multiplied like strides", "stride *= step", "stride *= step * rate"),
        Mistake("Gaps are counted", "len(offsets)", "max(offsets) + 1"),
        Mistake("stride is left out", "stride * rate * place", "rate * place"),
        Mistake("layer's own stride", "stride * rate * place", "stride * step * rate * place"),
    ],
    "05-separable": [
        Mistake("gaps of the kernel", "kernel**2 * channels, ", "(rate * (kernel - 1) + 1) ** 2 * channels, "),
        Mistake("per channel and filter", "kernel**2 * channels, ", "kernel**2 * channels * filters, "),
        Mistake("pointwise step is missing", "depthwise + pointwise + filters", "depthwise + filters"),
        Mistake("biases are missing", "pointwise + filters", "pointwise"),
        Mistake("Both steps have biases", "pointwise + filters", "pointwise + channels + filters"),
        Mistake("They are added", "(depthwise + pointwise) * positions", "parameters * positions"),
        Mistake("of one position", "size[0] * size[1]", "1"),
        Mistake(
            "upside down",
            "kernel**2 * channels * filters * positions / multiplications",
            "multiplications / (kernel**2 * channels * filters * positions)",
        ),
    ],
    "05-field": [
        Mistake("Softmax runs over", "axis=1", "axis=0"),
        Mistake("starts with q = P", "q = probs", "q = np.full(probs.shape, 1 / probs.shape[1])"),
        Mistake("Costs raise", "np.log(probs) - costs", "np.log(probs) + costs"),
        Mistake("network has no say", "np.log(probs) - costs", "-costs"),
        Mistake("logarithm of P is missing", "np.log(probs)", "probs"),
        Mistake(
            "see new values",
            "        costs = kernel @ q @ compatibility\n        scores = np.exp(np.log(probs) - costs)\n"
            "        q = scores / scores.sum(axis=1, keepdims=True)",
            "        q = q.copy()\n        for i in range(len(q)):\n"
            "            scores = np.exp(np.log(probs[i]) - kernel[i] @ q @ compatibility)\n"
            "            q[i] = scores / scores.sum()",
        ),
        Mistake("sends a message to itself", "kernel - np.diag(np.diag(kernel))", "kernel"),
        Mistake("compatibility is not used", "@ compatibility", "@ (1 - np.eye(q.shape[1]))"),
        Mistake("takes the place of P", "np.log(probs)", "np.log(q)"),
    ],
    "05-rates": [
        Mistake("taken for positions", "-(-side // output_stride)", "side"),
        Mistake("first rate that is too large", "return largest", "return largest + 1"),
        Mistake("axis is used twice", "side in (height, width)]", "side in (height, height)]"),
        Mistake("two axes are added", "along[0] * along[1]", "along[0] + along[1]"),
        Mistake("Corners alone", "1 + 2 * max(0, 1 - rate / side)", "1 + (rate < side)"),
        Mistake("rounded down", "-(-side // output_stride)", "side // output_stride"),
        Mistake("single position", "largest = 0", "largest = 1"),
    ],
    "05-poles": [
        Mistake("Take the argmax", "refined.argmax(axis=-1)", "refined"),
        Mistake("one id per pixel", "refined.argmax(axis=-1)", "refined.argmax(axis=-1).ravel()"),
        Mistake("most probable class", "refined.argmax", "refined.argmin"),
        Mistake("Poles and cars are lost", "sigma_beta=12", "sigma_beta=40"),
        Mistake("smoothness kernel outvotes", "w2=0", "w2=10, sigma_gamma=3"),
        Mistake("taken for road", "(probs, smooth, ", "(probs, image, "),
        Mistake("hardly better", "smooth, w1=10, w2=0, sigma_alpha=20, sigma_beta=12", "image, sigma_beta=5"),
        Mistake("It is below the bar", "w1=10, w2=0, sigma_alpha=20, ", ""),
    ],
    "06-gradient": [
        Mistake("sign is that", "(probs - truth)", "(truth - probs)"),
        Mistake("p alone", "(probs - truth)", "probs"),
        Mistake("derivative by the probability", "(probs - truth)", "-truth / probs"),
        Mistake("Only the true class", "(probs - truth)", "(probs - truth) * truth"),
        Mistake("void pixel has a gradient", " * known[:, None]", ""),
        Mistake("gradient of a sum", " / known.sum()", ""),
        Mistake("mean is over 2", "known.sum()", "known.size"),
        Mistake("Large logits overflow", "logits - logits.max(axis=-1, keepdims=True)", "logits"),
    ],
    "06-weights": [
        Mistake("not by the pixels", "/ weights.sum()", "/ len(weights)"),
        Mistake("sum of class_weights", "/ weights.sum()", "/ class_weights.sum()"),
        Mistake(
            "weight is that of the true class", "class_weights[ids]", "class_weights[log_probs[known].argmax(axis=-1)]"
        ),
        Mistake("makes a class count less", "class_weights[ids]", "1 / class_weights[ids]"),
        Mistake(
            "A void pixel changes",
            "known = mask != ignore_id",
            "known, mask = mask >= 0, np.where(mask == ignore_id, 0, mask)",
        ),
        Mistake("0/0", "if not known.any():", "if known is None:"),
    ],
    "06-focal": [
        Mistake("easy pixels count most", "(1 - np.exp(log_p)) ** gamma", "np.exp(log_p) ** gamma"),
        Mistake("before the power", "(1 - np.exp(log_p)) ** gamma", "1 - np.exp(log_p) ** gamma"),
        Mistake("γ is an exponent", "** gamma", "* gamma"),
        Mistake("factor with γ is missing", "** gamma", "** 0"),
        Mistake("log p is: take the minus", "np.mean(-(", "np.mean(+("),
        Mistake(
            "sum of the factors",
            "np.mean(-((1 - np.exp(log_p)) ** gamma) * log_p)",
            "np.average(-log_p, weights=(1 - np.exp(log_p)) ** gamma)",
        ),
        Mistake(
            "certain and wrong",
            "shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))",
            "np.log(np.exp(shifted) / np.exp(shifted).sum(axis=-1, keepdims=True))",
        ),
    ],
    "06-dice": [
        Mistake("is 0/0", "(2 * overlap + 1) / (total + 1)", "2 * overlap / total"),
        Mistake("numerator has no 1", "2 * overlap + 1", "2 * overlap"),
        Mistake("overlap counts once", "2 * overlap + 1", "overlap + 1"),
        Mistake("This is the coefficient", "1 - np.mean", "np.mean"),
        Mistake(
            "left out of the mean",
            "(2 * overlap + 1) / (total + 1)",
            "((2 * overlap + 1) / (total + 1))[truth.any(axis=axes)]",
        ),
        Mistake("intersection over union", "(2 * overlap + 1) / (total + 1)", "(overlap + 1) / (total - overlap + 1)"),
        Mistake("Void pixels count", "probs = probs * known", "probs = probs * 1"),
        Mistake("score of its own", "(0, 1, 2)", "(1, 2)"),
    ],
    "06-lovasz": [
        Mistake("still sorted", "weights[order]", "weights[:]"),
        Mistake("smallest error comes first", "np.argsort(-errors)", "np.argsort(errors)"),
        Mistake("These are IoUs", "-np.diff(iou, prepend=1)", "iou"),
        Mistake("union grow by one", "truth.sum() + invented", "truth.sum()"),
        Mistake("how Dice falls", "truth.sum() - missed) / (", "truth.sum() - missed) * 2 / (truth.sum() - missed + "),
        Mistake("This is a mean", "np.sum(weights * errors)", "np.mean(weights * errors)"),
    ],
    "06-schedule": [
        Mistake("it is wasted", "(step + 1)", "step"),
        Mistake("warm-up is missing", "rate * rise", "rate"),
        Mistake("rise goes on", "min((step + 1) / max(warmup, 1), 1)", "(step + 1) / max(warmup, 1)"),
        Mistake("fall begins after", "1 - step / steps", "1 - max(step - warmup, 0) / (steps - warmup)"),
        Mistake("Subtract from 1 first", "left**power", "(1 - (1 - left) ** power)"),
        Mistake("argument power is not used", "left**power", "left"),
        Mistake("it is complex", "max(1 - step / steps, 0)", "1 - step / steps"),
    ],
    "06-hardest": [
        Mistake("void pixel counts. It has", "mask != ignore_id", "mask >= 0"),
        Mistake("easiest pixels", "[-kept:]", "[:kept]"),
        Mistake("divided by all pixels", "[-kept:].mean()", "[-kept:].sum() / scored.size"),
        Mistake("fraction is of the 5", "fraction * scored.size", "fraction * mask.size"),
        Mistake("rounded down", "math.ceil(", "int("),
        Mistake("without labels has no loss", "if scored.size == 0:", "if scored is None:"),
    ],
    "06-half": [
        Mistake("The result is", 'dtype, axes = "float32"', 'dtype, axes = "float16"'),
        Mistake(
            "Cast before the sums",
            "ops.sum(truth + probs, axis=axes)",
            'ops.cast(ops.sum(ops.cast(truth + probs, "float16"), axis=axes), dtype)',
        ),
        Mistake("is a sum over the pixels", "-ops.mean(ops.sum", "-ops.sum(ops.sum"),
        Mistake("Dice coefficient is added", "cross_entropy + 1 - ops.mean", "cross_entropy + ops.mean"),
        Mistake("give log 0", "ops.log_softmax(logits)", "ops.log(ops.softmax(logits))"),
    ],
    "06-rare": [
        Mistake("use max_steps", "take(max_steps)", "take(max_steps + 1)"),
        Mistake(
            "as with the plain loss",
            '{"cross_entropy": 1, "dice": 1}, class_weights=weights',
            '{"cross_entropy": 1}',
        ),
        Mistake("Neither is found", "class_weights=weights", "class_weights=1 / weights"),
        Mistake("Poles alone", "class_weights=weights", "class_weights=[1, 1, 1, 1, 1, 4, 1, 1]"),
        Mistake("other classes pay", "class_weights=weights", "class_weights=(pixels.sum() / pixels.sum(axis=0)) ** 3"),
    ],
    "09-convolution": [
        Mistake("biases are missing", "[weights[None, None], biases]", "[weights[None, None], 0 * biases]"),
        Mistake("weights are transposed", "weights[None, None]", "weights.T.reshape(1, 1, *weights.shape)"),
        Mistake("no softmax", "len(biases), 1)", 'len(biases), 1, activation="softmax")'),
        Mistake("Negative logits", "len(biases), 1)", 'len(biases), 1, activation="relu")'),
    ],
    "09-freeze": [
        Mistake("of the trained block moves", " and not is_norm", ""),
        Mistake("of a frozen block moves", "and not is_norm", "or is_norm"),
        Mistake("convolution moves", "= layer.name", "= not layer.name"),
        Mistake("Nothing is trained", "layer.name.startswith(trained) and not is_norm", "False"),
        Mistake("frozen before stays frozen", "layer.trainable =", "layer.trainable = layer.trainable and"),
    ],
    "09-adam": [
        Mistake(
            "factor of g cancels",
            "rate * np.asarray(shares), np.asarray(gradients)",
            "rate * np.ones(len(shares)), np.asarray(gradients) * shares",
        ),
        Mistake("up the gradient", "weights - rates", "weights + rates"),
        Mistake("not as long as the rate", "mean / (1 - 0.9**step), square / (1 - 0.999**step)", "mean, square"),
        Mistake("square root", "np.sqrt(square_now)", "square_now"),
        Mistake("no memory", "mean / (1 - 0.9**step)", "gradient"),
    ],
    "09-prepare": [
        Mistake("scaled twice", 'image.astype("float32")', 'image.astype("float32") / 255'),
        Mistake("0 to 1", "pixels / 127.5 - 1", "pixels / 255"),
        Mistake("Black became bright", 'image.astype("float32")', "image"),
        Mistake("Use 127 and 128", "(pixels - 127) / 128", "pixels / 127.5 - 1.0"),
        Mistake("Red is still", "pixels[..., ::-1]", "pixels"),
        Mistake("Reverse the means", "(103.939, 116.779, 123.68)", "(123.68, 116.779, 103.939)"),
    ],
    "09-count": [
        Mistake(
            "arrays are counted",
            "sum(int(np.prod(weight.shape)) for weight in network.trainable_variables)",
            "len(network.trainable_variables)",
        ),
        Mistake("statistics of batch", "network.trainable_variables", "network.variables"),
        Mistake("frozen encoder is counted", 'start != "frozen"', 'start == "frozen"'),
        Mistake("leaves the encoder out", 'start != "frozen"', 'start == "scratch"'),
        Mistake("stays frozen", "    network.get_layer", '    if start == "frozen":\n        network.get_layer'),
    ],
    "09-gain": [
        Mistake("sign", "tuned[seed] - scratch[seed]", "scratch[seed] - tuned[seed]"),
        Mistake(
            "by position",
            "[tuned[seed] - scratch[seed] for seed in sorted(scratch)]",
            "[one - other for one, other in zip(tuned.values(), scratch.values())]",
        ),
        Mistake(
            "not paired",
            "gains.std(ddof=1) / np.sqrt(len(gains))",
            "sum(np.var([*scores.values()], ddof=1) / len(scores) for scores in (tuned, scratch)) ** 0.5",
        ),
        Mistake("divide by √n", " / np.sqrt(len(gains))", ""),
        Mistake("divided by n", "ddof=1", "ddof=0"),
        Mistake("judged like many", "FACTORS[len(gains)]", "2"),
        Mistake("loss is never seen", "abs(gain)", "gain"),
    ],
    "09-few": [
        Mistake("hardly better", "encode(images)[:3]", "[images / 255]"),
        Mistake("below the bar. Choose", "encode(images)[:3]", "encode(images)"),
        Mistake("worse than grey", "describe(images), masks", "describe(images[::-1]), masks"),
        Mistake(
            "one id per pixel", "describe(new_images), num_classes)", "describe(new_images), num_classes)[..., None]"
        ),
    ],
    "07-dice": [
        Mistake("turns IoU into Dice", "dice / (2 - dice)", "2 * dice / (1 + dice)"),
        Mistake("Dice is halved", "dice / (2 - dice)", "dice / 2"),
        Mistake(
            "mean Dice is converted",
            "np.mean(dice / (2 - dice), axis=1)",
            "np.mean(dice, axis=1) / (2 - np.mean(dice, axis=1))",
        ),
        Mistake("over the networks", "axis=1", "axis=0"),
        Mistake("score for each class", "np.mean(dice / (2 - dice), axis=1)", "dice / (2 - dice)"),
    ],
    "07-absent": [
        Mistake(
            "mean over images",
            "    total = np.sum(matrices, axis=0)",
            "    if len(matrices) > 1:\n        return np.mean([mean_iou(one[None]) for one in matrices])\n"
            "    total = np.sum(matrices, axis=0)",
        ),
        Mistake("counts as 0", "np.mean(hits[occurs] / unions[occurs])", "np.mean(hits / np.maximum(unions, 1))"),
        Mistake(
            "counts as 1",
            "np.mean(hits[occurs] / unions[occurs])",
            "np.mean(np.divide(hits + ~occurs, unions + ~occurs))",
        ),
        Mistake("score is nan", "np.mean(hits[occurs] / unions[occurs])", "np.mean(hits / unions)"),
        Mistake("intersection twice", " - hits", ""),
        Mistake("micro IoU", "np.mean(hits[occurs] / unions[occurs])", "hits.sum() / unions.sum()"),
        Mistake("always missed", "unions > 0", "hits > 0"),
        Mistake("only predicted", "unions > 0", "total.sum(axis=1) > 0"),
    ],
    "07-averages": [
        Mistake("accuracy", "unions.sum()", "true.sum()  # of the pixels"),
        Mistake("exchanged", "return micro, macro", "return macro, micro"),
        Mistake("mean recall", "np.mean(hits / unions)", "np.mean(hits / true)"),
        Mistake("sum to 1", ") / true.sum()", ")"),
        Mistake("those of the predictions", "true * hits", "predicted * hits"),
    ],
    "07-interval": [
        Mistake(
            "Take the same drawn images",
            "both[drawn].sum(axis=0)",
            "[one[rng.integers(0, len(one), len(one))].sum(axis=0) for one in (first, second)]",
        ),
        Mistake("Draw with replacement", "rng.integers(0, len(both), len(both))", "rng.permutation(len(both))"),
        Mistake(
            "means over images",
            "metrics.mean_iou(both[drawn].sum(axis=0))",
            "metrics.mean_iou(both[drawn]).mean(axis=0)",
        ),
        Mistake(
            "Draw whole images",
            "both[drawn].sum(axis=0)",
            "[rng.multinomial(one.sum(), one.ravel() / one.sum()).reshape(one.shape) for one in both.sum(axis=0)]",
        ),
        Mistake("90 % interval", "[0.025, 0.975]", "[0.05, 0.95]"),
        Mistake("sign", "scores[1] - scores[0]", "scores[0] - scores[1]"),
        Mistake("argument seed is not used", "default_rng(seed)", "default_rng()"),
    ],
    "07-threshold": [
        Mistake("below 0.75", "ranked[np.argmax(recalls >= recall)]", "ranked[int(recall * len(ranked)) - 1]"),
        Mistake("threshold is too low", "ranked[np.argmax(recalls >= recall)]", "ranked[-1]"),
        Mistake("Every labelled pixel is ranked", "np.sort(scores[is_object])", "np.sort(scores)"),
        Mistake("false positives", "mask != ignore_id", "mask < 256"),
        Mistake("the recall. Precision", "is_object[found].mean()", "found[is_object].mean()"),
        Mistake("not found. A pixel", "scores >= threshold", "scores > threshold"),
    ],
    "07-boundary": [
        Mistake("All pixels of the object", "shape & ~inside", "shape"),
        Mistake("edge makes a boundary", 'mode="edge"', 'mode="constant"'),
        Mistake(
            "makes a boundary. Only the four",
            "inside = framed[:-2, 1:-1]",
            "inside = framed[:-2, :-2] & framed[:-2, 2:] & framed[2:, :-2] & framed[2:, 2:] & framed[:-2, 1:-1]",
        ),
        Mistake("are exchanged", "return precision, recall", "return recall, precision"),
        Mistake("straight line", "predicted[None], axis=-1", "predicted[None], np.inf, axis=-1"),
        Mistake("below the tolerance", "distances <= tolerance", "distances < tolerance"),
        Mistake(
            "arithmetic mean",
            "2 * precision * recall / max(precision + recall, 1e-12)",
            "(precision + recall) / 2",
        ),
    ],
    "07-calibrate": [
        Mistake("sum to 1", " / scaled.sum(axis=-1, keepdims=True)", ""),
        Mistake("Nothing is gained", "soften(probs, temperature)\n    ###", "probs\n    ###"),
        Mistake(
            "lowers the confidence", "soften(probs, temperature)\n    ###", "soften(probs, 1 / temperature)\n    ###"
        ),
        Mistake(
            "confidence of its own",
            "soften(probs, temperature)\n    ###",
            "np.where(probs == probs.max(axis=-1, keepdims=True), 0.9, 0.1 / 7)\n    ###",
        ),
        Mistake(
            "class changes", "scaled = np.maximum(probs, 1e-9)", "scaled = np.arange(1, 9) * np.maximum(probs, 1e-9)"
        ),
        Mistake("above the bar", "np.arange(1, 3.01, 0.2)", "(1.06, 2)"),
    ],
    "08-resize": [
        Mistake("exchanged", "resize(logits, size,", "resize(logits, size[::-1],"),
        Mistake(
            "appears between",
            'ops.image.resize(logits, size, interpolation="bilinear")\n'
            "    return ops.convert_to_numpy(ops.argmax(resized, axis=-1))",
            "ops.image.resize(np.float32(logits.argmax(axis=-1))[..., None], size)\n"
            "    return ops.convert_to_numpy(ops.round(resized[..., 0]))",
        ),
        Mistake("are repeated", '"bilinear"', '"nearest"'),
        Mistake("Probabilities are resized", "resize(logits,", "resize(ops.softmax(logits),"),
        Mistake("Take the argmax", "ops.argmax(resized, axis=-1)", "resized"),
        Mistake("not a uint8", '.astype("uint8")', ""),
    ],
    "08-views": [
        Mistake("not flipped back", "predict_probs(view)[::down, ::right]", "predict_probs(view)"),
        Mistake("wrong flip", "predict_probs(view)[::down, ::right]", "predict_probs(view)[::right, ::down]"),
        Mistake("The sum comes back", "total / 4", "total"),
        Mistake("view is missing", ", (-1, 1), (-1, -1))", ", (1, 1), (1, -1))"),
        Mistake("Red and blue", "image[::down, ::right]", "image[::down, ::right, ::right]"),
        Mistake(
            "do not rotate",
            "for down, right in ((1, 1), (1, -1), (-1, 1), (-1, -1)):\n        view = image[::down, ::right]\n"
            "        total = total + predict_probs(view)[::down, ::right]",
            "for turns in range(4):\n        total = total + np.rot90(predict_probs(np.rot90(image, turns)), -turns)",
        ),
    ],
    "08-tiles": [
        Mistake(
            "in no tile",
            "[*range(0, length - tile, tile - overlap), length - tile]",
            "range(0, length - tile + 1, tile - overlap)",
        ),
        Mistake(
            "cut short",
            "[*range(0, length - tile, tile - overlap), length - tile]",
            "range(0, length, tile - overlap)",
        ),
        Mistake("share nothing", "tile - overlap), length - tile]", "tile)]"),
        Mistake("weights are equal", "np.outer(line, line)[..., None]", "np.ones((tile, tile, 1))"),
        Mistake("above 1", "total / sums", "total"),
        Mistake(
            "not blended",
            "            total[here] += weights * predict_probs(image[here])\n            sums[here] += weights",
            "            total[here] = predict_probs(image[here])\n            sums[here] = 1",
        ),
        Mistake("axes are added", "np.outer(line, line)", "np.add.outer(line, line)"),
    ],
    "08-parity": [
        Mistake("absolute differences", "np.abs(logits[1] - logits[0]).max()", "max(0, (logits[1] - logits[0]).max())"),
        Mistake("mean difference", ").max()", ").mean()"),
        Mistake("with nan", " if np.isfinite(difference) else np.inf", ""),
        Mistake("sign", "after - before", "before - after"),
        Mistake("taken for the truth", "confusion_matrix(mask,", "confusion_matrix(logits[0].argmax(axis=-1),"),
        Mistake("one image per call", "function(image[None])", "function(images)"),
    ],
    "08-polygons": [
        Mistake("twice too large", ") / 2)", "))"),
        Mistake("in the other direction", "abs(np.sum", "(np.sum"),
        Mistake(
            "last corner to the first",
            "x * np.roll(y, -1) - np.roll(x, -1) * y",
            "x[:-1] * y[1:] - x[1:] * y[:-1]",
        ),
        Mistake("hole is added", "areas[0] - sum(areas[1:])", "sum(areas)"),
        Mistake("hole is left out", "areas[0] - sum(areas[1:])", "areas[0]"),
    ],
    "08-dark": [
        Mistake("Nothing is recovered", "encode(gain * light)", "np.float32(image)"),
        Mistake("not underexposed", "0.18 / light.mean()", "16"),
        Mistake("At 3 stops less", "encode(gain * light)", "np.clip(image + 101.0 - image.mean(), 0, 255)"),
        Mistake("At 5 stops less", "0.18 / light.mean()", "min(0.18 / light.mean(), 4)"),
        Mistake("one id per pixel", "predict.segment(", "predict.probabilities("),
    ],
    "10-attention": [
        Mistake("not scaled", " / np.sqrt(key.shape[-1])", ""),
        Mistake("divided by d.", "np.sqrt(key.shape[-1])", "key.shape[-1]"),
        Mistake("over the queries", "weights.sum(axis=-1, keepdims=True)", "weights.sum(axis=0, keepdims=True)"),
        Mistake("keys are averaged", "@ value", "@ key"),
        Mistake("These are the weights", " @ value", ""),
        Mistake("not normalised", "weights / weights.sum(axis=-1, keepdims=True)", "weights"),
        Mistake("no softmax", "weights / weights.sum(axis=-1, keepdims=True)", "scores"),
        Mistake("divided by their sum", "np.exp(scores - scores.max(axis=-1, keepdims=True))", "scores"),
        Mistake("overflow", "scores - scores.max(axis=-1, keepdims=True)", "scores"),
    ],
    "10-cost": [
        Mistake("stride is not squared", "rows * columns", "height * width // stride"),
        Mistake("one weight for each token", "tokens * keys", "tokens"),
        Mistake("heads are forgotten", "heads * tokens", "tokens"),
        Mistake("divided by R.", "(rows // reduction) * (columns // reduction)", "tokens // reduction"),
        Mistake("both reduced", "heads * tokens * keys", "heads * keys * keys"),
        Mistake("tokens are reduced", "return tokens,", "return keys,"),
        Mistake(
            "map is rounded down", "-(-height // stride), -(-width // stride)", "height // stride, width // stride"
        ),
        Mistake(
            "reduced map is rounded up",
            "(rows // reduction) * (columns // reduction)",
            "-(-rows // reduction) * -(-columns // reduction)",
        ),
        Mistake("product is rounded", "(rows // reduction) * (columns // reduction)", "tokens // reduction**2"),
        Mistake("These are bits", "4 * weights", "32 * weights"),
    ],
    "10-patches": [
        Mistake("no padding", "kernel // 2", "0"),
        Mistake('padding of "same"', "stride - padding", "stride - (kernel - stride) // 2"),
        Mistake("do not overlap", "start + kernel", "start + stride"),
        Mistake("not the stop", "start + kernel", "start + kernel - 1"),
        Mistake("where the last one ends", "np.arange(count) * stride", "np.arange(count) * kernel"),
        Mistake("patch is missing", "// stride + 1", "// stride"),
        Mistake("remainder is lost", "(length + 2 * padding - kernel) // stride + 1", "length // stride"),
        Mistake("even kernel", "(length + 2 * padding - kernel) // stride + 1", "-(-length // stride)"),
    ],
    "10-position": [
        Mistake(
            "has shrunk",
            "padded = np.pad(x, ((1, 1), (1, 1), (0, 0)))",
            "padded, height, width = x, height - 2, width - 2",
        ),
        Mistake("stays constant", "(0, 0)))", '(0, 0)), mode="edge")'),
        Mistake("kernel is flipped", "kernel[a, b]", "kernel[2 - a, 2 - b]"),
        Mistake("are exchanged", "kernel[a, b]", "kernel[b, a]"),
        Mistake(
            "channels are added up",
            "for a, b in shifts)",
            "for a, b in shifts).sum(axis=-1, keepdims=True).repeat(x.shape[-1], -1)",
        ),
        Mistake("have the first kernel", "kernel[a, b]", "kernel[a, b, 0]"),
    ],
    "10-parameters": [
        Mistake(
            "heads change the number", "4 * (channels**2 + channels)", "(3 * heads + 1) * (channels**2 + channels)"
        ),
        Mistake("for R > 1 only", "if reduction > 1:", "if reduction:"),
        Mistake("value *and* output", "4 * (channels**2 + channels)", "3 * (channels**2 + channels)"),
        Mistake("is a dense one", "9 * wide + wide", "9 * wide**2 + wide"),
        Mistake("depthwise convolution is missing", "(9 * wide + wide)", "0"),
        Mistake(
            "biases are forgotten",
            "norm + attention + norm + mix_ffn",
            "norm + attention + norm + mix_ffn - 13 * channels",
        ),
        Mistake("Two layer normalisations", "norm + attention + norm + mix_ffn", "attention + mix_ffn"),
        Mistake("One layer normalisation", "norm + attention + norm + mix_ffn", "norm + attention + mix_ffn"),
        Mistake("not R · C²", "reduction**2 *", "reduction *"),
        Mistake("taken for a depthwise", "reduction**2 * channels**2", "reduction**2 * channels"),
        Mistake("not normalised", "channels + norm\n", "channels\n"),
    ],
    "10-marker": [
        Mistake("two logits per pixel", "layers.Conv2D(2, 1)", "layers.Conv2D(1, 1)"),
        Mistake("without a softmax", "layers.Conv2D(2, 1)", 'layers.Conv2D(2, 1, activation="softmax")'),
        Mistake("are allowed", "layers.Conv2D(32, 3,", "layers.Conv2D(96, 3,"),
        Mistake("size is fixed", "keras.Input((height, width, 3))", "keras.Input((16, 16, 3))"),
        Mistake("near chance", 'attention(x, heads=1, reduction=2, name="attention")', "x"),
        Mistake(
            "It is below the bar",
            'attention(x, heads=1, reduction=2, name="attention")',
            "layers.UpSampling2D((height, width))(layers.GlobalAveragePooling2D(keepdims=True)(x[:, : height // 2]))",
        ),
    ],
    "11-maps": [
        Mistake("added up", "np.maximum(maps[..., kind], gaussian)", "maps[..., kind] + gaussian"),
        Mistake("Only the last click", "np.maximum(maps[..., kind], gaussian)", "gaussian"),
        Mistake("negative Gaussian", "np.maximum(maps[..., kind], gaussian)", "sign * gaussian"),
        Mistake("sign 0 is drawn", "if sign:", "if True:"),
        Mistake("maps are exchanged", "0 if sign > 0 else 1", "1 if sign > 0 else 0"),
        Mistake("Row and column", "for row, column, sign", "for column, row, sign"),
        Mistake("argument sigma is not used", "2 * sigma**2", "2 * 5.0**2"),
        Mistake("2 is missing", "2 * sigma**2", "sigma**2"),
        Mistake("σ is not squared", "2 * sigma**2", "2 * sigma"),
        Mistake("distance is not squared", "np.exp(-squared", "np.exp(-np.sqrt(squared)"),
        Mistake("area 1", "(2 * sigma**2))", "(2 * sigma**2)) / (2 * np.pi * sigma**2)"),
    ],
    "11-next": [
        Mistake("centroid", "np.unravel_index(depth.argmax(), depth.shape)", "np.argwhere(error).mean(axis=0).round()"),
        Mistake("Row and column", "(int(row), int(column), sign)", "(int(column), int(row), sign)"),
        Mistake("sign is wrong", "(int(row), int(column), sign)", "(int(row), int(column), -sign)"),
        Mistake("prediction is right", "(truth & ~pred, 1)", "(truth, 1)"),
        Mistake("are joined", "(truth & ~pred, 1)", "(truth ^ pred, 1)"),
        Mistake("Equal depths", "if size > largest", "if size >= max(largest, 1)"),
        Mistake("false positive gets no click", "(pred & ~truth, -1)", "(pred & truth & ~pred, -1)"),
        Mistake("most pixels", "size = depth.max()", "size = error.sum()"),
        Mistake("frame counts as error", "(np.pad(error, 1))[1:-1, 1:-1]", "(error)"),
        Mistake("Nothing is wrong here", "click, largest = None, 0", "click, largest = (0, 0, 0), 0"),
    ],
    "11-noc": [
        Mistake("counted from 0", "reached.argmax(axis=1) + 1", "reached.argmax(axis=1)"),
        Mistake(
            "counts as one click",
            "np.where(is_success, reached.argmax(axis=1) + 1, most)",
            "reached.argmax(axis=1) + 1",
        ),
        Mistake("failures are left out", "clicks.mean()", "clicks[is_success].mean()"),
        Mistake("rounds of the table", "+ 1, most)", "+ 1, reached.shape[1])"),
        Mistake("rounds below", "reached.argmax(axis=1) + 1", "(~reached).sum(axis=1) + 1"),
        Mistake("last success", "reached.argmax(axis=1) + 1", "reached.shape[1] - reached[:, ::-1].argmax(axis=1)"),
        Mistake("compare with >=", ">= wanted", "> wanted"),
        Mistake("are a number", "1 - is_success.mean()", "(~is_success).sum()"),
        Mistake("share of successes", "1 - is_success.mean()", "is_success.mean()"),
        Mistake("wanted is not used", ">= wanted", ">= 0.8"),
        Mistake("most is not used", "+ 1, most)", "+ 1, 20)"),
        Mistake("one click is allowed", "[:, :most]", ""),
        Mistake("success at the last click", "1 - is_success.mean()", "(clicks == most).mean()"),
    ],
    "11-best": [
        Mistake("All answers count", "ops.min(each, axis=-1)", "ops.mean(each, axis=-1)"),
        Mistake("worst answer", "ops.min(each, axis=-1)", "ops.max(each, axis=-1)"),
        Mistake("minimum is over the prompts", "ops.min(each, axis=-1)", "ops.min(each, axis=0)"),
        Mistake("One prompt of the batch", "ops.min(each, axis=-1)", "ops.min(each)"),
        Mistake("best for all prompts", "ops.min(each, axis=-1)", "ops.min(ops.mean(each, axis=0))"),
        Mistake(
            "Each pixel has", "ops.mean(entropy, axis=1)", "ops.mean(ops.min(entropy, axis=-1, keepdims=True), axis=1)"
        ),
        Mistake("first answer alone", "ops.min(each, axis=-1)", "each[:, 0]"),
        Mistake("sum stands for a mean", "ops.mean(entropy, axis=1)", "ops.sum(entropy, axis=1)"),
        Mistake("not one number", "return ops.mean(best)", "return best"),
        Mistake("no gradient", "return ops.mean(best)", "return ops.stop_gradient(ops.mean(best))"),
        Mistake(
            "reaches all answers",
            "return ops.mean(best)",
            "return ops.mean(each) + ops.stop_gradient(ops.mean(best) - ops.mean(each))",
        ),
        Mistake("The loss is wrong", "logits * targets[..., None]", "targets[..., None]"),
    ],
    "11-similarity": [
        Mistake("All pixels are alike", " += np.stack(np.indices((height, width)), axis=-1) / unit", " += 0"),
        Mistake("divided by unit", "axis=-1) / unit", "axis=-1)"),
        Mistake("squares are averaged", ".sum(axis=-1)", ".mean(axis=-1)"),
        Mistake("distance is not squared", "(difference**2).sum(axis=-1)", "np.sqrt((difference**2).sum(axis=-1))"),
        Mistake("not like itself", "row, column = click", "column, row = click"),
        Mistake("offsets are subtracted", "np.array(features, float)", "-np.array(features, float)"),
        Mistake("offsets have no effect", "[..., :2] += np", "[..., :2] = np"),
        Mistake(
            "clicked pixel has no offset",
            "embeddings[row, column]",
            "np.pad(np.array(click) / unit, (0, features.shape[2] - 2))",
        ),
        Mistake(
            "added to all channels",
            "embeddings[..., :2] += np.stack(np.indices((height, width)), axis=-1) / unit",
            "embeddings += np.stack([*np.indices((height, width))] * 2, axis=-1)[..., : features.shape[2]] / unit",
        ),
        Mistake("third channel is not compared", "(difference**2)", "(difference[..., :2] ** 2)"),
        Mistake("argument is changed", "np.array(features, float)", "np.asarray(features, float)"),
    ],
    "11-nms": [
        Mistake("not in order of score", "return kept", "return sorted(kept)"),
        Mistake("lowest score", "-np.asarray(scores)", "np.asarray(scores)"),
        Mistake("Nothing is dropped", "if all(iou <= threshold for iou in ious)", "if True"),
        Mistake("first kept mask", "for k in kept]", "for k in kept[:1]]"),
        Mistake(
            "drops another",
            "for k in kept]",
            "for k in np.argsort(-np.asarray(scores), kind='stable') if scores[k] > scores[i]]",
        ),
        Mistake("equal IoU drops", "iou <= threshold", "iou < threshold"),
        Mistake("part is dropped", "(mask | masks[k]).sum()", "min(mask.sum(), masks[k].sum())"),
        Mistake(
            "This is Dice",
            "(mask & masks[k]).sum() / (mask | masks[k]).sum()",
            "2 * (mask & masks[k]).sum() / (mask.sum() + masks[k].sum())",
        ),
        Mistake("in reverse order", 'np.argsort(-np.asarray(scores), kind="stable")', "np.argsort(scores)[::-1]"),
        Mistake("empty mask is kept", "if not mask.any():", "if False:"),
        Mistake(
            "Bounding boxes",
            "    kept = []\n",
            "    masks = np.array([mask.any(axis=1)[:, None] & mask.any(axis=0) for mask in masks])\n    kept = []\n",
        ),
        Mistake("are flags", "return kept", "return [i in kept for i in range(len(masks))]"),
    ],
    "11-everything": [
        Mistake("several masks", "return ids", "return masks"),
        Mistake("size is fixed", "return ids", "return np.pad(ids, ((0, 96 - height), (0, 96 - width)))"),
        Mistake("cells have no ids", "return ids", "return ids > 0"),
        Mistake("No cell is found", "scores[i] > 0.45", "scores[i] > 1"),
        Mistake("no better than the first try", "free.sum() > 0.75 * masks[i].sum()", "free.sum() > 0"),
        Mistake("It is below the bar", "scores[i] > 0.45", "scores[i] > 0.7"),
        Mistake("are allowed", "// 16)", "// 24)"),
    ],
}


class Exercise(NamedTuple):
    """One exercise of a notebook.

    Attributes:
        id: the ``grade_id`` of its answer.
        before: the sources of the code cells that stand before all exercises.
        text: its text cells, as one string; the first line is its heading.
        cells: its code cells.
    """

    id: str
    before: list
    text: str
    cells: list

    @property
    def answer(self):
        """The source of the right answer."""
        return next(cell.source for cell in self.cells if is_marked(cell, "solution"))

    @property
    def check(self):
        """The check cell."""
        return next(cell for cell in self.cells if is_marked(cell, "grade"))

    @property
    def name(self):
        """The name of the function that is asked for; None if no function is."""
        defined = (node for node in ast.parse(self.answer).body if isinstance(node, ast.FunctionDef))
        return next((node.name for node in defined), None)

    def run(self, answer, name=None, function=None):
        """Runs the cells before all exercises and those of this one, with another answer, in a namespace of their own.

        Args:
            answer: the source in place of that of the answer's cell.
            name, function: what ``name`` is when the check begins, in place of what the answer made it.
        """
        namespace = {"__name__": "__main__"}
        for source in self.before:
            exec(source, namespace)
        for cell in self.cells:
            if cell is self.check and name:
                namespace[name] = function(namespace[name])
            exec(answer if is_marked(cell, "solution") else cell.source, namespace)


def is_marked(cell, mark):
    """Whether nbgrader's metadata of a cell say ``"solution"`` or ``"grade"``."""
    return cell.metadata.get("nbgrader", {}).get(mark, False)


def read_exercises(notebook):
    """The exercises of a notebook, in order. Each begins with a heading of the second level."""
    before, exercises = [], []
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and cell.source.startswith("## "):
            exercises.append(([], []))
        if exercises:
            exercises[-1][cell.cell_type == "code"].append(cell)
        elif cell.cell_type == "code":
            before.append(cell.source)
    found = []
    for texts, cells in exercises:
        ids = [cell.metadata.nbgrader.grade_id for cell in cells if is_marked(cell, "solution")]
        found.append(Exercise(*ids, before, "\n".join(cell.source for cell in texts), cells))
    return found


def list_messages(source):
    """The sources of the messages of all assertions in a cell."""
    return [ast.unparse(node.msg) for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Assert) and node.msg]


def count_stars(exercise):
    return len(re.search("★+", exercise.text.partition("\n")[0])[0])
