"""Fields of a recipe that contradict each other, or that nothing would read."""

import dataclasses
import re
import typing
from collections.abc import Iterator, Sequence
from typing import Any

from vidmodels.typing import InputError

if typing.TYPE_CHECKING:
  from vidmodels.config import Config


# What each rule of `clip.sampling` reads besides `frames`.
SAMPLING = {
  'dense': ('stride', 'unit', 'short'),
  'segment': (),
  'pyslowfast': ('stride', 'fps'),
  'pyslowfast_segment': (),
  'mmaction': ('stride',),
  'mmaction_segment': ('stride',),
  'vidtr': ('stride',),
  'dmvr': ('stride',),
  'uniform': ('stride', 'fps'),
}
# Rules whose stride is whole frames.
WHOLE_STRIDES = ('mmaction', 'mmaction_segment', 'vidtr', 'dmvr')
# Rules that have only so many views over time.
MOST_VIEWS = {'pyslowfast_segment': 3}


def check(config: 'Config') -> None:
  """Refuses contradictions and fields without effect.

  Raises:
    InputError: naming the fields, what they are and what was wanted.
  """
  for holds, message in (
    *_schedule(config),
    *_shapes(config),
    *_sampling(config),
    *_augment(config),
    *_mixing(config),
  ):
    if not holds:
      raise InputError(message)
  _check_read(config)


def _schedule(config: 'Config') -> tuple[tuple[bool, str], ...]:
  """What must hold of the optimiser, each with what to say if it does not."""
  optim = config.optim
  has_steps = bool(optim.milestones or optim.factors)
  return (
    (
      bool(optim.epochs) != bool(optim.steps),
      f'optim has epochs={optim.epochs} and steps={optim.steps}; set one',
    ),
    (
      (optim.schedule == 'step') == has_steps,
      f'optim.schedule is {optim.schedule!r} with milestones '
      f'{optim.milestones}; milestones and factors belong to "step" alone',
    ),
    (
      len(optim.milestones) == len(optim.factors),
      'optim.milestones and optim.factors must have one value each per drop',
    ),
    (
      _compiles(optim.decay_skip),
      f'optim.decay_skip {optim.decay_skip!r} is no regular expression',
    ),
  )


def _shapes(config: 'Config') -> tuple[tuple[bool, str], ...]:
  """What must hold of data, clips, batches and meshes."""
  clip, sizes = config.clip, dataclasses.astuple(config.mesh)
  return (
    (config.data.dir, 'data.dir is empty; give the folder that prepare wrote'),
    (
      config.init_from
      or (config.init_head, config.init_positions) == ('auto', ''),
      f'init_head={config.init_head!r} and init_positions='
      f'{config.init_positions!r} say how a file is read and init_from names '
      'none; give it, or leave both at their defaults',
    ),
    (
      config.batch % config.accumulate == 0,
      f'batch {config.batch} does not divide into '
      f'accumulate={config.accumulate} equal microbatches',
    ),
    (
      len(config.data.mean) == len(config.data.std) == 3
      and min(config.data.std) > 0,
      f'data.mean {config.data.mean} and data.std {config.data.std} need three '
      'values each, std above 0',
    ),
    (
      all(s == -1 or s >= 1 for s in sizes) and sizes.count(-1) <= 1,
      f'mesh is {sizes}; wanted sizes of at least 1, at most one of them -1',
    ),
    (
      config.views.short_side in (0, *range(clip.size, 1 << 16)),
      f'views.short_side {config.views.short_side} is under the crop of '
      f'{clip.size} pixels; give at least that, or 0 for the crop itself',
    ),
  )


def _mixing(config: 'Config') -> tuple[tuple[bool, str], ...]:
  """What must hold of mixup and cutmix: no alpha that is never drawn with."""
  mix = config.mix
  alphas = f'mix.mixup={mix.mixup} and mix.cutmix={mix.cutmix}'
  on, both = mix.mixup or mix.cutmix, mix.mixup and mix.cutmix
  return (
    (
      not on or mix.prob > 0,
      f'mix.prob is 0 with {alphas}: nothing is ever mixed; give a chance '
      'above 0, or 0 for both alphas',
    ),
    (
      not both or 0 < mix.switch < 1,
      f'mix.switch is {mix.switch} with {alphas}: one of them is never drawn; '
      'give a chance between 0 and 1, or 0 for that alpha',
    ),
    (
      not on or config.batch > 1,
      f'batch is 1 with {alphas}: a clip has no other to be mixed with; give a '
      'batch of at least 2',
    ),
  )


