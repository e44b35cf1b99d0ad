"""What every layer shares: axis letters, typed fields, the user's error.

Nothing here imports anything of ours; everything else may import this.
"""

import difflib
import sys
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


class InputError(ValueError):
  """What the user gave cannot be used; the command line exits with code 2.

  The message says what came, what was wanted, and the next move.
  """


def unknown_name(field: str, name: object, known: Iterable[str]) -> str:
  """The message for a name that is not in `known`, with the nearest that is."""
  names = list(known)
  near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
  hint = f'; try {near[0]!r}' if near else ''
  return f'got {name!r} for {field}; expected one of {", ".join(names)}{hint}'


# Ranges that `config.check` enforces; the string is what the user reads.
Positive = Annotated[int, 'at least 1', lambda v: v >= 1]
Count = Annotated[int, 'at least 0', lambda v: v >= 0]
PositiveFloat = Annotated[float, 'above 0', lambda v: v > 0]
NotNegative = Annotated[float, 'at least 0', lambda v: v >= 0]
Fraction = Annotated[float, 'from 0 to 1', lambda v: 0 <= v <= 1]
BelowOne = Annotated[float, 'from 0 to below 1', lambda v: 0 <= v < 1]
Half = Annotated[float, 'from 0 to 0.5', lambda v: 0 <= v <= 0.5]
Level = Annotated[float, 'from 0 to 10', lambda v: 0 <= v <= 10]
Range = Annotated[
  tuple[float, float],
  'two numbers above 0, the lower first',
  lambda v: 0 < v[0] <= v[1],
]
Share = Annotated[float, 'above 0 and at most 1', lambda v: 0 < v <= 1]
Shares = Annotated[
  tuple[float, float],
  'two numbers above 0 and at most 1, the lower first',
  lambda v: 0 < v[0] <= v[1] <= 1,
]
Seed = Annotated[int, 'from 0 to 2**32 - 1', lambda v: 0 <= v < 2**32]


def typed(value: Any, hint: Any, *, path: str) -> Any:
  """`value` as an annotated field wants it.

  Args:
    value: what came.
    hint: a type, a Literal, a tuple of types, or one of the ranges above.
    path: what to call the field in errors.

  Returns:
    The value; a whole number as a float where that is wanted, a list as a
    tuple.

  Raises:
    InputError: for another type, choice or range, and for a float that is not
      finite.
  """
  origin = typing.get_origin(hint)
  if origin is typing.Annotated:
    base, wanted, holds = typing.get_args(hint)
    value = typed(value, base, path=path)
    if not holds(value):
      raise InputError(f'{path} is {value!r}; wanted {wanted}')
    return value
  if origin is Literal:
    choices = typing.get_args(hint)
    # By type too: True would pass for 1.
    if not any(type(value) is type(c) and value == c for c in choices):
      raise InputError(f'{path} is {value!r}; wanted one of {choices}')
    return value
  if origin is tuple:
    kinds = typing.get_args(hint)
    if not isinstance(value, (list, tuple)):
      raise InputError(f'{path} is {value!r}; wanted a tuple')
    if kinds[-1] is Ellipsis:
      kinds = kinds[:1] * len(value)
    if len(kinds) != len(value):
      raise InputError(f'{path} is {value!r}; wanted {len(kinds)} values')
    return tuple(
      typed(v, k, path=path) for v, k in zip(value, kinds, strict=True)
    )
  if hint is float:
    return _finite(value, path)
  hint = origin or hint  # dict[str, Any] is a dict
  if hint is Any:
    return value
  if type(value) is not hint:
    raise InputError(f'{path} is {value!r}; wanted {hint.__name__}')
  return value


def _finite(value: Any, path: str) -> float:
  """A float, or a whole number as one; infinity passes most ranges."""
  if type(value) not in (int, float):
    raise InputError(f'{path} is {value!r}; wanted float')
  # Compared before it is converted: `float(10**400)` is no infinity but raises.
  if not abs(value) <= sys.float_info.max:
    raise InputError(f'{path} is {value!r}; wanted a finite number')
  return float(value)
