"""Residual networks in the layout of public PyTorch checkpoints: read into our variables and written from them.

The layout is that of the CIFAR networks of He et al. (2016) with option-A shortcuts, which have no parameters:
``conv1``, ``bn1``, ``layer1.0.conv1``, ``layer1.0.bn1``, ..., ``linear``, which is read under the name ``fc`` too.
Files that end in .th, .pt or .pth are read and written by PyTorch, which is imported only then; .safetensors needs no
PyTorch. No code that a file holds is run.
"""

import zipfile
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from lsg_jax import checks, files, gates, models
from lsg_jax.config import Config
from lsg_jax.data import cifar10, statistics
from lsg_jax.models.resnet import ResNet
from lsg_jax.run import Run

# The input normalisation that these networks were trained with, per channel of images scaled to [0, 1].
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

_TORCH_SUFFIXES = (".th", ".pt", ".pth")
SUFFIXES = (".safetensors", *_TORCH_SUFFIXES)
_IMAGE_SHAPE = (32, 32, 3)
_LEAVES = {
    "conv": {"weight": ("params", "kernel")},
    "bn": {
        "weight": ("params", "scale"),
        "bias": ("params", "bias"),
        "running_mean": ("batch_stats", "mean"),
        "running_var": ("batch_stats", "var"),
    },
    **{name: {"weight": ("params", "kernel"), "bias": ("params", "bias")} for name in ("linear", "fc")},
}


class Pretrained(NamedTuple):
    """What a file holds.

    Attributes:
      model: the network's name, as ``models.create`` takes it.
      params: theta, a pytree of f32 NumPy arrays.
      batch_stats: the batch normalisation statistics, a pytree of f32 NumPy arrays.
      num_classes: C.
    """

    model: str
    params: Any
    batch_stats: Any
    num_classes: int


def read(path: str | Path) -> Pretrained:
    """Reads a checkpoint: a state dictionary, bare or under ``state_dict``, its names with or without ``module.``.

    The number of blocks a stage is the file's, and so is the number of classes; images have 3 channels.

    Raises:
      OSError: where the file is missing or cannot be read.
      ValueError: where it is not such a network, or PyTorch is needed and missing; the message names file and tensor.
    """
    path = files.expanded(path)
    tensors = _tensors(path)
    blocks = 1
    while f"layer1.{blocks}.conv1.weight" in tensors:
        blocks += 1
    classifier = "fc" if "fc.weight" in tensors else "linear"
    places = _places(blocks, classifier)
    if missing := [name for name in places if name not in tensors]:
        raise ValueError(f"{path} holds no tensor {missing[0]}, which a residual network with option-A shortcuts has")
    if surplus := [name for name in tensors if name not in places and name not in _counters(places)]:
        raise ValueError(f"{path} holds {surplus[0]}, which a residual network with option-A shortcuts has not")
    num_classes = tensors[f"{classifier}.bias"].size
    if num_classes < 2:
        raise ValueError(f"{path}: {classifier}.bias has {num_classes} entries; a classifier needs at least 2 classes")
    name = f"resnet{6 * blocks + 2}"
    model = models.create(name, num_classes)
    shapes = flatten_dict(jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, *_IMAGE_SHAPE))))
    variables = {place: _checked(path, each, tensors[each], shapes[place].shape) for each, place in places.items()}
    return Pretrained(name, num_classes=num_classes, **unflatten_dict(variables))


def import_torch(path: str | Path, mean: tuple[float, ...] = MEAN, std: tuple[float, ...] = STD) -> Run:
    """Opens a checkpoint as a run without history, whose gate is all-one.

    ``mean`` and ``std`` are the input normalisation, which the file does not hold. Ten classes are taken for those of
    CIFAR-10, others are named by their numbers. Errors are those of ``read``, and ValueError on another normalisation
    than three finite numbers each, of which ``std`` is positive.
    """
    mean, std = statistics.checked(mean, std, _IMAGE_SHAPE[-1])
    found = read(path)
    model = models.create(found.model, found.num_classes)
    config = Config(model=found.model, gate="none", init=Path(path))
    return Run(
        config=config.resolve(config.optimizer.batch_size, found.num_classes, model.num_filters),
        params=jax.tree.map(jnp.asarray, found.params),
        batch_stats=jax.tree.map(jnp.asarray, found.batch_stats),
        gate=gates.init(found.num_classes, model.num_filters),
        class_names=cifar10.CLASSES if found.num_classes == 10 else tuple(map(str, range(found.num_classes))),
        image_shape=_IMAGE_SHAPE,
        history=[],
        mean=mean,
        std=std,
    )


def export_torch(run: Run, path: str | Path) -> None:
    """Writes a run's residual network as a bare state dictionary, which loads with ``strict=True``.

    It gives the logits of the STD path for images normalised by ``run.mean`` and ``run.std``. Neither these nor G have
    a place in the layout: ``import_torch(path, run.mean, run.std)`` opens the file again.

    Raises:
      OSError: where the file cannot be written.
      ValueError: where ``run`` is none or its model no residual network, or PyTorch is needed and missing.
    """
    checks.instance("the run", run, Run)
    path = files.expanded(path)
    _check_suffix(path)
    model = models.create(run.config.model, len(run.class_names))
    if not isinstance(model, ResNet):
        raise ValueError(f"only residual networks can be exported, and the run's model is {run.config.model!r}")
    if run.image_shape[-1] != 3:
        raise ValueError(f"the layout is of networks for 3 channels, and the run's images have {run.image_shape[-1]}")
    variables = flatten_dict({"params": run.params, "batch_stats": run.batch_stats})
    places = _places(model.blocks)
    tensors = {name: np.array(_theirs(np.asarray(variables[place])), order="C") for name, place in places.items()}
    tensors |= {name: np.zeros((), np.int64) for name in _counters(places)}
    if path.suffix == ".safetensors":
        from safetensors.numpy import save_file

        files.publish(path, lambda file: save_file(tensors, file))
    else:
        torch = _torch(path)
        state = {name: torch.from_numpy(array) for name, array in tensors.items()}
        files.publish(path, lambda file: torch.save(state, file))


