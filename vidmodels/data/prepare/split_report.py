"""Reports how much of a split is there, and why the rest is not.

  report = SplitReport.load(report_path('records', 'train'))
  print('\\n'.join(report.lines()))

`check` reports before the work and `prepare` after it, in the same words.
"""

import collections
import dataclasses
import json
import pathlib
from collections.abc import Iterable
from typing import Any, Self

from vidmodels import files
from vidmodels.data.listing.rows import Listing
from vidmodels.data.prepare.short_clips import RULE, ShortClip, describe
from vidmodels.data.video.container import NO_FILE
from vidmodels.files import write_atomically
from vidmodels.typing import AnyPath, escape, quote

_MOST_NAMES = 10  # in a line


def percent(part: int, whole: int) -> float:
  """A share to two decimals, cut off: never 100 for less than all."""
  return 10_000 * part // whole / 100 if whole else 0.0


def format_share(part: int, whole: int) -> str:
  """A share for people: '63.33 %', or 'under 0.01 %' for less, but not none."""
  value = percent(part, whole)
  return f'{value:.2f} %' if value or not part else 'under 0.01 %'


def count_noun(count: int, noun: str) -> str:
  """'1 shard', '2 shards'."""
  return f'{count} {noun}' if count == 1 else f'{count} {noun}s'


def report_path(out: AnyPath, split: str) -> pathlib.Path:
  """Where the report of a split is kept."""
  return files.place(out) / f'{split}.report.json'


@dataclasses.dataclass(frozen=True, kw_only=True)
class SplitReport:
  """What became of the clips of a split."""

  split: str  # its name
  expected: int  # clips that it officially has; 0 if unknown
  listed: int  # clips that the source lists, up to the limit
  limit: int = 0  # the most clips asked for; 0 for all
  ok: int  # clips with frames, damaged ones included
  bad: tuple[tuple[str, str], ...]  # (clip, reason) of the rest, as listed
  # damaged: (clip, packets and frames that do not decode) of ok ones
  damaged: tuple[tuple[str, int], ...] = ()
  # short: clips that are clearly shorter than they should be; see
  # `short_clips.py`
  short: tuple[ShortClip, ...] = ()
  duplicated: tuple[str, ...] = ()  # clips listed more than once and used once
  outside: tuple[str, ...] = ()  # video files that the source does not list
  # empty_classes: classes without an ok clip; none if labels are unpublished
  empty_classes: tuple[str, ...] = ()
  decoded: bool = True  # False if files were only looked for
  frames: int = 0  # of all ok clips; 0 if not counted
  notes: tuple[str, ...] = ()  # of the reader of the source

  @classmethod
  def from_listing(
    cls, listing: Listing, *, labels: Iterable[int], **fields: Any
  ) -> Self:
    """Makes the report of a listing; `fields` are the other attributes.

    `labels` are the classes of the clips with frames, in any order, repeated or
    not.
    """
    present = set(labels)
    empty = [
      name for i, name in enumerate(listing.classes.names) if i not in present
    ]
    return cls(
      expected=listing.expected,
      duplicated=listing.duplicates,
      outside=listing.outside,
      empty_classes=tuple(empty) if listing.labelled else (),
      notes=listing.notes,
      **fields,
    )

  @property
  def missing(self) -> tuple[str, ...]:
    """Clips without a file."""
    return tuple(clip for clip, reason in self.bad if reason == NO_FILE)

  @property
  def broken(self) -> tuple[tuple[str, str], ...]:
    """(clip, reason) of clips that have a file but no frame."""
    return tuple(entry for entry in self.bad if entry[1] != NO_FILE)

  @property
  def found(self) -> int:
    """Clips with a file."""
    return self.listed - len(self.missing)

  @property
  def official(self) -> int:
    """Clips of the whole split: the official number, or else the list's."""
    return self.expected or self.listed

  @property
  def coverage_percent(self) -> float:
    """Ok clips of the official split; see `percent`."""
    return percent(self.ok, self.official)

  @property
  def reasons(self) -> dict[str, int]:
    """How many clips were lost for each reason, the most common first."""
    counts = collections.Counter(reason for _, reason in self.bad)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))

  def as_json(self) -> dict[str, Any]:
    """All attributes and counts, for JSON."""
    return dataclasses.asdict(self) | {
      'found': self.found,
      'missing': self.missing,
      'broken': self.broken,
      'coverage_percent': self.coverage_percent,
      'reasons': self.reasons,
    }

  def save(self, path: pathlib.Path) -> None:
    """Writes the report as JSON."""
    text = json.dumps(self.as_json(), indent=1, ensure_ascii=False) + '\n'
    write_atomically(path, text.encode())

  @classmethod
  def load(cls, path: pathlib.Path) -> Self:
    """Reads what `save` wrote."""
    value = json.loads(path.read_text(encoding='utf-8'))
    # Reports of the first release lack `short`.
    names = {f.name for f in dataclasses.fields(cls)} & value.keys()
    fields = {name: value[name] for name in names}
    for name in ('bad', 'damaged', 'short'):
      fields[name] = tuple(map(tuple, fields.get(name, ())))
    for name in ('duplicated', 'outside', 'empty_classes', 'notes'):
      fields[name] = tuple(fields[name])
    return cls(**fields)

  def lines(self) -> list[str]:
    """The report for people."""
    expected = f'{self.expected} expected, ' if self.expected else ''
    state = 'fine' if self.decoded else 'there, not decoded'
    lines = [
      f'{self.split}: {expected}{self.listed} listed, {self.found} found, '
      f'{len(self.missing)} missing, {len(self.broken)} broken, '
      f'{len(self.damaged)} damaged, {len(self.duplicated)} duplicated, '
      f'{len(self.outside)} outside the list',
      f'{self.ok} of {self.official} clips of the split are {state}: '
      + format_share(self.ok, self.official),
    ]
    if self.limit:
      lines.append(f'only the first {self.limit} clips were asked for')
    for reason, count in self.reasons.items():
      lines.append(f'  {count} lost: {reason}')
    if self.short:
      shown = [
        f'{quote(clip[0])} {describe(clip)}'
        for clip in self.short[:_MOST_NAMES]
      ]
      more = len(self.short) - _MOST_NAMES
      lines.append(
        f'{len(self.short)} short, which is {RULE}: {", ".join(shown)}'
        + (f' and {more} more' if more > 0 else '')
      )
    for title, names in (
      ('classes without a clip', self.empty_classes),
      ('listed more than once', self.duplicated),
      ('outside the list', self.outside),
    ):
      more = len(names) - _MOST_NAMES
      if names:
        line = f'{title}: {", ".join(map(quote, names[:_MOST_NAMES]))}'
        lines.append(line + (f' and {more} more' if more > 0 else ''))
    return [*lines, *(f'note: {escape(note, keep="")}' for note in self.notes)]
