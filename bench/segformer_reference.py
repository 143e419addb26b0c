"""SegFormer of Hugging Face's transformers with random weights, and its logits: what ``models.segformer`` must repeat.

It runs in an environment of its own, which needs neither Keras nor this package::

    python -m venv FOLDER/reference
    FOLDER/reference/bin/pip install "transformers>=5" torch safetensors
    FOLDER/reference/bin/python bench/segformer_reference.py tiny tests/saved
    FOLDER/reference/bin/python bench/segformer_reference.py b0 FOLDER

It writes ``segformer_VARIANT.safetensors``, as ``save_pretrained`` does, and ``segformer_VARIANT.npz``: an ``image``
(1, height, width, 3) in 0–255, its ``logits`` (1, height / 4, width / 4, classes), and the ``epsilons`` of all
normalisations. Nothing is fetched: all weights are drawn here, and so are the statistics of batch normalisation.
``tests/test_segformer.py`` compares tiny's, and b0's if SEGLIB_SEGFORMER names their folder.
"""

import argparse
import shutil
import tempfile
from pathlib import Path

import numpy as np
import torch
import transformers
from transformers import SegformerConfig, SegformerForSemanticSegmentation

CONFIGS = {
    "b0": {"num_labels": 150},  # transformers' defaults are b0
    "tiny": {
        "num_labels": 5,
        "hidden_sizes": [16, 32, 64, 96],
        "num_attention_heads": [1, 2, 4, 6],
        "depths": [1, 1, 1, 1],
        "sr_ratios": [4, 2, 1, 1],
        "decoder_hidden_size": 64,
    },
}
SIZE = (50, 70)  # no multiples of 32
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of SegformerImageProcessor


def draw_weights(model):
    """Random numbers for all weights, of a size that keeps the activations' variance and makes each weight count."""
    generator = torch.Generator().manual_seed(0)
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point():
            values = torch.randn(tensor.shape, generator=generator)
            if tensor.ndim > 1:
                values *= tensor[0].numel() ** -0.5
                if ".proj." in name and "encoder" in name or "patch_embeddings" in name:
                    values *= 0.01  # a variance of 1e-4, beside which the epsilon of the layer normalisation counts
            else:
                values = 0.1 * values + float(name.endswith(("norm.weight", "before.weight", "after.weight")))
            if "patch_embeddings.proj.bias" in name:
                values *= 0.01
            if name.endswith("running_var"):
                values = values.abs() + 0.5
            tensor.copy_(values)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("variant", choices=CONFIGS)
    parser.add_argument("folder", type=Path)
    chosen = parser.parse_args()
    chosen.folder.mkdir(parents=True, exist_ok=True)
    stem = chosen.folder / f"segformer_{chosen.variant}"
    model = SegformerForSemanticSegmentation(SegformerConfig(**CONFIGS[chosen.variant])).eval()
    with torch.no_grad():
        draw_weights(model)
        if chosen.variant == "tiny":  # its file is committed: float16 halves it, and the logits are those of float16
            model.half()
        with tempfile.TemporaryDirectory() as folder:
            model.save_pretrained(folder)
            shutil.copyfile(Path(folder) / "model.safetensors", f"{stem}.safetensors")
        model.float()
        image = np.random.default_rng(0).integers(0, 256, (1, *SIZE, 3), np.uint8)
        scaled = (image / 255 - MEAN) / STD
        logits = model(torch.tensor(scaled, dtype=torch.float32).permute(0, 3, 1, 2)).logits
    epsilons = sorted(module.eps for module in model.modules() if hasattr(module, "eps"))
    np.savez_compressed(f"{stem}.npz", image=image, logits=logits.permute(0, 2, 3, 1).numpy(), epsilons=epsilons)
    trainable = sum(weight.numel() for weight in model.parameters())
    encoder = sum(weight.numel() for weight in model.segformer.parameters())
    print(f"transformers {transformers.__version__}, torch {torch.__version__}: {chosen.variant}")
    print(f"{trainable:,} trainable weights, {encoder:,} of them the encoder's")
    print(f"logits of {tuple(image.shape)}: {tuple(logits.shape)}, standard deviation {logits.std():.3f}")


if __name__ == "__main__":
    main()
