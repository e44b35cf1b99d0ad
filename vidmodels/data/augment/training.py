"""A training clip, from JPEGs to the augmented pixels that the model sees."""

import dataclasses
import itertools
import types
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.random import Generator

from vidmodels import config
from vidmodels.config import Augment, Data
from vidmodels.data.augment import crops
from vidmodels.data.records.class_list import ClassList
from vidmodels.data.records.flip_policy import FlipPolicy
from vidmodels.fields import modules_with, refuse_unread
from vidmodels.typing import InputError, unknown_name


class Augmentation(NamedTuple):
  """An augmentation that a recipe switches on."""

  name: str
  module: types.ModuleType
  fields: Any


@dataclasses.dataclass(frozen=True)
class Drawn:
  """What was drawn for a clip, except the noise in erased boxes."""

  crop: crops.Crop  # where the clip is cut, and whether it is mirrored
  changes: dict[str, Any]  # what each augmentation's `draw` returned, by name


def check(augment: Augment, size: int) -> None:
  """Refuses crops that do not fit and fields that disagree or do nothing."""
  crops.check(augment, size)
  for module in modules_with('data.augment', 'ORDER').values():
    for switches, names in getattr(module, 'READS', {}).items():
      if not _any_set(augment, switches):
        condition = switches.replace(' ', ' or augment.')
        refuse_unread(augment, names, f'augment.{condition}')
  find_augmentations(augment)


def find_augmentations(augment: Augment) -> list[Augmentation]:
  """The augmentations that a recipe switches on, in their order.

  Refuses a name in `augment.extra` that does not exist, and fields or values
  that the augmentation does not take.
  """
  modules = modules_with('data.augment', 'ORDER')
  extra = [name for name, m in modules.items() if hasattr(m, 'Fields')]
  for name in augment.extra:
    if name not in extra:
      raise InputError(unknown_name('augment.extra', name, extra))
  found = []
  for name, module in modules.items():
    fields: Any = augment
    if name in augment.extra:
      values, path = augment.extra[name], f'augment.extra.{name}'
      fields = config.fill(module.Fields, values, path=path)
    elif name in extra or not _any_set(augment, ' '.join(module.READS)):
      continue
    if hasattr(module, 'check'):
      module.check(fields)
    found.append(Augmentation(name, module, fields))
  return sorted(found, key=lambda a: (a.module.ORDER, a.name))


def _any_set(augment: Augment, names: str) -> bool:
  return any(getattr(augment, name) for name in names.split())


class ClipAugmenter:
  """Cuts and augments clips as a recipe says; threads may share it."""

  def __init__(self, augment: Augment, *, size: int, data: Data):
    # size: of the crop, pixels; data: mean and deviation of what is erased
    self.augment, self.size, self.data = augment, size, data
    self.augmentations = find_augmentations(augment)
    self.frame_changes, self.crop_changes, self.clip_changes = (
      [(a.name, getattr(a.module, hook), a.fields)
       for a in self.augmentations if hasattr(a.module, hook)]
      for hook in ('change_frame', 'change_crop', 'change_clip')
    )  # fmt: skip

  def draw(self, rng: Generator, height: int, width: int, frames: int) -> Drawn:
    """Draws the crop of stored frames, then every augmentation in its order."""
    crop = crops.draw_crop(rng, height, width, self.augment, self.size)
    changes = {
      name: module.draw(rng, fields, frames, self.size)
      for name, module, fields in self.augmentations
    }
    return Drawn(crop, changes)

  def __call__(
    self, jpegs: Sequence[bytes], indices: crops.Indices, rng: Generator
  ) -> tuple[np.ndarray, Drawn]:
    """Decodes the frames of a clip, each once, and augments all of them alike.

    Returns the clip, uint8 [T, H, W, C], and what was drawn. For the indices
    and the errors see `decode_frames`.
    """
    T, size = len(indices), self.size
    video_THWC = np.empty((T, size, size, 3), np.uint8)
    frames = crops.decode_frames(jpegs, indices)
    # The draw needs the size of a frame, which only its JPEG tells for sure.
    first = next(frames)
    height, width = first[1].shape[:2]
    drawn = self.draw(rng, height, width, T)
    for places, frame_HWC in itertools.chain([first], frames):
      for name, change, fields in self.frame_changes:
        frame_HWC = change(frame_HWC, drawn.changes[name], fields)
      crop_HWC = crops.cut(frame_HWC, drawn.crop, size)
      for t in places:
        video_THWC[t] = crop_HWC
        for name, change, fields in self.crop_changes:
          video_THWC[t] = change(video_THWC[t], drawn.changes[name], fields, t)
    for name, change, fields in self.clip_changes:
      change(video_THWC, drawn.changes[name], fields, rng, self.data)
    return video_THWC, drawn


def mirror_labels(
  augment: Augment, policy: FlipPolicy, classes: ClassList
) -> np.ndarray:
  """The label of each class's mirror image, int64 [K].

  Refuses a recipe with flips for a data set that forbids them.
  """
  if not augment.flip:
    return np.arange(len(classes))
  if policy.kind == 'forbid':
    raise InputError(
      f'got augment.flip={augment.flip:g} with a data set that forbids it (a '
      'mirrored clip may have another label); expected no flips; set '
      'augment.flip=0, or if labels survive a mirror prepare the set with '
      '--flip=free, or if some trade places with --flip=swap:left=right'
    )
  return policy.label_map(classes)
