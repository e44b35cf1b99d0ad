"""Reads a user's own videos, a folder per class or a list, to rows.

  listing = read_source('videos/train')        # videos/train/<class>/<video>
  listing = read_source('val.csv', root='videos')

A list is UTF-8 text, `docs/data.md` describes it: `path label` on each line,
with a tab, a comma or white space between; the same as a csv with a header, or
with the columns of Kinetics; or JSON objects, one on each line or in one list.
A line that begins with `#` and names no video file is a comment.

The class list is settled first, so that a label means the same everywhere:
1. the list that is given,
2. else `classes.txt` beside the list or in the source folder,
3. else the class list of the set that a further split joins,
4. else the names in the source, sorted; or, if all labels of a list are
   numbers, classes named '0' to the largest.
"""

import collections
import csv
import dataclasses
import os
import pathlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

from vidmodels.data.listing import (
  list_columns,
  text_files,
  video_files,
  youtube_clips,
)
from vidmodels.data.listing.class_names import (
  AnySpelling,
  normalize_name,
  note_spellings,
)
from vidmodels.data.listing.rows import (
  VIDEO_SUFFIXES,
  Listing,
  VideoRow,
  escape_name,
  join_names,
  note_names,
  note_shared_files,
)
from vidmodels.data.listing.text_files import locate_errors
from vidmodels.data.records.class_list import CLASSES_FILE, ClassList
from vidmodels.data.records.task import Task
from vidmodels.files import short_path
from vidmodels.typing import InputError, quote

_JSON_SUFFIXES = ('.json', '.jsonl', '.ndjson')
_MOST_CLASSES = 100_000  # a larger number is not a label but a slip
_NUMBER = re.compile(r'[+-]?\d{1,18}', re.ASCII)
_SUFFIX = '|'.join(sorted(suffix[1:] for suffix in VIDEO_SUFFIXES))
# The longest path that ends in a video suffix, white space, and labels.
_SPACED = re.compile(rf'(.*\.(?:{_SUFFIX}))(?:\s+([^\s,].*))?', re.IGNORECASE)
_ENDS_IN_NUMBER = re.compile(r'(?:^|[\s,])[+-]?\d+$')
_DEEPEST = 3  # folders below a class folder in which frames are recognised
_CORRECT = 'try correcting it'
# JSON, and not a path that begins with a bracket.
_JSON_START = re.compile(r'\{\s*"|\[\s*(\{|$)')
_FOREIGN = ';|'  # separators that are refused
_FOREIGN_AFTER = re.compile(rf'\.(?:{_SUFFIX})"?\s*[;|]', re.IGNORECASE)
_NAMES_VIDEO = re.compile(rf'\.(?:{_SUFFIX})"?(?:[\s,]|$)', re.IGNORECASE)


def read_source(
  source: str | os.PathLike[str],
  classes: ClassList | None = None,
  *,
  root: str | os.PathLike[str] | None = None,
  default: ClassList | None = None,
  labels: Literal['single', 'multi', 'any'] = 'single',
  split: str | None = None,
  need_files: bool = True,
) -> Listing:
  """Reads a folder with a folder for each class, or a list in a text file.

  Args:
    source: the folder or the list.
    classes: what labels refer to; the rule above decides if None.
    root: what the paths of a list are relative to; its own folder if None.
    default: what labels refer to if nothing else says; for a second split.
    labels: how many classes a video has, see `Task`.
    split: which rows count of a list with a column `split`; None for a list
      that has one split at most.
    need_files: whether a list without a single existing file is an error.
  """
  source, task = pathlib.Path(source), Task(labels)
  if not source.exists():
    raise InputError(
      f'{source} does not exist; expected a folder with a folder per class, or '
      'a list with `path label` on each line; try another path'
    )
  if source.is_dir():
    if root is not None:
      raise InputError(
        f'got a root ({root}) with the folder {source}; expected a root with a '
        'list only; try without it'
      )
    listing = _read_folder(source, classes or _load_classes(source) or default)
    return dataclasses.replace(listing, task=task)
  if source.suffix.lower() in VIDEO_SUFFIXES:
    raise InputError(
      f'{source} is a video; expected a folder with a folder per class, or a '
      'list with `path label` on each line'
    )
  return _read_list(
    source,
    classes or _load_classes(source.parent) or default,
    root=source.parent if root is None else pathlib.Path(root),
    task=task,
    split=split,
    need_files=need_files,
  )


