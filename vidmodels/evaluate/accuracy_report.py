"""Reports: numbers under names that say what was measured, of how many videos.

  evaluation = evaluate_scores([SplitScores.load(path)], views=(2, 1))
  print(evaluation.report.line(), *evaluation.report.details(), sep='\\n')
  evaluation.write(pathlib.Path('results'))

`score_split` does this after the model has scored a split;
`vidmodels evaluate --scores FILE...` does it without a model, a device or JAX.
"""

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any

from vidmodels import files
from vidmodels.data.datasets import registry
from vidmodels.data.prepare.split_report import format_share
from vidmodels.evaluate import averaging, ensemble, metrics
from vidmodels.evaluate.averaging import VideoScores
from vidmodels.evaluate.bootstrap import Bootstrap, Interval
from vidmodels.evaluate.score_file import ScoreInfo, SplitScores
from vidmodels.files import write_atomically
from vidmodels.typing import quote

# The metrics that a line shows beside the headline; with heads, also the top-1
# of each head.
_SHOWN = ('top1', 'top5', 'hit1', 'map')
_WORDS = {'top': 'top-', 'hit': 'hit@', 'map': 'mAP', 'mean_class': 'per class'}


@dataclasses.dataclass(frozen=True, kw_only=True)
class AccuracyReport:
  """The result of an evaluation."""

  # info: describes the scores; for an ensemble, those of its first model
  info: ScoreInfo
  name: str  # the name of the numbers, e.g. 'test_4x3'.
  # headline: the metric that the records' data set is known by, else the first
  # metric of this kind of labels; '' without metrics
  headline: str
  # metrics: name -> value (see `metrics`), from 0 to 1; empty if nothing can be
  # measured
  metrics: dict[str, float]
  intervals: dict[str, Interval]  # (low, high) of each, or None
  bootstrap: dict[str, Any]  # how intervals were drawn
  videos: int  # videos scored
  notes: tuple[str, ...]  # what else a reader must know, a line each
  scores: str  # file that holds every view's scores
  trivial: tuple[str, ...] = ()  # metrics that any answer has: not printed
  # members: of an ensemble: name, step, weights, share and file of each
  members: tuple[dict[str, Any], ...] = ()

  def as_json(self) -> dict[str, Any]:
    """Returns a plain dict; numbers appear under their full names only."""
    info, one_model = self.info, not self.members
    return {
      **{self._full(k): v for k, v in self.metrics.items()},
      'intervals': {self._full(k): v for k, v in self.intervals.items()},
      'name': self.name,
      **_fields(info, 'split', 'temporal', 'spatial', 'average', 'labelled'),
      'headline': self.headline and self._full(self.headline),
      'bootstrap': self.bootstrap,
      'videos': self.videos,
      **_fields(info, 'listed', 'expected', 'lost', 'damaged', 'limit'),
      'notes': self.notes,
      'classes_sha256': info.classes.sha256,
      'data_fingerprint': info.fingerprint,
      'step': info.step if one_model else None,
      'weights': info.weights if one_model else '',
      'scores': self.scores,
      'members': self.members,
      'config': dict(info.config) if one_model else {},
    }

  def line(self) -> str:
    """What was measured, on one line."""
    info = self.info
    shown = [
      name
      for name in self.metrics
      if name not in self.trivial
      and (name in _SHOWN or ('/' not in name and name.endswith('_top1')))
    ]
    # The headline first, the others in their order.
    shown.sort(key=lambda name: name != self.headline)
    numbers = ', '.join(_in_words(name, self.metrics[name]) for name in shown)
    if not numbers:
      reason = 'no video has any class' if info.labelled else 'no labels'
      if self.trivial:
        reason = 'any answer would be right'
      numbers = f'{reason}, scores only'
    official = f' (official {info.expected})' if info.expected else ''
    if self.members:
      shares = ', '.join(f'{m["share"]:g}' for m in self.members)
      how = f'mean of the probabilities of {len(self.members)} models with '
      how += f'shares {shares}'
    else:
      how = f'mean of {info.average}'
      if info.average == 'max':
        how = 'highest logit'
      views = info.temporal * info.spatial
      if info.knn:
        how = f'{info.knn} nearest training videos, {how}'
      how = f'{views} views ({how}, step {info.step}, {info.weights})'
    return (
      f'{self.name}: {numbers} of {self.videos} of {info.listed} videos'
      f'{official}, {how}'
    )

  def details(self) -> list[str]:
    """Every number with its interval, and the notes."""
    shown = [name for name in self.metrics if name not in self.trivial]
    lines = [
      f'{self._full(name)}: {self.metrics[name]:.2%} '
      f'({_interval_in_words(self.intervals[name])})'
      for name in shown
    ]
    if any(self.intervals[name] for name in shown):
      lines.append(
        "in brackets: {level:.0%} intervals over videos, {shares}'s of shares "
        'and of means of them, else of {draws} bootstrap draws, seed '
        '{seed}'.format(**self.bootstrap)
      )
    return [*lines, *self.notes]

  def _full(self, metric: str) -> str:
    return f'{self.name}/{metric}'


