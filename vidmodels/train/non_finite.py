"""A step whose numbers are not finite changes nothing (`optim.non_finite`).

  new = keep_if_broken(old, new, pairs)

One broken clip, or one overflow, would otherwise end in every weight.
The whole state stays as it was before the step: parameters, moments, averages,
batch statistics and the optimiser's own count, from which it takes the learning
rate. Only the step number goes on, because it is the position in the data.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from vidmodels.train.metrics import Pairs
from vidmodels.train.state import TrainState

SKIPPED = 'skipped'  # the metric's name: 1 for a step that was skipped


def keep_if_broken(
  old: TrainState, new: TrainState, pairs: Pairs
) -> tuple[TrainState, Pairs]:
  """`new`, or `old` with the number of `new` if a number is not finite.

  The numbers are the step's metrics (loss, norms of gradient and update) and
  its batch statistics, whose overflow shows in no loss. Compiled into the step.
  Returns the metrics too, with SKIPPED added.
  """
  sums = [total for total, _ in pairs.values()]
  whole = _all_finite([*sums, *jax.tree.leaves(new.model_state)])
  # Not `lax.cond`: a choice of each element needs no second copy of the state,
  # and partitions like the sum before it.
  kept = jax.tree.map(lambda o, n: jnp.where(whole, n, o), old, new)
  skipped = 1.0 - whole.astype(jnp.float32)
  return (
    dataclasses.replace(kept, step=new.step),
    pairs | {SKIPPED: (skipped, jnp.ones(()))},
  )


def _all_finite(arrays: list[Any]) -> jax.Array:
  return jnp.stack([jnp.isfinite(array).all() for array in arrays]).all()