def _load_classes(folder: pathlib.Path) -> ClassList | None:
  path = folder / CLASSES_FILE
  return ClassList.load(path) if path.is_file() else None


def _read_folder(source: pathlib.Path, classes: ClassList | None) -> Listing:
  """Lists `SOURCE/<class>/<video>` in the order of the names.

  All files count as videos, whatever their suffix, so that none is lost
  silently. Hidden files (`.name`) and files beside the class folders do not. A
  folder with the name of a video (`x.mp4`) counts too: it is reported later.
  """
  entries = video_files.list_folder(source)
  folders = [entry for entry in entries if entry.is_folder]
  strays = [e for e in entries if _is_video(e.name) and not e.is_folder]
  if not folders or strays:
    content = f'the video {strays[0].name}' if strays else 'no folder'
    if not strays:
      root = video_files.FolderEntry('', os.fspath(source), True, False)
      _refuse_folder_of_frames(root, entries)
    raise InputError(
      f'{source} holds {content}; expected only folders named as the classes, '
      'with the videos inside; try sorting them so, or a list of `path label`'
    )
  if classes is None:
    names = {normalize_name(escape_name(folder.name)) for folder in folders}
    classes = ClassList.from_names(sorted(names))
  lookup = AnySpelling(classes)
  rows = [row for folder in folders for row in _list_class(folder, lookup)]
  if not rows:
    raise InputError(
      f'the {len(folders)} class folders of {source} are empty; expected '
      'videos in them; try another path'
    )
  spellings = note_spellings(escape_name(path.name) for path in folders)
  return Listing(rows=tuple(rows), classes=classes, notes=tuple(spellings))


def _list_class(
  folder: video_files.FolderEntry, lookup: AnySpelling
) -> Iterator[VideoRow]:
  entries = video_files.list_folder(folder.path)
  _refuse_folder_of_frames(folder, entries)
  name = escape_name(folder.name)
  try:
    label = lookup.label(name)
  except InputError as e:
    raise InputError(f'{folder.path}: {e}') from e
  for entry in entries:
    if entry.is_folder and not _is_video(entry.name):
      raise InputError(
        f'class folder {folder.path} holds the folder {entry.name}; expected '
        f'only videos in it; if {folder.name!r} is a split and not a class, '
        f'try {folder.path} as the source'
      )
    video = f'{name}/{escape_name(entry.name)}'
    yield VideoRow(path=pathlib.Path(entry.path), video=video, labels=(label,))


def _refuse_folder_of_frames(
  folder: video_files.FolderEntry, entries: Sequence[video_files.FolderEntry]
) -> None:
  """Refuses extracted frames: more pictures than other files, or such folders.

  A few pictures among videos pass; preparing reports each as a file without
  video.
  """
  place = folder
  for _ in range(_DEEPEST):
    below = [e for e in entries if e.is_folder and not _is_video(e.name)]
    if below:
      place, entries = below[0], video_files.list_folder(below[0].path)
  images = [e.name for e in entries if video_files.is_image(e.name)]
  if len(images) < 2 or 2 * len(images) <= len(entries):
    return
  raise InputError(
    f'{place.path} holds {len(images)} pictures, such as {images[0]!r}; '
    'expected video files: extracted frames are not read; try making a video '
    'of each folder: ' + video_files.video_of_frames(place.path, images[0])
  )


def _is_video(name: str) -> bool:
  return os.path.splitext(name)[1].lower() in VIDEO_SUFFIXES


