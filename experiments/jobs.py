"""One run of a row: what it trains on, starts from and writes.

  job = Job(table, row, scale='tiny', seed=0, workdir=pathlib.Path('runs'))
  result = job.run()  # trains, evaluates, writes result.json; or reads it

A job's folder is WORKDIR/SCALE/TABLE/ROW, at tiny scale with the made-up set
and the seed behind it. `result.json` appears when everything is done, so a
folder with one is finished. A folder whose run has another recipe is refused.
"""

import dataclasses
import hashlib
import json
import os
import pathlib
import platform
import re
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import jax

import vidmodels
from vidmodels import config as cfg
from vidmodels import files
from vidmodels.analysis import model_cost, paper_rows
from vidmodels.analysis.paper_rows import PaperTable, Row
from vidmodels.cli import recipe
from vidmodels.train import build
from vidmodels.typing import InputError

from . import tiny

Scale = Literal['full', 'tiny']
Progress = Callable[[int, int, str], None]
RESULT = 'result.json'


class PreemptedError(Exception):
  """The run was told to end, and saved; the same command goes on."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
  """A row at a scale, with a seed; at tiny scale also a made-up set."""

  table: PaperTable
  row: Row
  scale: Scale
  workdir: pathlib.Path  # of all jobs
  seed: int = 0
  set: str = ''  # the made-up set; '' at full scale
  records: str = 'records'  # full scale: the folder of all record sets
  starts: Mapping[str, str] = dataclasses.field(default_factory=dict)
  steps: int = tiny.STEPS  # tiny scale

  @property
  def name(self) -> str:
    """What people read: 'timesformer/table1: Joint, K400 (motion, seed 0)'."""
    where = f'{self.set}, ' if self.set else ''
    return f'{self.table.name}: {self.row.name} ({where}seed {self.seed})'

  @property
  def folder(self) -> pathlib.Path:
    """The job's own folder."""
    parts = [f'{self.set}-seed{self.seed}' if self.set else f'seed{self.seed}']
    own = self.workdir / self.scale / self.table.name / slug(self.row.name)
    return own.joinpath(*parts)

  def other(self, reference: str) -> 'Job':
    """The job of another row, at the same scale and with the same seed."""
    table, row = paper_rows.find_row(reference, self.table)
    return dataclasses.replace(self, table=table, row=row)

  def needs(self) -> Iterator['Job']:
    """The jobs that have to be done before: starts, teachers, members."""
    row = self.row
    if ':' in row.start:
      yield self.parent()
    for reference in filter(None, (row.trained_as, row.teacher, *row.parts)):
      yield self.other(reference)

  def parent(self) -> 'Job':
    """The job whose run this one starts from; at tiny scale on its own set."""
    other = self.other(self.row.start)
    if self.scale == 'full':
      return other
    return dataclasses.replace(other, set=other.row.tiny_set)

  def trained_folder(self) -> pathlib.Path:
    """The workdir of the training whose weights the row evaluates."""
    if self.row.trained_as:
      return self.other(self.row.trained_as).trained_folder()
    return self.folder / 'run'

  def config(self) -> cfg.Config:
    """The whole recipe of the run, checked."""
    row = self.row
    config = dataclasses.replace(recipe.of_row(row), seed=self.seed)
    if self.scale == 'tiny':
      config = tiny.shrink(
        config,
        kept=tiny.chosen(row),
        steps=self.steps,
        random=':' not in row.start,
      )
      folder = str(self.workdir / 'data' / self.set / 'records')
    else:
      folder = f'{self.records}/{recipe.dataset(row.recipe)}'
    data = dataclasses.replace(config.data, dir=folder)
    config = dataclasses.replace(config, data=data, seed=self.seed)
    start, head = self._start(config)
    config = dataclasses.replace(config, init_from=start, init_head=head)
    if row.teacher:
      teacher = str(self.other(row.teacher).trained_folder())
      loss = dataclasses.replace(config.loss, teacher=teacher)
      config = dataclasses.replace(config, loss=loss)
    return cfg.check(cfg.as_dict(config))

  def _start(self, config: cfg.Config) -> tuple[str, Literal['auto', 'new']]:
    """The file or run that the row starts from, and whether its head counts.

    ('', 'auto') for random weights.
    """
    if ':' in self.row.start:
      parent = self.parent()
      if self.scale == 'tiny':
        same = parent.set == self.set
      else:
        datasets = (recipe.dataset(j.row.recipe) for j in (self, parent))
        same = len(set(datasets)) == 1
      # The head of other classes is none of these, whatever their number.
      return str(parent.trained_folder()), 'auto' if same else 'new'
    if self.scale == 'tiny' or not config.init_expects:
      return '', 'auto'
    if config.init_expects not in self.starts:
      raise InputError(
        f'got no weights for {self.row.name!r}, which starts from '
        f'{config.init_expects}; expected a file ({config.init_files}); try '
        f'--start {config.init_expects}=FILE'
      )
    return self.starts[config.init_expects], 'auto'

  def result(self) -> dict[str, Any] | None:
    """What the finished job wrote; None if it is not finished."""
    path = self.folder / RESULT
    if not path.exists():
      return None
    result = json.loads(path.read_text())
    if result['recipe_sha256'] != self.fingerprint():
      raise InputError(
        f'got {path}, which is of another recipe than {self.name} has now; '
        'expected the same; try another --workdir, or delete the folder'
      )
    return result

  def fingerprint(self) -> str:
    """A hash of the recipe, or of those of an ensemble's members."""
    if self.row.parts:
      texts = [self.other(part).fingerprint() for part in self.row.parts]
    else:
      texts = [json.dumps(cfg.as_dict(self.config()), sort_keys=True)]
    # Folders may move; what is in the records has a fingerprint of its own.
    text = '\n'.join(texts).replace(str(self.workdir), '')
    return hashlib.sha256(text.encode()).hexdigest()

  def run(self, progress: Progress) -> dict[str, Any]:
    """Does what is not done yet, and returns the result.

    What the row needs is done first. Raises PreemptedError if the run was told
    to end.
    """
    if (done := self.result()) is not None:
      return done
    for other in self.needs():
      other.run(progress)
    start = time.monotonic()
    progress(0, 0, f'{self.name} begins')
    if self.row.parts:
      report = self._average()
    else:
      report = self._train_and_evaluate(progress)
    config = None if self.row.parts else cfg.as_dict(self.config())
    result = {
      'table': self.table.name,
      'row': self.row.name,
      'scale': self.scale,
      'set': self.set,
      'seed': self.seed,
      'metrics': {k: 100 * v for k, v in report.metrics.items()},
      'printed': dict(self.row.figures),
      'videos': report.videos,
      'listed': report.info.listed,
      'records_fingerprint': report.info.fingerprint,
      'classes_sha256': report.info.classes.sha256,
      'recipe_sha256': self.fingerprint(),
      'config': config,
      'macs': None if self.row.parts else self.macs(),
      'seconds': round(time.monotonic() - start, 1),
      'cpus': cpu_count(),
      'finished': time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime()),
      'versions': versions(),
    }
    text = json.dumps(result, indent=1, sort_keys=True) + '\n'
    self.folder.mkdir(parents=True, exist_ok=True)
    files.write_atomically(self.folder / RESULT, text.encode())
    return result

  def macs(self) -> int:
    """Multiply-adds of the model on one view."""
    config = self.config()
    classes = recipe.classes_of(self.row) if self.scale == 'full' else 8
    model = build.make_model(config, classes=classes)
    T, size = config.clip.frames, config.views.size or config.clip.size
    return model_cost.count_model(model, (T, size, size)).total_macs()

  def _train_and_evaluate(self, progress: Progress):
    from vidmodels.evaluate import score_split
    from vidmodels.train import loop, restore

    config = self.config()
    trained = self.trained_folder()
    if (
      not self.row.trained_as
      and loop.train(config, trained, progress=progress).preempted
    ):
      raise PreemptedError(self.name)
    model = restore.load(trained)
    if self.row.trained_as:
      # The clips and views are this row's, the weights another's.
      model = dataclasses.replace(
        model, config=dataclasses.replace(model.config, clip=config.clip)
      )
    return score_split.evaluate(
      model,
      dir=config.data.dir,
      split=config.data.test,
      views=config.views,
      out=self.folder / 'evaluation',
      progress=progress,
    )

  def _average(self):
    """Evaluates the mean of the members' probabilities."""
    from vidmodels.evaluate import accuracy_report
    from vidmodels.evaluate.score_file import SplitScores

    members = []
    for part in self.row.parts:
      folder = self.other(part).folder / 'evaluation'
      members += [SplitScores.load(path) for path in folder.glob('*.npz')]
    evaluation = accuracy_report.evaluate_scores(members)
    evaluation.write(self.folder / 'evaluation')
    return evaluation.report


