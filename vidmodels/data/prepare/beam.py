"""Shards written by Apache Beam, on whatever runner it is told to use.

Each element is a job that a local worker would have, run by the same function,
so the bytes are the same. The workers read the videos and write the shards at
the paths that this machine knows: on other machines, `--out` and the videos
must lie on a file system that all of them mount there.
"""

import dataclasses
from collections.abc import Callable, Sequence

from vidmodels.data.prepare import shard_job
from vidmodels.data.prepare.shard_job import Job
from vidmodels.data.prepare.shard_parts import FilePart
from vidmodels.typing import InputError


def engine(
  options: Sequence[str] = (), *, runner: str | None = None
) -> Callable[[Sequence[Job]], None]:
  """An engine for `prepare`.

  Args:
    options: Beam's pipeline options, `--name=value` each. Beam itself warns of
      those that its runner does not know.
    runner: DirectRunner, FlinkRunner, ...; as `--runner` in the options.

  Raises:
    InputError: if Beam is not installed, or has no such runner.
  """
  try:
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions
  except ImportError as e:
    raise InputError(
      f'--engine=beam needs Apache Beam, which does not import here ({e}); '
      'wanted: pip install "vidmodels[beam]", or pip install apache-beam'
    ) from e
  _check_options(options)
  flags = [*options, *([f'--runner={runner}'] if runner else [])]
  pipeline_options = PipelineOptions(flags)
  try:
    beam.Pipeline(options=pipeline_options)
  except (ValueError, ImportError, AttributeError) as e:
    raise InputError(
      f'Beam cannot run with {flags} ({e}); wanted a runner that is installed, '
      'as --beam-runner=DirectRunner'
    ) from e

  def write(jobs: Sequence[Job]) -> None:
    if not jobs:
      return
    with beam.Pipeline(options=pipeline_options) as pipeline:
      _ = (
        pipeline
        | 'shards' >> beam.Create([absolute(job) for job in jobs])
        # Else one worker might get all that was created together.
        | 'spread' >> beam.Reshuffle()
        | 'write' >> beam.Map(shard_job.write)
      )

  return write


def _check_options(options: Sequence[str]) -> None:
  wrong = [option for option in options if not option.startswith('--')]
  if wrong:
    raise InputError(
      f'Beam options {wrong} came; wanted --name=value each, as in '
      '--beam-options="--direct_num_workers=2"'
    )


def absolute(job: Job) -> Job:
  """The job with paths that do not depend on where a worker was started."""
  part = job.part
  if isinstance(part, FilePart):
    groups = tuple(
      tuple(
        (i, dataclasses.replace(row, path=row.path.absolute()))
        for i, row in group
      )
      for group in part.groups
    )
    part = dataclasses.replace(part, groups=groups)
  return dataclasses.replace(
    job,
    shard=job.shard.absolute(),
    note=job.note.absolute(),
    marker=job.marker.absolute(),
    part=part,
  )
