"""A run that goes on from a checkpoint of another one, with changes.

  point = fork.find('runs/first@2000', 'runs/longer')
  config = ...  # point.config with other fields
  loop.train(config, 'runs/longer', fork=point)

Weights, moments, averages and the step number are those of the checkpoint. Any
field may change that leaves the shapes of weights and moments as they are.
The other run is only read. What was taken from where, and what changed, is in
the `history` of the new run's config.json and of each of its checkpoints.
"""

import contextlib
import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from vidmodels import config as cfg
from vidmodels import files
from vidmodels.data.records.record_set import RecordSet
from vidmodels.train import model_file, workdirs
from vidmodels.train.build import TrainingRun
from vidmodels.train.checkpoint import (
  Checkpoints,
  DamagedCheckpoint,
  StepChoice,
)
from vidmodels.train.state import TrainState
from vidmodels.typing import AnyPath, InputError, quote


@dataclasses.dataclass(frozen=True)
class ForkPoint:
  """A checkpoint from which another run goes on."""

  workdir: pathlib.Path  # of the run that it belongs to, absolute
  step: int
  meta: Mapping[str, Any]  # its JSON items
  data: Mapping[str, Any]
  checksum: str  # sha256 of the checksums of its arrays

  @property
  def config(self) -> cfg.Config:
    """The recipe of the run that it belongs to."""
    return cfg.check(self.meta['config'])

  def clips_seen(self) -> int:
    """Clips before this step, in the order of its run."""
    return self.data['clip_shift'] + self.step * self.data['batch']

  def clip_shift(self, run: TrainingRun, records: RecordSet) -> int:
    """What the new run adds to the numbers of its clips.

    The order goes on at the next clip, also with another batch. With other
    records, another seed or other repeats it is another order, which starts at
    its first clip.
    """
    first = 0 if self._other_order(run, records) else self.clips_seen()
    return first - self.step * run.config.batch

  def _other_order(self, run: TrainingRun, records: RecordSet) -> list[str]:
    """The fields for which the order of the examples is another one."""
    config, old = run.config, self.config
    pairs = {
      'the records': (
        self.data.get('fingerprint'),
        records.fingerprint,
      ),
      'seed': (old.seed, config.seed),
      'augment.repeats': (old.augment.repeats, config.augment.repeats),
      'data.balance': (old.data.balance, config.data.balance),
    }
    return [name for name, (a, b) in pairs.items() if a != b]

  def lineage(self, run: TrainingRun, records: RecordSet) -> workdirs.Lineage:
    """The history of the new run, and the numbers of its clips."""
    theirs = cfg.as_dict(self.config)
    other = self._other_order(run, records)
    order = f'goes on at clip {self.clips_seen()}'
    if other:
      order = f'starts anew, for another value of {", ".join(other)}'
    changed = workdirs.differences(
      {'config': theirs}, {'config': cfg.as_dict(run.config)}
    )
    if self.data.get('fingerprint') != records.fingerprint:
      ours = records.fingerprint
      changed.append(f'data.fingerprint: {self.data["fingerprint"]} -> {ours}')
    entry = {
      'workdir': str(self.workdir),
      'step': self.step,
      'checksum': self.checksum,
      'changed': changed,
      'order': order,
    }
    return workdirs.Lineage(
      history=(*self.meta['history'], entry),
      clip_shift=self.clip_shift(run, records),
    )

  def check(self, run: TrainingRun, records: RecordSet) -> None:
    """Refuses classes that differ and a length that ends before the fork."""
    if run.config.init_from != self.config.init_from:
      raise InputError(
        f'got init_from={run.config.init_from} and a fork of '
        f'{quote(self.workdir)}, which both give the weights; expected one of '
        'them; try leaving --fork out'
      )
    names, task = records.classes.names, records.manifest.task
    if (*names,) != self.meta['classes'] or task.to_json() != self.meta['task']:
      raise InputError(
        f'got records of other classes or labels ({len(names)}) than '
        f'checkpoint {self.step} of {quote(self.workdir)} '
        f'({len(self.meta["classes"])}); expected the same; try '
        f'--config.init_from={self.workdir}@{self.step} without --fork, which '
        'starts a new head'
      )
    optim, shift = run.config.optim, self.clip_shift(run, records)
    if optim.epochs and shift:
      # Steps of two batches, or of two orders, do not add up to epochs.
      left = run.total
      if not self._other_order(run, records):
        left = max(run.total - round(self.clips_seen() / run.config.batch), 1)
      raise InputError(
        f'got optim.epochs={optim.epochs:g} for a fork at step {self.step} '
        'with another batch or another order of examples; expected the length '
        'of the whole run in steps, those before the fork included; try '
        f'--config.optim.steps={self.step + left}'
      )
    if run.total <= self.step:
      raise InputError(
        f'got a run of {run.total} steps that forks at step {self.step}; '
        'expected the length of the whole run, the steps before the fork '
        f'included; try --config.optim.steps={2 * self.step}'
      )

  def restore(self, run: TrainingRun) -> tuple[TrainState, list[str]]:
    """The state of the checkpoint on the new run's devices, and notes."""
    abstract, notes = run.abstract, []
    with contextlib.closing(Checkpoints(self.workdir)) as saved:
      averages = saved.has(self.step, 'ema')
      wanted = abstract if averages else abstract.replace(ema=None)
      try:
        state = saved.restore(self.step, wanted)
      except DamagedCheckpoint:
        raise
      except InputError as error:
        raise InputError(
          f'{error}; a fork takes weights and moments along, so fields of '
          'model, and optim.name, optim.clip_norm and whatever else shapes '
          'them have to stay; try the values of '
          f'{quote(self.workdir)}, or --config.init_from={self.workdir}@'
          f'{self.step} without --fork, which takes the weights alone'
        ) from error
    if abstract.ema is None and averages:
      notes.append('optim.ema is off: the averaged weights are left behind')
    if abstract.ema is not None and not averages:
      notes.append('averaged weights start as a copy of the weights')
      # A copy: params and ema are both donated to the step.
      state = state.replace(ema=jax.tree.map(jnp.copy, state.params))
    key = jax.jit(
      lambda: jax.random.key_data(jax.random.key(run.config.seed)),
      out_shardings=abstract.key.sharding,
    )()
    return state.replace(key=key), notes


