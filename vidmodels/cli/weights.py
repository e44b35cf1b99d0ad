"""Weight files: what they are, into a model, out of one, and what differs.

  vidmodels weights inspect FILE
  vidmodels weights import FILE --config=timesformer --out=DIR
  vidmodels weights export DIR --to=safetensors --out=FILE
  vidmodels weights diff A B

A file is a .pth, .npz or .safetensors of an image model or of the authors of a
video model; no code in it is run. FILE#NAME takes the weights that a .pth keeps
under that name: FILE#model_ema takes averaged weights where the file also has
the plain ones. DIR is a training run, or what `import` wrote: `evaluate`,
`predict` and `export` take either. `diff` takes files and folders; a folder and
a file are compared under the file's names. To train from a file, give the
recipe --config.init_from=FILE instead.
"""

import argparse
import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from vidmodels import files

if TYPE_CHECKING:
  import numpy as np

  Tensors = Mapping[str, np.ndarray]

Report = tuple[dict[str, Any], str]

HELP = 'inspect, import, export and compare weight files'
TAKES_CONFIG = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds this command's own commands and their flags."""
  from vidmodels.cli import place_argument

  actions = parser.add_subparsers(
    dest='action', metavar='ACTION', required=True
  )

  def add_action(name: str, run: Callable[..., Report]) -> Callable[..., Any]:
    sub = actions.add_parser(name, allow_abbrev=False)
    sub.set_defaults(run_action=run)
    sub.register('type', 'place', place_argument)
    # Suppressed, or its default would undo what stands before the action.
    sub.add_argument('--json', action='store_true', default=argparse.SUPPRESS)
    return sub.add_argument

  add = add_action('inspect', _inspect)
  add('file', type='place', metavar='FILE')
  add('--tensors', type=int, default=20, help='rows shown (20; 0: all)')

  _add_import_flags(add_action('import', _import))
  _add_export_flags(add_action('export', _export))

  add = add_action('diff', _diff)
  add(
    'a',
    type='place',
    metavar='A',
    help='a weight file, or a folder with checkpoints',
  )
  add('b', type='place', metavar='B')
  add('--tolerance', type=float, default=0.0, help='absolute (0)')


def _add_import_flags(add: Callable[..., Any]) -> None:
  add('file', type='place', metavar='FILE')
  add(
    '--config',
    metavar='RECIPE[:ARG]',
    help='file or name; a file that export wrote says its own',
  )
  add('--out', type='place', required=True, metavar='DIR', help='a new folder')
  add(
    '--classes',
    type='place',
    metavar='FILE|SET',
    help='one class name a line, in order; or a data set such as k400',
  )
  add(
    '--labels',
    metavar='KIND',
    help='single (default), multi, any, or heads as verb=97,noun=300',
  )
  add('--head', choices=('auto', 'keep', 'new'), default='auto')
  add(
    '--channels',
    choices=('auto', 'RGB', 'BGR'),
    default='auto',
    help='order that the weights take; those of BGR are turned round',
  )
  add(
    '--positions',
    default='',
    metavar='METHOD',
    help="resize position tables to the recipe's clip now; else at each call",
  )


def _add_export_flags(add: Callable[..., Any]) -> None:
  from vidmodels.cli.evaluate import step_choice

  add(
    'dir',
    type='place',
    metavar='DIR',
    help='a training run, or what import or export wrote',
  )
  add('--to', required=True, choices=('pth', 'safetensors', 'npz'))
  add(
    '--out',
    type='place',
    required=True,
    metavar='FILE',
    help='a new file; with --names=hf also a new folder, for the hub',
  )
  add(
    '--names',
    default='',
    help="whose key names; default the authors', or ours (vidmodels) for a "
    'model that nobody released',
  )
  add(
    '--step',
    type=step_choice,
    metavar='N|latest|best',
    help='checkpoint (default latest)',
  )
  add('--weights', choices=('auto', 'params', 'ema'), default='auto')


def run(args: argparse.Namespace) -> int:
  """Runs the action that was asked for."""
  from vidmodels.cli import DONE, terminal
  from vidmodels.typing import InputError

  if args.overrides and args.action != 'import':
    raise InputError(
      f'got {" ".join(args.overrides)} for weights {args.action}; expected no '
      'recipe, which only import takes; try without it'
    )
  report, text = args.run_action(args)
  terminal.say(json.dumps(report) if args.json else text)
  return DONE