@dataclasses.dataclass
class _Entry:
  """One video of a list, as the list writes it."""

  number: int  # of the line, or of the item of a JSON list, from 1
  video: str  # its path
  labels: tuple[str, ...]  # the fields after it
  joined: str  # the same as one field, for class names that hold the separator
  # index: the label's number, if the list gives both number and name
  index: int | None = None
  start_s: float = 0.0  # where the clip starts, seconds
  end_s: float | None = None  # where it ends; None for the end of the file
  seconds: float | None = None  # how long the file is said to be
  split: str | None = None  # what its column `split` says
  # clip: the row of a clip whose file was found by name; its labels are empty
  clip: VideoRow | None = None


def _read_list(
  source: pathlib.Path,
  classes: ClassList | None,
  *,
  root: pathlib.Path,
  task: Task,
  split: str | None,
  need_files: bool,
) -> Listing:
  """Reads a list; every line is a video, or a part of one.

  A line that is repeated is kept once. Comments and repeated lines are counted.
  A path or a file with two different labels is an error, and so is a list of
  which no file exists, if one is needed.
  """
  several = task.kind != 'single'
  entries, notes, unit = _read_entries(source, root, several, split)
  _refuse_frames(source, entries, root, several)
  every = entries
  entries, split_notes = _take_split(source, entries, split)
  notes += split_notes
  names = AnySpelling(classes) if classes else ()
  for entry in entries:
    _check_labels(entry, f'{source} {unit} {entry.number}', names, several)
  # Classes of all splits of the list: else each would number its own.
  taken = {id(entry) for entry in entries}
  for entry in every:
    if id(entry) not in taken and not several:
      entry.labels = (entry.joined,) * bool(entry.joined)
  if classes is None:
    classes = _collect_classes(source, every)
    notes += note_spellings({x for entry in every for x in entry.labels})
  else:
    _refuse_shifted(source, every, classes)
  lookup, duplicates = AnySpelling(classes), []
  first: dict[str, tuple[int, VideoRow]] = {}
  for entry in entries:
    with locate_errors(source, f'{unit} {entry.number}', hint=_CORRECT):
      row = _to_row(entry, lookup, classes, root, task)
    number, before = first.setdefault(row.video, (entry.number, row))
    if before != row:
      raise InputError(
        f'{source} lists {row.video!r} twice, on {unit}s {number} and '
        f'{entry.number}, with different labels; expected one; try removing '
        'the other'
      )
    if before is not row:
      duplicates.append(row.video)
  rows = tuple(row for _, row in first.values())
  if need_files and not any(os.path.exists(row.path) for row in rows):
    raise InputError(
      f'none of the {len(rows)} files of {source} exists, such as '
      f'{short_path(rows[0].path)}; expected paths relative to the list; '
      + video_files.find_move(rows[0].path, root)
    )
  notes += note_shared_files(rows) + _note_labels(every, classes)
  return Listing(
    rows=rows,
    classes=classes,
    task=task,
    duplicates=tuple(duplicates),
    notes=tuple(notes),
  )


def _check_labels(
  entry: _Entry, place: str, names: AnySpelling | tuple[()], several: bool
) -> None:
  """Refuses no label or several where one is expected; joins a known name."""
  count = len(entry.labels)
  if entry.joined in names or (count == 1 and not several):
    entry.labels = (entry.joined,)
  elif not several:
    got, move = 'no label', 'try adding it; --labels=multi if it has none'
    if count:
      got = f'{count} labels ({entry.joined[:60]!r})'
      move = (
        'for several labels a video try --labels=multi or --labels=any, for a '
        'label with spaces or commas quotes, a tab before it or --classes; cut '
        'other columns away'
      )
    raise InputError(
      f'{place} has {got} after {entry.video[-60:]!r}; expected one label; '
      + move
    )


