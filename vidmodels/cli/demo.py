"""Runs the main job from start to end, on motion videos that it makes.

  vidmodels demo                      everything, into ./demo
  vidmodels demo --make-data DIR      only the videos
  vidmodels demo --make-data DIR --set textures    those of another set

Writes eight classes of motion as H.264 files (left, right, up, down, clockwise,
anticlockwise, approaching, receding), turns them into records, trains a tiny
TimeSformer with divided attention and one with space-only attention, evaluates
both over several views and predicts one held-out file. No single frame shows a
direction, so a model that ignores the order of frames can at best name the axis
and is right about half the time. Started again, the demo continues where it
stopped.
"""

import argparse
import json
import math
import pathlib
import sys
import time

from vidmodels.typing import InputError

HELP = 'the main job on made-up motion videos'
COMPILES = True
ATTENTIONS = ('divided', 'space')


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds this command's flags."""
  add = parser.add_argument
  add(
    '--out',
    type='path',
    default='demo',
    help='folder for everything (default demo)',
  )
  add(
    '--make-data',
    type='path',
    metavar='DIR',
    help='only write the videos, to DIR',
  )
  add(
    '--set',
    choices=('motion', 'textures', 'mixed'),
    help='with --make-data: which videos; textures need space and no time, of '
    "mixed half the classes need each (default motion, the demo's own)",
  )
  add('--train-clips', type=int, default=4000, help='default 4000')
  add('--test-clips', type=int, default=640, help='default 640')
  add('--steps', type=int, help="of each training; default the recipe's")
  add('--seed', type=int, default=0, help='of the videos (default 0)')
  add(
    '--background',
    choices=('plain', 'textured'),
    default='plain',
    help='of motion; textured is much harder to learn',
  )


def run(args: argparse.Namespace) -> int:
  """Runs the demo and prints its table."""
  from vidmodels.cli import DONE, PREEMPTED

  if args.set and not args.make_data:
    raise InputError(
      f'got --set={args.set} without --make-data; expected both, as the demo '
      'itself is about motion; try --make-data=DIR'
    )
  if args.set in ('textures', 'mixed') and args.background != 'plain':
    raise InputError(
      f'got --background={args.background} with --set={args.set}, where '
      'textures are the background; expected --set=motion; try leaving '
      '--background out'
    )
  start = time.monotonic()
  out = pathlib.Path(args.out)
  videos = pathlib.Path(args.make_data or out / 'videos')
  _make_videos(args, videos)
  if args.make_data:
    _print_data(args, videos)
    return DONE
  records = out / 'records'
  _prepare_records(videos, records)
  reports = {}
  for name in ATTENTIONS:
    reports[name] = _train(args, name, out, records)
    if reports[name] is None:
      print('preempted and saved; start again to go on', file=sys.stderr)
      return PREEMPTED
  prediction = _predict_clip(out, videos)
  result = {
    'videos': str(videos),
    'records': str(records),
    'models': {name: r.as_json() for name, r in reports.items()},
    'chance': 0.125,
    # The best that a model blind to order reaches: half, plus three sigma.
    'bound_without_order': 0.5 + 3 * math.sqrt(0.25 / args.test_clips),
    'predicted': prediction.as_json(),
    'seconds': round(time.monotonic() - start, 1),
  }
  if args.json:
    print(json.dumps(result))
  else:
    _print_table(result, reports, prediction, out)
  return DONE


def _make_videos(args: argparse.Namespace, videos: pathlib.Path) -> None:
  from vidmodels.cli import terminal
  from vidmodels.data.synthetic import scenes, video_sets

  name = args.set or 'motion'
  options = scenes.Motion(background=args.background)
  with terminal.Reporter('make videos') as report:
    video_sets.make_videos(
      videos,
      name,
      splits={'train': args.train_clips, 'test': args.test_clips},
      seed=args.seed,
      options=options if name == 'motion' else None,
      progress=lambda done, total, _: report(done, total),
    )


