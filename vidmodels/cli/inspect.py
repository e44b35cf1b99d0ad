"""Prints what a folder of records holds, and draws a contact sheet; or a run.

  vidmodels inspect records
  vidmodels inspect records --split train --sheet train.png
  vidmodels inspect shards --split train --index --classes names.txt
  vidmodels inspect runs/first

Of a run it says which checkpoints are there, and where its time went over all
restarts. The command with --index makes a manifest for shards that DMVR wrote,
so that they can be read here; it verifies every record. Without --classes it
takes the names that the records give their labels.
"""

import argparse
import json
import pathlib

from vidmodels import files
from vidmodels.typing import InputError, escape, quote

HELP = 'keys, counts, labels and pictures of records; or a run'


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds this command's flags."""
  add = parser.add_argument
  add('dir', type='place', metavar='DIR', help='folder of records, or of a run')
  add('--split', help='only this split; needed by --sheet, --verify, --index')
  add('--sheet', type='place', metavar='PNG', help='draw records of a split')
  add('--count', type=int, help='records drawn by --sheet (default 12)')
  add('--verify', action='store_true', help='read all records of a split')
  add('--index', action='store_true', help='index shards of another tool')
  add(
    '--classes',
    type='place',
    help='for --index: one class name a line, or a data set',
  )
  add('--labels', help='for --index: single (default), multi, any, verb=97,...')
  add('--flip', help='for --index: free, forbid (default), swap:left=right')


def run(args: argparse.Namespace) -> int:
  """Inspects a folder and prints a page or the JSON."""
  from vidmodels.cli import DONE
  from vidmodels.data.records import inspect_records
  from vidmodels.train import goodput

  if (args.sheet or args.verify or args.index) and not args.split:
    raise InputError(
      'got --sheet, --verify or --index without --split; expected them with '
      'it; try --split NAME'
    )
  if args.count is not None and not args.sheet:
    raise InputError(
      f'got --count {args.count} without --sheet; expected both; try --sheet '
      'PNG'
    )
  for flag in ('classes', 'labels', 'flip'):
    if getattr(args, flag) and not args.index:
      raise InputError(
        f'got --{flag} without --index; expected it with --index only; try to '
        'leave it out'
      )
  folder = files.place(args.dir)
  if not args.split and (
    # A run that has not saved yet has no checkpoints.
    (folder / 'checkpoints').is_dir() or (folder / goodput.FILE).is_file()
  ):
    return _inspect_run(args, folder)
  if args.index:
    _index_shards(args)
  summary = inspect_records.summary(args.dir, args.split)
  if args.verify:
    count = inspect_records.verify(args.dir, args.split)
    summary['verified'] = {args.split: count}
  if args.sheet:
    sheet = inspect_records.contact_sheet(
      args.dir, args.split, args.sheet, count=args.count or 12
    )
    summary['sheet'] = str(sheet)
  if args.json:
    print(json.dumps(summary))
  else:
    _print_page(summary)
  return DONE


def _index_shards(args: argparse.Namespace) -> None:
  from vidmodels.data.datasets import registry
  from vidmodels.data.records import index_foreign
  from vidmodels.data.records.flip_policy import FlipPolicy
  from vidmodels.data.records.task import SINGLE, Task

  classes, task = None, SINGLE
  if args.classes:
    classes, task = registry.load_classes(args.classes)
  index_foreign.index_shards(
    args.dir,
    args.split,
    classes,
    task=Task.parse(args.labels) if args.labels else task,
    flip=FlipPolicy.parse(args.flip) if args.flip else None,
  )


def _inspect_run(args: argparse.Namespace, workdir: pathlib.Path) -> int:
  from vidmodels.cli import DONE
  from vidmodels.cli.terminal import say
  from vidmodels.train import goodput, workdirs  # JAX takes seconds to load

  summary = workdirs.summary(workdir)
  if args.json:
    print(json.dumps({'dir': args.dir, 'run': summary}))
    return DONE
  if summary['steps']:
    line = f'{summary["family"]}: checkpoints of the steps '
    line += ', '.join(map(str, summary['steps']))
    if summary['best'] is not None:
      line += f'; the best by {quote(summary["metric"])} is {summary["best"]}'
    say(line)
  else:
    say('a run that has not saved a checkpoint yet')
  for entry in summary['history']:
    say(f'forked from checkpoint {entry["step"]} of {quote(entry["workdir"])}')
  if summary['goodput']:
    starts = summary['starts']
    say(f'{starts} start{"s" * (starts > 1)}')
    say(goodput.as_line(summary['goodput']))
  else:
    say(f'no record of its time: {goodput.FILE} is missing or damaged')
  return DONE


def _print_page(summary: dict) -> None:
  from vidmodels.cli.terminal import say

  for name, split in summary['splits'].items():
    example = split['example']
    counts = split['labels'].values()
    say(
      f'{quote(name)}: {split["records"]} of {split["listed"]} videos, '
      f'{split["shards"]} shards, {split["bytes"] / 1e6:.1f} MB, '
      f'{split["classes"]} classes ({min(counts)} to {max(counts)} videos '
      f'each), flip {split["flip"]["kind"]}'
    )
    say(
      f'  first: {quote(example["video"])} is {_format_labels(example)}, '
      f'{example["frames"]} frames of {example["width"]} x '
      f'{example["height"]} at {example["fps"]:g} fps'
    )
    say(f'  keys: {", ".join(map(quote, sorted(split["keys"])))}')
    say(f'  labels: {_format_counts(split["labels"])}')
    if split['options'].get('padded'):
      say(
        '  clips that begin with copies of their first frame, 10 for each '
        f"second before their start: {split['options']['padded']}; DMVR's "
        'script makes such clips; try `vidmodels prepare` to write them again'
      )
    for video, reason in split['lost'][:10]:
      say(f'  lost {quote(video)}: {escape(reason, keep="")}')
  for split, count in summary.get('verified', {}).items():
    say(f'{split}: all {count} records read, checksums fit')
  if 'sheet' in summary:
    say(f'contact sheet: {summary["sheet"]}')


def _format_labels(example: dict) -> str:
  labels, texts = example['labels'], example['label_texts']
  if len(texts) != len(labels):  # a foreign record may name none
    return ', '.join(map(str, labels)) or 'without a label'
  pairs = [f'{t!r} ({label})' for t, label in zip(texts, labels, strict=True)]
  return ', '.join(pairs) or 'without a label'


def _format_counts(labels: dict[str, int]) -> str:
  shown = [
    f'{quote(name)} {count}' for name, count in list(labels.items())[:12]
  ]
  more = len(labels) - len(shown)
  return ', '.join(shown) + (f' and {more} more' if more > 0 else '')
