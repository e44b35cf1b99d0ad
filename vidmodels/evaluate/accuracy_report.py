"""A report: numbers under names that say what was measured, of how many."""

import dataclasses
from typing import Any

from vidmodels.data.datasets import registry
from vidmodels.data.prepare.split_report import share
from vidmodels.evaluate import measures
from vidmodels.evaluate.averaging import Answers
from vidmodels.evaluate.bootstrap import Bootstrap
from vidmodels.evaluate.score_file import About

# What a line shows beside the headline; of heads, each one's top-1 too.
_SHOWN = ('top1', 'top5', 'hit1', 'map')
_WORDS = {'top': 'top-', 'hit': 'hit@', 'map': 'mAP', 'mean_class': 'per class'}


@dataclasses.dataclass(frozen=True, kw_only=True)
class AccuracyReport:
  """The result of an evaluation.

  Attributes:
    name: what the numbers are called, e.g. 'test_4x3'.
    split: name of the split.
    temporal: views over time.
    spatial: crops of each.
    average: what was averaged over views: logits, probs, or max.
    labelled: False if the split's labels are not published.
    headline: the metric that the records' data set is known by, else that of
      the labels' kind; '' without metrics.
    metrics: by name (`measures.py`), from 0 to 1; none if nothing can be
      measured.
    intervals: (low, high) of each.
    bootstrap: how intervals were drawn.
    videos: videos scored.
    listed: videos the source listed.
    expected: clips that the split officially has; 0 if nobody says.
    lost: videos that gave no record.
    damaged: records with holes.
    limit: the records are the first so many of the list; 0: all of it.
    notes: what else must be known, a line each.
    classes_sha256: hash of the class list that both sides agree on.
    data_fingerprint: identifies the records.
    step: updates behind the weights; None of several models.
    weights: 'params' or 'ema'; '' of several models.
    scores: file that holds every view's scores.
    members: of an ensemble: name, step, weights, share and file of each.
    config: the recipe, as a dict; empty of several models.
  """

  name: str
  split: str
  temporal: int
  spatial: int
  average: str
  labelled: bool
  headline: str
  metrics: dict[str, float]
  intervals: dict[str, tuple[float, float]]
  bootstrap: dict[str, Any]
  videos: int
  listed: int
  expected: int
  lost: int
  damaged: int
  limit: int
  notes: tuple[str, ...]
  classes_sha256: str
  data_fingerprint: str
  step: int | None
  weights: str
  scores: str
  members: tuple[dict[str, Any], ...] = ()
  config: dict[str, Any]

  def as_json(self) -> dict[str, Any]:
    """A plain dict; numbers appear under their full names only."""
    tree = dataclasses.asdict(self)
    found = {self._full(k): v for k, v in tree.pop('metrics').items()}
    intervals = {self._full(k): v for k, v in tree.pop('intervals').items()}
    tree['headline'] = self.headline and self._full(self.headline)
    return {**found, 'intervals': intervals, **tree}

  def line(self) -> str:
    """What was measured, for people."""
    shown = [
      name
      for name in self.metrics
      if name in _SHOWN or ('/' not in name and name.endswith('_top1'))
    ]
    shown.sort(key=lambda name: name != self.headline)  # first, others stay
    said = ', '.join(_said(name, self.metrics[name]) for name in shown)
    if not said:
      what = 'no video has any class' if self.labelled else 'no labels'
      said = f'{what}, scores only'
    whole = f' (official {self.expected})' if self.expected else ''
    return (
      f'{self.name}: {said} of {self.videos} of {self.listed} videos{whole}, '
      f'{self._views()}'
    )

  def details(self) -> list[str]:
    """Every number with its interval, and what must be known of them."""
    lines = [
      f'{self._full(name)}: {value:.2%} ({low:.2%} to {high:.2%})'
      for name, value in self.metrics.items()
      for low, high in (self.intervals[name],)
    ]
    if lines:
      lines.append(
        'in brackets: {level:.0%} intervals, {draws} bootstrap draws over '
        'videos, seed {seed}'.format(**self.bootstrap)
      )
    return [*lines, *self.notes]

  def _full(self, metric: str) -> str:
    return f'{self.name}/{metric}'

  def _views(self) -> str:
    if self.members:
      shares = ', '.join(f'{m["share"]:g}' for m in self.members)
      return (
        f'mean of the probabilities of {len(self.members)} models with '
        f'shares {shares}'
      )
    views = self.temporal * self.spatial
    how = (
      'highest logit' if self.average == 'max' else f'mean of {self.average}'
    )
    return f'{views} views ({how}, step {self.step}, {self.weights})'


