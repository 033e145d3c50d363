"""Compiles ``kernels/`` for this processor on first use, keeps the library in the cache, and calls it."""

import ctypes
import functools
import hashlib
import logging
import os
import shlex
import shutil
import subprocess
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from lsg_jax import cache, files

_SOURCES = sorted(path for path in Path(__file__).with_name("kernels").glob("*") if path.suffix in (".cc", ".h"))
_FLAGS = ("-std=c++17", "-O3", "-march=native", "-fPIC", "-shared", "-w")
_FUNCTIONS = ("convolution", "input_gradient", "weight_gradient", "channel_sums")


@functools.cache
def available() -> bool:
    """Tells whether the kernels can be called; compiles and registers them the first time it is asked."""
    try:
        library = ctypes.cdll.LoadLibrary(str(_library(shlex.split(os.environ.get("CXX") or "c++"))))
    except OSError as error:
        logging.getLogger(__name__).warning("training runs at about half its speed: %s", error)
        return False
    for name in _FUNCTIONS:
        capsule = jax.ffi.pycapsule(getattr(library, f"lsg_{name}"))
        jax.ffi.register_ffi_target(f"lsg_{name}", capsule, platform="cpu")
    return True


def takes(array: jax.Array) -> bool:
    """Tells whether the kernels take arrays like ``array`` here."""
    return array.dtype == jnp.float32 and jax.default_backend() == "cpu" and available()


def convolution(images: jax.Array, kernel: jax.Array, *, stride: int) -> jax.Array:
    """Returns the convolution f32[B, H', W', O] of images f32[B, H, W, I] with kernel f32[h, w, I, O]."""
    height, width = (-(-size // stride) for size in images.shape[1:3])
    shape = (images.shape[0], height, width, kernel.shape[3])
    return _call("convolution", shape, images, kernel, **_placement(kernel.shape, stride))


def gradients(
    images: jax.Array, kernel: jax.Array, cotangent: jax.Array, *, stride: int
) -> tuple[jax.Array, jax.Array]:
    """Returns the gradients of ``convolution`` with respect to images and kernel, contracted with ``cotangent``."""
    placement = _placement(kernel.shape, stride)
    return (
        _call("input_gradient", images.shape, cotangent, kernel, **placement),
        _call("weight_gradient", kernel.shape, images, cotangent, **placement),
    )


def channel_sums(a: jax.Array, b: jax.Array) -> jax.Array:
    """Returns the sums of a and of a b, both f32[B, H, W, K], over all but the last axis, f32[2, K]."""
    return _call("channel_sums", (2, a.shape[-1]), a, b)


def _placement(kernel_shape, stride):
    top, left = ((size - 1) // 2 for size in kernel_shape[:2])
    return {"stride": np.int64(stride), "top": np.int64(top), "left": np.int64(left)}


def _call(name, out_shape, first, second, **attributes):
    out = jax.ShapeDtypeStruct(out_shape, jnp.float32)
    return jax.ffi.ffi_call(f"lsg_{name}", out, vmap_method="broadcast_all")(first, second, **attributes)


def _library(compiler: list[str]) -> Path:
    if shutil.which(compiler[0]) is None:
        raise OSError("no C++ compiler found (install g++ or clang, or set CXX)")
    include = jax.ffi.include_dir()
    compile_with = [*compiler, *_FLAGS]
    header = Path(include, "xla", "ffi", "api", "c_api.h").read_bytes()
    sources = [file.read_bytes() for file in _SOURCES]
    key = hashlib.sha256(b"\0".join((header, *sources, shlex.join(compile_with).encode()))).hexdigest()
    library = cache.folder() / f"kernels-{cache.processor()}-{key[:16]}.so"
    if not _is_whole(library):
        command = [*compile_with, f"-I{include}", *(str(file) for file in _SOURCES if file.suffix == ".cc"), "-o"]
        try:
            files.publish(library, partial(_compile, command))
        except CompilerFailed:
            raise
        except OSError as error:
            raise OSError(
                f"the kernels cannot be kept in {library.parent} ({error.strerror}); set XDG_CACHE_HOME to a folder "
                "that can be written"
            ) from error
        logging.getLogger(__name__).info(
            "the kernels are compiled once for this processor; they are kept in %s", library
        )
    return library


class CompilerFailed(OSError):
    """The compiler did not take the kernels."""


def _compile(command: list[str], file: Path) -> None:
    """Compiles to ``file``, with the digest of all before it at its end, which a linker does not mind."""
    done = subprocess.run([*command, str(file)], capture_output=True, text=True)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"status {done.returncode}"]
        raise CompilerFailed(f"{command[0]} cannot compile the kernels ({lines[0]}); set CXX to another compiler")
    with file.open("r+b") as stream:
        digest = hashlib.sha256(stream.read()).digest()
        stream.write(digest)


def _is_whole(library: Path) -> bool:
    """Tells whether the library is there as it was compiled: a part of one would end the process."""
    if not library.is_file():
        return False
    content = library.read_bytes()
    return hashlib.sha256(content[:-32]).digest() == content[-32:]
