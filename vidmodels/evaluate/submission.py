"""Files that the official evaluations of unpublished test labels read.

Something-Something V2 (`ssv2`), as the data set's own baseline writes it: text
without a header, a line a video, the video's id and the numbers of its five
best classes, best first:

  1420;12;4;171;0;33

EPIC-KITCHENS-100 action recognition (`epic100`): JSON, as `test.json` alone in
a zip. Every class of both heads is there, as logits: the evaluation takes their
softmaxes and makes actions of the products. Mean probabilities are written as
their logarithms, whose softmax they are.

  {"version": "0.2", "challenge": "action_recognition",
   "sls_pt": 2, "sls_tl": 3, "sls_td": 3,
   "results": {"P01_101_0": {"verb": {"0": 1.2, ..., "96": 0.1},
                             "noun": {"0": 0.8, ..., "299": 0.0}}}}

The three numbers are the supervision levels that the challenge asks of its
participants: of pretraining, of training labels, of training data, each 0 to 5.
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
from vidmodels.evaluate.averaging import Answers
from vidmodels.evaluate.score_file import About
from vidmodels.files import write_atomically
from vidmodels.typing import InputError

FORMATS = ('ssv2', 'epic100')


def write(
  answers: Answers,
  path: str | pathlib.Path,
  *,
  format: str = '',
  levels: Sequence[int] = (),
) -> str:
  """Writes a submission file, whole or not at all.

  Args:
    answers: of the split that is to be submitted.
    path: of the file; for epic100 it ends in .zip, or in .json for the content
      alone.
    format: 'ssv2' or 'epic100'; by default that of the records' data set.
    levels: supervision levels (pretraining, labels, data), for epic100 only.

  Returns:
    What was written and what is missing in it, for people.

  Raises:
    InputError: as `check`, or if no file can be there.
  """
  path, about = pathlib.Path(path), answers.about
  format = check(about, answers.videos, path, format=format, levels=levels)
  text = _ssv2(answers) if format == 'ssv2' else _epic100(answers, levels)
  data = text.encode()
  if path.suffix == '.zip':
    data = _zipped(data)
  write_atomically(files.output_file(path), data)
  videos, wanted = len(answers.videos), about.expected or about.listed
  said = f'submission for {format}: {path}, {videos} of {wanted} clips'
  if videos < wanted:
    said += f'; {wanted - videos} are missing and will count as wrong, or more'
  return said


def check(
  about: About,
  videos: Sequence[str],
  path: str | pathlib.Path,
  *,
  format: str = '',
  levels: Sequence[int] = (),
) -> str:
  """The format of a submission that `write` could write.

  Args:
    about: of the scores, which need not be there yet.
    videos: name of each.
    path: as of `write`, and so the rest.

  Raises:
    InputError: if the format is not known, or the classes, the levels or the
      file's name are not what it wants.
  """
  format = format or about.dataset
  if format not in FORMATS:
    raise InputError(
      f'a submission was asked of records of {format or "no known data set"}; '
      f'wanted one of {", ".join(FORMATS)}; give --submission-format'
    )
  _same_classes(about, format)
  if len({_id(video) for video in videos}) < len(videos):
    raise InputError(
      'two videos of the records have one id; a submission has each once'
    )
  suffixes = {'ssv2': ('.csv',), 'epic100': ('.zip', '.json')}[format]
  if pathlib.Path(path).suffix not in suffixes:
    raise InputError(
      f'the submission {path} came; {registry.find(format).title} wants a file '
      f'that ends in {" or ".join(suffixes)}'
    )
  _check_levels(format, levels)
  return format


def _same_classes(about: About, format: str) -> None:
  official = registry.find(format)
  different = official.classes().first_difference(about.classes)
  if not different and about.task != official.task:
    different = f'labels of {official.task} here and of {about.task} there'
  if different:
    raise InputError(
      f'class numbers would mean something else to the evaluation: {different} '
      f'("here" is {official.title}); train on records of the official classes'
    )


def _check_levels(format: str, levels: Sequence[int]) -> None:
  valid = len(levels) == 3 and all(0 <= level <= 5 for level in levels)
  if format == 'epic100' and not valid:
    raise InputError(
      f'supervision levels {",".join(map(str, levels)) or "none"} came; the '
      'challenge asks for three from 0 to 5 (pretraining, training labels, '
      'training data); give --levels 2,3,3 if that is what you used'
    )
  if format != 'epic100' and levels:
    raise InputError('--levels are for epic100 submissions; leave them out')


def _ssv2(answers: Answers) -> str:
  best = np.argsort(-answers.score_RK, axis=-1, kind='stable')[:, :5]
  lines = [
    ';'.join([_id(video), *map(str, row)])
    for video, row in zip(answers.videos, best.tolist(), strict=True)
  ]
  return '\n'.join(lines) + '\n'


def _epic100(answers: Answers, levels: Sequence[int]) -> str:
  if answers.logits:
    score_RK = answers.score_RK
  else:
    # Of a probability that underflowed; JSON has no infinity.
    score_RK = np.maximum(answers.log_probabilities(), -745.0)
  parts = answers.about.task.parts(len(answers.about.classes))
  results = {
    _id(video): {
      head: {str(i): score for i, score in enumerate(score_K[part].tolist())}
      for head, part in parts.items()
    }
    for video, score_K in zip(answers.videos, score_RK, strict=True)
  }
  names = ('sls_pt', 'sls_tl', 'sls_td')
  return json.dumps(
    {
      'version': '0.2',
      'challenge': 'action_recognition',
      **dict(zip(names, levels, strict=True)),
      'results': results,
    }
  )


def _zipped(data: bytes) -> bytes:
  buffer = io.BytesIO()
  with zipfile.ZipFile(buffer, 'w', zipfile.ZIP_DEFLATED) as archive:
    # A fixed time: the same answers are the same bytes.
    archive.writestr(
      zipfile.ZipInfo('test.json'), data, compress_type=zipfile.ZIP_DEFLATED
    )
  return buffer.getvalue()


def _id(video: str) -> str:
  """The official name of a clip, without folder and suffix."""
  name = video.rpartition('/')[2]
  stem, dot, suffix = name.rpartition('.')
  return stem if f'{dot}{suffix.lower()}' in VIDEO_SUFFIXES else name