def report(
  answers: Answers,
  *,
  scores: str,
  bootstrap: Bootstrap | None = None,
  **rest: Any,
) -> AccuracyReport:
  """Measures the answers.

  Args:
    answers: one row of scores a video.
    scores: the file that they come from.
    bootstrap: how intervals are drawn.
    rest: fields of the report, for an ensemble.
  """
  about, videos = answers.about, len(answers.videos)
  bootstrap = bootstrap or Bootstrap()
  found = measures.measures(answers) if about.labelled else ()
  values = measures.values(found, videos)
  return AccuracyReport(
    **{
      'name': about.name,
      'split': about.split,
      'temporal': about.temporal,
      'spatial': about.spatial,
      'average': about.average,
      'labelled': about.labelled,
      'headline': _headline(about, list(values)),
      'metrics': values,
      'intervals': bootstrap.intervals(found, videos),
      'bootstrap': bootstrap.as_json(),
      'videos': videos,
      'listed': about.listed,
      'expected': about.expected,
      'lost': about.lost,
      'damaged': about.damaged,
      'limit': about.limit,
      'notes': tuple(_notes(answers)),
      'classes_sha256': about.classes.sha256,
      'data_fingerprint': about.fingerprint,
      'step': about.step,
      'weights': about.weights,
      'scores': scores,
      'config': dict(about.config),
      **rest,
    }
  )


def _headline(about: About, metrics: list[str]) -> str:
  """The data set's own metric if it is there, else the first."""
  official = about.dataset and registry.find(about.dataset).metric
  return official if official in metrics else next(iter(metrics), '')


def _notes(answers: Answers) -> list[str]:
  """What is missing from what was measured, a line each."""
  about, videos = answers.about, len(answers.videos)
  notes = []
  if about.limit:
    notes.append(
      f'the records are the first {about.limit} of the list: this is not the '
      'accuracy of the split'
    )
  if about.expected and videos != about.expected:
    notes.append(
      f'{videos} of the {about.expected} clips of the official split were '
      f'evaluated ({share(videos, about.expected)})'
    )
  if about.lost:
    notes.append(f'{about.lost} videos were lost; see {about.split}.lost.txt')
  if about.damaged:
    notes.append(f'{about.damaged} records have frames that did not decode')
  if not about.labelled:
    return [*notes, 'the labels of this split are not published']
  for head, names in measures.missing_classes(answers).items():
    if names:
      notes.append(_missing(head, names, about))
  for name in measures.absent(answers):
    notes.append(f'no video of the subset {name} is here')
  if about.task.kind == 'multi':
    none = int((~answers.label_Rx.any(1)).sum())
    if none:
      notes.append(f'{none} videos have no class and count as wrong for all')
  return notes


def _missing(head: str, names: list[str], about: About) -> str:
  size = dict(about.task.heads).get(head) or len(about.classes)
  few = ', '.join(names[:5]) + (', ...' if len(names) > 5 else '')
  what = f'{head} classes' if head else 'classes'
  return f'{len(names)} of {size} {what} have no video: {few}'


def _said(name: str, value: float) -> str:
  for start, word in _WORDS.items():
    name = name.replace(start, word)
  return f'{name.replace("_", " ")} {value:.2%}'
