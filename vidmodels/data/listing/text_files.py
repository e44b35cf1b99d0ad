"""Finds and reads annotation files, parses their values, describes wrong ones.

  path = find_file(folder, ['train.csv'], 'the train csv')
  for line, fields in read_csv(path, ['id', 'label'], 'the train csv'):
    with locate_errors(path, line):
      label = parse_int(fields['label'], most=399)

A file is read whole, or an InputError says what is wrong: no line is skipped.
"""

import ast
import contextlib
import csv
import fnmatch
import math
import pathlib
import re
from collections.abc import Iterator, Sequence
from typing import Any

from vidmodels import checked_json
from vidmodels.typing import InputError

_CLOCK = re.compile(r'(\d{1,4}):([0-5]\d):([0-5]\d(?:\.\d{1,9})?)', re.ASCII)
_LONGEST_LIST = 4096  # characters; real ones have less than 300
_LARGEST_FILE = 1 << 32  # bytes; that of HowTo100M has 150 MB
_LARGEST_JSON = 1 << 29  # letters; the largest official file has 30 million
_ARCHIVES = ('.gz', '.tgz', '.zip', '.rar', '.tar', '.7z', '.bz2', '.xz')
_MAGIC = (
  (b'\x1f\x8b', 'a gzip'),
  (b'PK\x03\x04', 'a zip (or a spreadsheet)'),
  (b'Rar!', 'a rar'),
  (b'7z\xbc\xaf', 'a 7z'),
  (b'BZh', 'a bzip2'),
  (b'\xfd7zXZ', 'an xz'),
)
# A column that only this kind of file has.
_COLUMNS = {
  'youtube_id': 'a Kinetics csv',
  'narration_id': 'an EPIC-KITCHENS-100 csv',
  'noun_class': 'an EPIC-KITCHENS-100 csv',
  'category_1': 'the HowTo100M csv',
  'relevance': 'a Charades csv',
  'original_vido_id': 'a list of extracted frames',
}
_FIRST_LINES = (
  (r'video_path,.*', 'a list of clips with a header'),
  (r'\S+/v_\S+\.avi \d+', 'a UCF101 training list'),
  (r'\S+/v_\S+\.avi', 'a UCF101 test list'),
  (r'\S+\.avi [012]', 'an HMDB51 split of one class'),
  (r'\d+ [A-Z][A-Za-z]+', 'the class list of UCF101 (classInd.txt)'),
  (r'c\d{3} .+', 'the class list of Charades'),
  (r'\d+;.+', 'the test answers of Something-Something V2'),
  (r'.+\.(avi|mp4|mkv|webm)[ ,\t].+', 'a list of videos and labels'),
)
_KEYS = (  # of an object, of the first value in it, of a list's first object
  ('object', {'database'}, 'an ActivityNet json'),
  ('value', {'annotations', 'subset'}, 'a Kinetics json; give the csv'),
  ('value', {'start', 'text'}, 'the captions of HowTo100M'),
  ('item', {'vid_name'}, 'a Diving48 list'),
  ('item', {'template'}, 'a Something-Something V2 list with labels'),
  ('item', {'youtube_id'}, 'a list of videos with keys file and label'),
  ('item', {'id'}, 'a Something-Something V2 list without labels'),
)


def find_files(folder: pathlib.Path, pattern: str) -> list[pathlib.Path]:
  """Files in a folder, else one deeper, that fit a pattern in any case."""
  entries = _list_folder(folder)
  for _ in range(2):
    paths = [path for path in entries if _fits(path, pattern)]
    if paths:
      return paths
    entries = [p for f in entries if f.is_dir() for p in _list_folder(f)]
  return []


