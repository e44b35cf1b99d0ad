"""The views of a video that evaluation averages: which, and where they look.

View v of a video is temporal view v // spatial, spatial view v % spatial; a
video's views are neighbours in the evaluation stream.
"""

from vidmodels import config
from vidmodels.data.augment import Crop, resized
from vidmodels.typing import InputError


def count(views: config.Views) -> int:
  """How many views a video has, over time and space."""
  return views.temporal * views.spatial


def split(view: int, views: config.Views) -> tuple[int, int]:
  """The temporal and the spatial view that view `view` stands for."""
  return divmod(view, views.spatial)


def short_side(views: config.Views, size: int) -> int:
  """The short side that frames are resized to, pixels.

  Raises:
    InputError: if the crop of `size` pixels does not fit into it.
  """
  side = views.short_side or size
  if side < size:
    raise InputError(
      f'views.short_side={side} came with clip.size={size}; the crop must fit '
      f'in the frame; set views.short_side to {size} or more, or 0'
    )
  return side


def crop_of(
  height: int, width: int, size: int, short_side: int, view: int, views: int
) -> Crop:
  """Where spatial view `view` of `views` cuts a frame.

  One view is the centre. Three are left, centre, right if the frame is at least
  as wide as high, else top, centre, bottom; each in the middle of the other
  axis. A middle between two pixels is the one further right or down (ceil), as
  PySlowFast and scenic have it; DMVR's centre is the other one (floor).

  Args:
    height: of the frame as stored, pixels.
    width: of the frame as stored, pixels.
    size: height and width of the crop.
    short_side: what the frame's short side is resized to first.
    view: which view, 0 to views - 1.
    views: 1 or 3.

  Raises:
    ValueError: if there is no such view, or the crop does not fit.
  """
  if views not in (1, 3) or not 0 <= view < views:
    raise ValueError(f'spatial {view=} of {views}; give 0 of 1, or 0 to 2 of 3')
  if short_side < size:
    raise ValueError(f'{size=} does not fit in {short_side=}; make it larger')
  new_height, new_width = resized(height, width, short_side)
  top, left = (new_height - size + 1) // 2, (new_width - size + 1) // 2
  if views == 3 and width >= height:
    left = (0, left, new_width - size)[view]
  elif views == 3:
    top = (0, top, new_height - size)[view]
  return Crop(short_side=short_side, top=top, left=left)
