"""A 2-D convolution that is fast on a CPU too, and its gradients, inside loops as well.

On a GPU or TPU everything is XLA's own. On a CPU it is compiled kernels (``native``). Where those cannot be had, the
convolution is XLA's, but not its gradients: XLA's own weight gradient is several times slower than it need be, and
inside a ``lax.scan`` or ``while_loop`` both of its gradients fall back to a naive loop nest. There, the weight gradient
is a sum of matrix products over patches, and the input gradient a convolution with an explicitly transposed kernel.

The choice is made here, when the program is lowered, so that exporting for another platform exports that platform's
program.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from lsg_jax.models import native

_CHUNK_BYTES = 2**21


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def convolution(images: jax.Array, kernel: jax.Array, stride: int = 1) -> jax.Array:
    """Returns the convolution f[B, H', W', O] of images f[B, H, W, I] with kernel f[h, w, I, O], H' = ceil(H / stride).

    Output pixel (i, j) is centred on input pixel (stride i, stride j), as in PyTorch with padding 1 for a 3x3 kernel.
    XLA's 'SAME' is that at stride 1 only: at stride 2 it centres on odd pixels where the size is even.
    """
    cpu = native.convolution if native.takes(images) else _unfused_convolution
    return lax.platform_dependent(
        images, kernel, cpu=partial(cpu, stride=stride), default=partial(_xla_convolution, stride=stride)
    )


def _forward(images, kernel, stride):
    return convolution(images, kernel, stride), (images, kernel)


def _backward(stride, residuals, cotangent):
    cpu = native.gradients if native.takes(residuals[0]) else _patch_gradients
    return lax.platform_dependent(
        *residuals, cotangent, cpu=partial(cpu, stride=stride), default=partial(_xla_gradients, stride=stride)
    )


convolution.defvjp(_forward, _backward)


def _padding(kernel: jax.Array) -> list[tuple[int, int]]:
    return [((size - 1) // 2, size // 2) for size in kernel.shape[:2]]


def _xla_convolution(images: jax.Array, kernel: jax.Array, *, stride: int) -> jax.Array:
    return lax.conv_general_dilated(
        images, kernel, (stride, stride), _padding(kernel), dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def _unfused_convolution(images, kernel, *, stride):
    out = _xla_convolution(images, kernel, stride=stride)
    # Fused with a reduction after it, XLA's bfloat16 convolution has returned infinities on a CPU (jaxlib 0.12.0).
    return lax.optimization_barrier(out) if out.dtype == jnp.bfloat16 else out


def _xla_gradients(images, kernel, cotangent, *, stride):
    _, gradients = jax.vjp(partial(_xla_convolution, stride=stride), images, kernel)
    return gradients(cotangent)


def _patch_gradients(images, kernel, cotangent, *, stride):
    padding = _padding(kernel)
    return (
        _transposed_input_gradient(images, kernel, cotangent, stride, padding),
        _patch_weight_gradient(images, kernel, cotangent, stride, padding),
    )


def _transposed_input_gradient(images, kernel, cotangent, stride, padding):
    # Without the barrier XLA folds the transposition into the convolution's layout, which sends it to the naive loops.
    transposed = lax.optimization_barrier(kernel[::-1, ::-1].swapaxes(2, 3))
    dilated_padding = []
    for axis in range(2):
        before = kernel.shape[axis] - 1 - padding[axis][0]
        spread = (cotangent.shape[axis + 1] - 1) * stride + 1
        dilated_padding.append((before, images.shape[axis + 1] + kernel.shape[axis] - 1 - spread - before))
    return lax.conv_general_dilated(
        cotangent,
        transposed,
        (1, 1),
        dilated_padding,
        lhs_dilation=(stride, stride),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def _patch_weight_gradient(images, kernel, cotangent, stride, padding):
    batch, _, _, inputs = images.shape
    rows, columns, _, outputs = kernel.shape
    out_height, out_width = cotangent.shape[1:3]
    patch_bytes = out_height * out_width * rows * columns * inputs * images.dtype.itemsize
    chunk = _largest_divisor(batch, max(1, _CHUNK_BYTES // patch_bytes))

    def add_chunk(total, pair):
        chunk_images, chunk_cotangent = pair
        padded = jnp.pad(chunk_images, ((0, 0), *padding, (0, 0)))
        slices = [
            padded[
                :,
                row : row + (out_height - 1) * stride + 1 : stride,
                column : column + (out_width - 1) * stride + 1 : stride,
            ]
            for row in range(rows)
            for column in range(columns)
        ]
        patches = jnp.concatenate(slices, axis=-1).reshape(-1, rows * columns * inputs)
        pixels = chunk_cotangent.reshape(-1, outputs)
        product = lax.dot_general(pixels, patches, (((0,), (0,)), ((), ())), preferred_element_type=jnp.float32)
        return total + product, None

    chunked = [array.reshape(batch // chunk, chunk, *array.shape[1:]) for array in (images, cotangent)]
    zero = jnp.zeros((outputs, rows * columns * inputs), jnp.float32)
    total, _ = lax.scan(add_chunk, zero, chunked)
    return total.T.reshape(kernel.shape).astype(kernel.dtype)


def _largest_divisor(number: int, limit: int) -> int:
    return next(divisor for divisor in range(min(number, limit), 0, -1) if number % divisor == 0)
