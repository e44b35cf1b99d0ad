"""Host batches to global device arrays, one batch ahead of the step.

  feed = Feed(batches, rows=config.batch, mesh=mesh)
  state, metrics = train_step(state, next(feed))

Each process supplies the rows that its own devices hold (`mesh.local_rows`).
Before this: `data/stream/batch_stream.py`. After it: `step.py`.
"""

import time
from collections.abc import Iterator, Mapping

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding

from vidmodels.train.mesh import BATCH


def to_device(
  batch: Mapping[str, np.ndarray], *, rows: int, mesh: Mesh
) -> dict[str, jax.Array]:
  """Makes global arrays of `rows` rows from the rows of this process."""
  where = NamedSharding(mesh, BATCH)
  return {
    name: jax.make_array_from_process_local_data(
      where, value_Rx, (rows, *value_Rx.shape[1:])
    )
    for name, value_Rx in batch.items()
  }


class Feed(Iterator[dict[str, jax.Array]]):
  """Iterates over device batches and measures the time spent waiting."""

  def __init__(
    self, batches: Iterator[Mapping], *, rows: int, mesh: Mesh
  ) -> None:
    self._batches, self._rows, self._mesh = batches, rows, mesh
    self.waited = 0.0  # seconds, for the input stream, since `reset`

  def __next__(self) -> dict[str, jax.Array]:
    start = time.perf_counter()
    batch = next(self._batches)
    self.waited += time.perf_counter() - start
    return to_device(batch, rows=self._rows, mesh=self._mesh)

  def reset(self) -> float:
    """Returns the seconds waited so far and starts again from zero."""
    waited, self.waited = self.waited, 0.0
    return waited

  def close(self) -> None:
    """Stops the threads of the input stream."""
    if hasattr(self._batches, 'close'):
      self._batches.close()
