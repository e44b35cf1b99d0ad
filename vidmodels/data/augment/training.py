"""A training clip, from JPEGs to the augmented pixels that the model sees."""

import dataclasses
import itertools
import types
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from vidmodels import config
from vidmodels.data.augment import crops
from vidmodels.data.records.class_list import ClassList
from vidmodels.data.records.flip_policy import FlipPolicy
from vidmodels.fields import modules_with
from vidmodels.typing import InputError, unknown_name


class Augmentation(NamedTuple):
  """An augmentation that a recipe switches on."""

  name: str
  module: types.ModuleType
  fields: Any


@dataclasses.dataclass(frozen=True)
class Drawn:
  """What was drawn for a clip, except the noise in erased boxes.

  Attributes:
    crop: where the clip is cut, and whether it is mirrored.
    changes: what each augmentation's `draw` returned, by name.
  """

  crop: crops.Crop
  changes: dict[str, Any]


def check(augment: config.Augment, size: int) -> None:
  """Refuses fields that disagree and fields without effect.

  Args:
    augment: the section of the recipe.
    size: height and width of the crop, pixels.

  Raises:
    InputError: names the field, its value and what was expected; also if the
      crop does not always fit the frame.
  """
  crops.check(augment, size)
  for module in modules_with('data.augment', 'ORDER').values():
    if not hasattr(module, 'Fields'):
      module.check(augment)
  find_augmentations(augment)


def find_augmentations(augment: config.Augment) -> list[Augmentation]:
  """The augmentations that a recipe switches on, in their order.

  Raises:
    InputError: if `augment.extra` names an augmentation that does not exist,
      or a field or value that it does not take.
  """
  modules = modules_with('data.augment', 'ORDER')
  own = {name for name, m in modules.items() if hasattr(m, 'Fields')}
  for name in augment.extra:
    if name not in own:
      raise InputError(unknown_name('augment.extra', name, sorted(own)))
  found = []
  for name, module in modules.items():
    if name in augment.extra:
      fields = config.fill(
        module.Fields, augment.extra[name], path=f'augment.extra.{name}'
      )
      found.append(Augmentation(name, module, fields))
    elif name not in own and module.is_on(augment):
      found.append(Augmentation(name, module, augment))
  return sorted(found, key=lambda a: (a.module.ORDER, a.name))


class ClipAugmenter:
  """Cuts and augments clips as a recipe says; threads may share it."""

  def __init__(self, augment: config.Augment, *, size: int, data: config.Data):
    """Looks up what the recipe switches on.

    Args:
      augment: what may vary.
      size: height and width of the crop, pixels.
      data: gives mean and deviation of what is erased.
    """
    self.augment, self.size, self.data = augment, size, data
    self.augmentations = find_augmentations(augment)

  def draw(
    self, rng: np.random.Generator, height: int, width: int, frames: int
  ) -> Drawn:
    """Draws the crop, then every augmentation in its order.

    Args:
      rng: the clip's own generator.
      height: of the frames as stored, pixels.
      width: of the frames as stored, pixels.
      frames: T of the clip.
    """
    crop = crops.draw_crop(rng, height, width, self.augment, self.size)
    changes = {
      name: module.draw(rng, fields, frames, self.size)
      for name, module, fields in self.augmentations
    }
    return Drawn(crop, changes)

  def __call__(
    self,
    jpegs: Sequence[bytes],
    indices: Sequence[int] | np.ndarray,
    rng: np.random.Generator,
  ) -> tuple[np.ndarray, Drawn]:
    """Decodes the frames of a clip, each once, and augments all of them alike.

    Args:
      jpegs: the frames of the whole video; only those asked for are decoded.
      indices: T frame numbers; they may repeat.
      rng: the clip's own generator.

    Returns:
      The clip, uint8 [T, H, W, C], and what was drawn.

    Raises:
      InputError: names the frame, if one does not decode or has another size.
    """
    T, size = len(indices), self.size
    video_THWC = np.empty((T, size, size, 3), np.uint8)
    frames = crops.decode_frames(jpegs, indices)
    # The draw needs the size of a frame, which only its JPEG tells for sure.
    first = next(frames)
    height, width = first[1].shape[:2]
    drawn = self.draw(rng, height, width, T)
    for places, frame_HWC in itertools.chain([first], frames):
      for name, module, fields in self.augmentations:
        if hasattr(module, 'change_frame'):
          frame_HWC = module.change_frame(
            frame_HWC, drawn.changes[name], fields
          )
      cut_HWC = crops.cut(frame_HWC, drawn.crop, size)
      for t in places:
        crop_HWC = cut_HWC
        for name, module, fields in self.augmentations:
          if hasattr(module, 'change_crop'):
            crop_HWC = module.change_crop(
              crop_HWC, drawn.changes[name], fields, t
            )
        video_THWC[t] = crop_HWC
    for name, module, fields in self.augmentations:
      if hasattr(module, 'change_clip'):
        change = drawn.changes[name]
        module.change_clip(video_THWC, change, fields, rng, self.data)
    return video_THWC, drawn


def mirror_labels(
  augment: config.Augment, policy: FlipPolicy, classes: ClassList
) -> np.ndarray:
  """The label of each class's mirror image, int64 [K].

  Raises:
    InputError: if `augment.flip` asks for flips that the data set forbids.
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
