"""Single pictures (JPEG, PNG, ...), for models that see one frame at a time.

if image_file.is_picture(path): frame_HWC = image_file.read_picture(path)
"""

import pathlib

import cv2
import numpy as np

from vidmodels.data.video.container import BadVideo, starts_as_picture
from vidmodels.files import retry_reading

_FILMS = frozenset({'.mjpeg', '.mjpg', '.avi'})  # may be motion JPEG


def is_picture(path: pathlib.Path) -> bool:
  """Whether a file, if there is one, is a single picture by its content."""
  try:
    if not retry_reading(path, path.is_file):
      return False
    head = retry_reading(path, lambda: _read_head(path))
  except (FileNotFoundError, ValueError):
    return False
  return starts_as_picture(head) and path.suffix.lower() not in _FILMS


def read_picture(path: pathlib.Path) -> np.ndarray:
  """A picture as uint8 [H, W, 3], RGB, turned as its EXIF says.

  Transparency is dropped, 16 bits become 8. Raises BadVideo if it does not
  decode.
  """
  data = retry_reading(path, path.read_bytes)
  try:
    bgr_HWC = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
  except cv2.error as e:
    if e.code == cv2.Error.StsNoMem:
      raise MemoryError(str(e)) from e
    bgr_HWC = None
  if bgr_HWC is None:
    raise BadVideo('a picture that does not decode')
  return cv2.cvtColor(bgr_HWC, cv2.COLOR_BGR2RGB)


def _read_head(path: pathlib.Path) -> bytes:
  with open(path, 'rb') as f:
    return f.read(12)
