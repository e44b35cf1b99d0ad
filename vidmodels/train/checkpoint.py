"""Orbax checkpoints: what is in one, and the checks before it is used.

A step directory holds the items params, ema, opt (optimiser state, step, key),
model_state, data (JSON: the position in the stream) and meta (JSON: recipe,
classes, versions). Weights are items of their own, so that evaluation restores
them alone. This is the only file that imports orbax.
"""

import contextlib
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import orbax.checkpoint as ocp

from vidmodels import config as cfg
from vidmodels.train import save_errors
from vidmodels.train.sharding import parameter_path
from vidmodels.train.state import TrainState
from vidmodels.typing import InputError

JSON_ITEMS = ('data', 'meta')
TREE_ITEMS = ('params', 'ema', 'opt', 'model_state')


class Checkpoints:
  """The checkpoints of one run, in `workdir/checkpoints`.

  Saving is asynchronous: the arrays are copied, the step goes on, and a step
  directory appears under its final name only when it is complete. A kill in
  between leaves a temporary directory that is never read.
  """

  def __init__(
    self,
    workdir: str | pathlib.Path,
    options: cfg.Checkpoint | None = None,
  ) -> None:
    """Opens the folder; without `options` it is only read.

    Raises:
      InputError: if it is only to be read and does not exist.
    """
    self.folder = pathlib.Path(workdir).absolute() / 'checkpoints'
    self._saving = 0  # the newest step that `save` was given
    if options is None and not self.folder.is_dir():
      raise InputError(
        f'{self.folder} does not exist; give the --workdir of a training run'
      )
    policies = ocp.checkpoint_managers
    keep = [policies.LatestN(options.keep)] if options else []
    if options and options.keep_every:
      keep.append(policies.EveryNSteps(options.keep_every))
    self._manager = ocp.CheckpointManager(
      self.folder,
      item_handlers={
        # Named here, or a fresh manager cannot read shapes before arrays.
        **{name: ocp.StandardCheckpointHandler() for name in TREE_ITEMS},
        **{name: ocp.JsonCheckpointHandler() for name in JSON_ITEMS},
      },
      options=ocp.CheckpointManagerOptions(
        create=options is not None,
        read_only=options is None,
        # We decide when to save: `save` is called on the steps that matter.
        save_decision_policy=_Always(),
        preservation_policy=policies.AnyPreservationPolicy(keep),
      ),
    )

  def latest(self) -> int | None:
    """The newest complete checkpoint's step, or None."""
    return self._manager.latest_step()

  def steps(self) -> list[int]:
    """The steps of all complete checkpoints, rising."""
    return sorted(self._manager.all_steps())

  def pick(self, step: int | None) -> int:
    """`step` if there is such a checkpoint, the newest for None.

    Raises:
      InputError: if there is none; it lists the steps there are.
    """
    steps = self.steps()
    if not steps:
      raise InputError(f'{self.folder} holds no complete checkpoint')
    if step is not None and step not in steps:
      raise InputError(
        f'{self.folder} has no checkpoint of step {step}; there are '
        f'{", ".join(map(str, steps))}'
      )
    return self.latest() if step is None else step

  def save(
    self, state: TrainState, *, step: int, data: Mapping, meta: Mapping
  ) -> None:
    """Starts saving `state` as step `step`; `wait` finishes it.

    Raises:
      SaveError: if the one before did not reach the disk, or this one cannot.
    """
    items = {k: v for k, v in _trees(state).items() if jax.tree.leaves(v)}
    args = ocp.args.Composite(
      **{name: ocp.args.StandardSave(tree) for name, tree in items.items()},
      data=ocp.args.JsonSave(dict(data)),
      meta=ocp.args.JsonSave(dict(meta)),
    )
    with self._told():  # still of the step before
      self._manager.wait_until_finished()
    self._saving = step
    with self._told():
      self._manager.save(step, args=args)

  def save_weights(self, variables: Mapping, *, meta: Mapping) -> None:
    """Saves weights alone, as step 0 of a run that never was; waits."""
    state = dict(variables)
    items = {'params': state.pop('params'), 'model_state': state}
    trees = {k: v for k, v in items.items() if jax.tree.leaves(v)}
    self._manager.save(
      0,
      args=ocp.args.Composite(
        **{name: ocp.args.StandardSave(tree) for name, tree in trees.items()},
        meta=ocp.args.JsonSave(dict(meta)),
      ),
    )
    self.wait()

  def read_json(self, step: int, item: str) -> dict[str, Any]:
    """The data or meta item of a checkpoint."""
    args = ocp.args.Composite(**{item: ocp.args.JsonRestore()})
    return self._manager.restore(step, args=args)[item]

  def has(self, step: int, item: str) -> bool:
    """Whether the checkpoint has an item, e.g. ema."""
    return (self.folder / str(step) / item).is_dir()

  def restore(self, step: int, abstract: TrainState) -> TrainState:
    """Restores a whole state onto the devices that `abstract` names.

    Args:
      step: which checkpoint.
      abstract: a TrainState of ShapeDtypeStructs with shardings.

    Raises:
      InputError: if a tensor's name, shape or dtype differs from the model's.
    """
    trees = {k: v for k, v in _trees(abstract).items() if jax.tree.leaves(v)}
    found = {k: self.restore_item(step, k, v) for k, v in trees.items()}
    opt = found['opt']
    return TrainState(
      step=opt['step'],
      params=found['params'],
      opt_state=opt['opt_state'],
      ema=found.get('ema'),
      model_state=found.get('model_state', {}),
      key=opt['key'],
    )

  def restore_item(self, step: int, item: str, abstract):
    """Restores one tree, after a check of our own against what is stored.

    Orbax would cast another dtype silently and bury a wrong shape under
    thousands of lines.
    """
    if not self.has(step, item):
      why = (
        'the run that wrote it did not keep averaged weights'
        if item == 'ema'
        else f'it is damaged: delete {self.folder / str(step)} and use another'
      )
      raise InputError(
        f'checkpoint {step} of {self.folder} has no {item}; {why}'
      )
    stored = self._manager.item_metadata(step)[item].tree
    _compare(stored, abstract, f'{item} of checkpoint {step}')
    args = ocp.args.Composite(**{item: ocp.args.StandardRestore(abstract)})
    return self._manager.restore(step, args=args)[item]

  def reached_preemption(self, step: int) -> bool:
    """Whether the processes agreed to stop after `step` (a collective)."""
    return self._manager.reached_preemption(step)

  def wait(self) -> None:
    """Returns when everything that was saved is on disk, or is a SaveError."""
    with self._told():
      self._manager.wait_until_finished()

  def close(self) -> None:
    """Waits and lets go of the folder."""
    with self._told():
      self._manager.close()

  def _told(self) -> contextlib.AbstractContextManager[None]:
    """Makes one SaveError of what a full disk raises in orbax."""
    what = f'checkpoint {self._saving} of {self.folder}'
    return save_errors.explain_save_errors(what, self._whole)

  def _whole(self) -> list[int]:
    """The steps that are complete, by their folders' names.

    The manager counts the one that is being saved too.
    """
    names = [path.name for path in self.folder.glob('*')]
    return sorted(int(name) for name in names if name.isdecimal())


