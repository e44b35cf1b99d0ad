"""Orbax checkpoints: their items, and the checks before one is used.

  with contextlib.closing(Checkpoints('runs/first')) as checkpoints:
    step = checkpoints.pick(None)  # the newest
    recipe = checkpoints.read_json(step, 'meta')['config']

A step directory holds the items params, ema, opt (optimiser state, step, key),
model_state, data (JSON: the position in the stream), meta (JSON: recipe,
classes, versions) and checksums (JSON: of every array). Weights are separate
items, so that evaluation can restore them alone. This file and
`orbax_stores.py` alone import orbax.

Arrays are held to their checksums when they are restored: orbax itself gives
back a flipped bit as it is. What cannot be restored is a `DamagedCheckpoint`.
"""

import contextlib
import dataclasses
import json
import math
import pathlib
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Literal, Self

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

from vidmodels import checked_json, files, object_store
from vidmodels import config as cfg
from vidmodels.data.records.task import SINGLE
from vidmodels.files import write_atomically
from vidmodels.train import checksums, orbax_stores, save_errors
from vidmodels.train.sharding import parameter_path
from vidmodels.train.state import TrainState, by_block, stacked_as
from vidmodels.typing import Count, FrameRate, InputError

# The JSON items, and what hooks, evaluation and prediction read of them.
JSON_ITEMS: Mapping[str, Mapping[str, Any]] = {
  # clip_shift: added to the number of each clip, as a fork's order goes on with
  # another batch; log: what `hooks.StepLog` goes on from
  'data': {'next_step': Count, 'clip_shift': int, 'log': dict[str, Any]},
  'meta': {
    'config': dict[str, Any],
    'classes': tuple[str, ...],
    'fps': FrameRate,
    'task': dict[str, Any],
    'source': dict[str, Any] | None,
    # history: the runs that this one goes on from, the first one first
    'history': tuple[dict[str, Any], ...],
    # validation: its numbers at this step; {} if it is still to be made, None
    # if the step has none
    'validation': dict[str, float] | None,
  },
  'checksums': {},
}
# Checkpoints of earlier releases have fewer fields.
_OPTIONAL: Mapping[str, Any] = {
  'task': SINGLE.to_json(),
  'source': None,
  'history': (),
  'validation': None,
  'clip_shift': 0,
  'log': {},
}
_SUMS = dict[str, int]  # of an item: the checksum of each array
_ABANDON_SECONDS = 5.0  # for threads of orbax, after a failed save
StepChoice = int | Literal['best', 'latest'] | None
TREE_ITEMS = ('params', 'ema', 'opt', 'model_state')


class DamagedCheckpoint(InputError):
  """A checkpoint that is not as it was saved.

  Attributes:
    step: of the checkpoint.
    reason: what is damaged.
  """

  def __init__(self, message: str, *, step: int, reason: str):
    super().__init__(message)
    self.step, self.reason = step, reason


