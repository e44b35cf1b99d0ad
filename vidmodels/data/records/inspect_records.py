"""What a folder of records holds: keys, counts, labels, pictures.

Shards of another tool need an index first: `index_foreign.py` makes one.
"""

import os
import pathlib
from typing import Any

import cv2
import numpy as np

from vidmodels import files
from vidmodels.data.records import record_set, video_record
from vidmodels.typing import InputError

_TILE, _MARGIN, _LINE = 112, 4, 18  # pixels of the contact sheet


def summary(
  dir: str | os.PathLike[str], split: str | None = None
) -> dict[str, Any]:
  """Counts, labels and make of every split of a folder, for JSON.

  One record a split is read, for its keys and as an example; `verify` reads
  all.

  Raises:
    InputError: if the folder has no split, or one cannot be opened.
  """
  splits = (split,) if split else record_set.splits(dir)
  if not splits:
    # Says what is there instead.
    record_set.Manifest.load(dir, _first_split(pathlib.Path(dir)))
  return {
    'dir': os.fspath(dir),
    'splits': {split: _summary(dir, split) for split in splits},
  }


def _summary(dir: str | os.PathLike[str], split: str) -> dict[str, Any]:
  records_of = record_set.RecordSet.open(dir, split)
  manifest, classes = records_of.manifest, records_of.classes
  record = records_of.record(0)
  return {
    'records': len(records_of),
    'listed': manifest.listed,
    'lost': [list(entry) for entry in manifest.lost],
    'damaged': [list(entry) for entry in manifest.damaged],
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
    'keys': video_record.keys(records_of[0]),
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


def verify(dir: str | os.PathLike[str], split: str) -> int:
  """Reads every record of a split with its checksums and returns the count.

  Raises:
    InputError: if one is corrupt; the message names shard and offset.
  """
  records_of = record_set.RecordSet.open(dir, split)
  for i in range(len(records_of)):
    records_of.record(i)
  return len(records_of)


def contact_sheet(
  dir: str | os.PathLike[str],
  split: str,
  png: str | os.PathLike[str],
  *,
  count: int = 12,
  frames: int = 8,
) -> pathlib.Path:
  """Writes a picture of a split: a record a row, its frames from left to right.

  Args:
    dir: the folder of records.
    split: the split.
    png: where to write the picture.
    count: records, spread evenly over the split.
    frames: of each record, spread evenly over it.

  Raises:
    InputError: if the split cannot be opened or a frame is no image.
  """
  if count < 1 or frames < 1:
    raise InputError(
      f'a contact sheet of {count} records with {frames} frames was asked; '
      'wanted at least 1 of each'
    )
  path = pathlib.Path(png)
  if path.suffix != '.png':
    raise InputError(f'{path} came for a picture; wanted a name with .png')
  files.check_output_path(path)
  records_of = record_set.RecordSet.open(dir, split)
  chosen = np.linspace(0, len(records_of) - 1, min(count, len(records_of)))
  rows = [
    _sheet_row(records_of.record(int(i)), frames) for i in np.round(chosen)
  ]
  _, data = cv2.imencode('.png', np.concatenate(rows))
  files.write_atomically(path, data.tobytes())
  return path


def _sheet_row(record: video_record.Record, frames: int) -> np.ndarray:
  """BGR picture of one record, a line of text above its frames."""
  width = frames * (_TILE + _MARGIN) + _MARGIN
  row_HWC = np.full((_LINE + _TILE + _MARGIN, width, 3), 255, np.uint8)
  # OpenCV's font has no letters beyond ASCII.
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
    frame_HWC = cv2.imdecode(jpeg, cv2.IMREAD_COLOR)
    if frame_HWC is None:
      raise InputError(
        f'frame {round(t)} of {record.video} is no image; wanted a JPEG; '
        'prepare the split again'
      )
    scale = _TILE / max(frame_HWC.shape[:2])
    size = [max(1, round(scale * side)) for side in frame_HWC.shape[1::-1]]
    frame_HWC = cv2.resize(frame_HWC, size, interpolation=cv2.INTER_AREA)
    left = _MARGIN + k * (_TILE + _MARGIN)
    row_HWC[_LINE : _LINE + size[1], left : left + size[0]] = frame_HWC
  return row_HWC


def _first_split(folder: pathlib.Path) -> str:
  names = sorted(p.name for p in folder.iterdir()) if folder.is_dir() else []
  split = next((n.split('-')[0] for n in names if '-of-' in n), 'train')
  return split
