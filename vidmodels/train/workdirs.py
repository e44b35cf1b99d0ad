"""Whose folder a run writes to, and what a checkpoint says about itself."""

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
from vidmodels.train import optim
from vidmodels.train.build import TrainingRun
from vidmodels.train.checkpoint import Checkpoints
from vidmodels.train.token_label import Teacher
from vidmodels.typing import InputError

# Sections and fields that change speed, place or output, never the numbers.
FREE_FIELDS = (
  'log', 'checkpoint', 'mesh', 'views',
  'data.dir', 'data.threads', 'data.prefetch', 'data.test',
)  # fmt: skip


def checkpoint_metadata(
  run: TrainingRun, records: RecordSet, teacher: Teacher | None = None
) -> tuple[dict, dict]:
  """What travels with every checkpoint: (meta, position in the data)."""
  meta = {
    'config': cfg.as_dict(run.config),
    'classes': list(records.classes.names),
    'classes_sha256': records.classes.sha256,
    'task': records.manifest.task.to_json(),
    'clips': len(records),
    # What `predict` must do to a file before it is like the records.
    'fps': records.manifest.options.get('fps', 0.0),
    'versions': {
      'vidmodels': vidmodels.__version__,
      'jax': jax.__version__,
      'python': sys.version.split()[0],
    },
  }
  position = {
    'seed': run.config.seed,
    'batch': run.config.batch,
    'fingerprint': records.manifest.fingerprint,
    # Its workdir may hold other checkpoints by the time a run goes on.
    **({'teacher': dict(teacher.identity)} if teacher else {}),
  }
  return meta, position


def run_summary(run: TrainingRun, records: RecordSet) -> str:
  """What is about to be trained, on one line, for the log."""
  config, mesh = run.config, run.mesh.shape
  leaves = jax.tree.leaves(run.abstract.params)
  lost = len(records.manifest.lost)
  clips = len(records) * config.augment.repeats  # of an epoch
  text = (
    f'{sum(leaf.size for leaf in leaves) / 1e6:.2f} M parameters in '
    f'{config.dtype} ({run.report.bytes_per_device / 1e6:.1f} MB a device), '
    f'{len(records)} clips ({lost} lost in preparation), '
    f'batch {config.batch} in {config.accumulate} parts on mesh data '
    f'{mesh["data"]} x fsdp {mesh["fsdp"]} x tensor {mesh["tensor"]}, peak '
    f'learning rate {optim.peak_lr(config.optim, batch=config.batch):g}, '
    f'{run.total} steps = {run.total * config.batch / clips:.2f} epochs'
  )
  if run.report.dropped:
    text += f'; not split: {", ".join(run.report.dropped)}'
  return text


def write_parameter_table(workdir: pathlib.Path, run: TrainingRun) -> None:
  """Writes parameters.txt: every tensor's name, shape and size."""
  from clu import parameter_overview

  table = parameter_overview.get_parameter_overview(
    run.abstract.params, include_stats=False
  )
  write_atomically(workdir / 'parameters.txt', f'{table}\n'.encode())


def claim_workdir(
  workdir: pathlib.Path,
  saved: Checkpoints,
  *,
  meta: Mapping[str, Any],
  position: Mapping[str, Any],
) -> None:
  """Makes `workdir` this recipe's own, or refuses another recipe's.

  Raises:
    InputError: if the folder belongs to a run whose numbers would differ, or
      whose records were others.
  """
  ours = {'config': meta['config'], 'data': dict(position)}
  # The checkpoint itself says whose it is. Without one there is nothing to
  # protect: a first try that failed may be corrected in place.
  latest = saved.latest()
  if latest is not None:
    data = saved.read_json(latest, 'data')
    reached = data.pop('next_step')
    config = _filled(saved.read_json(latest, 'meta')['config'])
    changed = differences({'config': config, 'data': data}, ours)
    if changed:
      raise InputError(
        f'{workdir} belongs to another run: {"; ".join(changed[:5])}; give '
        'another --workdir, or the recipe it was started with'
      )
    if reached != latest:
      raise InputError(
        f'checkpoint {latest} of {workdir} is of step {reached}: it was '
        'renamed; give it its own number back'
      )
  # A hash, because processes must not start out with recipes of their own.
  text = f'{json.dumps(ours, indent=1)}\n'.encode()
  if jax.process_count() > 1:
    digest = np.frombuffer(hashlib.sha256(text).digest(), np.uint8)
    multihost_utils.assert_equal(digest, 'the processes got other recipes')
  if jax.process_index() == 0:
    write_atomically(workdir / 'config.json', text)


def _filled(config: Mapping[str, Any]) -> Mapping[str, Any]:
  """A saved recipe with the fields that have come since, at their defaults."""
  try:
    return cfg.as_dict(cfg.check(config))
  except InputError:  # a field is gone, or means something else now
    return config


def differences(theirs: Mapping, ours: Mapping) -> list[str]:
  """'field: theirs -> ours' for every field that changes the numbers."""
  old, new = cfg.flatten(theirs), cfg.flatten(ours)
  free = tuple(f'config.{name}' for name in FREE_FIELDS)
  # The position repeats batch and seed for whoever reads it alone.
  free += ('data.batch', 'data.seed')
  return [
    f'{name}: {old.get(name)} -> {new.get(name)}'
    for name in sorted(old.keys() | new.keys())
    if old.get(name) != new.get(name)
    and not any(name == f or name.startswith(f + '.') for f in free)
  ]
