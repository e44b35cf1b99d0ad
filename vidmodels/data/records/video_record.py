"""One video as one record: DMVR's SequenceExample, without TensorFlow.

  raw = video_record.encode(record)
  record = video_record.parse(raw)

A record is what scenic and DMVR read and write (`image/encoded`, one JPEG a
frame; `clip/label/index`; ...) plus what they leave out: true time stamps, the
frame rate, the size and a unique name. Their readers skip our keys, and ours
accepts records that lack them.
"""

import dataclasses
import functools
import math
import operator
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from google.protobuf import (
  descriptor_pb2,
  descriptor_pool,
  message,
  message_factory,
)

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

UNTIMED = -1  # every time stamp of a record without times


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Record:
  """A labelled video of n frames."""

  frames: Sequence[bytes]  # n JPEGs, RGB once decoded, in the order shown
  # timestamps_us: when each frame is shown, microseconds from the first one,
  # int64 [n], never falling; all `UNTIMED` if unknown
  timestamps_us: np.ndarray
  fps: float  # the average if it varies, float32 precision; 0 if unknown
  height: int  # of every frame, pixels
  width: int  # of every frame, pixels
  labels: tuple[int, ...]  # class indices; empty if it has none
  label_texts: tuple[str, ...]  # names of the classes; empty if unknown
  # video: unique within its split: the path below the source folder, or the
  # path that the list gave
  video: str
  start_us: int = 0  # where the clip starts in its source, microseconds
  end_us: int = 0  # where it ends

  @property
  def timed(self) -> bool:
    """Whether the record has the times of its frames."""
    return bool(len(self.timestamps_us)) and self.timestamps_us[0] >= 0


