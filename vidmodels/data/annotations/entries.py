"""What the lines of a list say: a path, labels, and perhaps a stretch of time.

Which of the habits a file has is told by its first line and by what all its
lines have in common; never line by line, so that one odd line is an error and
not another format. What labels mean is the business of `lists.py`.
"""

import csv
import dataclasses
import math
import pathlib
import re
from typing import Any

from vidmodels.data.annotations import reading
from vidmodels.data.annotations.looks import looks_like_json, official
from vidmodels.data.annotations.rows import VIDEO_SUFFIXES
from vidmodels.typing import InputError

_PATH_COLUMNS = (
  *('path', 'video', 'video_path', 'file', 'filename', 'file_name'),
  'filepath',
)
_LABEL_COLUMNS = ('label', 'labels', 'class', 'label_index', 'class_index')
_READ_COLUMNS = ('start', 'end')
_SUFFIX = '|'.join(sorted(suffix[1:] for suffix in VIDEO_SUFFIXES))
# The longest path that ends as a video does, then what follows it.
_VIDEO = {
  separator: re.compile(rf'(.*\.(?:{_SUFFIX}))(?:{gap}(.*))?', re.IGNORECASE)
  for separator, gap in ((',', r'\s*,'), (' ', r'\s+'))
}
# A path that ends so, wherever the labels begin.
_HAS_VIDEO = re.compile(rf'\.(?:{_SUFFIX})"?(?:[\s,]|$)', re.IGNORECASE)


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


def read(
  source: pathlib.Path, *, several: bool
) -> tuple[list[Entry], str, list[str]]:
  """Reads every line that is not blank.

  Args:
    source: the list.
    several: whether a line may have several labels, or none: a path that does
      not end as a video does then ends before the first separator.

  Returns:
    The entries; 'line' or 'item', as their numbers count; what the user should
    know.

  Raises:
    InputError: if it is no list, or a data set's own file, which another
      command reads.
  """
  text = reading.read_text(source)
  # By both: a path may begin with a bracket.
  if text.lstrip()[:1] in ('[', '{') and source.suffix.lower() == '.json':
    return _from_json(source), 'item', []
  lines = [(i, line.strip()) for i, line in enumerate(text.split('\n'), 1)]
  lines = [(i, line) for i, line in lines if line]
  if not lines:
    raise InputError(
      f'list {source} is empty; wanted `path label` on each line'
    )
  _refuse_official(source, lines[0][1])
  columns = [c.strip(' "').lower() for c in re.split(r'[\s,]+', lines[0][1])]
  has_header = {*columns} & {*_PATH_COLUMNS} and {*columns} & {*_LABEL_COLUMNS}
  if not has_header:
    _refuse_unknown_header(source, [line for _, line in lines])
  if has_header and len(columns) > 2:
    entries, notes = _from_csv(source, text, several)
  else:
    below = lines[bool(has_header) :]
    entries, notes = _from_lines(source, below, several), []
  if not entries:
    raise InputError(
      f'list {source} is empty below its header; wanted `path label` on each '
      'line'
    )
  return entries, 'line', notes


def _refuse_official(source: pathlib.Path, line: str) -> None:
  kind = official(line)
  if kind:
    raise InputError(
      f'{source} looks like {kind}; wanted a list with `path label` on each '
      'line; for that data set: vidmodels prepare NAME --annotations FILE'
    )


def _refuse_unknown_header(source: pathlib.Path, lines: list[str]) -> None:
  """Refuses a first line that alone has no video, nor a number as label."""
  first, *below = lines
  names_videos = below and all(map(_HAS_VIDEO.search, below))
  if not names_videos or _HAS_VIDEO.search(first):
    return
  if not re.search(r'(?:^|[\s,])[+-]?\d+$', first):
    raise InputError(
      f'{source} line 1 looks like a header: {first[:80]!r}; wanted columns '
      'path,label, of which it has no such pair; rename them or cut the line '
      'away; if it is a video, put the line path,label above it'
    )


