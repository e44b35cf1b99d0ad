"""Attention to a pyramid of the whole clip (DualFormer, section 3.2, Eq. 3).

Keys and values are the clip pooled at two scales, by convolutions whose stride
is their kernel, so they are written as a reshape and one contraction: a grouped
convolution's gradient is many times slower on a CPU. What does not fill a
kernel at the end of an axis is left out, as a convolution does.
"""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from vidmodels.nn import initializers, transformer
from vidmodels.nn.batch_norm import BatchNorm
from vidmodels.nn.window import Grid
from vidmodels.typing import InputError

Pooling = Literal['depthwise', 'dense', 'average']
# Edge of the first of a coarse scale's two kernels, as released.
EDGE = 7


class Kernels(NamedTuple):
  """Kernels of a pyramid along time, height and width; () for no such scale.

  Attributes:
    fine: of the fine scale's one convolution.
    coarse: of the coarse scale's two: in space, then what is left.
  """

  fine: Grid = ()
  coarse: tuple[Grid, ...] = ()


def kernels(grid: Grid, fine: Grid, coarse: Grid) -> Kernels:
  """The kernels that pool a grid to (about) the wanted sizes.

  A kernel is floor(grid / target), so a pooled grid may exceed its target. If
  the fine kernel is a single token, or the fine target exceeds the grid, then
  every token is a key, and there is no coarse scale either: as released, where
  this is what happens in the last stage.

  The release's first coarse kernel is always (1, 7, 7), which asks for a grid
  of at least seven times the target; where that is less, ours shrinks with it.

  Args:
    grid: tokens along time, height, width that the kernels are made for.
    fine: target of the fine scale, () for none.
    coarse: target of the coarse scale, () for none.

  Raises:
    InputError: if the coarse target exceeds the grid.
  """
  found = Kernels()
  if fine:
    kernel = _floor(grid, fine)
    if np.prod(kernel) <= 1:
      return found
    found = found._replace(fine=kernel)
  if coarse:
    total = _floor(grid, coarse)
    if min(total) < 1:
      raise InputError(
        f'a coarse scale of {coarse} is more than the grid of {grid} tokens '
        'that it is built for; make model.coarse smaller or model.built larger'
      )
    first = (1, min(EDGE, total[1]), min(EDGE, total[2]))
    found = found._replace(coarse=(first, _floor(total, first)))
  return found


def _floor(grid: Grid, target: Grid) -> Grid:
  return tuple(
    size // wanted for size, wanted in zip(grid, target, strict=True)
  )


class PyramidPool(nn.Module):
  """A convolution whose stride is its kernel.

  Starts as torch's untouched convolution: weight and bias uniform.

  Attributes:
    kernel: tokens along time, height, width.
    dense: whether it mixes channels, kernel [t, h, w, D, D]; otherwise each
      channel has its own, [t, h, w, 1, D].
    dtype: of the computation.
  """

  kernel: Grid
  dense: bool = False
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, h_BTHWD: jax.Array) -> jax.Array:
    """Maps a grid to the floor of grid / kernel."""
    D = h_BTHWD.shape[-1]
    I = D if self.dense else 1
    fan_in = int(np.prod(self.kernel)) * I
    draw = initializers.uniform_bias(fan_in)  # the same bounds as the weight's
    kernel = self.param('kernel', draw, (*self.kernel, I, D))
    bias_D = self.param('bias', draw, (D,))
    equation = 'BTtHhWwC,thwCD->BTHWD' if self.dense else 'BTtHhWwD,thwD->BTHWD'
    kernel = kernel if self.dense else kernel[..., 0, :]
    pooled = jnp.einsum(
      equation,
      cut(h_BTHWD.astype(self.dtype), self.kernel),
      kernel.astype(self.dtype),
    )
    return pooled + bias_D.astype(self.dtype)


def cut(h_BTHWD: jax.Array, kernel: Grid) -> jax.Array:
  """A grid cut into kernels, [B, T, t, H, h, W, w, D], the rest left out.

  Raises:
    InputError: if not even one kernel fits.
  """
  B, *grid, D = h_BTHWD.shape
  T, H, W = _floor(grid, kernel)
  if min(T, H, W) < 1:
    raise InputError(
      f'a grid of {tuple(grid)} tokens holds no kernel of {kernel}, which '
      'pools it; give a longer or larger clip, or set model.built to the clip '
      'and train anew'
    )
  t, h, w = kernel
  whole = h_BTHWD[:, : T * t, : H * h, : W * w]
  return whole.reshape(B, T, t, H, h, W, w, D)


