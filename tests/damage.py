"""Damage to official files, and what must hold whatever the damage.

A reader of annotations either says what is wrong (InputError) or gives a
listing in which every entry of the file is count_entries for.
"""

import gzip
import json
import re

import numpy as np

from vidmodels.data.datasets import registry
from vidmodels.typing import InputError

BYTES = (b',', b'"', b"'", b'\n', b'\r', b'\0', b'\xff', b';', b'[' * 5000)
VALUES = (
  *(b'NaN', b'nan', b'-1', b'1e999', b'0', b'true', b'null', b'[]', b'{}'),
  *(b'""', b'99999999999999999999', b'9' * 5000, b'0.5', b'x', b'\xc3\xbc'),
  *(b'-0', b'inf', b'"1"', b'"\\ud800"', b'../../etc', b'7'),
)
TOKEN = re.compile(rb'"[^"]*"|[^\s,:;{}\[\]"]+')


def damage_bytes(data: bytes, rng: np.random.Generator) -> bytes:
  """Damages a file as happens in practice, at a random place."""
  kinds = (_cut, _drop, _repeat, _flip, _insert, _lines, _token, _token, _whole)
  return kinds[rng.integers(len(kinds))](data, rng)


def _span(data, rng):
  start = int(rng.integers(len(data)))
  return start, min(len(data), start + int(rng.integers(1, 60)))


def _cut(data, rng):
  return data[: int(rng.integers(len(data)))]


def _drop(data, rng):
  start, end = _span(data, rng)
  return data[:start] + data[end:]


def _repeat(data, rng):
  start, end = _span(data, rng)
  return data[:end] + data[start:]


def _flip(data, rng):
  at, bits = int(rng.integers(len(data))), int(rng.integers(1, 256))
  return data[:at] + bytes([data[at] ^ bits]) + data[at + 1 :]


def _insert(data, rng):
  at = int(rng.integers(len(data)))
  return data[:at] + BYTES[rng.integers(len(BYTES))] + data[at:]


def _lines(data, rng):
  """Swaps, drops or repeats whole lines, the header too."""
  lines = data.split(b'\n')
  i, j = (int(k) for k in rng.integers(len(lines), size=2))
  kind = rng.integers(3)
  if kind == 0:
    lines[i], lines[j] = lines[j], lines[i]
  elif kind == 1:
    del lines[i]
  else:
    lines.insert(j, lines[i])
  return b'\n'.join(lines)


def _token(data, rng):
  """Another value, of another type, for one word, key or number."""
  tokens = list(TOKEN.finditer(data))
  token = tokens[rng.integers(len(tokens))]
  value = VALUES[rng.integers(len(VALUES))]
  return data[: token.start()] + value + data[token.end() :]


def _whole(data, rng):
  """Damages the file as a whole."""
  text = data.decode()
  return (
    b'',
    b'\n \n',
    text.encode('utf-16'),
    text.encode('utf-8-sig'),
    gzip.compress(data),
    b'<!DOCTYPE html><html>404</html>',
    b'version https://git-lfs.github.com/spec/v1\noid sha256:0\n',
    data.replace(b'\n', b'\r\n'),
    data.replace(b'\n', b'\r'),
    b'[' * 100_000,
    json.dumps({'message': 'not found'}).encode(),
    data + data,
    data.upper(),
    b'\xef\xbb\xbf' + b'\xef\xbb\xbf' + data,
  )[rng.integers(14)]


def count_lines(data: bytes) -> int:
  """Lines that are not blank."""
  text = data.decode('utf-8-sig')
  lines = re.split(r'\r\n|\r|\n', text)
  return sum(bool(line.strip()) for line in lines)


def count_objects(data: bytes) -> int:
  """Items of a JSON list."""
  return len(json.loads(data.decode('utf-8-sig')))


def read_damaged(name, split, folder, path, entries, seed):
  """Damages one file of a folder, reads the folder, and mends the file.

  Args:
    name: of the data set.
    split: of it.
    folder: holds all of its files.
    path: the one to damage.
    entries: how many entries the folder lists for this reading, counted by the
      test; None if it cannot be message for this file.
    seed: of the damage.

  Returns:
    What the error says; None if there was none.
  """
  intact = path.read_bytes()
  data = damage_bytes(intact, np.random.default_rng(seed))
  path.write_bytes(data)
  message = None
  try:
    listing = registry.read(name, annotations=folder, videos=None, split=split)
    check(listing)
    if entries is not None:
      assert count_entries(listing) == entries(folder), (
        seed,
        path,
        data[:2000],
      )
  except InputError as e:
    message = str(e)
  finally:
    path.write_bytes(intact)
  if message is not None:
    assert str(folder) in message, (seed, message)  # which file to mend
    assert len(message) < 12_000, (seed, len(message))  # a word or two of 5000
  return message


def count_entries(listing) -> int:
  """Entries that a listing accounts for: kept, listed again, left out."""
  left = [re.match(r'(\d+) .*left out', note) for note in listing.notes]
  counts = [int(match[1]) for match in left if match]
  return len(listing.rows) + len(listing.duplicates) + sum(counts)


def check(listing) -> None:
  """Checks what holds for every listing of official files."""
  names = [row.video for row in listing.rows]
  assert names
  assert len(set(names)) == len(names)
  assert set(listing.duplicates) <= set(names)
  for row in listing.rows:
    row.video.encode()  # no half of a surrogate pair
    assert row.video.isprintable()
    assert '..' not in row.path.parts
    assert 0 <= row.start_s < (row.end_s or np.inf) <= np.inf
    if listing.labelled:
      listing.task.check(row.labels, len(listing.classes))
    else:
      assert row.labels == ()