def _places(blocks: int, classifier: str = "linear") -> dict[str, tuple[str, ...]]:
    """Returns the path in our variables of each tensor of a network with ``blocks`` blocks a stage."""
    modules = {"conv1": "stem", "bn1": "stem_norm", classifier: "classifier"}
    for stage, block, layer in product(range(3), range(blocks), (1, 2)):
        theirs, ours = f"layer{stage + 1}.{block}", f"stage{stage + 1}_block{block + 1}"
        modules |= {f"{theirs}.conv{layer}": f"{ours}/conv{layer}", f"{theirs}.bn{layer}": f"{ours}/norm{layer}"}
    return {
        f"{theirs}.{name}": (collection, *ours.split("/"), leaf)
        for theirs, ours in modules.items()
        for name, (collection, leaf) in _LEAVES[theirs.split(".")[-1].rstrip("12")].items()
    }


def _counters(places: dict[str, tuple[str, ...]]) -> list[str]:
    """Returns the names of the counters that PyTorch keeps beside the statistics; files of before 2018 have none."""
    return [name.replace("running_var", "num_batches_tracked") for name in places if name.endswith("running_var")]


def _theirs(array: np.ndarray) -> np.ndarray:
    """Returns [O, I, h, w] from [h, w, I, O], [C, K] from [K, C], and vectors as they are."""
    return array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T


def _ours(array: np.ndarray) -> np.ndarray:
    return array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T


def _checked(path: Path, name: str, array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    expected = _theirs(np.empty(shape)).shape
    if array.shape != expected:
        raise ValueError(f"{path}: {name} has shape {array.shape}, not {expected}")
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise ValueError(f"{path}: {name} holds {array.dtype}, not floating-point numbers")
    with np.errstate(over="ignore"):
        array = np.ascontiguousarray(_ours(array), np.float32)
    if not np.isfinite(array).all():
        raise ValueError(f"{path}: {name} holds a number that is not finite in float32")
    if name.endswith("running_var") and array.min() < 0:
        raise ValueError(f"{path}: {name} holds a negative variance")
    return array


def _tensors(path: Path) -> dict[str, np.ndarray]:
    """Returns the file's tensors by name, without ``module.``."""
    _check_suffix(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    tensors = _load_safetensors(path) if path.suffix == ".safetensors" else _load_torch(path)
    if all(name.startswith("module.") for name in tensors):
        tensors = {name.removeprefix("module."): array for name, array in tensors.items()}
    return tensors


def _check_suffix(path: Path) -> None:
    if path.suffix not in SUFFIXES:
        raise ValueError(f"a checkpoint's name must end in {', '.join(SUFFIXES)}, got {path}")


def _load_safetensors(path: Path) -> dict[str, np.ndarray]:
    from safetensors.numpy import load_file

    try:
        return load_file(path)
    except Exception as error:  # a damaged file surfaces as any of several types
        raise OSError(f"{path} cannot be read as .safetensors ({type(error).__name__})") from error


def _load_torch(path: Path) -> dict[str, np.ndarray]:
    _check_unpacked(path)
    torch = _torch(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file surfaces as any of several types
        raise OSError(
            f"{path} cannot be read as a PyTorch file that holds tensors alone ({type(error).__name__})"
        ) from error
    if isinstance(content, dict):
        content = content.get("state_dict", content)
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds no state dictionary but {type(content).__name__}")
    tensors = {}
    for name, tensor in content.items():
        dense = isinstance(tensor, torch.Tensor) and tensor.layout == torch.strided
        if not dense or tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise ValueError(f"{path}: {name} is no dense tensor")
        tensors[str(name)] = (tensor.float() if tensor.is_floating_point() else tensor).detach().numpy()
    return tensors


def _check_unpacked(path: Path) -> None:
    """Raises ValueError where a zip file unpacks to more than its size, which what PyTorch writes does not."""
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(each.file_size for each in archive.infolist())
    except zipfile.BadZipFile:  # an old format, or damaged, of which the reader tells
        return
    except Exception as error:  # a damaged directory surfaces as any of several types
        raise OSError(f"{path} cannot be read as a PyTorch file ({type(error).__name__})") from error
    if unpacked > (size := path.stat().st_size):
        raise ValueError(f"{path} has {size} bytes and unpacks to {unpacked}, which no checkpoint of PyTorch's does")


def _torch(path: Path) -> Any:
    """Returns PyTorch; a release whose ``weights_only`` can be made to execute code (CVE-2025-32434) is refused."""
    try:
        import torch

        if tuple(map(int, torch.__version__.split(".")[:2])) < (2, 6):
            raise ImportError
    except ImportError as error:
        raise ValueError(
            f"{path} needs PyTorch 2.6 or newer, which is not installed: pip install -e '.[torch]', "
            "or use a .safetensors file"
        ) from error
    return torch
