"""A recipe beside the rows of its paper's and its release's tables.

  runs = [published_runs.of_row(table, row, its_config, 'ssv2'), ...]
  page = published_runs.compare(config, 'ssv2', runs)
  page.own     # runs of this very setting, whose figures are the recipe's aim
  page.others  # the nearest others, with what differs: no figures of these

A figure belongs to its own frames, stride, size, views, start weights, data set
and model. A recipe that differs in one of them is another experiment.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

from vidmodels import config as cfg
from vidmodels.analysis.paper_rows import PaperTable, Row

# Fields of models that decide how they train or how fast, and not what they
# answer once they are trained.
TRAINING = (
  *('drop_path', 'dropout', 'head_dropout', 'fresh', 'token_head'),
  *('remat', 'scan', 'depthwise', 'drop_unit', 'time_start'),
)
DATA_SET = 'data set'
# What decides to which recipes a figure belongs, besides data set and model.
SETTING = (
  *('clip.frames', 'clip.stride', 'clip.size'),
  *('views.temporal', 'views.spatial', 'views.size', 'data.share'),
  'init_expects',
)
# How a run was trained: a figure also belongs to a recipe that differs here,
# and its page says in what.
TRAINED = (
  *('batch', 'optim.name', 'optim.lr', 'optim.epochs', 'optim.warmup'),
  *('optim.milestones', 'optim.weight_decay', 'optim.momentum'),
  *('model.drop_path', 'model.token_head', 'augment.flip'),
  *('augment.short_side', 'loss.label_smoothing', 'mix.mixup', 'mix.cutmix'),
  'dtype',
)
NO_FIELD = 'as no field can say'
# Difference of a field: (there, here).
Differences = dict[str, tuple[Any, Any]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class PublishedRun:
  """A run that a paper or its released code describes.

  It has only what is said there: what is not said is not compared. Fields of a
  recipe have their flat names, such as 'clip.frames'.
  """

  origin: Literal['paper', 'release']
  source: str  # the table, or the file of the release
  dataset: str  # as `vidmodels prepare` calls it
  family: str
  # model: fields of the family's module, all of them
  model: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  unsaid: tuple[str, ...] = ()  # flat fields that are not described
  setting: Mapping[str, Any]  # the fields SETTING that are said
  trained: Mapping[str, Any]  # the fields TRAINED that are said
  # figures: metric -> percent; empty if the run is only described
  figures: Mapping[str, float] = dataclasses.field(default_factory=dict)


def of_row(
  table: PaperTable, row: Row, config: cfg.Config, dataset: str
) -> PublishedRun:
  """The run of a row, whose whole recipe is `config`."""
  flat = cfg.flatten(cfg.as_dict(config))
  said = {k: v for k, v in flat.items() if k not in row.unsaid}
  said |= dict.fromkeys(row.approximate, NO_FIELD)
  pick = lambda names: {k: said[k] for k in names if k in said}
  return PublishedRun(
    origin=table.origin,
    source=table.source,
    dataset=dataset,
    family=config.family,
    model=config.model,
    unsaid=row.unsaid,
    setting=pick(SETTING),
    trained=pick(TRAINED),
    figures=row.figures,
  )


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


def compare(
  config: cfg.Config, dataset: str, runs: Iterable[PublishedRun]
) -> RecipePage:
  """Finds those of the published `runs` that are of the recipe's model.

  Those on a data set of another name are left out, but not those that differ
  only in how it was cut: 'activitynet' and 'activitynet_untrimmed'.
  """
  found = []
  for run in runs:
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


def _same_videos(theirs: str, ours: str) -> bool:
  return theirs.partition('_')[0] == ours.partition('_')[0]


def _model_differences(run: PublishedRun, config: cfg.Config) -> Iterator[str]:
  """Fields in which the models answer differently."""
  for name, value in run.model.items():
    if name in TRAINING or f'model.{name}' in run.unsaid:
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
