"""The views of a video that evaluation averages: which frames, which crop.

  temporal, spatial = views.split(view, config.views)
  crop = views.view_crop(240, 320, size=224, view=spatial, views=config.views)

View v of a video is temporal view v // spatial and spatial view v % spatial. A
video's views follow each other in the evaluation stream.
"""

from vidmodels import config
from vidmodels.data.augment import Crop, fit_short_side
from vidmodels.typing import InputError


def count(views: config.Views) -> int:
  """How many views a video has, over time and space."""
  return views.temporal * views.spatial


def split(view: int, views: config.Views) -> tuple[int, int]:
  """The (temporal view, spatial view) of view number `view`."""
  return divmod(view, views.spatial)


def crop_size(views: config.Views, size: int) -> int:
  """The edge of a view's crop, pixels; `size` is that of training clips."""
  return views.size or size


def short_side(views: config.Views, size: int) -> int:
  """The short side that frames are resized to, pixels; the crop must fit.

  `size` is the crop's. It is `views.short_side`, or the crop's size if that is
  0. A single crop may have another, `views.centre_scale` times its own:
  TimeSformer cuts three crops of 224 pixels at a short side of 224 and one at
  256.
  """
  if views.spatial == 1 and views.centre_scale:
    return round(size * views.centre_scale)
  side = views.short_side or size
  if side < size:
    raise InputError(
      f'got views.short_side={side} with a crop of {size}; expected a frame '
      f'that the crop fits in; try {size} or more, or 0 for the crop itself'
    )
  return side


def view_crop(
  height: int, width: int, *, size: int, view: int, views: config.Views
) -> Crop:
  """Where spatial view `view` of `views.spatial` cuts a frame of this size.

  A single view is the centre. Three are left, centre, right if the resized
  frame is at least as wide as high, else top, centre, bottom; each in the
  middle of the other axis. (A frame of 648 x 647 pixels is square at a short
  side of 460, where its long side is rounded down.) With g pixels to spare

    'ceil' (`views.centre`) puts the centre at ceil(g / 2) and the last crop at
      g, as PySlowFast does, and with it TimeSformer and X-ViT, and scenic;
    'floor' puts the centre at floor(g / 2) and the last crop at twice that, a
      pixel before the end for an odd g, as mmaction2 does, and with it
      DualFormer and Video-FocalNets, and VidTr. DMVR's only crop is this
      centre.

  Releases that count left, right, centre differ only in the views' numbers.
  Height and width are those of the frame as stored.
  """
  if views.spatial not in (1, 3) or not 0 <= view < views.spatial:
    raise ValueError(
      f'got spatial {view=} of {views.spatial} views; expected 0 of 1, or 0 to '
      '2 of 3'
    )
  side = short_side(views, size)
  new_height, new_width = fit_short_side(height, width, side, views.long_side)
  slack = (new_height - size, new_width - size)
  up = 1 if views.centre == 'ceil' else 0
  top, left = ((s + up) // 2 for s in slack)
  if views.spatial == 3 and new_width >= new_height:
    left = (0, left, slack[1] if up else 2 * left)[view]
  elif views.spatial == 3:
    top = (0, top, slack[0] if up else 2 * top)[view]
  return Crop(
    short_side=side,
    long_side=views.long_side,
    resize=views.resize,
    top=top,
    left=left,
  )
