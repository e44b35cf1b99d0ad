"""The manifest of a split: what its shards hold, lost and mean."""

import dataclasses
import hashlib
import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np

from vidmodels.data.records.flip_policy import FlipPolicy
from vidmodels.data.records.task import SINGLE, Task
from vidmodels.data.records.tfrecord import find_shards
from vidmodels.files import write_atomically
from vidmodels.typing import InputError

FORMAT = 'vidmodels-records-1'


@dataclasses.dataclass(frozen=True)
class Shard:
  """One file of a split, as the manifest and its index know it.

  Attributes:
    name: of the file.
    count: its records.
    bytes: its size.
    sha256: of the whole file.
    offsets: where each record starts, int64 [count].
    videos: the name of each record's video, count of them.
  """

  name: str
  count: int
  bytes: int
  sha256: str
  offsets: np.ndarray = dataclasses.field(repr=False, compare=False)
  videos: tuple[str, ...] = dataclasses.field(repr=False)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Manifest:
  """What one split of a record set holds, and what it lost on the way.

  Attributes:
    split: its name.
    shards: its files in order; records are numbered through them.
    classes_sha256: hash of the class list the labels refer to.
    flip: what a mirror does to the labels.
    listed: videos the source listed, records plus lost.
    lost: (video, reason) of each video that gave no record.
    damaged: (video, packets that did not decode) of records with holes.
    options: how the records were made: short_side, quality, fps, source, ...
    labels: records of each class, K counts; none if nobody counted.
    task: what the labels are.
    labelled: False if the split's labels are not published.
    expected: clips that the split officially has; 0 if nobody says.
    subsets: videos that are also reported on their own, by name of the subset.
    class_subsets: classes that are also reported on their own.
  """

  split: str
  shards: tuple[Shard, ...]
  classes_sha256: str
  flip: FlipPolicy
  listed: int
  lost: tuple[tuple[str, str], ...] = ()
  damaged: tuple[tuple[str, int], ...] = ()
  options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  labels: tuple[int, ...] = ()
  task: Task = SINGLE
  labelled: bool = True
  expected: int = 0
  subsets: Mapping[str, tuple[str, ...]] = dataclasses.field(
    default_factory=dict, repr=False
  )
  class_subsets: Mapping[str, tuple[int, ...]] = dataclasses.field(
    default_factory=dict, repr=False
  )

  @property
  def count(self) -> int:
    """Records in the split."""
    return sum(shard.count for shard in self.shards)

  @property
  def fingerprint(self) -> str:
    """Identifies the data: the shards' bytes and the meaning of labels."""
    parts = [shard.sha256 for shard in self.shards]
    parts += [self.classes_sha256, json.dumps(self.flip.to_json())]
    if self.task != SINGLE:
      parts.append(json.dumps(self.task.to_json()))
    return hashlib.sha256('\n'.join(parts).encode()).hexdigest()

  def as_json(self) -> dict[str, Any]:
    """Everything but the index, for JSON."""
    value = {
      field.name: getattr(self, field.name)
      for field in dataclasses.fields(self)
    }
    value['options'] = dict(self.options)
    value['flip'] = self.flip.to_json()
    value['task'] = self.task.to_json()
    value['shards'] = [
      {k: getattr(s, k) for k in ('name', 'count', 'bytes', 'sha256')}
      for s in self.shards
    ]
    return value | {'count': self.count, 'fingerprint': self.fingerprint}

  def save(self, dir: str | os.PathLike[str]) -> None:
    """Writes the index, then the manifest that vouches for it."""
    folder = pathlib.Path(dir)
    index = {
      'offsets': [np.asarray(s.offsets).tolist() for s in self.shards],
      'videos': [s.videos for s in self.shards],
    }
    data = json.dumps(index, ensure_ascii=False).encode()
    write_atomically(index_path(folder, self.split), data)
    value = {'format': FORMAT, **self.as_json()}
    value['index_sha256'] = hashlib.sha256(data).hexdigest()
    text = json.dumps(value, indent=1, ensure_ascii=False) + '\n'
    write_atomically(manifest_path(folder, self.split), text.encode())

  @classmethod
  def load(cls, dir: str | os.PathLike[str], split: str) -> Self:
    """Reads what `save` wrote.

    Raises:
      InputError: if there is no manifest, or it is damaged or not ours.
    """
    path = manifest_path(dir, split)
    if not path.exists():
      raise InputError(_no_manifest(pathlib.Path(dir), split))
    try:
      value = json.loads(path.read_text(encoding='utf-8'))
      data = index_path(dir, split).read_bytes()
      if hashlib.sha256(data).hexdigest() != value['index_sha256']:
        raise ValueError(f'{split}.index.json belongs to another manifest')
      return cls._from_json(value, json.loads(data))
    except (ValueError, KeyError, TypeError, OSError) as e:
      raise InputError(
        f'{path} cannot be used ({type(e).__name__}: {e}); wanted a manifest '
        f'of format {FORMAT}; run `vidmodels prepare` or `inspect --index` '
        'again'
      ) from e

  @classmethod
  def _from_json(cls, value: Mapping[str, Any], index: Mapping) -> Self:
    if value['format'] != FORMAT:
      raise ValueError(f'format {value["format"]!r}')
    return cls(
      split=value['split'],
      shards=tuple(
        Shard(**s, offsets=np.array(starts, np.int64), videos=tuple(names))
        for s, starts, names in zip(
          value['shards'], index['offsets'], index['videos'], strict=True
        )
      ),
      classes_sha256=value['classes_sha256'],
      flip=FlipPolicy.from_json(value['flip']),
      listed=value['listed'],
      lost=tuple((video, reason) for video, reason in value['lost']),
      damaged=tuple((video, packets) for video, packets in value['damaged']),
      options=value['options'],
      labels=tuple(value['labels']),
      # Manifests of the first release have none of these.
      task=Task.from_json(value.get('task', SINGLE.to_json())),
      labelled=value.get('labelled', True),
      expected=value.get('expected', 0),
      subsets=_tuples(value.get('subsets', {})),
      class_subsets=_tuples(value.get('class_subsets', {})),
    )


