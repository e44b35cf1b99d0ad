"""Metrics as (sum, count) pairs, so that padded rows and devices add up.

  pairs = metrics.clip_metrics(logits_BK, label_Bx, loss_B, mask_B, task=task)
  metrics.divide(pairs)  # {'loss': 2.1, 'top1': 0.25, 'top5': 0.75}

Every metric is summed where the batch lives and divided on the host. clu's
Average ignores a mask of another shape with only a log line; a pair cannot.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vidmodels.data.records.task import SINGLE, Task

Pairs = dict[str, tuple[jax.Array, jax.Array]]
# Prefix of an accuracy on mixed clips, where the right class is that of the
# clip with the greater share.
MIXED = 'mixed_'
# The accuracy that a log line shows is the first of these that is there.
HEADLINES = ('action_top1', 'top1', 'hit1', 'map')


def top_k(logits_BK: jax.Array, label_B: jax.Array, k: int) -> jax.Array:
  """1.0 where fewer than k classes score above the label's, [B] float32.

  Ties count against the clip: a class with the same score ranks above the
  label. So a constant answer is never right, nor is a NaN.
  """
  own_B1 = jnp.take_along_axis(logits_BK, label_B[:, None], axis=-1)
  above_B = (~(logits_BK < own_B1)).sum(-1) - 1  # the label itself is one
  return (above_B < k).astype(jnp.float32)


def hit(logits_BK: jax.Array, right_BK: jax.Array, k: int) -> jax.Array:
  """1.0 where a right class (above 0) is among the k best, [B] float32.

  A clip counts if fewer than k wrong classes score as high as the best right
  one. Ties and NaN count against the clip, as in `top_k`. A clip without a
  right class never counts.
  """
  right_BK = right_BK > 0
  best_B1 = jnp.where(right_BK, logits_BK, -jnp.inf).max(-1, keepdims=True)
  above_B = (~right_BK & ~(logits_BK < best_B1)).sum(-1)
  return (above_B < k).astype(jnp.float32)


def accuracies(
  logits_BK: jax.Array, label_Bx: jax.Array, task: Task = SINGLE
) -> dict[str, jax.Array]:
  """The accuracies of a task: 1.0 for each row that is right, [B] float32.

  One class a video: top1, top5. Heads: the same for each head, as verb_top1,
  and action_top1, for which all heads must be right. Several right classes
  ('any'): hit1, hit5. A yes or no for every class ('multi'): none, because
  mean average precision (`average_precision.py`) measures a whole set and not
  one clip. Of five classes or fewer every answer is among the best five: then
  there is no top5.
  """
  if task.kind == 'multi':
    return {}
  K = logits_BK.shape[-1]
  if task.kind == 'any':
    return {f'hit{k}': hit(logits_BK, label_Bx, k) for k in _below(K)}
  parts = task.parts(K)
  if not task.heads:
    return {f'top{k}': top_k(logits_BK, label_Bx, k) for k in _below(K)}
  right, all_B = {}, jnp.ones(len(logits_BK))
  for i, (name, part) in enumerate(parts.items()):
    label_B = label_Bx[:, i] - part.start
    for k in _below(part.stop - part.start):
      right[f'{name}_top{k}'] = top_k(logits_BK[:, part], label_B, k)
    all_B *= right[f'{name}_top1']
  return right | {'action_top1': all_B}


def _below(classes: int) -> tuple[int, ...]:
  """1, and 5 where five classes are not all of them."""
  return (1, 5) if classes > 5 else (1,)


def clip_metrics(
  logits_BK: jax.Array,
  label_Bx: jax.Array,
  loss_B: jax.Array,
  mask_B: jax.Array,
  *,
  task: Task = SINGLE,
  prefix: str = '',
) -> Pairs:
  """Loss and accuracies of a batch of clips, as sums over real rows.

  `prefix` stands before the accuracies' names; MIXED for mixed clips.
  """
  count = mask_B.sum()
  right = accuracies(logits_BK, label_Bx, task)
  values = {'loss': loss_B, **{prefix + k: v for k, v in right.items()}}
  return {k: ((v_B * mask_B).sum(), count) for k, v_B in values.items()}


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Packed(Mapping[str, tuple[Any, Any]]):
  """Pairs in one array, so that a step's numbers are one transfer, not ten."""

  values_2M: Any  # float32: the sums, then the counts
  names: tuple[str, ...] = dataclasses.field(metadata={'static': True})

  def __getitem__(self, name: str) -> tuple[Any, Any]:
    i = self.names.index(name) if name in self.names else None
    if i is None:
      raise KeyError(name)
    return self.values_2M[0, i], self.values_2M[1, i]

  def __iter__(self) -> Iterator[str]:
    return iter(self.names)

  def __len__(self) -> int:
    return len(self.names)


def pack(pairs: Mapping[str, tuple]) -> Packed:
  """Puts pairs into one array, inside a jitted step."""
  sum_M, count_M = (
    jnp.stack([jnp.float32(pair[i]) for pair in pairs.values()]) for i in (0, 1)
  )
  return Packed(jnp.stack([sum_M, count_M]), tuple(pairs))


AnyPairs = Mapping[str, tuple[Any, Any]]


def start_transfer(pairs: AnyPairs) -> None:
  """Lets the numbers come to the host as soon as the device has them."""
  for leaf in jax.tree.leaves(pairs):
    if isinstance(leaf, jax.Array):
      leaf.copy_to_host_async()


def is_ready(pairs: AnyPairs) -> bool:
  """Whether the device has computed them."""
  leaves: list[Any] = jax.tree.leaves(pairs)
  return all(v.is_ready() for v in leaves if hasattr(v, 'is_ready'))


def divide(pairs: AnyPairs) -> dict[str, float]:
  """The means, as Python floats; this waits for the device, once."""
  if isinstance(pairs, Packed):
    pairs = dataclasses.replace(pairs, values_2M=np.asarray(pairs.values_2M))
  return {k: float(s) / max(float(n), 1.0) for k, (s, n) in pairs.items()}


def headline(values: Mapping[str, float]) -> str | None:
  """The name of the accuracy that a log line shows; None without accuracies."""
  names = [prefix + name for name in HEADLINES for prefix in ('', MIXED)]
  return next((name for name in names if name in values), None)
