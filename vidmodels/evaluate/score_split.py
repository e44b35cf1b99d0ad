"""Scores a split with every view of every video and writes the result.

model = restore.load('runs/first')
report = evaluate(model, dir='records', split='test', views=views)
print(report.line())
"""

import contextlib
import dataclasses
import functools
import pathlib
from typing import Self

import jax
import numpy as np

from vidmodels import config as cfg
from vidmodels import files
from vidmodels.data.records.record_set import RecordSet
from vidmodels.data.records.task import SINGLE
from vidmodels.data.sampling import short_videos
from vidmodels.evaluate import (
  accuracy_report,
  averaging,
  nearest_neighbours,
)
from vidmodels.evaluate.accuracy_report import AccuracyReport
from vidmodels.evaluate.score_file import ScoreInfo, SplitScores
from vidmodels.train import view_scores
from vidmodels.train.build import training_records
from vidmodels.train.restore import TrainedModel
from vidmodels.typing import InputError


@dataclasses.dataclass(frozen=True)
class ScoringPlan:
  """A model and the records that it will score, which fit each other."""

  model: TrainedModel  # the trained model
  records: RecordSet  # of the split
  views: cfg.Views  # how many, of what, and how their scores are averaged
  info: ScoreInfo  # describes the scores to come
  # bank: the training videos that vote by nearest neighbours; None: the head
  bank: RecordSet | None = None

  @functools.cached_property
  def videos(self) -> tuple[str, ...]:
    """Name of each video."""
    return tuple(self.records.video(i) for i in range(len(self.records)))

  @property
  def inputs(self) -> tuple[pathlib.Path, ...]:
    """Files of the run, of the records and of the plan: never overwritten.

    Older tables and submissions among them may be replaced.
    """
    workdir = self.model.workdir
    stem = workdir / 'evaluation' / self.info.stem
    return (
      workdir / 'checkpoints',
      *(stem.with_name(f'{stem.name}{end}') for end in ('.npz', '.json')),
      *(
        path
        for folder in (workdir, self.records.dir)
        for path in folder.glob('*')
        if path.is_file() and path.suffix not in ('.csv', '.zip')
      ),
    )

  def same_model(self, other: Self) -> bool:
    """Whether two plans use the same weights of the same run."""
    workdirs = {p.model.workdir.resolve() for p in (self, other)}
    return len(workdirs) == 1 and self.info.same_weights(other.info)

  def score(
    self, out: str | pathlib.Path, progress: view_scores.Progress | None = None
  ) -> SplitScores | None:
    """Scores every view and writes the `.npz` to the folder `out`.

    Of several processes only process 0 has the scores, and writes them; the
    others return None.
    """
    path = files.output_folder(out) / f'{self.info.stem}.npz'
    info, old = self.info, self.info
    with contextlib.suppress(InputError):  # a damaged file belongs to nobody
      old = SplitScores.load(path).info if path.exists() else info
    if not info.same_weights(old):
      raise InputError(
        f'{path} holds the scores of another model, which these would '
        'replace; expected one folder per model; try another one with --out'
      )
    floats = info.temporal * info.spatial * len(info.classes)
    files.check_disk_space(path.parent, 4 * floats * len(self.records))
    model = self.model
    if progress and jax.process_index() == 0:
      line = short_videos.describe(self.records, model.config.clip)
      if line:
        progress(0, 0, line)
    scored = self._run_model(self.records, self.views, progress)
    if self.bank is not None:
      one = dataclasses.replace(self.views, temporal=1, spatial=1)
      voters = self._run_model(self.bank, one, progress)
      if scored is not None and voters is not None:
        scored = _vote(scored, voters, classes=len(info.classes))
    if scored is None:
      return None
    scores = group_by_video(
      scored,
      records=self.records,
      info=self.info,
      file=str(path),
    )
    scores.check()
    scores.save(path)
    return scores

  def _run_model(
    self,
    records: RecordSet,
    views: cfg.Views,
    progress: view_scores.Progress | None,
  ) -> view_scores.ViewScores | None:
    """The head's scores of each view, or the features with a bank."""
    model = self.model
    scorer = view_scores.ViewScorer(
      model.model,
      model.config,
      mesh=model.mesh,
      views=views,
      features=self.bank is not None,
    )
    return scorer(model.params, model.model_state, records, progress)


def _vote(
  scored: view_scores.ViewScores,
  voters: view_scores.ViewScores,
  *,
  classes: int,
) -> view_scores.ViewScores:
  """The votes of training videos in place of features."""
  order = np.argsort(voters.index_R)  # whatever the layout of the devices
  logits_RK = nearest_neighbours.vote(
    scored.logits_RK,
    voters.logits_RK[order],
    voters.label_Rx[order],
    classes=classes,
  )
  return dataclasses.replace(scored, logits_RK=logits_RK)


