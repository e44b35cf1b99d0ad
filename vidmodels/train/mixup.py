"""Mixup and cutmix: each clip of a batch takes a part of another one.

On the device, inside the step, before pixels are scaled (which is linear, so
that it makes no difference). What is drawn is of the whole batch: one share,
one box and one permutation for all clips of all devices and microbatches.
After this: the model sees a mixed clip, and its loss is mixed alike.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

from vidmodels import config as cfg


class Draw(NamedTuple):
  """What one step mixes.

  Attributes:
    partner_B: row that each clip is mixed with.
    weight_HW: how much of every pixel is the partner's, in all frames: 1 in
      cutmix's box and 0 around it, 1 - lambda everywhere for mixup.
    share: 1 - lambda, the partner's share of the label: the mean of weight_HW.
  """

  partner_B: jax.Array
  weight_HW: jax.Array
  share: jax.Array


def wanted(mix: cfg.Mix) -> bool:
  """Whether a recipe mixes at all."""
  return bool(mix.mixup or mix.cutmix)


def draw(
  key: jax.Array,
  mask_B: jax.Array,
  mix: cfg.Mix,
  *,
  height: int,
  width: int,
) -> Draw:
  """Draws one step's mixing, the same on every device.

  With chance `mix.prob` the batch is mixed; with chance `mix.switch` that is
  cutmix, else mixup (where one alpha is 0: always the other). lambda is of
  Beta(alpha, alpha), cutmix's then corrected to the area of its box.

  Args:
    key: of this step and nothing else.
    mask_B: 1 for a clip, 0 for padding; of the whole batch.
    mix: the recipe's section, with at least one alpha above 0.
    height: of the clips, pixels.
    width: of the clips, pixels.
  """
  whether, which, amount, place, order = jax.random.split(key, 5)
  switch = mix.switch if mix.mixup and mix.cutmix else float(mix.cutmix > 0)
  cut = jax.random.bernoulli(which, switch)
  alpha = jnp.where(cut, mix.cutmix, mix.mixup)
  # Beta(a, a) is symmetric: 1 - lambda may be drawn in lambda's place.
  share = jax.random.beta(amount, alpha, alpha)
  box_HW = box(place, share, height=height, width=width)
  mixes = jax.random.bernoulli(whether, mix.prob)
  return Draw(
    partner_B=partners(order, mask_B),
    weight_HW=jnp.where(cut, box_HW, share) * mixes,
    share=jnp.where(cut, box_HW.mean(), share) * mixes,
  )


def box(
  key: jax.Array, share: jax.Array, *, height: int, width: int
) -> jax.Array:
  """A box of about `share` of a frame, as 0 and 1, float32 [H, W].

  Its sides are sqrt(share) of the frame's, rounded down to even pixels, its
  centre is anywhere in the frame; what lies beyond an edge is lost, so the area
  is `share` at most and the label must follow the area.
  """
  rows, columns = jax.random.split(key)

  def along(key, length: int) -> jax.Array:
    half = (length * jnp.sqrt(share)).astype(jnp.int32) // 2
    middle = jax.random.randint(key, (), 0, length)
    i = jnp.arange(length)
    return (middle - half <= i) & (i < middle + half)

  inside_HW = along(rows, height)[:, None] & along(columns, width)
  return inside_HW.astype(jnp.float32)


def partners(key: jax.Array, mask_B: jax.Array) -> jax.Array:
  """A random permutation of the rows that keeps clips among clips.

  Padded rows change places with padded rows only: they hold no clip, and a
  real one must never take pixels or a label from them.
  """
  shuffled_B = jax.random.permutation(key, len(mask_B))
  # Clips first, each kind in its own order (sorts are stable).
  to_B = jnp.argsort(mask_B == 0)
  from_B = shuffled_B[jnp.argsort(mask_B[shuffled_B] == 0)]
  return jnp.zeros_like(shuffled_B).at[to_B].set(from_B)


def pair(
  batch: Mapping[str, jax.Array], partner_B: jax.Array
) -> dict[str, jax.Array]:
  """The batch with every row's partner beside it: its pixels and its label.

  Before the split into microbatches, since a partner may be in another one;
  as uint8, which is what then moves between devices.
  """
  return dict(batch) | {
    f'partner_{name}': batch[name].at[partner_B].get(mode='promise_in_bounds')
    for name in ('video', 'label')
  }


def blend(
  video_BTHWC: jax.Array, partner_BTHWC: jax.Array, weight_HW: jax.Array
) -> jax.Array:
  """Pixels x + w (y - x), from 0 to 255, float32.

  So written, no weight and no difference both give x itself, bit for bit.
  """
  x_BTHWC = video_BTHWC.astype(jnp.float32)
  y_BTHWC = partner_BTHWC.astype(jnp.float32)
  return x_BTHWC + weight_HW[..., None] * (y_BTHWC - x_BTHWC)


def seen(
  part: Mapping[str, jax.Array], mixed: Draw | None
) -> tuple[jax.Array, jax.Array]:
  """The video that the model sees, and the label that its answer is held to.

  Mixed, that is the label of whichever clip has the greater share, and the
  clip's own if they tie: only metrics read it.
  """
  if mixed is None:
    return part['video'], part['label']
  video_BTHWC = blend(part['video'], part['partner_video'], mixed.weight_HW)
  other = mixed.share > 0.5
  return video_BTHWC, jnp.where(other, part['partner_label'], part['label'])


def mean_loss(
  loss_of: Callable[[jax.Array], jax.Array],
  part: Mapping[str, jax.Array],
  mixed: Draw | None,
) -> jax.Array:
  """lambda loss(label) + (1 - lambda) loss(the partner's label), [B].

  All of our losses are linear in the target, so this is the loss against the
  mixed target, and needs none.
  """
  own_B = loss_of(part['label'])
  if mixed is None:
    return own_B
  return own_B + mixed.share * (loss_of(part['partner_label']) - own_B)
