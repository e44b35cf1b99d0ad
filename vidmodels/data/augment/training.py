"""A training clip, from JPEGs to the augmented pixels that the model sees.

`draw_all` draws everything that is drawn once a clip; `train_clip` does it to
the frames.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from vidmodels import config
from vidmodels.data.augment import colour, crops, erase, frames, ops, policies
from vidmodels.data.records.class_list import ClassList
from vidmodels.data.records.flip_policy import FlipPolicy
from vidmodels.typing import InputError


@dataclasses.dataclass(frozen=True)
class Draws:
  """All that was drawn for a clip, but for the noise in erased boxes.

  Attributes:
    crop: where it is cut, and whether it is mirrored.
    policy: operations on every frame, in order.
    colours: operations on the crop of every frame, or T of such lists.
    boxes: what is erased.
  """

  crop: crops.Crop
  policy: tuple[ops.Op, ...] = ()
  colours: colour.Frames = ((),)
  boxes: tuple[erase.Box, ...] = ()


def draw_all(
  rng: np.random.Generator,
  height: int,
  width: int,
  augment: config.Augment,
  size: int,
  T: int,
) -> Draws:
  """Draws what a clip is to look like.

  Args:
    rng: where the draws come from, in the order of the fields of Draws.
    height: of the frames as stored, pixels.
    width: of the frames as stored, pixels.
    augment: what may vary.
    size: height and width of the crop, pixels.
    T: frames of the clip.
  """
  return Draws(
    crop=crops.draw(rng, height, width, augment, size),
    policy=policies.draw(rng, augment),
    colours=colour.draw(rng, augment, T),
    boxes=erase.draw(rng, augment, size),
  )


def train_clip(
  jpegs: Sequence[bytes],
  indices: Sequence[int],
  rng: np.random.Generator,
  augment: config.Augment,
  size: int,
  data: config.Data,
) -> tuple[np.ndarray, Draws]:
  """Decodes the frames of a clip, each once, and augments all of them alike.

  Args:
    jpegs: the frames of the whole video; only those asked for are decoded.
    indices: T frame numbers; they may repeat.
    rng: the clip's own generator.
    augment: what may vary.
    size: height and width of the crop, pixels.
    data: gives mean and deviation of what is erased.

  Returns:
    The clip, uint8 [T, H, W, C], and what was drawn.

  Raises:
    InputError: naming the frame, if one does not decode or has another size.
  """
  T, drawn = len(indices), None
  video_THWC = np.empty((T, size, size, 3), np.uint8)
  on_frame = augment.policy_on == 'frame'
  for ts, frame_HWC in frames.each(jpegs, indices):
    if drawn is None:
      drawn = draw_all(rng, *frame_HWC.shape[:2], augment, size, T)
    if on_frame:
      frame_HWC = ops.apply(frame_HWC, drawn.policy)
    cut_HWC = frames.cut(frame_HWC, drawn.crop, size)
    if not on_frame:
      cut_HWC = ops.apply(cut_HWC, drawn.policy)
    for t in ts:
      own = drawn.colours[t % len(drawn.colours)]
      video_THWC[t] = ops.apply(cut_HWC, own)
  erase.fill(video_THWC, drawn.boxes, rng, augment, data)
  return video_THWC, drawn


def mirror_labels(
  augment: config.Augment, policy: FlipPolicy, classes: ClassList
) -> np.ndarray:
  """The label of each class's mirror image, int64 [K].

  Raises:
    InputError: if `augment.flip` asks for what the data set's policy forbids.
  """
  if not augment.flip:
    return np.arange(len(classes))
  if policy.kind == 'forbid':
    raise InputError(
      f'augment.flip={augment.flip:g} came with a data set that forbids it (a '
      'mirrored clip may have another label); set augment.flip=0, or if labels '
      'survive a mirror prepare the set with --flip=free, or if some trade '
      'places with --flip=swap:left=right'
    )
  return policy.label_map(classes)
