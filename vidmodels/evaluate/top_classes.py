"""The best classes of one row of probabilities, by name, best first."""

import dataclasses

import numpy as np

from vidmodels.data.records.class_list import ClassList
from vidmodels.data.records.task import Task


@dataclasses.dataclass(frozen=True)
class Best:
  """What a video shows, most likely first.

  Attributes:
    classes: names; with heads, one of each head, as 'take tap'.
    probabilities: of them, from 0 to 1. With heads the product over heads.
      They share a sum of 1 unless classes are questions of their own.
    heads: (name, probability) of each head's own classes; empty without heads.
  """

  classes: tuple[str, ...]
  probabilities: tuple[float, ...]
  heads: dict[str, tuple[tuple[str, float], ...]]


def best(prob_K: np.ndarray, task: Task, classes: ClassList, top: int) -> Best:
  """The `top` best, or all if there are fewer; equals in the list's order."""
  parts = task.parts(len(classes))
  if not task.heads:
    order = _order(prob_K, top)
    names = tuple(classes.names[k] for k in order)
    return Best(names, tuple(prob_K[order].tolist()), {})
  # Those beyond a head's `top` cannot be in any of the `top` products.
  kept = {
    h: part.start + _order(prob_K[part], top) for h, part in parts.items()
  }
  found = {
    head: tuple(
      (_bare(classes.names[k], head), float(prob_K[k])) for k in order
    )
    for head, order in kept.items()
  }
  product = np.ones(1)
  for order in kept.values():
    product = np.outer(product, prob_K[order]).ravel()
  order = _order(product, top)
  chosen = np.unravel_index(order, [len(k) for k in kept.values()])
  names = tuple(
    ' '.join(found[h][i][0] for h, i in zip(kept, which, strict=True))
    for which in zip(*chosen, strict=True)
  )
  return Best(names, tuple(product[order].tolist()), found)


def _order(prob_K: np.ndarray, top: int) -> np.ndarray:
  return np.argsort(-prob_K, kind='stable')[:top]


def _bare(name: str, head: str) -> str:
  """'verb/take' without its head."""
  return name.removeprefix(f'{head}/')