def _read_entries(
  source: pathlib.Path, root: pathlib.Path, several: bool, split: str | None
) -> tuple[list[_Entry], list[str], str]:
  """The entries, notes for the user, and 'line' or 'item': what is counted."""
  numbered = enumerate(text_files.read_text(source).split('\n'), 1)
  # Not `read_lines`: a tab at the end of a line is an empty field.
  lines = [(number, x.strip(' ')) for number, x in numbered if x.strip()]
  start = lines[0][1] if lines else ''
  # A path may begin with a bracket, too.
  is_json = source.suffix.lower() in _JSON_SUFFIXES and start[:1] in ('[', '{')
  if is_json or _JSON_START.match(start):
    return _read_json(source, lines, split)
  comments = {
    number: f'line {number}'
    for number, line in lines
    if line.startswith('#') and not _NAMES_VIDEO.search(line)
  }
  lines = [x for x in lines if x[0] not in comments]
  header = lines[0][1] if lines else ''
  names = _header_names(header)
  is_named = list_columns.is_header(names) and not _is_row(header)
  columns = {name.lower() for name in names}
  is_kinetics = {'label', *youtube_clips.COLUMNS} <= columns
  _refuse_foreign_separator(source, lines)
  kind = text_files.describe_official_csv(header)
  if kind and not (is_kinetics or (is_named and kind == 'a Kinetics csv')):
    raise InputError(
      f'{source} looks like {kind}; expected a list with `path label` on each '
      'line; for that data set try: vidmodels prepare NAME --annotations FILE'
    )
  notes: list[str] = []
  if is_named and ('\t' in header or ',' in header):
    entries, notes = _read_table(source, lines, several, split)
  elif is_kinetics:
    entries, notes = _read_kinetics(source, lines, root)
  elif is_named and len(names) > 2:
    raise InputError(
      f'{source} has a header with spaces between its columns; expected '
      'commas or tabs between more than two columns; try correcting it'
    )
  else:
    if not is_named:
      _refuse_other_header(source, header, lines[1:])
    entries = _read_plain(source, lines[bool(is_named) :], several)
  if not entries:
    raise InputError(
      f'list {source} is empty{kind and f" below the header of {kind}"}; '
      'expected `path label` on each line; try another file'
    )
  what = 'comment lines that begin with #, not read'
  return entries, note_names(what, [*comments.values()]) + notes, 'line'


def _header_names(line: str) -> list[str]:
  """The fields of a line that may be a header."""
  separator = next((c for c in '\t,' if c in line), None)
  return [name.strip(' "') for name in line.split(separator)]


def _is_row(line: str) -> bool:
  """Whether a line is a row: it names a video, or ends in a label's number."""
  return bool(_NAMES_VIDEO.search(line) or _ENDS_IN_NUMBER.search(line))


def _refuse_foreign_separator(
  source: pathlib.Path, lines: list[tuple[int, str]]
) -> None:
  """Refuses columns with semicolons or bars between them."""
  texts = [line for _, line in lines]
  for mark in _FOREIGN:
    is_header = bool(texts) and list_columns.is_header(texts[0].split(mark))
    after = lambda text, mark=mark: any(
      match[0].endswith(mark) for match in _FOREIGN_AFTER.finditer(text)
    )
    first = lambda text: text.partition('\t')[0].split(None, 1)[0]
    plain = not any(map(_SPACED.fullmatch, texts)) and not any(
      separator in text for text in texts for separator in '\t,'
    )
    if (
      (is_header and mark in texts[0])
      or (texts and all(map(after, texts)))
      or (texts and plain and all(mark in first(text) for text in texts))
    ):
      name = {';': 'semicolons', '|': 'bars'}[mark]
      raise InputError(
        f'{source} line {lines[0][0]} is {texts[0][:80]!r}, with {name} '
        'between the columns; expected a path and a label, with a tab, a comma '
        f'or a space between; try replacing the {name} by tabs'
      )


def _refuse_other_header(
  source: pathlib.Path, header: str, below: list[tuple[int, str]]
) -> None:
  """Refuses a header that does not name both a path and a label.

  A first line that is not a row is a header if all lines below name videos, or
  if it has a usual name for a column of labels.
  """
  are_videos = below and all(_NAMES_VIDEO.search(line) for _, line in below)
  has_label = below and list_columns.names_label(_header_names(header))
  if (are_videos or has_label) and not _is_row(header):
    raise InputError(
      f'{source} line 1 looks like a header: {header[:80]!r}; expected the '
      'columns path,label, of which it does not have both; try renaming them, '
      'or removing the line; if it is a video, put the line path,label above it'
    )


