"""Where a clip is cut from its frames, and the cutting: JPEGs to crops.

  crop = draw_crop(rng, 240, 320, config.augment, size=224)
  crop_HWC = cut(jpeg, crop, 224)

A frame is resized to a short side, and a box of it becomes the crop. The box is
  square: as large as the crop, anywhere in the frame;
  area: a share of the frame's area in a shape of its own, resized to the crop;
  multi_scale: a few scales of the short side, at fixed places, resized too.

`resize` says what pixels are meanwhile:
  uint8: they are rounded to levels after every resize, as mmaction2, VidTr and
    DMVR have them. OpenCV's rounding cuts on the way: the result is .13 of a
    level too dark on average;
  float: they are rounded once, at the end and to the nearest. PySlowFast,
    TimeSformer and X-ViT resize normalised floats; this is within .502 of a
    level of theirs and no darker.
"""

import collections
import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator, Sequence

import cv2
import numpy as np
from numpy.random import Generator

from vidmodels.config import Augment
from vidmodels.data.records.video_record import picture_size
from vidmodels.fields import LongSide, Resize, refuse_unread
from vidmodels.typing import InputError

Indices = Sequence[int] | np.ndarray
TRIES = 10  # draws of an area and a shape until one fits the frame
MOST_PIXELS = 1 << 26  # of a frame; 8K video has half as many
# Pixels; a panorama of 32 to 1 at a short side of 1024.
_LONGEST_SIDE = 1 << 15
NEAR = 3  # a side less than this from the crop's counts as equal: no resize
# Places of a box in quarters of the room, down and right; the first five are
# TSN's own.
PLACES = (
  *((0, 0), (0, 4), (4, 0), (4, 4), (2, 2)),
  *((2, 0), (2, 4), (4, 2), (0, 2)),
  *((1, 1), (1, 3), (3, 1), (3, 3)),
)
# RGB, three channels of grey JPEGs too, and no rotation by EXIF tags: readers
# of the same records in TensorFlow do not rotate either.
_READ = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION


@dataclasses.dataclass(frozen=True, kw_only=True)
class Crop:
  """Where a clip is cut from its frames, all of them alike."""

  short_side: int  # the frame's short side after resizing, pixels; 0: as stored
  top: int  # first row of the box in the resized frame
  left: int  # its first column
  flip: bool = False  # whether the crop is mirrored, left to right
  zoom: float = 1.0  # a factor of a second resize, after the short side
  height: int = 0  # of the box, which is resized to the crop; 0: the crop's own
  width: int = 0  # of the box; 0: the crop's own
  # long_side: how the long side is rounded when the short side is set
  long_side: LongSide = 'floor'
  resize: Resize = 'uint8'  # what pixels are while they are resized


def check(augment: Augment, size: int) -> None:
  """Refuses a crop that does not always fit, and fields without effect."""
  low, high = augment.short_side
  if augment.crop == 'square' and not size <= low <= high:
    raise InputError(
      f'got augment.short_side=({low}, {high}) with crops of {size} pixels: '
      'the crop is larger than the frame; expected clip.size <= low <= high; '
      f'try ({size}, {size}) or more'
    )
  if augment.crop != 'square' and not (high == low == 0 or 1 <= low <= high):
    raise InputError(
      f'got augment.short_side=({low}, {high}) with augment.crop='
      f'{augment.crop}; expected 1 <= low <= high; try (0, 0) for frames as '
      'they are stored'
    )
  if augment.zoom[0] < 1:
    raise InputError(
      f'got augment.zoom={augment.zoom}: the crop is larger than the frame; '
      'expected factors of at least 1; try a lower augment.short_side instead'
    )
  if not augment.scales:
    raise InputError(
      'got augment.scales=(), which is empty; expected shares of the short '
      'side, largest first'
    )
  # Not refused, so that a recipe with other numbers needs no other change: what
  # only says how something is rounded (long_side, last_offset, 'rounded').
  if low == high and augment.short_draw == 'inverse':
    refuse_unread(augment, 'short_draw', 'two ends of augment.short_side')
  for kind, names in (
    ('square', 'zoom'),
    ('area', 'area aspect'),
    ('multi_scale', 'scales scale_gap places'),
  ):
    if augment.crop != kind:
      refuse_unread(augment, names, f'augment.crop={kind}')


