"""Attention to a pyramid of the whole clip (DualFormer, section 3.2, Eq. 3).

Keys and values are the clip pooled at two or more scales, by convolutions
whose stride is their kernel. These are written as a reshape and one
contraction: the gradient of a grouped convolution is many times slower on a
CPU. Tokens that do not fill a kernel at the end of an axis are dropped, as a
convolution does.
"""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.ad_checkpoint import checkpoint_name

from vidmodels.nn import initializers, stack, transformer
from vidmodels.nn.batch_norm import BatchNorm
from vidmodels.nn.linear import (
  DenseGeneral,
  keep_rows,
  product,
  spread,
  uniform_bias,
)
from vidmodels.nn.transformer import LayerNorm
from vidmodels.nn.window import Grid
from vidmodels.typing import InputError

Pooling = Literal['depthwise', 'dense', 'average']
# Edge of the first of a coarse scale's two kernels, as released.
EDGE = 7


class PyramidKernels(NamedTuple):
  """Kernels of a pyramid along time, height and width; () for no such scale."""

  fine: Grid = ()  # kernel of the fine scale's one convolution
  # kernels of the coarse scale's two: in space, then the rest
  coarse: tuple[Grid, ...] = ()
  # kernel of each further scale's one convolution
  coarser: tuple[Grid, ...] = ()
  # Whether the convolutions of the fine and the further scales are two, in
  # space and then in time
  factorised: bool = False


def pyramid_kernels(
  grid: Grid,
  fine: Grid,
  coarse: Grid,
  coarser: Sequence[Grid] = (),
  *,
  factorised: bool = False,
) -> PyramidKernels:
  """The kernels that pool a grid to (about) the target sizes.

  A kernel is floor(grid / target), so a pooled grid may exceed its target. If
  the fine kernel is a single token, or the fine target exceeds the grid, then
  every token is a key, and there is no coarse scale either. The release does
  the same; there it happens in the last stage.

  The release's first coarse kernel is always (1, 7, 7), which needs a grid of
  at least seven times the target; on smaller grids ours shrinks.

  With a target of () the stage does not have that scale. `coarser` are targets
  of further scales, which must pool something.
  """
  kernels = PyramidKernels()
  if fine:
    kernel = _floor(grid, fine)
    if np.prod(kernel) <= 1 and coarser:
      raise InputError(
        f'got coarser scales of {tuple(coarser)} beside a fine scale of {fine} '
        f'that does not pool its grid of {grid} tokens: every token is a key; '
        'expected a smaller fine scale, or () in model.coarser for this stage'
      )
    if np.prod(kernel) <= 1:
      return kernels
    kernels = kernels._replace(fine=kernel)
  if coarse:
    total = _coarse_kernel(grid, coarse, 'coarse')
    first = (1, min(EDGE, total[1]), min(EDGE, total[2]))
    kernels = kernels._replace(coarse=(first, _floor(total, first)))
  more = tuple(_coarse_kernel(grid, target, 'coarser') for target in coarser)
  return kernels._replace(coarser=more, factorised=factorised)


def _coarse_kernel(grid: Grid, target: Grid, field: str) -> Grid:
  """The kernel of a scale, which must not exceed the grid."""
  total = _floor(grid, target)
  if min(total) < 1:
    raise InputError(
      f'got a {field} scale of {target}, which is more than the grid of '
      f'{grid} tokens that it is built for; expected at most the grid; try a '
      f'smaller model.{field} or a larger model.built'
    )
  return total