def find_file(
  place: pathlib.Path, patterns: Sequence[str], what: str
) -> pathlib.Path:
  """The official file: `place` itself, or a file in the folder `place`.

  Patterns are file names with `*`, the best one first; an error calls the file
  `what`, such as 'the Kinetics-400 train csv'. No file, or several for one
  pattern, is an error.
  """
  if not place.is_dir():
    return place
  for pattern in patterns:
    paths = find_files(place, pattern)
    if len(paths) > 1:
      raise InputError(
        f'got {len(paths)} files for {what} in {place}, {paths[0]} and '
        f'{paths[1]}; expected one; try that file with --annotations'
      )
    if paths:
      return paths[0]
  packed = [path for path in _list_folder(place) if path.suffix in _ARCHIVES]
  hint = f'unpacking {packed[0].name}' if packed else '--annotations FILE'
  raise InputError(
    f'got {place}, which does not hold {what}; expected '
    f'{" or ".join(patterns)}; try {hint}'
  )


def find_beside(
  path: pathlib.Path, patterns: Sequence[str]
) -> pathlib.Path | None:
  """Another official file in the folder of `path`; None if there is none."""
  for pattern in patterns:
    for other in _list_folder(path.parent):
      if other != path and _fits(other, pattern):
        return other
  return None


def _fits(path: pathlib.Path, pattern: str) -> bool:
  fits = fnmatch.fnmatchcase(path.name.lower(), pattern.lower())
  return fits and path.is_file()


def _list_folder(folder: pathlib.Path) -> list[pathlib.Path]:
  return sorted(p for p in folder.iterdir() if not p.name.startswith('.'))


def read_text(path: pathlib.Path) -> str:
  """A text file in UTF-8; its lines end in \\n, whatever they ended in."""
  try:
    data = checked_json.read_bytes(path, largest=_LARGEST_FILE)
  except (OSError, checked_json.JsonError) as e:
    raise InputError(f'{path} cannot be read ({e}); try another path') from e
  kinds = [kind for magic, kind in _MAGIC if data.startswith(magic)]
  if data[257:262] == b'ustar' or path.suffix.lower() == '.tar':
    kinds.append('a tar')
  if kinds:
    raise InputError(
      f'got {path}, {kinds[0]} archive; expected the file inside it; unpack it '
      'first'
    )
  if data[:2] in (b'\xff\xfe', b'\xfe\xff'):
    raise InputError(
      f'got {path} in UTF-16; expected UTF-8; try saving it as UTF-8'
    )
  try:
    text = data.decode('utf-8-sig')
  except UnicodeDecodeError as e:
    line = data[: e.start].count(b'\n') + 1
    raise InputError(
      f'{path} line {line} is not UTF-8 ({e.reason}); expected the file as '
      'published; try fetching it again, or saving it as UTF-8'
    ) from e
  if '\0' in text:
    raise InputError(
      f'got zero bytes in {path}; expected text; try fetching it again'
    )
  return text.replace('\r\n', '\n').replace('\r', '\n')


def read_lines(path: pathlib.Path) -> list[tuple[int, str]]:
  """The number and the stripped text of each line that is not blank."""
  lines = enumerate(read_text(path).split('\n'), 1)
  return [(number, line.strip()) for number, line in lines if line.strip()]


