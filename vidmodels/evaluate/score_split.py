"""Scores a split with every view of every video and writes the result."""

import dataclasses
import functools
import pathlib
from typing import Self

import numpy as np

from vidmodels import config as cfg
from vidmodels import files
from vidmodels.data.records.record_set import RecordSet
from vidmodels.data.sampling import rules
from vidmodels.data.stream import batch_stream
from vidmodels.evaluate import averaging, results
from vidmodels.evaluate.accuracy_report import AccuracyReport
from vidmodels.evaluate.score_file import About, Scored
from vidmodels.train import view_scores
from vidmodels.train.mesh import local_rows, round_up_batch
from vidmodels.train.restore import TrainedModel
from vidmodels.typing import InputError


@dataclasses.dataclass(frozen=True)
class ScoringPlan:
  """A model and what it is to score, which fit each other.

  Attributes:
    trained: the model.
    records: of the split.
    views: how many, of what, and how their scores are averaged.
    about: what its scores will be of.
  """

  trained: TrainedModel
  records: RecordSet
  views: cfg.Views
  about: About

  @functools.cached_property
  def videos(self) -> tuple[str, ...]:
    """Name of each."""
    return tuple(self.records.video(i) for i in range(len(self.records)))

  @property
  def inputs(self) -> tuple[pathlib.Path, ...]:
    """Files and folders to be left alone: the run's, the records', its own.

    Tables and submissions of before may lie among them.
    """
    workdir = self.trained.workdir
    there = [*workdir.glob('*'), *pathlib.Path(self.records.dir).glob('*')]
    stem = workdir / 'evaluation' / self.about.stem
    own = (
      path
      for path in there
      if path.is_file() and path.suffix not in ('.csv', '.zip')
    )
    results = (pathlib.Path(f'{stem}{end}') for end in ('.npz', '.json'))
    return (workdir / 'checkpoints', *results, *own)

  def same_model(self, other: Self) -> bool:
    """Whether two plans ask the same weights of the same run."""
    where = {p.trained.workdir.resolve() for p in (self, other)}
    return len(where) == 1 and self.about.same_weights(other.about)

  def score(
    self, out: str | pathlib.Path, progress: view_scores.Progress | None = None
  ) -> Scored:
    """Scores every view and writes the `.npz` to the folder `out`.

    Raises:
      InputError: if `out` cannot hold it, or a score is not finite.
    """
    path = files.output_folder(out) / f'{self.about.stem}.npz'
    self._check_owner(path)
    views = self.about.temporal * self.about.spatial
    floats = len(self.records) * views * len(self.about.classes)
    files.check_disk_space(path.parent, 4 * floats)
    found = score(
      self.trained, self.records, views=self.views, progress=progress
    )
    scored = by_video(
      found, records=self.records, about=self.about, file=str(path)
    )
    scored.check()
    scored.save(path)
    return scored

  def _check_owner(self, path: pathlib.Path) -> None:
    """Refuses to write over another model's scores; its own are made anew."""
    try:
      before = Scored.load(path).about if path.exists() else self.about
    except InputError:  # damaged: nobody's any more
      return
    if not self.about.same_weights(before):
      raise InputError(
        f'{path} holds the scores of another model, which these would take the '
        'place of; wanted a folder a model; choose another one with --out'
      )


def plan(
  trained: TrainedModel,
  *,
  dir: str | pathlib.Path,
  split: str,
  views: cfg.Views,
) -> ScoringPlan:
  """Opens the records of an evaluation; nothing is scored, see `evaluate`."""
  records = RecordSet.open(dir, split)
  _same_labels(trained, records)
  _same_rate(trained, records)
  averaging.check(views.average, records.manifest.task)
  about = About.of_records(
    records.manifest,
    records.classes,
    temporal=views.temporal,
    spatial=views.spatial,
    average=views.average,
    step=trained.step,
    weights=trained.weights,
    config=cfg.as_dict(dataclasses.replace(trained.config, views=views)),
  )
  return ScoringPlan(trained, records, views, about)


