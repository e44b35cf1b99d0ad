"""Scores a split with every view of every video and writes the result."""

import dataclasses
import io
import json
import pathlib

import numpy as np

from vidmodels import config as cfg
from vidmodels.data import clips, pipeline
from vidmodels.data.shards import RecordSet
from vidmodels.data.tfrecord import write_atomically
from vidmodels.evaluate import accuracy
from vidmodels.train import scores
from vidmodels.train.mesh import local_rows, whole_batch
from vidmodels.train.trained import Trained
from vidmodels.typing import InputError


def evaluate(
  trained: Trained,
  *,
  dir: str | pathlib.Path,
  split: str,
  views: cfg.Views,
  out: str | pathlib.Path | None = None,
  progress: scores.Progress | None = None,
) -> accuracy.Report:
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
    InputError: if the records' classes are not the checkpoint's, or a record
      is corrupt.
  """
  records = RecordSet.open(dir, split)
  different = trained.classes.first_difference(records.classes)
  if different:
    raise InputError(
      f'the checkpoint and {dir} disagree about classes ("here" is the '
      f'checkpoint): {different}; evaluate on records of its own classes'
    )
  _same_rate(trained, records)
  found = score(trained, records, views=views, progress=progress)
  scored = accuracy.by_video(
    found, videos=len(records), views=views.temporal * views.spatial
  )
  folder = pathlib.Path(out or trained.workdir / 'evaluation')
  # All that can change the numbers, so that no result replaces another.
  stem = (
    f'{split}_{views.temporal}x{views.spatial}_step{trained.step}_'
    f'{trained.weights}_{views.average}_{records.manifest.fingerprint[:8]}'
  )
  report = accuracy.Report(
    split=split,
    temporal=views.temporal,
    spatial=views.spatial,
    average=views.average,
    videos=len(records),
    listed=records.manifest.listed,
    **accuracy.accuracy(scored, views.average),
    classes_sha256=records.classes.sha256,
    data_fingerprint=records.manifest.fingerprint,
    step=trained.step,
    weights=trained.weights,
    scores=str(folder / f'{stem}.npz'),
    config=cfg.as_dict(dataclasses.replace(trained.config, views=views)),
  )
  _write(folder, stem, report, scored, records)
  return report


def score(
  trained: Trained,
  records: RecordSet,
  *,
  views: cfg.Views,
  progress: scores.Progress | None = None,
) -> scores.ViewScores:
  """Scores of all views, padded rows left out."""
  config = trained.config
  batch = whole_batch(views.batch, trained.mesh)
  views = dataclasses.replace(views, batch=batch)
  batches = pipeline.eval_batches(
    records,
    clip=config.clip,
    views=views,
    data=config.data,
    rows=local_rows(trained.mesh, batch),
  )
  return scores.collect(
    scores.make_score_step(trained.eval_step(), trained.mesh),
    trained.params,
    trained.model_state,
    batches,
    rows=batch,
    mesh=trained.mesh,
    total=batches.batches,
    progress=progress,
  )


def _same_rate(trained: Trained, records: RecordSet) -> None:
  """Refuses records of another rate where frames are what is counted."""
  fps = records.manifest.options.get('fps', 0.0)
  if fps != trained.fps and not clips.by_time(trained.config.clip):
    raise InputError(
      f'the records were prepared with --fps {fps:g}, those of the checkpoint '
      f'with {trained.fps:g} (0 keeps the rate), and the recipe counts frames; '
      'prepare them alike, or train with clip.unit=second'
    )


def _write(
  folder: pathlib.Path,
  stem: str,
  report: accuracy.Report,
  scored: accuracy.VideoScores,
  records: RecordSet,
) -> None:
  """Scores first, then the report that names them; each appears whole."""
  folder.mkdir(parents=True, exist_ok=True)
  buffer = io.BytesIO()
  videos = [records.video(i) for i in range(len(records))]
  np.savez_compressed(
    buffer,
    logits=scored.logits_RVK,
    label=scored.label_R,
    video=np.array(videos),
  )
  write_atomically(folder / f'{stem}.npz', buffer.getvalue())
  text = json.dumps(report.as_json(), indent=1) + '\n'
  write_atomically(folder / f'{stem}.json', text.encode())
