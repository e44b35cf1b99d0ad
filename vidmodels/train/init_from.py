"""Weights from a file as the start of a run, or as a folder of their own.

The reading itself is in `vidmodels/weights`; here the arrays get to their
devices and into a checkpoint.
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

UNNAMED = 'class {}'  # of a file that says no names


def read(
  config: cfg.Config, path: str | pathlib.Path, **options: Any
) -> Imported:
  """A file's weights in a recipe's model, for the recipe's clip."""
  return load_weights.load_for_recipe(config, path, **options)


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

  Args:
    path: of the weight file.
    config: the recipe whose model is filled.
    out: a folder that does not exist yet; it appears when it is whole.
    classes: file with a class name a line, in the order of the head, or the
      name of a data set. Without it classes are called 'class 0' and so on,
      and evaluation on records with names of their own is refused.
    labels: what they are, as `Task.parse` reads it; default a data set's own,
      else one class a video.
    head: see `load_weights.load_file`.
    positions: likewise.

  Raises:
    InputError: if the file does not fit, or `out` exists.
  """
  if out.exists():
    raise InputError(f'{out} exists; give a new folder')
  if config.init_from:
    raise InputError(
      f'the recipe starts from init_from={config.init_from} and {path} is to '
      'be imported; leave init_from out'
    )
  given, task = registry.load_classes(classes) if classes else (None, SINGLE)
  task = Task.parse(labels) if labels else task
  made = read(
    config,
    path,
    classes=len(given) if given else None,
    head=head,
    positions=positions,
  )
  # A field may follow the file's tables (the rows of X-ViT's frames).
  fields = {name: getattr(made.model, name) for name in config.model}
  config = dataclasses.replace(config, model=fields)
  K = made.model.classes
  task.parts(K)  # raises if its heads are no parts of so many
  names = made.labels or tuple(UNNAMED.format(k) for k in range(K))
  given = given or ClassList.from_names(names)
  flat = flatten_variables(made.complete(jax.random.key(config.seed)))
  made = _without_arrays(made)
  variables = unflatten_variables(_on_device(flat))
  meta = {
    'config': cfg.as_dict(config),
    'classes': list(given.names),
    'classes_sha256': given.sha256,
    'task': task.to_json(),
    'clips': 0,
    'fps': 0.0,
    'versions': {'vidmodels': vidmodels.__version__, 'jax': jax.__version__},
    'source': source_metadata(made),
  }
  _save(variables, meta, config, out)
  return made


def _save(variables, meta: dict, config: cfg.Config, out: pathlib.Path) -> None:
  """Writes the one checkpoint; the folder appears when it is whole."""
  beside = out.with_name(f'.{out.name}.unfinished')
  shutil.rmtree(beside, ignore_errors=True)
  try:
    with contextlib.closing(Checkpoints(beside, config.checkpoint)) as saved:
      saved.save_weights(variables, meta=meta)
    beside.rename(out)
  finally:
    shutil.rmtree(beside, ignore_errors=True)


def _without_arrays(made: Imported) -> Imported:
  """What was said of an import, without its weights and its open file."""
  nothing = Tensors({}, lambda key: np.zeros(0))
  seen = dataclasses.replace(made.match.unwrapped, tensors=nothing)
  return dataclasses.replace(
    made,
    variables={},
    file=dataclasses.replace(made.file, tensors=nothing),
    match=dataclasses.replace(made.match, unwrapped=seen),
  )


def _on_device(arrays: dict[str, np.ndarray]) -> dict[str, jax.Array]:
  """The arrays as JAX's, taken out of `arrays` one by one to be freed.

  Of NumPy arrays orbax would make two more copies, of JAX's none.
  """
  return {
    path: jax.device_put(arrays.pop(path)).block_until_ready()
    for path in list(arrays)
  }


def read_init_weights(
  run: TrainingRun, workdir: pathlib.Path
) -> Imported | None:
  """What the recipe's file gives a run that has no checkpoint yet.

  Before anything is written to the workdir, so that a wrong file leaves none.

  Raises:
    InputError: if the file does not fit.
  """
  config = run.config
  if not config.init_from or any(workdir.glob('checkpoints/[0-9]*')):
    return None
  made = read(
    config,
    config.init_from,
    classes=run.model.classes,
    head=config.init_head,
    positions=config.init_positions,
  )
  _same_model(config, made)
  return made


def initial_state(
  run: TrainingRun,
  made: Imported | None,
  progress: Callable[[int, int, str], None],
) -> tuple[TrainState, dict[str, Any] | None]:
  """A run's first state: drawn, or what a file gives laid over that.

  Returns:
    The state, and what is to be known of the file; None without one.
  """
  state, config = create_state(run.init, run.shardings), run.config
  if made is None:
    return state, None
  said = import_report.format_summary(
    import_report.summarize(made)
  ).splitlines()
  for line in (*said, *_otherwise(config, made)):
    progress(0, run.total, line)
  drawn = {'params': state.params, **state.model_state}
  variables = _over(drawn, made.variables)
  params = variables.pop('params')
  state = state.replace(
    params=params,
    # A copy: params and ema are both donated to the step.
    ema=jax.tree.map(jnp.copy, params) if config.optim.ema else None,
    model_state=variables,
  )
  return state, source_metadata(made)


def _same_model(config: cfg.Config, made: Imported) -> None:
  """Refuses a file whose tables ask for other fields than the recipe's."""
  for name, value in config.model.items():
    theirs = getattr(made.model, name)
    if theirs != value:
      raise InputError(
        f'{config.init_from} has {name}={theirs!r} and the recipe {value!r}; '
        f'give --config.model.{name}={theirs}'
      )


