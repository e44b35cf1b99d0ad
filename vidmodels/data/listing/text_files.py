"""Annotation files: where they are, and what they hold as text, csv or JSON.

Whatever a file holds, it is read whole or an InputError says what is wrong:
nothing here skips a line.
"""

import contextlib
import csv
import fnmatch
import json
import pathlib
import re
from collections.abc import Iterator, Sequence
from typing import Any

from vidmodels.data.listing.sniff import archive, looks_like, looks_like_json
from vidmodels.typing import InputError

_ARCHIVES = ('.gz', '.tgz', '.zip', '.rar', '.tar', '.7z', '.bz2', '.xz')


def find_all(folder: pathlib.Path, pattern: str) -> list[pathlib.Path]:
  """Files of a folder by pattern, in any case; else those a folder deeper."""
  folders = [folder]
  while folders:
    below = [entry for one in folders for entry in _entries(one)]
    found = [
      path
      for path in below
      if fnmatch.fnmatchcase(path.name.lower(), pattern.lower())
      and path.is_file()
    ]
    if found or folders != [folder]:
      return found
    folders = [path for path in below if path.is_dir()]
  return []


def find_one(
  place: pathlib.Path, patterns: Sequence[str], what: str
) -> pathlib.Path:
  """The official file: `place` itself, or in that folder by name.

  Args:
    place: a file or a folder, as the user gave it.
    patterns: file names with `*`, the best one first.
    what: how to call it, as 'the Kinetics-400 train csv'.

  Raises:
    InputError: if there is none, or one pattern has several.
  """
  if not place.is_dir():
    return place
  for pattern in patterns:
    found = find_all(place, pattern)
    if len(found) > 1:
      raise InputError(
        f'{place} has {len(found)} files for {what}, as {found[0]} and '
        f'{found[1]}; wanted one; give that file with --annotations'
      )
    if found:
      return found[0]
  packed = [path for path in _entries(place) if path.suffix in _ARCHIVES]
  hint = f'unpack {packed[0].name}' if packed else 'give it with --annotations'
  raise InputError(
    f'{place} does not hold {what}; wanted {" or ".join(patterns)}; {hint}'
  )


def beside(path: pathlib.Path, patterns: Sequence[str]) -> pathlib.Path | None:
  """Another official file in the folder of one, by name; None if none is."""
  for pattern in patterns:
    for other in _entries(path.parent):
      match = fnmatch.fnmatchcase(other.name.lower(), pattern.lower())
      if match and other.is_file() and other != path:
        return other
  return None


def read_text(path: pathlib.Path) -> str:
  """A text file in UTF-8, its lines ending in \\n whatever they ended in.

  Raises:
    InputError: if it is no such file; an archive is named as one.
  """
  try:
    data = path.read_bytes()
  except OSError as e:
    raise InputError(f'{path} cannot be read ({e}); check the path') from e
  packed = archive(data[:512], path)
  if packed:
    raise InputError(
      f'{path} is {packed}; wanted the file inside it; unpack it first'
    )
  if data[:2] in (b'\xff\xfe', b'\xfe\xff'):
    raise InputError(f'{path} is UTF-16; wanted UTF-8; save it anew as UTF-8')
  try:
    text = data.decode('utf-8-sig')
  except UnicodeDecodeError as e:
    line = data[: e.start].count(b'\n') + 1
    raise InputError(
      f'{path} line {line} is not UTF-8 ({e.reason}); wanted the file as '
      'published; get it again, or save it anew as UTF-8'
    ) from e
  if '\0' in text:
    raise InputError(f'{path} has zero bytes; wanted text; get it again')
  return text.replace('\r\n', '\n').replace('\r', '\n')


def read_csv(
  path: pathlib.Path,
  columns: Sequence[str],
  what: str,
  *,
  multiline: bool = False,
  delimiter: str = ',',
  first: int = 1,
) -> Iterator[tuple[int, dict[str, str]]]:
  """Rows of a csv with a header, one by one: (line number, {column: text}).

  They are not held: all columns of HowTo100M's 1.2 million rows took 0.6 GB.

  Args:
    path: the file.
    columns: which must be there; more may be. In any order and case.
    what: how to call it, as 'a Kinetics csv'.
    multiline: whether a quoted field may span lines.
    delimiter: between fields.
    first: line of the header, at the least.

  Raises:
    InputError: if it is no such csv, or a row is not as long as the header: a
      lost quote or a cut line would shift or swallow rows.
  """
  text = read_text(path)
  # Not StringIO, which takes four bytes a letter.
  found = enumerate(re.finditer(r'[^\n]*\n|[^\n]+', text), 1)
  lines = (match[0] if i >= first else '\n' for i, match in found)
  reader = csv.reader(lines, strict=True, delimiter=delimiter)
  header, last = None, 0
  try:
    for fields in reader:
      line, last = last + 1, reader.line_num
      if len(fields) < 2 and not ''.join(fields).strip():
        continue  # an empty line
      spans, is_header = last - line + 1, header is None
      if is_header:
        header = _header(path, fields, columns, what, text)
      fits = spans == 1 or (multiline and not is_header)
      if not fits or len(fields) != len(header):
        raise InputError(
          f'{path} line {line} has {len(fields)} fields on {spans} lines; '
          f'wanted {len(header)} on one, as the header; a quote is lost or the '
          'line is cut: get the file again'
        )
      if not is_header:
        yield line, dict(zip(header, fields, strict=True))
  except csv.Error as e:
    raise InputError(
      f'{path} line {reader.line_num} is no csv ({e}); get the file again'
    ) from e
  if header is None:
    raise _not_it(path, what, looks_like(text))


