"""The sections of a recipe: every field, its type, its range, its default.

A field that is not here does not exist. `config.py` puts the sections together
and checks each field by its type and range, then each section by its `check`,
then what concerns several sections.

Three sections are open to plug-ins. Their package knows the names that exist
and which fields each of them reads:

  clip     vidmodels.data.sampling.rules   check(clip, temporal views)
  augment  vidmodels.data.augment          check(augment, crop size)
  optim    vidmodels.train.optim           check(optim)
"""

import dataclasses
import importlib
import pkgutil
import types
from typing import Any, Literal

from vidmodels.typing import (
  BelowOne,
  Count,
  Extent,
  Factors,
  Fraction,
  Half,
  InputError,
  Level,
  NotNegative,
  Positive,
  PositiveFloat,
  Range,
  Seed,
  Share,
  Shares,
  UserPath,
)

# How frames are resized; `augment/crops.py` says what the words mean.
LongSide = Literal['floor', 'round', 'floor_double']
Resize = Literal['uint8', 'float']


def plugins(name: str) -> types.ModuleType:
  """A module of ours that knows plug-ins by name.

  Imported when it is asked: recipes come before data, models and train in the
  import order, and only a check needs the modules of all plug-ins.
  """
  return importlib.import_module(f'vidmodels.{name}')


def modules_with(package: str, attribute: str) -> dict[str, types.ModuleType]:
  """The modules of a package of ours that define `attribute`, sorted by name.

  This is how plug-ins are found: a new file is a new plug-in. Its name is the
  module's NAME or, without one, that of its file. Imports every module.
  """
  files = pkgutil.iter_modules(plugins(package).__path__)
  modules = [(file.name, plugins(f'{package}.{file.name}')) for file in files]
  named = {getattr(m, 'NAME', stem): m for stem, m in modules}
  return {k: m for k, m in sorted(named.items()) if hasattr(m, attribute)}


def refuse_unread(section: Any, names: str, condition: str) -> None:
  """Refuses fields of a section that nothing reads but that somebody set.

  `names` has spaces between them; `condition` is what would have to be set for
  them to be read.
  """
  defaults = type(section)()
  for name in names.split():
    value, default = getattr(section, name), getattr(defaults, name)
    if value != default:
      raise InputError(
        f'got {type(section).__name__.lower()}.{name}={value!r}; expected the '
        f'default {default!r}, as nothing reads it without {condition}; try '
        'leaving it out'
      )


