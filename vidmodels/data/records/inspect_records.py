"""Shows what a folder of records holds: keys, counts, labels, pictures.

  inspect_records.summary('records')['splits']['train']['records']
  inspect_records.contact_sheet('records', 'train', 'train.png')

Shards of another tool need an index first: `index_foreign.py` makes one.
"""

import hashlib
import os
import pathlib
from typing import Any

import cv2
import numpy as np

from vidmodels import files, local_cache
from vidmodels.data.records import record_set, video_record
from vidmodels.typing import AnyPath, InputError

_TILE, _MARGIN, _LINE = 112, 4, 18  # pixels of the contact sheet


def summary(dir: AnyPath, split: str | None = None) -> dict[str, Any]:
  """Counts, labels and options of every split of a folder, for JSON.

  Reads one record of each split, for its keys and as an example; `verify` reads
  all.
  """
  splits = (split,) if split else record_set.list_splits(dir)
  if not splits:
    # Raises an error that says what is there instead.
    folder = files.place(dir)
    names = sorted(p.name for p in folder.iterdir()) if folder.is_dir() else []
    shards = (name.split('-')[0] for name in names if '-of-' in name)
    record_set.Manifest.load(folder, next(shards, 'train'))
  return {
    'dir': os.fspath(dir),
    'splits': {split: _summary(dir, split) for split in splits},
  }


def _summary(dir: AnyPath, split: str) -> dict[str, Any]:
  records = record_set.RecordSet.open(dir, split)
  manifest, classes = records.manifest, records.classes
  record = records.record(0)
  return {
    'records': len(records),
    'listed': manifest.listed,
    'lost': [list(entry) for entry in manifest.lost],
    'damaged': [list(entry) for entry in manifest.damaged],
    'short': [list(entry) for entry in manifest.short],
    'shards': len(manifest.shards),
    'bytes': sum(shard.bytes for shard in manifest.shards),
    'classes': len(classes),
    'classes_sha256': classes.sha256,
    'labels': dict(zip(classes.names, manifest.labels, strict=False)),
    'task': manifest.task.to_json(),
    'labelled': manifest.labelled,
    'flip': manifest.flip.to_json(),
    'options': dict(manifest.options),
    'fingerprint': manifest.fingerprint,
    'keys': video_record.count_keys(records[0]),
    'example': {
      'video': record.video,
      'labels': list(record.labels),
      'label_texts': list(record.label_texts),
      'frames': len(record.frames),
      'fps': record.fps,
      'seconds': (record.end_us - record.start_us) / 1e6,
      'height': record.height,
      'width': record.width,
    },
  }


def verify(dir: AnyPath, split: str) -> int:
  """Reads every record of a split with its checksums; returns the count.

  An InputError names the record or the shard that is not as the manifest says.
  """
  records = record_set.RecordSet.open(dir, split)
  for i in range(len(records)):
    records.record(i)
  for shard in records.manifest.shards:
    with open(local_cache.local_copy(records.dir / shard.name), 'rb') as file:
      digest = hashlib.file_digest(file, 'sha256').hexdigest()
    if digest != shard.sha256:
      raise InputError(
        f'got shard {records.dir / shard.name} with the hash {digest[:12]}; '
        f'expected {shard.sha256[:12]}, as in the manifest; try to restore it'
      )
  return len(records)


def contact_sheet(
  dir: AnyPath, split: str, png: AnyPath, *, count: int = 12, frames: int = 8
) -> pathlib.Path:
  """Draws a split: a row of frames for each record, from left to right.

  Draws `count` records, spread evenly over the split, and `frames` of each,
  spread evenly over it, to the file `png`.
  """
  if count < 1 or frames < 1:
    raise InputError(
      f'got {count} records with {frames} frames for a contact sheet; expected '
      'at least 1 of each'
    )
  path = files.place(png)
  if path.suffix != '.png':
    raise InputError(f'got {path} for a picture; expected a name with .png')
  files.check_output_path(path)
  records = record_set.RecordSet.open(dir, split)
  numbers = np.linspace(0, len(records) - 1, min(count, len(records)))
  rows = [_draw_row(records.record(int(i)), frames) for i in np.round(numbers)]
  _, data = cv2.imencode('.png', np.concatenate(rows))
  files.write_atomically(path, data.tobytes())
  return path


def _draw_row(record: video_record.Record, frames: int) -> np.ndarray:
  """BGR picture of one record: a line of text above its frames."""
  width = frames * (_TILE + _MARGIN) + _MARGIN
  row_HWC = np.full((_LINE + _TILE + _MARGIN, width, 3), 255, np.uint8)
  # OpenCV's font has ASCII letters only.
  labels = ' '.join(map(str, record.labels))
  text = f'{labels} {", ".join(record.label_texts)}  {record.video}'
  text = text.encode('ascii', 'replace').decode()
  cv2.putText(
    row_HWC,
    text,
    (_MARGIN, _LINE - 5),
    cv2.FONT_HERSHEY_SIMPLEX,
    0.4,
    (0, 0, 0),
    1,
    cv2.LINE_AA,
  )
  for k, t in enumerate(np.linspace(0, len(record.frames) - 1, frames)):
    jpeg = np.frombuffer(record.frames[round(t)], np.uint8)
    try:
      frame_HWC = cv2.imdecode(jpeg, cv2.IMREAD_COLOR)
    except cv2.error:  # it is empty or claims billions of pixels
      frame_HWC = None
    if frame_HWC is None:
      raise InputError(
        f'got frame {round(t)} of {record.video}, which is no image; expected '
        'a JPEG; try to prepare the split again'
      )
    scale = _TILE / max(frame_HWC.shape[:2])
    size = [max(1, round(scale * side)) for side in frame_HWC.shape[1::-1]]
    frame_HWC = cv2.resize(frame_HWC, size, interpolation=cv2.INTER_AREA)
    left = _MARGIN + k * (_TILE + _MARGIN)
    row_HWC[_LINE : _LINE + size[1], left : left + size[0]] = frame_HWC
  return row_HWC
