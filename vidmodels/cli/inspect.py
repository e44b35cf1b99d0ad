"""Prints what a folder of records holds, and draws a contact sheet.

  vidmodels inspect records
  vidmodels inspect records --split train --sheet train.png
  vidmodels inspect shards --split train --index --classes names.txt

The last makes a manifest for shards that DMVR wrote, so that they can be read
here; it verifies every record. Without --classes it takes the names that the
records give their labels.
"""

import argparse
import json

HELP = 'keys, counts, labels and pictures of records'


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds this command's flags."""
  add = parser.add_argument
  add('dir', metavar='DIR', help='folder of records')
  add('--split', help='only this one; needed by --sheet, --verify, --index')
  add('--sheet', metavar='PNG', help='draw records of a split')
  add('--count', type=int, help='records drawn by --sheet (default 12)')
  add('--verify', action='store_true', help='read all records of a split')
  add('--index', action='store_true', help='index shards of another tool')
  add('--classes', help='for --index: one class name a line, or a data set')
  add('--labels', help='for --index: single (default), multi, any, verb=97,...')
  add('--flip', help='for --index: free, forbid (default), swap:left=right')


def run(args: argparse.Namespace) -> int:
  """Inspects; prints a page or the JSON."""
  from vidmodels.cli import DONE
  from vidmodels.data.records import inspect_records
  from vidmodels.typing import InputError

  if (args.sheet or args.verify or args.index) and not args.split:
    raise InputError('--sheet, --verify and --index need --split NAME')
  if args.count is not None and not args.sheet:
    raise InputError(f'--count {args.count} came without --sheet')
  for flag in ('classes', 'labels', 'flip'):
    if getattr(args, flag) and not args.index:
      raise InputError(f'--{flag} came without --index; it is for that only')
  if args.index:
    _index(args)
  found = inspect_records.summary(args.dir, args.split)
  if args.verify:
    found['verified'] = {
      args.split: inspect_records.verify(args.dir, args.split)
    }
  if args.sheet:
    sheet = inspect_records.contact_sheet(
      args.dir, args.split, args.sheet, count=args.count or 12
    )
    found['sheet'] = str(sheet)
  if args.json:
    print(json.dumps(found))
  else:
    _page(found)
  return DONE


def _index(args: argparse.Namespace) -> None:
  """Makes the manifest of shards that another tool wrote."""
  from vidmodels.data.datasets import registry
  from vidmodels.data.records import index_foreign
  from vidmodels.data.records.flip_policy import FlipPolicy
  from vidmodels.data.records.task import SINGLE, Task

  classes, task = None, SINGLE
  if args.classes:
    classes, task = registry.load_classes(args.classes)
  index_foreign.index(
    args.dir,
    args.split,
    classes,
    task=Task.parse(args.labels) if args.labels else task,
    flip=FlipPolicy.parse(args.flip) if args.flip else None,
  )


def _page(found: dict) -> None:
  """The summary, for people."""
  for name, split in found['splits'].items():
    example = split['example']
    counts = split['labels'].values()
    print(
      f'{name}: {split["records"]} of {split["listed"]} videos, '
      f'{split["shards"]} shards, {split["bytes"] / 1e6:.1f} MB, '
      f'{split["classes"]} classes ({min(counts)} to {max(counts)} videos '
      f'each), flip {split["flip"]["kind"]}'
    )
    print(
      f'  first: {example["video"]} is {_labels(example)}, '
      f'{example["frames"]} frames of {example["width"]} x '
      f'{example["height"]} at {example["fps"]:g} fps'
    )
    print(f'  keys: {", ".join(sorted(split["keys"]))}')
    print(f'  labels: {_counts(split["labels"])}')
    if split['options'].get('padded'):
      print(
        '  clips that begin with copies of their first frame, 10 for each '
        f"second before their start: {split['options']['padded']}; DMVR's "
        'script makes such; write them anew with `vidmodels prepare`'
      )
    for video, reason in split['lost'][:10]:
      print(f'  lost {video}: {reason}')
  for split, count in found.get('verified', {}).items():
    print(f'{split}: all {count} records read, checksums fit')
  if 'sheet' in found:
    print(f'contact sheet: {found["sheet"]}')


def _labels(example: dict) -> str:
  """Names and numbers of a record's labels."""
  labels, texts = example['labels'], example['label_texts']
  if len(texts) != len(labels):  # a foreign record may name none
    return ', '.join(map(str, labels)) or 'without a label'
  found = [f'{t!r} ({label})' for t, label in zip(texts, labels, strict=True)]
  return ', '.join(found) or 'without a label'


def _counts(labels: dict[str, int]) -> str:
  """The first classes and their counts."""
  shown = [f'{name} {count}' for name, count in list(labels.items())[:12]]
  more = len(labels) - len(shown)
  return ', '.join(shown) + (f' and {more} more' if more > 0 else '')
