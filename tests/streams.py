"""Records whose pixels say which frame and place they show; streams of them."""

import cv2
import numpy as np

from vidmodels.config import Augment, Clip, Data, Views
from vidmodels.data.records import record_set, tfrecord, video_record
from vidmodels.data.records.class_list import ClassList
from vidmodels.data.records.flip_policy import FlipPolicy
from vidmodels.data.stream import batch_stream

CLASSES = ClassList(('left', 'still', 'right'))
SWAP = FlipPolicy('swap', (('left', 'right'),))
# Frames, height, width: long, short, one frame, portrait, square.
VIDEOS = [(30, 24, 36), (5, 24, 36), (1, 24, 30), (22, 40, 24), (9, 24, 24)]
VIDEOS += [(40, 30, 50), (16, 26, 44)]
CLIP = Clip(frames=4, stride=2, size=16)
AUGMENT = Augment(short_side=(18, 24), flip=0.5)
BATCH = 4


def picture(t, height, width):
  """Red says which frame it is; green grows to the right, blue downwards."""
  frame_HWC = np.full((height, width, 3), 6 * t, np.uint8)
  frame_HWC[..., 1] = np.linspace(0, 255, width)
  frame_HWC[..., 2] = np.linspace(0, 255, height)[:, None]
  return frame_HWC


def jpeg(frame_HWC):
  quality = [cv2.IMWRITE_JPEG_QUALITY, 100]
  return cv2.imencode('.jpg', frame_HWC[..., ::-1], quality)[1].tobytes()


def record(i, frames, height, width, label=None):
  return video_record.Record(
    frames=[jpeg(picture(t, height, width)) for t in range(frames)],
    timestamps_us=np.round(np.arange(frames) * 1e6 / 25).astype(np.int64),
    fps=25,
    height=height,
    width=width,
    labels=(i % 3 if label is None else label,),
    label_texts=(),
    video=f'{i}.mp4',
  )


def frame_numbers(video_THWC):
  """Which frames a clip has: their red says so."""
  return np.round(video_THWC[..., 0].mean((1, 2)) / 6).astype(int).tolist()


def write(folder, items, flip=SWAP, split='train'):
  """Writes records to two shards, opens them."""
  CLASSES.save(folder / 'classes.txt')
  written, half = [], (len(items) + 1) // 2
  for k, part in enumerate((items[:half], items[half:])):
    name = tfrecord.shard_name(split, k, 2)
    with tfrecord.ShardWriter(folder / name) as writer:
      for item in part:
        writer.write(video_record.encode(item))
    written.append(
      record_set.Shard(
        name=name,
        count=len(part),
        bytes=writer.bytes,
        sha256=writer.sha256,
        offsets=np.array(writer.offsets, np.int64),
        videos=tuple(item.video for item in part),
      )
    )
  record_set.Manifest(
    split=split,
    shards=tuple(written),
    classes_sha256=CLASSES.sha256,
    flip=flip,
    listed=len(items),
  ).save(folder)
  return record_set.RecordSet.open(folder, split)


def train(videos, rows=range(BATCH), start=0, steps=6, **fields):
  given = {
    'clip': CLIP,
    'augment': AUGMENT,
    'data': Data(threads=2),
    'batch': BATCH,
    'seed': 3,
  }
  return batch_stream.train_batches(
    videos, rows=rows, start_step=start, steps=steps, **(given | fields)
  )


def evaluate(videos, rows=None, **fields):
  views = fields.pop('views', Views(temporal=2, spatial=3, batch=8))
  rows = range(views.batch) if rows is None else rows
  given = {'clip': CLIP, 'data': Data(threads=2)} | fields
  return batch_stream.eval_batches(videos, views=views, rows=rows, **given)
