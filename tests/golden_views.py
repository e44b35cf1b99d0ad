"""What the releases' own loaders fed to their models, and our recipes for it.

An .npz file says what it is in its `config`: release, kind, frames, sizes,
rate, crop, views. Files come from `golden_views` in the folder of reference
files and from the folders in VIDMODELS_GOLDEN_VIEWS (':' between), with any
length, size, rate and seed. No file's name means anything.
"""

import dataclasses
import functools
import hashlib
import json
import os
import pathlib
import re
from typing import Any

import numpy as np

from vidmodels import config as cfg
from vidmodels.cli import recipe
from vidmodels.data.sampling import rules
from vidmodels.train import step, validate

HERE = pathlib.Path(__file__).resolve().parent
# A release's family: our recipe, and its words for other numbers of frames.
FAMILIES = {
  'timesformer': ('timesformer', ('base', 'high', 'long')),
  'xvit': ('xvit', ('16', '8', '32')),
  'vidtr': ('vidtr', ('s', 'm', 'l')),
  'dualformer': ('dualformer', ('small', 'tiny')),
  'video_focalnets': ('video_focalnet', ('tiny',)),
}
RATES = ('sampling_rate', 'frame_interval', 'frame_sample_rate')
COUNTS = {'one': 1, 'two': 2, 'three': 3, 'four': 4, 'five': 5, 'ten': 10}


@dataclasses.dataclass(frozen=True)
class Golden:
  """A file: where it is and what it says of itself."""

  path: pathlib.Path
  about: dict[str, Any] = dataclasses.field(hash=False, compare=False)

  @property
  def release(self) -> str:
    """The release's name; tables of sizes say the family alone."""
    named, folder = self.about['release'], self.path.parent.name
    return folder if folder.startswith(named) else named

  @property
  def name(self) -> str:
    return f'{self.release}/{self.path.stem}'

  @functools.cached_property
  def arrays(self) -> dict[str, np.ndarray]:
    with np.load(self.path) as arrays:
      return {k: arrays[k] for k in arrays.files if k != 'config'}

  def number(self, pattern: str) -> list[float]:
    """The numbers that the file's text gives where `pattern` matches it."""
    text = self.about['source_functions']
    found = re.search(pattern, text)
    assert found, f'{self.name}: got {text!r}; expected {pattern}'
    return [float(group) for group in found.groups()]

  @functools.cached_property
  def drawn_from(self) -> tuple[int, int]:
    """Height and width of the frames that crops were drawn for."""
    if 'height' in self.about:
      return self.about['height'], self.about['width']
    height, width = self.number(r'(\d+) x (\d+) pixels')
    return int(height), int(width)

  @functools.cached_property
  def crop(self) -> int:
    """The crop's side, pixels."""
    if 'crop' in self.about:
      return self.about['crop']
    return int(self.number(r'(?:rop|Crop)\((\d+)\)')[0])


def folders() -> list[pathlib.Path]:
  shared = os.environ.get('VIDMODELS_SHARED', HERE.parent.parent / 'shared')
  more = os.environ.get('VIDMODELS_GOLDEN_VIEWS', '').split(':')
  return [
    pathlib.Path(shared) / 'golden_views',
    *(pathlib.Path(folder) for folder in more if folder),
  ]


@functools.cache
def every() -> tuple[Golden, ...]:
  """All files, each once, also one that lies in several folders."""
  found, seen = [], set()
  for folder in folders():
    for path in sorted(folder.rglob('*.npz')):
      digest = hashlib.sha256(path.read_bytes()).digest()
      if digest not in seen:
        seen.add(digest)
        with np.load(path) as arrays:
          found.append(Golden(path, json.loads(str(arrays['config']))))
  return tuple(found)


def load(golden: Golden, frames: int = 0, **fields: Any) -> cfg.Config:
  """The recipe of a file's release, by the words of a command line.

  `frames` picks the recipe's words and is set; `fields` are further overrides,
  with '__' for '.'. What the recipe says already is not overridden.
  """
  release = golden.release
  family = next(f for f in FAMILIES if release.startswith(f))
  dataset = release.removeprefix(family).lstrip('_')
  name, words = FAMILIES[family]
  wheres = [','.join(filter(None, (f'{name}:{w}', dataset))) for w in words]
  where = next(
    (w for w in wheres if frames == _recipe(w).clip.frames), wheres[0]
  )
  said = cfg.flatten(cfg.as_dict(_recipe(where)))
  fields = {k.replace('__', '.'): v for k, v in fields.items()}
  if frames:
    fields['clip.frames'] = frames
  flags = [f'--config.{k}={v}' for k, v in fields.items() if said[k] != v]
  return _recipe(where, tuple(flags))


