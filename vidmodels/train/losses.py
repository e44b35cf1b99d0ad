"""The loss of a batch, one number a clip.

  loss_B = losses.loss_per_clip(logits_BK, label_Bx, task=task, smoothing=0.1)

This is where a clip's way from its record ends.
"""

from collections.abc import Iterable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax

from vidmodels.data.records.task import SINGLE, Task


def loss_per_clip(
  logits_BK: jax.Array,
  label_Bx: jax.Array,
  *,
  task: Task = SINGLE,
  smoothing: float = 0.0,
  class_weights: Sequence[float] = (),
) -> jax.Array:
  """The loss that a task is trained with, in nats: [B], float32.

  One class a video: cross entropy. One class of each head: the sum of the
  heads' cross entropies, so that every head learns as fast as it would alone.
  Several right classes ('any'): cross entropy against equal shares. A yes or no
  for every class ('multi'): binary cross entropy, the mean over classes.

  Logits may be of any float type; labels are as `Task.row` puts them into a
  batch; `smoothing` is that of `soft_targets`. `class_weights` w, [K], make it
  -sum_k w_k t_k log p_k with the smoothed targets t, as torch's cross entropy
  has it before its mean; here the batch's mean divides by the clips and not by
  the sum of their weights.
  """
  if class_weights:
    K = logits_BK.shape[-1]
    target_BK = soft_targets(
      label_Bx, task=task, classes=K, smoothing=smoothing
    )
    weighted_BK = target_BK * jnp.asarray(class_weights, jnp.float32)
    return soft_cross_entropy(logits_BK, weighted_BK, task.parts(K).values())
  if task == SINGLE:
    return cross_entropy(logits_BK, label_Bx, smoothing=smoothing)
  K = logits_BK.shape[-1]
  target_BK = soft_targets(label_Bx, task=task, classes=K, smoothing=smoothing)
  if task.kind == 'multi':
    return binary_cross_entropy(logits_BK, target_BK)
  return soft_cross_entropy(logits_BK, target_BK, task.parts(K).values())


def soft_targets(
  label_Bx: jax.Array, *, task: Task, classes: int, smoothing: float = 0.0
) -> jax.Array:
  """The target distribution over classes, float32 [B, K].

  One class of each head is a 1 in that head's part of the list. Several right
  classes ('any') share the 1 equally. With s = smoothing, from 0 to 1, a part
  of n classes keeps 1 - s of that, and s / n goes to each of its classes, the
  right ones included. Each part adds up to 1. For 'multi' the targets stay 0 or
  1 and are never smoothed (`build.py` refuses it).

  Labels are int32 [B], int32 [B, heads] (numbers in the whole list of K
  classes) or float32 [B, K] of 0 and 1, as `Task.row` makes them.
  """
  if task.kind == 'multi':
    return label_Bx
  if task.kind == 'any':
    # The maximum is for padded rows, which have no class.
    total_B1 = label_Bx.sum(-1, keepdims=True)
    target_BK = label_Bx / jnp.maximum(total_B1, 1)
  else:
    label_Bx = label_Bx.reshape(len(label_Bx), -1)
    target_BK = jax.nn.one_hot(label_Bx, classes).sum(1)
  if not smoothing:
    return target_BK
  sizes = task.sizes or (classes,)
  even_K = np.concatenate([np.full(n, 1 / n, np.float32) for n in sizes])
  return (1 - smoothing) * target_BK + smoothing * even_K


def cross_entropy(
  logits_BK: jax.Array, label_B: jax.Array, *, smoothing: float = 0.0
) -> jax.Array:
  """Cross entropy against smoothed one-hot labels, in nats: [B], float32.

  With s = smoothing, from 0 to 1, the target is (1 - s) on the label plus s / K
  on all K classes, the label included: -(1 - s) log p_y - s mean_k log p_k.
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

  `parts` says where each head's classes lie in K; the targets of each add up to
  1. The heads' losses are added with weight 1 and not averaged, so a second
  head does not change the first one's gradient, nor its learning rate.
  """
  logits_BK = logits_BK.astype(jnp.float32)
  first_B, *others_B = [
    optax.softmax_cross_entropy(logits_BK[:, part], target_BK[:, part])
    for part in parts
  ]
  return sum(others_B, first_B)


def binary_cross_entropy(
  logits_BK: jax.Array, target_BK: jax.Array
) -> jax.Array:
  """Mean over classes of -t log p - (1 - t) log(1 - p), p = sigmoid(logit).

  Computed from log sigmoid, so that large logits give the exact loss and not
  infinity.
  """
  logits_BK = logits_BK.astype(jnp.float32)
  return optax.sigmoid_binary_cross_entropy(logits_BK, target_BK).mean(-1)
