"""FocalNet's files: Microsoft's, the HF hub's and timm's."""

import functools

from vidmodels.weights import focalnet_weights
from vidmodels.weights._focal_fields import agree, fields_of, shape
from vidmodels.weights._focal_names import NAMES, Naming
from vidmodels.weights.mapping.identify import IMAGENET, Guess, Specs
from vidmodels.weights.mapping.identify import Naming as Known

# Published sizes by blocks and width.
PUBLISHED = {
  ((2, 2, 6, 2), 96): 'tiny',
  ((2, 2, 18, 2), 96): 'small',
  ((2, 2, 18, 2), 128): 'base',
}
F = 'layers.0.blocks.{i}.modulation.f.weight'
F_TEMPORAL = 'layers.0.blocks.{i}.modulation.f_temporal.weight'


def guess(naming: Naming, specs: Specs) -> Guess:
  """What keys and shapes tell of a model.

  Whether norms come last is told in timm's names alone. In the others it is
  taken from layer scale: published models have both or neither.
  """
  names, model = NAMES[naming], fields_of(naming, specs)
  assumed = () if 'post_norm' in model else ('post_norm',)
  bias = f'{names.head}.bias'
  return Guess(
    model={'post_norm': model['layer_scale'], **model},
    assumed=assumed,
    clip=(1, 224, 224, shape(specs, f'{names.patch}.weight')[1]),
    classes=shape(specs, bias)[0] if bias in specs else 0,
    size=PUBLISHED.get((model['layers'], model['width']), ''),
  )


def adapt(model, found: Guess):
  """The model, if the file is for one like it.

  Raises:
    InputError: naming every field that differs, with both values.
  """
  known = {k: v for k, v in found.model.items() if k not in found.assumed}
  agree(known, model)
  return model


def _rules(naming: Naming, model):
  return focalnet_weights.rules(
    model.levels, naming=naming, post_norm=model.post_norm
  )


def _known(
  naming: Naming, *has: str, lacks: tuple[str, ...] = (), under: str = ''
) -> Known:
  return Known(
    family='focalnet',
    name=naming,
    has=(f'{NAMES[naming].patch}.weight', *has),
    lacks=lacks,
    guess=functools.partial(guess, naming),
    rules=functools.partial(_rules, naming),
    pixels=IMAGENET,
    trained={'activation': 'gelu', 'epsilon': 1e-5},
    adapt=adapt,
    under=under,
  )


NAMINGS = (
  _known('microsoft', F, lacks=(F_TEMPORAL,), under='model'),
  _known('hf'),
  _known('timm', F),
)