def evaluate(
  trained: TrainedModel,
  *,
  dir: str | pathlib.Path,
  split: str,
  views: cfg.Views,
  out: str | pathlib.Path | None = None,
  progress: view_scores.Progress | None = None,
) -> AccuracyReport:
  """Measures the accuracy of videos.

  Args:
    trained: the model.
    dir: folder of records.
    split: which of its splits.
    views: how many, of what, and how their scores are averaged. Any batch
      size will do; it is rounded up to a multiple of the devices.
    out: folder for the `.json` and the `.npz` of the result, whose names say
      what was measured; default `workdir/evaluation`.
    progress: called with (batches done, batches, '').

  Returns:
    The report; the files it names are written.

  Raises:
    InputError: if the records' classes are not the checkpoint's, nothing can
      be written to `out`, or a record is corrupt.
  """
  folder = pathlib.Path(out or trained.workdir / 'evaluation')
  planned = plan(trained, dir=dir, split=split, views=views)
  scored = planned.score(folder, progress)
  found = results.result([scored])
  found.write(folder)
  return found.report


def by_video(
  found: view_scores.ViewScores, *, records: RecordSet, about: About, file: str
) -> Scored:
  """Sorts view scores, which come in any order, into their places.

  Raises:
    ValueError: if a view of a video is missing or came twice.
  """
  videos, views = len(records), about.temporal * about.spatial
  place_R = found.index_R.astype(np.int64) * views + found.view_R
  if not np.array_equal(np.sort(place_R), np.arange(videos * views)):
    raise ValueError(
      f'{len(place_R)} view scores came, {len(np.unique(place_R))} different; '
      f'wanted each of {videos} x {views} once'
    )
  order = np.argsort(place_R)
  logits = found.logits_RK[order]
  return Scored(
    logits_RVK=logits.reshape(videos, views, -1),
    label_Rx=found.label_Rx[order][::views],
    videos=tuple(records.video(i) for i in range(videos)),
    about=about,
    file=file,
  )


def score(
  trained: TrainedModel,
  records: RecordSet,
  *,
  views: cfg.Views,
  progress: view_scores.Progress | None = None,
) -> view_scores.ViewScores:
  """Scores of all views, padded rows left out."""
  config = trained.config
  batch = round_up_batch(views.batch, trained.mesh)
  views = dataclasses.replace(views, batch=batch)
  batches = batch_stream.eval_batches(
    records,
    clip=config.clip,
    views=views,
    data=config.data,
    rows=local_rows(trained.mesh, batch),
  )
  return view_scores.collect(
    view_scores.make_score_step(trained.eval_step(), trained.mesh),
    trained.params,
    trained.model_state,
    batches,
    rows=batch,
    mesh=trained.mesh,
    total=batches.batches,
    progress=progress,
  )


def _same_labels(trained: TrainedModel, records: RecordSet) -> None:
  """Refuses records whose classes, or kind of labels, are other ones."""
  different = trained.classes.first_difference(records.classes)
  if different:
    raise InputError(
      f'the checkpoint and {records.dir} disagree about classes ("here" is the '
      f'checkpoint): {different}; evaluate on records of its own classes'
    )
  task = records.manifest.task
  # Imported weights, of step 0, were trained elsewhere; nobody says on what.
  if trained.step and trained.task != task:
    raise InputError(
      f'the checkpoint was trained on labels of {trained.task} and '
      f'{records.dir} has {task}; evaluate on records of its own kind'
    )


def _same_rate(trained: TrainedModel, records: RecordSet) -> None:
  """Refuses records of another rate where frames are what is counted."""
  fps = records.manifest.options.get('fps', 0.0)
  if fps != trained.fps and not rules.by_time(trained.config.clip):
    raise InputError(
      f'the records were prepared with --fps {fps:g}, those of the checkpoint '
      f'with {trained.fps:g} (0 keeps the rate), and the recipe counts frames; '
      'prepare them alike, or train with clip.unit=second or clip.fps'
    )
