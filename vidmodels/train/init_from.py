"""Weights of a file as the start of a run, or as a checkpoint folder.

  write_checkpoint('K400.pyth', config, out=pathlib.Path('runs/imported'))

`vidmodels/weights` reads the file; this module places the arrays on their
devices and saves them as a checkpoint.
"""

import contextlib
import dataclasses
import pathlib
import shutil
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import vidmodels
from vidmodels import config as cfg
from vidmodels import object_store
from vidmodels.data.datasets import registry
from vidmodels.data.records.class_list import ClassList
from vidmodels.data.records.task import SINGLE, Task
from vidmodels.train import model_file, workdirs
from vidmodels.train.build import TrainingRun
from vidmodels.train.checkpoint import Checkpoints
from vidmodels.train.state import (
  TrainState,
  by_block,
  create_state,
  stacked_as,
)
from vidmodels.typing import InputError
from vidmodels.weights import import_report, load_weights, own_files
from vidmodels.weights.description import Description
from vidmodels.weights.formats.tensors import Tensors
from vidmodels.weights.load_weights import Imported
from vidmodels.weights.mapping.apply import (
  flatten_variables,
  unflatten_variables,
)

UNNAMED = 'class {}'  # the name of a class if the file gives none


def write_checkpoint(
  path: str | pathlib.Path,
  config: cfg.Config | None,
  out: pathlib.Path,
  *,
  classes: str | pathlib.Path | None = None,
  labels: str = '',
  head: load_weights.Head = 'auto',
  positions: str = '',
  channels: load_weights.Channels = 'auto',
) -> Imported:
  """Writes a file's weights as a folder with one checkpoint, of step 0.

  `out` must not exist yet; it appears when it is complete. `config` is only
  needed for a file that does not say its recipe. `classes` is a file with one
  class name per line, in the order of the head, or the name of a data set.
  Without it, they are the file's; if that names none they are called 'class 0'
  and so on, and evaluation on records with other class names is refused.
  `labels` is the kind of labels, as `Task.parse` reads it; default that of the
  data set or of the file, else one class per video. `head`, `positions` and
  `channels` are those of `load_weights.load_for_recipe`.
  """
  if out.exists():
    raise InputError(
      f'got {out}, which exists; expected a folder that does not; try another '
      'name'
    )
  file = model_file.open_source(path)
  said = own_files.describe_file(file)
  config = _choose_recipe(path, config, said)
  class_list, task = None, said.task if said else SINGLE
  if classes:
    class_list, task = registry.load_classes(classes)
  task = Task.parse(labels) if labels else task
  imported = load_weights.load_for_recipe(
    config,
    file,
    classes=len(class_list) if class_list else None,
    head=head,
    positions=positions,
    channels=channels,
    class_names=class_list.names if class_list else (),
  )
  # Some fields follow the file's tables, such as the frames of X-ViT.
  fields = {name: getattr(imported.model, name) for name in config.model}
  config = dataclasses.replace(config, model=fields)
  K = imported.model.classes
  task.parts(K)  # raises if the heads do not add up to K
  names = imported.labels or tuple(UNNAMED.format(k) for k in range(K))
  class_list = class_list or ClassList.from_names(names)
  flat = flatten_variables(imported.complete(jax.random.key(config.seed)))
  imported = _without_arrays(imported)
  # Array after array, so that each can be freed. Orbax makes two more copies of
  # NumPy arrays, and none of JAX arrays.
  for name in flat:
    flat[name] = jax.device_put(flat[name]).block_until_ready()
  variables = unflatten_variables(flat)
  meta = {
    'config': cfg.as_dict(config),
    'classes': list(class_list.names),
    'classes_sha256': class_list.sha256,
    'task': task.to_json(),
    'clips': 0,
    'fps': said.fps if said else 0.0,
    'versions': {'vidmodels': vidmodels.__version__, 'jax': jax.__version__},
    'source': source_metadata(imported),
  }
  _save_as(out, variables, meta, config.checkpoint)
  return imported


def _choose_recipe(
  path: str | pathlib.Path,
  config: cfg.Config | None,
  description: Description | None,
) -> cfg.Config:
  """The recipe that was given, else the file's own."""
  if config is None:
    if description is None:
      raise InputError(
        f'got {path}, which does not say what recipe its model had; expected a '
        'recipe; try --config=RECIPE'
      )
    config = description.config
  if config.init_from:
    raise InputError(
      f'got a recipe with init_from={config.init_from} and {path} to import; '
      'expected one file; leave init_from out'
    )
  return config


