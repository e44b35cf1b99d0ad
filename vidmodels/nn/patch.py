"""Frames into patches into tokens."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from vidmodels.nn import init
from vidmodels.typing import InputError


class PatchEmbed(nn.Module):
  """Maps each P x P patch of each frame to a token: Eq. 1's E x.

  The same as a convolution of kernel and stride P, written as one matrix
  product because that is what every backend does best. Starts as torch's
  convolution does, since the releases leave it alone: weight and bias uniform.

  Attributes:
    width: of a token, D.
    patch: edge of a patch in pixels, P.
    dtype: of the computation; parameters stay float32.
  """

  width: int
  patch: int
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, video_BTHWC: jax.Array) -> jax.Array:
    """Turns pixels [B, T, H, W, C] into tokens [B, T, H / P, W / P, D].

    Raises:
      InputError: for anything but normalised float video whose frames divide
        into patches; nothing is cropped or padded quietly.
    """
    P = self.patch
    _refuse(video_BTHWC, P)
    B, T, H, W, C = video_BTHWC.shape
    if self.has_variable('params', 'kernel'):
      channels = self.get_variable('params', 'kernel').shape[2]
      if channels != C:
        raise InputError(
          f'video of shape {video_BTHWC.shape} has {C} channels and these '
          f'weights take {channels}; convert the frames first'
        )
    kernel_PPCD = self.param(
      'kernel', init.uniform_fan_in, (P, P, C, self.width)
    )
    bias_D = self.param('bias', init.uniform_bias(P * P * C), (self.width,))
    # The two P of a patch are told apart as p and q.
    pixels = video_BTHWC.reshape(B, T, H // P, P, W // P, P, C)
    tokens_BTHWD = jnp.einsum(
      'BTHpWqC,pqCD->BTHWD',
      pixels.astype(self.dtype),
      kernel_PPCD.astype(self.dtype),
    )
    return tokens_BTHWD + bias_D.astype(self.dtype)


def _refuse(video: jax.Array, P: int) -> None:
  """Raises InputError for what cannot be cut into P x P patches."""
  if video.ndim != 5:
    raise InputError(
      f'video has shape {video.shape}; wanted [batch, frames, height, width, '
      'channels]; add the missing axis, e.g. video[None]'
    )
  if not jnp.issubdtype(video.dtype, jnp.floating):
    raise InputError(
      f'video is {video.dtype}; wanted normalised float: scale pixels to 0..1, '
      'take off the mean and divide by the standard deviation first'
    )
  _, T, H, W, _ = video.shape
  if T < 1 or H < P or W < P or H % P or W % P:
    raise InputError(
      f'video has {T} frames of {H} x {W} pixels; wanted at least one, with '
      f'height and width divisible by the patch of {P}; resize or crop it'
    )