def draw_crop(
  rng: Generator, height: int, width: int, augment: Augment, size: int
) -> Crop:
  """Draws a training crop of frames as stored: short side, box and flip.

  The short side is, by `short_draw`,
    uniform: any whole number, all equally likely;
    rounded: round(U(low, high)), PySlowFast's. Its two ends come half as often
      as the others, because they round from one side only;
    inverse: round(1 / U(1 / high, 1 / low)), uniform in the crop's size
      relative to the frame, with ends as in 'rounded'.

  A square is anywhere in the frame; without `last_offset`, as in PySlowFast,
  neither in the last row nor in the last column that it fits in, unless that is
  the only one. The flip is drawn last, so that a recipe without flips sees the
  same crops.
  """
  low, high = augment.short_side
  if augment.short_draw == 'inverse' and low < high:
    side = round(1 / rng.uniform(1 / high, 1 / low))
  elif augment.short_draw == 'rounded' and low < high:
    side = round(rng.uniform(low, high))
  else:
    side = int(rng.integers(low, high + 1))
  zoom = 1.0
  if augment.zoom[0] < augment.zoom[1]:
    zoom = float(rng.uniform(*augment.zoom))
  H, W = fit_short_side(height, width, side, augment.long_side)
  H, W = int(H * zoom), int(W * zoom)
  h = w = 0
  if augment.crop == 'square':
    last = 1 if augment.last_offset else 0
    top, left = (int(rng.integers(max(n - size + last, 1))) for n in (H, W))
  elif augment.crop == 'area':
    top, left, h, w = area_box(rng, H, W, augment)
  else:
    top, left, h, w = scale_box(rng, H, W, augment, size)
  flip = bool(rng.random() < augment.flip)
  return Crop(
    short_side=side,
    top=top,
    left=left,
    flip=flip,
    zoom=zoom,
    height=h,
    width=w,
    long_side=augment.long_side,
    resize=augment.resize,
  )


def area_box(
  rng: Generator, height: int, width: int, augment: Augment
) -> tuple[int, int, int, int]:
  """(top, left, height, width) of a random share and shape of the frame.

  The share is uniform in `area`, width over height is log-uniform in `aspect`.
  The first of ten such pairs that fits is taken, at a uniform place; if none
  fits, the largest square in the middle. Large shares fit less often, so the
  boxes are somewhat smaller than the shares drawn.
  """
  for _ in range(TRIES):
    pixels = rng.uniform(*augment.area) * height * width
    shape = math.exp(rng.uniform(*np.log(augment.aspect)))
    h, w = round(math.sqrt(pixels / shape)), round(math.sqrt(pixels * shape))
    if 1 <= h <= height and 1 <= w <= width:
      top = int(rng.integers(height - h + 1))
      return top, int(rng.integers(width - w + 1)), h, w
  side = min(height, width)
  return (height - side) // 2, (width - side) // 2, side, side


