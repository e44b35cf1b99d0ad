"""Fills a model from a weight file, and reports what became of every key.

  imported = load_path('B_16.npz', 'timesformer', clip=(8, 224, 224))
  imported.report.random, imported.report.dropped, imported.notes
  variables = imported.complete(jax.random.key(0))

The caller (a recipe) defines the model, or else the file does. A file of the
same family fills all of the model; a file of an image model that the family can
start from fills what images have. Position tables are resized to the clip.
"""

import dataclasses
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from vidmodels import models
from vidmodels.config import Config
from vidmodels.nn import position
from vidmodels.typing import InputError
from vidmodels.weights import own_files
from vidmodels.weights.description import Description
from vidmodels.weights.formats import hub_config
from vidmodels.weights.formats.hub_config import HubConfig
from vidmodels.weights.formats.open_file import File, open_file
from vidmodels.weights.formats.tensors import Tensors
from vidmodels.weights.mapping import apply, identify, key_rules, prefixes
from vidmodels.weights.mapping.apply import KeyReport
from vidmodels.weights.mapping.identify import Clip, Guess, Match, Pixels

# 'auto': the file's head is kept if it has as many classes as the model, and
# the same names if both are known.
Head = Literal['auto', 'keep', 'new']
Channels = Literal['auto', 'RGB', 'BGR']
Shape = tuple[int, int, int, int]
PATCH = 'patch/kernel'  # our path of the kernel that reads pixels


@dataclasses.dataclass(frozen=True, kw_only=True)
class Imported:
  """What a file gives a model."""

  file: File
  match: Match  # its naming and what it tells about its own model
  family: str  # of the model that is filled
  model: nn.Module
  variables: Mapping[str, Any]  # float32, without those that it does not fill
  target: Mapping[str, Any]  # all variables of the model, as shapes
  report: KeyReport
  notes: tuple[str, ...]  # what the user should know, a sentence each
  video: Shape  # shape (T, H, W, C) of the clip that `target` is for
  labels: tuple[str, ...]  # names beside the file, if the head is the file's
  pixels: Pixels | None  # how its frames were scaled, if anything tells
  trained: Mapping[str, Any]  # 'activation', 'epsilon' of it, where known
  # description: what the file says of itself, if it is one of ours
  description: Description | None = None
  # assumed: fields that were taken from the file and that nothing in it tells
  assumed: Mapping[str, Any] = dataclasses.field(default_factory=dict)

  def complete(self, key: jax.Array) -> dict[str, Any]:
    """All variables: the file's, and initial values for the others."""
    ours = apply.flatten_variables(self.variables)
    paths = list(apply.flatten_variables(self.target))
    missing = [path for path in paths if path not in ours]

    def draw_missing(key: jax.Array) -> dict[str, jax.Array]:
      video = jnp.zeros((1, *self.video), jnp.float32)
      fresh = apply.flatten_variables(dict(self.model.init(key, video)))
      # Only what is missing is returned; the compiler drops the rest.
      return {path: fresh[path] for path in missing}

    if missing:
      drawn = jax.jit(draw_missing)(key)
      ours |= {path: np.asarray(leaf) for path, leaf in drawn.items()}
    return apply.unflatten_variables({path: ours[path] for path in paths})


def load_path(
  path: str | pathlib.Path, family: str, **options: Any
) -> Imported:
  """Opens a file and loads it; `options` are those of `load_file`."""
  return load_file(open_file(path), family, **options)


def load_for_recipe(
  config: Config, path: str | pathlib.Path | File, **options: Any
) -> Imported:
  """Loads a file into a recipe's model, for the recipe's clip."""
  file = path if isinstance(path, File) else open_file(path)
  clip = (config.clip.frames, config.clip.size, config.clip.size)
  recipe = {'model': config.model, 'clip': clip, 'dtype': config.dtype}
  return load_file(file, config.family, **{**recipe, **options})