def _floor(grid: Sequence[int], target: Grid) -> Grid:
  return tuple(n // part for n, part in zip(grid, target, strict=True))


class PyramidPool(nn.Module):
  """A convolution whose stride is its kernel.

  Starts as torch's untouched convolution: weight and bias uniform.
  """

  kernel: Grid  # tokens along time, height, width
  # Whether it mixes channels, with a kernel [t, h, w, D, D]; otherwise each
  # channel has its own, [t, h, w, 1, D]
  dense: bool = False
  dtype: Any = jnp.float32  # compute dtype

  @nn.compact
  def __call__(self, h_BTHWD: jax.Array) -> jax.Array:
    """Maps a grid to the floor of grid / kernel."""
    D = h_BTHWD.shape[-1]
    I = D if self.dense else 1
    fan_in = int(np.prod(self.kernel)) * I
    draw = uniform_bias(fan_in)  # the same bounds as the weight's
    kernel = self.param('kernel', draw, (*self.kernel, I, D))
    bias_D = self.param('bias', draw, (D,))
    pooled_BTHWD = product(
      'BTtHhWwC,thwCD->BTHWD' if self.dense else 'BTtHhWwD,thwD->BTHWD',
      cut_kernels(keep_rows(h_BTHWD), self.kernel),
      kernel if self.dense else kernel[..., 0, :],
      self.dtype,
    )
    return keep_rows(
      pooled_BTHWD + spread(bias_D, pooled_BTHWD.shape, self.dtype)
    )


def cut_kernels(h_BTHWD: jax.Array, kernel: Grid) -> jax.Array:
  """Cuts a grid into kernels, [B, T, t, H, h, W, w, D], and drops the rest."""
  B, *grid, D = h_BTHWD.shape
  T, H, W = _floor(grid, kernel)
  if min(T, H, W) < 1:
    raise InputError(
      f'got a grid of {tuple(grid)} tokens, which holds no kernel of {kernel}; '
      'expected at least one kernel to fit, as it pools the grid; try a '
      'longer or larger clip, or set model.built to the clip and train anew'
    )
  t, h, w = kernel
  whole = h_BTHWD[:, : T * t, : H * h, : W * w]
  return whole.reshape(B, T, t, H, h, W, w, D)


class Pyramid(nn.Module):
  """The pooled tokens of the clip, fine ones first, under one layer norm.

  The coarse scale is a convolution in space, batch norm, ReLU, and another
  convolution; the paper mentions neither norm nor ReLU. Further scales, as in
  Fig. 4, are one convolution each. Eq. 3 factorises the kernels of every scale,
  (1, h, w) and then (t, 1, 1), where neither is a single token; the release
  does not factorise the fine one.
  """

  kernels: PyramidKernels  # kernels of the scales; at least one scale
  # 'depthwise' as released; 'dense' mixes channels; 'average' takes means over
  # the same kernels, without batch norm and ReLU
  pooling: Pooling = 'depthwise'
  dtype: Any = jnp.float32  # compute dtype

  @nn.compact
  def __call__(self, h_BTHWD: jax.Array, train: bool) -> jax.Array:
    """Returns [B, S, D]: the pooled tokens."""
    B, *_, D = h_BTHWD.shape
    scales = []
    if self.kernels.fine:
      scales.append(self._factors(h_BTHWD, self.kernels.fine, 'fine'))
    if self.kernels.coarse and self.pooling == 'average':
      total = tuple(int(n) for n in np.prod(self.kernels.coarse, axis=0))
      scales.append(self._pool(h_BTHWD, total, ''))
    elif self.kernels.coarse:
      first, second = self.kernels.coarse
      c_BTHWD = self._pool(h_BTHWD, first, 'coarse_space')
      c_BTHWD = BatchNorm(dtype=self.dtype, name='coarse_norm')(c_BTHWD, train)
      c_BTHWD = self._pool(nn.relu(c_BTHWD), second, 'coarse_rest')
      scales.append(c_BTHWD)
    for i, kernel in enumerate(self.kernels.coarser):
      scales.append(self._factors(h_BTHWD, kernel, f'coarser_{i}'))
    s_BSD = jnp.concatenate([x.reshape(B, -1, D) for x in scales], axis=1)
    # torch's default epsilon, whatever the blocks have.
    return LayerNorm(1e-5, dtype=self.dtype, name='norm')(s_BSD)

  def _factors(self, h_BTHWD: jax.Array, kernel: Grid, name: str) -> jax.Array:
    """One scale by one pooling step, or by one in space and one in time."""
    t, h, w = kernel
    if not self.kernels.factorised or t == 1 or h * w == 1:
      return self._pool(h_BTHWD, kernel, name)
    h_BTHWD = self._pool(h_BTHWD, (1, h, w), f'{name}_space')
    return self._pool(h_BTHWD, (t, 1, 1), f'{name}_time')

  def _pool(self, h_BTHWD: jax.Array, kernel: Grid, name: str) -> jax.Array:
    """One pooling step, of the kind that `pooling` names."""
    if self.pooling == 'average':
      parts = cut_kernels(h_BTHWD.astype(jnp.float32), kernel)
      return parts.mean((2, 4, 6)).astype(self.dtype)
    dense = self.pooling == 'dense'
    return PyramidPool(kernel, dense=dense, dtype=self.dtype, name=name)(
      h_BTHWD
    )


class PyramidAttention(nn.Module):
  """Eq. 3: every token looks at the pyramid; without one, at all tokens.

  On request (collection 'intermediates') the float32 weights [B, A, Q, S] are
  sown as 'weights': Q counts all tokens, S those of the fine scale, then those
  of the coarse one, then those of further ones.
  """

  heads: int  # A; must divide the width
  # kernels of the pyramid; without any, all tokens are keys
  kernels: PyramidKernels
  pooling: Pooling = 'depthwise'  # see `Pyramid`
  qkv_bias: bool = True  # whether queries, keys and values have biases
  scale: float = 0.0  # what scores are multiplied by; 0 for d ** -0.5
  kernel_init: initializers.Draw = initializers.normal_02
  dtype: Any = jnp.float32  # compute dtype; softmax is float32

  @nn.compact
  def __call__(self, h_BTHWD: jax.Array, train: bool) -> jax.Array:
    """Maps a normalised grid to a grid."""
    B, *_, D = h_BTHWD.shape
    A, d = transformer.split_heads(D, self.heads)
    s_BSD = s_BQD = h_BTHWD.reshape(B, -1, D)
    if self.kernels.fine or self.kernels.coarse or self.kernels.coarser:
      s_BSD = Pyramid(
        self.kernels, self.pooling, dtype=self.dtype, name='pyramid'
      )(h_BTHWD, train)
    q_BQAd = self._project((A, d), 'q')(s_BQD)
    if self.scale:
      q_BQAd = transformer.rescale(q_BQAd, self.scale)
    k_BSAd, v_BSAd = jnp.moveaxis(self._project((2, A, d), 'kv')(s_BSD), -3, 0)
    if self.is_mutable_collection('intermediates'):
      p_BAQS = transformer.attention_weights(q_BQAd, k_BSAd)
      self.sow('intermediates', 'weights', p_BAQS)
    out = DenseGeneral(
      D,
      axis=(-2, -1),
      kernel_init=self.kernel_init,
      dtype=self.dtype,
      name='out',
    )
    y_BQAd = transformer.attend(q_BQAd, k_BSAd, v_BSAd)
    joined_xD = jax.lax.collapse(y_BQAd, -2)
    y_BQAd = checkpoint_name(joined_xD, stack.MIXED).reshape(y_BQAd.shape)
    return out(y_BQAd).reshape(h_BTHWD.shape)

  def _project(self, shape: tuple[int, ...], name: str) -> DenseGeneral:
    return DenseGeneral(
      shape,
      use_bias=self.qkv_bias,
      kernel_init=self.kernel_init,
      dtype=self.dtype,
      name=name,
    )
