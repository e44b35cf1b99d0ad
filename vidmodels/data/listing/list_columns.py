"""What the columns of a user's list mean, by the names that people give them.

  columns = find_columns(['video_path', 'class', 'start_time', 'end_time'])
  columns.path, columns.label, columns.times(fields)

A name counts without regard to case, spaces and `_`: `Start Time`, `start_time`
and `startTime` are one. A column that changes what a row means (a frame number,
a box, a fold) and that is not read is an error; others are named in a note.
"""

import dataclasses
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from vidmodels.typing import InputError

# The first group with a name in the header has the path.
_PATHS = (
  {'path', 'videopath', 'filepath', 'clippath', 'fullpath', 'relativepath'},
  {'file', 'filename', 'videofile', 'videofilename', 'clipfile'},
  {'video', 'clip', 'videoname', 'clipname', 'name', 'uri'},
  {'videoid', 'clipid', 'vid'},
)
_LABELS = {
  *('label', 'labels', 'labelname', 'class', 'classes', 'classname', 'y'),
  *('category', 'categories', 'categoryname', 'action', 'actions', 'activity'),
  *('target', 'tag', 'tags', 'groundtruth', 'actionlabel', 'classlabel'),
}
# The number of the class whose name is in another column, or the label itself.
_NUMBERS = {
  *('labelindex', 'labelidx', 'labelid', 'labelnumber', 'classindex'),
  *('classidx', 'classid', 'classnumber', 'categoryid', 'actionid', 'targetid'),
}
_SECONDS = ('', 's', 'sec', 'secs', 'second', 'seconds', 'inseconds')
_STARTS = {
  stem + unit
  for stem in ('start', 'starttime', 'timestart', 'tstart', 'begin')
  for unit in _SECONDS
} | {'begintime', 'clipstart', 'segmentstart', 'starttimestamp'}
_ENDS = {
  stem + unit
  for stem in ('end', 'endtime', 'timeend', 'tend', 'stop')
  for unit in _SECONDS
} | {'stoptime', 'clipend', 'segmentend', 'endtimestamp'}
_DURATIONS = {f'duration{unit}' for unit in _SECONDS} | {'clipduration', 'dur'}
_LENGTHS = {f'length{unit}' for unit in _SECONDS} | {'cliplength'}
_SPLITS = {'split', 'splits', 'subset', 'partition'}
# Columns that change what a row means if one of their words is among these, or
# the whole name.
_CUTS = {'start', 'begin', 'end', 'stop', 'until', 'onset', 'offset', 'frame'}
_CHANGES = {
  *('from', 'to', 'time', 'times', 'timestamp', 'timestamps', 'segment'),
  *('segments', 'interval', 'range', 'span', 'fold', 'bbox', 'box', 'crop'),
  *('roi', 'x1', 'y1', 'x2', 'y2', 'xmin', 'ymin', 'xmax', 'ymax', 'ignore'),
  *('exclude', 'skip', 'valid', 'isvalid', 'sampleweight'),
}
# Facts about a whole file, although one of their words is above.
_FACTS = {'framerate', 'framecount', 'framewidth', 'frameheight', 'framesize'}
_SPLIT_WORDS = {
  'train': ('train', 'training'),
  'val': ('val', 'valid', 'validate', 'validation', 'dev'),
  'test': ('test', 'testing', 'holdout'),
}
_CLOCK = re.compile(r'(?:(\d{1,4}):)?(\d{1,4}):(\d{1,2}(?:\.\d+)?)', re.ASCII)


@dataclasses.dataclass(frozen=True)
class Columns:
  """The names of the columns that are read; '' for one that is not there."""

  path: str = ''
  label: str = ''
  number: str = ''  # the label's number, where `label` is its name
  start: str = ''
  end: str = ''
  duration: str = ''  # with `start` the clip's, else the file's
  split: str = ''
  unread: tuple[str, ...] = ()  # the others

  def times(
    self, fields: Mapping[str, Any]
  ) -> tuple[float, float | None, float | None]:
    """Start and end of the clip, and how long the file is said to be, seconds.

    The end is None for that of the file, the length None if it is not said.
    """
    start, end, duration = (
      '' if value is None else str(value).strip()
      for value in (
        field(fields, key) for key in (self.start, self.end, self.duration)
      )
    )
    try:
      start_s = parse_time(start) if start else 0.0
      end_s = parse_time(end) if end else None
      length_s = parse_time(duration) if duration else None
    except ValueError:
      start_s = math.nan
      end_s = length_s = None
    if self.start and length_s is not None:
      end_s, length_s = start_s + length_s, None
      end = f'{duration} s later'
    last_s = math.inf if end_s is None else end_s
    if (
      not 0 <= start_s < last_s
      or end_s == math.inf
      or (length_s is not None and not 0 < length_s < math.inf)
    ):
      said = f'a length of {duration[:40]!r}'
      if self.start or self.end:
        said = f'a clip from {start[:40]!r} to {end[:40]!r}'
      raise InputError(
        f'got {said}; expected seconds (12.5) or a time (00:00:12.5), the end '
        'after the start'
      )
    return start_s, end_s, length_s


