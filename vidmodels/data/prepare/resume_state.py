"""What `prepare` keeps in `<split>.parts/` until a split is complete.

`run.json` says what the split is made of: a run that finds another one there
stops. A note per shard, written after the shard has its name, says that the
shard is whole and what the manifest will say of it. Until then a second file
says which video is being decoded; should the decoder crash, that one is tried
alone, and if it is to blame it is remembered.
"""

import json
import os
import pathlib
import shutil
from collections.abc import Mapping
from typing import Any

from vidmodels.data.prepare.split_report import report_path
from vidmodels.data.records import tfrecord
from vidmodels.data.records.class_list import CLASSES_FILE, ClassList
from vidmodels.data.records.manifest import (
  Manifest,
  index_path,
  manifest_path,
  parts_folder,
  splits,
)
from vidmodels.files import write_atomically
from vidmodels.typing import InputError


def note_path(out: pathlib.Path, split: str, k: int) -> pathlib.Path:
  """Where shard `k` is noted."""
  return parts_folder(out, split) / f'{k:05d}.json'


def marker_path(out: pathlib.Path, split: str, k: int) -> pathlib.Path:
  """Where the worker on shard `k` says what it is decoding."""
  return parts_folder(out, split) / f'{k:05d}.at'


def begun(out: pathlib.Path, split: str) -> list[str]:
  """The files that were being decoded when their workers ended."""
  found = sorted(parts_folder(out, split).glob('*.at'))
  return [os.fsdecode(path.read_bytes()) for path in found]


def deadly(out: pathlib.Path, split: str) -> frozenset[str]:
  """The files that a decoder has crashed on."""
  path = _deadly_path(out, split)
  return frozenset(json.loads(path.read_text()) if path.exists() else ())


def remember(out: pathlib.Path, split: str, files: frozenset[str]) -> None:
  """Adds files that a decoder has crashed on."""
  every = sorted(deadly(out, split) | files)
  write_atomically(_deadly_path(out, split), json.dumps(every).encode())


def _deadly_path(out: pathlib.Path, split: str) -> pathlib.Path:
  return parts_folder(out, split) / 'deadly.json'


def sweep(out: pathlib.Path, split: str) -> None:
  """Removes what workers left that are gone: half files, markers."""
  parts = parts_folder(out, split)
  remove_halves(out, split)
  for path in parts.glob('*.at'):
    path.unlink(missing_ok=True)


def remove_halves(out: pathlib.Path, split: str) -> None:
  """Removes files of workers that were killed in the middle of a shard."""
  halves = parts_folder(out, split).glob('*.part')
  for path in [*out.glob(f'{split}-*.part'), *halves]:
    path.unlink(missing_ok=True)


def is_done(shard: pathlib.Path, note: pathlib.Path) -> bool:
  """Whether a shard is noted as whole and still has that size."""
  if not note.exists() or not shard.exists():
    return False
  return shard.stat().st_size == json.loads(note.read_text())['bytes']


def bound_classes(out: pathlib.Path, split: str) -> ClassList | None:
  """The class list that the other splits of a folder are bound to."""
  others = {*splits(out), *_started(out)} - {split}
  return ClassList.load(out / CLASSES_FILE) if others else None


def claim(
  out: pathlib.Path,
  split: str,
  identity: Mapping[str, Any],
  *,
  overwrite: bool,
  resume: bool = True,
) -> Manifest | None:
  """Makes the folder ready to write a split, or finds it complete.

  Returns:
    The manifest if the very same split is complete.

  Raises:
    InputError: if the folder holds the split made otherwise, or part of it
      and that is not to be continued.
  """
  out.mkdir(parents=True, exist_ok=True)
  run = parts_folder(out, split) / 'run.json'
  if overwrite:
    _clear(out, split)
  elif manifest_path(out, split).exists():
    return _complete(out, split, identity)
  elif run.exists() and not resume:
    raise InputError(
      f'{out} holds part of split {split!r}, which --no-resume leaves alone; '
      'leave --no-resume out to continue, or give --overwrite or another --out'
    )
  elif run.exists():
    _compare(out, split, json.loads(run.read_text()), identity)
  elif tfrecord.shard_files(out, split):
    raise InputError(
      f'{out} holds shards of {split!r} that this command did not write; '
      'wanted an empty place; give another --out or --split, or --overwrite'
    )
  run.parent.mkdir(exist_ok=True)
  write_atomically(run, json.dumps(dict(identity)).encode())
  remove_halves(out, split)
  return None


def _complete(
  out: pathlib.Path, split: str, identity: Mapping[str, Any]
) -> Manifest:
  """The manifest of a complete split, which must be the one meant."""
  manifest = Manifest.load(out, split)
  _compare(out, split, manifest.options, identity)
  for shard in manifest.shards:
    path = out / shard.name
    if not path.exists() or path.stat().st_size != shard.bytes:
      raise InputError(
        f'{path} is missing or has changed; wanted {shard.bytes} bytes; '
        'restore it, or run again with --overwrite'
      )
  return manifest


def release(out: pathlib.Path, split: str) -> None:
  """Forgets how a split was made, once its manifest is there."""
  shutil.rmtree(parts_folder(out, split), ignore_errors=True)


def _started(out: pathlib.Path) -> list[str]:
  return [
    path.parent.name.removesuffix('.parts')
    for path in out.glob('*.parts/run.json')
  ]


def _clear(out: pathlib.Path, split: str) -> None:
  # The manifest goes first: what is left without it is no split.
  manifest_path(out, split).unlink(missing_ok=True)
  index_path(out, split).unlink(missing_ok=True)
  (out / f'{split}.lost.txt').unlink(missing_ok=True)
  report_path(out, split).unlink(missing_ok=True)
  release(out, split)
  for path in tfrecord.shard_files(out, split):
    path.unlink()


def _compare(
  out: pathlib.Path,
  split: str,
  before: Mapping[str, Any],
  now: Mapping[str, Any],
) -> None:
  names = {
    'rows_sha256': 'the videos or labels listed',
    'classes_sha256': 'the class list',
  }
  # What sets of the first release do not say.
  before = {'limit': 0, 'labels': 'single', **before}
  changes = [
    names.get(key) or f'{key} (then {before.get(key)}, now {value})'
    for key, value in now.items()
    if before.get(key) != value
  ]
  if changes:
    raise InputError(
      f'{out} holds split {split!r} made with other options; what differs: '
      f'{", ".join(changes)}; give the same options to continue, another '
      '--out, or --overwrite'
    )
