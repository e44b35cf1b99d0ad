"""Any row at a laptop's size: one rule for every family and every table.

  config = tiny.shrink(recipe.of_row(row), kept=tiny.chosen(row))

The rule was fixed before any result was seen:

  pixels    64 for every 224 of the recipe, at least 64; what a model counts in
            tokens of its grid (windows, pooled grids) shrinks with them
  frames    half as many, from 4 to 8, which span 16 frames of a video; of
            VidTr 8, which it halves three times where it pools
  width     a quarter of the heads, rounded up, of 16 units each; without heads
            an eighth of the width
  depth     a third of the layers, rounded up, of VidTr half, which pools in
            up to three of them; in a stage, whole rounds of its pattern; layers
            that are named, such as those that pool, move along
  training  AdamW, as every family of these sizes learns with it, for STEPS
            steps of BATCH clips; no dropout, no drop path, no augmentation but
            the crop, no mixing
  views     one clip, the middle crop, unless a row is about its views
  start     random weights, drawn for training from scratch; a row that starts
            from another row's run still does

What a row itself changes stays, unless it is one of these sizes: a row about
mixup mixes, one about frozen layers freezes.
"""

import dataclasses
import math
from collections.abc import Collection, Mapping
from typing import Any

from vidmodels import config as cfg
from vidmodels import models
from vidmodels.analysis.paper_rows import Row

STEPS, BATCH, RATE = 600, 32, 7e-4
CLIPS = {'train': 4000, 'test': 640}  # of every made-up set
SIDE, FULL_SIDE = 64, 224  # pixels
SPAN = 16  # frames of a video that a clip spans; the shortest video has 16
MOST = 8  # frames of a clip
FEWEST = {'vidtr': 8}  # frames of a clip
DEPTH = {'vidtr': 2}  # what layers are divided by
HEAD = 16  # units of a head
# Fields of models that the rule sets; a row's own value of them shrinks too.
OFF = {'drop_path': 0.0, 'dropout': 0.0, 'head_dropout': 0.0}
# Fields that the rule sets for every row: one optimiser and one length.
RULED = (
  *('name', 'lr', 'lr_batch', 'epochs', 'steps', 'schedule', 'warmup'),
  *('warmup_lr', 'warmup_to', 'final_lr', 'rate_by', 'late', 'milestones'),
  *('factors', 'weight_decay', 'decay', 'decays', 'momentum', 'nesterov'),
  *('b1', 'b2', 'eps', 'clip_norm'),
  *('ema', 'short_side', 'zoom'),
)


def chosen(row: Row) -> frozenset[str]:
  """The fields that a row is about: what it overrides, and what it compares.

  Views that all rows of a table have, such as 10 x 3, are not among them.
  """
  changed = (name for name in row.overrides if not name.startswith('views.'))
  return frozenset(changed) | frozenset(row.differs_in)


