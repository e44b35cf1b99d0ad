"""Runs the main job from nothing, on motion videos that it makes.

  vidmodels demo                      everything, into ./demo
  vidmodels demo --make-data DIR      only the videos

Writes eight classes of motion as H.264 files (left, right, up, down, clockwise,
anticlockwise, approaching, receding), turns them into records, trains a tiny
TimeSformer with divided attention and one with space-only attention, evaluates
both over several views and predicts one held-out file. No single frame tells a
direction, so a model that is blind to order can name the axis at best and is
right about half the time. Started again, it goes on where it stopped.
"""

import argparse
import json
import math
import pathlib
import sys
import time

HELP = 'the main job on made-up motion videos'
ATTENTIONS = ('divided', 'space')


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds this command's flags."""
  add = parser.add_argument
  add('--out', default='demo', help='folder for everything (default demo)')
  add('--make-data', metavar='DIR', help='only write the videos, to DIR')
  add('--train-clips', type=int, default=4000, help='default 4000')
  add('--test-clips', type=int, default=640, help='default 640')
  add('--steps', type=int, help="of each training; default the recipe's")
  add('--seed', type=int, default=0, help='of the videos (default 0)')
  add(
    '--background',
    choices=('plain', 'textured'),
    default='plain',
    help='textured is much harder to learn',
  )


def run(args: argparse.Namespace) -> int:
  """Runs the demo and prints its table."""
  from vidmodels.cli import DONE, PREEMPTED

  start = time.monotonic()
  out = pathlib.Path(args.out)
  videos = pathlib.Path(args.make_data or out / 'videos')
  _make_videos(args, videos)
  if args.make_data:
    counts = {'train': args.train_clips, 'test': args.test_clips}
    said = {'videos': str(videos), **counts}
    print(json.dumps(said) if args.json else f'wrote {counts} to {videos}')
    return DONE
  records = _prepare(videos, out / 'records')
  reports = {}
  for name in ATTENTIONS:
    reports[name] = _train(args, name, out, records)
    if reports[name] is None:
      print('preempted and saved; start again to go on', file=sys.stderr)
      return PREEMPTED
  answer = _predict(out, videos)
  result = {
    'videos': str(videos),
    'records': str(records),
    'models': {name: r.as_json() for name, r in reports.items()},
    'chance': 0.125,
    'bound_without_order': _bound(args.test_clips),
    'predicted': answer.as_json(),
    'seconds': round(time.monotonic() - start, 1),
  }
  if args.json:
    print(json.dumps(result))
  else:
    _table(result, reports, answer, out)
  return DONE


def _make_videos(args: argparse.Namespace, videos: pathlib.Path) -> None:
  from vidmodels.cli import terminal
  from vidmodels.data.synthetic import motion_videos

  with terminal.Reporter('make videos') as report:
    motion_videos.make_motion(
      videos,
      splits={'train': args.train_clips, 'test': args.test_clips},
      seed=args.seed,
      motion=motion_videos.Motion(background=args.background),
      progress=lambda done, total, _: report(done, total),
    )


def _prepare(videos: pathlib.Path, records: pathlib.Path) -> pathlib.Path:
  """Both splits as records."""
  from vidmodels.cli import terminal
  from vidmodels.data.prepare import prepare_records
  from vidmodels.data.synthetic import motion_videos

  for split in ('train', 'test'):
    with terminal.Reporter(f'prepare {split}') as report:
      prepare_records.prepare(
        videos / split,
        records,
        split=split,
        flip=motion_videos.FLIP,
        progress=terminal.only_lines(report, 'lost '),
      )
  return records


def _train(args, name: str, out: pathlib.Path, records: pathlib.Path):
  """Trains and evaluates one kind of attention; None if it was preempted."""
  from vidmodels.cli import recipe, terminal
  from vidmodels.evaluate import score_split as running
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
    return running.evaluate(
      restore.load(workdir),
      dir=records,
      split=config.data.test,
      views=config.views,
      progress=report,
    )


def _predict(out: pathlib.Path, videos: pathlib.Path):
  """What the divided model says of the first held-out clip."""
  from vidmodels.evaluate import predict_videos
  from vidmodels.train import restore

  model = restore.load(out / 'divided')
  clip = min((videos / 'test').glob('*/*.mp4'))
  predictor = predict_videos.Predictor(model, views=model.config.views, top=3)
  return next(predictor.predict_file(clip))


def _bound(clips: int) -> float:
  """The most that a model blind to order reaches: half, plus three sigma."""
  return 0.5 + 3 * math.sqrt(0.25 / clips)


def _table(result: dict, reports: dict, answer, out: pathlib.Path) -> None:
  """The result, for people."""
  from rich import box
  from rich.console import Console
  from rich.table import Table

  divided = reports['divided']
  table = Table(
    box=box.SIMPLE,
    title=f'{divided.name}: {divided.videos} of {divided.listed} videos, '
    f'{divided.temporal * divided.spatial} views',
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
  best = f'{answer.classes[0]} ({answer.probabilities[0]:.1%})'
  print(f'{answer.file}: {best}')
  print(f'videos       {result["videos"]}')
  print(f'records      {result["records"]}')
  for name, r in reports.items():
    print(f'{name:<12} {out / name}, scores of every view in {r.scores}')
  print(f'{result["seconds"]:.0f} s in all')