class Checkpoints:
  """The checkpoints of one run, in `workdir/checkpoints`.

  Saving is asynchronous: orbax copies the arrays and training goes on. A step
  directory gets its final name only when it is complete. If the process is
  killed before, a temporary directory is left, which is never read.
  """

  def __init__(
    self, workdir: str | pathlib.Path, options: cfg.Checkpoint | None = None
  ) -> None:
    """Opens the folder; without `options` it must exist and is only read."""
    self.folder = files.place(workdir).absolute() / 'checkpoints'
    stored = object_store.in_store(self.folder)
    together = True
    if stored:
      object_store.check_bucket(self.folder)
      orbax_stores.prepare()
      # Orbax finds out by itself what it reads.
      together = options is None or orbax_stores.in_one_database(self.folder)
    self._saving = 0  # the step of the last call of `save`
    self._unfinished: int | None = None  # the same, until it is complete
    if options is None and not self.folder.is_dir():
      raise InputError(
        f'{self.folder} does not exist; expected the checkpoints of a training '
        'run; try its folder as --workdir'
      )
    self._ranking = Ranking()
    if options and options.best:
      self._ranking = Ranking.of(options, self._read_validations())
    policies = ocp.checkpoint_managers
    keep: list[Any] = [policies.LatestN(options.keep)] if options else []
    if options and options.keep_every:
      keep.append(policies.EveryNSteps(options.keep_every))
    if options and options.best:
      keep.append(_KeepBest(self._ranking))
    self._manager = _Manager(
      self.folder,
      item_handlers={
        # Without handlers a new manager cannot read shapes before arrays.
        **{
          name: ocp.StandardCheckpointHandler(use_ocdbt=together)
          for name in TREE_ITEMS
        },
        **{name: ocp.JsonCheckpointHandler() for name in JSON_ITEMS},
      },
      options=ocp.CheckpointManagerOptions(
        create=options is not None,
        read_only=options is None,
        save_decision_policy=_SaveAlways(),
        preservation_policy=policies.AnyPreservationPolicy(keep),
        # A store has no rename: the last object of a checkpoint completes it.
        temporary_path_class=orbax_stores.COMMIT_FILE if stored else None,
      ),
    )

  def latest(self) -> int | None:
    """Returns the step of the newest complete checkpoint, or None."""
    return self._manager.latest_step()

  def steps(self) -> list[int]:
    """Returns the steps of all complete checkpoints, rising."""
    return sorted(self._manager.all_steps())

  def pick(self, step: StepChoice) -> int:
    """Returns `step` if it has a checkpoint.

    None and 'latest' are the newest step, 'best' is the best by the metric of
    the newest one's recipe.
    """
    steps = self.steps()
    if not steps:
      raise InputError(
        f'{self.folder} holds no complete checkpoint; expected at least one; '
        'train the run until it has saved'
      )
    if step == 'best':
      return self._pick_best(steps)
    step = None if step == 'latest' else step
    if step is not None and step not in steps:
      raise InputError(
        f'{self.folder} has no checkpoint of step {step}; expected one of '
        f'{", ".join(map(str, steps))}'
      )
    return steps[-1] if step is None else int(step)

  def _pick_best(self, steps: list[int]) -> int:
    """The best of the steps whose validation is known."""
    options = self.read_json(steps[-1], 'meta')['config'].get('checkpoint', {})
    metric = options.get('metric', '')
    advice = f'try one of the steps {", ".join(map(str, steps))}, or latest'
    if not metric:
      raise InputError(
        f'got step best of {self.folder}, whose recipe does not say by which '
        f'metric; expected a run with checkpoint.best above 0; {advice}'
      )
    mode = options.get('mode', '')
    ranking = Ranking(metric=metric, mode=mode, values=self._read_validations())
    best = ranking.best(1)
    if not best:
      raise InputError(
        f'got step best of {self.folder}, where no checkpoint has a value of '
        f'{metric!r}; expected one that was validated; {advice}'
      )
    return best[0]

  def _read_validations(self) -> dict[int, Mapping[str, float]]:
    """What validation has measured, by step, of all checkpoints on disk."""
    measured: dict[int, Mapping[str, float]] = {}
    for step in self.steps_on_disk():
      with contextlib.suppress(DamagedCheckpoint):
        measured[step] = self.read_json(step, 'meta')['validation'] or {}
    return measured

  def note_validation(self, step: int, numbers: Mapping[str, float]) -> None:
    """Adds the numbers of a validation to the meta of a saved step.

    A run that had to end before it could validate does so when it goes on.
    """
    self._ranking.add(step, numbers)
    if jax.process_index() == 0:
      path = self.folder / str(step) / 'meta' / 'metadata'
      meta = checked_json.read(path) | {'validation': finite(numbers)}
      write_atomically(path, json.dumps(meta).encode())

  def is_among_best(self, numbers: Mapping[str, float]) -> bool:
    """Whether a validation is one of the best that stay; False without any."""
    return self._ranking.is_among_best(numbers)

  def best_measured(self) -> int | None:
    """The best step so far, the newer of equal ones; None if none has a value.

    Only for options with `best`, whose steps stay: a run that goes on knows it.
    """
    best = self._ranking.best(1) if self._ranking.keep else []
    return best[0] if best else None

  def is_best(self, numbers: Mapping[str, float]) -> bool:
    """Whether a validation is as good as the best before, or better."""
    best, value = self.best_measured(), self._ranking.value(numbers)
    if best is None or value is None:
      return value is not None
    return value >= (self._ranking.value(self._ranking.values[best]) or 0.0)

  def save(
    self, state: TrainState, *, step: int, data: Mapping, meta: Mapping
  ) -> None:
    """Starts saving `state` as step `step`; `wait` finishes it.

    Raises SaveError if the previous one did not reach the disk, or this cannot.
    """
    with self._explained():  # an error here belongs to the previous step
      self._manager.wait_until_finished()
    self._saving = self._unfinished = step
    self._ranking.add(step, meta.get('validation') or {})
    self._write(step, _trees(by_block(state)), {'data': data, 'meta': meta})

  def save_weights(self, variables: Mapping, *, meta: Mapping) -> None:
    """Saves weights without a run, as step 0; waits until they are on disk."""
    state = dict(variables)
    trees = {'params': state.pop('params'), 'model_state': state}
    self._write(0, trees, {'meta': meta})
    self.wait()

  def _write(self, step: int, trees: Mapping, documents: Mapping) -> None:
    """Starts to write the trees that are not empty, and JSON documents."""
    items: dict[str, Any] = {
      name: ocp.args.StandardSave(tree)
      for name, tree in trees.items()
      if jax.tree.leaves(tree)
    }
    sums = {name: checksums.of_tree(trees[name]) for name in items}
    documents = {**documents, 'checksums': sums}
    for name, document in documents.items():
      items[name] = ocp.args.JsonSave(dict(document))
    with self._explained():
      self._manager.save(step, args=ocp.args.Composite(**items))

  def read_json(self, step: int, item: str) -> dict[str, Any]:
    """Reads an item of a checkpoint that is JSON, such as meta.

    Its fields have the types of `JSON_ITEMS`. Orbax itself would read a file of
    any size and depth.
    """
    try:
      value = checked_json.read(self.folder / str(step) / item / 'metadata')
      known = checked_json.fields(
        value, JSON_ITEMS[item], optional=_OPTIONAL, name=item
      )
      if item == 'checksums':
        checked_json.fields(value, dict.fromkeys(value, _SUMS), name=item)
    except object_store.StoreRefusal:
      raise
    except InputError as error:
      raise self._damaged(step, f'{item} cannot be read: {error}') from error
    return {**value, **known}

  def has(self, step: int, item: str) -> bool:
    """Whether the checkpoint has an item such as ema."""
    return (self.folder / str(step) / item).is_dir()

  def restore(self, step: int, abstract: TrainState) -> TrainState:
    """Restores a whole state onto the devices that `abstract` names.

    `abstract` is a TrainState of ShapeDtypeStructs with shardings. A checkpoint
    has the names of single blocks, whether the state is stacked or not.
    """
    items = {
      name: self.restore_item(step, name, tree)
      for name, tree in _trees(by_block(abstract)).items()
      if jax.tree.leaves(tree)
    }
    state = TrainState(
      **items['opt'],
      params=items['params'],
      ema=items.get('ema'),
      model_state=items.get('model_state', {}),
    )
    return stacked_as(state, abstract)

  def restore_item(self, step: int, item: str, abstract):
    """Restores one tree whose names, shapes and dtypes are those of `abstract`.

    Orbax itself would cast another dtype silently, and report a wrong shape in
    thousands of lines.
    """
    saved = self._checksums(step)
    if not self.has(step, item):
      if item == 'ema' and item not in saved:
        raise InputError(
          f'checkpoint {step} of {self.folder} has no ema: the run did not '
          'keep averaged weights; try --weights params'
        )
      raise self._damaged(step, f'{item} is not there')
    with self._damage_explained(step, item):
      stored = self._manager.item_metadata(step)[item].tree
    _compare_leaves(stored, abstract, f'{item} of checkpoint {step}')
    args = ocp.args.Composite(**{item: ocp.args.StandardRestore(abstract)})
    with self._damage_explained(step, item):
      tree = self._manager.restore(step, args=args)[item]
    if wrong := checksums.differing(tree, saved.get(item, {})):
      raise self._damaged(
        step, f'{wrong[0]} of {item} does not fit its checksum'
      )
    return tree

  def is_whole(self, step: int) -> bool:
    """Whether every item of a checkpoint can be read and fits its checksum."""
    try:
      saved = self._checksums(step)
      for item in saved or [
        name for name in TREE_ITEMS if self.has(step, name)
      ]:
        # As NumPy arrays: else orbax wants the devices of those that saved it.
        stored = jax.tree.map(
          lambda leaf: np.zeros(leaf.shape, leaf.dtype),
          self._manager.item_metadata(step)[item].tree,
        )
        args = ocp.args.Composite(**{item: ocp.args.StandardRestore(stored)})
        tree = self._manager.restore(step, args=args)[item]
        if checksums.differing(tree, saved.get(item, {})):
          return False
      self.read_json(step, 'meta')
    except Exception as error:  # orbax and TensorStore raise what they like
      if object_store.in_store(self.folder):
        _raise_store_fault(error, self.folder / str(step))
      return False
    return True

  def set_aside(self, step: int) -> pathlib.Path:
    """Moves a damaged checkpoint out of the way; returns its new place."""
    place = self.folder.parent / 'damaged' / str(step)
    if place.exists():
      place = place.with_name(f'{step}-{time.time_ns()}')
    if jax.process_index() == 0:
      place.parent.mkdir(exist_ok=True)
      (self.folder / str(step)).rename(place)
    if jax.process_count() > 1:
      multihost_utils.sync_global_devices('a checkpoint was moved')
    self._manager.reload()
    return place

  def _checksums(self, step: int) -> dict[str, dict[str, int]]:
    """The checksums by item; {} of a checkpoint from before there were any."""
    if not self.has(step, 'checksums'):
      return {}
    return self.read_json(step, 'checksums')

  @contextlib.contextmanager
  def _damage_explained(self, step: int, item: str) -> Iterator[None]:
    """Turns whatever a damaged file raises into one error."""
    try:
      yield
    except (InputError, object_store.StoreError):
      raise
    except Exception as error:  # orbax and TensorStore raise what they like
      if object_store.in_store(self.folder):
        _raise_store_fault(error, self.folder / str(step))
      lines = str(error).strip().splitlines() or ['']
      reason = f'{item} cannot be read: {type(error).__name__}: {lines[0]:.200}'
      raise self._damaged(step, reason) from error

  def _damaged(self, step: int, reason: str) -> DamagedCheckpoint:
    """The error, which names the newest older checkpoint that is whole."""
    older = [other for other in self.steps() if other < step]
    whole = None
    move = 'no older one is whole; try a backup'
    if jax.process_count() > 1:  # to look into others takes all processes
      move = f'older ones: {older or "none"}; try the command on one process'
    else:
      whole = next((s for s in reversed(older) if self.is_whole(s)), None)
    if whole is not None:
      move = (
        f'the newest whole one before it is {whole}; try --step {whole}, or '
        f'delete {self.folder / str(step)}'
      )
    return DamagedCheckpoint(
      f'got checkpoint {step} of {self.folder}, which is damaged ({reason}); '
      f'expected it as it was saved; {move}',
      step=step,
      reason=reason,
    )

  def wait(self) -> None:
    """Waits until everything is on disk; raises SaveError if that fails."""
    with self._explained():
      self._manager.wait_until_finished()
    self._unfinished = None

  def close(self) -> None:
    """Waits and releases the folder."""
    with self._explained():
      self._manager.close()

  def abandon(self) -> None:
    """Closes after a failed save, and leaves threads that do not end behind.

    They may wait for a disk that does not answer.
    """

    def close() -> None:
      with contextlib.suppress(Exception):  # one error is told already
        self._manager.close()

    closing = threading.Thread(target=close, daemon=True)
    closing.start()
    closing.join(_ABANDON_SECONDS)

  def _explained(self) -> contextlib.AbstractContextManager[None]:
    """Turns the errors of a full disk in orbax into one SaveError."""
    return save_errors.explain_save_errors(
      f'checkpoint {self._saving} of {self.folder}', self.steps_saved
    )

  def steps_saved(self) -> list[int]:
    """The complete steps; of a store, those that this process knows.

    A store may have just refused to answer, and would be waited for again.
    """
    if not object_store.in_store(self.folder):
      return self.steps_on_disk()
    return [step for step in self.steps() if step != self._unfinished]

  def steps_on_disk(self) -> list[int]:
    """The complete steps, by their folders' names.

    The manager also counts the step that it is saving.
    """
    names = [path.name for path in self.folder.glob('*')]
    steps = sorted(int(name) for name in names if name.isdecimal())
    return [s for s in steps if orbax_stores.is_complete(self.folder / str(s))]