def _read_plain(
  source: pathlib.Path, lines: list[tuple[int, str]], several: bool
) -> list[_Entry]:
  """`path label` on each line, without column names.

  All lines have one separator: one odd line is an error, not another format.
  """
  texts = [line for _, line in lines]
  separator = ' '
  if all('\t' in line for line in texts):
    separator = '\t'
  elif all(',' in x for x in texts) and not all(map(_SPACED.fullmatch, texts)):
    separator = ','
  entries = []
  for number, line in lines:
    match = _SPACED.fullmatch(line)
    if separator != ' ':
      fields = _split_fields(source, number, line, separator)
    elif match:
      fields = [match[1], *(match[2] or '').split()]
    else:
      fields = line.split() if several else line.rsplit(None, 1)
    video, *labels = fields
    joined = separator.join(labels)
    names_video = _NAMES_VIDEO.search(video)
    expected = ''
    if not video or not (labels or several or names_video):
      expected = 'a path and a label, with a tab, a comma or a space between'
    elif joined and not all(labels):
      expected = 'a label between the separators'
    elif not names_video and any(map(_NAMES_VIDEO.search, labels)):
      expected = 'quotes around a path with commas, as in "a, b.mp4",label'
    if expected:
      raise InputError(
        f'{source} line {number} is {line[:80]!r}; expected {expected}; try '
        'correcting the line'
      )
    if several and separator == ',':  # as in a csv with a header
      labels = [name for label in labels for name in _split_label(label)]
    entries.append(_Entry(number, video, tuple(labels) * bool(joined), joined))
  return entries


def _split_label(text: str) -> list[str]:
  return re.split(r'\s*[,;]\s*', text) if text else []


def _split_fields(
  source: pathlib.Path, number: int, line: str, delimiter: str
) -> list[str]:
  """The fields of a line, any of which may stand in quotes, as in a csv."""
  reader = csv.reader(
    [line], strict=True, delimiter=delimiter, skipinitialspace=True
  )
  try:
    return [field.strip() for field in next(reader)]
  except csv.Error as e:
    raise InputError(
      f'{source} line {number} is {line[:80]!r}, with a quote that is lost '
      f'({e}); expected quotes around whole fields; try doubling quotes inside '
      'a field'
    ) from e


def _read_columns(
  source: pathlib.Path, lines: list[tuple[int, str]]
) -> list[tuple[int, dict[str, str]]]:
  """The fields of each line below the header, by column."""
  delimiter = '\t' if '\t' in lines[0][1] else ','
  rows = [
    (number, _split_fields(source, number, line, delimiter))
    for number, line in lines
  ]
  columns = rows[0][1]
  text_files.refuse_repeated_columns(source, [c.lower() for c in columns])
  for number, fields in rows:
    if len(fields) != len(columns):
      raise InputError(
        f'{source} line {number} has {len(fields)} fields; expected '
        f'{len(columns)}, as in the header; try quotes around a field that '
        'holds the separator'
      )
  return [(n, dict(zip(columns, x, strict=True))) for n, x in rows[1:]]


def _read_table(
  source: pathlib.Path,
  lines: list[tuple[int, str]],
  several: bool,
  split: str | None,
) -> tuple[list[_Entry], list[str]]:
  """A csv with a header; `list_columns.py` says what its columns mean."""
  rows = _read_columns(source, lines)
  with locate_errors(source, lines[0][0], hint=_CORRECT):
    columns = list_columns.find_columns(rows[0][1] if rows else ())
  entries = []
  for number, fields in rows:
    with locate_errors(source, number, hint=_CORRECT):
      start_s, end_s, seconds = columns.times(fields)
      if not fields[columns.path]:
        raise InputError('got no path; expected one')
      index = list_columns.field(fields, columns.number) or None
      if index is not None:
        index = text_files.parse_int(index, most=999_999)
    joined = fields[columns.label]
    labels = _split_label(joined) if several else [joined] * bool(joined)
    entries.append(
      _Entry(
        number,
        fields[columns.path],
        tuple(labels),
        joined,
        index,
        start_s,
        end_s,
        seconds,
        list_columns.field(fields, columns.split),
      )
    )
  unread = list(columns.unread)
  if split is None and columns.split:  # one split only, or it is refused
    unread.append(columns.split)
  return entries, _note_unread(unread)


