"""Labels of a batch as target distributions: what a softmax should answer.

Made on the device, from what `Task.row` put into the batch; the losses of
`losses.py` compare logits with them.
"""

import jax
import jax.numpy as jnp
import numpy as np

from vidmodels.data.records.task import Task


def soft(
  label_Bx: jax.Array, *, task: Task, classes: int, smoothing: float = 0.0
) -> jax.Array:
  """The share of every class in what is right, float32 [B, K].

  One class of each head is a 1 in that head's part of the list; several right
  classes ('any') have equal shares of the 1. With s = smoothing a part of n
  classes keeps 1 - s of that, and s / n goes to each of its classes, the right
  ones included. Each part adds up to 1. Classes that are questions of their own
  ('multi') stay 0 or 1, and nothing smooths them (`build.py` refuses it).

  Args:
    label_Bx: int32 [B], int32 [B, heads] (numbers in the whole list) or float32
      [B, K] of 0 and 1, as `task` has it.
    task: what the labels are.
    classes: K, of the whole list.
    smoothing: s, from 0 to 1.
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