def encode(record: Record, task: Task = SINGLE) -> bytes:
  """Serialises a record; equal records give equal bytes.

  All labels are in `clip/label/index`, as in DMVR's multi-label sets. With
  heads, each label also has a key of its own, such as
  `clip/label/verb/index`, numbered in the whole class list.

  Raises ValueError if there is no frame, or times and frames do not fit.
  """
  times = np.asarray(record.timestamps_us)
  if not len(record.frames):
    raise ValueError(f'got no frame for {record.video}; expected at least 1')
  if times.shape != (len(record.frames),):
    raise ValueError(
      f'got time stamps of shape {times.shape} for {len(record.frames)} frames '
      f'of {record.video}; expected one a frame'
    )
  untimed = (times == UNTIMED).all()
  if not untimed and (times[0] < 0 or (np.diff(times) < 0).any()):
    raise ValueError(
      f'got time stamps of {record.video} that fall; expected them in order'
    )
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

  Without our keys, the size comes from the first JPEG, the name from
  `video/filename` and the start of the clip, and times from `clip/fps`.

  Raises InputError if the bytes are not a SequenceExample, hold no frame, or a
  key has values of the wrong kind.
  """
  example = _parse_message(raw)
  context, lists = example.context.feature, example.feature_lists.feature_list
  try:
    frames = tuple(
      feature.bytes_list.value[0]
      for feature in (lists[FRAMES].feature if FRAMES in lists else ())
      if feature.bytes_list.value
    )
    if not frames:
      raise InputError(
        f'got a record with the keys {sorted(context) + sorted(lists)} and no '
        f'frame; expected JPEGs in {FRAMES}; try `vidmodels inspect DIR`'
      )
    fps = float(_first_value(context, FPS, 0.0))
    if not 0 <= fps < math.inf:
      raise ValueError(f'{fps} frames a second')
    height = operator.index(_first_value(context, HEIGHT, 0))
    width = operator.index(_first_value(context, WIDTH, 0))
    if height <= 0 or width <= 0:
      height, width = _jpeg_size(frames[0])
    start_us = operator.index(_first_value(context, START, 0))
    video = _first_value(context, VIDEO, b'').decode()
    if not video:
      video = _first_value(context, FILENAME, b'').decode()
      # DMVR cuts many clips from one file: the start tells them apart.
      video = f'{video}@{start_us}' if start_us else video
    return Record(
      frames=frames,
      timestamps_us=_frame_times(lists, n=len(frames), fps=fps),
      fps=fps,
      height=height,
      width=width,
      labels=tuple(int(label) for label in _values(context, LABEL)),
      label_texts=tuple(text.decode() for text in _values(context, LABEL_TEXT)),
      video=video,
      start_us=start_us,
      end_us=operator.index(_first_value(context, END, 0)),
    )
  except InputError:
    raise
  # For damaged text, text where a number belongs, and so on.
  except (
    *(ValueError, TypeError, AttributeError, ArithmeticError, cv2.error),
  ) as e:
    raise InputError(
      f'got a record with a value that its key cannot have ({e}); expected '
      'what DMVR and `vidmodels prepare` write; try to write it again'
    ) from e


def parse_labels(head: bytes) -> tuple[int, ...] | None:
  """The labels of a record by its first bytes, as in `parse`.

  None if the context is not first, or does not end within `head`. Raises
  InputError as `parse`.
  """
  # Field 1 of the message, as protobuf writes it: a tag, its size, its bytes.
  size, at = 0, 1
  for at in range(1, min(len(head), 6)):
    size |= (head[at] & 0x7F) << 7 * (at - 1)
    if head[at] < 0x80:
      break
  end = at + 1 + size
  if head[:1] != b'\x0a' or at >= len(head) or end > len(head):
    return None
  context = _parse_message(head[:end]).context.feature
  try:
    return tuple(operator.index(label) for label in _values(context, LABEL))
  except TypeError as e:
    raise InputError(
      f'got a record whose {LABEL} is no number ({e}); expected what DMVR and '
      '`vidmodels prepare` write; try to write it again'
    ) from e


def count_keys(raw: bytes) -> dict[str, int]:
  """The keys of a record, each with the number of its values."""
  example = _parse_message(raw)
  context, lists = example.context.feature, example.feature_lists.feature_list
  counts = {key: len(_values(context, key)) for key in context}
  counts |= {key: len(lists[key].feature) for key in lists}
  return dict(sorted(counts.items()))


def _parse_message(raw: bytes) -> Any:
  example = messages().SequenceExample()
  try:
    example.ParseFromString(raw)
  except message.DecodeError as e:
    raise InputError(
      f'got {len(raw)} bytes that are no SequenceExample ({e}); expected a '
      'record with image/encoded; try `vidmodels prepare` to make such records'
    ) from e
  return example


def _values(context: Mapping[str, Any], key: str) -> Sequence[Any]:
  """The values of a context feature, whatever their kind."""
  # `in` first: asking a protobuf map for a missing key would add it.
  if key not in context:
    return ()
  feature = context[key]
  kind = feature.WhichOneof('kind')
  return getattr(feature, kind).value if kind else ()


def _first_value(context: Mapping[str, Any], key: str, default: Any) -> Any:
  values = _values(context, key)
  return values[0] if len(values) else default


def _frame_times(lists: Mapping[str, Any], *, n: int, fps: float) -> np.ndarray:
  features = lists[TIMES].feature if TIMES in lists else ()
  times = [f.int64_list.value[0] for f in features if f.int64_list.value]
  if len(times) == n:  # MediaSequence counts from the start of the video
    return np.asarray(times, np.int64) - times[0]
  if fps > 0:
    return np.round(np.arange(n) * 1e6 / fps).astype(np.int64)
  return np.full(n, UNTIMED, np.int64)


def picture_size(picture: bytes) -> tuple[int, int]:
  """Height and width by the header of a JPEG or PNG; (0, 0) for anything else.

  A header of 20 bytes may claim 65,535 x 65,535 pixels, for which OpenCV would
  make room.
  """
  if picture[:8] == b'\x89PNG\r\n\x1a\n':
    width, height = struct.unpack('>II', picture[16:24].ljust(8, b'\0'))
    return height, width
  at = 2
  while picture[:2] == b'\xff\xd8' and at + 9 <= len(picture):
    mark, code, length = struct.unpack('>BBH', picture[at : at + 4])
    # A frame's start, of any of the kinds of JPEG.
    if 0xC0 <= code <= 0xCF and code not in (0xC4, 0xC8, 0xCC):
      return struct.unpack('>HH', picture[at + 5 : at + 9])
    if code == 0xFF:  # a filler
      at += 1
    elif mark != 0xFF or length < 2:
      break
    else:
      at += 2 + length
  return 0, 0


def _jpeg_size(jpeg: bytes) -> tuple[int, int]:
  height, width = picture_size(jpeg)
  if height and width:
    return height, width
  frame = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
  if frame is None:
    raise InputError(
      f'got a first frame of {len(jpeg)} bytes that is no image; expected a '
      'JPEG in image/encoded; try to write the record again'
    )
  return frame.shape[0], frame.shape[1]


@functools.cache
def messages() -> Any:
  """The message classes Example and SequenceExample, as attributes.

  They come from a descriptor pool of their own: TensorFlow registers the same
  names in protobuf's default pool, and a second registration there would end a
  process that loads both.
  """
  pool = descriptor_pool.DescriptorPool()
  pool.Add(_schema())
  classes = {
    name: message_factory.GetMessageClass(
      pool.FindMessageTypeByName(f'tensorflow.{name}')
    )
    for name in ('SequenceExample', 'Example')
  }
  return type('Messages', (), classes)


_FIELDS = """
BytesList repeated bytes value 1
FloatList repeated float value 1
Int64List repeated int64 value 1
Feature optional BytesList bytes_list 1
Feature optional FloatList float_list 2
Feature optional Int64List int64_list 3
FeatureList repeated Feature feature 1
Features repeated Features.FeatureEntry feature 1
Features.FeatureEntry optional string key 1
Features.FeatureEntry optional Feature value 2
FeatureLists repeated FeatureLists.FeatureListEntry feature_list 1
FeatureLists.FeatureListEntry optional string key 1
FeatureLists.FeatureListEntry optional FeatureList value 2
Example optional Features features 1
SequenceExample optional Features context 1
SequenceExample optional FeatureLists feature_lists 2
"""


def _schema() -> descriptor_pb2.FileDescriptorProto:
  """tensorflow/core/example/{feature,example}.proto, field for field."""
  file = descriptor_pb2.FileDescriptorProto(
    name='vidmodels/sequence_example.proto',
    package='tensorflow',
    syntax='proto3',
  )
  kinds: Any = descriptor_pb2.FieldDescriptorProto
  owners: dict[str, Any] = {}
  for line in _FIELDS.strip().splitlines():
    owner, label, kind, name, number = line.split()
    parent, _, entry = owner.rpartition('.')
    if owner not in owners and parent:  # a map, as protoc spells it out
      owners[owner] = owners[parent].nested_type.add(name=entry)
      owners[owner].options.map_entry = True
    elif owner not in owners:
      owners[owner] = file.message_type.add(name=owner)
    field = owners[owner].field.add(name=name, number=int(number))
    field.label = getattr(kinds, f'LABEL_{label.upper()}')
    field.type = getattr(kinds, f'TYPE_{kind.upper()}', kinds.TYPE_MESSAGE)
    if field.type == kinds.TYPE_MESSAGE:
      field.type_name = f'.tensorflow.{kind}'
  owners['Feature'].oneof_decl.add(name='kind')
  for field in owners['Feature'].field:
    field.oneof_index = 0
  return file
