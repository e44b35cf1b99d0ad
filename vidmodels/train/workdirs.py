"""The folder of a run, and the metadata of its checkpoints."""

import contextlib
import dataclasses
import hashlib
import json
import pathlib
import sys
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

import vidmodels
from vidmodels import config as cfg
from vidmodels.data.records.record_set import RecordSet
from vidmodels.files import write_atomically
from vidmodels.train import goodput, optim, orbax_stores
from vidmodels.train.build import TrainingRun
from vidmodels.train.checkpoint import Checkpoints, DamagedCheckpoint
from vidmodels.train.state import by_block
from vidmodels.train.token_label import Teacher
from vidmodels.typing import InputError

# Sections and fields that affect speed, place or output, never the numbers: a
# run may change them when it resumes.
FREE_FIELDS = (
  'log', 'checkpoint', 'mesh', 'views', 'init_expects', 'init_files',
  'data.dir', 'data.threads', 'data.prefetch', 'data.test', 'model.remat',
  'model.scan',
  # What happens to steps that would have ended the run.
  'optim.non_finite', 'optim.max_skips',
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Lineage:
  """Where a run comes from; empty for one that starts at step 0."""

  # history: an entry a fork, the first one first: workdir, step, checksum,
  # changed, order
  history: tuple[Mapping[str, Any], ...] = ()
  clip_shift: int = 0  # as in `batch_stream.train_batches`


def has_checkpoint(workdir: pathlib.Path) -> bool:
  """Whether a run has saved something there."""
  # Not the folder of one that was killed while it saved.
  return any(
    path.name.isdecimal() and orbax_stores.is_complete(path)
    for path in workdir.glob('checkpoints/[0-9]*')
  )


def read_recipe(workdir: pathlib.Path) -> cfg.Config:
  """The recipe of the run in a workdir."""
  with contextlib.closing(Checkpoints(workdir)) as checkpoints:
    newest = checkpoints.pick(None)
    return cfg.check(checkpoints.read_json(newest, 'meta')['config'])


def summary(workdir: pathlib.Path) -> dict[str, Any]:
  """What a run has reached and where its time went, for JSON.

  `steps` are those of its checkpoints; `best` is None for a run that does not
  keep one; `goodput` has the seconds of each name, {} without a record.
  """
  sessions = goodput.read(workdir / goodput.FILE)
  found: dict[str, Any] = {
    'steps': [],
    'best': None,
    'metric': '',
    'family': '',
    'history': [],
    'starts': len(sessions),
    'goodput': goodput.summarise(sessions) if sessions else {},
  }
  if not has_checkpoint(workdir):
    return found
  with contextlib.closing(Checkpoints(workdir)) as checkpoints:
    meta = checkpoints.read_json(checkpoints.pick(None), 'meta')
    config = cfg.check(meta['config'])
    found['steps'] = checkpoints.steps()
    found['metric'] = config.checkpoint.metric
    if found['metric']:
      with contextlib.suppress(InputError):  # nothing was validated yet
        found['best'] = checkpoints.pick('best')
  return found | {
    'family': config.family,
    'history': [dict(entry) for entry in meta['history']],
  }


def read_lineage(checkpoints: Checkpoints) -> Lineage:
  """The lineage of the run whose checkpoints these are."""
  for step in reversed(checkpoints.steps()):
    with contextlib.suppress(DamagedCheckpoint):
      return Lineage(
        history=checkpoints.read_json(step, 'meta')['history'],
        clip_shift=checkpoints.read_json(step, 'data')['clip_shift'],
      )
  return Lineage()


def checkpoint_metadata(
  run: TrainingRun,
  records: RecordSet,
  teacher: Teacher | None = None,
  lineage: Lineage | None = None,
) -> tuple[dict, dict]:
  """Returns what every checkpoint contains: (meta, position in the data)."""
  lineage = lineage or Lineage()
  meta = {
    'config': cfg.as_dict(run.config),
    'classes': list(records.classes.names),
    'classes_sha256': records.classes.sha256,
    'task': records.manifest.task.to_json(),
    'clips': len(records),
    # `predict` must resample a file to this rate.
    'fps': records.manifest.options.get('fps', 0.0),
    'versions': {
      'vidmodels': vidmodels.__version__,
      'jax': jax.__version__,
      'python': sys.version.split()[0],
    },
    'history': [dict(entry) for entry in lineage.history],
  }
  position = {
    'seed': run.config.seed,
    'batch': run.config.batch,
    'fingerprint': records.fingerprint,
    'clip_shift': lineage.clip_shift,
    # The teacher's workdir may have other checkpoints when a run resumes.
    **({'teacher': dict(teacher.identity)} if teacher else {}),
  }
  return meta, position


def run_summary(run: TrainingRun, records: RecordSet) -> str:
  """Describes the run on one line, for the log."""
  config, mesh = run.config, run.mesh.shape
  parameters = sum(leaf.size for leaf in jax.tree.leaves(run.abstract.params))
  clips = len(records) * config.augment.repeats  # of an epoch
  axes = ' x '.join(f'{axis} {size}' for axis, size in mesh.items())
  text = (
    f'{parameters / 1e6:.2f} M parameters in '
    f'{config.dtype} ({run.report.bytes_per_device / 1e6:.1f} MB a device), '
    f'{_count_clips(config, records)}, '
    f'batch {config.batch} in {config.accumulate} parts on mesh {axes}, peak '
    f'learning rate {optim.peak_lr(config.optim, batch=config.batch):g}, '
    f'{run.total} steps = {run.total * config.batch / clips:.2f} epochs'
  )
  if run.report.dropped:
    text += f'; not split: {", ".join(run.report.dropped)}'
  return text


def _count_clips(config: cfg.Config, records: RecordSet) -> str:
  lost, n = len(records.manifest.lost), len(records)
  text = f'{n} clips ({lost} lost in preparation)'
  if config.data.share < 1:
    text = (
      f'{n} of {records.manifest.count} clips (data.share='
      f'{config.data.share:g} of every class, seed {config.data.share_seed}; '
      f'{lost} lost in preparation)'
    )
  return text + (', every class equally often' if config.data.balance else '')


def write_parameter_table(workdir: pathlib.Path, run: TrainingRun) -> None:
  """Writes parameters.txt: the name, shape and size of every tensor."""
  from clu import parameter_overview

  table = parameter_overview.get_parameter_overview(
    by_block(run.abstract.params), include_stats=False
  )
  write_atomically(workdir / 'parameters.txt', f'{table}\n'.encode())


def claim_workdir(
  workdir: pathlib.Path,
  checkpoints: Checkpoints,
  *,
  meta: Mapping[str, Any],
  position: Mapping[str, Any],
) -> None:
  """Claims `workdir` for this recipe; refuses the workdir of another run.

  That is one with checkpoints of other records, or of a recipe whose numbers
  would differ.
  """
  check_same_run(workdir, checkpoints, meta=meta, position=position)
  ours = {'config': meta['config'], 'data': dict(position)}
  # All processes must start with the same recipe; hashes are easy to compare.
  history = {'history': meta['history']} if meta['history'] else {}
  text = f'{json.dumps({**ours, **history}, indent=1)}\n'.encode()
  if jax.process_count() > 1:
    digest = np.frombuffer(hashlib.sha256(text).digest(), np.uint8)
    multihost_utils.assert_equal(digest, 'the processes got different recipes')
  if jax.process_index() == 0:
    write_atomically(workdir / 'config.json', text)


def check_same_run(
  workdir: pathlib.Path,
  checkpoints: Checkpoints,
  *,
  meta: Mapping[str, Any],
  position: Mapping[str, Any],
) -> None:
  """Refuses checkpoints of another run, as `claim_workdir`."""
  ours = {'config': meta['config'], 'data': dict(position)}
  # The checkpoint says which recipe it belongs to. Without one there is nothing
  # to protect: a first try that failed may be corrected in place.
  latest = checkpoints.latest()
  if latest is not None:
    if not checkpoints.has(latest, 'data') and (
      'source' in checkpoints.read_json(latest, 'meta')
    ):
      raise InputError(
        f'got {workdir}, which `vidmodels weights import` made: it holds '
        'weights and no run; expected a new folder, or that of a run; try '
        'another --workdir, with --config.init_from and the file of the weights'
      )
    data = checkpoints.read_json(latest, 'data')
    reached = data.pop('next_step')
    data.pop('log')
    meta_on_disk = checkpoints.read_json(latest, 'meta')
    config = meta_on_disk['config']
    # Fields that are newer than the checkpoint get their defaults, unless one
    # of the old fields was removed or has another meaning now.
    with contextlib.suppress(InputError):
      config = cfg.as_dict(cfg.check(config))
    changed = differences({'config': config, 'data': data}, ours)
    if changed:
      raise InputError(
        f'{workdir} belongs to another run: {"; ".join(changed[:5])}; try '
        'another --workdir, or the recipe that it was started with'
      )
    if reached != latest:
      raise InputError(
        f'checkpoint {latest} of {workdir} is of step {reached}: it was '
        f'renamed; expected {reached} as its name; rename it back'
      )


def differences(theirs: Mapping, ours: Mapping) -> list[str]:
  """Lists 'field: theirs -> ours' for every field that affects the numbers."""
  old, new = cfg.flatten(theirs), cfg.flatten(ours)
  free = tuple(f'config.{name}' for name in FREE_FIELDS)
  # The position repeats batch and seed, for readers of that item alone.
  free += ('data.batch', 'data.seed')
  return [
    f'{name}: {old.get(name)} -> {new.get(name)}'
    for name in sorted(old.keys() | new.keys())
    if old.get(name) != new.get(name)
    and not any(name == f or name.startswith(f + '.') for f in free)
  ]
