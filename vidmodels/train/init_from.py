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
from vidmodels.data.datasets import registry
from vidmodels.data.records.class_list import ClassList
from vidmodels.data.records.task import SINGLE, Task
from vidmodels.train import restore
from vidmodels.train.build import TrainingRun
from vidmodels.train.checkpoint import Checkpoints
from vidmodels.train.state import TrainState, create_state
from vidmodels.typing import InputError
from vidmodels.weights import import_report, load_weights
from vidmodels.weights.formats.open_file import open_file
from vidmodels.weights.formats.tensors import Tensors
from vidmodels.weights.load_weights import Imported
from vidmodels.weights.mapping.apply import (
  flatten_variables,
  unflatten_variables,
)

UNNAMED = 'class {}'  # the name of a class if the file gives none


def write_checkpoint(
  path: str | pathlib.Path,
  config: cfg.Config,
  out: pathlib.Path,
  *,
  classes: str | pathlib.Path | None = None,
  labels: str = '',
  head: load_weights.Head = 'auto',
  positions: str = '',
) -> Imported:
  """Writes a file's weights as a folder with one checkpoint, of step 0.

  `out` must not exist yet; it appears when it is complete. `classes` is a file
  with one class name per line, in the order of the head, or the name of a data
  set. Without it, classes are called 'class 0' and so on, and evaluation on
  records with other class names is refused. `labels` is the kind of labels, as
  `Task.parse` reads it; default that of the data set, else one class per video.
  `head` and `positions` are those of `load_weights.load_for_recipe`.
  """
  if out.exists():
    raise InputError(
      f'got {out}, which exists; expected a folder that does not; try another '
      'name'
    )
  if config.init_from:
    raise InputError(
      f'got a recipe with init_from={config.init_from} and {path} to import; '
      'expected one file; leave init_from out'
    )
  class_list, task = None, SINGLE
  if classes:
    class_list, task = registry.load_classes(classes)
  task = Task.parse(labels) if labels else task
  imported = load_weights.load_for_recipe(
    config,
    path,
    classes=len(class_list) if class_list else None,
    head=head,
    positions=positions,
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
    'fps': 0.0,
    'versions': {'vidmodels': vidmodels.__version__, 'jax': jax.__version__},
    'source': source_metadata(imported),
  }
  _save_as(out, variables, meta, config.checkpoint)
  return imported


def _save_as(
  out: pathlib.Path, variables: Mapping, meta: Mapping, options: cfg.Checkpoint
) -> None:
  """Saves the weights in a folder that appears when it is complete."""
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
  run: TrainingRun, workdir: pathlib.Path
) -> Imported | None:
  """Reads the recipe's weight file before anything else is written.

  So a wrong file leaves no workdir behind. None without `init_from`, or if the
  run has a checkpoint.
  """
  config = run.config
  if not config.init_from or any(workdir.glob('checkpoints/[0-9]*')):
    return None
  imported = load_weights.load_for_recipe(
    config,
    config.init_from,
    classes=run.model.classes,
    head=config.init_head,
    positions=config.init_positions,
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
  if pixels and pixels.order != 'RGB':
    lines.append(
      f'the file was trained on {pixels.order} frames, the recipe gives RGB'
    )
  for line in lines:
    progress(0, run.total, line)
  arrays = flatten_variables({'params': state.params, **state.model_state})
  for path, array in flatten_variables(imported.variables).items():
    # Every process places its own parts.
    arrays[path] = jax.make_array_from_callback(
      array.shape, arrays[path].sharding, array.__getitem__
    )
  variables = unflatten_variables(arrays)
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
  }


def read_tensors(path: str | pathlib.Path) -> Mapping[str, np.ndarray]:
  """Reads a weight file, or the newest checkpoint of a workdir."""
  path = pathlib.Path(path)
  if not path.is_dir():
    return open_file(path).tensors
  model = restore.load(path)
  variables = {'params': model.params, **model.model_state}
  arrays = {k: np.asarray(v) for k, v in flatten_variables(variables).items()}
  specs = {k: (a.shape, a.dtype) for k, a in arrays.items()}
  return Tensors(specs, arrays.__getitem__)
