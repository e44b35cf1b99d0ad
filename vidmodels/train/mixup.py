"""Mixup and cutmix: each clip of a batch takes a part of another one.

Mixing runs on the device, inside the step, before pixels are scaled (scaling is
linear, so the order does not matter). One draw serves the whole batch: one
share, one box and one distance between partners, for all clips of all devices
and microbatches. The model sees the mixed clip, and its loss is mixed alike. A
recipe without mixing enters nothing of this file.

Partners are rows at one distance, not a permutation. Batches are shuffled, so
every clip (itself, too) is as likely a partner either way; but rows at one
distance reach their partners in log2 B steps from device to device, and for a
permutation every device has to receive the whole batch: on 64 chips with a clip
of X-ViT each 154 MB a step, instead of 14 MB.
"""

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

from vidmodels import config as cfg
from vidmodels.nn import linear


class Draw(NamedTuple):
  """What one step mixes, or each row of it: then with a leading axis of rows.

  Of each row, the weight is [B, 1, H, W], the same in all frames.
  """

  distance: jax.Array  # row i is mixed with row i + distance, modulo the batch
  # The partner's weight in every pixel, the same in all frames: for cutmix 1
  # inside the box and 0 around it, for mixup 1 - lambda everywhere.
  weight_HW: jax.Array
  share: jax.Array  # 1 - lambda, of the label: the mean of weight_HW


def is_on(mix: cfg.Mix) -> bool:
  """Whether a recipe mixes at all."""
  return bool(mix.mixup or mix.cutmix)


def draw(
  key: jax.Array, batch: int, mix: cfg.Mix, *, height: int, width: int
) -> Draw:
  """Draws what one step mixes, the same on every device.

  The batch is mixed with chance `mix.prob`. A mixed batch gets cutmix with
  chance `mix.switch`, else mixup (if one alpha is 0: always the other). lambda
  follows Beta(alpha, alpha); for cutmix it is then set to the true area of the
  box. Every row is as likely to be a clip's partner. The key is used for
  nothing else. `batch` counts the rows of all devices, and one alpha at least
  is above 0.
  """
  key_mixes, key_cut, key_share, key_box, key_distance = jax.random.split(
    key, 5
  )
  switch = mix.switch if mix.mixup and mix.cutmix else float(mix.cutmix > 0)
  cut = jax.random.bernoulli(key_cut, switch)
  alpha = jnp.where(cut, mix.cutmix, mix.mixup)
  # Beta(a, a) is symmetric: 1 - lambda may be drawn in lambda's place.
  share = jax.random.beta(key_share, alpha, alpha)
  box_HW = cutmix_box(key_box, share, height=height, width=width)
  mixes = jax.random.bernoulli(key_mixes, mix.prob)
  return Draw(
    distance=jax.random.randint(key_distance, (), 0, batch),
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


def rotate(x_Bx: jax.Array, distance: jax.Array) -> jax.Array:
  """Row i of the result is row i + distance, modulo the batch.

  Between devices by powers of two, whose rows XLA sends from each device to one
  other: a distance that is known only when the step runs would gather them all.
  """
  mesh = jax.sharding.get_abstract_mesh().shape
  if math.prod(mesh.get(name, 1) for name in linear.BATCH) == 1:
    return jnp.roll(x_Bx, -distance, axis=0)
  for k in range((len(x_Bx) - 1).bit_length()):
    moved_Bx = jnp.roll(x_Bx, -(2**k), axis=0)
    x_Bx = jnp.where(distance >> k & 1, moved_Bx, x_Bx)
  return x_Bx


def add_partners(
  batch: Mapping[str, jax.Array], distance: jax.Array
) -> dict[str, jax.Array]:
  """The batch with every row's partner beside it: its pixels and its label.

  Padded rows hold no clip, so a clip whose partner is one is its own partner.
  This happens before the split into microbatches, because a partner may be in
  another one, and as uint8, because that is what then moves between devices.
  """
  mask_B = rotate(batch['mask'], distance) > 0
  partners = {}
  for name in ('video', 'label'):
    own_Bx = batch[name]
    mask_Bx = mask_B.reshape(-1, *[1] * (own_Bx.ndim - 1))
    partner_Bx = jnp.where(mask_Bx, rotate(own_Bx, distance), own_Bx)
    partners[f'partner_{name}'] = partner_Bx
  return dict(batch) | partners


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
