"""What a user should know before a run is trained, a line each.

  for line in start_notes(run, records): print(line)

None of it is an error: a run may start at random, look at small crops, or at
clips that repeat frames. All of it has cost somebody a day.
"""

import statistics

import jax

from vidmodels import config as cfg
from vidmodels.data.records.record_set import RecordSet
from vidmodels.data.sampling import short_videos
from vidmodels.train.build import TrainingRun

# Of the picture, in training; recipes of the papers see a third and more.
LEAST_SEEN = 0.2


def start_notes(run: TrainingRun, records: RecordSet) -> list[str]:
  """The lines for a run that starts from step 0."""
  lines = (
    _random_start(run),
    small_crops(run.config),
    short_videos.describe(records, run.config.clip),
  )
  return [line for line in lines if line]


def _random_start(run: TrainingRun) -> str:
  """What starts at random without init_from, and what the recipe expects."""
  config = run.config
  if config.init_from:
    return ''
  count = sum(leaf.size for leaf in jax.tree.leaves(run.abstract.params))
  text = (
    f'no init_from: all {count / 1e6:.2f} M parameters of this '
    f'{config.family} start at random'
  )
  if not config.init_expects:
    return text
  files = f', such as {config.init_files}' if config.init_files else ''
  return (
    f'{text}, and this recipe is made for a start from {config.init_expects} '
    f'weights: expect far less than with them; try --config.init_from=FILE'
    f'{files} (docs/weights.md lists what can be read)'
  )


def small_crops(config: cfg.Config) -> str:
  """Says that training sees little of the picture; '' if it sees enough."""
  augment, size = config.augment, config.clip.size
  seen = seen_share(config)
  if seen >= LEAST_SEEN:
    return ''
  text = f'training sees {max(seen, 0.0001):.2%} of a square picture on average'
  if augment.crop != 'square':
    return (
      f'{text} and less of a wide one; try a larger augment.area or '
      'augment.scales'
    )
  low, high = augment.short_side
  sides = tuple(round(side * size / 224) for side in (256, 320))
  return (
    f'{text}: crops of {size} x {size} pixels from a short side of {low} to '
    f'{high}, while tests see all of it; try '
    f"'--config.augment.short_side={sides}'"
  )


def seen_share(config: cfg.Config) -> float:
  """The mean share of a square picture that a crop of training shows."""
  augment = config.augment
  if augment.crop == 'area':
    return statistics.fmean(augment.area)
  if augment.crop == 'multi_scale':
    return statistics.fmean(scale**2 for scale in augment.scales)
  side = statistics.fmean(augment.short_side) * statistics.fmean(augment.zoom)
  return min(1.0, (config.clip.size / side) ** 2)