def _read_kinetics(
  source: pathlib.Path, lines: list[tuple[int, str]], root: pathlib.Path
) -> tuple[list[_Entry], list[str]]:
  """The columns of Kinetics; `youtube_clips.py` finds the files."""
  numbers, clips, splits = [], [], []
  for number, cased in _read_columns(source, lines):
    fields = {column.lower(): value for column, value in cased.items()}
    with locate_errors(source, number, hint=_CORRECT):
      clips.append(youtube_clips.parse_clip(fields))
    numbers.append(number)
    splits.append(fields['split'])
  rows, notes = youtube_clips.find_clips(
    clips, [()] * len(clips), video_files.VideoFiles(root)
  )
  entries = []
  for number, row, clip, split in zip(
    numbers, rows, clips, splits, strict=True
  ):
    labels = (clip.label,) * bool(clip.label)
    entries.append(
      _Entry(number, row.video, labels, clip.label, split=split, clip=row)
    )
  return entries, notes


def _take_split(
  source: pathlib.Path, entries: list[_Entry], split: str | None
) -> tuple[list[_Entry], list[str]]:
  """The entries of one split, by the column `split`, and notes on the rest."""
  counts = collections.Counter(e.split for e in entries if e.split is not None)
  if not counts:
    return entries, []
  said = join_names(sorted(counts))
  if split is None:
    if len(counts) > 1:
      raise InputError(
        f'got clips of the splits {said} in {source}; expected one split; try '
        'a file for each'
      )
    return entries, []
  taken = [e for e in entries if list_columns.is_split(e.split or '', split)]
  if not taken:
    raise InputError(
      f'got split {split!r}, but the column for it in {source} says only '
      f'{said}; expected one of these; try it with --split'
    )
  left = {
    s: n for s, n in counts.items() if not list_columns.is_split(s, split)
  }
  rest = ', '.join(f'{n} of {s or "none"}' for s, n in sorted(left.items()))
  note = f'{len(taken)} clips are of the split {split}; left out: {rest}'
  return taken, [note] if left else []


def _read_json(
  source: pathlib.Path, lines: list[tuple[int, str]], split: str | None
) -> tuple[list[_Entry], list[str], str]:
  """Objects with `path` or `file`, and `label`: one on each line, or a list."""
  unit, items = 'line', []
  expected = 'an object with `path` and `label`'
  move = 'try a data set with: vidmodels prepare NAME --annotations FILE'
  if lines[0][1].startswith('['):
    unit, items = 'item', list(enumerate(text_files.read_json(source), 1))
  for number, line in lines if unit == 'line' else ():
    try:
      items.append((number, text_files.parse_json(line)))
    except ValueError as e:
      content = text_files.describe_text('\n'.join(line for _, line in lines))
      raise InputError(
        f'{source} line {number} is not a JSON object ({e}): the file looks '
        f'like {content}; expected {expected} on each line; {move}'
      ) from e
  values = [item for _, item in items]
  for item in values or [None]:
    names = list(item) if isinstance(item, dict) else []
    if not list_columns.is_header(names):
      is_one = unit == 'line' and len(values) == 1
      content = text_files.describe_json(values[0] if is_one else values)
      raise InputError(
        f'{source} looks like {content}; expected objects with `path` and '
        f'`label`; {move}'
      )
  entries: list[_Entry] = []
  unread: dict[str, None] = {}
  for number, item in items:
    with locate_errors(source, f'{unit} {number}', hint=_CORRECT):
      columns = list_columns.find_columns(item)
      entries.append(_parse_object(number, item, columns))
    unread |= dict.fromkeys(columns.unread)
    if split is None and columns.split:
      unread[columns.split] = None
  return entries, _note_unread(unread), unit