def load_file(
  file: File,
  family: str,
  *,
  model: Mapping[str, Any] | None = None,
  classes: int | None = None,
  clip: Clip | None = None,
  head: Head = 'auto',
  positions: position.Resize | Literal[''] = '',
  dtype: str = 'float32',
  heads: int | None = None,
  channels: Channels = 'auto',
  class_names: Sequence[str] = (),
) -> Imported:
  """Loads an opened file's weights into a model of a family.

  A file of another family, or one that leaves anything on either side without a
  reason, is refused.

  Args:
    file: from `open_file`.
    family: of the model.
    model: its fields. By default they are read from a file of the same family;
      for a file of an image model they are the family's defaults.
    classes: number of classes of its head; by default the file's.
    clip: frames, height and width that the model is to be used with; by
      default those that the file is for. If the number of rows in a table of
      patches is not a square, `clip` tells its grid.
    head: whether the file's classifier is taken. That of an image model never
      is.
    positions: the method of nn/position by which position tables are resized
      to `clip`. The default is the model's own, which changes no answer: the
      model would do the same at every call.
    dtype: of the model's computation.
    heads: of the file's own model, where neither the file nor its size tells.
    channels: order of the channels that the file's weights take, if it is not
      the one that its kind of file has. Weights that take BGR are turned round
      to take RGB.
    class_names: of the model, if they are known.
  """
  if positions:
    position.resize_rows(1, 1, positions)  # refuses an unknown name
  match = choose_match(file, family, model, clip)
  hub, description = read_hub_config(file, match), own_files.describe_file(file)
  if not description:
    match = _add_heads(match, hub, heads)
  guess, own_family = match.guess, match.naming.family == family
  module, assumed = _build_model(
    file, match, hub, family, model, classes=classes, dtype=dtype
  )
  load = _load_own if own_family else _load_image
  video, report = (*(clip or guess.clip[:3]), guess.clip[3]), KeyReport()
  labels = _read_labels(description, hub, guess)
  same = not (description and class_names) or labels == tuple(class_names)
  module, variables, why_new_head = load(
    file, match, family, module, video, head, same, report
  )
  match.unwrapped.restore_file_keys(report)
  target = apply.variable_shapes(module, video)
  variables = _resize_tables(
    variables, target, family, module, positions, report
  )
  pixels = find_pixels(match, hub)
  order = pixels.order if channels == 'auto' and pixels else channels
  if order == 'BGR':
    variables = turn_channels(variables, report)
  trained = {**match.naming.trained, **hub.trained}
  notes = hub_config.compare_with_model(
    trained, module, len(hub.labels), guess.classes
  )
  if own_family or not description:
    notes += _list_differences(guess, module, description)
  return Imported(
    file=file,
    match=match,
    family=family,
    model=module,
    variables=jax.tree.map(lambda x: np.asarray(x, np.float32), variables),
    target=target,
    report=report,
    notes=(*file.notes, *guess.notes, *notes, *_say_assumed(assumed)),
    video=video,
    labels=() if why_new_head else labels,
    pixels=pixels and dataclasses.replace(pixels, order='RGB'),
    trained=trained,
    description=description,
    assumed=assumed,
  )


# --- Which of the matching namings is meant, and what lies beside the file


def read_hub_config(file: File, match: Match) -> HubConfig:
  """The config beside a file, if it is about the file's family."""
  if file.description:
    return HubConfig()  # the file itself says more
  config = hub_config.read_hub_config(file.path)
  return config if config.family == match.naming.family else HubConfig()


def find_pixels(match: Match, config: HubConfig) -> Pixels | None:
  """How frames were scaled, by a config, the file's shapes or its names."""
  if config.mean and config.std:
    return Pixels(mean=config.mean, std=config.std)
  return match.guess.pixels or match.naming.pixels


def choose_match(
  file: File,
  family: str,
  model: Mapping[str, Any] | None = None,
  clip: Clip | None = None,
) -> Match:
  """Chooses the naming by which a file is loaded into a family.

  A naming of the family itself comes before one of an image model, unless the
  file contradicts the model's fields: the keys of a space-only TimeSformer are
  those of an image ViT. `clip` is the clip that the file is needed for.
  """
  matches = own_files.list_matches(file, clip=clip)
  sources = identify.image_sources(family)
  own = [m for m in matches if m.naming.family == family]
  images = [m for m in matches if m.naming.family in sources]
  fields = {} if model is None else {**models.fields(family), **model}
  agreeing = [m for m in own if not list_contradictions(m, fields)]
  if candidates := [*agreeing, *images, *own]:
    return candidates[0]
  kinds = [f'{m.naming.family} ({m.naming.name})' for m in matches]
  got = ', '.join(kinds) or (
    f'of no family that is known here{describe_odd_keys(file.tensors)}'
  )
  raise InputError(
    f'{file.path} is {got}; {family} takes {", ".join([family, *sources])}; '
    f'its keys start {list(file.tensors)[:3]}; try the family of the file, or '
    'another file'
  )


def describe_odd_keys(tensors: Tensors) -> str:
  """Names the few keys that keep a file from being recognised, or ''."""
  for prefix, _ in sorted(prefixes.PREFIXES, key=lambda p: -len(p[0])):
    few = [key for key in tensors if not key.startswith(prefix)]
    if not prefix or not 0 < len(few) < len(tensors) / 2:
      continue
    rest = {k: s for k, s in tensors.specs.items() if k not in few}
    if matches := identify.identify(Tensors(rest, tensors.__getitem__)):
      naming = matches[0].naming
      return (
        f', but would be {naming.family} ({naming.name}) without '
        f'{", ".join(few[:6])}'
      )
  return ''


