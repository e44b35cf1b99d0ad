"""Metrics as (sum, count) pairs, so that padded rows and devices add up.

Every metric is summed where the batch lives and divided on the host. clu's
Average ignores a mask of another shape with only a log line; a pair cannot.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

Pairs = dict[str, tuple[jax.Array, jax.Array]]


def top_k(logits_BK: jax.Array, label_B: jax.Array, k: int) -> jax.Array:
  """1.0 where fewer than k classes score above the label's, [B] float32.

  Ties count against the clip: a class that scores the same ranks above the
  label, so a constant answer is never right, and nor is a NaN.
  """
  own_B1 = jnp.take_along_axis(logits_BK, label_B[:, None], axis=-1)
  above_B = (~(logits_BK < own_B1)).sum(-1) - 1  # the label itself is one
  return (above_B < k).astype(jnp.float32)


def clip_metrics(
  logits_BK: jax.Array,
  label_B: jax.Array,
  loss_B: jax.Array,
  mask_B: jax.Array,
) -> Pairs:
  """Loss, top-1 and top-5 of a batch of clips, as sums over real rows."""
  count = mask_B.sum()
  values = {
    'loss': loss_B,
    'top1': top_k(logits_BK, label_B, 1),
    'top5': top_k(logits_BK, label_B, 5),
  }
  return {k: ((v_B * mask_B).sum(), count) for k, v_B in values.items()}


def divide(pairs: Mapping[str, tuple]) -> dict[str, float]:
  """The means, as Python floats; waits for the device."""
  return {k: float(s) / max(float(n), 1.0) for k, (s, n) in pairs.items()}
