"""T2T-ViT's stem: frames become tokens in three soft splits (2101.11986).

Each split takes overlapping windows of a frame as tokens. After the first two a
small attention layer mixes them, so that 16 x 16 pixels become one token in
three steps. VidTr's Table 5c uses it. Attention is Performer's (2009.14794),
linear in the number of tokens, as in T2T-ViT-14.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from vidmodels.nn import initializers
from vidmodels.nn.linear import Dense
from vidmodels.nn.patch import COLOURS, check_video
from vidmodels.nn.transformer import LayerNorm, gelu
from vidmodels.typing import InputError

SPLITS = ((7, 4, 2), (3, 2, 1), (3, 2, 1))  # window, stride, padding
PATCH = 16  # pixels a token covers, in strides
INSIDE = 64  # width between the splits
_EPSILON = 1e-8  # of Performer's normaliser


def unfold(
  h_xHWD: jax.Array, window: int, stride: int, padding: int
) -> jax.Array:
  """A soft split: every window of a grid as one token.

  Returns [..., H', W', D * window * window], ordered by channel, then by the
  window's rows and columns, which is torch's order.
  """
  sides = [(0, 0)] * (h_xHWD.ndim - 3) + [(padding, padding)] * 2 + [(0, 0)]
  padded = jnp.pad(h_xHWD, sides)
  for axis in (-3, -2):  # each becomes two: which window, and where in it
    starts = np.arange((padded.shape[axis] - window) // stride + 1)
    index = stride * starts[:, None] + np.arange(window)
    padded = jnp.take(padded, index, axis=axis)
  # [..., H', window, W', window, D]
  windows = jnp.moveaxis(padded, (-4, -2), (-2, -1))
  return windows.reshape(*windows.shape[:-3], -1)


def _orthogonal(key: jax.Array, shape: tuple[int, int]) -> jax.Array:
  """Random features: orthogonal rows of length sqrt(rows)."""
  return nn.initializers.orthogonal(math.sqrt(shape[0]))(key, shape)


class Mixer(nn.Module):
  """One layer between the splits: Performer attention, then a perceptron.

  With positive random features phi(x) = exp(w x - |x|^2 / 2) / sqrt(R),

    y = phi(q) (phi(k)^T v) / (phi(q) phi(k)^T 1),

  one head; the residual comes from the values instead of the input: h = v + W
  y. The features `w` are drawn once and not trained: they are in the collection
  'batch_stats', which optimisers do not change.
  """

  dtype: Any = jnp.float32  # dtype of the projections; the features are float32

  @nn.compact
  def __call__(self, s_xLD: jax.Array) -> jax.Array:
    """Maps [..., L, D] to [..., L, 64]."""
    s_xLD = self._norm('attn_norm')(s_xLD)
    kqv = self._dense(3 * INSIDE, 'kqv')(s_xLD)
    k_xLd, q_xLd, v_xLd = jnp.split(kqv.astype(jnp.float32), 3, axis=-1)
    w_Rd = self.variable(
      'batch_stats',
      'features',
      lambda: _orthogonal(self.make_rng('params'), (INSIDE // 2, INSIDE)),
    ).value
    k_xLR, q_xLR = _features(k_xLd, w_Rd), _features(q_xLd, w_Rd)
    sum_xL = jnp.einsum('...LR,...R->...L', q_xLR, k_xLR.sum(-2))
    seen_xdR = jnp.einsum('...Ld,...LR->...dR', v_xLd, k_xLR)
    y_xLd = jnp.einsum('...LR,...dR->...Ld', q_xLR, seen_xdR)
    y_xLd = y_xLd / (sum_xL[..., None] + _EPSILON)
    h_xLD = v_xLd.astype(self.dtype) + self._dense(INSIDE, 'out')(y_xLd)
    more = self._dense(INSIDE, 'up')(self._norm('mlp_norm')(h_xLD))
    return h_xLD + self._dense(INSIDE, 'down')(gelu(more))

  def _norm(self, name: str) -> nn.LayerNorm:
    return LayerNorm(1e-5, dtype=self.dtype, name=name)

  def _dense(self, width: int, name: str) -> Dense:
    return Dense(
      width, kernel_init=initializers.normal_02, dtype=self.dtype, name=name
    )


def _features(z_xLd: jax.Array, w_Rd: jax.Array) -> jax.Array:
  """Performer's phi, [..., L, R]."""
  along = jnp.einsum('...Ld,Rd->...LR', z_xLd, w_Rd)
  size = jnp.square(z_xLd).sum(-1, keepdims=True) / 2
  return jnp.exp(along - size) / math.sqrt(w_Rd.shape[0])


class T2T(nn.Module):
  """Turns every frame by itself into tokens, one for 16 x 16 pixels."""

  width: int  # token width, D
  dtype: Any = jnp.float32  # compute dtype; parameters stay float32

  @nn.compact
  def __call__(self, video_BTHWC: jax.Array) -> jax.Array:
    """Turns pixels [B, T, H, W, C] into tokens [B, T, H / 16, W / 16, D]."""
    self._check_clip(video_BTHWC)
    h = video_BTHWC.astype(self.dtype)
    for i, split in enumerate(SPLITS):
      if i:
        rows = h.reshape(*h.shape[:2], -1, h.shape[-1])
        rows = Mixer(dtype=self.dtype, name=f'mixer_{i}')(rows)
        h = rows.reshape(*h.shape[:4], INSIDE)
      h = unfold(h, *split)
    return Dense(
      self.width,
      kernel_init=initializers.normal_02,
      dtype=self.dtype,
      name='fc',
    )(h)

  def _check_clip(self, video: jax.Array) -> None:
    """Raises InputError for frames that do not divide into tokens."""
    channels = COLOURS
    if self.has_variable('params', 'mixer_1'):
      kernel = self.variables['params']['mixer_1']['kqv']['kernel']
      channels = kernel.shape[0] // SPLITS[0][0] ** 2
    check_video(video, channels)
    H, W = video.shape[2:4]
    if H % PATCH or W % PATCH:
      raise InputError(
        f'got video of {H} x {W} pixels; expected height and width divisible '
        f'by {PATCH}; resize or crop it'
      )
