"""Predicts the classes of video files.

  vidmodels predict clip.mp4 other.webm --workdir runs/first
  vidmodels predict long.mkv --workdir runs/first --window 2 --hop 1

Preprocessing and class names come from the checkpoint. A file that does not
decode is reported, the other files are still predicted, and the exit code is 2.
If the machine does not let a file be read, the command stops, with code 1.
A model of images (vit, focalnet, twins_svt) also takes single pictures.

Of several processes (`vidmodels launch --processes N -- predict ...`) each has
the whole model, and predicts every Nth file.
"""

import argparse
import json
import math
import sys

HELP = 'top classes of video files'
COMPILES = True
JOINS_PROCESSES = True  # several processes of it can be one run
_GATHER_S = 24 * 3600.0  # that another process may need longer for its files


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds this command's flags."""
  from vidmodels.cli import evaluate, processes

  parser.add_argument('files', type='path', nargs='+', metavar='FILE')
  evaluate.add_checkpoint_arguments(parser)
  evaluate.add_view_arguments(parser)
  add = parser.add_argument
  add('--top', type=int, default=5, help='classes to name (default 5)')
  add('--window', type=float, default=0.0,
      help='seconds; default the whole file')  # fmt: skip
  add('--hop', type=float, default=0.0, help='seconds; default the window')
  processes.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
  """Predicts; prints a table, or a JSON document."""
  from vidmodels.cli import processes
  from vidmodels.typing import InputError

  seconds = [s for s in (args.window, args.hop) if s != 0]
  if args.top < 1 or not all(1e-3 <= s < math.inf for s in seconds):
    raise InputError(
      f'got --top {args.top}, --window {args.window:g}, --hop {args.hop:g}; '
      'expected at least 1 class, and at least 0.001 s for each of the others; '
      'try --top 5 --window 2 --hop 1'
    )
  if args.hop and not args.window:
    raise InputError(
      f'got --hop {args.hop:g} without --window; expected the length of a '
      f'window too; try --window {args.hop:g}'
    )
  with processes.joined('predict', args) as first:
    predictions, errors, code = _predict_all(args)
  if not first:
    return code
  if args.json:
    answers = [prediction.as_json() for prediction in predictions]
    print(json.dumps({'answers': answers, 'errors': errors}))
  else:
    _print_table(predictions)
  return code


def _predict_all(args: argparse.Namespace) -> tuple[list, list, int]:
  """Predictions and errors in the order of the files, and the exit code.

  In process 0 those of all processes; in the others those of their files.
  """
  import jax

  from vidmodels.cli import DONE, FAILED, WRONG_INPUT, evaluate
  from vidmodels.evaluate.predict_videos import Prediction, Predictor
  from vidmodels.train import distributed

  count, number = jax.process_count(), jax.process_index()
  model = evaluate.load_model(args, own_devices=count > 1)
  views = evaluate.apply_view_flags(model.config.views, args)
  predictor = Predictor(model, views=views, top=args.top)
  own = _predict_some(predictor, args, range(number, len(args.files), count))
  texts = distributed.gather(json.dumps(own), seconds=_GATHER_S)
  parts = [json.loads(text) for text in texts] or [own]
  files = sorted((file for part in parts for file in part), key=lambda f: f[0])
  predictions: list[Prediction] = []
  errors, code = [], DONE
  for _, answers, error, unreadable in files:
    predictions += [Prediction(**answer) for answer in answers]
    if error:
      errors.append(error)
      code = FAILED if unreadable or code == FAILED else WRONG_INPUT
  return predictions, errors, code


def _predict_some(predictor, args: argparse.Namespace, numbers: range) -> list:
  """[number, answers, error or None, whether the machine failed] of files."""
  from vidmodels.cli import terminal
  from vidmodels.files import ReadError
  from vidmodels.typing import InputError

  results: list[list] = []
  for number in numbers:
    path, error, unreadable = args.files[number], None, False
    answers: list[dict] = []
    try:
      for answer in predictor.predict_file(
        path, window_s=args.window, hop_s=args.hop
      ):
        answers.append(answer.as_json())
    except (InputError, ReadError) as e:
      error = {'file': path, 'error': str(e)}
      unreadable = isinstance(e, ReadError)
      terminal.say(f'vidmodels predict: {e}', file=sys.stderr)
    results.append([number, answers, error, unreadable])
    if unreadable:  # the other files, too
      break
  return results


def _print_table(predictions) -> None:
  """Prints a block per segment: its times, then classes and probabilities."""
  from vidmodels.cli import terminal
  from vidmodels.typing import quote

  for p in predictions:
    terminal.say(
      f'{quote(p.file)}  {p.start_s:.2f}-{p.end_s:.2f} s  '
      f'({p.frames} frames, {p.views} views)'
    )
    for name, probability in zip(p.classes, p.probabilities, strict=True):
      terminal.say(f'  {probability:7.2%}  {quote(name)}')
    for head, best in p.heads.items():
      answers = ', '.join(f'{quote(n)} {v:.2%}' for n, v in best)
      terminal.say(f'  {head}: {answers}')
