"""What every layer shares: axis letters, typed fields, the user's error.

Nothing here imports anything of ours; everything else may import this.
"""

import difflib
import os
import re
import reprlib
import sys
import types
import typing
from collections.abc import Iterable
from typing import Annotated, Any, Literal

# A tensor's name ends in its axes (`h_BTND`); these are the letters in use.
AXES = {
  'B': 'clips of a batch',
  'T': 'frames of a clip',
  'H': 'rows: of pixels in a video, of patches in a token grid',
  'W': 'columns: of pixels in a video, of patches in a token grid',
  'N': 'patches of a frame, H * W',
  'L': 'all tokens of a sequence',
  'D': 'width of a token',
  'A': 'attention heads',
  'd': 'width of a head, D / A',
  'C': 'channels of a pixel',
  'K': 'classes',
  'V': 'views of a video',
  'F': 'hidden width of an MLP',
  'G': 'gates of a token, one a focal level and one for the global context',
  'M': 'microbatches of a step',
  'P': 'pixels of a patch edge',
  'Q': 'query tokens',
  'S': 'key and value tokens',
  'R': 'rows of a table, or of the batch that one process feeds',
  'n': 'frames of a whole video',
  'x': 'any number of leading axes',
}


AnyPath = str | os.PathLike[str]
# 'gs://', and 'file:/' too; a drive has one letter, and names have colons.
_SCHEME = re.compile(r'[A-Za-z][A-Za-z0-9+.-]+:/')
STORES = ('gs://', 's3://')  # the object stores that are read and written


# Letters of a word in a message, and of a message: a name may have megabytes.
_LONGEST_WORD, _LONGEST_MESSAGE = 300, 6000
_LONG_WORD = re.compile(rf'\S{{{_LONGEST_WORD + 1},}}')


class InputError(ValueError):
  """The user's input cannot be used; the command line exits with code 2.

  The message says what it got, what it expected, and what to try next. Very
  long words in it, which are names and values of the input, are shortened.
  """

  def __init__(self, message: object = '') -> None:
    super().__init__(shorten_words(str(message)))


def local_path(path: AnyPath) -> str:
  """A path of this machine that a user wrote, with `~` as the home folder.

  Raises InputError for an address such as gs://bucket/runs: as a path it would
  be a folder called 'gs:' on this machine, which goes away with it.
  """
  text = os.fspath(path)
  if _SCHEME.match(text):
    raise InputError(
      f'got {text!r:.120}, which is an address; expected a path of this '
      'machine; try a local folder, and copy it from or to the store'
    )
  return os.path.expanduser(text)


def user_path(path: AnyPath) -> str:
  """A path that a user wrote: of this machine, or gs://BUCKET/... or s3://...

  Raises InputError for other addresses, and for those that name no object: a
  store takes `..` and an empty name for letters.
  """
  text = os.fspath(path)
  if not _SCHEME.match(text):
    return os.path.expanduser(text)
  address = text.rstrip('/')
  if not text.startswith(STORES):
    raise InputError(
      f'got {text!r:.120}, which is an address of another kind; expected a '
      'path of this machine, gs://BUCKET/PATH or s3://BUCKET/PATH; try one of '
      'these, and copy from or to other stores'
    )
  bucket, *names = address.partition('://')[2].split('/')
  if not bucket or {'', '.', '..'} & {*names} or not address.isprintable():
    raise InputError(
      f'got {text!r:.120}, which names no object of a store; expected a bucket '
      'and names between single slashes; try '
      f'{text[:2].lower()}://BUCKET/runs/first'
    )
  return address


def quote(name: object) -> str:
  """A name of a stranger, for a line of text: in quotes if it is odd.

  A name with a tab, a newline or an escape code would forge lines, or command
  the terminal. `ast.literal_eval` gives a quoted name back.
  """
  text = str(name)
  plain = text.isprintable() and text == text.strip() and text[:1] not in '\'"'
  return text if plain and text else repr(text)


