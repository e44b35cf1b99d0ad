"""Any recipe at a size that a test can train, with what makes it different.

A family's TINY replaces the sizes of a recipe's model; everything else that the
recipe sets stays. Where the two contradict each other (a list of layers that
pool, in a model of two layers), the family's own VARIANTS are asked: the likest
whose sizes are legal gives them. A new family needs nothing here.
"""

import dataclasses
import json
from typing import Any

import jax
import jax.numpy as jnp

from vidmodels import config as cfg
from vidmodels import models
from vidmodels.cli import recipe
from vidmodels.typing import InputError

SHARDS = 2  # devices that split a batch
CLASSES = 5


def published() -> list[str]:
  """Every recipe there is, each with every variant that it lists."""
  return [name for r in recipe.names() for name in recipe.published(r)]


def config(name: str) -> cfg.Config:
  """The recipe `name`, small."""
  return small(recipe.load(name))


def small(full: cfg.Config) -> cfg.Config:
  """A recipe with a model, clips and batches of the smallest size."""
  T, *sizes = models.find(full.family).TINY_CLIP
  size = max(sizes)
  clip = dataclasses.replace(full.clip, frames=T, size=size)
  accumulate = min(full.accumulate, 2)
  return dataclasses.replace(
    full,
    model=fields(full.family, full.model, T, size),
    init_from='',  # no file is here
    clip=clip,
    augment=dataclasses.replace(full.augment, short_side=(size, size)),
    views=dataclasses.replace(full.views, size=0, short_side=0, batch=SHARDS),
    loss=dataclasses.replace(full.loss, teacher=''),
    optim=dataclasses.replace(full.optim, lr_batch=0),
    mesh=cfg.Mesh(data=1, fsdp=SHARDS),
    batch=2 * SHARDS * accumulate,
    accumulate=accumulate,
  )


def fields(family: str, asked: dict[str, Any], T: int, size: int) -> dict:
  """The recipe's model fields at TINY's sizes.

  Raises:
    AssertionError: if no sizes that the family lists are legal.
  """
  module, refusals = models.find(family), []
  for sizes in candidates(family, asked):
    chosen = {**asked, **module.TINY, **sizes}
    try:
      shapes(family, chosen, (T, size, size))
    except InputError as error:
      refusals.append(f'{sizes}: {error}')
    else:
      return chosen
  said = '\n  '.join(refusals)
  raise AssertionError(
    f'no size of {family} is legal for the fields of this recipe:\n  {said}\n'
    f'give VARIANTS of {module.__name__} one whose sizes are'
  )


def candidates(family: str, asked: dict[str, Any]) -> list[dict]:
  """Sizes to lay over TINY: none, then those of VARIANTS, the likest first.

  What the recipe chooses stays as it is; a size counts if TINY has it or the
  recipe sets it.
  """
  module, defaults = models.find(family), models.fields(family)
  ours = {n for n in asked if n in module.TINY or asked[n] != defaults[n]}
  found = []
  for variant in getattr(module, 'VARIANTS', ()):
    sizes = {n: v for n, v in variant.items() if n in ours and is_size(v)}
    unlike = sum(asked[n] != v for n, v in variant.items() if not is_size(v))
    if sizes:
      found.append((unlike, len(found), sizes))
  return [{}, *(sizes for _, _, sizes in sorted(found, key=lambda f: f[:2]))]


def is_size(value: Any) -> bool:
  """Whether a field says how much, and not which."""
  if isinstance(value, (tuple, list)):
    return all(is_size(v) for v in value)
  return isinstance(value, int) and not isinstance(value, bool)


def shapes(family: str, model_fields: dict, clip: tuple[int, ...]):
  """The variables of a model as shapes."""
  model = models.build(family, classes=CLASSES, **model_fields)
  video = jax.ShapeDtypeStruct((1, *clip, 3), jnp.float32)
  return jax.eval_shape(model.init, jax.random.key(0), video)


def program(config: cfg.Config) -> str:
  """What recipes must share to train alike: numbers are told as 0 or not."""
  tree = cfg.as_dict(config)
  for section in ('data', 'augment', 'views', 'checkpoint', 'log', 'seed'):
    del tree[section]
  for name in ('init_expects', 'init_files'):  # text about files
    del tree[name]
  for name in ('stride', 'unit', 'fps', 'sampling', 'short'):
    del tree['clip'][name]
  for name in ('epochs', 'milestones', 'factors', 'warmup', 'warmup_lr'):
    del tree['optim'][name]
  rounded = {
    name: bool(value) if isinstance(value, float) else value
    for name, value in cfg.flatten(tree).items()
  }
  return json.dumps(rounded, sort_keys=True)
