"""Decodes every clip to its end and lists the bad ones with the reason.

  vidmodels check videos/train --bad bad.txt
  vidmodels check k400 --annotations validate.csv --videos videos/val \\
    --split val --fast

A clip that passes here becomes a record in `prepare`, which uses the same
decoder. --fast only looks for the files. The exit code is 1 if a clip is bad or
missing.
"""

import argparse
import json

HELP = 'find missing and broken videos before hours depend on them'


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds this command's flags."""
  from vidmodels.cli import prepare

  add = parser.add_argument
  prepare.add_source_arguments(parser)
  add('--bad', type='path', help='write the bad ones here, path and reason')
  decode = parser.add_mutually_exclusive_group()
  decode.add_argument(
    '--decode',
    dest='decode',
    action='store_true',
    default=True,
    help='decode every clip (default)',
  )
  decode.add_argument(
    '--fast', dest='decode', action='store_false', help='only look for files'
  )


def run(args: argparse.Namespace) -> int:
  """Checks; 0 if all are fine, 1 if some are bad or missing."""
  from vidmodels.cli import DONE, FAILED, prepare, terminal
  from vidmodels.data.prepare import check_videos
  from vidmodels.data.prepare.short_clips import describe
  from vidmodels.typing import quote

  with terminal.Reporter('check', only='bad ') as report:
    result = check_videos.check(
      args.source,
      **prepare.source_options(args),
      decode=args.decode,
      out=args.bad,
      workers=args.workers,
      progress=report,
    )
  if args.json:
    print(json.dumps(result.as_json()))
  else:
    terminal.say('\n'.join(result.lines()))
    for video in result.missing:
      terminal.say(f'missing  {quote(video)}')
    for video, reason in result.broken:
      terminal.say(f'broken   {quote(video)}: {reason}')
    for video, parts in result.damaged:
      terminal.say(
        f'damaged  {quote(video)}: {parts} packets or frames do not decode'
      )
    for clip in result.short:
      terminal.say(f'short    {quote(clip[0])}: {describe(clip)}')
  return FAILED if result.bad else DONE
