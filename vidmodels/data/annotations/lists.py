"""A list file: a path and a label on each line.

The separator is a tab if every line has one, else a comma if every line has
one, else white space. The label is what follows the last separator, so paths
may hold spaces; a label with spaces needs a tab or a comma, one with a comma
needs a tab. A first line that names columns (`path,label`) is skipped.
"""

import os
import pathlib
import re

from vidmodels.data.annotations.rows import Listing, Row
from vidmodels.data.classes import ClassList
from vidmodels.typing import InputError

_PATH_COLUMNS = ('path', 'video', 'video_path', 'file', 'filename')
_LABEL_COLUMNS = ('label', 'class', 'label_index', 'class_index')
_MOST_CLASSES = 100_000  # a larger number is no label but a slip
_NUMBER = re.compile(r'[+-]?\d+', re.ASCII)


def read(
  source: pathlib.Path, classes: ClassList | None, *, root: pathlib.Path
) -> Listing:
  """Reads a list; every line that is not blank is a video.

  Raises:
    InputError: if a line has no label or an unknown one, a path comes twice, or
      no file of the list is there.
  """
  entries = _entries(source)
  labels = [label for _, _, label in entries]
  if classes is None:
    classes = _classes_of(labels)
  known = {name: i for i, name in enumerate(classes.names)}
  rows, first = [], {}
  for number, video, label in entries:
    if video in first:
      raise InputError(
        f'{source} lists {video!r} twice, on lines {first[video]} and '
        f'{number}; wanted every video once; remove one'
      )
    first[video] = number
    try:
      index = known[label] if label in known else classes.index(label)
    except InputError as e:
      raise InputError(f'{source} line {number}: {e}') from e
    rows.append(Row(path=root / video, video=video, labels=(index,)))
  _check_files(source, rows, root)
  return Listing(rows=tuple(rows), classes=classes)


def _entries(source: pathlib.Path) -> list[tuple[int, str, str]]:
  """Line number, path and label of each line."""
  try:
    text = source.read_text(encoding='utf-8-sig')
  except (OSError, UnicodeDecodeError) as e:
    raise InputError(
      f'list {source} cannot be read ({e}); wanted UTF-8 text with `path '
      'label` on each line'
    ) from e
  lines = [(i, line.strip()) for i, line in enumerate(text.split('\n'), 1)]
  lines = [(i, line) for i, line in lines if line]
  separator = _separator([line for _, line in lines])
  entries = []
  for number, line in lines:
    parts = [part.strip() for part in line.rsplit(separator, 1)]
    if len(parts) != 2 or not all(parts):
      raise InputError(
        f'{source} line {number} is {line!r}; wanted a path and a label, '
        'separated by a tab, a comma or a space'
      )
    entries.append((number, *parts))
  if entries and _is_header(source, entries[0], lines[0][1]):
    del entries[0]
  if not entries:
    raise InputError(
      f'list {source} is empty; wanted `path label` on each line'
    )
  return entries


def _separator(lines: list[str]) -> str | None:
  if all('\t' in line for line in lines):
    return '\t'
  # 'one, two.mp4 3' has its comma in the path.
  labels = [line.rsplit(',', 1)[-1].strip() for line in lines]
  spaced = all(re.search(r'\s[+-]?\d+$', label) for label in labels)
  if all(',' in line for line in lines) and not spaced:
    return ','
  return None


def _is_header(
  source: pathlib.Path, entry: tuple[int, str, str], line: str
) -> bool:
  columns = [column.lower() for column in re.split(r'[\s,]+', line)]
  if columns[0] not in _PATH_COLUMNS:
    return False
  if len(columns) == 2 and columns[1] in _LABEL_COLUMNS:
    return True
  if not set(columns) & set(_LABEL_COLUMNS):
    return False  # a video called `video`
  raise InputError(
    f'{source} has the columns {", ".join(columns)}; wanted path and label '
    'and no other; cut the rest away'
  )


def _classes_of(labels: list[str]) -> ClassList:
  if not all(_NUMBER.fullmatch(label) for label in labels):
    return ClassList.from_names(sorted(set(labels)))
  numbers = [int(label) for label in labels]
  for number in (min(numbers), max(numbers)):
    if not 0 <= number < _MOST_CLASSES:
      raise InputError(
        f'label {number} came; wanted 0 to {_MOST_CLASSES - 1} without a class '
        'list; correct the label, or give the names with --classes'
      )
  return ClassList.from_names([str(i) for i in range(max(numbers) + 1)])


def _check_files(
  source: pathlib.Path, rows: list[Row], root: pathlib.Path
) -> None:
  """Refuses a list none of whose files is there; one by one they are lost."""
  if any(os.path.exists(row.path) for row in rows):
    return
  first = rows[0]
  parts = first.video.split()
  if len(parts) > 1 and os.path.exists(root / parts[0]):
    raise InputError(
      f'{source} has {first.video!r} before the label; wanted one path and '
      'one label on a line; lists with several labels or frame counts are not '
      'read'
    )
  raise InputError(
    f'none of the {len(rows)} files of {source} is there, as {first.path}; '
    'wanted paths relative to the list; give --root for another folder'
  )
