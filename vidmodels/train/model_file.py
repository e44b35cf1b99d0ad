"""A trained model as one file: written from a run, opened without it.

  saved = model_file.save(restore.load('runs/first'), 'first.safetensors')
  model = model_file.load('first.safetensors')  # as restore.load, or a folder

The file says of itself all that a checkpoint says (weights/description.py), so
a model that was loaded from it answers as that of the run.
"""

import dataclasses
import pathlib
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

import vidmodels
from vidmodels import config as cfg
from vidmodels import files, models
from vidmodels.train import restore, sharding
from vidmodels.train.checkpoint import StepChoice
from vidmodels.train.mesh import make_mesh, replicated
from vidmodels.train.restore import TrainedModel, Weights
from vidmodels.typing import AnyPath, InputError, quote
from vidmodels.weights import export, hub_folder, load_weights, own_files
from vidmodels.weights.description import Description
from vidmodels.weights.formats.open_file import ACCEPTED, File, open_file
from vidmodels.weights.formats.tensors import Tensors
from vidmodels.weights.mapping.apply import flatten_variables


@dataclasses.dataclass(frozen=True)
class Saved:
  """What was written."""

  path: pathlib.Path  # of the weights
  naming: str  # whose key names they have, as 'timesformer release'
  tensors: int  # how many
  notes: tuple[str, ...]  # what a user should know, a sentence each


def save(
  model: TrainedModel,
  path: AnyPath,
  *,
  to: export.Container = 'safetensors',
  names: str = '',
) -> Saved:
  """Writes a model as a new file, under the key names `names`.

  By default they are the authors', or our own if no author has released such a
  model. Under the names of the Hugging Face hub a safetensors file gets its
  config.json and preprocessor_config.json beside it; a `path` without the
  ending .safetensors is then a new folder for the three.
  """
  family, variables = model.config.family, _variables(model)
  naming, state = export.name_tensors(
    family, model.model, variables, name=names
  )
  description = describe(model, naming.name)
  hub = to == 'safetensors' and naming.name == 'hf'
  path = files.place(path)
  documents = {}
  if hub:
    documents = hub_folder.documents(model.model, description)
    if path.suffix != '.safetensors':
      path = files.unused_path(path) / hub_folder.WEIGHTS
    for name in documents:
      files.unused_path(path.with_name(name))
  written = export.write(
    path,
    state,
    to=to,
    under=naming.under,
    description=description.to_json(),
  )
  for name, document in documents.items():
    files.write_atomically(written.with_name(name), document.encode())
  return Saved(
    written,
    f'{naming.family} {naming.name}',
    len(state),
    _list_notes(to, naming.name, naming.under, names),
  )


def _list_notes(to: str, name: str, under: str, asked: str) -> tuple[str, ...]:
  """Sentences on what the reader of the file cannot expect."""
  notes = []
  if name == own_files.OWN and not asked:
    notes.append(
      'no author has released such a model: the keys are our own parameter '
      'paths, which vidmodels alone reads'
    )
  if to == 'pth' and not under:
    notes.append(
      'a .pth of these names has no room for heads, classes, mean and std; '
      'they are lost'
    )
  return tuple(notes)


def describe(model: TrainedModel, names: str) -> Description:
  """What a file of this model says about itself."""
  return Description(
    names=names,
    config=model.config,
    classes=model.classes,
    task=model.task,
    fps=model.fps,
    step=model.step,
    weights=model.weights,
    version=vidmodels.__version__,
    source=model.source,
  )


def load(
  path: AnyPath,
  *,
  step: StepChoice = None,
  weights: Weights = 'auto',
  sizes: cfg.Mesh | None = None,
  mesh: Mesh | None = None,
) -> TrainedModel:
  """Loads the folder of a run, or a file that `save` wrote; see `restore.load`.

  A file of somebody else does not say how to prepare frames for it, and is
  refused.
  """
  place = files.existing_path(path, 'give a run, or a file of weights')
  if not place.exists():
    raise InputError(
      f'got {quote(place)}, which does not exist; expected a run, or a file '
      'that `vidmodels weights export` wrote; try another path'
    )
  if place.is_dir() and not hub_folder.holds_weights(place):
    return restore.load(
      place, step=step, weights=weights, sizes=sizes, mesh=mesh
    )
  file = open_file(place)
  said = own_files.describe_file(file)
  if said is None:
    raise InputError(
      f'got {quote(place)}, which does not say what its classes are or how '
      'frames are prepared for it; expected a run, or what `vidmodels weights '
      'export` wrote; try `vidmodels weights import` with a recipe first'
    )
  if step not in (None, said.step) or weights not in ('auto', said.weights):
    raise InputError(
      f'got step {step} and weights {weights!r} for {quote(place)}, which '
      f'holds step {said.step} ({said.weights}) alone; expected these; try '
      'leaving both out'
    )
  imported = load_weights.load_for_recipe(
    said.config, file, classes=len(said.classes)
  )
  mesh = mesh or make_mesh(sizes or cfg.Mesh())
  params, state = _place(said.config.family, imported.variables, mesh)
  return TrainedModel(
    config=said.config,
    classes=said.classes,
    step=said.step,
    weights=said.weights,
    workdir=place,
    model=imported.model,
    params=params,
    model_state=state,
    fps=said.fps,
    mesh=mesh,
    task=said.task,
    source=said.source,
  )


def _place(family: str, variables: Any, mesh: Mesh) -> tuple[Any, Any]:
  """Parameters and the other collections on the devices of a mesh."""
  state = dict(variables)
  params = state.pop('params')
  placements, _ = sharding.place_parameters(
    models.find(family).SHARDING, params, mesh
  )
  everywhere = replicated(mesh)
  return (
    jax.tree.map(jax.device_put, params, placements),
    jax.tree.map(lambda x: jax.device_put(x, everywhere), state),
  )


def open_source(path: AnyPath) -> File:
  """Opens weights to start from: a file, or the checkpoint of a run.

  WORKDIR takes the newest checkpoint of a run, WORKDIR@STEP that of a step,
  WORKDIR@best the best;
  either the averaged weights if the run kept them, as evaluation does.
  """
  place, step = split_step(files.existing_path(path, ACCEPTED))
  if not place.is_dir() or hub_folder.holds_weights(place):
    return open_file(path)
  model = restore.load(place, step=step)
  arrays = {
    name: np.asarray(array)
    for name, array in flatten_variables(_variables(model)).items()
  }
  specs = {name: (a.shape, a.dtype) for name, a in arrays.items()}
  return File(
    path=place,
    container=f'checkpoint {model.step} ({model.weights})',
    tensors=Tensors(specs, arrays.__getitem__),
    description=describe(model, own_files.OWN).to_json(),
  )


def split_step(path: pathlib.Path) -> tuple[pathlib.Path, StepChoice]:
  """A folder and the step behind its '@'; a folder may have one in its name."""
  name, _, step = path.name.rpartition('@')
  if path.exists() or not name:
    return path, None
  if step == 'best':
    return path.with_name(name), 'best'
  if step == 'latest':
    return path.with_name(name), 'latest'
  if not step.isdecimal() or len(step) > 12:
    return path, None
  return path.with_name(name), int(step)


def _variables(model: TrainedModel) -> dict[str, Any]:
  return {'params': model.params, **model.model_state}


def read_tensors(path: AnyPath) -> Tensors:
  """Reads the tensors of a weight file, or of a checkpoint by our names."""
  return open_source(path).tensors
