"""One video as one record: DMVR's SequenceExample, without TensorFlow.

A record is what scenic and DMVR read and write (`image/encoded`, one JPEG a
frame; `clip/label/index`; ...) plus what they leave out: true time stamps, the
frame rate, the size and a unique name. Readers of theirs skip our keys, and
ours takes records that lack them.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from google.protobuf import message

from vidmodels.data.records.sequence_example import messages
from vidmodels.data.records.task import SINGLE, Task
from vidmodels.typing import InputError

# DMVR's keys.
LABEL = 'clip/label/index'
LABEL_TEXT = 'clip/label/text'
HEAD = 'clip/label/{}/index'  # ours: one of several questions
START = 'clip/start/timestamp'
END = 'clip/end/timestamp'
FILENAME = 'video/filename'
FRAMES = 'image/encoded'
# MediaSequence's names where it has one, else ours.
TIMES = 'image/timestamp'
FORMAT = 'image/format'
HEIGHT = 'image/height'
WIDTH = 'image/width'
FPS = 'clip/fps'
VIDEO = 'clip/id'

UNTIMED = -1  # every time stamp of a record that holds no times


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Record:
  """A labelled video of n frames.

  Attributes:
    frames: n JPEGs, RGB once decoded, in the order they are shown.
    timestamps_us: when each frame is shown, microseconds from the first one,
      int64 [n], never falling; all `UNTIMED` if nobody knows.
    fps: frames a second (the average if they vary), float32 precision; 0 if
      nobody knows.
    height: of every frame, pixels.
    width: of every frame, pixels.
    labels: class indices; none if the video has none, or a foreign record
      says none.
    label_texts: the classes' names, one a label; none if nobody says.
    video: unique within its split: the path below the source folder, or the
      path that the list gave.
    start_us: where the clip starts in its source video, microseconds.
    end_us: where it ends, microseconds.
  """

  frames: Sequence[bytes]
  timestamps_us: np.ndarray
  fps: float
  height: int
  width: int
  labels: tuple[int, ...]
  label_texts: tuple[str, ...]
  video: str
  start_us: int = 0
  end_us: int = 0

  @property
  def timed(self) -> bool:
    """Whether the record says when its frames are shown."""
    return bool(len(self.timestamps_us)) and self.timestamps_us[0] >= 0


def encode(record: Record, task: Task = SINGLE) -> bytes:
  """Serialises a record; equal records give equal bytes.

  Labels stand in `clip/label/index` one and all, as DMVR has multi-label sets;
  where a task has heads each also has a key of its own, such as
  `clip/label/verb/index`, counted in the whole class list.

  Args:
    record: what to write.
    task: which heads the labels belong to.

  Raises:
    ValueError: if there is no frame, or times and frames do not go together.
  """
  _check(record)
  example = messages().SequenceExample()
  context = example.context.feature
  context[LABEL].int64_list.value.extend(record.labels)
  texts = [text.encode() for text in record.label_texts]
  context[LABEL_TEXT].bytes_list.value.extend(texts)
  for (head, _), label in zip(task.heads, record.labels, strict=False):
    context[HEAD.format(head)].int64_list.value.append(label)
  context[START].int64_list.value.append(record.start_us)
  context[END].int64_list.value.append(record.end_us)
  context[FILENAME].bytes_list.value.append(record.video.encode())
  context[VIDEO].bytes_list.value.append(record.video.encode())
  context[FORMAT].bytes_list.value.append(b'jpeg')
  context[HEIGHT].int64_list.value.append(record.height)
  context[WIDTH].int64_list.value.append(record.width)
  context[FPS].float_list.value.append(record.fps)
  lists = example.feature_lists.feature_list
  for jpeg in record.frames:
    lists[FRAMES].feature.add().bytes_list.value.append(jpeg)
  for time_us in record.timestamps_us if record.timed else ():
    lists[TIMES].feature.add().int64_list.value.append(int(time_us))
  return example.SerializeToString(deterministic=True)


def parse(raw: bytes) -> Record:
  """Reads a record of ours, of DMVR's writer or of MediaSequence.

  Where our keys are missing: the size comes from the first JPEG, the name from
  `video/filename` and the clip's start, times from `clip/fps` if it is there.

  Raises:
    InputError: if the bytes are no SequenceExample, hold no frames, or a key
      has values of another kind than it should.
  """
  example = _message(raw)
  try:
    return _record(example)
  except InputError:
    raise
  # Of damaged text, text where a number is wanted and so on.
  except (ValueError, TypeError, AttributeError, cv2.error) as e:
    raise InputError(
      f'a record has a value that its key cannot have ({e}); wanted what DMVR '
      'and `vidmodels prepare` write; write it again'
    ) from e


def _record(example: Any) -> Record:
  context, lists = example.context.feature, example.feature_lists.feature_list
  frames = tuple(
    feature.bytes_list.value[0]
    for feature in (lists[FRAMES].feature if FRAMES in lists else ())
    if feature.bytes_list.value
  )
  if not frames:
    keys = sorted(context) + sorted(lists)
    raise InputError(
      f'a record came with the keys {keys} and no frame; wanted JPEGs in '
      f'{FRAMES}; run `vidmodels inspect DIR` to see what a set holds'
    )
  fps = float(_one(context, FPS, 0.0))
  if not 0 <= fps < math.inf:
    raise ValueError(f'{fps} frames a second')
  height, width = _size(context, frames[0])
  start_us = _one(context, START, 0)
  return Record(
    frames=frames,
    timestamps_us=_times(lists, n=len(frames), fps=fps),
    fps=fps,
    height=height,
    width=width,
    labels=tuple(int(label) for label in _all(context, LABEL)),
    label_texts=tuple(text.decode() for text in _all(context, LABEL_TEXT)),
    video=_name(context, start_us),
    start_us=start_us,
    end_us=_one(context, END, 0),
  )


def keys(raw: bytes) -> dict[str, int]:
  """The keys of a record, each with the number of values it holds.

  Raises:
    InputError: if the bytes are no SequenceExample.
  """
  example = _message(raw)
  found = {}
  for key, feature in example.context.feature.items():
    kind = feature.WhichOneof('kind')
    found[key] = len(getattr(feature, kind).value) if kind else 0
  for key, values in example.feature_lists.feature_list.items():
    found[key] = len(values.feature)
  return dict(sorted(found.items()))


def _message(raw: bytes) -> Any:
  example = messages().SequenceExample()
  try:
    example.ParseFromString(raw)
  except message.DecodeError as e:
    raise InputError(
      f'{len(raw)} bytes came that are no SequenceExample ({e}); wanted a '
      'record with image/encoded; run `vidmodels prepare` to make such'
    ) from e
  return example


def _check(record: Record) -> None:
  times = np.asarray(record.timestamps_us)
  if not len(record.frames):
    raise ValueError(f'{record.video} has no frame; a record needs at least 1')
  if times.shape != (len(record.frames),):
    raise ValueError(
      f'{record.video} has {len(record.frames)} frames and time stamps of '
      f'shape {times.shape}; give one a frame'
    )
  untimed = (times == UNTIMED).all()
  if not untimed and (times[0] < 0 or (np.diff(times) < 0).any()):
    raise ValueError(f'{record.video}: time stamps fall; give them in order')


def _all(context: Mapping[str, Any], key: str) -> Sequence[Any]:
  """The values of a context feature, whatever its kind."""
  # `in` first: asking a protobuf map for a missing key would add it.
  if key not in context:
    return ()
  feature = context[key]
  kind = feature.WhichOneof('kind')
  return getattr(feature, kind).value if kind else ()


def _one(context: Mapping[str, Any], key: str, default: Any) -> Any:
  """The first of them."""
  values = _all(context, key)
  return values[0] if len(values) else default


def _times(lists: Mapping[str, Any], *, n: int, fps: float) -> np.ndarray:
  features = lists[TIMES].feature if TIMES in lists else ()
  times = [f.int64_list.value[0] for f in features if f.int64_list.value]
  if len(times) == n:  # MediaSequence counts from the start of the video
    return np.asarray(times, np.int64) - times[0]
  if fps > 0:
    return np.round(np.arange(n) * 1e6 / fps).astype(np.int64)
  return np.full(n, UNTIMED, np.int64)


def _size(context: Mapping[str, Any], jpeg: bytes) -> tuple[int, int]:
  height, width = _one(context, HEIGHT, 0), _one(context, WIDTH, 0)
  if height > 0 and width > 0:
    return height, width
  frame = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
  if frame is None:
    raise InputError(
      f'the first frame of a record ({len(jpeg)} bytes) is no image; wanted a '
      'JPEG in image/encoded; write the record again'
    )
  return frame.shape[0], frame.shape[1]


def _name(context: Mapping[str, Any], start_us: int) -> str:
  name = _one(context, VIDEO, b'').decode()
  if name:
    return name
  # DMVR cuts many clips from one file: the start tells them apart.
  name = _one(context, FILENAME, b'').decode()
  return f'{name}@{start_us}' if start_us else name
