"""Augmentation by brute force, digits, and CIFAR-10 from a tiny folder that the test prepares with TFDS."""

import io
import shutil
import subprocess
import sys

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lsg_jax import data
from lsg_jax.data import cifar10
from tests.small_cifar10 import prepare


def test_augmented_images_are_windows_of_the_padded_image_or_its_mirror():
    images = np.random.default_rng(0).integers(0, 256, (40, 5, 6, 3), dtype=np.uint8)
    flipped = 0
    for image, out in zip(
        images, np.asarray(data.augment(jax.random.key(0), images, padding=2, flip=True)), strict=True
    ):
        padded = np.pad(image, ((2, 2), (2, 2), (0, 0)))
        windows = [padded[r : r + 5, c : c + 6] for r in range(5) for c in range(5)]
        plain = any(np.array_equal(out, window) for window in windows)
        mirrored = any(np.array_equal(out, window[:, ::-1]) for window in windows)
        assert plain or mirrored
        flipped += mirrored
    assert 8 < flipped < 32


def test_every_row_and_column_offset_occurs_with_every_other():
    image = np.stack(np.meshgrid(range(5), range(7), indexing="ij"), axis=-1).astype(np.uint8)  # each pixel's place
    cropped = data.augment(jax.random.key(0), np.stack([image] * 500), padding=2, flip=False)
    # The window's pixel (2, 2) is the image's at the offset.
    assert {tuple(offset) for offset in np.asarray(cropped)[:, 2, 2]} == set(np.ndindex(5, 5))


def test_normalize_against_numpy():
    images = np.random.default_rng(0).integers(0, 256, (2, 3, 3, 2), dtype=np.uint8)
    expected = (images / 255 - [0.4, 0.5]) / [0.2, 0.3]
    for given in (images, (images / 255).astype(np.float32)):
        np.testing.assert_allclose(data.normalize(jnp.asarray(given), (0.4, 0.5), (0.2, 0.3)), expected, atol=1e-5)


def test_digits_are_complete_and_their_statistics_right():
    digits = data.load("digits")
    assert digits.train.images.shape == (1437, 16, 16, 1)
    assert digits.test.images.shape == (360, 16, 16, 1)
    assert set(digits.test.labels) == set(range(10))
    np.testing.assert_allclose(digits.mean, (digits.train.images / 255).mean((0, 1, 2)), rtol=1e-9)
    np.testing.assert_allclose(digits.std, (digits.train.images / 255).std((0, 1, 2)), rtol=1e-9)


def test_holdout_is_disjoint_from_training():
    whole, held = data.load("digits"), data.load("digits", train_examples=100, holdout=50)
    np.testing.assert_array_equal(held.test.images, whole.train.images[:50])
    np.testing.assert_array_equal(held.train.images, whole.train.images[50:150])


@pytest.mark.parametrize("sizes", [{"train_examples": 0}, {"train_examples": 1438}, {"holdout": 1437}])
def test_impossible_sizes_are_named(sizes):
    with pytest.raises(ValueError, match=rf"got {next(iter(sizes.values()))}"):
        data.load("digits", **sizes)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")
    return folder, prepare(folder)