def escape(text: str, *, keep: str = '\n') -> str:
  """A text for the terminal, with escapes for codes that it would obey."""
  return ''.join(
    c if c.isprintable() or c in keep else repr(c)[1:-1] for c in text
  )


def shorten(text: str, most: int) -> str:
  """The two ends of a text that is longer than `most` letters."""
  if len(text) <= most:
    return text
  head, tail = most * 2 // 3, most // 4
  return f'{text[:head]}...{text[-tail:]} ({len(text):,} letters)'


def shorten_words(text: str) -> str:
  """A message whose very long words, and then itself, are shortened."""
  text = _LONG_WORD.sub(lambda word: shorten(word[0], _LONGEST_WORD), text)
  return shorten(text, _LONGEST_MESSAGE)


def brief(value: object) -> str:
  """The `repr` of a stranger's value, as far as a message has room for it."""
  try:
    return shorten(_BRIEF.repr(value), _LONGEST_WORD)
  except (ValueError, RecursionError):  # an int of more than 4300 digits
    return f'a {type(value).__name__} that is too long to show'


_BRIEF = reprlib.Repr()
_BRIEF.maxstring = _BRIEF.maxother = _BRIEF.maxlong = 120
_BRIEF.maxlist = _BRIEF.maxtuple = _BRIEF.maxdict = 16


def expected_one_of(name: object, known: Iterable[object]) -> str:
  """'expected one of A, B, C; try B': the end of a message about a name."""
  names = [str(k) for k in known]
  # difflib compares every pair of letters: a megabyte would take hours.
  near = difflib.get_close_matches(str(name)[:200], names, n=1, cutoff=0.5)
  hint = f'; try {near[0]!r}' if near else ''
  return f'expected one of {", ".join(names)}{hint}'


def unknown_name(field: str, name: object, known: Iterable[object]) -> str:
  """The message for a name that is not in `known`, with the nearest that is."""
  return f'got {brief(name)} for {field}; {expected_one_of(name, known)}'


# Ranges that `config.check` enforces; the string is what the user reads.
_INT32 = 2**31 - 1  # the largest number that JAX counts with
Positive = Annotated[
  int, f'at least 1, at most {_INT32}', lambda v: 1 <= v <= _INT32
]
# Frames of a clip, or pixels of an edge.
Extent = Annotated[int, 'at least 1, at most 8192', lambda v: 1 <= v <= 8192]
Count = Annotated[int, 'at least 0', lambda v: v >= 0]
PositiveFloat = Annotated[float, 'above 0', lambda v: v > 0]
NotNegative = Annotated[float, 'at least 0', lambda v: v >= 0]
# (regex over the paths of parameters, factor), the first that matches counts.
Factors = tuple[tuple[str, NotNegative], ...]
Fraction = Annotated[float, 'from 0 to 1', lambda v: 0 <= v <= 1]
BelowOne = Annotated[float, 'from 0 to below 1', lambda v: 0 <= v < 1]
Half = Annotated[float, 'from 0 to 0.5', lambda v: 0 <= v <= 0.5]
Level = Annotated[float, 'from 0 to 10', lambda v: 0 <= v <= 10]
Range = Annotated[
  tuple[float, float],
  'two numbers above 0, the lower first',
  lambda v: 0 < v[0] <= v[1],
]
# Frames a second; 0: not known, or the video's own.
FrameRate = Annotated[float, 'from 0 to 1000', lambda v: 0 <= v <= 1000]
Share = Annotated[float, 'above 0 and at most 1', lambda v: 0 < v <= 1]
Shares = Annotated[
  tuple[float, float],
  'two numbers above 0 and at most 1, the lower first',
  lambda v: 0 < v[0] <= v[1] <= 1,
]
# A name that goes into file names and lines: of a split, a subset.
Name = Annotated[
  str,
  'a printable name without /',
  lambda v: v and v.isprintable() and '/' not in v and v not in ('.', '..'),
]
# A path; it is checked and expanded.
LocalPath = Annotated[str, local_path]
UserPath = Annotated[str, user_path]  # it may be in an object store
Seed = Annotated[int, 'from 0 to 2**32 - 1', lambda v: 0 <= v < 2**32]
# What a layer keeps for the backward pass; `nn/stack.py` says what they mean.
REMAT = ('none', 'block', 'dots', 'save_attention', 'offload')
_OLD_REMAT = {
  'True': 'block',
  'true': 'block',
  'False': 'none',
  'false': 'none',
}