def scale_box(
  rng: Generator, height: int, width: int, augment: Augment, size: int
) -> tuple[int, int, int, int]:
  """(top, left, height, width): sides from scales, at a fixed place (TSN).

  Height and width each take a scale of the short side; the two stand at most
  `scale_gap` apart in `scales` (0 gives squares), and all such pairs are
  equally likely. A side within 2 pixels of the crop's `size` is made equal.
  Places count in quarters of the room that is left, rounded down to whole
  pixels: the corners and the middle; with 13 places also the middles of the
  edges and of the quarters.
  """
  short = min(height, width)
  sides = [max(1, int(short * scale)) for scale in augment.scales]
  sides = [size if abs(s - size) < NEAR and size <= short else s for s in sides]
  pairs = [
    (sides[i], sides[j])
    for i, j in itertools.product(range(len(sides)), repeat=2)
    if abs(i - j) <= augment.scale_gap
  ]
  h, w = pairs[rng.integers(len(pairs))]
  down, right = PLACES[rng.integers(augment.places)]
  return down * ((height - h) // 4), right * ((width - w) // 4), h, w


def fit_short_side(
  height: int, width: int, short_side: int, long_side: LongSide = 'floor'
) -> tuple[int, int]:
  """Height and width once the short side is `short_side`; 0 keeps both.

  The long side is, of a frame with sides `short` and `long`,
    floor: floor(long * short_side / short), exact: DMVR, VidTr;
    floor_double: floor(long / short * short_side) in double precision, which
      may fall a pixel short: 230 x 112 at 224 is 459 long, not 460. PySlowFast,
      and with it TimeSformer and X-ViT;
    round: floor(long * (short_side / short) + .5) in double precision, in which
      a half may come out lower: 690 x 640 at 224 is 241 long, not 242.
      mmaction2, and with it DualFormer and Video-FocalNets.
  340 x 256 at a short side of 224 is 297 or, rounded, 298 long.
  """
  short, long = sorted((height, width))
  # Also because long / short * short need not be long in double precision.
  if short_side in (0, short):
    return height, width
  if long_side == 'round':
    long = int(long * (short_side / short) + 0.5)
  elif long_side == 'floor_double':
    long = int(long / short * short_side)
  else:
    long = long * short_side // short
  if long > _LONGEST_SIDE:  # a frame of 1 x 60,000 pixels, say
    raise InputError(
      f'got frames of {height} x {width}, whose long side would be {long:,} '
      f'pixels at a short side of {short_side}; expected at most '
      f'{_LONGEST_SIDE:,}; try to leave the video out'
    )
  return (short_side, long) if height <= width else (long, short_side)


def decode(jpeg: bytes) -> np.ndarray:
  """A JPEG as RGB, uint8 [H, W, C]; a grey one gives three equal channels."""
  data = np.frombuffer(jpeg, np.uint8)
  H, W = picture_size(jpeg)  # what it claims, before there is room for it
  try:
    frame_HWC = cv2.imdecode(data, _READ) if H * W <= MOST_PIXELS else None
  except cv2.error:  # it is empty, or another kind of picture that claims more
    frame_HWC = None
  if frame_HWC is None:
    raise InputError(
      f'got {len(data)} bytes that do not decode; expected a whole JPEG of at '
      'most 67 million pixels; try to prepare the video again, or leave it out'
    )
  return frame_HWC


def cut(frame: bytes | np.ndarray, crop: Crop, size: int) -> np.ndarray:
  """Resizes a frame, cuts the crop out of it and mirrors it if asked.

  Takes a JPEG or its pixels, uint8 [H, W, C], and returns a new contiguous
  array, uint8 [size, size, C]. Raises ValueError for a crop that does not fit.

  Resizing is bilinear without antialiasing, up and down, in training and in
  tests: the five papers' releases and DMVR resize so (but X-ViT in training on
  Kinetics), and their weights know those pixels. Shrinking by far more than 2
  aliases; `prepare --short-side` brings large videos near the size that
  training needs.
  """
  frame_HWC = decode(frame) if isinstance(frame, bytes) else frame
  H, W = frame_HWC.shape[:2]
  H, W = fit_short_side(H, W, crop.short_side, crop.long_side)
  frame_HWC = _resize(frame_HWC, H, W, crop.resize)
  if crop.zoom != 1:
    H, W = int(H * crop.zoom), int(W * crop.zoom)
    frame_HWC = _resize(frame_HWC, H, W, crop.resize)
  h, w = crop.height or size, crop.width or size
  if not (0 <= crop.top <= H - h and 0 <= crop.left <= W - w):
    raise ValueError(f'{crop} of {size=} does not fit in {H} x {W} pixels')
  cut_HWC = frame_HWC[crop.top : crop.top + h, crop.left : crop.left + w]
  cut_HWC = _resize(cut_HWC, size, size, crop.resize)
  if cut_HWC.dtype != np.uint8:
    cut_HWC = cv2.convertScaleAbs(cut_HWC)  # to the nearest level
  if crop.flip:
    cut_HWC = cut_HWC[:, ::-1]
  return cut_HWC.copy()


def resize_frame(
  frame_HWC: np.ndarray, height: int, width: int, resize: Resize
) -> np.ndarray:
  """A whole frame at another size, resized as `cut` does: uint8 [H, W, C]."""
  # To the nearest level; uint8 stays as it is.
  return cv2.convertScaleAbs(_resize(frame_HWC, height, width, resize))


def _resize(
  frame_HWC: np.ndarray, height: int, width: int, resize: Resize
) -> np.ndarray:
  """The frame, or uint8 or float32 pixels of another size."""
  if frame_HWC.shape[:2] == (height, width):
    return frame_HWC
  if resize == 'float':
    frame_HWC = frame_HWC.astype(np.float32, copy=False)
  return cv2.resize(frame_HWC, (width, height), interpolation=cv2.INTER_LINEAR)


def decode_frames(
  jpegs: Sequence[bytes], indices: Indices
) -> Iterator[tuple[list[int], np.ndarray]]:
  """Decodes each frame that a clip needs once: (its places, [H, W, C] uint8).

  `indices` are T frame numbers of the video and may repeat; a frame's places
  are where it stands among them. An error names the frame that does not decode,
  or that has another size than the first.
  """
  places = collections.defaultdict(list)
  for t, frame in enumerate(indices):
    places[int(frame)].append(t)
  shape = None
  for frame, ts in places.items():
    try:
      frame_HWC = decode(jpegs[frame])
    except InputError as e:
      raise InputError(f'frame {frame}: {e}') from e
    shape = shape or frame_HWC.shape
    if frame_HWC.shape != shape:
      raise InputError(
        f'frame {frame} has {frame_HWC.shape} where frame {indices[0]} has '
        f'{shape}; expected one size in a video; try to prepare it again'
      )
    yield ts, frame_HWC


def cut_clip(
  jpegs: Sequence[bytes],
  indices: Indices,
  choose_crop: Callable[[int, int], Crop],
  size: int,
) -> np.ndarray:
  """Decodes the frames of a clip, each once, and cuts all alike: [T, H, W, C].

  `choose_crop` is called once, with height and width of the first frame decoded
  and not the record's: foreign records may give none, or a wrong one. For
  errors see `decode_frames`.
  """
  video_THWC = np.empty((len(indices), size, size, 3), np.uint8)
  crop = None
  for places, frame_HWC in decode_frames(jpegs, indices):
    crop = crop or choose_crop(*frame_HWC.shape[:2])
    video_THWC[places] = cut(frame_HWC, crop, size)
  return video_THWC
