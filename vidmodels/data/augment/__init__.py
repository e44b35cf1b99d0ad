"""From a stored frame to the model's pixels, and what varies on the way.

Training draws once a clip, from the clip's own generator and in this order:

  crop     short side, place, shape and flip             crops.py
  policy   RandAugment or AutoAugment                    policies.py
  colour   brightness, contrast, saturation, hue; grey   colour.py
  erase    boxes                                         erase.py

and does the same to every frame: the policy on the whole frame, resize, crop,
flip, colours, boxes (`augment.policy_on='crop'` moves the policy behind the
flip). What is switched off draws nothing, so a recipe that does not use the
later ones has the crops that it had without them. `training.py` puts it
together; `ops.py` holds the operations on pixels, `frames.py` cuts. Tests cut
with the same functions, from the crops of `views.py`.
"""

from vidmodels.data.augment.crops import Crop, check, draw, resized
from vidmodels.data.augment.frames import cut, cut_clip, decode
from vidmodels.data.augment.training import (
  Draws,
  draw_all,
  mirror_labels,
  train_clip,
)

__all__ = [
  'Crop',
  'Draws',
  'check',
  'cut',
  'cut_clip',
  'decode',
  'draw',
  'draw_all',
  'mirror_labels',
  'resized',
  'train_clip',
]