class _Always(ocp.checkpoint_managers.SaveDecisionPolicy):
  """Every call of `save` saves."""

  def should_save(self, step, previous_steps, *, context) -> bool:
    """True; the loop decides."""
    return True


def _trees(state: TrainState) -> dict[str, Any]:
  """A state as checkpoint items."""
  return {
    'params': state.params,
    'ema': {} if state.ema is None else state.ema,
    'opt': {
      'opt_state': state.opt_state,
      'step': state.step,
      'key': state.key,
    },
    'model_state': state.model_state,
  }


def _compare(stored, wanted, what: str) -> None:
  """Refuses names, shapes or dtypes that differ, naming the first few."""
  have, want = _leaves(stored), _leaves(wanted)
  wrong = [f'{p} is missing' for p in sorted(want.keys() - have.keys())]
  wrong += [
    f'{p} is not in the model' for p in sorted(have.keys() - want.keys())
  ]
  for path in sorted(have.keys() & want.keys()):
    if have[path] != want[path]:
      wrong.append(f'{path} is {have[path]}, the model has {want[path]}')
  if wrong:
    more = f' and {len(wrong) - 5} more' if len(wrong) > 5 else ''
    raise InputError(
      f'{what} does not fit this recipe: {"; ".join(wrong[:5])}{more}; use the '
      'recipe that it was trained with'
    )


def _leaves(tree) -> dict[str, tuple]:
  """Path -> (shape, dtype name); optax's tuples and orbax's lists alike."""
  flat = jax.tree_util.tree_leaves_with_path(tree)
  return {
    parameter_path(path): (tuple(leaf.shape), str(leaf.dtype))
    for path, leaf in flat
    if hasattr(leaf, 'shape')
  }
