"""JSON that somebody else wrote: read within bounds, checked field by field.

  meta = checked_json.read(folder / 'config.json')
  fields = checked_json.fields(
    meta, {'classes': tuple[str, ...], 'fps': NotNegative}, name='meta'
  )

A file may be of any size, nested without end, hold a key twice, or text where a
number belongs. `parse` bounds the first two before anything is built of them,
`fields` checks types and ranges as those of a recipe are checked.
"""

import collections
import json
import math
import pathlib
import stat
from collections.abc import Mapping
from typing import Any

from vidmodels.typing import InputError, brief, check_value, quote

# The official files of ActivityNet have 30 MB. A text may take thirty times
# its size as objects.
LARGEST = 1 << 26  # bytes
DEEPEST = 64  # levels; the deepest of ours, a recipe, has 5


class JsonError(ValueError):
  """A text is not JSON that we read; its message says why in a few words."""


def parse(data: bytes | str, *, largest: int = LARGEST) -> Any:
  """The value of a JSON text in UTF-8, with or without a mark of its order.

  Raises JsonError for a text that is larger than `largest` bytes, deeper than
  `DEEPEST`, not JSON (NaN and 1e999 are not), or that has a key twice in an
  object.
  """
  if len(data) > largest:
    raise JsonError(
      f'it has {len(data):,} bytes, more than the {largest:,} that such a file '
      'may have'
    )
  try:
    text = data if isinstance(data, str) else data.decode('utf-8-sig')
    value = json.loads(
      text,
      object_pairs_hook=_to_object,
      parse_float=_to_float,
      parse_constant=_refuse_constant,
    )
  except JsonError:
    raise
  except RecursionError as error:
    raise JsonError('it is nested too deep') from error
  except ValueError as error:
    raise JsonError(f'{error!s:.120}') from error
  _check_depth(value)
  return value


def read(
  path: pathlib.Path,
  *,
  largest: int = LARGEST,
  advice: str = 'try fetching or writing it again',
) -> Any:
  """The value in a JSON file; an InputError names the file and the fault."""
  try:
    return parse(read_bytes(path, largest=largest), largest=largest)
  except JsonError as error:
    raise InputError(
      f'got {quote(path)}, which is not JSON that can be read ({error}); '
      f'expected a whole JSON file; {advice}'
    ) from error
  except OSError as error:
    raise InputError(
      f'got {quote(path)}, which cannot be read ({error.strerror}); expected a '
      f'JSON file; {advice}'
    ) from error


def read_bytes(path: pathlib.Path, *, largest: int = LARGEST) -> bytes:
  """The bytes of a regular file of bounded size.

  Raises JsonError for a larger one, or a pipe, which would never end; OSError.
  """
  status = path.stat()
  if not stat.S_ISREG(status.st_mode):
    raise JsonError('it is not a regular file')
  if status.st_size > largest:
    raise JsonError(
      f'it has {status.st_size:,} bytes, more than the {largest:,} that such a '
      'file may have'
    )
  with path.open('rb') as file:
    return file.read(status.st_size)


def fields(
  value: Any,
  hints: Mapping[str, Any],
  *,
  name: str,
  optional: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
  """The fields of a JSON object, each checked against the hint of its name.

  `name` is what errors call the object. Fields of `optional` hold the value
  that a missing one has. Fields without a hint are left out.
  """
  if not isinstance(value, Mapping):
    raise InputError(
      f'got {type(value).__name__} {brief(value)} for {name}; expected a JSON '
      f'object with {", ".join(hints)}'
    )
  known = {**(optional or {}), **value}
  for field in hints:
    if field not in known:
      raise InputError(
        f'got {name} without {field}; expected {", ".join(hints)} in it'
      )
  return {
    field: check_value(known[field], hint, path=f'{field} of {name}')
    for field, hint in hints.items()
  }


def _to_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
  value = dict(pairs)
  if len(value) != len(pairs):
    counts = collections.Counter(key for key, _ in pairs)
    key = counts.most_common(1)[0][0]
    raise JsonError(f'it holds {brief(key)} twice in an object')
  return value


def _to_float(text: str) -> float:
  if math.isinf(value := float(text)):
    raise JsonError(f'it holds {text:.60}, which is too large a number')
  return value


def _refuse_constant(name: str) -> None:
  raise JsonError(f'it holds {name}, which is no JSON')


def _check_depth(value: Any) -> None:
  level = [value]
  for _ in range(DEEPEST):
    inner: list[Any] = []
    for item in level:
      if isinstance(item, dict):
        inner.extend(item.values())
      elif isinstance(item, list):
        inner.extend(item)
    if not inner:
      return
    level = inner
  raise JsonError(f'it is nested more than {DEEPEST} levels deep')