@dataclasses.dataclass(frozen=True)
class Evaluation:
  """A report, and the scores that it counts."""

  report: AccuracyReport  # the numbers
  scores: VideoScores  # one row per video, for submissions and tables

  def write(
    self, folder: pathlib.Path, inputs: Iterable[str | pathlib.Path] = ()
  ) -> pathlib.Path:
    """Writes the report as JSON; its name contains all that affects it.

    Refuses to overwrite one of `inputs`.
    """
    stem = self.scores.info.stem
    if self.report.members:
      text = json.dumps(self.report.members, sort_keys=True)
      digest = hashlib.sha256(text.encode()).hexdigest()
      stem = f'{self.report.name}_ensemble_{digest[:8]}'
    text = json.dumps(self.report.as_json(), indent=1) + '\n'
    path = files.output_folder(folder) / f'{stem}.json'
    files.check_no_overwrite([path], inputs)
    write_atomically(path, text.encode())
    return path


def evaluate_scores(
  members: Sequence[SplitScores],
  *,
  views: tuple[int, int] | None = None,
  average: str = '',
  shares: Sequence[float] = (),
  bootstrap: Bootstrap | None = None,
) -> Evaluation:
  """Measures the scores of one model, or those of several as an ensemble.

  `views` (over time, crops) are selected from each model's, by default all.
  `average` replaces each model's own average over views. `shares` are the
  weights of the models in the mean of probabilities, by default equal.
  """
  if views:
    members = [averaging.select_views(member, *views) for member in members]
  averaged = [averaging.average_views(member, average) for member in members]
  names = [member.file for member in members]
  scores, name = averaged[0], ''
  described: tuple[dict[str, Any], ...] = ()
  if len(members) == 1:
    ensemble.check_members(averaged, names, shares)
  else:
    scores = ensemble.combine_members(averaged, names, shares)
    name = ensemble.ensemble_name(averaged)
    shares = shares or (1.0,) * len(names)
    described = tuple(map(_describe_member, averaged, names, shares))
  info, videos = scores.info, len(scores.videos)
  bootstrap = bootstrap or Bootstrap()
  measured = metrics.prepare_metrics(scores) if info.labelled else ()
  values = metrics.metric_values(measured, videos)
  # The data set's own metric if it was measured, else the first.
  headline = info.dataset and registry.find(info.dataset).metric
  if headline not in values:
    headline = next(iter(values), '')
  report = AccuracyReport(
    info=info,
    name=name or info.name,
    headline=headline,
    metrics=values,
    intervals=bootstrap.intervals(measured, videos),
    bootstrap=bootstrap.as_json(),
    videos=videos,
    trivial=tuple(metric.name for metric in measured if metric.trivial),
    notes=tuple(_notes(scores)),
    scores=' + '.join(names),
    members=described,
  )
  return Evaluation(report, scores)


def _describe_member(
  scores: VideoScores, file: str, share: float
) -> dict[str, Any]:
  return {
    **_fields(scores.info, 'name', 'average', 'step', 'weights'),
    'share': float(share),
    'scores': file,
    'data_fingerprint': scores.info.fingerprint,
    'config': dict(scores.info.config),
  }


def _fields(info: ScoreInfo, *names: str) -> dict[str, Any]:
  return {name: getattr(info, name) for name in names}


def _notes(scores: VideoScores) -> list[str]:
  """What was not measured, a line each."""
  info, videos = scores.info, len(scores.videos)
  notes = []
  if info.limit:
    notes.append(
      f'the records are the first {info.limit} of the list: this is not the '
      'accuracy of the split'
    )
  if info.expected and videos != info.expected:
    notes.append(
      f'{videos} of the {info.expected} clips of the official split were '
      f'evaluated ({format_share(videos, info.expected)})'
    )
  if info.lost:
    notes.append(f'{info.lost} videos were lost; see {info.split}.lost.txt')
  if info.damaged:
    notes.append(f'{info.damaged} records have frames that did not decode')
  if not info.labelled:
    return [*notes, 'the labels of this split are not published']
  for head, names in metrics.missing_classes(scores).items():
    if names:
      size = dict(info.task.heads).get(head) or len(info.classes)
      few = ', '.join(map(quote, names[:5])) + (
        ', ...' if len(names) > 5 else ''
      )
      kind = f'{head} classes' if head else 'classes'
      notes.append(f'{len(names)} of {size} {kind} have no video: {few}')
  for name in metrics.absent_subsets(scores):
    notes.append(f'no video of the subset {name} is here')
  if info.task.kind == 'multi':
    without = int((~scores.label_Rx.any(1)).sum())
    if without:
      notes.append(f'{without} videos have no class and count as wrong for all')
  return notes


def _interval_in_words(interval: Interval) -> str:
  """'10.00% to 20.00%', or why there is none."""
  if interval is None:
    return 'no interval: too few videos to say'
  return '{:.2%} to {:.2%}'.format(*interval)


def _in_words(name: str, value: float) -> str:
  """'top1', 0.5 -> 'top-1 50.00%'."""
  for start, word in _WORDS.items():
    name = name.replace(start, word)
  return f'{name.replace("_", " ")} {value:.2%}'