def _raise_store_fault(error: Exception, path: pathlib.Path) -> None:
  """Raises what a store's refusal means; it says nothing of the checkpoint.

  An object that is missing does.
  """
  if isinstance(error, object_store.StoreError | object_store.StoreRefusal):
    raise error
  fault = object_store.find_fault(error)
  if fault not in (None, 'missing', 'exists'):
    raise object_store.explained(error, path) from error


@dataclasses.dataclass
class Ranking:
  """The steps that validation has measured, by one of its numbers."""

  metric: str = ''  # as validation logs it, or without 'val_clip/'
  mode: str = ''  # 'max' or 'min'; '': the lower for a loss, else the higher
  keep: int = 0  # how many of the best stay
  # values: of each step, all numbers of its validation
  values: dict[int, Mapping[str, float]] = dataclasses.field(
    default_factory=dict
  )

  @classmethod
  def of(cls, options: cfg.Checkpoint, values: dict) -> Self:
    """The ranking that a recipe asks for."""
    return cls(options.metric, options.mode, options.best, values)

  def add(self, step: int, numbers: Mapping[str, float]) -> None:
    """Notes the numbers of a validation."""
    self.values[step] = numbers

  def value(self, numbers: Mapping[str, float]) -> float | None:
    """The number that ranks, higher for a better step; None without it."""
    value = numbers.get(full_name(self.metric))
    if value is None or not math.isfinite(value):
      return None
    lower = self.mode or ('min' if 'loss' in self.metric else 'max')
    return -value if lower == 'min' else value

  def best(self, count: int, steps: Collection[int] | None = None) -> list[int]:
    """The `count` best of the measured steps, best first.

    Of equal ones the newer is better. With `steps`, of these alone.
    """
    known = self.values if steps is None else {*steps} & self.values.keys()
    pairs = [(self.value(self.values[step]), step) for step in known]
    ranked = sorted(
      (pair for pair in pairs if pair[0] is not None), reverse=True
    )
    return [step for _, step in ranked[:count]]

  def is_among_best(self, numbers: Mapping[str, float]) -> bool:
    """Whether a new step with these numbers is one of the `keep` best."""
    value = self.value(numbers)
    if not self.keep or value is None:
      return False
    last = self.best(self.keep)[self.keep - 1 :]
    return not last or value >= (self.value(self.values[last[0]]) or 0.0)