_recipe = functools.cache(recipe.load)


def config_of(golden: Golden) -> cfg.Config:
  """The recipe at the sizes of a file of a clip: frames, rate, crop, views."""
  about, fields = golden.about, {}
  rates = [about[rate] for rate in RATES if about.get(rate)]
  # Several views of Video-FocalNets count every frame, whatever its stride.
  if rates and not about.get('indices_are_random'):
    fields['clip__stride'] = float(rates[0])
  if about.get('target_fps'):
    fields['clip__fps'] = float(about['target_fps'])
  # Short sides follow the crop.
  fields['clip__size'] = about['crop']
  if about['kind'] == 'test':
    fields['views__temporal'] = about['temporal_views']
    fields['views__spatial'] = about['spatial_views']
  config = load(golden, about['clip_frames'], **fields)
  if about['kind'] != 'train':
    return config
  # What was switched off for the recorded clips.
  off = dict(auto='', erase=0.0, jitter=0.0, grey=0.0)
  sides = tuple(about.get('jitter') or [about.get('short_side', 0)] * 2)
  return dataclasses.replace(
    config,
    augment=dataclasses.replace(config.augment, short_side=sides, **off),
  )


def views_of(golden: Golden, config: cfg.Config) -> cfg.Views:
  """The test's views, or those that training validates on."""
  shown = config.views
  if golden.about['kind'] != 'test':
    shown = validate.validation_views(config)
  size, side = config.clip.size, golden.about['short_side']
  if shown.spatial == 1 and abs(size * shown.centre_scale - side) < 1:
    # 8/7 of a small crop need not be whole pixels.
    shown = dataclasses.replace(shown, centre_scale=side / size)
  return shown


def spatial_order(golden: Golden) -> list[int]:
  """Our number of each crop, in the order in which the release counts."""
  order = golden.about.get('view_order') or golden.about['arrays']
  if golden.about.get('spatial_views') == 1:
    return [0]
  # Left, right, centre in mmaction2 and VidTr.
  ends_first = re.search(r'right(/bottom)?, cent', order)
  return [0, 2, 1] if ends_first else [0, 1, 2]


@functools.cache
def _levels(data: cfg.Data) -> np.ndarray:
  """What a training step makes of each level of 0 to 255, [256, C]."""
  ramp = np.arange(256, dtype=np.uint8)[None, None, None, :, None]
  video_BTHWC = np.broadcast_to(ramp, (1, 1, 1, 256, 3))
  return np.asarray(step.normalise(video_BTHWC, data.mean, data.std))[0, 0, 0]


def off_by(
  golden: Golden, config: cfg.Config, ours: np.ndarray, theirs: np.ndarray
) -> np.ndarray:
  """Ours less the release's normalised pixels, in levels of 0 to 255.

  `ours` is uint8 RGB as streams give it; a step's own arithmetic normalises it.
  """
  about = golden.about
  if about['channel_order_of_pixels'] != about['channel_order_of_frames']:
    theirs = theirs[..., ::-1]
  normal = _levels(config.data)[ours, np.arange(3)]
  return (normal - theirs) * (255 * np.array(config.data.std))


def clip_of_table(golden: Golden, key: str, frames: int) -> cfg.Clip:
  """The recipe's clip for a row of a table; `key` may say rate and frames."""
  fields = {}
  rates = [golden.about[rate] for rate in RATES if golden.about.get(rate)]
  for text in (key, golden.about['source_functions']):
    found = re.search(r'(?<!\d)(\d+) ?x ?(\d+)', text)
    if found and int(found[1]) == frames:
      rates.append(found[2])
  # Of several, training's comes last.
  rates += re.findall(r'interval=(\d+)', golden.about['source_functions'])[-1:]
  clip = load(golden, frames).clip
  if rates and 'stride' in rules.find(clip.sampling).READS:
    fields['clip__stride'] = float(rates[0])
  if golden.about.get('target_fps'):
    fields['clip__fps'] = float(golden.about['target_fps'])
  return load(golden, frames, **fields).clip
