"""A TFDS folder with a CIFAR-10 of 30 images."""

import contextlib
import io
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image
from tensorflow_datasets.core import registered

from lsg_jax.data.cifar10 import CLASSES


def png(image):
    encoded = io.BytesIO()
    Image.fromarray(image).save(encoded, "PNG")
    encoded.seek(0)
    return encoded


def prepare(folder: Path) -> np.ndarray:
    """Has TFDS write 20 training and 10 test images, number i of class i % 10, and returns them all."""
    images = np.random.default_rng(0).integers(0, 256, (30, 32, 32, 3), dtype=np.uint8)
    with registered.skip_registration():

        class Cifar10(tfds.core.GeneratorBasedBuilder):
            VERSION = tfds.core.Version("3.0.2")
            pkg_dir_path = folder

            def _info(self):
                features = {
                    "id": tfds.features.Text(),
                    "image": tfds.features.Image(shape=(32, 32, 3)),
                    "label": tfds.features.ClassLabel(names=CLASSES),
                }
                return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

            def _split_generators(self, download_manager):
                return {"train": self._examples(range(20)), "test": self._examples(range(20, 30))}

            def _generate_examples(self, which):
                return self._examples(which)

            def _examples(self, which):
                for i in which:
                    yield i, {"id": str(i), "image": png(images[i]), "label": i % 10}

    quiet = io.StringIO()
    with contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet):
        Cifar10(data_dir=folder, file_format="array_record").download_and_prepare()
    return images
