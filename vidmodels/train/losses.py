"""The loss of one batch, a number a clip. The last stop of a clip's way."""

from collections.abc import Iterable

import jax
import jax.numpy as jnp
import optax

from vidmodels.data.records.task import SINGLE, Task
from vidmodels.train import targets


def of(
  logits_BK: jax.Array,
  label_Bx: jax.Array,
  *,
  task: Task = SINGLE,
  smoothing: float = 0.0,
) -> jax.Array:
  """The loss that a task is trained with.

  One class: cross entropy. One class of each head: the sum of the heads' cross
  entropies, so that every head learns as fast as it would alone. Several right
  classes: cross entropy against equal shares. Classes that are questions of
  their own: binary cross entropy, the mean over classes.

  Args:
    logits_BK: scores, of any float type.
    label_Bx: as `task` has it in a batch.
    task: what the labels are.
    smoothing: of the labels, see `targets.soft`.

  Returns:
    The loss of each clip, [B], float32, in nats.
  """
  if task == SINGLE:
    return cross_entropy(logits_BK, label_Bx, smoothing=smoothing)
  K = logits_BK.shape[-1]
  target_BK = targets.soft(label_Bx, task=task, classes=K, smoothing=smoothing)
  if task.kind == 'multi':
    return binary_cross_entropy(logits_BK, target_BK)
  return soft_cross_entropy(logits_BK, target_BK, task.parts(K).values())


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


def soft_cross_entropy(
  logits_BK: jax.Array, target_BK: jax.Array, parts: Iterable[slice]
) -> jax.Array:
  """Sum over parts of -sum_k t_k log p_k, p a softmax over that part alone.

  The heads' losses are added with weight 1, not averaged: a second head leaves
  the first one's gradient, and so its learning rate, as it was.

  Args:
    logits_BK: scores.
    target_BK: of which each part adds up to 1.
    parts: where each head's classes lie.

  Returns:
    The loss of each clip, [B], float32, in nats.
  """
  logits_BK = logits_BK.astype(jnp.float32)
  return sum(
    optax.softmax_cross_entropy(logits_BK[:, part], target_BK[:, part])
    for part in parts
  )


def binary_cross_entropy(
  logits_BK: jax.Array, target_BK: jax.Array
) -> jax.Array:
  """Mean over classes of -t log p - (1 - t) log(1 - p), p = sigmoid(logit).

  Computed from log sigmoid, so that large logits cost what they should and
  not infinity.
  """
  logits_BK = logits_BK.astype(jnp.float32)
  return optax.sigmoid_binary_cross_entropy(logits_BK, target_BK).mean(-1)