def _tuples(value: Mapping[str, Sequence]) -> dict[str, tuple]:
  return {name: tuple(entries) for name, entries in value.items()}


def manifest_path(dir: str | os.PathLike[str], split: str) -> pathlib.Path:
  """Where the manifest of a split is kept."""
  return pathlib.Path(dir) / f'{split}.manifest.json'


def index_path(dir: str | os.PathLike[str], split: str) -> pathlib.Path:
  """Where the offsets and video names of a split are kept."""
  return pathlib.Path(dir) / f'{split}.index.json'


def parts_folder(dir: str | os.PathLike[str], split: str) -> pathlib.Path:
  """What `prepare` keeps of a split until it is complete."""
  return pathlib.Path(dir) / f'{split}.parts'


def splits(dir: str | os.PathLike[str]) -> tuple[str, ...]:
  """The splits of a folder that have a manifest, sorted."""
  end = '.manifest.json'
  found = pathlib.Path(dir).glob(f'*{end}')
  return tuple(sorted(path.name.removesuffix(end) for path in found))


def _no_manifest(folder: pathlib.Path, split: str) -> str:
  if not folder.is_dir():
    return (
      f'{folder} is no folder; wanted one that `vidmodels prepare` wrote; '
      'check the path'
    )
  if parts_folder(folder, split).is_dir():
    return (
      f'split {split!r} of {folder} is not complete; wanted '
      f'{split}.manifest.json; give the same `vidmodels prepare` again, it '
      'continues where it stopped'
    )
  if find_shards(folder, split):
    return (
      f'{folder} has shards of {split!r} but no manifest; wanted '
      f'{split}.manifest.json; if another tool wrote them run `vidmodels '
      f'inspect {folder} --split {split} --index --classes FILE`'
    )
  have = ', '.join(splits(folder)) or 'none'
  return (
    f'{folder} has no split {split!r}; its splits: {have}; run `vidmodels '
    f'prepare SOURCE --out {folder} --split {split}`'
  )
