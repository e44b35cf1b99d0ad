"""Linear layers and convolutions that train alike on one device and on many.

Two things differ from Flax's layers; parameters, their names, how they are
drawn and the answers are the same.

* Clips stay apart. The rows of inputs and outputs are split over the mesh as
  the batch is (`keep_rows`). Where nothing says so, XLA guesses, and on a mesh
  with fsdp it may gather the activations of the whole batch on every device:
  107 GB a step of TimeSformer-B on 16 chips, and more memory than without fsdp.
* Gradients of weights are summed in float32, over the rows of a device and over
  the devices, whatever the compute dtype (`sums_of_gradients` is the switch).
  The derivative of a bfloat16 product is a bfloat16 product, which would round
  the sum of each device and then every sum on the way through the mesh.
"""

import contextlib
import contextvars
import functools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.ad_checkpoint import checkpoint_name
from jax.sharding import PartitionSpec

from vidmodels.nn import initializers, stack
from vidmodels.typing import InputError, unknown_name

BATCH = ('data', 'fsdp')  # the axes of a mesh that split the rows of a batch
CONTEXT = 'context'  # the axis of a mesh that splits every clip

Sums = Literal['float32', 'dtype']
_sums = contextvars.ContextVar[Sums]('_sums', default='float32')


@contextlib.contextmanager
def sums_of_gradients(dtype: Sums) -> Iterator[None]:
  """In which dtype gradients of weights are summed, for models called inside.

  'float32', or 'dtype' for the compute dtype, which halves the bytes that a
  bfloat16 model sends between devices and rounds every partial sum.
  """
  if dtype not in get_args(Sums):
    raise InputError(
      unknown_name('the sums of gradients', dtype, get_args(Sums))
    )
  token = _sums.set(dtype)
  try:
    yield
  finally:
    _sums.reset(token)


def keep_rows(h_Bx: jax.Array) -> jax.Array:
  """The same array, its leading axis split over the mesh as a batch is.

  On a mesh with 'context' the second of three or more axes is split over that:
  the frames of [B, T, H, W, D], or what stands in their place. The others are
  XLA's choice, such as heads over 'tensor'. The rows of a clip must be
  neighbours: an axis that is folded into the batch goes behind it, as in
  [B * T, ...]. An axis is left alone where the mesh does not split it or it
  does not divide (one row that all clips share, the tail of an evaluation).
  """
  mesh = jax.sharding.get_abstract_mesh().shape
  spec: list[Any] = [PartitionSpec.UNCONSTRAINED] * h_Bx.ndim
  axes = (BATCH, (CONTEXT,)) if h_Bx.ndim > 2 else (BATCH,)
  for axis, names in enumerate(axes[: h_Bx.ndim]):
    shards = math.prod(mesh.get(name, 1) for name in names)
    if shards > 1 and not h_Bx.shape[axis] % shards:
      spec[axis] = names
  if set(spec) <= {PartitionSpec.UNCONSTRAINED}:
    return h_Bx
  return jax.lax.with_sharding_constraint(h_Bx, PartitionSpec(*spec))


def split_clips(h_Bx: jax.Array, axis: int) -> jax.Array:
  """The same array, clips split over 'context' along another axis than 1.

  The axis need not divide: the last device has less. Does nothing on a mesh
  without 'context'.
  """
  mesh = jax.sharding.get_abstract_mesh().shape
  if CONTEXT not in mesh:
    return h_Bx
  spec: list[Any] = [PartitionSpec.UNCONSTRAINED] * h_Bx.ndim
  spec[axis] = CONTEXT
  if h_Bx.shape[0] % math.prod(mesh.get(name, 1) for name in BATCH) == 0:
    spec[0] = BATCH
  return jax.lax.with_sharding_constraint(h_Bx, PartitionSpec(*spec))