def _parse_object(
  number: int, item: Mapping[str, Any], columns: list_columns.Columns
) -> _Entry:
  key = columns.path
  video, label = item[key], item[columns.label]
  is_path = isinstance(video, str) and video.strip()
  # Half of a surrogate pair names no file.
  if not is_path or re.search('[\ud800-\udfff]', video):
    raise InputError(f'got {key} {str(video)[:60]!a}; expected a path, as text')
  labels = label if isinstance(label, list) else [label]
  for name in labels:
    if isinstance(name, bool) or not isinstance(name, str | int):
      raise InputError(
        f'got label {str(name)[:60]!r}; expected a name, or a number without '
        'a fraction'
      )
  names = tuple(str(name).strip() for name in labels)
  index = list_columns.field(item, columns.number)
  if index is not None:
    index = text_files.parse_int(index, most=999_999)
  split = list_columns.field(item, columns.split)
  return _Entry(
    number,
    video.strip(),
    names,
    ', '.join(names),
    index,
    *columns.times(item),
    None if split is None else str(split),
  )


def _note_unread(columns: Iterable[str]) -> list[str]:
  unread = [quote(c[:40]) if c else '(no name)' for c in columns]
  return [f'columns not read: {", ".join(unread)}'] if unread else []


def _to_row(
  entry: _Entry,
  lookup: AnySpelling,
  classes: ClassList,
  root: pathlib.Path,
  task: Task,
) -> VideoRow:
  labels = tuple(map(lookup.label, entry.labels))
  task.check(labels, len(classes))
  if entry.index is not None and (entry.index,) != labels:
    raise InputError(
      f'got label {entry.joined!r} with the number {entry.index}, and {labels} '
      'in the class list; expected the same order; try the names in order with '
      '--classes'
    )
  if entry.clip:
    return dataclasses.replace(entry.clip, labels=labels)
  # 'v/a.mp4' is './v/a.mp4' and 'v//a.mp4'. '..' stays: it may follow a link.
  video = str(pathlib.PurePosixPath(entry.video))
  if entry.start_s or entry.end_s is not None:
    end = '' if entry.end_s is None else f'{entry.end_s:.10g}'
    video += f'@{entry.start_s:.10g}-{end}'
  return VideoRow(
    path=root / entry.video,
    video=video,
    labels=labels,
    start_s=entry.start_s,
    end_s=entry.end_s,
    seconds=entry.seconds,
  )


def _collect_classes(
  source: pathlib.Path, entries: Sequence[_Entry]
) -> ClassList:
  """The classes that the labels name, or number, or both."""
  labels = [normalize_name(x) for entry in entries for x in entry.labels]
  if not labels:
    raise InputError(
      f'{source} has no label at all; expected one; try the names with '
      '--classes'
    )
  numbered = {
    entry.index: normalize_name(label)
    for entry in entries
    for label in entry.labels[:1]
    if entry.index is not None
  }
  if all(e.index is not None for e in entries if e.labels):
    if sorted(numbered) == list(range(1, len(numbered) + 1)):
      raise InputError(
        f'{source} has labels numbered from 1 to {len(numbered)}; expected '
        'them from 0; try subtracting 1 from each, or the names in order with '
        '--classes'
      )
    if sorted(numbered) != list(range(len(numbered))):
      raise InputError(
        f'{source} has labels numbered {min(numbered)} to {max(numbered)} with '
        'gaps; expected all numbers; try the names in order with --classes'
      )
    return ClassList.from_names([numbered[i] for i in range(len(numbered))])
  if not all(_NUMBER.fullmatch(label) for label in labels):
    return ClassList.from_names(sorted(set(labels)))
  numbers = [int(label) for label in labels]
  for number in (min(numbers), max(numbers)):
    if not 0 <= number < _MOST_CLASSES:
      raise InputError(
        f'got label {number}; expected 0 to {_MOST_CLASSES - 1} without a '
        'class list; try correcting the label, or the names with --classes'
      )
  return ClassList.from_names([str(i) for i in range(max(numbers) + 1)])


