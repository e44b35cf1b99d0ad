"""Decodes every video to its end and lists the bad ones with the reason.

  vidmodels check videos/train --bad bad.txt

What is fine here becomes a record in `prepare`: both use the same decoder. The
exit code is 1 if a video is bad.
"""

import argparse
import json

HELP = 'find broken videos before hours depend on them'


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds this command's flags."""
  from vidmodels.cli import prepare

  prepare.add_source_arguments(parser)
  parser.add_argument('--bad', help='write the bad ones here, path and reason')


def run(args: argparse.Namespace) -> int:
  """Checks; 0 if all are fine, 1 if some are bad."""
  from vidmodels.cli import DONE, FAILED, prepare, terminal
  from vidmodels.data import check

  with terminal.Reporter('check') as report:
    found = check.check(
      args.source,
      classes=prepare.class_list(args.classes),
      root=args.root,
      out=args.bad,
      workers=args.workers,
      progress=terminal.only_lines(report, 'bad '),
    )
  if args.json:
    print(json.dumps(found.as_json()))
  else:
    print(
      f'{found.ok} of {found.listed} videos are fine ({found.frames} frames), '
      f'{len(found.damaged)} of them damaged; {len(found.bad)} are bad'
    )
    for video, reason in found.bad:
      print(f'bad      {video}: {reason}')
    for video, parts in found.damaged:
      print(f'damaged  {video}: {parts} packets or frames do not decode')
  return FAILED if found.bad else DONE
