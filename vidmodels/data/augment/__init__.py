"""From a stored frame to the model's pixels, and what varies on the way.

  augmenter = augment.ClipAugmenter(config.augment, size=224, data=config.data)
  video_THWC, drawn = augmenter(record.frames, index_T, rng)

Training draws once a clip, from the clip's own generator: first the crop, that
is short side, place, shape and flip (`crops.py`), then each augmentation that
the recipe switches on. What was drawn is done to every frame: resize, crop,
flip and the rest. Tests cut with the same functions, from the crops of
`sampling/views.py`.

Every file of this folder that defines ORDER is an augmentation of the file's
name; nothing else has to know of it (`training.py` runs them):

  policies   10   RandAugment or AutoAugment
  colour     20   brightness, contrast, saturation, hue; grey
  erase      30   boxes

It defines

* ORDER: a number; lower ones draw first and change the pixels first. What is
  off draws nothing. So a new augmentation above 30 leaves all draws of recipes
  without it as they are;
* its fields: a frozen dataclass `Fields`, typed as the sections of a recipe
  are; then a recipe switches it on with `augment.extra = {'name': {'field':
  value}}`. Ours take fields of `config.Augment` instead: READS maps those that
  switch them on to those that they then read;
* check(fields), if some values disagree: raises InputError;
* draw(rng, fields, frames, size): draws once for a clip of `frames` frames,
  cropped to `size` pixels. `fields` is a `Fields`, or the whole `augment`
  section;
* one or more of these, which get what `draw` returned:
    change_frame(frame_HWC, drawn, fields): a frame as stored, before the crop;
    change_crop(crop_HWC, drawn, fields, t): the crop of frame t of the clip;
    change_clip(video_THWC, drawn, fields, rng, data): the whole clip, in place.
  The first two return new pixels, uint8, and never change those they get.
"""

from vidmodels.data.augment.crops import (
  Crop,
  cut,
  cut_clip,
  decode,
  draw_crop,
  fit_short_side,
  resize_frame,
)
from vidmodels.data.augment.training import (
  ClipAugmenter,
  Drawn,
  check,
  mirror_labels,
)

__all__ = [
  'ClipAugmenter',
  'Crop',
  'Drawn',
  'check',
  'cut',
  'cut_clip',
  'decode',
  'draw_crop',
  'fit_short_side',
  'mirror_labels',
  'resize_frame',
]
