"""What `prepare` and `check` are pointed at: whichever it is, clips to make.

A data set by name with its official files, a folder or list of one's own, or
`tfds:NAME`.
"""

import dataclasses
import hashlib
import json
import os
import pathlib
from collections.abc import Sequence

from vidmodels.data.datasets import registry
from vidmodels.data.listing.read_source import read_source
from vidmodels.data.listing.rows import Listing
from vidmodels.data.prepare import shard_parts, tfds
from vidmodels.data.records.class_list import ClassList
from vidmodels.data.records.flip_policy import FlipPolicy
from vidmodels.typing import InputError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Spec:
  """What the user says of a source.

  Attributes:
    source: a data set's name, a folder, a list, or `tfds:NAME`.
    split: of it, and of what is written.
    annotations: the data set's official file, or the folder with all of them.
    videos: the folder with its videos; of `tfds:`, where TFDS keeps its sets.
    classes: what labels refer to.
    root: what the paths of a list are relative to.
    labels: of a list: 'single', 'multi' or 'any'; see `Task`.
    limit: only so many clips, the first of the list; 0 for all.
  """

  source: str
  split: str = 'train'
  annotations: str | os.PathLike[str] | None = None
  videos: str | os.PathLike[str] | None = None
  classes: ClassList | None = None
  root: str | os.PathLike[str] | None = None
  labels: str | None = None
  limit: int = 0

  @property
  def kind(self) -> str:
    """'tfds', 'dataset' or 'own'.

    A name that is also a path is a data set if its annotations or videos are
    given.
    """
    if self.source.startswith(tfds.PREFIX):
      return 'tfds'
    if self.annotations is not None or self.videos is not None:
      return 'dataset'
    return 'own'


@dataclasses.dataclass(frozen=True)
class Files:
  """Clips of video files.

  Attributes:
    listing: what was listed, cut to the limit.
  """

  listing: Listing

  @property
  def clips(self) -> int:
    """How many there are."""
    return len(self.listing.rows)

  @property
  def sha256(self) -> str:
    """Identifies what was listed, wherever the files lie."""
    digest = hashlib.sha256()
    for row in self.listing.rows:
      entry = [row.video, row.labels, row.start_s, row.end_s]
      digest.update(json.dumps(entry).encode() + b'\n')
    return digest.hexdigest()

  def parts(self, wanted: int) -> list[shard_parts.ShardPart]:
    """What each shard holds; at most `wanted` shards, none is empty."""
    groups = shard_parts.groups_of(self.listing.rows)
    names = self.listing.classes.names
    dealt = shard_parts.spread(groups, min(wanted, len(groups)))
    return [shard_parts.FilePart(some, names) for some in dealt]


@dataclasses.dataclass(frozen=True)
class Tfds:
  """Videos that TFDS has prepared.

  Attributes:
    split: which.
    listing: what is known of them; no rows.
  """

  split: tfds.Split
  listing: Listing

  @property
  def clips(self) -> int:
    """How many there are."""
    return self.split.count

  @property
  def sha256(self) -> str:
    """Identifies the set, its split and its size."""
    entry = [self.split.name, self.split.split, self.split.count]
    return hashlib.sha256(json.dumps(entry).encode()).hexdigest()

  def parts(self, wanted: int) -> list[shard_parts.ShardPart]:
    """Equal stretches; at most `wanted`, none is empty."""
    n = self.split.count
    count = min(wanted, n)
    ends = [n * k // count for k in range(count + 1)]
    return [
      shard_parts.TfdsPart(self.split, ends[k], ends[k + 1])
      for k in range(count)
    ]


def read(
  spec: Spec, *, default: ClassList | None = None, need_videos: bool = True
) -> Files | Tfds:
  """Reads what a source lists.

  Args:
    spec: what the user said.
    default: what the labels of one's own files refer to if nothing else says.
    need_videos: whether it is an error that a data set came without its folder
      of videos, or that no file of a list is there.

  Raises:
    InputError: if it cannot be read, or was described as another kind.
  """
  if spec.limit < 0:
    raise InputError(f'--limit {spec.limit} came; wanted 1 or more, 0 for all')
  if spec.kind == 'tfds':
    return _tfds(spec)
  if spec.kind == 'dataset':
    listing = _dataset(spec, need_videos)
  else:
    listing = _own(spec, default, need_videos)
  if spec.limit:
    listing = dataclasses.replace(listing, rows=listing.rows[: spec.limit])
  return Files(listing)


def flip_of(
  asked: FlipPolicy | str | None, spec: Spec, listing: Listing
) -> FlipPolicy | None:
  """The flip policy that the user asked for; None if nothing was said.

  Args:
    asked: the policy, or its text; 'swap' alone means the data set's own pairs.
    spec: of which source.
    listing: what was read of it.

  Raises:
    InputError: if the source has no pairs of its own, or a pair does not fit
      its labels.
  """
  if asked is None:
    return None
  if isinstance(asked, str):
    own = registry.find(spec.source).mirror if spec.kind == 'dataset' else ()
    asked = FlipPolicy.parse(asked, own)
  asked.check(listing.classes, listing.task)
  return asked


def _refuse(spec: Spec, names: Sequence[str], why: str) -> None:
  for name in names:
    value = getattr(spec, name)
    if value is not None:
      raise InputError(
        f'--{name} {value} came with {spec.source}; {why}; leave it out'
      )


def _tfds(spec: Spec) -> Tfds:
  why = 'a tfds: set has its own classes and labels'
  _refuse(spec, ('annotations', 'root', 'labels', 'classes'), why)
  split = tfds.open_split(spec.source, spec.split, spec.videos)
  listing = Listing(
    rows=(),
    classes=split.classes,
    task=split.task,
    expected=split.count,
    labelled=split.labelled,
    notes=split.notes,
  )
  if spec.limit:
    split = dataclasses.replace(split, count=min(spec.limit, split.count))
  return Tfds(split, listing)


def _dataset(spec: Spec, need_videos: bool) -> Listing:
  dataset = registry.find(spec.source)
  why = f'{dataset.title} has its own list and kind of labels'
  _refuse(spec, ('root', 'labels'), why)
  wanted = {'annotations': spec.annotations}
  if need_videos:
    wanted['videos'] = spec.videos
  for name, value in wanted.items():
    if value is None:
      raise InputError(
        f'{dataset.title} came without --{name}; wanted the '
        + ('official file or folder' if name == 'annotations' else 'folder')
        + f' with its {name}'
      )
  return registry.read(
    spec.source,
    annotations=spec.annotations,
    videos=spec.videos,
    split=spec.split,
    classes=spec.classes,
  )


def _own(spec: Spec, default: ClassList | None, need_videos: bool) -> Listing:
  known = {
    n for d in registry.all_datasets().values() for n in (d.name, *d.aliases)
  }
  if spec.source.lower() in known and not pathlib.Path(spec.source).exists():
    raise InputError(
      f'{spec.source} came without its files; wanted --annotations FILE_OR_DIR '
      'and --videos DIR'
    )
  return read_source(
    spec.source,
    spec.classes,
    root=spec.root,
    default=default,
    labels=spec.labels or 'single',
    need_files=need_videos,
  )