def shrink(
  full: cfg.Config,
  *,
  kept: Collection[str] = (),
  steps: int = STEPS,
  random: bool = True,
) -> cfg.Config:
  """The recipe at tiny scale.

  `kept` are the fields that the row is about. `random` says that it starts from
  random weights: what a run adds to another run's weights starts as the recipe
  has it.
  """
  sides = max(1, round(full.clip.size / FULL_SIDE))
  T = min(max(full.clip.frames // 2, FEWEST.get(full.family, 4)), MOST)
  size = SIDE * sides
  clip = cfg.Clip(
    frames=T, size=size, sampling='dense', stride=max(1.0, SPAN / T)
  )
  ratio = (T / full.clip.frames, size / full.clip.size)
  model = shrink_model(full.family, full.model, ratio, clip, kept)
  if random and 'fresh' in model:
    model['fresh'] = 'scratch'
  small = dataclasses.replace(
    full,
    model=model,
    init_from='',
    init_head='auto',
    init_positions='',
    init_expects='',
    init_files='',
    data=dataclasses.replace(full.data, train='train', test='test', threads=1),
    clip=clip,
    augment=_keep(
      cfg.Augment(short_side=(size, size * 9 // 8), flip=0.0),
      full.augment,
      'augment',
      kept,
    ),
    views=cfg.Views(
      temporal=full.views.temporal if 'views.temporal' in kept else 1,
      spatial=full.views.spatial if 'views.spatial' in kept else 1,
      # The made-up sets have one label a video, which 'max' is not for.
      average='probs' if full.views.average == 'max' else full.views.average,
      batch=BATCH,
    ),
    optim=_keep(
      cfg.Optim(
        name='adamw',
        lr=RATE,
        steps=steps,
        schedule='cosine',
        warmup=steps // 20,
        b2=0.98,
        weight_decay=0.05,
        decays=(('bias|scale|pos|class_token', 0.0),),
        clip_norm=1.0,
      ),
      full.optim,
      'optim',
      kept,
    ),
    loss=_keep(cfg.Loss(), full.loss, 'loss', kept),
    mix=_keep(cfg.Mix(), full.mix, 'mix', kept),
    mesh=cfg.Mesh(),
    checkpoint=cfg.Checkpoint(every=max(1, steps // 2)),
    log=cfg.Log(every=max(1, steps // 10)),
    batch=BATCH,
    accumulate=1,
    dtype='float32',
  )
  # Once more through the check that every recipe passes.
  return cfg.check(cfg.as_dict(small))


def _keep(section: Any, full: Any, name: str, kept: Collection[str]) -> Any:
  """The tiny section with the fields that the row is about."""
  fields = {
    field.name: getattr(full, field.name)
    for field in dataclasses.fields(section)
    if f'{name}.{field.name}' in kept and field.name not in RULED
  }
  return dataclasses.replace(section, **fields)


def shrink_model(
  family: str,
  model: Mapping[str, Any],
  ratio: tuple[float, float],
  clip: cfg.Clip,
  kept: Collection[str] = (),
) -> dict[str, Any]:
  """The model's fields at tiny scale.

  `ratio` is that of frames and of pixels, ours over the recipe's.
  """
  small = dict(model)
  known = models.fields(family)
  small |= {
    name: value
    for name, value in OFF.items()
    if name in known and f'model.{name}' not in kept
  }
  if 'groups' in known:
    small['groups'] = ()  # the made-up sets have one label a video
  if 'widths' in model:
    small |= _pyramid(model)
  elif 'heads' in model:
    small['heads'] = math.ceil(model['heads'] / 4)
    small['width'] = HEAD * small['heads']
    small |= _plain_depth(model, DEPTH.get(family, 3))
  else:
    small['width'] = model['width'] // 8
    if 'layers' in model:
      small['layers'] = tuple(_third(n) for n in model['layers'])
    if 'reach' in model:
      small['reach'] = tuple(
        stage[: _third(len(stage))] for stage in model['reach']
      )
  kinds = ''.join(model.get('patterns', ()))  # L reads windows, G the others
  for name in ('windows', 'fine', 'coarse', 'coarser'):
    read = ('L' if name == 'windows' else 'G') in kinds
    if read and 'built' in model and model.get(name):
      small[name] = _shrink_grids(model[name], ratio)
  if 'built' in model:
    small['built'] = (clip.frames, clip.size, clip.size)
  for name in ('segment', 'time_rows'):  # frames
    if model.get(name):
      small[name] = max(1, round(model[name] * ratio[0]))
  for name in ('pool_drop', 'pool_keep'):  # frames, of each layer that pools
    if model.get(name):
      small[name] = tuple(max(1, round(n * ratio[0])) for n in model[name])
  return small


def _third(layers: int) -> int:
  return math.ceil(layers / 3)


def _pyramid(model: Mapping[str, Any]) -> dict[str, Any]:
  """Widths, heads and layers of a pyramid with attention."""
  heads = tuple(math.ceil(n / 4) for n in model['heads'])
  patterns = model.get('patterns', ('LG',) * len(heads))
  return {
    'heads': heads,
    'widths': tuple(HEAD * n for n in heads),
    'layers': tuple(
      len(pattern) * math.ceil(n / 3 / len(pattern))
      for n, pattern in zip(model['layers'], patterns, strict=True)
    ),
  }


def _plain_depth(model: Mapping[str, Any], parts: int) -> dict[str, Any]:
  """Layers of a plain transformer, and fields that name some of them."""
  layers = math.ceil(model['layers'] / parts)
  small: dict[str, Any] = {'layers': layers}
  if pools := model.get('pool_layers'):
    # Counted from 0; in their order, one layer each.
    moved = [n // parts for n in pools]
    for i in range(1, len(moved)):
      moved[i] = max(moved[i], moved[i - 1] + 1)
    small['pool_layers'] = tuple(moved)
  if model.get('joint_from'):
    after_pool = small.get('pool_layers', (0,))[-1] + 1
    small['joint_from'] = max(1, model['joint_from'] // parts, after_pool)
  if isinstance(model.get('mix_layers'), int):
    small['mix_layers'] = math.ceil(model['mix_layers'] / parts)
  return small


def _shrink_grids(grids: Any, ratio: tuple[float, float]) -> Any:
  """(frames, rows, columns), or tuples of them, with both ratios."""
  if grids and not isinstance(grids[0], (tuple, list)):
    T, *sides = grids
    return (
      max(1, round(T * ratio[0])),
      *(max(1, round(side * ratio[1])) for side in sides),
    )
  return tuple(_shrink_grids(each, ratio) for each in grids)