def field(fields: Mapping[str, Any], column: str) -> Any:
  """The value of a column; None without such a column."""
  return fields.get(column) if column else None


def find_columns(names: Iterable[str]) -> Columns:
  """Finds the columns that have a meaning.

  Raises InputError for two that have the same, and for one that changes what a
  row means and is not read.
  """
  names = list(names)
  keys = {name: _key(name) for name in names}

  def find(what: str, known: set[str]) -> str:
    found = [name for name, key in keys.items() if key in known]
    if len(found) > 1:
      raise InputError(
        f'got the columns {found[0]!r} and {found[1]!r}, either of which may '
        f'be the {what}; expected one; try renaming or removing one'
      )
    return ''.join(found)

  path = next(filter(None, (find('path', known) for known in _PATHS)), '')
  label, number = find('label', _LABELS), find('label', _NUMBERS)
  if not label:
    label, number = number, ''
  # A file of its own, whatever part of a video on YouTube it once was.
  is_clip = 'youtubeid' in keys.values()
  if is_clip:
    keys |= {n: '' for n, k in keys.items() if k in ('timestart', 'timeend')}
  start, end = find('start', _STARTS), find('end', _ENDS)
  duration = ''
  if not end:
    known = _DURATIONS | _LENGTHS if start else _DURATIONS
    duration = find('duration', known)
  split = find('split', _SPLITS)
  read = {path, label, number, start, end, duration, split} - {''}
  unread = tuple(name for name in names if name not in read)
  for name in unread:
    _refuse_change(name, keys[name])
  return Columns(path, label, number, start, end, duration, split, unread)


def is_header(names: Iterable[str]) -> bool:
  """Whether these words name a path and a label."""
  keys = {_key(name) for name in names}
  return any(keys & known for known in _PATHS) and bool(
    keys & (_LABELS | _NUMBERS)
  )


def names_label(names: Iterable[str]) -> bool:
  """Whether one of these words is the name of a column with the label."""
  return any(_key(name) in _LABELS | _NUMBERS for name in names)


def parse_time(text: str) -> float:
  """Seconds as a number, or a time such as 00:01:02.5 or 1:02.

  Raises ValueError if it is neither.
  """
  match = _CLOCK.fullmatch(text)
  if match is None:
    return float(text)
  hours, minutes, seconds = match.groups()
  if float(seconds) >= 60 or (hours and int(minutes) >= 60):
    raise ValueError(text)
  return 3600 * int(hours or 0) + 60 * int(minutes) + float(seconds)


def is_split(value: str, split: str) -> bool:
  """Whether a value of the column `split` names this split."""
  value, split = value.strip().lower(), split.lower()
  words = next((w for w in _SPLIT_WORDS.values() if split in w), (split,))
  return value in words


def _key(name: str) -> str:
  return re.sub(r'[^a-z0-9]', '', name.lower())


def _refuse_change(name: str, key: str) -> None:
  """Raises InputError for a column that may not be passed over."""
  spaced = re.sub('([a-z0-9])([A-Z])', r'\1 \2', name).lower()
  words = set(re.findall(r'[a-z]+', spaced))
  if not key or key in _FACTS or not (words & _CUTS or key in _CHANGES):
    return
  move = 'try removing it'
  if words & _CUTS:
    move = 'try renaming it or converting it to these, or removing it'
  if 'frame' in words:
    move = 'try dividing it by the frame rate, or removing it'
  raise InputError(
    f'got the column {name[:40]!r}, which changes what a row means and is not '
    'read; expected parts of videos as start,end or start,duration, in seconds '
    f'(12.5) or as times (00:00:12.5); {move}'
  )
