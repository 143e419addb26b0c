"""Files in tests/saved, of one small U-Net, were written by the oldest and the newest Keras that this course supports:
`python tests/saved_models.py write FOLDER` under each, and of FOLDER unet.keras."""

import json
import zipfile
from pathlib import Path

import keras
import pytest
from saved_models import KINDS, compare

from seglib import predict

FILES = sorted((Path(__file__).parent / "saved").glob("*.keras"))


def read_version(path):
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read("metadata.json"))["keras_version"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_files_of_another_keras_open_with_the_same_logits(path):
    assert path.stem == f"unet-keras-{read_version(path)}" and path.stat().st_size < 100_000
    assert compare(path) < 1e-4


def test_one_of_the_files_is_of_another_version():
    assert {"3.13.2", "3.15.1"} <= {read_version(path) for path in FILES}


@pytest.mark.slow
@pytest.mark.parametrize("kind", [kind for kind in KINDS if not kind.endswith("resnet50")])
def test_arguments_at_their_defaults_are_not_saved(kind):
    """The first three are what Keras 3.15 has learnt, and 3.13 refuses."""
    saved = json.dumps(keras.saving.serialize_keras_object(KINDS[kind]()))
    assert "BatchNormalization" in saved or "unet" in kind
    assert not [name for name in ("input_axes", "renorm", "output_padding", "gamma_constraint") if name in saved]


@pytest.mark.parametrize(("version", "named"), [("3.99.0", True), (keras.__version__, False), ('3.9"; ls "', False)])
def test_a_file_that_cannot_be_opened_names_both_versions_and_the_remedy(tmp_path, version, named):
    with zipfile.ZipFile(FILES[0]) as old, zipfile.ZipFile(tmp_path / "odd.keras", "w") as new:
        config, about = (json.loads(old.read(f"{name}.json")) for name in ("config", "metadata"))
        config["config"]["layers"][1]["config"]["from_the_future"] = 1
        new.writestr("config.json", json.dumps(config))
        new.writestr("metadata.json", json.dumps({**about, "keras_version": version}))
        new.writestr("model.weights.h5", old.read("model.weights.h5"))
    with pytest.raises(ValueError, match="odd.keras: cannot be opened as a model") as caught:
        predict.load_model(tmp_path / "odd.keras")
    assert (f'this is Keras {keras.__version__}: try pip install "keras=={version}"' in str(caught.value)) == named
    assert ("pip install" in str(caught.value)) == named
