"""Turns videos into records: sharded TFRecords in DMVR's layout.

  vidmodels prepare videos/train --out records --split train
  vidmodels prepare val.csv --root videos --classes names.txt --out records \\
    --split test

SOURCE is a folder with a folder per class, or a list with `path label`,
`path,label` or a tab on each line; labels are names or numbers. A video that
gives no frame is counted, listed in <split>.lost.txt and never replaced. A run
that was killed continues where it stopped.
"""

import argparse
import json

HELP = 'videos to records'


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds this command's flags."""
  add = parser.add_argument
  add_source_arguments(parser)
  add('--out', required=True, help='folder for the records')
  add('--split', default='train', help='name of the split (default train)')
  add(
    '--flip',
    help='what a mirror does to labels: free, forbid (default) or '
    'swap:left=right,a=b',
  )
  add('--short-side', type=int, default=0, help='shrink to; default keep')
  add('--quality', type=int, default=95, help='of the JPEGs (default 95)')
  add('--fps', type=float, default=0.0, help='resample to; default keep')
  add('--shards', type=int, default=0, help='default one per 64 videos')
  add(
    '--max-lost',
    type=float,
    default=1.0,
    help='largest share of videos that may be lost, 0 to 1 (default 1)',
  )
  add('--overwrite', action='store_true', help='start the split anew')


def add_source_arguments(parser: argparse.ArgumentParser) -> None:
  """Flags that say which videos and what their labels mean."""
  parser.add_argument('source', metavar='SOURCE', help='folder or list')
  parser.add_argument(
    '--classes', help='file with one class name a line, in label order'
  )
  parser.add_argument('--root', help='what the paths of a list start from')
  parser.add_argument(
    '--workers', type=int, default=0, help='processes; default one a CPU'
  )


def class_list(path: str | None):
  """The class list of a file, or None."""
  from vidmodels.data.classes import ClassList

  return ClassList.load(path) if path else None


def run(args: argparse.Namespace) -> int:
  """Prepares and prints what was written and what was lost."""
  from vidmodels.cli import DONE, terminal
  from vidmodels.data import prepare
  from vidmodels.data.flip import FlipPolicy

  with terminal.Reporter('prepare') as report:
    manifest = prepare.prepare(
      args.source,
      args.out,
      split=args.split,
      classes=class_list(args.classes),
      root=args.root,
      flip=FlipPolicy.parse(args.flip) if args.flip else None,
      short_side=args.short_side,
      quality=args.quality,
      fps=args.fps,
      shards=args.shards,
      workers=args.workers,
      max_lost=args.max_lost,
      overwrite=args.overwrite,
      progress=terminal.only_lines(report, 'lost '),
    )
  if args.json:
    print(json.dumps(manifest.as_json()))
    return DONE
  print(
    f'{args.out}: {manifest.count} of {manifest.listed} videos in '
    f'{len(manifest.shards)} shards of split {args.split}, '
    f'{len(manifest.lost)} lost, {len(manifest.damaged)} damaged'
  )
  if manifest.lost:
    print(f'the lost ones and why: {args.out}/{args.split}.lost.txt')
  return DONE