# Each action returns its report for --json, and the text that says the same.
def _inspect(args: argparse.Namespace) -> Report:
  """Says what a file is."""
  from vidmodels.weights import import_report

  report = import_report.inspect(args.file)
  return report, import_report.format_inspection(report, rows=args.tensors)


def _import(args: argparse.Namespace) -> Report:
  """Writes a file as a folder that evaluate, predict and export take."""
  from vidmodels.cli import recipe
  from vidmodels.train import init_from
  from vidmodels.typing import InputError
  from vidmodels.weights import import_report

  out = files.unused_path(args.out)
  if args.overrides and not args.config:
    raise InputError(
      f'got {" ".join(args.overrides)} without --config; expected the recipe '
      'that they change; try --config=RECIPE'
    )
  imported = init_from.write_checkpoint(
    args.file,
    recipe.load(args.config, args.overrides) if args.config else None,
    out,
    classes=args.classes,
    labels=args.labels or '',
    head=args.head,
    positions=args.positions,
    channels=args.channels,
  )
  summary = import_report.summarize(imported)
  text = f'{import_report.format_summary(summary)}\nwritten to {args.out}'
  return {**summary, 'out': args.out}, text


def _export(args: argparse.Namespace) -> Report:
  """Writes a model as a file under the authors' names."""
  from vidmodels.train import model_file

  out = files.unused_path(args.out)  # before anything takes its time
  advice = 'give what a training run, import or export wrote'
  source = files.existing_path(args.dir, advice)
  model = model_file.load(source, step=args.step, weights=args.weights)
  saved = model_file.save(model, out, to=args.to, names=args.names)
  report = {
    'file': str(saved.path),
    'names': saved.naming,
    'tensors': saved.tensors,
    'step': model.step,
    'weights': model.weights,
    'notes': list(saved.notes),
  }
  lines = [
    f'{saved.tensors} tensors of step {model.step} ({model.weights}) under the '
    f'names of {saved.naming} in {saved.path}',
    *saved.notes,
  ]
  return report, '\n'.join(lines)


def _diff(args: argparse.Namespace) -> Report:
  """Says which tensors differ; the exit code is 0 whether or not any do."""
  import dataclasses

  from vidmodels.weights import diff, import_report

  a, b, unread = _read_both(args.a, args.b)
  rows = diff.compare_tensors(a, b, tolerance=args.tolerance)
  same = len(set(a) | set(b)) - len(rows)
  inf = float('inf')  # which JSON does not have
  plain = [
    {k: str(v) if v == inf else v for k, v in dataclasses.asdict(row).items()}
    for row in rows
  ]
  dtypes = sum(row.kind == 'dtype' for row in rows)
  in_dtype = f' ({dtypes} of them in dtype alone)' if dtypes else ''
  lines = [
    *map(import_report.format_difference, rows),
    *(f'{key}: not compared: {why}' for key, why in unread.items()),
    f'{len(rows)} tensors differ{in_dtype}, {same} are the same',
  ]
  report = {'same': same, 'different': plain, 'unread': dict(unread)}
  return report, '\n'.join(lines)


def _read_both(a: str, b: str) -> 'tuple[Tensors, Tensors, Mapping[str, str]]':
  """Tensors of A and B under the same names, and why others are left out.

  A folder keeps our names; compared with a file it takes the file's.
  """
  from vidmodels.train import model_file, restore
  from vidmodels.weights import diff
  from vidmodels.weights.formats.open_file import ACCEPTED, open_file

  is_dir = [files.existing_path(path, ACCEPTED).is_dir() for path in (a, b)]
  if is_dir[0] == is_dir[1]:
    return model_file.read_tensors(a), model_file.read_tensors(b), {}
  folder, path = (a, b) if is_dir[0] else (b, a)
  file, model = open_file(path), restore.load(folder)
  variables = {'params': model.params, **model.model_state}
  both = diff.align_with_file(file, model.config.family, model.model, variables)
  if is_dir[0]:
    return both.ours, both.theirs, both.unread
  return both.theirs, both.ours, both.unread