def read_csv(
  path: pathlib.Path,
  columns: Sequence[str],
  what: str,
  *,
  multiline: bool = False,
  delimiter: str = ',',
) -> Iterator[tuple[int, dict[str, str]]]:
  """Rows of a csv with a header, one by one: (line number, {column: text}).

  Rows are not held in memory: all columns of HowTo100M's 1.2 million rows took
  0.6 GB. `columns` must be there, in any order and case; more may be. An error
  calls the file `what`. With `multiline`, a quoted field may span lines. A row
  that is not as long as the header is an error: a lost quote or a cut line
  would shift or swallow rows.
  """
  text = read_text(path)
  # Not StringIO, which takes four bytes a letter.
  lines = (match[0] for match in re.finditer(r'[^\n]*\n|[^\n]+', text))
  reader = csv.reader(lines, strict=True, delimiter=delimiter)
  header: list[str] = []
  last = 0
  try:
    for fields in reader:
      line, last = last + 1, reader.line_num
      if len(fields) < 2 and not ''.join(fields).strip():
        continue  # an empty line
      spans, is_header = last - line + 1, not header
      if is_header:
        header = [field.strip().lower() for field in fields]
        missing = [column for column in columns if column not in header]
        if missing:
          what = f'{what}: no column {missing[0]}'
          raise _wrong_file(path, what, describe_text(text))
        refuse_repeated_columns(path, header)
      fits = spans == 1 or (multiline and not is_header)
      if not fits or len(fields) != len(header):
        raise InputError(
          f'{path} line {line} has {len(fields)} fields on {spans} lines; '
          f'expected {len(header)} on one line, as in the header; a quote is '
          'lost or the line is cut: try fetching the file again'
        )
      if not is_header:
        yield line, dict(zip(header, fields, strict=True))
  except csv.Error as e:
    raise InputError(
      f'{path} line {reader.line_num} is not csv ({e}); expected fields with '
      'quotes in pairs; try fetching the file again'
    ) from e
  if not header:
    raise _wrong_file(path, what, describe_text(text))


def refuse_repeated_columns(path: pathlib.Path, header: Sequence[str]) -> None:
  """Raises InputError if two columns have one name, or two have none."""
  repeated = [c or '(no name)' for c in header if header.count(c) > 1]
  if repeated:
    raise InputError(
      f'got the column {repeated[0]} twice in {path}; expected it once; try '
      'removing one'
    )


def read_json(path: pathlib.Path) -> Any:
  """The value in a JSON file, none of whose objects has a key twice."""
  text = read_text(path)
  try:
    return parse_json(text)
  except ValueError as e:
    raise InputError(
      f'{path} is not JSON that can be read ({e}): it looks like '
      f'{describe_text(text)}; try fetching the file again'
    ) from e


def parse_json(text: str) -> Any:
  """The value of a JSON text; see `checked_json.parse` for its JsonError."""
  return checked_json.parse(text, largest=_LARGEST_JSON)


def read_objects(
  path: pathlib.Path, keys: Sequence[str], what: str
) -> list[dict[str, Any]]:
  """The objects of a JSON list, each with these keys and perhaps more."""
  value = read_json(path)
  if not isinstance(value, list) or not value:
    raise _wrong_file(path, what, describe_json(value))
  for number, entry in enumerate(value, 1):
    if not isinstance(entry, dict):
      raise InputError(
        f'{path} entry {number} is {str(entry)[:60]!r}; expected an object; it '
        f'looks like {describe_json(value)}; try the official file'
      )
    missing = [key for key in keys if key not in entry]
    if missing and number == 1:
      what = f'{what}: no {missing[0]!r}'
      raise _wrong_file(path, what, describe_json(value))
    if missing:
      raise InputError(
        f'{path} entry {number} has no {missing[0]!r}; expected '
        f'{", ".join(keys)} in each; try fetching the file again'
      )
  return value


def _wrong_file(path: pathlib.Path, what: str, description: str) -> InputError:
  return InputError(
    f'{path} is not {what}; it looks like {description}; try the official file '
    'with --annotations'
  )


@contextlib.contextmanager
def locate_errors(
  path: pathlib.Path,
  where: int | str,
  *,
  hint: str = 'try fetching the file again',
) -> Iterator[None]:
  """Adds the place and the next move to an InputError: 'FILE line 7: ...; try'.

  `where` is a line number, or words for another place. The hint is added if the
  message has none.
  """
  try:
    yield
  except InputError as e:
    place = f'line {where}' if isinstance(where, int) else where
    move = '' if re.search(r'\btry |did you mean', str(e)) else f'; {hint}'
    raise InputError(f'{path} {place}: {e}{move}') from e


