"""The source of `prepare` and `check`: a data set, one's own files, or TFDS.

spec = sources.SourceSpec(source='k400', annotations=csv, videos=folder)
source = sources.open_source(spec)
source.listing.rows, source.clips
"""

import dataclasses
import hashlib
import itertools
import json
import pathlib
from collections.abc import Sequence

from vidmodels.data.datasets import registry
from vidmodels.data.listing.read_source import read_source
from vidmodels.data.listing.rows import Listing
from vidmodels.data.prepare import shard_job, tfds
from vidmodels.data.records.class_list import ClassList
from vidmodels.data.records.flip_policy import FlipPolicy
from vidmodels.data.records.task import LabelKind
from vidmodels.typing import AnyPath, InputError


@dataclasses.dataclass(frozen=True, kw_only=True)
class SourceSpec:
  """What the user says about a source."""

  source: str  # a data set's name, a folder, a list, or `tfds:NAME`
  split: str = 'train'  # the split to read, and its name in the records
  annotations: AnyPath | None = None  # official file, or the folder of all
  # videos: the folder with its videos; for `tfds:`, where TFDS keeps its sets
  videos: AnyPath | None = None
  classes: ClassList | None = None  # what labels refer to
  root: AnyPath | None = None  # what the paths of a list are relative to
  labels: LabelKind | None = None  # of a list; see `Task`
  limit: int = 0  # only this many clips, the first of the list; 0 for all

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
class Source:
  """The clips of a source."""

  listing: Listing  # what was listed, cut to the limit; without rows for TFDS
  tfds_split: tfds.TfdsSplit | None = None  # None for video files

  @property
  def clips(self) -> int:
    """Their number."""
    split = self.tfds_split
    return split.count if split else len(self.listing.rows)

  @property
  def sha256(self) -> str:
    """Identifies the rows, or TFDS's set, wherever the files lie."""
    if self.tfds_split is not None:
      entry = [self.tfds_split.name, self.tfds_split.split, self.clips]
      return hashlib.sha256(json.dumps(entry).encode()).hexdigest()
    digest = hashlib.sha256()
    for row in self.listing.rows:
      fields = [row.video, row.labels, row.start_s, row.end_s]
      digest.update(json.dumps(fields).encode() + b'\n')
    return digest.hexdigest()

  def make_parts(self, shards: int) -> list[shard_job.ShardPart]:
    """The clips of each shard; at most `shards` parts, none of them empty."""
    if self.tfds_split is not None:
      count = min(shards, self.clips)
      ends = [self.clips * k // count for k in range(count + 1)]
      return [
        shard_job.TfdsPart(self.tfds_split, start, stop)
        for start, stop in itertools.pairwise(ends)
      ]
    rows = [
      # Workers may be started in another folder.
      dataclasses.replace(row, path=row.path.absolute())
      for row in self.listing.rows
    ]
    groups = shard_job.group_by_file(rows)
    names = self.listing.classes.names
    dealt = shard_job.deal_files(groups, min(shards, len(groups)))
    return [shard_job.FilePart(groups, names) for groups in dealt]


def open_source(
  spec: SourceSpec,
  *,
  default: ClassList | None = None,
  need_videos: bool = True,
) -> Source:
  """Reads what a source lists.

  Labels of one's own files refer to `default` if nothing else says. With
  `need_videos`, a data set without its folder of videos, or a list without any
  existing file, is an error, as are fields of another kind of source.
  """
  if spec.limit < 0:
    raise InputError(
      f'got --limit {spec.limit}; expected 1 or more; try 0 for all'
    )
  if spec.kind == 'tfds':
    return _open_tfds(spec)
  if spec.kind == 'dataset':
    listing = _read_dataset(spec, need_videos)
  else:
    listing = _read_own_files(spec, default, need_videos)
  if spec.limit:
    listing = dataclasses.replace(listing, rows=listing.rows[: spec.limit])
  return Source(listing)


def resolve_flip(
  flip: FlipPolicy | str | None, spec: SourceSpec, listing: Listing
) -> FlipPolicy | None:
  """The flip policy that the user asked for, checked; None if not asked.

  The text 'swap' alone means the data set's own pairs.
  """
  if flip is None:
    return None
  if isinstance(flip, str):
    own = registry.find(spec.source).mirror if spec.kind == 'dataset' else ()
    flip = FlipPolicy.parse(flip, own)
  flip.check(listing.classes, listing.task)
  return flip


def _refuse_fields(spec: SourceSpec, names: Sequence[str], why: str) -> None:
  for name in names:
    value = getattr(spec, name)
    if value is not None:
      raise InputError(
        f'got --{name} {value} with {spec.source}; expected none, as {why}; '
        'try to leave it out'
      )


def _open_tfds(spec: SourceSpec) -> Source:
  why = 'a tfds: set has its own classes and labels'
  _refuse_fields(spec, ('annotations', 'root', 'labels', 'classes'), why)
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
  return Source(listing, split)


def _read_dataset(spec: SourceSpec, need_videos: bool) -> Listing:
  dataset = registry.find(spec.source)
  why = f'{dataset.title} has its own list and kind of labels'
  _refuse_fields(spec, ('root', 'labels'), why)
  if spec.annotations is None:
    raise InputError(
      f'got {dataset.title} without --annotations; expected the official file '
      'or the folder with its annotations; try --annotations FILE_OR_DIR'
    )
  if spec.videos is None and need_videos:
    raise InputError(
      f'got {dataset.title} without --videos; expected the folder with its '
      'videos; try --videos DIR'
    )
  return registry.read(
    spec.source,
    annotations=spec.annotations,
    videos=spec.videos,
    split=spec.split,
    classes=spec.classes,
  )


def _read_own_files(
  spec: SourceSpec, default: ClassList | None, need_videos: bool
) -> Listing:
  known = {
    n for d in registry.all_datasets().values() for n in (d.name, *d.aliases)
  }
  if spec.source.lower() in known and not pathlib.Path(spec.source).exists():
    raise InputError(
      f'got {spec.source} without its files; expected the files of the data '
      'set; try --annotations FILE_OR_DIR and --videos DIR'
    )
  return read_source(
    spec.source,
    spec.classes,
    root=spec.root,
    default=default,
    labels=spec.labels or 'single',
    split=spec.split,
    need_files=need_videos,
  )
