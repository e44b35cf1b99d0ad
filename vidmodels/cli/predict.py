"""Names what is in video files.

  vidmodels predict clip.mp4 other.webm --workdir runs/first
  vidmodels predict long.mkv --workdir runs/first --window 2 --hop 1

Preprocessing and class names come from the checkpoint. A file that does not
decode is reported, the others are still answered, and the exit code is 2.
"""

import argparse
import json
import math
import sys

HELP = 'top classes of video files'


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds this command's flags."""
  from vidmodels.cli import evaluate

  parser.add_argument('files', nargs='+', metavar='FILE')
  evaluate.add_checkpoint_arguments(parser)
  evaluate.add_view_arguments(parser)
  parser.add_argument(
    '--top', type=int, default=5, help='classes named (default 5)'
  )
  parser.add_argument(
    '--window', type=float, default=0.0, help='seconds; default the whole file'
  )
  parser.add_argument(
    '--hop', type=float, default=0.0, help='seconds; default the window'
  )


def run(args: argparse.Namespace) -> int:
  """Predicts; prints a table, or a JSON document."""
  from vidmodels.cli import DONE, WRONG_INPUT, evaluate
  from vidmodels.evaluate import predict_videos
  from vidmodels.typing import InputError

  seconds = [s for s in (args.window, args.hop) if s != 0]
  if args.top < 1 or not all(1e-3 <= s < math.inf for s in seconds):
    raise InputError(
      f'--top {args.top}, --window {args.window:g}, --hop {args.hop:g} came; '
      'wanted at least 1 class, and at least 0.001 s for each of the others'
    )
  if args.hop and not args.window:
    raise InputError('--hop needs --window, the length of a stretch')
  model = evaluate.load(args)
  predictor = predict_videos.Predictor(
    model,
    views=evaluate.chosen_views(model.config.views, args),
    top=args.top,
  )
  answers, errors = [], []
  for path in args.files:
    try:
      answers += predictor.file(path, window_s=args.window, hop_s=args.hop)
    except InputError as error:
      errors.append({'file': path, 'error': str(error)})
      print(f'vidmodels predict: {error}', file=sys.stderr)
  if args.json:
    found = [answer.as_json() for answer in answers]
    print(json.dumps({'answers': found, 'errors': errors}))
  else:
    _table(answers)
  return WRONG_INPUT if errors else DONE


def _table(answers) -> None:
  """One block a stretch: where, then the classes with their probabilities."""
  for answer in answers:
    print(
      f'{answer.file}  {answer.start_s:.2f}-{answer.end_s:.2f} s  '
      f'({answer.frames} frames, {answer.views} views)'
    )
    for name, chance in zip(answer.classes, answer.probabilities, strict=True):
      print(f'  {chance:7.2%}  {name}')
    for head, found in answer.heads.items():
      print(f'  {head}: ' + ', '.join(f'{n} {p:.2%}' for n, p in found))