def read_json(path: pathlib.Path) -> Any:
  """What a JSON file holds.

  Raises:
    InputError: if it is not JSON, or an object has a key twice: the first
      would be lost.
  """
  text = read_text(path)
  try:
    return json.loads(text, object_pairs_hook=_no_key_twice)
  except InputError as e:
    raise InputError(f'{path} {e}') from e
  except (ValueError, RecursionError) as e:
    raise InputError(
      f'{path} is not JSON ({e}): it looks like {looks_like(text)}; get the '
      'file again'
    ) from e


def read_objects(
  path: pathlib.Path, keys: Sequence[str], what: str
) -> list[dict[str, Any]]:
  """The objects of a JSON list, each with these keys and perhaps more.

  Raises:
    InputError: if the file is anything else, with the entry, counted from 1.
  """
  value = read_json(path)
  if not isinstance(value, list) or not value:
    raise _not_it(path, what, looks_like_json(value))
  for number, entry in enumerate(value, 1):
    if not isinstance(entry, dict):
      raise InputError(
        f'{path} entry {number} is {str(entry)[:60]!r}; wanted an object; it '
        f'looks like {looks_like_json(value)}'
      )
    lacking = [key for key in keys if key not in entry]
    if lacking and number == 1:
      raise _not_it(path, f'{what}: no {lacking[0]!r}', looks_like_json(value))
    if lacking:
      raise InputError(
        f'{path} entry {number} has no {lacking[0]!r}; wanted '
        f'{", ".join(keys)} in each; get the file again'
      )
  return value


@contextlib.contextmanager
def at(path: pathlib.Path, where: object) -> Iterator[None]:
  """Errors inside say where they are: 'FILE line 7: ...'.

  Args:
    path: the file.
    where: a line number, or words for another place.
  """
  try:
    yield
  except InputError as e:
    place = f'line {where}' if isinstance(where, int) else where
    raise InputError(f'{path} {place}: {e}') from e


def whole(value: object, *, most: int) -> int:
  """A whole number from 0 to `most`: 417, '417' or '417.0'.

  Raises:
    InputError: if it is anything else.
  """
  if isinstance(value, int) and not isinstance(value, bool):
    number = value
  elif re.fullmatch(r'\d{1,18}(\.0+)?', str(value).strip(), re.ASCII):
    number = int(str(value).strip().split('.')[0])
  else:
    raise InputError(f'{str(value)[:40]!r} came; wanted a whole number')
  if not 0 <= number <= most:
    raise InputError(f'{str(number)[:40]} came; wanted 0 to {most}')
  return number


def clip_name(value: object) -> str:
  """The name of a video in a list: a text that a file may be called.

  Raises:
    InputError: if it is no text, empty, or no mere name.
  """
  if isinstance(value, str):
    name = value.strip()
    if name and name.isprintable() and not set('/\\') & set(name):
      return name
  raise InputError(
    f'{str(value)[:60]!r} came as the name of a video; wanted a plain name'
  )


def _entries(folder: pathlib.Path) -> list[pathlib.Path]:
  return sorted(p for p in folder.iterdir() if not p.name.startswith('.'))


def _header(
  path: pathlib.Path,
  fields: Sequence[str],
  columns: Sequence[str],
  what: str,
  text: str,
) -> list[str]:
  header = [field.strip().lower() for field in fields]
  lacking = [column for column in columns if column not in header]
  if lacking:
    raise _not_it(path, f'{what}: no column {lacking[0]}', looks_like(text))
  twice = [c or '(no name)' for c in header if header.count(c) > 1]
  if twice:
    raise InputError(f'{path} has the column {twice[0]} twice; wanted it once')
  return header


def _not_it(path: pathlib.Path, what: str, came: str) -> InputError:
  return InputError(
    f'{path} is not {what}; it looks like {came}; give the official file with '
    '--annotations'
  )


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
  value = dict(pairs)
  if len(value) != len(pairs):
    keys = [key for key, _ in pairs]
    twice = next(key for key in keys if keys.count(key) > 1)
    raise InputError(
      f'has the key {twice!r} twice in an object; wanted it once'
    )
  return value