def test_cifar10_is_decoded_once_and_a_broken_cache_rebuilt(prepared, monkeypatch):
    folder, images = prepared
    monkeypatch.setenv("TFDS_DATA_DIR", str(folder))
    loaded = data.load("cifar10")
    order = [int(np.argmin([np.abs(i.astype(int) - j).sum() for j in images])) for i in loaded.train.images]
    assert sorted(order) == list(range(20))
    np.testing.assert_array_equal(loaded.train.images, images[order])
    np.testing.assert_array_equal(loaded.train.labels, np.asarray(order) % 10)
    np.testing.assert_allclose(loaded.mean, (loaded.train.images / 255).mean((0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(loaded.std, (loaded.train.images / 255).std((0, 1, 2)), rtol=1e-12)
    (cache,) = (folder / "cifar10" / "3.0.2").glob("lsg_jax-*/train_images.npy")
    with monkeypatch.context() as patch:
        patch.setattr(cifar10, "_decode", lambda *_: pytest.fail("decoded although cached"))
        patch.setattr(cifar10, "channel_statistics", lambda *_: pytest.fail("counted although cached"))
        again = data.load("cifar10")
    chex.assert_trees_all_equal(again, loaded)
    content = cache.read_bytes()
    np.save(other := io.BytesIO(), np.zeros((20, 16, 16, 3), np.uint8))
    for broken in (content[: len(content) // 2], b"", b"\x00" * 64 + content[64:], other.getvalue()):
        cache.unlink()
        cache.write_bytes(broken)
        np.testing.assert_array_equal(data.load("cifar10").train.images, loaded.train.images)
        assert cache.read_bytes() == content
    assert not list(cache.parent.glob("*.tmp"))


def test_what_another_version_kept_is_left_alone(prepared, monkeypatch):
    folder, _ = prepared
    source = folder / "cifar10" / "3.0.2"
    forget(source)
    with monkeypatch.context() as patch:
        patch.setattr(cifar10, "_FORMAT", 0)
        data.load("cifar10", folder)
    (theirs,) = source.glob("lsg_jax-*")
    labels = np.load(theirs / "train_labels.npy")
    np.save(theirs / "train_labels.npy", labels[::-1])  # of their own order, and as whole as ours
    np.testing.assert_array_equal(data.load("cifar10", folder).train.labels, labels)
    np.testing.assert_array_equal(np.load(theirs / "train_labels.npy"), labels[::-1])
    assert len(list(source.glob("lsg_jax-*"))) == 2
    shutil.rmtree(theirs)


def test_a_cache_that_does_not_fit_on_the_disk_leaves_nothing(prepared, monkeypatch, tmp_path):
    folder, _ = prepared
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    source = folder / "cifar10" / "3.0.2"
    forget(source)
    publish = cifar10.files.publish

    def full(file, write):
        if file.parent.parent == source and file.name == "test_images.npy":
            raise OSError(28, "No space left on device")
        publish(file, write)

    monkeypatch.setattr(cifar10.files, "publish", full)
    assert len(data.load("cifar10", folder).test.labels) == 10
    assert not list(source.glob("lsg_jax-*"))
    assert len(list(tmp_path.glob("lsg_jax/lsg_jax-*/*.npy"))) == 5


def forget(source):
    for cache in source.glob("lsg_jax-*"):
        shutil.rmtree(cache)


def test_of_the_cache_only_what_is_used_is_read(prepared):
    folder, _ = prepared
    data.load("cifar10", folder)
    images = data.load("cifar10", folder).train.images
    assert isinstance(images.base, np.memmap)
    assert not images.flags.writeable


def test_two_processes_may_build_the_cache_at_once(prepared):
    folder, _ = prepared
    source = folder / "cifar10" / "3.0.2"
    forget(source)
    code = "import sys; from lsg_jax import data; print(data.load('cifar10', sys.argv[1]).train.labels.sum())"
    command = [sys.executable, "-c", code, str(folder)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    printed = [process.communicate(timeout=120)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert printed == ["90\n", "90\n"]
    assert len(list(source.glob("lsg_jax-*"))) == 1
    assert not list(source.rglob("*.tmp"))


def test_tensorflow_is_never_imported(prepared):
    code = (
        "import sys; from lsg_jax import data; data.load('cifar10', sys.argv[1]); sys.exit('tensorflow' in sys.modules)"
    )
    folder, _ = prepared
    forget(folder / "cifar10" / "3.0.2")
    assert subprocess.run([sys.executable, "-c", code, str(folder)], check=False).returncode == 0


def test_a_read_only_data_folder_is_left_alone(prepared, monkeypatch, tmp_path):
    folder, _ = prepared
    source = folder / "cifar10" / "3.0.2"
    forget(source)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    mode = source.stat().st_mode
    source.chmod(0o555)
    try:
        data.load("cifar10", folder)
        assert not list(source.glob("lsg_jax-*"))
        assert len(list(tmp_path.glob("lsg_jax/lsg_jax-cifar10-*/train_images.npy"))) == 1
    finally:
        source.chmod(mode)


def test_half_written_and_damaged_folders_are_named(tmp_path):
    source = tmp_path / "cifar10" / "3.0.2"
    source.mkdir(parents=True)
    (source / "cifar10-train.array_record-00000-of-00001").write_bytes(b"half")
    with pytest.raises(OSError, match=r"dataset_info.json is missing.*experiments.digits"):
        data.load("cifar10", tmp_path)
    (source / "dataset_info.json").write_text("{")
    with pytest.raises(OSError, match="cannot be read as CIFAR-10"):
        data.load("cifar10", tmp_path)
    assert not list(source.glob("lsg_jax-*"))
