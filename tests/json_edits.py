"""Edits of JSON documents: each part replaced by what does not belong there.

  for place, text in json_edits.every({'classes': ['a'], 'fps': 0.0}):
    path.write_text(text)
    with json_edits.one_message(place): read(path)

Whoever reads the text has one of two outcomes: it is read, or an InputError of
a few lines says what is wrong.
"""

import contextlib
import copy
import json
from collections.abc import Iterator
from typing import Any

import numpy as np

from vidmodels.typing import InputError

# JSON texts, and what JSON is not, in the place of a value.
VALUES = (
  *('3', '-1', '0', '1.5', '1e999', '-1e-320', '1' + '0' * 30, '9' * 5000),
  *('true', 'null', 'NaN', 'Infinity', '""', '"text"', '"25"', '"\\ud800"'),
  *('"\\u0000\\u001b[31m"', f'"{"x" * 10**5}"', '[]', '[1, 2]', '["a", "a"]'),
  *('{}', '{"a": 1, "a": 2}', '{"a": {"b": []}}', '[[[[[]]]]]'),
  *('[' * 60 + ']' * 60, '[' * 10**5 + ']' * 10**5, '{"a":' * 10**5),
)
DROP = None
_MARK = 'put the value here'


def every(document: Any, *, values: tuple = VALUES) -> Iterator[tuple]:
  """(place, text) for every part of a document and every wrong value."""
  for place in _places(document):
    for value in (DROP, *values):
      yield (
        f'{"/".join(map(str, place))}: {value!s:.60}',
        _edit(document, place, value),
      )


def sample(document: Any, count: int, seed: int = 0) -> Iterator[tuple]:
  """Some of `every`, spread over parts and values."""
  places, rng = list(_places(document)), np.random.default_rng(seed)
  for k in range(count):
    place = places[rng.integers(len(places))]
    value = (DROP, *VALUES)[(k + seed) % (len(VALUES) + 1)]
    yield (
      f'{"/".join(map(str, place))}: {value!s:.60}',
      _edit(document, place, value),
    )


@contextlib.contextmanager
def one_message(place: str) -> Iterator[None]:
  """Passes if the block reads the document or refuses it in a few lines."""
  message = ''
  try:
    yield
  except InputError as error:
    message = str(error)
  except Exception as error:
    raise AssertionError(f'{place}: {type(error).__name__}: {error}') from error
  assert len(message) < 7000, place
  assert 'allow_pickle' not in message, place


def _places(document: Any, place: tuple = ()) -> Iterator[tuple]:
  yield place
  pairs: Any = ()
  if isinstance(document, dict):
    pairs = document.items()
  elif isinstance(document, list):
    pairs = list(enumerate(document))[:2]  # the others are alike
  for key, value in pairs:
    yield from _places(value, (*place, key))


def _edit(document: Any, place: tuple, value: str | None) -> str:
  if not place:
    return value or ''
  changed = copy.deepcopy(document)
  inner = changed
  for key in place[:-1]:
    inner = inner[key]
  if value is DROP:
    del inner[place[-1]]
    return json.dumps(changed)
  inner[place[-1]] = _MARK
  return json.dumps(changed).replace(json.dumps(_MARK), value)