def check_scale(field: str, scale: float) -> None:
  """Refuses a frame over its crop that is below 1, unless it is 0 for none."""
  if 0 < scale < 1:
    raise InputError(
      f'got {field}={scale}: the crop is larger than the frame; expected at '
      'least 1, as in 8/7, or 0'
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Data:
  """Where the records are and how they are read."""

  # folder that `vidmodels prepare` wrote, also in a store; required
  dir: UserPath = ''
  train: str = 'train'  # split names
  test: str = 'test'
  # Of the videos of each class, so many train, at least one; drawn by the seed
  # so that the videos of a share are among those of a larger one.
  share: Share = 1.0
  share_seed: Seed = 0
  # Whether classes come equally often, whatever their number of videos: every K
  # clips show each of K classes once. An epoch has as many clips as without.
  balance: bool = False
  mean: tuple[float, ...] = (0.45, 0.45, 0.45)  # of RGB scaled to 0..1
  std: tuple[float, ...] = (0.225, 0.225, 0.225)
  threads: Positive = 4  # clips decoded at once
  prefetch: Positive = 2  # batches made ahead

  def check(self) -> None:
    """Raises InputError without a folder, or without three colours."""
    if self.share == 1:
      refuse_unread(self, 'share_seed', 'data.share below 1')
    if not self.dir:
      raise InputError(
        "got data.dir=''; expected the folder that `vidmodels prepare` wrote; "
        'try --config.data.dir=FOLDER'
      )
    if not len(self.mean) == len(self.std) == 3 or min(self.std) <= 0:
      raise InputError(
        f'got data.mean={self.mean} and data.std={self.std}; expected three '
        'values each, std above 0'
      )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Clip:
  """Which frames make a clip, and how large the model sees them."""

  frames: Extent = 8
  sampling: str = 'dense'  # a rule of data/sampling
  stride: PositiveFloat = 1.0  # between sampled frames
  unit: Literal['frame', 'second'] = 'frame'  # of the stride
  fps: NotNegative = 0.0  # rate the stride counts at; 0: the video's own
  short: Literal['clamp', 'loop'] = 'clamp'  # past the end of a short video
  size: Extent = 224  # height and width of the crop, pixels


@dataclasses.dataclass(frozen=True, kw_only=True)
class Augment:
  """What training varies, drawn once a clip unless the field says otherwise."""

  # The crop; `augment/crops.py` has the three kinds.
  crop: Literal['square', 'area', 'multi_scale'] = 'square'
  # Of the frame it is cut from, pixels, both included. (0, 0): as stored, for
  # crops that are resized.
  short_side: tuple[int, int] = (256, 320)
  # How it is drawn; `augment/crops.py` has the three ways.
  short_draw: Literal['uniform', 'inverse', 'rounded'] = 'uniform'
  long_side: LongSide = 'floor'  # of a fraction of a pixel
  last_offset: bool = True  # square: may lie at the frame's far end
  resize: Resize = 'uint8'  # what pixels are while they are resized
  zoom: Range = (1.0, 1.0)  # square: and then by a factor, at least 1
  area: Shares = (0.08, 1.0)  # area: share of the frame
  aspect: Range = (3 / 4, 4 / 3)  # area: width over height
  scales: tuple[Share, ...] = (1.0, 0.875, 0.75, 0.66)  # multi_scale
  # multi_scale: how far apart the scales of height and width may stand.
  scale_gap: Count = 1
  places: Literal[5, 13] = 13  # multi_scale
  flip: Fraction = 0.5  # chance; the data set's flip policy decides if it may
  # A policy: AutoAugment's v0, or RandAugment of rand_n operations, with the
  # numbers of timm's 'rand-n2-m9-mstd0.5-inc1-p0.5'.
  auto: Literal['', 'v0'] = ''
  rand_n: Count = 0
  rand_m: Level = 9.0
  rand_mstd: NotNegative = 0.0
  rand_inc: bool = False
  rand_p: Fraction = 0.5
  policy_on: Literal['frame', 'crop'] = 'frame'
  # Colours: chance of a jitter, its strengths, chance of grey.
  jitter: Fraction = 0.0
  jitter_each: Literal['clip', 'frame'] = 'clip'
  brightness: NotNegative = 0.4
  contrast: NotNegative = 0.4
  saturation: NotNegative = 0.2
  hue: Half = 0.1  # share of the circle
  grey: Fraction = 0.0
  # Random erasing: chance, shares of the crop, height over width.
  erase: Fraction = 0.0
  erase_area: Shares = (0.02, 1 / 3)
  erase_aspect: Range = (0.3, 1 / 0.3)
  erase_count: Positive = 1  # boxes at most
  erase_with: Literal['mean', 'black', 'colour', 'noise'] = 'mean'
  # Each example so often in a row, with draws of its own; an epoch is as many
  # times longer.
  repeats: Positive = 1
  # Further augmentations, files of data/augment, with their fields:
  # {'blur': {'sigma': 1.0}}.
  extra: dict[str, Any] = dataclasses.field(default_factory=dict, hash=False)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Views:
  """The views of a video whose scores are averaged in evaluation."""

  temporal: Positive = 1
  spatial: Literal[1, 3] = 3
  # Edge of a crop in pixels; 0: `clip.size`. I3D is trained on 224 and tested
  # on 256 pixels.
  size: Count = 0
  short_side: Count = 0  # pixels; 0: the crop's size
  # The short side of a single crop's frames over the crop's, such as 8/7 for
  # 256 and 224; 0: `short_side` says it for any number of crops.
  centre_scale: NotNegative = 0.0
  long_side: LongSide = 'floor'  # of a fraction of a pixel
  resize: Resize = 'uint8'  # what pixels are while they are resized
  centre: Literal['ceil', 'floor'] = 'ceil'  # of a middle between two pixels
  average: Literal['logits', 'probs', 'max'] = 'logits'  # max: 'multi' only
  batch: Positive = 8  # views a step, over all devices

  def check(self) -> None:
    """Raises InputError for a frame that is smaller than its crop."""
    check_scale('views.centre_scale', self.centre_scale)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Optim:
  """Optimiser and schedule. Give `epochs` or `steps`, not both.

  `warmup` and `milestones` count in whichever of the two is given.
  """

  name: str = 'sgd'  # a file in train/optimizers/
  lr: PositiveFloat = 0.005  # peak
  lr_batch: Count = 0  # the rates are for this batch; 0: used as they are
  epochs: NotNegative = 0.0
  steps: Count = 0
  schedule: str = 'cosine'  # a file in train/schedules/, or its NAME
  warmup: NotNegative = 0.0
  warmup_lr: NotNegative = 0.0  # where the warm-up starts
  # Where it ends, and what then follows; `optim.make_schedule` has the three.
  warmup_to: Literal['schedule', 'peak', 'scaled'] = 'schedule'
  final_lr: NotNegative = 0.0  # where the cosine ends
  rate_by: Literal['update', 'epoch'] = 'update'  # when the schedule moves on
  late: float = 0.0  # updates by which the rate is late; below 0: early
  # Schedule 'step': from each of these on, lr times its factor of the peak.
  milestones: tuple[float, ...] = ()
  factors: tuple[float, ...] = ()
  # (regex, factor) pairs: the first whose regex a parameter's path contains
  # multiplies its rate.
  rates: Factors = ()
  # The rate of a block over that of the block behind it; `optim.layer_depths`
  # says which parameters lie how deep.
  layer_decay: Share = 1.0
  # What learns: all, or the head alone on features as in evaluation (a linear
  # probe).
  train: Literal['all', 'head'] = 'all'
  freeze: str = ''  # regex over the paths of parameters that do not learn
  weight_decay: NotNegative = 0.0
  # What decays: as `decays` says, or all, or all but biases and norms.
  decay: Literal['as_released', 'all', 'no_norm_bias'] = 'as_released'
  decays: Factors = ()  # (regex, factor) pairs, as `rates`, for the decay
  momentum: BelowOne = 0.9
  nesterov: bool = True
  b1: BelowOne = 0.9
  b2: BelowOne = 0.999
  eps: PositiveFloat = 1e-8
  clip_norm: NotNegative = 0.0  # global gradient norm; 0: off
  # With `accumulate`: the whole gradient once, or the sum so far after each
  # microbatch.
  clip_at: Literal['step', 'microbatch'] = 'step'
  ema: BelowOne = 0.0  # decay of the averaged weights a step; 0: off
  # A loss, gradient or update that is no number: ends the run ('stop'), or its
  # step changes nothing but the step number ('skip').
  non_finite: Literal['stop', 'skip'] = 'stop'
  max_skips: Positive = 10  # in a row; one more ends the run

  def check(self) -> None:
    """Raises InputError for an unknown name or fields that disagree."""
    plugins('train.optim').check(self)
    if self.non_finite == 'stop':
      refuse_unread(self, 'max_skips', "optim.non_finite='skip'")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Loss:
  """The training loss."""

  label_smoothing: Fraction = 0.0
  # What each class counts: all the same (''), or 'balanced', videos over
  # (classes * videos of the class), whose mean over the videos is 1.
  class_weights: Literal['', 'balanced'] = ''
  # Workdir of a trained model whose answer for every token is a label too.
  teacher: UserPath = ''
  token_share: Fraction = 0.5  # of the loss, for the teacher's labels

  def check(self) -> None:
    """Raises InputError for a share that no teacher uses."""
    if not self.teacher:
      refuse_unread(self, 'token_share', 'loss.teacher')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mix:
  """Clips of a batch mixed with each other, and their labels alike.

  The share that a clip keeps is drawn of Beta(alpha, alpha) once a step.
  """

  mixup: NotNegative = 0.0  # alpha of blending whole clips; 0: off
  cutmix: NotNegative = 0.0  # alpha of putting a box into the clip; 0: off
  prob: Fraction = 1.0  # chance that a batch is mixed
  switch: Fraction = 0.5  # chance of cutmix, where both are on

  def check(self) -> None:
    """Raises InputError for an alpha or a chance that is never drawn with."""
    alphas = f'mix.mixup={self.mixup} and mix.cutmix={self.cutmix}'
    if not self.mixup and not self.cutmix:
      refuse_unread(self, 'prob', 'mix.mixup or mix.cutmix')
    elif not self.prob:
      raise InputError(
        f'got mix.prob=0 with {alphas}: nothing is ever mixed; expected a '
        'chance above 0; try 0 for both alphas to mix nothing'
      )
    if not self.mixup or not self.cutmix:
      refuse_unread(self, 'switch', 'both alphas above 0')
    elif not 0 < self.switch < 1:
      raise InputError(
        f'got mix.switch={self.switch} with {alphas}: one of them is never '
        'drawn; expected a chance between 0 and 1; try 0 for that alpha'
      )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mesh:
  """Devices along each axis; one may be -1, which takes what is left."""

  data: int = -1  # copies of the model, each with rows of the batch
  fsdp: int = 1  # parts of the parameters, each with rows of the batch
  tensor: int = 1  # parts of every layer: heads, units, channels
  context: int = 1  # parts of every clip, for long ones: frames between blocks
  # Groups of devices between which the network is slow, such as TPU slices or
  # nodes: only `data` reaches from one to another. 0: as the devices say.
  slices: Count = 0
  # In which dtype gradients are summed, over clips and over devices: 'float32',
  # or 'dtype' for the recipe's, which halves what a bfloat16 step sends
  reduce: Literal['float32', 'dtype'] = 'float32'

  def check(self) -> None:
    """Raises InputError for a size below 1, or for two that are -1."""
    sizes = (self.data, self.fsdp, self.context, self.tensor)
    if any(n != -1 and n < 1 for n in sizes) or sizes.count(-1) > 1:
      raise InputError(
        f'got mesh {sizes}; expected sizes of at least 1, at most one of them '
        '-1, which takes the devices that are left'
      )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Checkpoint:
  """When training state is saved and how much of it stays."""

  every: Positive = 1000  # steps; the last step is always saved
  keep: Positive = 2  # newest ones
  keep_every: Count = 0  # steps whose checkpoints stay for good; 0: none
  best: Count = 0  # checkpoints with the best `metric` that stay too; 0: none
  metric: str = ''  # that validation logs: 'val_clip/top1', or 'top1' for short
  # What is better; '': the lower for a loss, else the higher.
  mode: Literal['', 'max', 'min'] = ''
  # The run ends after so many validations without a better `metric`, or an
  # equal one; 0: it never does
  patience: Count = 0

  def check(self) -> None:
    """Raises InputError for a metric that ranks nothing, or none to rank by."""
    if not self.best:
      refuse_unread(self, 'metric mode patience', 'checkpoint.best above 0')
    elif not self.metric:
      raise InputError(
        f"got checkpoint.best={self.best} and checkpoint.metric=''; expected a "
        'number that validation logs; try --config.checkpoint.metric=top1'
      )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Log:
  """What a run writes while it goes."""

  every: Positive = 50  # steps
  tensorboard: bool = False  # needs the `tf` extra
  validate: Count = 0  # steps between passes over the test split; 0: none
  validate_scale: NotNegative = 0.0  # in place of views.centre_scale; 0: that
  # A loss over so many times the median of the last 100 steps is a spike: its
  # videos are named; 0: off.
  spike: NotNegative = 4.0

  def check(self) -> None:
    """Raises InputError for a frame that is smaller than its crop."""
    check_scale('log.validate_scale', self.validate_scale)