def slug(name: str) -> str:
  """A row's name as a folder's: letters, digits, dots and hyphens."""
  text = re.sub(r'[^A-Za-z0-9.]+', '-', name).strip('-.')
  # Names that differ in other signs alone ('+', '%') stay different.
  plain = re.sub(r'[ ,:()/-]+', '-', name).strip('-.')
  if text == plain:
    return text
  return f'{text}-{hashlib.sha256(name.encode()).hexdigest()[:6]}'


def cpu_count() -> int:
  """CPUs that this process may use."""
  if hasattr(os, 'sched_getaffinity'):
    return len(os.sched_getaffinity(0))
  return os.cpu_count() or 1


def versions() -> dict[str, str]:
  """Of what computes."""
  return {
    'vidmodels': vidmodels.__version__,
    'jax': jax.__version__,
    'python': platform.python_version(),
    'device': jax.devices()[0].device_kind,
  }


def make_records(
  workdir: pathlib.Path, name: str, progress: Progress
) -> pathlib.Path:
  """Makes a made-up set and its records, or leaves a finished one alone."""
  from vidmodels.data.prepare import prepare_records
  from vidmodels.data.synthetic import video_sets

  folder = workdir / 'data' / name
  videos, records = folder / 'videos', folder / 'records'
  done = folder / 'done.json'
  options = json.dumps(tiny.CLIPS, sort_keys=True)
  if done.exists() and done.read_text() == options:
    return records
  progress(0, 0, f'making the set {name}')
  video_sets.make_videos(videos, name, splits=tiny.CLIPS)
  for split in tiny.CLIPS:
    prepare_records.prepare(
      videos / split, records, split=split, flip=video_sets.SETS[name].flip
    )
  files.write_atomically(done, options.encode())
  return records