def full_name(metric: str) -> str:
  """'top1' -> 'val_clip/top1'."""
  return metric if '/' in metric else f'val_clip/{metric}'


def finite(numbers: Mapping[str, float]) -> dict[str, float]:
  """The numbers that JSON has a text for."""
  return {k: float(v) for k, v in numbers.items() if math.isfinite(v)}


@dataclasses.dataclass
class _KeepBest(ocp.checkpoint_managers.PreservationPolicy):
  """Keeps the best steps of a ranking.

  Orbax's `BestN` keeps steps without a number beside them as long as there are
  few, so it sees only those with one.
  """

  ranking: Ranking

  def should_preserve(self, checkpoints, *, context) -> list[bool]:
    """Returns for each checkpoint whether it stays."""
    steps = [checkpoint.step for checkpoint in checkpoints]
    best = self.ranking.best(self.ranking.keep, steps)
    return [step in best for step in steps]


class _Manager(ocp.CheckpointManager):
  """Orbax's manager, which leaves the preemption service to `preemption.py`.

  The service counts who asked how often; orbax would ask in between.
  """

  def reached_preemption(self, step: int) -> bool:
    """Returns False."""
    return False


class _SaveAlways(ocp.checkpoint_managers.SaveDecisionPolicy):
  """Saves at every call of `save`."""

  def should_save(self, step, previous_steps, *, context) -> bool:
    """Returns True: the loop decides when to call `save`."""
    return True