def spread(parameter: jax.Array, shape: Sequence[int], dtype: Any) -> jax.Array:
  """A parameter such as a bias, broadcast to `shape` in the compute dtype.

  Broadcast first, so that the gradient is summed before it is rounded.
  """
  if _sums.get() == 'dtype':
    parameter = parameter.astype(dtype)
  return jnp.broadcast_to(parameter, tuple(shape)).astype(dtype)


def rounded(parameter: jax.Array, dtype: Any) -> jax.Array:
  """A float32 parameter with the values that it has in `dtype`.

  The gradient passes as it is: products that are summed in float32 keep it.
  """
  values = parameter.astype(dtype).astype(parameter.dtype)
  if _sums.get() == 'dtype':
    return values
  # Exact: a number and its rounding differ by a float32 number.
  return parameter + jax.lax.stop_gradient(values - parameter)


def product(
  equation: str, h_x: jax.Array, kernel: jax.Array, dtype: Any
) -> jax.Array:
  """`einsum` of an input and a kernel, computed in `dtype`.

  The equation names every axis by a letter; a letter of the input is in the
  kernel or the result, and so is a letter of the kernel.
  """
  h_x = h_x.astype(dtype)
  if dtype == kernel.dtype or _sums.get() == 'dtype':
    return jnp.einsum(equation, h_x, kernel.astype(dtype))
  return _product(equation, h_x, kernel)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _product(equation: str, h_x: jax.Array, kernel: jax.Array) -> jax.Array:
  return jnp.einsum(equation, h_x, kernel.astype(h_x.dtype))


def _product_forward(equation: str, h_x: jax.Array, kernel: jax.Array):
  # Not `_product`, behind which a policy of remat would not see the product.
  y_x = jnp.einsum(equation, h_x, kernel.astype(h_x.dtype))
  return y_x, (h_x, kernel)


def _product_backward(equation: str, kept: Any, gradient: jax.Array):
  (h_x, kernel), (inputs, result) = kept, equation.split('->')
  read, weights = inputs.split(',')
  of_input = jnp.einsum(
    f'{result},{weights}->{read}', gradient, kernel.astype(h_x.dtype)
  )
  of_kernel = jnp.einsum(
    f'{read},{result}->{weights}',
    h_x,
    gradient,
    preferred_element_type=kernel.dtype,
  )
  return of_input, of_kernel


_product.defvjp(_product_forward, _product_backward)


def convolve(
  h_Bx: jax.Array, kernel: jax.Array, dtype: Any, **options: Any
) -> jax.Array:
  """`jax.lax.conv_general_dilated` of an input and a kernel in `dtype`."""
  h_Bx = h_Bx.astype(dtype)
  run: Callable[..., jax.Array] = functools.partial(
    jax.lax.conv_general_dilated, **options
  )
  if dtype == kernel.dtype or _sums.get() == 'dtype':
    return run(h_Bx, kernel.astype(dtype))
  return _wide_gradient(run, h_Bx, kernel)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _wide_gradient(
  run: Callable[..., jax.Array], h_Bx: jax.Array, kernel: jax.Array
) -> jax.Array:
  return run(h_Bx, kernel.astype(h_Bx.dtype))


def _wide_forward(
  run: Callable[..., jax.Array], h_Bx: jax.Array, kernel: jax.Array
):
  return run(h_Bx, kernel.astype(h_Bx.dtype)), (h_Bx, kernel)


def _wide_backward(
  run: Callable[..., jax.Array], kept: Any, gradient: jax.Array
):
  h_Bx, kernel = kept
  _, back = jax.vjp(lambda h: run(h, kernel.astype(h.dtype)), h_Bx)
  # JAX's rule for a convolution with another dtype of result mixes dtypes, so
  # both are widened; the products are exact either way.
  _, back_kernel = jax.vjp(lambda k: run(h_Bx.astype(k.dtype), k), kernel)
  return *back(gradient), *back_kernel(gradient.astype(kernel.dtype))


_wide_gradient.defvjp(_wide_forward, _wide_backward)