def remat_policy(value: Any) -> str:
  """A choice of `REMAT`; True and False, as it was once, are block and none."""
  policy = str(value) if isinstance(value, bool | str) else None
  policy = _OLD_REMAT.get(policy or '', policy)
  if policy not in REMAT:
    raise InputError(unknown_name('remat', value, REMAT))
  return policy


Remat = Annotated[Any, remat_policy]


# What a value of a type looks like, for messages.
_EXAMPLES = {
  bool: 'True or False',
  int: 'an int such as 8',
  float: 'a float such as 3e-4',
  str: "a str such as 'x'",
  tuple: 'a tuple such as (1, 2)',
  dict: 'a dict of fields',
}


def check_value(value: Any, hint: Any, *, path: str) -> Any:
  """Checks a value against the annotation of its field, and converts it.

  The hint is a type, a Literal, a tuple of types, or one of the ranges above;
  `path` is the name of the field in errors. A whole number becomes a float
  where the field is a float, and a list becomes a tuple. A float is finite.
  """
  origin = typing.get_origin(hint)
  if origin is typing.Annotated:
    base, *more = typing.get_args(hint)
    value = check_value(value, base, path=path)
    if len(more) == 1:  # a conversion
      return more[0](value)
    expected, holds = more
    if not holds(value):
      raise InputError(f'got {brief(value)} for {path}; expected {expected}')
    return value
  if origin is Literal:
    choices = typing.get_args(hint)
    # By type too: True would pass for 1.
    if not any(type(value) is type(c) and value == c for c in choices):
      # An empty text is a choice of some fields.
      raise InputError(unknown_name(path, value, (c or "''" for c in choices)))
    return value
  if origin is tuple:
    kinds = typing.get_args(hint)
    if not isinstance(value, (list, tuple)):
      raise _wrong_type(value, tuple, path)
    if kinds[-1] is Ellipsis:
      kinds = kinds[:1] * len(value)
    if len(kinds) != len(value):
      raise InputError(
        f'got {brief(value)} for {path}; expected {len(kinds)} values'
      )
    return tuple(
      check_value(v, k, path=path) for v, k in zip(value, kinds, strict=True)
    )
  if origin is types.UnionType:  # of a type and None
    if value is None:
      return None
    (hint,) = (kind for kind in typing.get_args(hint) if kind is not type(None))
    return check_value(value, hint, path=path)
  if origin is dict and isinstance(value, dict):
    _, kind = typing.get_args(hint)
    if kind is Any:
      return value
    return {
      key: check_value(v, kind, path=f'{quote(key)} of {path}')
      for key, v in value.items()
    }
  if hint is float:
    return _check_float(value, path)
  hint = origin or hint  # dict[str, Any] is a dict
  if hint is not Any and type(value) is not hint:
    raise _wrong_type(value, hint, path)
  return value


def _check_float(value: Any, path: str) -> float:
  """A finite float, or a whole number as one; infinity passes most ranges."""
  if type(value) not in (int, float):
    raise _wrong_type(value, float, path)
  # Compared before it is converted: `float(10**400)` raises OverflowError.
  if not abs(value) <= sys.float_info.max:
    raise InputError(f'got {brief(value)} for {path}; expected a finite number')
  return float(value)


def _wrong_type(value: Any, hint: type, path: str) -> InputError:
  expected = _EXAMPLES.get(hint, hint.__name__)
  return InputError(
    f'got {type(value).__name__} {brief(value)} for {path}; expected {expected}'
  )