def list_contradictions(match: Match, model: Mapping[str, Any]) -> list[str]:
  """Fields of the model that the file tells otherwise."""
  known = models.fields(match.naming.family)
  return [
    name
    for name, value in match.guess.model.items()
    if name not in (*match.guess.assumed, *match.guess.free)
    and name in known
    and name in model
    and model[name] != value
  ]


# --- Filling the model


def _add_heads(match: Match, hub: HubConfig, heads: int | None) -> Match:
  """The match with the heads that a config beside the file or a caller says."""
  guess, said = match.guess, hub.trained.get('heads') or heads
  if said is None or 'heads' not in guess.model:
    return match
  guess = dataclasses.replace(
    guess,
    model={**guess.model, 'heads': said},
    assumed=tuple(name for name in guess.assumed if name != 'heads'),
  )
  return dataclasses.replace(match, guess=guess)


def _build_model(
  file: File,
  match: Match,
  hub: HubConfig,
  family: str,
  model: Mapping[str, Any] | None,
  *,
  classes: int | None,
  dtype: str,
) -> tuple[Any, dict[str, Any]]:
  """The model that is filled, and its fields that nothing in the file tells."""
  guess, own_family = match.guess, match.naming.family == family
  assumed: dict[str, Any] = {}
  if model is None:
    model = _fields_of_file(file, match, hub, family)
    assumed = {name: model[name] for name in guess.assumed if own_family}
  K = guess.classes if classes is None else classes
  module = models.build(family, classes=K or 1, dtype=dtype, **model)
  if own_family:
    _check_heads(file, guess, module)
  return module, assumed


def _check_heads(file: File, guess: Guess, model: Any) -> None:
  """Refuses a model of other heads than its file's, if those are known.

  No tensor would show it, and every answer would be wrong. A model that starts
  from an image model has its own check, with all other fields.
  """
  theirs = guess.model.get('heads')
  if 'heads' in guess.assumed or getattr(model, 'heads', theirs) == theirs:
    return
  raise InputError(
    f'got a model of heads={model.heads!r} for {file.path}; expected '
    f'{theirs!r}, the heads of that file; try --config.model.heads={theirs}'
  )


def _read_labels(
  description: Description | None, hub: HubConfig, guess: Guess
) -> tuple[str, ...]:
  """The names of the file's classes, () if nothing tells them."""
  if description:
    return description.classes.names
  return hub.labels if len(hub.labels) == guess.classes else ()


def _list_differences(
  guess: Guess, model: Any, description: Description | None
) -> list[str]:
  """Notes on fields that the new model has otherwise, or nothing tells.

  Only a file of ours tells all its fields.
  """
  if not description:
    if 'heads' not in guess.assumed:
      return []
    return [
      "no tensor tells the heads of the file's model: it is taken to have "
      f'heads={getattr(model, "heads", None)}, as the model has'
    ]
  return [
    f'the file was trained with {name}={value!r} and the model has '
    f'{getattr(model, name)!r}'
    for name, value in guess.model.items()
    if getattr(model, name, value) != value
  ]


def _say_assumed(assumed: Mapping[str, Any]) -> list[str]:
  """A note on what was guessed, if anything was."""
  if not assumed:
    return []
  fields = ', '.join(f'{name}={value!r}' for name, value in assumed.items())
  return [f'no tensor tells these, they were taken to be: {fields}']


def turn_channels(
  variables: Mapping[str, Any], report: KeyReport | None = None
) -> dict[str, Any]:
  """Turns weights that take BGR round to take RGB, or back.

  Exact: the kernel of the patches sums over channels, each of which is scaled
  by its own mean and deviation before.
  """
  flat = apply.flatten_variables(variables)
  if PATCH not in flat:
    raise InputError(
      f'got weights that take BGR and have no {PATCH}; expected a family that '
      'has one; try frames whose channels are turned round'
    )
  flat[PATCH] = np.asarray(flat[PATCH])[..., ::-1, :]
  if report:
    report.changed[PATCH] = 'turned round: the file takes BGR, the model RGB'
  return apply.unflatten_variables(flat)


def _fields_of_file(
  file: File, match: Match, hub: HubConfig, family: str
) -> dict[str, Any]:
  """A model's fields by its file; {} for a file of another family."""
  guess = match.guess
  if match.naming.family != family:
    return {}
  if 'heads' in guess.assumed:
    raise InputError(
      f'got {file.path}, of which nothing tells the heads of its attention: '
      f'its size is no published one; expected to be told; try heads=NUMBER, '
      'or a recipe'
    )
  fields = models.fields(family)
  from_hub = {k: v for k, v in hub.trained.items() if k in fields}
  return {**match.guess.model, **from_hub}