def _numbers(entries: Sequence[_Entry]) -> list[int]:
  """The labels, if all of them are numbers."""
  labels = [label for entry in entries for label in entry.labels]
  if not all(map(_NUMBER.fullmatch, labels)):
    return []
  return [int(label) for label in labels]


def _refuse_shifted(
  source: pathlib.Path, entries: Sequence[_Entry], classes: ClassList
) -> None:
  """Refuses labels from 1 to the number of classes: each would be one off."""
  numbers, count = _numbers(entries), len(classes)
  are_names = any(str(number) in classes.names for number in numbers)
  if numbers and not are_names and (min(numbers), max(numbers)) == (1, count):
    raise InputError(
      f'{source} has labels from 1 to {count}, and the class list has {count} '
      f'names; expected labels from 0 to {count - 1}; try subtracting 1 from '
      'each, or the names instead'
    )


def _note_labels(entries: Sequence[_Entry], classes: ClassList) -> list[str]:
  """A note if labels count from 1: are they numbers of this class list?"""
  numbers = _numbers(entries)
  if not numbers or min(numbers) < 1:
    return []
  if 'UCF101' in text_files.describe_text(f'{entries[0].video} 1'):
    return [
      'this looks like a list of UCF101, whose labels count from 1: `vidmodels '
      'prepare ucf101` takes the official files'
    ]
  if '0' not in classes.names and any(str(n) in classes.names for n in numbers):
    return []  # they are names
  return [
    f'LABELS BEGIN AT {min(numbers)}: no clip has label 0, which is the class '
    f'{classes.names[0]!r}; if yours count from 1, subtract 1 from each: '
    'nothing is shifted here'
  ]


def _refuse_frames(
  source: pathlib.Path,
  entries: Sequence[_Entry],
  root: pathlib.Path,
  several: bool,
) -> None:
  """Refuses lists of extracted frames: `folder n_frames label`, or pictures."""
  for entry in entries[:3]:
    folder, *numbers = entry.video.split()
    are_counts = all(number.isdecimal() for number in numbers)
    for video in (folder, entry.video) if are_counts else (entry.video,):
      if _is_video(video) or not os.path.isdir(root / video):
        continue
      images = (n for n in os.listdir(root / video) if video_files.is_image(n))
      command = _frames_move(video, min(images, default=''))
      raise InputError(
        f'{source} has the folder {video} ({entry.number}); expected video '
        'files: lists of extracted frames (`folder frames label`) are not '
        f'read; {command}'
      )
  if not several and all(_counts_frames(entry) for entry in entries):
    video = entries[0].video
    if not any(os.path.exists(root / entry.video) for entry in entries[:3]):
      raise InputError(
        f'{source} has numbers between path and label '
        f'({video!r} {entries[0].joined!r}), as lists of extracted frames have '
        '(`folder frames label`); expected `video label`; '
        + _frames_move(video.split()[0], '')
      )
  videos = [entry.video for entry in entries]
  if all(map(video_files.is_image, videos)):
    folder, image = os.path.split(videos[0])
    raise InputError(
      f'{source} lists pictures, such as {videos[0]!r}; expected video files: '
      'single frames are not read; ' + _frames_move(folder or 'CLIP', image)
    )


def _frames_move(folder: str, image: str) -> str:
  command = video_files.video_of_frames(folder, image)
  return (
    f'try making a video of each folder: {command}; then list `video label`'
  )


def _counts_frames(entry: _Entry) -> bool:
  """Whether a line is `folder frames label` or `folder start frames label`."""
  folder, *numbers = [*entry.video.split(), *entry.labels]
  are_numbers = len(numbers) in (2, 3) and all(map(str.isdecimal, numbers))
  return are_numbers and not entry.clip and not _is_video(folder)
