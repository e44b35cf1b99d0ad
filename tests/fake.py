"""Writes a small record set whose labels show in its pixels."""

import pathlib
from collections.abc import Sequence

import av
import cv2
import numpy as np

from vidmodels.data.records import record_set, tfrecord, video_record
from vidmodels.data.records.class_list import ClassList
from vidmodels.data.records.flip_policy import FlipPolicy
from vidmodels.data.records.task import SINGLE, Task

CLASSES = ('red', 'green', 'blue')
FREE = FlipPolicy(kind='free')


def write(
  folder: pathlib.Path,
  split: str = 'train',
  *,
  videos: int = 13,
  frames: int = 12,
  height: int = 20,
  width: int = 24,
  classes: tuple[str, ...] = CLASSES,
  listed: int | None = None,
  flip: FlipPolicy = FREE,
  fps: float = 0.0,
  labels: Sequence[tuple[int, ...]] | None = None,
  task: Task = SINGLE,
) -> pathlib.Path:
  """Writes a split in two shards: noise tinted in the colour of the class.

  With `labels`, a tuple a video, these are the labels, whatever the colour.
  """
  folder.mkdir(parents=True, exist_ok=True)
  class_list = ClassList.from_names(classes)
  class_list.save(folder / 'classes.txt')
  made = []
  for k in range(2):
    path = folder / tfrecord.shard_name(split, k, 2)
    with tfrecord.ShardWriter(path) as writer:
      for i in range(k, videos, 2):
        own = (i % len(classes),) if labels is None else labels[i]
        writer.write(_record(i, frames, height, width, classes, own))
    made.append(
      record_set.Shard(
        name=path.name,
        count=len(writer.offsets),
        bytes=writer.bytes,
        sha256=writer.sha256,
        offsets=np.array(writer.offsets, np.int64),
        videos=tuple(_name(i, classes) for i in range(k, videos, 2)),
      )
    )
  record_set.Manifest(
    split=split,
    shards=tuple(made),
    classes_sha256=class_list.sha256,
    flip=flip,
    listed=videos if listed is None else listed,
    lost=() if listed is None else (('gone.mp4', 'no such file'),),
    options={'fps': fps},
    labels=tuple(np.bincount(np.arange(videos) % len(classes)).tolist())
    if labels is None
    else (),
    task=task,
  ).save(folder)
  return folder


def _name(i: int, classes: tuple[str, ...]) -> str:
  return f'{classes[i % len(classes)]}/{i:03d}.mp4'


def _record(i, frames, height, width, classes, labels) -> bytes:
  label = i % len(classes)
  rng = np.random.default_rng(i)
  encoded = []
  for _ in range(frames):
    frame_HWC = rng.integers(0, 90, (height, width, 3), dtype=np.uint8)
    frame_HWC[..., label % 3] += 120
    jpeg = cv2.imencode('.jpg', frame_HWC[..., ::-1])[1].tobytes()
    encoded.append(jpeg)
  times = np.arange(frames, dtype=np.int64) * 40_000
  return video_record.encode(
    video_record.Record(
      frames=encoded,
      timestamps_us=times,
      fps=25.0,
      height=height,
      width=width,
      labels=labels,
      label_texts=tuple(classes[k] for k in labels),
      video=_name(i, classes),
      start_us=0,
      end_us=int(times[-1]) + 40_000,
    )
  )


def video(path: pathlib.Path, *, frames: int, fps: int = 10) -> pathlib.Path:
  """A file whose frames grow brighter."""
  with av.open(str(path), 'w') as container:
    stream = container.add_stream('libx264', rate=fps)
    stream.width, stream.height, stream.pix_fmt = 48, 32, 'yuv420p'
    for i in range(frames):
      frame_HWC = np.full((32, 48, 3), 2 * i, np.uint8)
      frame = av.VideoFrame.from_ndarray(frame_HWC, format='rgb24')
      container.mux(stream.encode(frame))
    container.mux(stream.encode())
  return path
