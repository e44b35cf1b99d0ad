"""From saved scores to a report; no model, no device and no JAX.

What `run` does after the model has spoken, and what
`vidmodels evaluate --scores FILE...` does without one.
"""

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any

from vidmodels import files
from vidmodels.evaluate import averaging, ensemble
from vidmodels.evaluate.accuracy_report import AccuracyReport, report
from vidmodels.evaluate.averaging import Answers
from vidmodels.evaluate.bootstrap import Bootstrap
from vidmodels.evaluate.score_file import Scored
from vidmodels.files import write_atomically


@dataclasses.dataclass(frozen=True)
class Result:
  """A report, and the answers that it counts.

  Attributes:
    report: the numbers.
    answers: one row of scores a video, for submissions and tables.
  """

  report: AccuracyReport
  answers: Answers

  def write(
    self, folder: pathlib.Path, inputs: Iterable[str | pathlib.Path] = ()
  ) -> pathlib.Path:
    """Writes the report as JSON; its name has all that changes the numbers.

    Args:
      folder: is made if it is not there.
      inputs: files that nothing may be written over.

    Raises:
      InputError: if nothing can be written there, or only over an input.
    """
    stem = self.answers.about.stem
    if self.report.members:
      text = json.dumps(self.report.members, sort_keys=True)
      digest = hashlib.sha256(text.encode()).hexdigest()
      stem = f'{self.report.name}_ensemble_{digest[:8]}'
    text = json.dumps(self.report.as_json(), indent=1) + '\n'
    path = files.output_folder(folder) / f'{stem}.json'
    files.check_no_overwrite([path], inputs)
    write_atomically(path, text.encode())
    return path


def result(
  scored: Sequence[Scored],
  *,
  views: tuple[int, int] | None = None,
  average: str = '',
  shares: Sequence[float] = (),
  bootstrap: Bootstrap | None = None,
) -> Result:
  """Counts the scores of a model, or those of several as an ensemble.

  Args:
    scored: of one model, or of several on the same videos.
    views: (over time, crops) to choose of each one's; default all.
    average: of views, instead of each one's own.
    shares: of the models in the mean of probabilities; default equal.
    bootstrap: how intervals are drawn.

  Raises:
    InputError: if there are not so many views, an average does not suit the
      task, the models' videos, classes or labels differ, or shares are not one
      a model.
  """
  if views:
    scored = [averaging.fewer(one, *views) for one in scored]
  answers = [averaging.answers(one, average) for one in scored]
  files = [one.file for one in scored]
  if len(scored) == 1:
    ensemble.check(answers, files, shares)
    (only,) = answers
    made = report(only, scores=scored[0].file, bootstrap=bootstrap)
    return Result(made, only)
  mixed = ensemble.combine(answers, files, shares)
  shares = shares or (1.0,) * len(files)
  members = tuple(map(_member, answers, files, shares))
  made = report(
    mixed,
    scores=' + '.join(files),
    bootstrap=bootstrap,
    name=ensemble.name(answers),
    step=None,
    weights='',
    members=members,
    config={},
  )
  return Result(made, mixed)


def _member(one: Answers, file: str, share: float) -> dict[str, Any]:
  """What a report says of a model of several."""
  about = one.about
  return {
    'name': about.name,
    'average': about.average,
    'step': about.step,
    'weights': about.weights,
    'share': float(share),
    'scores': file,
    'data_fingerprint': about.fingerprint,
    'config': dict(about.config),
  }
