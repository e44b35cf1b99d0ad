"""Lists that name their columns: a csv with a header, a JSON list of objects.

Both may say a path, a label, and where a clip starts and ends in the file.
"""

import csv
import dataclasses
import math
import pathlib
import re
from collections.abc import Iterable
from typing import Any

from vidmodels.data.listing import text_files
from vidmodels.data.listing.sniff import looks_like_json
from vidmodels.typing import InputError

PATH_COLUMNS = (
  *('path', 'video', 'video_path', 'file', 'filename', 'file_name'),
  'filepath',
)
LABEL_COLUMNS = ('label', 'labels', 'class', 'label_index', 'class_index')
_TIMES = ('start', 'end')
_JSON_KEYS = ('file', 'label', 'label_idx', *_TIMES)


@dataclasses.dataclass(frozen=True)
class Entry:
  """One line of a list.

  Attributes:
    number: of the line, or of the entry of a JSON list, from 1.
    video: its path as it stands there.
    labels: the fields after it, as they stand there.
    joined: the same as one field, for class names that hold the separator.
    index: the label's number, if the list gives that beside the name.
    start_s: where the clip starts, seconds.
    end_s: where it ends; None for the file's end.
  """

  number: int
  video: str
  labels: tuple[str, ...]
  joined: str
  index: int | None = None
  start_s: float = 0.0
  end_s: float | None = None


def from_csv(
  source: pathlib.Path, line: int, header: str, several: bool
) -> tuple[list[Entry], list[str]]:
  """A csv with a header: path, label, and `start`, `end` in seconds."""
  table = text_files.read_csv(
    source, (), 'a list', delimiter=_delimiter(header), first=line
  )
  entries, columns, path, label = [], [], '', ''
  for number, fields in table:
    if not entries:
      columns = list(fields)
      path, label = _path_and_label(source, columns)
    with text_files.at(source, number):
      start_s, end_s = _stretch(fields.get('start', ''), fields.get('end', ''))
      video, said = fields[path].strip(), fields[label].strip()
      if not video:
        raise InputError('no path came; wanted one')
    labels = re.split(r'\s*[,;]\s*', said) if several else [said]
    labels = tuple(labels) if said else ()
    entries.append(Entry(number, video, labels, said, None, start_s, end_s))
  return entries, _unread(columns, (path, label, *_TIMES))


def _unread(columns: Iterable[str], read: tuple[str, ...]) -> list[str]:
  unread = [c[:40] or '(no name)' for c in columns if c not in read]
  return [f'columns not read: {", ".join(unread)}'] if unread else []


def is_table(line: int, header: str, text: str) -> bool:
  """Whether all lines have the fields that a header of two columns has.

  Else a path or the labels hold commas without quotes, or spaces part them.
  """
  lines = (row for row in text.split('\n')[line - 1 :] if row.strip())
  delimiter = _delimiter(header)
  try:
    rows = csv.reader(lines, strict=True, delimiter=delimiter)
    return all(len(fields) == 2 for fields in rows)
  except csv.Error:
    return delimiter in header  # and reading it says what is wrong


def _delimiter(header: str) -> str:
  return '\t' if '\t' in header else ','


def _path_and_label(
  source: pathlib.Path, columns: list[str]
) -> tuple[str, str]:
  path = next((c for c in columns if c in PATH_COLUMNS), '')
  label = next((c for c in columns if c in LABEL_COLUMNS), '')
  if not (path and label):
    raise InputError(
      f'{source} has a header that spaces part; wanted commas or tabs between '
      'more than two columns'
    )
  return path, label


def _stretch(start: str, end: str) -> tuple[float, float | None]:
  times = []
  for said in (start.strip(), end.strip()):
    try:
      times.append(float(said) if said else None)
    except ValueError:
      times.append(math.nan)
  start_s, end_s = times[0] or 0.0, times[1]
  if not 0 <= start_s < (math.inf if end_s is None else end_s) <= math.inf or (
    end_s is not None and math.isinf(end_s)
  ):
    raise InputError(
      f'a clip from {start[:40]!r} to {end[:40]!r} came; wanted seconds, the '
      'end after the start'
    )
  return start_s, end_s


def from_json(source: pathlib.Path) -> tuple[list[Entry], list[str]]:
  """A JSON list of objects, with keys as the columns of a csv.

  They are `file`, `label`, and perhaps `label_idx`, or `start`, `end` in
  seconds.
  """
  value = text_files.read_json(source)
  entries = []
  for number, item in enumerate(value if isinstance(value, list) else [], 1):
    if not isinstance(item, dict) or not {'file', 'label'} <= item.keys():
      entries = []
      break
    with text_files.at(source, f'item {number}'):
      entries.append(_from_object(number, item))
  if not entries:
    raise InputError(
      f'{source} looks like {looks_like_json(value)}; wanted a list of objects '
      'with `file` and `label`; for a data set: vidmodels prepare NAME '
      '--annotations FILE'
    )
  return entries, _unread(
    {key: 0 for item in value for key in item}, _JSON_KEYS
  )


def _from_object(number: int, item: dict[str, Any]) -> Entry:
  video, said = item['file'], item['label']
  if not isinstance(video, str) or not video.strip():
    raise InputError(f'file {str(video)[:60]!r} came; wanted a path')
  if not video.isascii():
    try:
      video.encode()
    except UnicodeEncodeError as e:
      raise InputError(f'file {video[:60]!a} came; wanted a path') from e
  labels = said if isinstance(said, list) else [said]
  for label in labels:
    if isinstance(label, bool) or not isinstance(label, str | int):
      raise InputError(f'label {str(label)[:60]!r} came; wanted a name')
  labels = tuple(str(label).strip() for label in labels)
  index = item.get('label_idx')
  if index is not None:
    index = text_files.whole(index, most=999_999)
  start_s, end_s = _stretch(*(_time(item.get(key)) for key in _TIMES))
  joined = ', '.join(labels)
  return Entry(number, video.strip(), labels, joined, index, start_s, end_s)


def _time(said: Any) -> str:
  return '' if said is None else str(said)
