"""Mixup and cutmix: each clip of a batch takes a part of another one.

Mixing runs on the device, inside the step, before pixels are scaled (scaling is
linear, so the order does not matter). One draw serves the whole batch: one
share, one box and one permutation for all clips of all devices and
microbatches. The model sees the mixed clip, and its loss is mixed alike. A
recipe without mixing enters nothing of this file.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

from vidmodels import config as cfg


class Draw(NamedTuple):
  """What one step mixes."""

  partner_B: jax.Array  # the row that each clip is mixed with
  # The partner's weight in every pixel, the same in all frames: for cutmix 1
  # inside the box and 0 around it, for mixup 1 - lambda everywhere.
  weight_HW: jax.Array
  share: jax.Array  # 1 - lambda, of the label: the mean of weight_HW


def is_on(mix: cfg.Mix) -> bool:
  """Whether a recipe mixes at all."""
  return bool(mix.mixup or mix.cutmix)


def draw(
  key: jax.Array, mask_B: jax.Array, mix: cfg.Mix, *, height: int, width: int
) -> Draw:
  """Draws what one step mixes, the same on every device.

  The batch is mixed with chance `mix.prob`. A mixed batch gets cutmix with
  chance `mix.switch`, else mixup (if one alpha is 0: always the other). lambda
  follows Beta(alpha, alpha); for cutmix it is then set to the true area of the
  box. The key is used for nothing else. The mask covers the whole batch, and
  one alpha at least is above 0.
  """
  key_mixes, key_cut, key_share, key_box, key_partner = jax.random.split(key, 5)
  switch = mix.switch if mix.mixup and mix.cutmix else float(mix.cutmix > 0)
  cut = jax.random.bernoulli(key_cut, switch)
  alpha = jnp.where(cut, mix.cutmix, mix.mixup)
  # Beta(a, a) is symmetric: 1 - lambda may be drawn in lambda's place.
  share = jax.random.beta(key_share, alpha, alpha)
  box_HW = cutmix_box(key_box, share, height=height, width=width)
  mixes = jax.random.bernoulli(key_mixes, mix.prob)
  return Draw(
    partner_B=draw_partners(key_partner, mask_B),
    weight_HW=jnp.where(cut, box_HW, share) * mixes,
    share=jnp.where(cut, box_HW.mean(), share) * mixes,
  )


def cutmix_box(
  key: jax.Array, share: jax.Array, *, height: int, width: int
) -> jax.Array:
  """A box of about `share` of a frame, as 0 and 1, float32 [H, W].

  Its sides are sqrt(share) of the frame's, rounded down to even pixels, and its
  centre is anywhere in the frame. What lies beyond an edge is lost, so the area
  is `share` at most and the label must follow the area.
  """
  key_rows, key_columns = jax.random.split(key)

  def inside(key: jax.Array, length: int) -> jax.Array:
    half = (length * jnp.sqrt(share)).astype(jnp.int32) // 2
    middle = jax.random.randint(key, (), 0, length)
    i = jnp.arange(length)
    return (middle - half <= i) & (i < middle + half)

  box_HW = inside(key_rows, height)[:, None] & inside(key_columns, width)
  return box_HW.astype(jnp.float32)


def draw_partners(key: jax.Array, mask_B: jax.Array) -> jax.Array:
  """A random permutation of the rows that keeps clips among clips.

  Padded rows change places with padded rows only: they hold no clip, and a
  real clip must never take pixels or a label from them.
  """
  shuffled_B = jax.random.permutation(key, len(mask_B))
  # Clips first, each kind in its own order (sorts are stable).
  to_B = jnp.argsort(mask_B == 0)
  from_B = shuffled_B[jnp.argsort(mask_B[shuffled_B] == 0)]
  return jnp.zeros_like(shuffled_B).at[to_B].set(from_B)


def add_partners(
  batch: Mapping[str, jax.Array], partner_B: jax.Array
) -> dict[str, jax.Array]:
  """The batch with every row's partner beside it: its pixels and its label.

  This happens before the split into microbatches, because a partner may be in
  another one, and as uint8, because that is what then moves between devices.
  """
  return dict(batch) | {
    f'partner_{name}': batch[name].at[partner_B].get(mode='promise_in_bounds')
    for name in ('video', 'label')
  }


def blend(
  video_BTHWC: jax.Array, partner_BTHWC: jax.Array, weight_HW: jax.Array
) -> jax.Array:
  """Pixels x + w (y - x), from 0 to 255, float32.

  In this form both w = 0 and y = x give x itself, bit for bit.
  """
  x_BTHWC = video_BTHWC.astype(jnp.float32)
  y_BTHWC = partner_BTHWC.astype(jnp.float32)
  return x_BTHWC + weight_HW[..., None] * (y_BTHWC - x_BTHWC)


def mixed_clips(
  part: Mapping[str, jax.Array], mixed: Draw
) -> tuple[jax.Array, jax.Array]:
  """The video that the model sees, and the label that accuracies count.

  That is the label of the clip with the greater share, and the clip's own in a
  tie. Only metrics read it.
  """
  video_BTHWC = blend(part['video'], part['partner_video'], mixed.weight_HW)
  other = mixed.share > 0.5
  return video_BTHWC, jnp.where(other, part['partner_label'], part['label'])


def mixed_loss(
  loss_of_label: Callable[[jax.Array], jax.Array],
  part: Mapping[str, jax.Array],
  mixed: Draw,
) -> jax.Array:
  """lambda loss(label) + (1 - lambda) loss(the partner's label), [B].

  All of our losses are linear in the target, so this equals the loss against
  the mixed target, which is never built.
  """
  own_B = loss_of_label(part['label'])
  return own_B + mixed.share * (loss_of_label(part['partner_label']) - own_B)
