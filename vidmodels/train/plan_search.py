"""The cheapest way to train a recipe on a topology, and its largest batch.

  found = search(config, make, devices=16)  # make(config) -> Plan
  found.plan, found.largest, found.tried

A compilation takes minutes, so there are few. The candidates are in the order
of what they cost: first nothing is recomputed and every chip has all weights,
then some chips split them, then all do, then more and more is recomputed. What
a plan that was compiled rules out is not compiled. The first that fits the
recipe's batch is taken. Memory is nearly affine in the clips of a chip: two
compilations predict the largest batch and a third verifies it.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from vidmodels import config as cfg
from vidmodels import models
from vidmodels.train.step_plan import Plan
from vidmodels.typing import InputError

# From the cheapest: what the field `remat` of a model may be. 'offload' sends
# what it keeps to the host and back, and needs the least.
POLICIES = (
  *(False, True),
  *('none', 'dots', 'save_attention', 'block', 'offload'),
)
# The axes of a mesh whose devices share a clip, and how many of them may.
SHARED = ('context', 'tensor')
MOST_SHARED = 16
MOST_TRIES = 4  # of the largest batch, after the two that predict it
_SPARE = 0.98  # of the memory: it is not quite affine
# Weights, two moments, an average and gradients: what fsdp splits at most.
_MOST_COPIES = 5


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
  clips. A candidate that `make` refuses with an InputError is left out; if it
  refuses all of them, the last refusal is raised.
  """
  tried: list[Plan] = []
  refusal: InputError | None = None

  def compile_(candidate: cfg.Config) -> Plan:
    tried.append(make(candidate))
    report(tried[-1])
    return tried[-1]

  best: tuple[cfg.Config, Plan] | None = None
  chosen: Plan | None = None
  for candidate in candidates(config, devices, tried):
    try:
      plan = compile_(candidate)
    except InputError as error:
      refusal = error
      continue
    if best is None or plan.memory_bytes < best[1].memory_bytes:
      best = candidate, plan
    if plan.fits:
      best, chosen = (candidate, plan), plan
      break
  if best is None:
    raise refusal or InputError(
      f'got a batch of {config.batch} clips in {config.accumulate} parts for '
      f'{devices} devices; expected one that divides over them; try '
      f'--batch={devices * config.accumulate}'
    )
  return Found(chosen, _largest(*best, compile_), tuple(tried))


def candidates(
  config: cfg.Config, devices: int, tried: Sequence[Plan]
) -> Iterator[cfg.Config]:
  """The recipe with the meshes and remats that may fit, the cheapest first.

  `tried` grows with the plans of the candidates that were compiled: what they
  rule out is left out.
  """
  for policy in policies(config):
    for axis, shared in _sharing(config, devices):
      splits = _splits(devices // shared, config.mesh.slices)
      like: list[Plan] = []  # plans of this policy and these shared devices
      for fsdp in splits:
        if not _may_fit(like, fsdp, most=splits[-1]):
          continue
        mesh = _mesh(config.mesh, devices, fsdp, {axis: shared})
        model = dict(config.model)
        if policy is not None:
          model['remat'] = policy
        before = len(tried)
        yield dataclasses.replace(config, mesh=mesh, model=model)
        if len(tried) == before:  # refused, and so would be its neighbours
          break
        like.append(tried[before])


def policies(config: cfg.Config) -> Sequence[Any]:
  """The values of the model's field `remat`; (None,) if it has none."""
  known = models.fields(config.family)
  if 'remat' not in known:
    return (None,)
  kind = type(known['remat'])
  return [policy for policy in POLICIES if type(policy) is kind]


def _sharing(config: cfg.Config, devices: int) -> Iterator[tuple[str, int]]:
  """Axes whose devices share clips, and their size; ('tensor', 1) for none.

  Where clips divide over all devices, none do: two devices that share two clips
  keep as much as two that have one each, and send more.
  """
  rows = config.batch // config.accumulate
  if config.batch % config.accumulate:
    return
  shared = devices // math.gcd(rows, devices)
  if shared == 1:
    yield 'tensor', 1
  elif shared <= MOST_SHARED:
    yield from ((axis, shared) for axis in _shared_axes(config.mesh))


def _splits(rows: int, slices: int) -> list[int]:
  """The sizes of fsdp: weights whole, then in more and more parts.

  `rows` devices have clips of their own; fsdp stays inside of a slice.
  """
  inside = rows // max(slices, 1)
  return [n for n in range(1, inside + 1) if inside % n == 0]


def _mesh(
  mesh: cfg.Mesh, devices: int, fsdp: int, shared: Mapping[str, int]
) -> cfg.Mesh:
  """The mesh with these sizes, and all other devices on `data`."""
  sizes: dict[str, Any] = dict.fromkeys(_shared_axes(mesh), 1) | dict(shared)
  sizes |= {'data': devices // fsdp // math.prod(shared.values()), 'fsdp': fsdp}
  return dataclasses.replace(mesh, **sizes)


def _shared_axes(mesh: cfg.Mesh) -> list[str]:
  return [axis for axis in SHARED if hasattr(mesh, axis)]


def _may_fit(like: Sequence[Plan], fsdp: int, *, most: int) -> bool:
  """Whether weights in so many parts may fit, after what was compiled.

  Splitting takes off at most the parts of the state and of the gradients that
  go to others. Some parts are tried once; if that was too few, all parts are.
  """
  if not like:
    return True
  if len(like) > 1 and fsdp < most:
    return False
  last = like[-1]
  state = _MOST_COPIES * last.parameter_bytes
  if last.argument_bytes is not None and last.mesh['fsdp'] == 1:
    state = min(state, last.argument_bytes + last.parameter_bytes)
  saved = state * (1 / last.mesh['fsdp'] - 1 / fsdp)
  return last.memory_bytes - saved <= last.hbm_bytes


def _largest(
  config: cfg.Config, first: Plan, compile_: Callable[[cfg.Config], Plan]
) -> Plan | None:
  """The plan with the largest batch that fits.

  `first` is the plan of `config`. A batch grows and shrinks by the clips that
  every device (of those that share clips, every group) and every part of a step
  has one of.
  """
  unit = first.mesh['data'] * first.mesh['fsdp'] * config.accumulate
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