def _from_lines(
  source: pathlib.Path, lines: list[tuple[int, str]], several: bool
) -> list[Entry]:
  separator = _separator([line for _, line in lines])
  entries = []
  for number, line in lines:
    video, rest = _parted(line, separator, several)
    if not video:
      raise InputError(
        f'{source} line {number} is {line[:80]!r}; wanted a path and a label, '
        'separated by a tab, a comma or a space'
      )
    fields = rest.split() if separator == ' ' else rest.split(separator)
    labels = tuple(field.strip() for field in fields)
    if rest and not all(labels):
      raise InputError(
        f'{source} line {number} is {line[:80]!r}; wanted a label between the '
        'separators; correct the line'
      )
    entries.append(Entry(number, video, labels if rest else (), rest))
  return entries


def _separator(lines: list[str]) -> str:
  if all('\t' in line for line in lines):
    return '\t'
  for separator, pattern in _VIDEO.items():
    found = [pattern.fullmatch(line) for line in lines]
    if all(found) and any(match[2] for match in found):
      return separator
  # 'one, two.mp4 3' has its comma in the path.
  labels = [line.rsplit(',', 1)[-1].strip() for line in lines]
  spaced = all(re.search(r'\s[+-]?\d+$', label) for label in labels)
  if all(',' in line for line in lines) and not spaced:
    return ','
  return ' '


def _parted(line: str, separator: str, several: bool) -> tuple[str, str]:
  """The path and the rest of a line; no path if it cannot be told."""
  if separator == '\t':
    video, _, rest = line.partition('\t')
    return video.strip(), rest.strip()
  if separator == ',' and line.startswith('"'):
    try:
      fields = next(csv.reader([line], strict=True))
    except csv.Error:
      return '', ''
    return fields[0].strip(), ','.join(fields[1:]).strip()
  match = _VIDEO[separator].fullmatch(line)
  if match:
    return match[1].strip(), (match[2] or '').strip()
  split = line.split if several else line.rsplit
  parts = [*split(',' if separator == ',' else None, 1), ''][:2]
  if not several and not parts[1].strip():
    return '', ''
  return parts[0].strip(), parts[1].strip()


def _from_csv(
  source: pathlib.Path, text: str, several: bool
) -> tuple[list[Entry], list[str]]:
  """A csv with a header: path, label, and `start`, `end` in seconds."""
  delimiter = '\t' if '\t' in text.lstrip().split('\n')[0] else ','
  table = reading.read_csv(source, (), 'a list', delimiter=delimiter)
  entries, columns, path, label = [], [], '', ''
  for number, fields in table:
    if not entries:
      columns = list(fields)
      path, label = _path_and_label(source, columns)
    with reading.at(source, number):
      start_s, end_s = _stretch(fields.get('start', ''), fields.get('end', ''))
      video, said = fields[path].strip(), fields[label].strip()
      if not video:
        raise InputError('no path came; wanted one')
    labels = re.split(r'\s*[,;]\s*', said) if several else [said]
    labels = tuple(labels) if said else ()
    entries.append(Entry(number, video, labels, said, None, start_s, end_s))
  unread = [c for c in columns if c not in (path, label, *_READ_COLUMNS)]
  return entries, [f'columns not read: {", ".join(unread)}'] if unread else []


def _path_and_label(
  source: pathlib.Path, columns: list[str]
) -> tuple[str, str]:
  path = next((c for c in columns if c in _PATH_COLUMNS), '')
  label = next((c for c in columns if c in _LABEL_COLUMNS), '')
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


def _from_json(source: pathlib.Path) -> list[Entry]:
  """A JSON list of objects with `file`, `label` and perhaps `label_idx`."""
  value = reading.read_json(source)
  entries = []
  for number, item in enumerate(value if isinstance(value, list) else [], 1):
    if not isinstance(item, dict) or not {'file', 'label'} <= item.keys():
      entries = []
      break
    with reading.at(source, f'item {number}'):
      entries.append(_from_object(number, item))
  if not entries:
    raise InputError(
      f'{source} looks like {looks_like_json(value)}; wanted a list of objects '
      'with `file` and `label`; for a data set: vidmodels prepare NAME '
      '--annotations FILE'
    )
  return entries


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
    index = reading.whole(index, most=999_999)
  return Entry(number, video.strip(), labels, ', '.join(labels), index)