def _print_data(args: argparse.Namespace, videos: pathlib.Path) -> None:
  from vidmodels.data.synthetic import video_sets

  name = args.set or 'motion'
  flip = video_sets.SETS[name].flip.to_text()
  counts = {'train': args.train_clips, 'test': args.test_clips}
  if args.json:
    result = {'videos': str(videos), 'set': name, 'flip': flip, **counts}
    print(json.dumps(result))
    return
  print(f'wrote {counts} of set {name} to {videos}')
  print(
    f'next: vidmodels prepare {videos / "train"} --split train --flip {flip} '
    '--out RECORDS, and the same for test'
  )


def _prepare_records(videos: pathlib.Path, records: pathlib.Path) -> None:
  from vidmodels.cli import terminal
  from vidmodels.data.prepare import prepare_records
  from vidmodels.data.synthetic import scenes

  for split in ('train', 'test'):
    with terminal.Reporter(f'prepare {split}', only='lost ') as report:
      prepare_records.prepare(
        videos / split, records, split=split, flip=scenes.FLIP, progress=report
      )


def _train(args, name: str, out: pathlib.Path, records: pathlib.Path):
  """Trains and evaluates one kind of attention; None if it was preempted."""
  from vidmodels.cli import recipe, terminal
  from vidmodels.evaluate import score_split
  from vidmodels.train import loop, restore

  overrides = [f'--config.data.dir={records}']
  if args.steps is not None:
    overrides.append(f'--config.optim.steps={args.steps}')
    overrides.append(f'--config.optim.warmup={args.steps // 12}')
  config = recipe.load(f'demo:{name}', overrides)
  workdir = out / name
  with terminal.Reporter(f'train {name}') as report:
    if loop.train(config, workdir, progress=report).preempted:
      return None
  with terminal.Reporter(f'evaluate {name}') as report:
    return score_split.evaluate(
      restore.load(workdir),
      dir=records,
      split=config.data.test,
      views=config.views,
      progress=report,
    )


def _predict_clip(out: pathlib.Path, videos: pathlib.Path):
  """Predicts the first held-out clip with the divided model."""
  from vidmodels.evaluate import predict_videos
  from vidmodels.train import restore

  model = restore.load(out / 'divided')
  clip = min((videos / 'test').glob('*/*.mp4'))
  predictor = predict_videos.Predictor(model, views=model.config.views, top=3)
  return next(predictor.predict_file(clip))


def _print_table(
  result: dict, reports: dict, prediction, out: pathlib.Path
) -> None:
  from rich import box
  from rich.console import Console
  from rich.table import Table

  divided = reports['divided']
  table = Table(
    box=box.SIMPLE,
    title=f'{divided.name}: {divided.videos} of {divided.info.listed} '
    f'videos, {divided.info.temporal * divided.info.spatial} views',
  )
  for column in ('model', 'top-1', 'top-5'):
    table.add_column(column, justify='left' if column == 'model' else 'right')
  for name, r in reports.items():
    top1, top5 = r.metrics['top1'], r.metrics['top5']
    table.add_row(f'TimeSformer, {name}', f'{top1:.1%}', f'{top5:.1%}')
  bound = result['bound_without_order']
  table.add_row('blind to order, at most', f'{bound:.1%}', '')
  table.add_row('chance', f'{result["chance"]:.1%}', f'{5 / 8:.1%}')
  console = Console(highlight=False, soft_wrap=True)
  console.print(table)
  best = f'{prediction.classes[0]} ({prediction.probabilities[0]:.1%})'
  print(f'{prediction.file}: {best}')
  print(f'videos       {result["videos"]}')
  print(f'records      {result["records"]}')
  for name, r in reports.items():
    print(f'{name:<12} {out / name}, scores of every view in {r.scores}')
  print(f'{result["seconds"]:.0f} s in all')