def _load_own(
  file: File,
  match: Match,
  family: str,
  model: Any,
  video: Shape,
  head: Head,
  same_names: bool,
  report: KeyReport,
) -> tuple[Any, dict[str, Any], str]:
  """The model, its variables from a file of its own family, and a reason.

  A field of the model may follow the file's tables. The reason is why the
  file's head is not taken, '' if it is. `same_names` says whether the file's
  classes have the names of the model's, as far as both are known.
  """
  guess, naming = match.guess, match.naming
  theirs, ours = guess.classes, model.classes
  if head == 'keep' and theirs != ours:
    raise InputError(
      f'got head=keep, and the head of {file.path} has {theirs} answers and '
      f'the model {ours}; expected as many; try a data set of its classes, or '
      'head=new'
    )
  why, random = '', []
  if head == 'new':
    why = 'a new head was asked for'
  elif theirs != ours:
    why = f'the file has {theirs} classes, not {ours}'
    why = why if theirs else 'the file has none'
  elif head == 'auto' and not same_names:
    why = "the names of the file's classes are others"
  model = naming.adapt(model, guess)
  rules = naming.rules(model)
  if why:
    pattern = identify.head_pattern(family)
    rules = [
      key_rules.drop(rule.keys[0], why)
      if rule.paths and re.search(pattern, rule.paths[0])
      else rule
      for rule in rules
    ]
    random = [(pattern, why)]
  random += naming.random
  variables = apply.load_variables(
    rules,
    match.unwrapped.tensors,
    model,
    video=video if naming.could_be_for(guess, video) else guess.clip,
    random=random,
    report=report,
  )
  return model, variables, why


def _load_image(
  file: File,
  match: Match,
  family: str,
  model: Any,
  video: Shape,
  head: Head,
  same_names: bool,
  report: KeyReport,
) -> tuple[Any, dict[str, Any], str]:
  """As `_load_own`, from the file of an image model."""
  guess, image = match.guess, match.naming.family
  del same_names  # an image's classes are never taken
  if head == 'keep':
    raise InputError(
      f'got head=keep with {file.path}, an image {image}, whose classes are '
      'not those of videos; expected auto or new; leave it out'
    )
  # Fields that shapes do not tell are taken from the video model.
  fields = {
    name: getattr(model, name, value) if name in guess.assumed else value
    for name, value in guess.model.items()
  }
  theirs = models.build(image, classes=guess.classes or 1, **fields)
  from_file, to_video = KeyReport(), KeyReport()
  no_head = (identify.head_pattern(image), 'not in the file')
  image_variables = apply.load_variables(
    match.naming.rules(theirs),
    match.unwrapped.tensors,
    theirs,
    video=guess.clip,
    random=[] if guess.classes else [no_head],
    report=from_file,
  )
  start = identify.image_sources(family)[image]
  variables = start(image_variables, theirs, model, video, to_video)
  report.dropped.update(from_file.dropped)
  for key, paths in from_file.used.items():
    # The video model may have no use for what the image model took.
    reasons = [to_video.dropped.get(path) for path in paths]
    if all(reasons):
      report.dropped[key] = str(reasons[0])
    else:
      report.used[key] = paths
  report.random.update(to_video.random)
  report.changed.update(to_video.changed)
  return model, variables, 'the classes of images'


def _resize_tables(
  variables: Mapping[str, Any],
  target: Mapping[str, Any],
  family: str,
  model: Any,
  positions: position.Resize | Literal[''],
  report: KeyReport,
) -> dict[str, Any]:
  """Variables with every position table resized to fit, but its class rows.

  By the method `positions`, or that of the model itself if it is ''.
  """
  fitted: position.Resize = getattr(model, 'pos_resize', 'bilinear')
  method = positions or fitted
  shapes = apply.flatten_variables(target)
  ours = apply.flatten_variables(variables)
  for path, array in ours.items():
    shape = shapes[path].shape
    if array.shape == shape:
      continue
    if not path.endswith('/table') or len(array.shape) != len(shape):
      raise InputError(
        f'got {path} with shape {list(array.shape)}; expected {list(shape)}, '
        "the model's: only position tables are resized; try a model of the "
        "file's size"
      )
    rows = identify.class_rows(family, model, path)
    if len(shape) == 3 and not rows:
      table = position.fit_grid(jnp.float32(array), shape[0], shape[1], method)
    else:
      rows = rows or (0,) * (len(shape) - 1)
      sizes = tuple(n - first for n, first in zip(shape, rows, strict=False))
      table = position.fit_axes(jnp.float32(array), sizes, method, rows)
    ours[path] = np.asarray(table)
    report.changed[path] = (
      f'{list(array.shape)} resized to {list(shape)} by {method}'
    )
  return apply.unflatten_variables(ours)
