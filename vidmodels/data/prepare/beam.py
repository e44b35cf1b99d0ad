"""Writes shards with Apache Beam, on any of its runners.

  prepare_records.prepare(source, out, engine=beam.make_engine())

Each element is a job that a local worker would get, run by the same function,
so the bytes are the same. Workers read the videos and write the shards at the
paths of this machine: on other machines, `--out` and the videos must lie on a
file system that all of them mount there.
"""

from collections.abc import Callable, Sequence

from vidmodels.data.prepare import shard_job
from vidmodels.data.prepare.shard_job import ShardJob
from vidmodels.typing import InputError


def make_engine(
  options: Sequence[str] = (), *, runner: str | None = None
) -> Callable[[Sequence[ShardJob]], None]:
  """Makes an engine for `prepare`.

  `options` are Beam's, `--name=value` each; Beam itself warns of those that its
  runner does not know. `runner` (DirectRunner, FlinkRunner, ...) is short for
  `--runner` among them.
  """
  try:
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions
  except ImportError as e:
    raise InputError(
      f'got --engine=beam, but Apache Beam does not import here ({e}); '
      'expected it installed; try pip install "vidmodels[beam]" or apache-beam'
    ) from e
  malformed = [option for option in options if not option.startswith('--')]
  if malformed:
    raise InputError(
      f'got the Beam options {malformed}; expected --name=value each; try '
      '--beam-options="--direct_num_workers=2"'
    )
  flags = [*options, *([f'--runner={runner}'] if runner else [])]
  pipeline_options = PipelineOptions(flags)
  try:
    beam.Pipeline(options=pipeline_options)
  except (ValueError, ImportError, AttributeError) as e:
    raise InputError(
      f'got {flags}, with which Beam cannot run ({e}); expected a runner that '
      'is installed; try --beam-runner=DirectRunner'
    ) from e

  def write_shards(jobs: Sequence[ShardJob]) -> None:
    if not jobs:
      return
    with beam.Pipeline(options=pipeline_options) as pipeline:
      _ = (
        pipeline
        | 'shards' >> beam.Create(jobs)
        # Otherwise one worker might get everything that was created together.
        | 'spread' >> beam.Reshuffle()
        | 'write' >> beam.Map(shard_job.write_shard)
      )

  return write_shards
