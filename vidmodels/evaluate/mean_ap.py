"""Mean average precision of videos that count more than once, or not at all.

One of the `measures`; what `bootstrap` draws a thousand times.
"""

import dataclasses
import functools

import numpy as np


@dataclasses.dataclass(frozen=True)
class MeanAPMeasure:
  """The mean over classes of average precision; classes there only.

  Average precision is that of `train/average_precision.py`, with videos that
  count more than once. The precision at a video of the class is taken over all
  that score at least as much, so ties need no order. Scores are sorted once; a
  draw then takes one pass over the videos for each class.

  Attributes:
    name: of the measure.
    score_RK: of each video, finite.
    right_RK: above 0 where it has the class.
    asked_R: True where it belongs to the set.
  """

  name: str
  score_RK: np.ndarray
  right_RK: np.ndarray
  asked_R: np.ndarray
  rises = True

  def __call__(self, count_xR: np.ndarray) -> np.ndarray:
    """The mean over classes with a video that counts."""
    rows = count_xR[..., self.asked_R].astype(np.float64)
    rows = rows.reshape(-1, rows.shape[-1])
    total, classes = np.zeros(len(rows)), np.zeros(len(rows))
    for place_R, own in self._places:
      place_R = place_R.astype(np.intp)  # as bincount would, for every row
      for i, count_R in enumerate(rows):
        found = _ap(place_R, own, count_R)
        if found is not None:
          total[i] += found
          classes[i] += 1
    return divide(total, classes).reshape(count_xR.shape[:-1])

  @functools.cached_property
  def _places(self) -> list[tuple[np.ndarray, np.ndarray]]:
    """Of each class that is there: (place of every video, its own videos).

    The place is how many different scores of its own videos are higher.
    """
    right_RK, found = self.right_RK[self.asked_R] > 0, []
    for k in np.flatnonzero(right_RK.any(0)):
      score_R = self.score_RK[self.asked_R, k]
      own = np.flatnonzero(right_RK[:, k])
      falling = np.unique(-score_R[own])
      # Half the bytes of an index, of every video and class.
      place_R = np.searchsorted(falling, -score_R).astype(np.int32)
      found.append((place_R, own))
    return found


def _ap(
  place_R: np.ndarray, own: np.ndarray, count_R: np.ndarray
) -> float | None:
  """A class's average precision, None if none of its videos counts."""
  own_N = np.bincount(place_R[own], weights=count_R[own])
  # Videos below all of the class's own have a place behind its last.
  all_N = np.bincount(place_R, weights=count_R)[: len(own_N)].cumsum()
  above_N = own_N.cumsum()
  if not above_N[-1]:
    return None
  precision = divide(above_N, all_N, otherwise=0)
  return float((own_N * precision).sum() / above_N[-1])


def divide(above, below, otherwise: float = np.nan) -> np.ndarray:
  """above / below, and `otherwise` where nothing is below."""
  above, below = np.broadcast_arrays(above, below)
  full = np.full(above.shape, otherwise, np.float64)
  return np.divide(above, below, out=full, where=below > 0)
