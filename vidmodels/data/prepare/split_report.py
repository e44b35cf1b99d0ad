"""How much of a split is there, and why the rest is not.

`check` says it before the work, `prepare` after it, in the same words.
"""

import collections
import dataclasses
import json
import os
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any, Self

from vidmodels.data.listing.rows import Listing
from vidmodels.data.video.container import NO_FILE
from vidmodels.files import write_atomically

_SHOWN = 10  # how many of many a line names


def percent(part: int, whole: int) -> float:
  """A share to two decimals, cut off: never 100 for less than all."""
  return 10_000 * part // whole / 100 if whole else 0.0


def share(part: int, whole: int) -> str:
  """A share for people: '63.33 %', and 'under 0.01 %' for less, not none."""
  found = percent(part, whole)
  return f'{found:.2f} %' if found or not part else 'under 0.01 %'


def some(count: int, what: str) -> str:
  """'1 shard', '2 shards'."""
  return f'{count} {what}' if count == 1 else f'{count} {what}s'


def report_path(out: str | os.PathLike[str], split: str) -> pathlib.Path:
  """Where the report of a split is kept."""
  return pathlib.Path(out) / f'{split}.report.json'


@dataclasses.dataclass(frozen=True, kw_only=True)
class SplitReport:
  """What became of the clips of a split.

  Attributes:
    split: its name.
    expected: clips that it officially has; 0 if nobody says.
    listed: clips that the source lists, up to the limit: ok, missing, broken.
    limit: how many were asked for at most; 0 for all.
    ok: clips that give frames, damaged ones included.
    bad: (clip, reason) of every other one, in the order listed.
    damaged: (clip, packets and frames that do not decode whole) of ok ones.
    duplicated: clips listed more than once and taken once.
    outside: video files that the source does not list.
    empty_classes: classes without an ok clip; none if labels are unpublished.
    decoded: False if files were only looked for.
    frames: of all ok clips; 0 if nobody counted.
    notes: what the source's reader has to say.
  """

  split: str
  expected: int
  listed: int
  limit: int = 0
  ok: int
  bad: tuple[tuple[str, str], ...]
  damaged: tuple[tuple[str, int], ...] = ()
  duplicated: tuple[str, ...] = ()
  outside: tuple[str, ...] = ()
  empty_classes: tuple[str, ...] = ()
  decoded: bool = True
  frames: int = 0
  notes: tuple[str, ...] = ()

  @classmethod
  def of(
    cls,
    listing: Listing,
    *,
    labels: Iterable[int],
    **more: Any,
  ) -> Self:
    """A report of a listing.

    Args:
      listing: what was listed.
      labels: classes of the clips that give frames, in any order and number.
      **more: the other attributes.
    """
    seen = set(labels)
    empty = [
      name for i, name in enumerate(listing.classes.names) if i not in seen
    ]
    return cls(
      expected=listing.expected,
      duplicated=listing.duplicates,
      outside=listing.outside,
      empty_classes=tuple(empty) if listing.labelled else (),
      notes=listing.notes,
      **more,
    )

  @property
  def missing(self) -> tuple[str, ...]:
    """Clips whose file is not there."""
    return tuple(clip for clip, why in self.bad if why == NO_FILE)

  @property
  def broken(self) -> tuple[tuple[str, str], ...]:
    """(clip, reason) of those whose file is there and gives them no frame."""
    return tuple((clip, why) for clip, why in self.bad if why != NO_FILE)

  @property
  def found(self) -> int:
    """Clips whose file is there."""
    return self.listed - len(self.missing)

  @property
  def official(self) -> int:
    """What is taken for the whole split: the official number, else the list."""
    return self.expected or self.listed

  @property
  def coverage_percent(self) -> float:
    """Ok clips of the official split; see `percent`."""
    return percent(self.ok, self.official)

  @property
  def reasons(self) -> dict[str, int]:
    """How many clips were lost for each reason, the commonest first."""
    counts = collections.Counter(why for _, why in self.bad)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))

  def as_json(self) -> dict[str, Any]:
    """For JSON."""
    value = dataclasses.asdict(self)
    return value | {
      'found': self.found,
      'missing': self.missing,
      'broken': self.broken,
      'coverage_percent': self.coverage_percent,
      'reasons': self.reasons,
    }

  def save(self, path: pathlib.Path) -> None:
    """Writes it as JSON."""
    text = json.dumps(self.as_json(), indent=1, ensure_ascii=False) + '\n'
    write_atomically(path, text.encode())

  @classmethod
  def load(cls, path: pathlib.Path) -> Self:
    """Reads what `save` wrote."""
    value = json.loads(path.read_text(encoding='utf-8'))
    kinds = {field.name: value[field.name] for field in dataclasses.fields(cls)}
    tuples = lambda v: tuple(map(tuples, v)) if isinstance(v, list) else v
    return cls(**{name: tuples(v) for name, v in kinds.items()})

  def lines(self) -> list[str]:
    """For people."""
    expected = f'{self.expected} expected, ' if self.expected else ''
    what = 'fine' if self.decoded else 'there, not decoded'
    lines = [
      f'{self.split}: {expected}{self.listed} listed, {self.found} found, '
      f'{len(self.missing)} missing, {len(self.broken)} broken, '
      f'{len(self.damaged)} damaged, {len(self.duplicated)} duplicated, '
      f'{len(self.outside)} outside the list',
      f'{self.ok} of {self.official} clips of the split are {what}: '
      + share(self.ok, self.official),
    ]
    if self.limit:
      lines.append(f'only the first {self.limit} clips were asked for')
    for why, count in self.reasons.items():
      lines.append(f'  {count} lost: {why}')
    for what, names in (
      ('classes without a clip', self.empty_classes),
      ('listed more than once', self.duplicated),
      ('outside the list', self.outside),
    ):
      if names:
        lines.append(f'{what}: {_some(names)}')
    return [*lines, *(f'note: {note}' for note in self.notes)]


def _some(names: Sequence[str]) -> str:
  more = len(names) - _SHOWN
  return ', '.join(names[:_SHOWN]) + (f' and {more} more' if more > 0 else '')
