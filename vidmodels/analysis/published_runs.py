"""A recipe beside what its paper and its release describe.

  page = published_runs.compare(config, 'ssv2')
  page.own     # runs of this very setting, whose figures are the recipe's aim
  page.others  # the nearest others, with what differs: no figures of these

A figure belongs to its own frames, stride, size, views, start weights, data set
and model. A recipe that differs in one of them is another experiment.
"""

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from vidmodels import config as cfg
from vidmodels import models
from vidmodels.analysis import published
from vidmodels.analysis.published import PublishedRun

# Fields of models that decide how they train or how fast, and not what they
# answer once they are trained.
TRAINING = (
  *('drop_path', 'dropout', 'head_dropout', 'fresh', 'token_head'),
  *('remat', 'scan', 'depthwise', 'drop_unit', 'time_start'),
)
DATA_SET = 'data set'
# Difference of a field: (there, here).
Differences = dict[str, tuple[Any, Any]]


@dataclasses.dataclass(frozen=True)
class ComparedRun:
  """A published run and a recipe."""

  run: PublishedRun
  setting: Differences  # empty: the figures are of the recipe's setting
  training: Differences

  @property
  def figures(self) -> Mapping[str, float]:
    """The figures, if they belong to the recipe's setting."""
    return {} if self.setting else self.run.figures


@dataclasses.dataclass(frozen=True)
class RecipePage:
  """The runs that are published of a recipe's model on its data set."""

  own: tuple[ComparedRun, ...]
  others: tuple[ComparedRun, ...]


def compare(config: cfg.Config, dataset: str) -> RecipePage:
  """Finds the published runs of the recipe's model.

  Those on a data set of another name are left out, but not those that differ
  only in how it was cut: 'activitynet' and 'activitynet_untrimmed'.
  """
  found = []
  for run in all_runs():
    if run.family != config.family or not _same_videos(run.dataset, dataset):
      continue
    if any(_model_differences(run, config)):
      continue
    setting = dict(_differences(run.setting, config))
    if run.dataset != dataset:
      setting = {DATA_SET: (run.dataset, dataset), **setting}
    training = dict(_differences(run.trained, config))
    found.append(ComparedRun(run, setting, training))
  own = [each for each in found if not each.setting]
  return RecipePage(
    own=tuple(each for each in own if not _is_repeated(each, own)),
    others=tuple(_nearest_others(found)),
  )


def _is_repeated(each: ComparedRun, own: Sequence[ComparedRun]) -> bool:
  """Whether another table of the same origin prints the same and more."""
  return any(
    other.run.origin == each.run.origin
    and each.run.figures.items() < other.run.figures.items()
    for other in own
  )


def _nearest_others(found: Sequence[ComparedRun]) -> Iterator[ComparedRun]:
  """Of an origin without a figure of the setting, those that differ least."""
  for origin in ('paper', 'release'):
    runs = [each for each in found if each.run.origin == origin]
    fewest = min((len(each.setting) for each in runs), default=0)
    if any(each.figures for each in runs):
      continue
    yield from (
      each for each in runs if each.setting and len(each.setting) == fewest
    )


@functools.cache
def all_runs() -> tuple[PublishedRun, ...]:
  """Every run of every paper and release."""
  names = published.result_files()
  return tuple(run for name in names for run in published.runs(name))


def _same_videos(theirs: str, ours: str) -> bool:
  return theirs.partition('_')[0] == ours.partition('_')[0]


def _model_differences(run: PublishedRun, config: cfg.Config) -> Iterator[str]:
  """Fields in which the models answer differently."""
  wanted = {**models.fields(run.family), **run.model}
  for name, value in wanted.items():
    if name in TRAINING or name in run.unsaid:
      continue
    if _plain(config.model[name]) != _plain(value):
      yield name


def _differences(
  said: Mapping[str, Any], config: cfg.Config
) -> Iterator[tuple[str, tuple[Any, Any]]]:
  ours = cfg.flatten(cfg.as_dict(config))
  for name, there in said.items():
    here = ours[name]
    if name == 'init_expects' and config.init_from:
      here = here or config.init_from
    if _plain(there) != _plain(here):
      yield name, (there, here)


def _plain(value: Any) -> Any:
  """Lists and tuples alike; 3 and 3.0 are equal in Python."""
  if isinstance(value, (list, tuple)):
    return tuple(map(_plain, value))
  return value


def lines(page: RecipePage) -> list[str]:
  """The page for people."""
  text = []
  for each in page.own:
    figures = ', '.join(
      f'{name} {value:g}' for name, value in each.run.figures.items()
    )
    text.append(f'{_name(each.run)}: {figures or "no figure"}{_trained(each)}')
  for each in page.others:
    text.append(
      f'{_name(each.run)}: another setting: {_words(each.setting)}; its '
      f"figures are not this recipe's{_trained(each)}"
    )
  return text or ['nothing is published of this model on this data set']


def _name(run: PublishedRun) -> str:
  return f'{run.origin}, {run.source}'


def _trained(each: ComparedRun) -> str:
  if not each.training:
    return ''
  return f'; trained there with {_words(each.training)}'


def _words(differences: Differences) -> str:
  return ', '.join(
    f'{name}={there} (here {here})'
    for name, (there, here) in differences.items()
  )