def _trees(state: TrainState) -> dict[str, Any]:
  """Splits a state into checkpoint items."""
  return {
    'params': state.params,
    'ema': {} if state.ema is None else state.ema,
    'opt': {
      name: getattr(state, name) for name in ('opt_state', 'step', 'key')
    },
    'model_state': state.model_state,
  }


def _compare_leaves(stored, model, name: str) -> None:
  """Refuses names, shapes or dtypes that differ; lists the first few."""
  have, need = _leaf_specs(stored), _leaf_specs(model)
  wrong = [f'{p} is missing' for p in sorted(need.keys() - have.keys())]
  wrong += [
    f'{p} is not in the model' for p in sorted(have.keys() - need.keys())
  ]
  wrong += [
    f'{p} is {have[p]}, the model has {need[p]}'
    for p in sorted(have.keys() & need.keys())
    if have[p] != need[p]
  ]
  if wrong:
    more = f' and {len(wrong) - 5} more' if len(wrong) > 5 else ''
    raise InputError(
      f'{name} does not fit this recipe: {"; ".join(wrong[:5])}{more}; try the '
      'recipe that it was trained with'
    )


def _leaf_specs(tree) -> dict[str, tuple]:
  """Path -> (shape, dtype name), for optax's tuples and orbax's lists alike."""
  return {
    parameter_path(path): (tuple(leaf.shape), str(leaf.dtype))
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    if hasattr(leaf, 'shape')
  }
