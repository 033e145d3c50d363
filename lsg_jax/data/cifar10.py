"""CIFAR-10 through TensorFlow Datasets, without TensorFlow, decoded once and kept as arrays that are read in part."""

import hashlib
import logging
import os
import shutil
import sys
import urllib.request
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from lsg_jax import cache, files
from lsg_jax.data.statistics import channel_statistics

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_FORMAT = 1  # of the arrays that are kept; other versions' are left alone
_ARCHIVE = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
_FORMS = {
    **{f"{split}_images": (np.dtype(np.uint8), (32, 32, 3)) for split in ("train", "test")},
    **{f"{split}_labels": (np.dtype(np.int32), ()) for split in ("train", "test")},
    "statistics": (np.dtype(np.float64), (3,)),
}
_HELP = "or try `python -m experiments.digits`, which needs no download"


def load(data_dir: Path | None = None) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Returns the arrays train_images, train_labels, test_images, test_labels and statistics, and the class names.

    They are mapped into memory, so that only what is used of them is read. The statistics, f64[2, 3], are mean and
    standard deviation of the training images' channels, scaled to [0, 1].

    Args:
      data_dir: a TFDS data directory (it holds ``cifar10/3.0.2``); TFDS's own default if None. Where it holds no
        CIFAR-10 yet, TFDS downloads and prepares it there.

    Raises:
      OSError: if the data is missing and cannot be downloaded, or is damaged; the message names the folder.
    """
    data_dir = files.expanded(data_dir or os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets"))
    source = data_dir / "cifar10" / "3.0.2"
    info = source / "dataset_info.json"
    if not info.is_file():
        _prepare(data_dir, source)
    if '"tfrecord"' in info.read_text("utf-8"):
        raise OSError(
            f"{source} holds TFRecord files, which only TensorFlow reads; give another --data-dir, and an ArrayRecord "
            f"copy is made there, {_HELP}"
        )
    folders = [folder / f"lsg_jax-cifar10-{_fingerprint(source)}" for folder in (source, cache.folder())]
    for folder in folders:
        if (arrays := _read(folder)) is not None:
            return arrays, CLASSES
    arrays = _decode(data_dir, source)
    arrays["statistics"] = channel_statistics(arrays["train_images"])
    for folder in folders:
        if _write(folder, arrays) and (kept := _read(folder)) is not None:
            return kept, CLASSES
    return arrays, CLASSES


def _prepare(data_dir: Path, source: Path) -> None:
    if not data_dir.is_dir() and (data_dir.exists() or data_dir.is_symlink()):
        raise OSError(f"{data_dir} is not a folder; --data-dir must be a TFDS folder, {_HELP}")
    if source.exists() and any(source.iterdir()):
        raise OSError(f"{source / 'dataset_info.json'} is missing, so {source} is half-written; remove it, {_HELP}")
    try:
        # TFDS retries for minutes and leaves folders behind, so ask first whether the archive can be reached at all.
        urllib.request.urlopen(urllib.request.Request(_ARCHIVE, method="HEAD"), timeout=10).close()
        import tensorflow_datasets as tfds

        print(f"CIFAR-10 is not in {data_dir} and is downloaded there", file=sys.stderr, flush=True)
        builder = tfds.builder("cifar10", data_dir=data_dir, file_format="array_record")
        builder.download_and_prepare()
    except Exception as error:  # TFDS raises whatever its transport raises
        raise OSError(
            f"{source / 'dataset_info.json'} is missing and CIFAR-10 could not be downloaded "
            f"({type(error).__name__}); give a prepared TFDS folder with --data-dir, {_HELP}"
        ) from error


def _decode(data_dir: Path, source: Path) -> dict[str, np.ndarray]:
    import tensorflow_datasets as tfds

    arrays: dict[str, np.ndarray] = {}
    try:
        for split in ("train", "test"):
            records = tfds.data_source("cifar10", data_dir=data_dir, split=split)
            images, labels = np.empty((len(records), 32, 32, 3), np.uint8), np.empty(len(records), np.int32)
            for index in tqdm(
                range(len(records)), f"decoding CIFAR-10 {split}", unit=" images", leave=False, disable=None
            ):
                record = records[index]
                images[index], labels[index] = record["image"], record["label"]
            arrays |= {f"{split}_images": images, f"{split}_labels": labels}
    except Exception as error:  # a damaged record surfaces as any of a dozen types
        raise OSError(
            f"{source} cannot be read as CIFAR-10 ({type(error).__name__}); remove it and prepare it again, {_HELP}"
        ) from error
    if not all(len(array) for array in arrays.values()):
        raise OSError(f"{source} holds no examples in one of its splits; remove it and prepare it again, {_HELP}")
    return arrays


def _fingerprint(source: Path) -> str:
    """Tells copies apart by the names and sizes of their records, what TFDS says of them, and what is kept of them."""
    digest = hashlib.sha256(f"{_FORMAT}\n".encode())
    for path in sorted(source.iterdir()):
        if ".array_record" in path.name:
            digest.update(f"{path.name} {path.stat().st_size}\n".encode())
        elif path.suffix == ".json":
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _read(folder: Path) -> dict[str, np.ndarray] | None:
    """Returns the arrays kept in ``folder``; None where one is missing, cut short, or not what this version keeps."""
    try:
        arrays = {key: np.asarray(np.load(folder / f"{key}.npy", mmap_mode="r", allow_pickle=False)) for key in _FORMS}
    except (OSError, ValueError, EOFError):
        return None
    ours = all((array.dtype, array.shape[1:]) == _FORMS[key] for key, array in arrays.items())
    whole = all(len(arrays[f"{split}_images"]) == len(arrays[f"{split}_labels"]) for split in ("train", "test"))
    return arrays if ours and whole else None


def _write(folder: Path, arrays: dict[str, np.ndarray]) -> bool:
    """Keeps the arrays for the next time; False where that is not possible."""

    def save(array: np.ndarray, temporary: Path) -> None:
        with temporary.open("wb") as stream:
            np.save(stream, array, allow_pickle=False)

    # A folder may be marked read-only, which root could override but should not.
    if folder.parent.exists() and not folder.parent.stat().st_mode & 0o222:
        return False
    try:
        for key, array in arrays.items():
            files.publish(folder / f"{key}.npy", partial(save, array))
    except OSError:
        if _read(folder) is None:  # unless another process has filled it
            shutil.rmtree(folder, ignore_errors=True)
        return False
    logging.getLogger(__name__).info("CIFAR-10 is decoded once; its arrays are kept in %s", folder)
    return True
