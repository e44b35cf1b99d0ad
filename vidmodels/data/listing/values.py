"""Values of official files: times, lists, and words for what is odd in them."""

import ast
import contextlib
import math
import re
from typing import Any

from vidmodels.typing import InputError

_CLOCK = re.compile(r'(\d{1,4}):([0-5]\d):([0-5]\d(?:\.\d{1,9})?)', re.ASCII)
_LONGEST_LIST = 4096  # characters; real ones have less than 300


def seconds(value: Any) -> float:
  """A time from text or a JSON number; it may be negative.

  Raises:
    InputError: for anything that is no finite number.
  """
  try:
    time_s = math.nan if isinstance(value, bool) else float(value)
  except (TypeError, ValueError, OverflowError):
    time_s = math.nan
  if not math.isfinite(time_s):
    raise InputError(f'{str(value)[:60]!r} came; wanted seconds')
  return time_s


def clock(text: str) -> float:
  """The seconds of 'HH:MM:SS.ss'.

  Raises:
    InputError: for anything else; '90:00' would be read as two things.
  """
  match = _CLOCK.fullmatch(text.strip())
  if not match:
    raise InputError(f'{text[:60]!r} came; wanted a time as HH:MM:SS.ss')
  return int(match[1]) * 3600 + int(match[2]) * 60 + float(match[3])


def python_list(text: str) -> list[Any]:
  """A list as Python writes it, of any literals; nothing of it is run.

  Raises:
    InputError: for anything else, or one that is absurdly long.
  """
  value = None
  if len(text) <= _LONGEST_LIST:
    with contextlib.suppress(
      ValueError, SyntaxError, TypeError, MemoryError, RecursionError
    ):
      value = ast.literal_eval(text.strip())
  if not isinstance(value, list):
    raise InputError(f"{text[:60]!r} came; wanted a list as ['a', 'b']")
  return value


def some(what: str, count: int) -> tuple[str, ...]:
  """A note such as 'videos without an action: 3'; none for a count of 0."""
  return (f'{what}: {count:,}',) if count else ()