def _augment(config: 'Config') -> tuple[tuple[bool, str], ...]:
  """What must hold of the augmentation."""
  augment, size = config.augment, config.clip.size
  low, high = augment.short_side
  return (
    (
      augment.crop != 'square' or size <= low <= high,
      f'augment.short_side is {(low, high)} with crops of {size} pixels; '
      f'wanted clip.size <= low <= high, or the crop is larger than the frame',
    ),
    (
      augment.crop == 'square' or 1 <= low <= high or low == high == 0,
      f'augment.short_side is {(low, high)}; wanted 1 <= low <= high, or '
      '(0, 0) for frames as they are stored',
    ),
    (
      augment.zoom[0] >= 1,
      f'augment.zoom is {augment.zoom}; wanted factors of at least 1, or the '
      'crop is larger than the frame; lower augment.short_side instead',
    ),
    (
      bool(augment.scales),
      'augment.scales is empty; give shares of the short side, largest first',
    ),
    (
      not (augment.auto and augment.rand_n),
      f'augment.auto={augment.auto} and augment.rand_n={augment.rand_n} are '
      'two policies; leave one of them out',
    ),
    (
      not augment.jitter
      or any(
        (augment.brightness, augment.contrast, augment.saturation, augment.hue)
      ),
      'augment.jitter is set and brightness, contrast, saturation and hue are '
      'all 0; set one of them, or augment.jitter=0',
    ),
    (
      config.batch % augment.repeats == 0,
      f'batch {config.batch} does not divide into examples of '
      f'augment.repeats={augment.repeats} clips each; make it a multiple',
    ),
  )


def _read_of_augment(augment: Any) -> tuple[tuple[str, bool, str], ...]:
  """Fields, whether something reads them, and what would."""
  policy = bool(augment.auto or augment.rand_n)
  jitter = 'jitter_each brightness contrast saturation hue'
  erase = 'erase_area erase_aspect erase_count erase_with'
  return (
    (
      'short_draw',
      augment.short_side[0] < augment.short_side[1],
      'two ends of augment.short_side',
    ),
    ('zoom', augment.crop == 'square', 'augment.crop=square'),
    ('area aspect', augment.crop == 'area', 'augment.crop=area'),
    (
      'scales scale_gap places',
      augment.crop == 'multi_scale',
      'augment.crop=multi_scale',
    ),
    (
      'rand_m rand_mstd rand_inc rand_p',
      augment.rand_n > 0,
      'augment.rand_n above 0',
    ),
    ('policy_on', policy, 'augment.auto or augment.rand_n'),
    (jitter, augment.jitter > 0, 'augment.jitter above 0'),
    (erase, augment.erase > 0, 'augment.erase above 0'),
  )


def _check_read(config: 'Config') -> None:
  """Refuses fields that another field makes idle."""
  optim, clip, mix = config.optim, config.clip, config.mix
  for section, fields, read, reason in (
    ('optim', 'momentum nesterov', optim.name == 'sgd', 'optim.name=sgd'),
    ('optim', 'b1 b2 eps', optim.name == 'adamw', 'optim.name=adamw'),
    ('optim', 'final_lr', optim.schedule == 'cosine', 'optim.schedule=cosine'),
    ('optim', 'warmup_lr', optim.warmup > 0, 'optim.warmup above 0'),
    (
      'optim',
      'decay_skip',
      optim.weight_decay > 0,
      'optim.weight_decay above 0',
    ),
    *_unsampled(clip.sampling),
    ('loss', 'token_share', bool(config.loss.teacher), 'loss.teacher'),
    *(('augment', *rule) for rule in _read_of_augment(config.augment)),
    ('mix', 'prob', mix.mixup or mix.cutmix, 'mix.mixup or mix.cutmix'),
    ('mix', 'switch', mix.mixup and mix.cutmix, 'both alphas above 0'),
  ):
    if not read:
      _refuse_unread(section, getattr(config, section), fields.split(), reason)


def _sampling(config: 'Config') -> tuple[tuple[bool, str], ...]:
  """What must hold of the rule that chooses frames."""
  clip, rule = config.clip, f'clip.sampling={config.clip.sampling}'
  most = MOST_VIEWS.get(clip.sampling)
  return (
    (
      clip.sampling not in WHOLE_STRIDES or clip.stride == int(clip.stride),
      f'clip.stride is {clip.stride} with {rule}, which counts whole frames; '
      'round it, or set clip.sampling=dense',
    ),
    (
      config.views.temporal <= (most or config.views.temporal),
      f'views.temporal is {config.views.temporal} with {rule}, which has '
      f'{most} views over time; give at most {most}, or set '
      'clip.sampling=segment',
    ),
  )


def _unsampled(sampling: str) -> Iterator[tuple[str, str, bool, str]]:
  """The fields of a clip that its sampling rule does not read."""
  for field in ('stride', 'unit', 'fps', 'short'):
    rules = [rule for rule, fields in SAMPLING.items() if field in fields]
    if sampling not in rules:
      yield 'clip', field, False, f'clip.sampling={" or ".join(rules)}'


def _compiles(regex: str) -> bool:
  try:
    re.compile(regex)
  except re.error:
    return False
  return True


def _refuse_unread(
  section: str, values: Any, fields: Sequence[str], reason: str
) -> None:
  """A field that nothing reads must not be set: its author expects effect."""
  for name in fields:
    value = getattr(values, name)
    if value != getattr(type(values)(), name):
      raise InputError(
        f'{section}.{name} is {value!r} and nothing reads it without {reason}; '
        'leave it at its default'
      )
