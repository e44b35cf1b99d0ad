"""Files beside the report: the table of classes and the submission.

`check` says before the model is asked what would fail after hours of scoring;
`write` writes them once the report is safe.
"""

import dataclasses
import pathlib
from collections.abc import Iterable, Iterator, Sequence

from vidmodels import files
from vidmodels.evaluate import per_class, submission
from vidmodels.evaluate.averaging import Answers
from vidmodels.evaluate.score_file import About
from vidmodels.typing import InputError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Extras:
  """What else is wanted of an evaluation.

  Attributes:
    per_class: csv for a row a class.
    submission: file for an official test; see `submission.write`.
    format: of the submission; default that of the records.
    levels: of the submission.
  """

  per_class: str | None = None
  submission: str | None = None
  format: str | None = None
  levels: Sequence[int] = ()

  def __post_init__(self):
    """Raises InputError if something is about no submission."""
    idle = [('--levels', self.levels), ('--submission-format', self.format)]
    idle = [flag for flag, given in idle if given]
    if idle and self.submission is None:
      raise InputError(
        f'{", ".join(idle)} came without --submission; wanted the file that '
        'they are about; add --submission FILE or leave them out'
      )

  def check(
    self,
    about: About,
    videos: Sequence[str],
    inputs: Iterable[str | pathlib.Path] = (),
  ) -> None:
    """Makes the files' folders.

    Args:
      about: of scores that need not be there yet.
      videos: name of each.
      inputs: files and folders that nothing may be written over.

    Raises:
      InputError: if a file could not be written of such scores.
    """
    if self.per_class is not None:
      per_class.check(about)
    if self.submission is not None:
      submission.check(
        about,
        videos,
        self.submission,
        format=self.format or '',
        levels=self.levels,
      )
    wanted = [p for p in (self.per_class, self.submission) if p is not None]
    files.check_no_overwrite(wanted, inputs)
    for path in wanted:
      files.output_file(path)

  def write(self, answers: Answers) -> Iterator[str]:
    """Writes file after file and says what each holds."""
    if self.per_class is not None:
      rows = per_class.table(answers)
      per_class.write(rows, self.per_class)
      yield from per_class.confused(rows)
      yield f'classes: {self.per_class}'
    if self.submission is not None:
      yield submission.write(
        answers,
        self.submission,
        format=self.format or '',
        levels=self.levels,
      )
