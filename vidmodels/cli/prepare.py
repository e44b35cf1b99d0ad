"""Turns videos into records: sharded TFRecords in DMVR's layout.

  vidmodels prepare videos/train --out records --split train
  vidmodels prepare val.csv --root videos --classes names.txt --out records \\
    --split test
  vidmodels prepare k400 --annotations validate.csv --videos videos/val \\
    --split val --out records
  vidmodels prepare tfds:ucf101 --split train --out records

SOURCE is a folder with a folder per class; a list (`path label` on each line,
with a space, comma or tab between, a csv with a header, or JSON lines; labels
are names or numbers); the name of a data set with its official files; or a set
that TFDS has prepared. A clip without a single frame is counted, listed in
<split>.lost.txt and never replaced; <split>.report.json says how much of the
split is there. A run that was killed continues where it stopped.
"""

import argparse
import json
import shlex
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
  from vidmodels.data.prepare.prepare_records import Engine

HELP = 'videos to records'
# Flags that are arguments of `prepare_records.prepare` of the same name.
_OPTIONS = (
  *('flip', 'short_side', 'quality', 'fps', 'shards', 'workers', 'max_lost'),
  *('overwrite', 'resume'),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds this command's flags."""
  add = parser.add_argument
  add_source_arguments(parser)
  add(
    '--out',
    type='place',
    help='folder for the records; only --dry-run does without',
  )
  add(
    '--flip',
    help='what a mirror does to labels: free, forbid, swap:left=right,a=b, or '
    "swap for the data set's own pairs (default: what the data set says, else "
    'forbid)',
  )
  add('--short-side', type=int, default=0, help='shrink to; default keep')
  add('--quality', type=int, default=95, help='of the JPEGs (default 95)')
  add('--fps', type=float, default=0.0, help='resample to; default keep')
  add('--shards', type=int, default=0, help='default one per 64 clips')
  add(
    '--max-lost',
    type=float,
    default=1.0,
    help='largest share of clips that may be lost, 0 to 1 (default 1)',
  )
  add('--overwrite', action='store_true', help='start the split anew')
  add(
    '--resume',
    action=argparse.BooleanOptionalAction,
    default=True,
    help='continue a split that is part-written (default), or refuse it',
  )
  add(
    '--dry-run',
    action='store_true',
    help='only say what there is, and what disk and time it will take',
  )
  add('--engine', choices=('local', 'beam'), default='local')
  add('--beam-runner', metavar='NAME', help='DirectRunner, FlinkRunner, ...')
  add('--beam-options', metavar='TEXT', help='"--name=value ..." for Beam')


def add_source_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds the flags for the clips and for the meaning of their labels."""
  add = parser.add_argument
  add(
    'source',
    type='path',
    metavar='SOURCE',
    help='folder, list, data set or tfds:NAME',
  )
  add('--split', default='train', help='name of the split (default train)')
  add(
    '--annotations',
    type='path',
    metavar='PATH',
    help="a data set's official files",
  )
  add('--videos', type='path', metavar='DIR', help='the folder with its videos')
  add(
    '--classes',
    type='place',
    help='file with one class name a line, in label order',
  )
  add('--root', type='path', help='what the paths of a list start from')
  add(
    '--labels',
    choices=('single', 'multi', 'any'),
    help='of a list: one class a video (default), any number, or several of '
    'which each is right',
  )
  add('--limit', type=int, default=0, help='only the first so many clips')
  add('--workers', type=int, default=0, help='processes; default one a CPU')


def source_options(args: argparse.Namespace) -> dict[str, Any]:
  """The source's flags, as keyword arguments of `prepare` and `check`."""
  from vidmodels.data.records.class_list import ClassList

  names = ('split', 'annotations', 'videos', 'root', 'labels', 'limit')
  classes = ClassList.load(args.classes) if args.classes else None
  return {name: getattr(args, name) for name in names} | {'classes': classes}


def run(args: argparse.Namespace) -> int:
  """Prepares and prints what was written and what was lost."""
  from vidmodels.cli import DONE, terminal
  from vidmodels.data.prepare import prepare_records
  from vidmodels.data.prepare.split_report import (
    SplitReport,
    count_noun,
    report_path,
  )
  from vidmodels.typing import InputError

  if args.dry_run:
    return _dry_run(args)
  if args.out is None:
    raise InputError(
      'got no --out; expected a folder for the records; try --out DIR'
    )
  engine = _make_engine(args)
  with terminal.Reporter('prepare', only='lost ') as report:
    manifest = prepare_records.prepare(
      args.source,
      args.out,
      **source_options(args),
      **{name: getattr(args, name) for name in _OPTIONS},
      engine=engine,
      progress=report,
    )
  if args.json:
    print(json.dumps(manifest.as_json()))
    return DONE
  print(
    f'{args.out}: {count_noun(manifest.count, "record")} in '
    f'{count_noun(len(manifest.shards), "shard")} of split {args.split}'
  )
  result = SplitReport.load(report_path(args.out, args.split))
  terminal.say('\n'.join(result.lines()))
  if manifest.lost:
    print(f'the lost ones and why: {args.out}/{args.split}.lost.txt')
  return DONE


def _make_engine(args: argparse.Namespace) -> 'Engine | None':
  """The engine that the flags ask for; None for this machine's processes."""
  from vidmodels.typing import InputError

  if args.engine == 'beam':
    from vidmodels.data.prepare import beam

    if args.workers:
      raise InputError(
        f'got --workers {args.workers} with --engine=beam; expected the '
        "runner's own option; try --beam-options=--direct_num_workers=2"
      )
    return beam.make_engine(
      shlex.split(args.beam_options or ''), runner=args.beam_runner
    )
  for flag in ('beam_runner', 'beam_options'):
    if getattr(args, flag) is not None:
      name = flag.replace('_', '-')
      raise InputError(
        f'got --{name}; expected it with --engine=beam only; try adding that'
      )
  return None


def _dry_run(args: argparse.Namespace) -> int:
  """Prints what would be written; writes nothing."""
  from vidmodels import files
  from vidmodels.cli import DONE, terminal
  from vidmodels.data.prepare import encode, estimate, prepare_records
  from vidmodels.typing import InputError

  prepare_records.check_options(
    args.split, args.shards, args.max_lost, args.workers
  )
  if args.out is not None:
    prepare_records.check_out_folder(files.place(args.out))
  for flag, is_set in (
    ('--overwrite', args.overwrite),
    ('--no-resume', not args.resume),
    (f'--engine={args.engine}', args.engine != 'local'),
    ('--beam-runner', args.beam_runner is not None),
    ('--beam-options', args.beam_options is not None),
  ):
    if is_set:
      raise InputError(
        f'got {flag} with --dry-run, which writes nothing and ends at once; '
        'expected one of the two; try without one'
      )
  result = estimate.estimate(
    args.source,
    **source_options(args),
    flip=args.flip,
    options=encode.Options(
      short_side=args.short_side, quality=args.quality, fps=args.fps
    ),
    workers=args.workers,
  )
  if args.json:
    print(json.dumps(result.as_json()))
  else:
    terminal.say('\n'.join(result.lines()))
  return DONE