# PyTorch's untouched bias: U(+-1 / sqrt(fan_in)), where Flax has zeros.
uniform_bias: initializers.Bias = lambda fan_in: functools.partial(
  jax.random.uniform,
  minval=-1 / math.sqrt(fan_in),
  maxval=1 / math.sqrt(fan_in),
)
# Zeros, whatever the fan-in: biases as the ViT releases draw them.
zero_bias: initializers.Bias = lambda fan_in: jax.nn.initializers.zeros


class DenseGeneral(nn.Module):
  """Flax's DenseGeneral without batch axes: a product with a kernel, a bias.

  The kernel is [*sizes of the axes that are summed, *features].
  """

  features: int | tuple[int, ...]  # sizes of the new last axes
  axis: int | tuple[int, ...] = -1  # the axes that are summed, rising
  use_bias: bool = True  # whether a bias is added
  dtype: Any = jnp.float32  # compute dtype; parameters are float32
  # Draws a fresh kernel, as a matrix [inputs, outputs].
  kernel_init: initializers.Draw = nn.initializers.lecun_normal()
  bias_init: initializers.Draw = nn.initializers.zeros

  @nn.compact
  def __call__(self, h_xD: jax.Array) -> jax.Array:
    """Maps [..., *axis] to [..., *features], in the compute dtype."""
    new = (
      self.features if isinstance(self.features, tuple) else (self.features,)
    )
    axes = self.axis if isinstance(self.axis, tuple) else (self.axis,)
    summed = [axis % h_xD.ndim for axis in axes]
    shape = (*(h_xD.shape[axis] for axis in summed), *new)
    outputs = math.prod(new)

    kernel = self.param(
      'kernel',
      lambda key, shape, dtype: self.kernel_init(
        key, (math.prod(shape) // outputs, outputs), dtype
      ).reshape(shape),
      shape,
      jnp.float32,
    )
    read = ''.join(map(chr, range(ord('a'), ord('a') + h_xD.ndim)))
    rest = ''.join(c for i, c in enumerate(read) if i not in summed)
    made = ''.join(map(chr, range(ord('A'), ord('A') + len(new))))
    weights = ''.join(read[axis] for axis in summed) + made
    y_xD = product(
      f'{read},{weights}->{rest}{made}', keep_rows(h_xD), kernel, self.dtype
    )
    if self.use_bias:
      bias = self.param(
        'bias',
        lambda key, shape, dtype: self.bias_init(
          key, (outputs,), dtype
        ).reshape(shape),
        new,
        jnp.float32,
      )
      y_xD = y_xD + spread(bias, y_xD.shape, self.dtype)
    y_xD = keep_rows(y_xD)
    joined_xD = jax.lax.collapse(y_xD, -min(len(new), 2))
    return checkpoint_name(joined_xD, stack.PRODUCT).reshape(y_xD.shape)


class Dense(DenseGeneral):
  """A product of the last axis with a kernel [D, features], and a bias."""


class Conv(nn.Module):
  """Flax's Conv of [B, *grid, D], without a bias."""

  features: int  # channels after it
  window: tuple[int, ...]  # taps along each axis of the grid
  strides: tuple[int, ...]  # along each axis of the grid
  padding: Sequence[tuple[int, int]]  # zeros before and after each axis
  dtype: Any = jnp.float32  # compute dtype; parameters are float32
  kernel_init: initializers.Draw = nn.initializers.lecun_normal()

  @nn.compact
  def __call__(self, h_BxD: jax.Array) -> jax.Array:
    """Maps [B, *grid, D] to fewer places, of `features` channels."""
    shape = (*self.window, h_BxD.shape[-1], self.features)
    kernel = self.param('kernel', self.kernel_init, shape, jnp.float32)
    letters = 'THW'[-len(self.window) :]
    y_BxD = convolve(
      keep_rows(h_BxD),
      kernel,
      self.dtype,
      window_strides=self.strides,
      padding=tuple(self.padding),
      dimension_numbers=(f'N{letters}C', f'{letters}IO', f'N{letters}C'),
    )
    return checkpoint_name(keep_rows(y_BxD), stack.PRODUCT)