def _over(drawn: Mapping[str, Any], ours: Mapping[str, Any]) -> dict[str, Any]:
  """`drawn` with a file's arrays in their places, on the same devices.

  Every process puts its own parts there.
  """
  flat, whole = flatten_variables(ours), flatten_variables(drawn)
  for path, array in flat.items():
    # The array as a default: the callback may outlive its round of the loop.
    whole[path] = jax.make_array_from_callback(
      array.shape,
      whole[path].sharding,
      lambda index, array=array: array[index],
    )
  return unflatten_variables(whole)


def _otherwise(config: cfg.Config, made: Imported) -> list[str]:
  """Lines where the file was trained on frames made in another way."""
  pixels, data = made.pixels, config.data
  found = []
  if pixels and (pixels.mean, pixels.std) != (data.mean, data.std):
    found.append(
      f'the file was trained with mean {pixels.mean} and std {pixels.std}, the '
      f'recipe scales by {data.mean} and {data.std}'
    )
  if pixels and pixels.order != 'RGB':
    found.append(
      f'the file was trained on {pixels.order} frames, the recipe gives RGB'
    )
  return found


def source_metadata(made: Imported) -> dict[str, Any]:
  """Where weights are from, for the checkpoint that begins with them."""
  pixels = made.pixels
  return {
    'file': made.file.path.name,
    'sha256': made.file.sha256(),
    'family': made.match.naming.family,
    'names': made.match.naming.name,
    'size': made.match.guess.size,
    'mean': list(pixels.mean) if pixels else None,
    'std': list(pixels.std) if pixels else None,
    'channels': pixels.order if pixels else None,
    'trained': dict(made.trained),
    'classes': list(made.labels),
    'random': dict(made.report.random),
  }


def read_tensors(path: str | pathlib.Path) -> Mapping[str, np.ndarray]:
  """The tensors of a weight file, or of a folder's newest checkpoint.

  Raises:
    InputError: if it is neither.
  """
  path = pathlib.Path(path)
  if not path.is_dir():
    return open_file(path).tensors
  model = restore.load(path)
  variables = {'params': model.params, **model.model_state}
  arrays = {k: np.asarray(v) for k, v in flatten_variables(variables).items()}
  specs = {k: (a.shape, a.dtype) for k, a in arrays.items()}
  return Tensors(specs, arrays.__getitem__)
