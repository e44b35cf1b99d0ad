"""Patches of a video as tokens, and the checks of the video."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from vidmodels.nn import initializers
from vidmodels.nn.linear import keep_rows, product, spread, uniform_bias
from vidmodels.typing import InputError

COLOURS = 3  # channels of a pixel: red, green, blue


class PatchEmbed(nn.Module):
  """Maps each patch of t frames of P x P pixels to a token: Eq. 1's E x.

  The same as a convolution whose stride is its kernel, written as one matrix
  product, which every backend does best. Starts as torch's convolution does, as
  in the releases: weight and bias uniform.
  """

  width: int  # token width, D
  patch: int  # edge of a patch in pixels, P
  # Frames of a patch, t. The kernel is [t, P, P, C, D], or [P, P, C, D] for 1.
  frames: int = 1
  # Whether pixels that do not fill a patch at the end of an axis are dropped,
  # as a convolution does; otherwise they are refused
  floor: bool = False
  # Whether the input is a grid of tokens instead of pixels; this only changes
  # the messages
  tokens: bool = False
  dtype: Any = jnp.float32  # compute dtype; parameters stay float32
  kernel_init: Callable[..., jax.Array] = initializers.uniform_fan_in

  @nn.compact
  def __call__(self, video_BTHWC: jax.Array) -> jax.Array:
    """Turns pixels [B, T, H, W, C] into tokens [B, T / t, H / P, W / P, D]."""
    self.check_input(video_BTHWC)
    t, P, C = self.frames, self.patch, video_BTHWC.shape[-1]
    lead = (t,) if t > 1 else ()
    kernel = self.param(
      'kernel', self.kernel_init, (*lead, P, P, C, self.width)
    )
    bias_D = self.param('bias', uniform_bias(t * P * P * C), (self.width,))
    B, T, H, W = (
      size // part
      for size, part in zip(video_BTHWC.shape, (1, t, P, P), strict=False)
    )
    whole_BTHWC = video_BTHWC[:, : T * t, : H * P, : W * P]
    # The two P of a patch are told apart as p and q.
    pixels = whole_BTHWC.reshape(B, T, t, H, P, W, P, C)
    tokens_BTHWD = product(
      'BTtHpWqC,tpqCD->BTHWD',
      keep_rows(pixels),
      kernel.reshape(t, P, P, C, self.width),
      self.dtype,
    )
    return keep_rows(
      tokens_BTHWD + spread(bias_D, tokens_BTHWD.shape, self.dtype)
    )

  def check_input(self, video: jax.Array) -> None:
    """Raises InputError for input that cannot be cut into these patches."""
    kernel: Any = self.get_variable('params', 'kernel')
    colours = None if self.tokens else COLOURS
    check_video(video, colours if kernel is None else kernel.shape[-2])
    self._check_size(*video.shape[1:4])

  def _check_size(self, T: int, H: int, W: int) -> None:
    """Raises InputError for frames that do not divide into patches."""
    t, P = self.frames, self.patch
    whole = self.floor or not (T % t or H % P or W % P)
    if min(T / t, H / P, W / P) >= 1 and whole:
      return
    what = 'a token grid' if self.tokens else 'video'
    unit = 'tokens' if self.tokens else 'pixels'
    raise InputError(
      f'got {what} of {T} frames of {H} x {W} {unit}; expected frames '
      f'divisible by {t}, height and width divisible by the patch of {P}; '
      'resize or crop it'
      if not self.floor
      else f'got {what} of {T} frames of {H} x {W} {unit}; expected at least '
      f'{t} frames of {P} x {P}; try a longer or larger clip'
    )


def check_video(video: jax.Array, channels: int | None = COLOURS) -> None:
  """Refuses all but normalised clips, with the channels that weights have."""
  if video.ndim != 5:
    raise InputError(
      f'got video of shape {video.shape}; expected [batch, frames, height, '
      'width, channels]; try adding the missing axis, e.g. video[None]'
    )
  if 0 in video.shape:
    axes = ('clips', 'frames', 'rows', 'columns', 'channels')
    raise InputError(
      f'got video of shape {video.shape}, which has 0 '
      f'{axes[video.shape.index(0)]}; expected at least 1; check what read the '
      'clip'
    )
  if not jnp.issubdtype(video.dtype, jnp.floating):
    raise InputError(
      f'got {video.dtype} video; expected normalised float: scale pixels to '
      '0..1, subtract the mean and divide by the standard deviation first'
    )
  if channels not in (None, video.shape[-1]):
    raise InputError(
      f'got video of shape {video.shape}, whose last axis has '
      f'{video.shape[-1]} channels; expected {channels}, as the weights have; '
      f'{_advise_channels(video.shape, channels)}'
    )


def _advise_channels(shape: tuple[int, ...], channels: int) -> str:
  """What to try with a video whose channels are not its last axis."""
  axis = shape.index(channels, 1) if channels in shape[1:4] else 0
  if axis:
    return f'try jnp.moveaxis(video, {axis}, -1), if axis {axis} is the colours'
  return 'try to convert the frames to RGB first'