class Pyramid(nn.Module):
  """Pooled tokens of the whole clip, fine ones first, under one layer norm.

  The coarse scale is a convolution in space, batch norm, ReLU, and another
  convolution; the paper mentions neither norm nor ReLU. Eq. 3's kernels that
  are factorised at every scale are not in the release: its fine one is whole.

  Attributes:
    kernels: of the scales, at least one of them.
    pooling: 'depthwise' as released; 'dense' mixes channels; 'average' takes
      means over the same kernels, without batch norm and ReLU.
    dtype: of the computation.
  """

  kernels: Kernels
  pooling: Pooling = 'depthwise'
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, h_BTHWD: jax.Array, train: bool) -> jax.Array:
    """Returns [B, S, D]: the pooled tokens."""
    B, *_, D = h_BTHWD.shape
    scales = []
    if self.kernels.fine:
      scales.append(self._pool(h_BTHWD, self.kernels.fine, 'fine'))
    if self.kernels.coarse and self.pooling == 'average':
      total = tuple(int(n) for n in np.prod(self.kernels.coarse, axis=0))
      scales.append(self._pool(h_BTHWD, total, ''))
    elif self.kernels.coarse:
      first, second = self.kernels.coarse
      c_BTHWD = self._pool(h_BTHWD, first, 'coarse_space')
      c_BTHWD = BatchNorm(dtype=self.dtype, name='coarse_norm')(c_BTHWD, train)
      c_BTHWD = self._pool(nn.relu(c_BTHWD), second, 'coarse_rest')
      scales.append(c_BTHWD)
    s_BSD = jnp.concatenate([x.reshape(B, -1, D) for x in scales], axis=1)
    # torch's default epsilon, whatever that of the blocks.
    return nn.LayerNorm(
      1e-5, use_fast_variance=False, dtype=self.dtype, name='norm'
    )(s_BSD)

  def _pool(self, h_BTHWD: jax.Array, kernel: Grid, name: str) -> jax.Array:
    """One pooling step of whichever kind."""
    if self.pooling == 'average':
      parts = cut(h_BTHWD.astype(jnp.float32), kernel)
      return parts.mean((2, 4, 6)).astype(self.dtype)
    dense = self.pooling == 'dense'
    return PyramidPool(kernel, dense=dense, dtype=self.dtype, name=name)(
      h_BTHWD
    )


class PyramidAttention(nn.Module):
  """Eq. 3: every token looks at the pyramid, or without one at all tokens.

  On request (collection 'intermediates') the float32 weights [B, A, Q, S] are
  sown as 'weights': Q all tokens, S the fine scale's and then the coarse one's.

  Attributes:
    heads: A; must divide the width.
    kernels: of the pyramid; without any, keys and values are all tokens.
    pooling: see `Pyramid`.
    qkv_bias: whether queries, keys and values have biases.
    dtype: of the computation; softmax is float32.
  """

  heads: int
  kernels: Kernels
  pooling: Pooling = 'depthwise'
  qkv_bias: bool = True
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, h_BTHWD: jax.Array, train: bool) -> jax.Array:
    """Maps a normalised grid to a grid."""
    B, *_, D = h_BTHWD.shape
    A, d = transformer.split_heads(D, self.heads)
    s_BSD = s_BQD = h_BTHWD.reshape(B, -1, D)
    if self.kernels.fine or self.kernels.coarse:
      s_BSD = Pyramid(
        self.kernels, self.pooling, dtype=self.dtype, name='pyramid'
      )(h_BTHWD, train)
    q_BQAd = self._project((A, d), 'q')(s_BQD)
    k_BSAd, v_BSAd = jnp.moveaxis(self._project((2, A, d), 'kv')(s_BSD), -3, 0)
    if self.is_mutable_collection('intermediates'):
      p_BAQS = transformer.attention_weights(q_BQAd, k_BSAd)
      self.sow('intermediates', 'weights', p_BAQS)
    out = nn.DenseGeneral(
      D,
      axis=(-2, -1),
      kernel_init=initializers.normal_02,
      dtype=self.dtype,
      name='out',
    )
    return out(transformer.attend(q_BQAd, k_BSAd, v_BSAd)).reshape(
      h_BTHWD.shape
    )

  def _project(self, shape: tuple[int, ...], name: str) -> nn.DenseGeneral:
    return nn.DenseGeneral(
      shape,
      use_bias=self.qkv_bias,
      kernel_init=initializers.normal_02,
      dtype=self.dtype,
      name=name,
    )
