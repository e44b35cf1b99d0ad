"""The cheapest way to train a recipe on a topology, and its largest batch.

  found = search(config, make)  # make(config) -> Plan
  found.plan, found.largest, found.tried

A compilation takes minutes, so there are few. The candidates are in the order
of what they cost: first nothing is recomputed and every chip has all weights,
then weights are split, then more and more is recomputed. The first that fits
the recipe's batch is taken. Memory is nearly affine in the clips of a chip: two
compilations predict the largest batch and a third verifies it.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from vidmodels import config as cfg
from vidmodels import models
from vidmodels.train.step_plan import Plan
from vidmodels.typing import InputError

# From the cheapest: what the field `remat` of a model may be.
POLICIES = (
  *(False, True),
  *('none', 'dots', 'save_attention', 'block'),
)
MOST_TRIES = 4  # of the largest batch, after the two that predict it
_SPARE = 0.98  # of the memory: it is not quite affine


@dataclasses.dataclass(frozen=True)
class Found:
  """What a search found."""

  plan: Plan | None  # the cheapest that fits the recipe's batch
  largest: Plan | None  # the same with the largest batch; None if none fits
  tried: tuple[Plan, ...]  # every plan that was compiled, in order


def search(
  config: cfg.Config,
  make: Callable[[cfg.Config], Plan],
  *,
  devices: int,
  report: Callable[[Plan], None] = lambda plan: None,
) -> Found:
  """Finds the cheapest candidate that fits, and its largest batch.

  `make` compiles a recipe; `report` is called with every plan. Where no
  candidate fits the batch, the one that needs the least is tried with fewer
  clips.
  """
  tried: list[Plan] = []

  def compile_(candidate: cfg.Config) -> Plan:
    tried.append(make(candidate))
    report(tried[-1])
    return tried[-1]

  best: tuple[cfg.Config, Plan] | None = None
  chosen: Plan | None = None
  for candidate in candidates(config, devices):
    plan = compile_(candidate)
    if best is None or plan.memory_bytes < best[1].memory_bytes:
      best = candidate, plan
    if plan.fits:
      best, chosen = (candidate, plan), plan
      break
  if best is None:
    raise InputError(
      f'got a batch of {config.batch} clips in {config.accumulate} parts for '
      f'{devices} devices; expected one that divides over them; try '
      f'--batch={devices * config.accumulate}'
    )
  largest = _largest(*best, compile_)
  return Found(chosen, largest, tuple(tried))


def candidates(config: cfg.Config, devices: int) -> Iterator[cfg.Config]:
  """The recipe with every mesh and remat that may be, the cheapest first.

  A mesh that does not divide the batch is left out.
  """
  for policy in policies(config):
    for data in _splits(devices):
      if config.batch % (devices * config.accumulate):
        continue
      mesh = dataclasses.replace(
        config.mesh, data=data, fsdp=devices // data, tensor=1
      )
      model = dict(config.model)
      if policy is not None:
        model['remat'] = policy
      yield dataclasses.replace(config, mesh=mesh, model=model)


def policies(config: cfg.Config) -> Sequence[Any]:
  """The values of the model's field `remat`; (None,) if it has none."""
  known = models.fields(config.family)
  if 'remat' not in known:
    return (None,)
  kind = type(known['remat'])
  return [policy for policy in POLICIES if type(policy) is kind]


def _splits(devices: int) -> tuple[int, ...]:
  """Sizes of the data axis: all devices, and none, the rest being fsdp."""
  return (devices, 1) if devices > 1 else (1,)


def _largest(
  config: cfg.Config, first: Plan, compile_: Callable[[cfg.Config], Plan]
) -> Plan | None:
  """The plan with the largest batch that fits.

  `first` is the plan of `config`. A batch grows and shrinks by the clips that
  every device and every part of a step has one of.
  """
  unit = first.devices * config.accumulate
  at = {first.batch // unit: first}  # plans by clips of a device and part

  def plan(rows: int) -> Plan:
    if rows not in at:
      at[rows] = compile_(dataclasses.replace(config, batch=rows * unit))
    return at[rows]

  rows = first.batch // unit
  if rows == 1 and not first.fits:
    return None
  plan(2 * rows if first.fits else rows // 2)
  for _ in range(MOST_TRIES):
    guess = _predict(at)
    fitting = [r for r, each in at.items() if each.fits]
    failing = [r for r, each in at.items() if not each.fits]
    # Between the largest that fits and the smallest that does not.
    guess = max(guess, max(fitting, default=0) + 1, 1)
    guess = min(guess, min(failing, default=guess + 1) - 1)
    if guess < 1 or guess in at:
      break
    plan(guess)
  fitting = [r for r, each in at.items() if each.fits]
  return at[max(fitting)] if fitting else None


def _predict(at: dict[int, Plan]) -> int:
  """The clips of a device that fill its memory.

  On the line between the largest that fits and the smallest that does not, or
  of the two nearest to that place.
  """
  fitting = sorted(rows for rows, plan in at.items() if plan.fits)
  failing = sorted(rows for rows, plan in at.items() if not plan.fits)
  low, high = sorted([*fitting[-2:], *failing[:2]])[:2]
  if fitting and failing:
    low, high = fitting[-1], failing[0]
  slope = (at[high].memory_bytes - at[low].memory_bytes) / (high - low)
  if slope <= 0:
    return max(at)
  room = _SPARE * at[low].hbm_bytes - at[low].memory_bytes
  return low + int(room // slope)
