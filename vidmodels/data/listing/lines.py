"""What the lines of a list say: a path, labels, and perhaps a stretch of time.

Which of the habits a file has is told by its first line and by what all its
lines have in common; never line by line, so that one odd line is an error and
not another format. Those that name what they hold are read by `tables.py`; what
labels mean is the business of `lists.py`.
"""

import csv
import pathlib
import re

from vidmodels.data.datasets.build_listing import named
from vidmodels.data.listing import tables, text_files
from vidmodels.data.listing.rows import VIDEO_SUFFIXES
from vidmodels.data.listing.sniff import official
from vidmodels.data.listing.tables import Entry
from vidmodels.typing import InputError

_SUFFIX = '|'.join(sorted(suffix[1:] for suffix in VIDEO_SUFFIXES))
# The longest path that ends as a video does, then what follows it.
_VIDEO = {
  separator: re.compile(rf'(.*\.(?:{_SUFFIX}))(?:{gap}(.*))?', re.IGNORECASE)
  for separator, gap in ((',', r'\s*,'), (' ', r'\s+'))
}
# A path that ends so, wherever the labels begin.
_HAS_VIDEO = re.compile(rf'\.(?:{_SUFFIX})"?(?:[\s,]|$)', re.IGNORECASE)


def read(
  source: pathlib.Path, *, several: bool
) -> tuple[list[Entry], list[str], str]:
  """Reads every line that is neither blank nor a comment.

  Args:
    source: the list.
    several: whether a line may have several labels, or none: a path that does
      not end as a video does then ends before the first separator.

  Returns:
    The entries; what the user should know; 'line' or 'item', as the numbers
    count.

  Raises:
    InputError: if it is no list, or a data set's own file, which another
      command reads.
  """
  text = text_files.read_text(source)
  # By both: a path may begin with a bracket.
  if text.lstrip()[:1] in ('[', '{') and source.suffix.lower() == '.json':
    entries, notes = tables.from_json(source)
    return entries, notes, 'item'
  return *_from_text(source, text, several), 'line'


def _from_text(
  source: pathlib.Path, text: str, several: bool
) -> tuple[list[Entry], list[str]]:
  lines = [(i, line.strip()) for i, line in enumerate(text.split('\n'), 1)]
  lines, comments = _comments([(i, line) for i, line in lines if line])
  if not lines:
    raise InputError(
      f'list {source} is empty; wanted `path label` on each line'
    )
  first, header = lines[0]
  _refuse_official(source, header)
  columns = [c.strip(' "').lower() for c in re.split(r'[\s,]+', header)]
  has_header = {*columns} & {*tables.PATH_COLUMNS} and {*columns} & {
    *tables.LABEL_COLUMNS
  }
  if not has_header:
    _refuse_unknown_header(source, [line for _, line in lines])
  if has_header and (len(columns) > 2 or tables.is_table(first, header, text)):
    entries, notes = tables.from_csv(source, first, header, several)
    comments = [number for number in comments if number < first]
  else:
    below = lines[bool(has_header) :]
    entries, notes = _from_lines(source, below, several), []
  if not entries:
    raise InputError(
      f'list {source} is empty below its header; wanted `path label` on each '
      'line'
    )
  if comments:
    said = f'{len(comments)} lines that begin with # are no videos: not read: '
    notes = [said + named([f'line {number}' for number in comments]), *notes]
  return entries, notes


def _comments(
  lines: list[tuple[int, str]],
) -> tuple[list[tuple[int, str]], list[int]]:
  """The lines without comments, and the numbers of those.

  A path may begin with #. A comment names no file that ends as a video does;
  and white space follows its #, or all lines without # do name one.
  """
  others = [line for _, line in lines if not line.startswith('#')]
  names_videos = all(map(_HAS_VIDEO.search, others))
  comments = [
    number
    for number, line in lines
    if line.startswith('#')
    and not _HAS_VIDEO.search(line)
    and (names_videos or not line[1:2].strip())
  ]
  dropped = {*comments}
  return [pair for pair in lines if pair[0] not in dropped], comments


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
    with text_files.at(source, number):
      video, labels, joined = _fields(line, separator, several)
    if not video:
      raise InputError(
        f'{source} line {number} is {line[:80]!r}; wanted a path and a label, '
        'separated by a tab, a comma or a space'
      )
    if joined and not all(labels):
      raise InputError(
        f'{source} line {number} is {line[:80]!r}; wanted a label between the '
        'separators; correct the line'
      )
    entries.append(Entry(number, video, labels if joined else (), joined))
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


def _fields(
  line: str, separator: str, several: bool
) -> tuple[str, tuple[str, ...], str]:
  """The path, the labels, and the labels as one field."""
  if '"' in line and separator != ' ':
    video, *fields = _unquoted(line, separator)
    joined = separator.join(fields).strip()
  else:
    video, joined = _parted(line, separator, several)
    fields = joined.split() if separator == ' ' else joined.split(separator)
  if several and separator == ',':  # as in a csv with a header
    fields = [label for field in fields for label in re.split('[,;]', field)]
  return video.strip(), tuple(field.strip() for field in fields), joined


def _unquoted(line: str, separator: str) -> list[str]:
  """The fields of a line with quotes, which may hold the separator.

  A path that ends as a video does may hold commas and quotes of its own; with
  an odd number of them it reaches into a quoted label.
  """
  path = None
  if separator == ',' and not line.startswith('"'):
    path = _VIDEO[separator].fullmatch(line)
  if not path or path[2] is None or path[1].count('"') % 2:
    head, rest = [], line
  else:
    head, rest = [path[1]], path[2]
  reader = csv.reader(
    [rest], strict=True, delimiter=separator, skipinitialspace=True
  )
  try:
    return [*head, *next(reader)]
  except csv.Error as e:
    raise InputError(
      f'{line[:80]!r} came, with a quote that is lost ({e}); wanted quotes '
      'around whole fields, and those inside them doubled'
    ) from e


def _parted(line: str, separator: str, several: bool) -> tuple[str, str]:
  """The path and the rest of a line; no path if it cannot be told."""
  if separator == '\t':
    video, _, rest = line.partition('\t')
    return video.strip(), rest.strip()
  match = _VIDEO[separator].fullmatch(line)
  if match:
    return match[1].strip(), (match[2] or '').strip()
  split = line.split if several else line.rsplit
  parts = [*split(',' if separator == ',' else None, 1), ''][:2]
  if not several and not parts[1].strip():
    return '', ''
  return parts[0].strip(), parts[1].strip()