def find(where: AnyPath, workdir: AnyPath) -> ForkPoint:
  """The checkpoint that `--fork` means, for a new run in `workdir`.

  `where` is WORKDIR, or WORKDIR@STEP, @best, @latest. A workdir that is this
  very fork already goes on, also if the other run has newer checkpoints by now;
  any other run in it is refused.
  """
  place, choice = model_file.split_step(files.place(where).absolute())
  target = files.place(workdir).absolute()
  if place.resolve() == target.resolve():
    raise InputError(
      f'got --fork {quote(place)} and the same --workdir; expected a new '
      'folder; try another --workdir, or leave --fork out to resume the run'
    )
  made = _made_before(target, place, choice)
  with contextlib.closing(Checkpoints(place)) as saved:
    step = saved.pick(choice if made is None else made)
    if not saved.has(step, 'data'):
      raise InputError(
        f'got --fork {quote(place)}, which holds weights and no run; expected '
        f'the workdir of a run; try --config.init_from={place}'
      )
    sums: Mapping[str, Any] = {}
    if saved.has(step, 'checksums'):
      sums = saved.read_json(step, 'checksums')
    return ForkPoint(
      workdir=place,
      step=step,
      meta=saved.read_json(step, 'meta'),
      data=saved.read_json(step, 'data'),
      checksum=hashlib.sha256(
        json.dumps(sums, sort_keys=True).encode()
      ).hexdigest(),
    )


def _made_before(
  target: pathlib.Path, place: pathlib.Path, choice: StepChoice
) -> int | None:
  """The step at which `target` was forked of `place`; None if it is no run.

  Raises InputError if it is another run.
  """
  if not workdirs.has_checkpoint(target):
    return None
  with contextlib.closing(Checkpoints(target)) as saved:
    latest = saved.pick(None)
    history = saved.read_json(latest, 'meta')['history']
  last = history[-1] if history else {}
  same_step = choice in (None, 'best', 'latest', last.get('step'))
  if last.get('workdir') != str(place) or not same_step:
    raise InputError(
      f'got --workdir {quote(target)}, which holds another run; expected a new '
      'folder for the fork; try another --workdir'
    )
  return last['step']