def _save_as(
  out: pathlib.Path, variables: Mapping, meta: Mapping, options: cfg.Checkpoint
) -> None:
  """Saves the weights in a folder that appears when it is complete.

  In an object store, a checkpoint counts when its last object is there.
  """
  if object_store.in_store(out):
    with contextlib.closing(Checkpoints(out, options)) as saved:
      saved.save_weights(variables, meta=meta)
    return
  partial = out.with_name(f'.{out.name}.unfinished')
  shutil.rmtree(partial, ignore_errors=True)
  try:
    with contextlib.closing(Checkpoints(partial, options)) as saved:
      saved.save_weights(variables, meta=meta)
    partial.rename(out)
  finally:
    shutil.rmtree(partial, ignore_errors=True)


def _without_arrays(imported: Imported) -> Imported:
  """The description of an import, without its weights and its open file."""
  nothing = Tensors({}, lambda key: np.zeros(0))
  unwrapped = dataclasses.replace(imported.match.unwrapped, tensors=nothing)
  return dataclasses.replace(
    imported,
    variables={},
    file=dataclasses.replace(imported.file, tensors=nothing),
    match=dataclasses.replace(imported.match, unwrapped=unwrapped),
  )


def read_init_weights(
  run: TrainingRun, workdir: pathlib.Path, classes: ClassList
) -> Imported | None:
  """Reads the recipe's weight file before anything else is written.

  So a wrong file leaves no workdir behind. None without `init_from`, or if the
  run has a checkpoint. `init_from` may also be the workdir of another run, with
  @STEP behind it for a checkpoint that is not the newest. `classes` are those
  of the run's records.
  """
  if workdirs.has_checkpoint(workdir):
    return None
  return read_weights(run, classes)


def read_weights(run: TrainingRun, classes: ClassList) -> Imported | None:
  """Reads the recipe's weight file; None without one."""
  config = run.config
  if not config.init_from:
    return None
  imported = load_weights.load_for_recipe(
    config,
    model_file.open_source(config.init_from),
    classes=run.model.classes,
    head=config.init_head,
    positions=config.init_positions,
    class_names=classes.names,
  )
  for name, value in config.model.items():  # that the file's tables decide
    theirs = getattr(imported.model, name)
    if theirs != value:
      raise InputError(
        f'{config.init_from} has {name}={theirs!r} and the recipe {value!r}; '
        f'expected the same value; try --config.model.{name}={theirs}'
      )
  return imported


def initial_state(
  run: TrainingRun,
  imported: Imported | None,
  progress: Callable[[int, int, str], None],
) -> tuple[TrainState, dict[str, Any] | None]:
  """A run's first state and the metadata of the file that it starts from.

  The values are random, replaced by those of the file, if there is one.
  """
  state, config = create_state(run.init, run.shardings), run.config
  if imported is None:
    return state, None
  summary = import_report.summarize(imported)
  lines = import_report.format_summary(summary).splitlines()
  pixels, data = imported.pixels, config.data
  if pixels and (pixels.mean, pixels.std) != (data.mean, data.std):
    lines.append(
      f'the file was trained with mean {pixels.mean} and std {pixels.std}, the '
      f'recipe scales by {data.mean} and {data.std}'
    )
  for line in lines:
    progress(0, run.total, line)
  stacked = {'params': state.params, **state.model_state}
  arrays = flatten_variables(by_block(stacked))
  for path, array in flatten_variables(imported.variables).items():
    # Every process places its own parts.
    arrays[path] = jax.make_array_from_callback(
      array.shape, arrays[path].sharding, array.__getitem__
    )
  variables = stacked_as(unflatten_variables(arrays), stacked)
  params = variables.pop('params')
  state = state.replace(
    params=params,
    # A copy: params and ema are both donated to the step.
    ema=jax.tree.map(jnp.copy, params) if config.optim.ema else None,
    model_state=variables,
  )
  return state, source_metadata(imported)


def source_metadata(imported: Imported) -> dict[str, Any]:
  """Describes the file of the weights, for the checkpoints that start there."""
  pixels = imported.pixels
  return {
    'file': imported.file.path.name,
    'sha256': imported.file.sha256(),
    'family': imported.match.naming.family,
    'names': imported.match.naming.name,
    'size': imported.match.guess.size,
    'mean': list(pixels.mean) if pixels else None,
    'std': list(pixels.std) if pixels else None,
    'channels': pixels.order if pixels else None,
    'trained': dict(imported.trained),
    'classes': list(imported.labels),
    'random': dict(imported.report.random),
    'licence': _find_licence(imported),
  }


def _find_licence(imported: Imported) -> str | None:
  """The licence of the authors' file, also through files of ours; or None."""
  if imported.description:
    return (imported.description.source or {}).get('licence')
  return imported.match.naming.licence or None
