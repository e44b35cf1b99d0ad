"""Sets fields of a recipe from the command line, and what follows from them.

  overrides.apply(recipe, ['--config.clip.size=112', '--config.batch=8'])

A field that the command line names has that value. Some fields take others
along, as far as those are not named themselves:

  clip.size     `augment.short_side`, `views.size` and `views.short_side` grow
                or shrink with it: crops of 112 out of a short side made for
                224 would show a quarter of what they should
  optim.steps,  the other of the two becomes 0; warm-up and milestones keep
  optim.epochs  their share of the run. Given steps also bound
                `checkpoint.every` and `log.validate` by a quarter of them,
                `log.every` by a tenth, and the rate goes by update
  optim.decay   another word than 'as_released' takes the place of the recipe's
                `decays`
"""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from vidmodels import config as cfg
from vidmodels.typing import InputError

SAVES, LINES = 4, 10  # of a run whose steps are given, at least


def apply(recipe: Any, flags: Sequence[str]) -> None:
  """Changes the ConfigDict; `flags` are '--config.batch=64' and the like."""
  before = cfg.flatten(recipe.to_dict())
  named = {_set_field(recipe, flag) for flag in flags}
  _follow_size(recipe, before, named)
  _follow_length(recipe, before, named)
  if recipe.optim.decay != 'as_released' and 'optim.decays' not in named:
    recipe.optim.decays = ()


def change(recipe: Any, values: Mapping[str, Any]) -> None:
  """Changes the ConfigDict as `apply` does; `values` as {'batch': 64}."""
  before = cfg.flatten(recipe.to_dict())
  for field, value in values.items():
    if field not in before:
      raise InputError(cfg.unknown_field(field, list(before)))
    *sections, name = field.split('.')
    section = recipe
    for each in sections:
      section = section[each]
    # A field that may be None, or a tuple of any length, changes its type.
    with section.ignore_type():
      section[name] = value
  _follow_size(recipe, before, values)
  _follow_length(recipe, before, values)


def _set_field(recipe: Any, flag: str) -> str:
  """Sets one field, parsed by absl's flags by its type; returns its name."""
  from absl import flags
  from ml_collections import config_flags

  field = flag.removeprefix('--config.').partition('=')[0]
  fields = cfg.flatten(recipe.to_dict())
  if field not in fields:
    inside = [f for f in fields if f.startswith(f'{field}.')]
    if inside:
      raise InputError(
        f'got {flag}, but {field} is a section; expected one of its fields; '
        f'try {", ".join(inside)}'
      )
    section = field.partition('.')[0]
    siblings = [f for f in fields if f.partition('.')[0] == section]
    everywhere = list(fields)
    raise InputError(
      cfg.unknown_field(field, siblings or everywhere, everywhere)
    )
  kind = type(fields[field]).__name__
  argv, values = ['vidmodels', flag], flags.FlagValues()
  config_flags.DEFINE_config_dict(
    'config', recipe, flag_values=values, sys_argv=argv
  )
  try:
    values(argv)
  except (TypeError, ValueError, flags.Error) as error:
    raise InputError(
      f'got {flag}; expected --config.{field}= and a {kind}, such as '
      f'{fields[field]!r}, which it is now'
    ) from error
  return field


def _follow_size(
  recipe: Any, before: Mapping[str, Any], named: Collection[str]
) -> None:
  """Short sides keep their ratio to the crop; 0 stays what it is."""
  ratio = recipe.clip.size / before['clip.size']
  if ratio == 1:
    return
  if 'augment.short_side' not in named:
    recipe.augment.short_side = tuple(
      round(side * ratio) for side in before['augment.short_side']
    )
  if 'views.size' not in named:
    recipe.views.size = round(before['views.size'] * ratio)
  if 'views.short_side' not in named:
    recipe.views.short_side = round(before['views.short_side'] * ratio)


def _follow_length(
  recipe: Any, before: Mapping[str, Any], named: Collection[str]
) -> None:
  """Warm-up, milestones, saves and lines follow a new length of the run."""
  optim = recipe.optim
  given = [f for f in ('epochs', 'steps') if f'optim.{f}' in named and optim[f]]
  old = before['optim.epochs'] or before['optim.steps']
  if len(given) != 1 or not old:
    return  # both or none: `config.check` says what is wrong
  length = optim[given[0]]
  other = 'steps' if given == ['epochs'] else 'epochs'
  if f'optim.{other}' not in named:
    optim[other] = type(optim[other])(0)
  ratio = length / old
  if 'optim.warmup' not in named:
    optim.warmup = before['optim.warmup'] * ratio
  named_drops = {'optim.milestones', 'optim.factors', 'optim.schedule'}
  if not named_drops & set(named) and len(optim.milestones) == len(
    optim.factors
  ):
    _scale_milestones(optim, ratio, whole=given == ['steps'])
  if given == ['steps']:
    if 'optim.rate_by' not in named:
      optim.rate_by = 'update'  # such a run has no epochs
    for field, parts in (
      ('checkpoint.every', SAVES),
      ('log.validate', SAVES),
      ('log.every', LINES),
    ):
      if field not in named and before[field]:
        section, name = field.split('.')
        recipe[section][name] = min(before[field], max(1, length // parts))


def _scale_milestones(optim: Any, ratio: float, *, whole: bool) -> None:
  """Moves the milestones; those that a short run has no step for go.

  Counted in steps, two may fall on one step, where the later one's factor
  holds, or on step 0 or behind the last step. A run without any has a constant
  rate.
  """
  edges = [m * ratio for m in optim.milestones]
  if whole:
    pairs = zip(edges, optim.factors, strict=True)
    # The first step that a drop acts on, as float32, as the schedule counts.
    last = {math.ceil(np.float32(e)): (e, factor) for e, factor in pairs}
    kept = [last[step] for step in sorted(last) if 0 < step < optim.steps]
    if len(kept) < len(edges):
      edges = [edge for edge, _ in kept]
      optim.factors = tuple(factor for _, factor in kept)
      if not kept:
        optim.schedule = 'constant'
  optim.milestones = tuple(edges)
