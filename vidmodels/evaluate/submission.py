"""Files that the official evaluations of unpublished test labels read.

  submission.write(scores, 'ssv2.csv')  # the data set is known from the records

Something-Something V2 (`ssv2`), as the data set's own baseline writes it: text
without a header. Each line has a video's id and the numbers of its five best
classes, best first:

  1420;12;4;171;0;33

EPIC-KITCHENS-100 action recognition (`epic100`): JSON, the only file
`test.json` of a zip. It has every class of both heads, as logits: the
evaluation takes their softmaxes and makes actions of the products. Mean
probabilities are written as their logarithms, whose softmax they are.

  {"version": "0.2", "challenge": "action_recognition",
   "sls_pt": 2, "sls_tl": 3, "sls_td": 3,
   "results": {"P01_101_0": {"verb": {"0": 1.2, ..., "96": 0.1},
                             "noun": {"0": 0.8, ..., "299": 0.0}}}}

The three numbers are the supervision levels that the challenge asks its
participants for: of pretraining, of training labels, of training data, each
0 to 5.
"""

import io
import json
import pathlib
import zipfile
from collections.abc import Sequence

import numpy as np

from vidmodels import files
from vidmodels.data.datasets import registry
from vidmodels.data.listing.rows import VIDEO_SUFFIXES
from vidmodels.evaluate.averaging import VideoScores
from vidmodels.evaluate.score_file import ScoreInfo
from vidmodels.files import output_file, write_atomically
from vidmodels.typing import InputError, quote

FORMATS = ('ssv2', 'epic100')


def write(
  scores: VideoScores,
  path: str | pathlib.Path,
  *,
  format: str = '',
  levels: Sequence[int] = (),
) -> str:
  """Writes a submission file, whole or not at all; says what is in it.

  For epic100 `path` ends in .zip, or in .json for the content alone, and
  `levels` are the supervision levels. `format` defaults to that of the
  records' data set.
  """
  path, info = files.place(path), scores.info
  format = check(info, scores.videos, path, format=format, levels=levels)
  text = _ssv2(scores) if format == 'ssv2' else _epic100(scores, levels)
  data = text.encode()
  if path.suffix == '.zip':
    # A fixed time: the same answers are the same bytes.
    entry = zipfile.ZipInfo('test.json')
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, 'w') as archive:
      archive.writestr(entry, data, compress_type=zipfile.ZIP_DEFLATED)
    data = buffer.getvalue()
  write_atomically(output_file(path), data)
  videos, expected = len(scores.videos), info.expected or info.listed
  line = f'submission for {format}: {path}, {videos} of {expected} clips'
  if videos < expected:
    line += f'; {expected - videos} are missing and count as wrong, or worse'
  return line


def check(
  info: ScoreInfo,
  videos: Sequence[str],
  path: str | pathlib.Path,
  *,
  format: str = '',
  levels: Sequence[int] = (),
) -> str:
  """Checks that `write` could write a submission; returns its format.

  The scores that `info` describes need not exist yet.
  """
  format = format or info.dataset
  if format not in FORMATS:
    raise InputError(
      f'got a submission for records of {format or "no known data set"}; '
      f'expected one of {", ".join(FORMATS)}; try --submission-format'
    )
  official = registry.find(format)
  different = official.classes().first_difference(info.classes)
  if not different and info.task != official.task:
    different = f'labels of {official.task} here and of {info.task} there'
  if different:
    raise InputError(
      f'class numbers would mean something else to the evaluation: {different} '
      f'("here" is {official.title}); try training on records with the '
      'official classes'
    )
  odd = [
    video
    for video in videos
    if ';' in _id(video) or not _id(video).isprintable()
  ]
  if odd:
    raise InputError(
      f'got the video {quote(odd[0])}, whose id would not be one field of a '
      'submission; expected a printable one without ;'
    )
  if len({_id(video) for video in videos}) < len(videos):
    raise InputError(
      'got two videos of the records that have one id; expected unique ids, '
      'since a submission has each once'
    )
  suffixes = {'ssv2': ('.csv',), 'epic100': ('.zip', '.json')}[format]
  if pathlib.PurePath(path).suffix not in suffixes:
    raise InputError(
      f'got the submission {path}; expected a file that ends in '
      f'{" or ".join(suffixes)} for {official.title}'
    )
  valid = len(levels) == 3 and all(0 <= level <= 5 for level in levels)
  if format == 'epic100' and not valid:
    raise InputError(
      f'got supervision levels {",".join(map(str, levels)) or "none"}; '
      'expected the three that the challenge asks for, from 0 to 5 '
      '(pretraining, training labels, training data); try --levels 2,3,3 if '
      'you used those'
    )
  if format != 'epic100' and levels:
    raise InputError(
      f'got --levels with a {format} submission; expected them for epic100 '
      'only; leave them out'
    )
  return format


def _ssv2(scores: VideoScores) -> str:
  best = np.argsort(-scores.score_RK, axis=-1, kind='stable')[:, :5]
  lines = [
    ';'.join([_id(video), *map(str, row)])
    for video, row in zip(scores.videos, best.tolist(), strict=True)
  ]
  return '\n'.join(lines) + '\n'


def _epic100(scores: VideoScores, levels: Sequence[int]) -> str:
  if scores.logits:
    score_RK = scores.score_RK
  else:
    # JSON has no infinity; the smallest float above 0 has the log -744.4.
    score_RK = np.maximum(scores.log_probabilities(), -745.0)
  parts = scores.info.task.parts(len(scores.info.classes))
  results = {
    _id(video): {
      head: {str(i): score for i, score in enumerate(score_K[part].tolist())}
      for head, part in parts.items()
    }
    for video, score_K in zip(scores.videos, score_RK, strict=True)
  }
  top = {'version': '0.2', 'challenge': 'action_recognition'}
  names = ('sls_pt', 'sls_tl', 'sls_td')
  return json.dumps(
    {**top, **dict(zip(names, levels, strict=True)), 'results': results}
  )


def _id(video: str) -> str:
  """The official name of a clip, without folder and suffix."""
  name = video.rpartition('/')[2]
  stem, dot, suffix = name.rpartition('.')
  return stem if f'{dot}{suffix.lower()}' in VIDEO_SUFFIXES else name