def parse_int(value: object, *, most: int) -> int:
  """A whole number from 0 to `most`: 417, '417' or '417.0'."""
  text = str(value).strip()
  if isinstance(value, int) and not isinstance(value, bool):
    number = value
  elif re.fullmatch(r'\d{1,18}(\.0+)?', text, re.ASCII):
    number = int(text.split('.')[0])
  else:
    raise InputError(f'got {str(value)[:40]!r}; expected a whole number')
  if not 0 <= number <= most:
    raise InputError(f'got {str(number)[:40]}; expected 0 to {most}')
  return number


def parse_clip_name(value: object) -> str:
  """The name of a video: printable text, without a slash, that is not empty."""
  if isinstance(value, str):
    name = value.strip()
    if name and name.isprintable() and not set('/\\') & set(name):
      return name
  raise InputError(
    f'got {str(value)[:60]!r} as the name of a video; expected a plain name'
  )


def parse_seconds(value: Any) -> float:
  """A time from text or a JSON number: finite, perhaps negative."""
  try:
    time_s = math.nan if isinstance(value, bool) else float(value)
  except (TypeError, ValueError, OverflowError):
    time_s = math.nan
  if not math.isfinite(time_s):
    raise InputError(f'got {str(value)[:60]!r}; expected seconds')
  return time_s


def parse_clock(text: str) -> float:
  """The seconds of 'HH:MM:SS.ss'; '90:00' has two readings: an error."""
  match = _CLOCK.fullmatch(text.strip())
  if not match:
    raise InputError(f'got {text[:60]!r}; expected a time as HH:MM:SS.ss')
  return int(match[1]) * 3600 + int(match[2]) * 60 + float(match[3])


def parse_python_list(text: str) -> list[Any]:
  """A list of literals in Python's notation; no code in it is run."""
  value = None
  if len(text) <= _LONGEST_LIST:
    with contextlib.suppress(
      ValueError, SyntaxError, TypeError, MemoryError, RecursionError
    ):
      value = ast.literal_eval(text.strip())
  if not isinstance(value, list):
    raise InputError(f"got {text[:60]!r}; expected a list such as ['a', 'b']")
  return value


def describe_official_csv(line: str) -> str:
  """Which data set's own csv has this header; '' if none."""
  columns = {column.strip(' "') for column in re.split(r'[,\s]', line.lower())}
  kinds = [kind for column, kind in _COLUMNS.items() if column in columns]
  return kinds[0] if kinds else ''


def describe_text(text: str) -> str:
  """What a text file looks like in a few words, such as 'a Kinetics csv'."""
  start = text.lstrip()
  if not start:
    return 'an empty file'
  if start.startswith('<'):
    return 'a web page'
  if start.startswith('version https://git-lfs'):
    return 'a Git LFS pointer; fetch the file itself'
  if start[0] in '[{':
    try:
      return describe_json(parse_json(text))
    except ValueError:
      return 'JSON that is cut off or damaged'
  line = start.splitlines()[0].strip()
  if describe_official_csv(line):
    return describe_official_csv(line)
  for pattern, kind in _FIRST_LINES:
    if re.fullmatch(pattern, line, re.IGNORECASE):
      return kind
  return f'a text that begins with {line[:60]!r}'


def describe_json(value: Any) -> str:
  """What the value of a JSON file looks like in a few words."""
  is_object = isinstance(value, dict)
  values = list(value.values()) if is_object else value
  first = values[0] if isinstance(values, list) and values else None
  places = {'object': value, 'value' if is_object else 'item': first}
  for place, keys, kind in _KEYS:
    candidate = places.get(place)
    if isinstance(candidate, dict) and keys <= candidate.keys():
      return kind
  if is_object:
    if isinstance(first, str) and first.isdecimal():
      return 'the label numbers of Something-Something V2'
    return f'an object with the keys {", ".join(list(value)[:4])}'
  if isinstance(first, list) and all(isinstance(x, str) for x in first):
    return 'the vocabulary of Diving48'
  if isinstance(value, list):
    return f'a list of {len(value)}, the first of them {str(first)[:60]}'
  return f'the value {str(value)[:60]}'
