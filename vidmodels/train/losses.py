"""The loss of one batch, a number a clip. The last stop of a clip's way."""

import jax
import jax.numpy as jnp
import optax


def cross_entropy(
  logits_BK: jax.Array, label_B: jax.Array, *, smoothing: float = 0.0
) -> jax.Array:
  """Cross entropy against smoothed one-hot labels.

  With s = smoothing the target is (1 - s) on the label plus s / K on all K
  classes, the label included: -(1 - s) log p_y - s mean_k log p_k.

  Args:
    logits_BK: float32 scores.
    label_B: class index of each clip.
    smoothing: s, from 0 to 1.

  Returns:
    The loss of each clip, [B], float32, in nats.
  """
  logits_BK = logits_BK.astype(jnp.float32)
  loss_B = optax.softmax_cross_entropy_with_integer_labels(logits_BK, label_B)
  if not smoothing:
    return loss_B
  uniform_B = -jax.nn.log_softmax(logits_BK).mean(-1)
  return (1 - smoothing) * loss_B + smoothing * uniform_B
