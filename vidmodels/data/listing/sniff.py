"""What an annotation file looks like, for messages when it is the wrong one."""

import json
import pathlib
import re
from typing import Any

# A column that only this file has.
_COLUMNS = {
  'youtube_id': 'a Kinetics csv',
  'narration_id': 'an EPIC-KITCHENS-100 csv',
  'noun_class': 'an EPIC-KITCHENS-100 csv',
  'category_1': 'the HowTo100M csv',
  'relevance': 'a Charades csv',
  'original_vido_id': 'a list of extracted frames',
}
_LINES = (
  (r'video_path,.*', 'a list of clips with a header'),
  (r'\S+/v_\S+\.avi \d+', 'a UCF101 training list'),
  (r'\S+/v_\S+\.avi', 'a UCF101 test list'),
  (r'\S+\.avi [012]', 'an HMDB51 split of one class'),
  (r'\d+ [A-Z][A-Za-z]+', 'the class list of UCF101 (classInd.txt)'),
  (r'c\d{3} .+', 'the class list of Charades'),
  (r'\d+;.+', 'the test answers of Something-Something V2'),
  (r'.+\.(avi|mp4|mkv|webm)[ ,\t].+', 'a list of videos and labels'),
)
_KEYS = (  # keys of an object, of a list's first object, of a dict's first
  ('object', {'database'}, 'an ActivityNet json'),
  ('values', {'annotations', 'subset'}, 'a Kinetics json; give the csv'),
  ('values', {'start', 'text'}, 'the captions of HowTo100M'),
  ('items', {'vid_name'}, 'a Diving48 list'),
  ('items', {'template'}, 'a Something-Something V2 list with labels'),
  ('items', {'youtube_id'}, 'a list of videos with keys file and label'),
  ('items', {'id'}, 'a Something-Something V2 list without labels'),
)


def official(line: str) -> str:
  """Which data set's own csv begins with this line; '' if none."""
  columns = {column.strip(' "') for column in re.split(r'[,\s]', line.lower())}
  kinds = [kind for column, kind in _COLUMNS.items() if column in columns]
  return kinds[0] if kinds else ''


def looks_like(text: str) -> str:
  """Says in a few words what a file is, as 'a Kinetics csv'."""
  start = text.lstrip()
  if not start:
    return 'an empty file'
  if start.startswith('<'):
    return 'a web page'
  if start.startswith('version https://git-lfs'):
    return 'a Git LFS pointer; fetch the file itself'
  if start[0] in '[{':
    try:
      return looks_like_json(json.loads(text))
    except (ValueError, RecursionError):
      return 'JSON that is cut off or damaged'
  line = start.splitlines()[0].strip()
  if official(line):
    return official(line)
  for pattern, kind in _LINES:
    if re.fullmatch(pattern, line, re.IGNORECASE):
      return kind
  return f'a text that begins with {line[:60]!r}'


def looks_like_json(value: Any) -> str:
  """The same for what a JSON file held."""
  values = list(value.values()) if isinstance(value, dict) else value
  first = values[0] if isinstance(values, list) and values else None
  seen = {'object': value}
  seen['values' if isinstance(value, dict) else 'items'] = first
  for where, keys, kind in _KEYS:
    if isinstance(seen.get(where), dict) and keys <= seen[where].keys():
      return kind
  if isinstance(value, dict):
    if isinstance(first, str) and first.isdecimal():
      return 'the label numbers of Something-Something V2'
    return f'an object with the keys {", ".join(list(value)[:4])}'
  if isinstance(first, list) and all(isinstance(x, str) for x in first):
    return 'the vocabulary of Diving48'
  if isinstance(value, list):
    return f'a list of {len(value)}, the first of them {str(first)[:60]}'
  return f'the value {str(value)[:60]}'


def archive(data: bytes, path: pathlib.Path) -> str:
  """What archive the first bytes of a file are; '' if none."""
  for magic, kind in (
    (b'\x1f\x8b', 'a gzip'),
    (b'PK\x03\x04', 'a zip (or a spreadsheet)'),
    (b'Rar!', 'a rar'),
    (b'7z\xbc\xaf', 'a 7z'),
    (b'BZh', 'a bzip2'),
    (b'\xfd7zXZ', 'an xz'),
  ):
    if data.startswith(magic):
      return f'{kind} archive'
  is_tar = data[257:262] == b'ustar' or path.suffix.lower() == '.tar'
  return 'a tar archive' if is_tar else ''