def plan_scoring(
  model: TrainedModel,
  *,
  dir: str | pathlib.Path,
  split: str,
  views: cfg.Views,
  knn: bool = False,
) -> ScoringPlan:
  """Opens the records of an evaluation and checks them; scores nothing.

  With `knn` the training videos in `dir` vote, each by one view of its middle,
  see `nearest_neighbours`; views are averaged by their shares of the votes.
  """
  records = RecordSet.open(dir, split)
  different = model.classes.first_difference(records.classes)
  if different:
    raise InputError(
      f'the checkpoint and {records.dir} disagree about classes ("here" is the '
      f'checkpoint): {different}; try records with the classes of the '
      'checkpoint'
    )
  task = records.manifest.task
  # Imported weights (step 0) were trained elsewhere, on unknown labels.
  if model.step and model.task != task:
    raise InputError(
      f'the checkpoint was trained on labels of {model.task} and {records.dir} '
      f'has {task}; try records with labels of the same kind'
    )
  clip = model.config.clip
  view_scores.check_frame_rate(
    records, fps=model.fps, clip=clip, trained_on='the checkpoint'
  )
  bank = None
  if knn:
    views = dataclasses.replace(views, average='probs')
    bank = _open_bank(model, records)
  averaging.check_average(views.average, task)
  info = ScoreInfo.of_records(
    records.manifest,
    records.classes,
    temporal=views.temporal,
    spatial=views.spatial,
    average=views.average,
    step=model.step,
    weights=model.weights,
    config=cfg.as_dict(dataclasses.replace(model.config, views=views)),
    knn=nearest_neighbours.NEIGHBOURS if knn else 0,
  )
  return ScoringPlan(model, records, views, info, bank)


def _open_bank(model: TrainedModel, records: RecordSet) -> RecordSet:
  """The training videos beside `records`, as the run's recipe names them."""
  data = dataclasses.replace(model.config.data, dir=str(records.dir))
  bank = training_records(dataclasses.replace(model.config, data=data))
  task = bank.manifest.task
  if task != SINGLE or not bank.manifest.labelled:
    raise InputError(
      f'got --knn with training labels of kind {task.kind!r} and heads '
      f'{list(dict(task.heads))}; expected one published class a video, for '
      'which a neighbour can vote; try without --knn'
    )
  if bank.manifest.fingerprint == records.manifest.fingerprint:
    raise InputError(
      f'got --knn on split {records.manifest.split!r}, whose videos vote: each '
      'would find itself; expected another split; try --split='
      f'{model.config.data.test}'
    )
  view_scores.check_frame_rate(
    bank, fps=model.fps, clip=model.config.clip, trained_on='the checkpoint'
  )
  return bank


def evaluate(
  model: TrainedModel,
  *,
  dir: str | pathlib.Path,
  split: str,
  views: cfg.Views,
  out: str | pathlib.Path | None = None,
  progress: view_scores.Progress | None = None,
  knn: bool = False,
) -> AccuracyReport | None:
  """Measures the accuracy of videos.

  `views` may have any batch size: it is rounded up to a multiple of the
  devices. The `.json` and the `.npz` go to `out`, by default
  `workdir/evaluation`; their names say what was measured. `progress` is called
  with (batches done, batches, ''). Of several processes only process 0 has a
  report. `knn` is that of `plan_scoring`.
  """
  folder = files.place(out or model.workdir / 'evaluation')
  plan = plan_scoring(model, dir=dir, split=split, views=views, knn=knn)
  scores = plan.score(folder, progress)
  if scores is None:
    return None
  evaluation = accuracy_report.evaluate_scores([scores])
  evaluation.write(folder)
  return evaluation.report


def group_by_video(
  scored_views: view_scores.ViewScores,
  *,
  records: RecordSet,
  info: ScoreInfo,
  file: str,
) -> SplitScores:
  """Sorts view scores, which come in any order, by video and view."""
  videos, views = len(records), info.temporal * info.spatial
  place_R = scored_views.index_R.astype(np.int64) * views + scored_views.view_R
  if not np.array_equal(np.sort(place_R), np.arange(videos * views)):
    raise ValueError(
      f'got {len(place_R)} view scores, {len(np.unique(place_R))} different; '
      f'expected each of {videos} x {views} once'
    )
  order = np.argsort(place_R)
  logits_RK = scored_views.logits_RK[order]
  return SplitScores(
    logits_RVK=logits_RK.reshape(videos, views, -1),
    label_Rx=scored_views.label_Rx[order][::views],
    videos=tuple(records.video(i) for i in range(videos)),
    info=info,
    file=file,
  )
