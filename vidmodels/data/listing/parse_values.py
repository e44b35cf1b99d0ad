"""Parses the values of annotation files: numbers, times, names, lists."""

import ast
import contextlib
import math
import re
from typing import Any

from vidmodels.typing import InputError

_CLOCK = re.compile(r'(\d{1,4}):([0-5]\d):([0-5]\d(?:\.\d{1,9})?)', re.ASCII)
_LONGEST_LIST = 4096  # characters; real ones have less than 300


def parse_int(value: object, *, most: int) -> int:
  """A whole number from 0 to `most`: 417, '417' or '417.0'.

  Raises:
    InputError: if it is anything else.
  """
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
  """The name of a video in a list: text that can be the name of a file.

  Raises:
    InputError: if it is not text, empty, or has a slash.
  """
  if isinstance(value, str):
    name = value.strip()
    if name and name.isprintable() and not set('/\\') & set(name):
      return name
  raise InputError(
    f'got {str(value)[:60]!r} as the name of a video; expected a plain name'
  )


def parse_seconds(value: Any) -> float:
  """A time from text or a JSON number; it may be negative.

  Raises:
    InputError: for anything but a finite number.
  """
  try:
    time_s = math.nan if isinstance(value, bool) else float(value)
  except (TypeError, ValueError, OverflowError):
    time_s = math.nan
  if not math.isfinite(time_s):
    raise InputError(f'got {str(value)[:60]!r}; expected seconds')
  return time_s


def parse_clock(text: str) -> float:
  """The seconds of 'HH:MM:SS.ss'.

  Raises:
    InputError: for anything else: '90:00' has two readings.
  """
  match = _CLOCK.fullmatch(text.strip())
  if not match:
    raise InputError(f'got {text[:60]!r}; expected a time as HH:MM:SS.ss')
  return int(match[1]) * 3600 + int(match[2]) * 60 + float(match[3])


def parse_python_list(text: str) -> list[Any]:
  """A list of literals in Python's notation; no code in it is run.

  Raises:
    InputError: for anything else, or for an absurdly long list.
  """
  value = None
  if len(text) <= _LONGEST_LIST:
    with contextlib.suppress(
      ValueError, SyntaxError, TypeError, MemoryError, RecursionError
    ):
      value = ast.literal_eval(text.strip())
  if not isinstance(value, list):
    raise InputError(f"got {text[:60]!r}; expected a list such as ['a', 'b']")
  return value
