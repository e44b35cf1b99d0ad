"""Weight files: what they are, into a model, out of one, and what differs.

  vidmodels weights inspect FILE
  vidmodels weights import FILE --config=timesformer --out=DIR
  vidmodels weights export DIR --to=safetensors --out=FILE
  vidmodels weights diff A B

A file is a .pth, .npz or .safetensors of an image model or of the authors of a
video model; no code in it is run. FILE#NAME takes the weights that a .pth keeps
under that name, FILE#model_ema say, where the plain ones lie beside them. DIR
is a training run, or what `import` wrote: `evaluate`, `predict` and `export`
take either. `diff` takes files and folders: of one each, a folder is compared
under the file's names. To train from a file, give the recipe
--config.init_from=FILE instead.
"""

import argparse
import json

from vidmodels import files

HELP = 'inspect, import, export and compare weight files'
TAKES_CONFIG = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds this command's own commands and their flags."""
  actions = parser.add_subparsers(dest='action', metavar='ACTION')
  actions.required = True
  for name, add in (
    ('inspect', _inspect_arguments),
    ('import', _import_arguments),
    ('export', _export_arguments),
    ('diff', _diff_arguments),
  ):
    sub = actions.add_parser(name, allow_abbrev=False)
    # Suppressed, or its default would undo what stands before the action.
    sub.add_argument('--json', action='store_true', default=argparse.SUPPRESS)
    add(sub.add_argument)


def _inspect_arguments(add) -> None:
  add('file', metavar='FILE')
  add('--tensors', type=int, default=20, help='rows shown (20; 0: all)')


def _import_arguments(add) -> None:
  add('file', metavar='FILE')
  add('--config', required=True, metavar='RECIPE[:ARG]', help='file or name')
  add('--out', required=True, metavar='DIR', help='a new folder')
  add(
    '--classes',
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
    '--positions',
    default='',
    metavar='METHOD',
    help="resize position tables to the recipe's clip now; else at each call",
  )


def _export_arguments(add) -> None:
  add('dir', metavar='DIR', help='a training run, or what import wrote')
  add('--to', required=True, choices=('pth', 'safetensors', 'npz'))
  add('--out', required=True, metavar='FILE', help='a new file')
  add('--names', default='', help="whose key names; default the authors'")
  add('--step', type=int, help='checkpoint (default the newest)')
  add('--weights', choices=('auto', 'params', 'ema'), default='auto')


def _diff_arguments(add) -> None:
  add('a', metavar='A', help='a weight file, or a folder with checkpoints')
  add('b', metavar='B')
  add('--tolerance', type=float, default=0.0, help='absolute (0)')


def run(args: argparse.Namespace) -> int:
  """Does what the action says."""
  from vidmodels.typing import InputError

  if args.overrides and args.action != 'import':
    raise InputError(
      f'{" ".join(args.overrides)} came; only import takes a recipe'
    )
  actions = {
    'inspect': _inspect,
    'import': _import,
    'export': _export,
    'diff': _diff,
  }
  return actions[args.action](args)


def _inspect(args: argparse.Namespace) -> int:
  """What a file is."""
  from vidmodels.cli import DONE
  from vidmodels.weights import import_report

  found = import_report.inspect(args.file)
  if args.json:
    print(json.dumps(found))
  else:
    print(import_report.inspection(found, rows=args.tensors))
  return DONE


def _import(args: argparse.Namespace) -> int:
  """A file into a folder that evaluate, predict and export take."""
  from vidmodels.cli import DONE, recipe
  from vidmodels.train import init_from
  from vidmodels.weights import import_report

  out = files.unused_path(args.out)
  config = recipe.load(args.config, args.overrides)
  made = init_from.write_checkpoint(
    args.file,
    config,
    out,
    classes=args.classes,
    labels=args.labels or '',
    head=args.head,
    positions=args.positions,
  )
  said = import_report.summary(made)
  if args.json:
    print(json.dumps({**said, 'out': args.out}))
  else:
    print(import_report.lines(said))
    print(f'written to {args.out}')
  return DONE


def _export(args: argparse.Namespace) -> int:
  """A model's weights into a file of the authors' names."""
  from vidmodels.cli import DONE
  from vidmodels.train import restore
  from vidmodels.weights import export

  out = files.unused_path(args.out)  # before anything takes its time
  folder = files.existing_path(
    args.dir, 'give what a training run or import wrote'
  )
  model = restore.load(folder, step=args.step, weights=args.weights)
  names, state = export.state_of(
    model.config.family,
    model.model,
    {'params': model.params, **model.model_state},
    name=args.names,
  )
  path = export.write(out, state, to=args.to, under=names.under)
  said = {
    'file': str(path),
    'names': f'{names.family} {names.name}',
    'tensors': len(state),
    'step': model.step,
    'weights': model.weights,
  }
  if args.json:
    print(json.dumps(said))
  else:
    print(
      f'{said["tensors"]} tensors of step {said["step"]} ({said["weights"]}) '
      f'under the names of {said["names"]} in {path}'
    )
  return DONE


def _diff(args: argparse.Namespace) -> int:
  """What differs; 0 whether or not anything does."""
  import dataclasses

  from vidmodels.cli import DONE
  from vidmodels.weights import diff, import_report

  a, b, unread = _two(args.a, args.b)
  found = diff.differences(a, b, tolerance=args.tolerance)
  same = len(set(a) | set(b)) - len(found)
  if args.json:
    rows = [_finite(dataclasses.asdict(each)) for each in found]
    print(json.dumps({'same': same, 'different': rows, 'unread': dict(unread)}))
    return DONE
  for each in found:
    print(import_report.difference(each))
  for key, why in unread.items():
    print(f'{key}: not compared: {why}')
  dtypes = sum(each.kind == 'dtype' for each in found)
  print(
    f'{len(found)} tensors differ'
    + (f' ({dtypes} of them in dtype alone)' if dtypes else '')
    + f', {same} are the same'
  )
  return DONE


def _two(a: str, b: str):
  """Tensors of A and B under the same names, and why others are left out.

  A folder keeps our names: beside a file it takes the file's.
  """
  from vidmodels.train import init_from, restore
  from vidmodels.weights import same_names
  from vidmodels.weights.formats.open_file import WANTED, open_file

  is_dir = [files.existing_path(each, WANTED).is_dir() for each in (a, b)]
  if is_dir[0] == is_dir[1]:
    return init_from.read_tensors(a), init_from.read_tensors(b), {}
  folder, path = (a, b) if is_dir[0] else (b, a)
  file, made = open_file(path), restore.load(folder)
  both = same_names.by_names_of(
    file,
    made.config.family,
    made.model,
    {'params': made.params, **made.model_state},
  )
  two = (both.ours, both.theirs) if is_dir[0] else (both.theirs, both.ours)
  return (*two, both.unread)


def _finite(row: dict) -> dict:
  """A row whose numbers without end are text: JSON has none."""
  ends = (float('inf'), float('-inf'))
  return {k: str(v) if v in ends else v for k, v in row.items()}
