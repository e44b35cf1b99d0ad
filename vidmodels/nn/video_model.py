"""What the models of all families share: their first fields and their call."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from vidmodels.typing import InputError, Positive


class VideoModel(nn.Module):
  """A model of clips, which scores `features` by its `head`."""

  classes: Positive  # answers, K
  # compute dtype; parameters, softmax, statistics and logits are float32
  dtype: Any = jnp.float32

  def __call__(
    self, video_BTHWC: jax.Array, *, train: bool = False
  ) -> jax.Array:
    """Returns logits_BK, float32.

    Args:
      video_BTHWC: normalised float RGB; of an image, T = 1.
      train: dropout and drop path on, which need the rngs 'dropout' and
        'drop_path' if their rates are above 0, and batch norm by this batch,
        for which 'batch_stats' must be mutable.

    Raises:
      InputError: (a ValueError) for video that is not float, has other channels
        than the weights, or does not fit the patches, strides, kernels,
        segments or pools of the model.
    """
    return self.head(self.features(video_BTHWC, train=train))

  @nn.nowrap
  def check_read(self, choice: str, readers: Mapping[str, tuple]) -> None:
    """Refuses fields that are set and that the value of `choice` does not read.

    `readers` has, for each field, the values of `choice` that read it.
    """
    chosen = getattr(self, choice)
    for name, choices in readers.items():
      value, default = getattr(self, name), getattr(type(self), name)
      if value != default and chosen not in choices:
        raise InputError(
          f'got {name}={value!r} with {choice}={chosen!r}, which does not read '
          f'it; expected {choice} of {choices}; try leaving it at {default!r}'
        )
