"""Counts parameters and multiply-adds of a model; nothing is run.

  vidmodels cost --config=timesformer:high
  vidmodels cost --config=timesformer --config.model.layers=24
  vidmodels cost --all
  vidmodels cost --paper vidtr --json

The first two count a recipe's model on one of its views, by kind of layer. The
others count every row of `experiments/` whose size or cost is printed and set
the papers' figures beside. One multiply-add is one; sums, norms and activations
are none.
"""

import argparse
import dataclasses
import json
from typing import Any

HELP = 'parameters and multiply-adds, beside what the papers print'
TAKES_CONFIG = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds this command's flags."""
  what = parser.add_mutually_exclusive_group(required=True)
  what.add_argument('--config', help='a recipe, NAME or PATH, with :ARG')
  what.add_argument('--paper', help='configurations of one paper')
  what.add_argument(
    '--all', action='store_true', help='configurations of all papers'
  )
  parser.add_argument(
    '--classes', type=int, help='for --config: answers of the head (400)'
  )


def run(args: argparse.Namespace) -> int:
  """Counts; prints a page or the JSON."""
  from vidmodels.cli import DONE
  from vidmodels.typing import InputError

  if args.config:
    _recipe(args)
    return DONE
  if args.overrides or args.classes is not None:
    raise InputError(
      f'got {" ".join(args.overrides) or "--classes"} without --config; '
      "expected neither, as the papers' configurations are fixed; try "
      '--config=NAME'
    )
  _papers(args)
  return DONE


def _recipe(args: argparse.Namespace) -> None:
  """Prints what a recipe's model costs, by kind of layer."""
  from vidmodels.analysis import model_cost
  from vidmodels.analysis.model_cost import CountedModel
  from vidmodels.cli import recipe

  config = recipe.load(args.config, args.overrides)
  size = config.views.size or config.clip.size
  counted = CountedModel(
    family=config.family,
    model=config.model,
    clip=(config.clip.frames, size, size),
    classes=400 if args.classes is None else args.classes,
  )
  cost = model_cost.count(counted)
  if args.json:
    params = {'params': cost.total_params(), 'by_parameter': cost.params}
    macs = {'macs': cost.total_macs(), 'by_module': cost.macs}
    print(json.dumps({**dataclasses.asdict(counted), **params, **macs}))
    return
  frames, height, width = counted.clip
  print(
    f'{counted.family}, {counted.classes} classes, {frames} frames of '
    f'{height} x {width}: {cost.total_params():,} parameters, '
    f'{cost.total_macs() / 1e9:.3f} billion multiply-adds a view'
  )
  for kind, number in model_cost.by_kind(cost.macs).items():
    share = number / cost.total_macs()
    print(f'  {number / 1e9:10.3f} G  {share:6.1%}  {kind}')


def _papers(args: argparse.Namespace) -> None:
  """Prints every configuration of the papers asked for."""
  from vidmodels.analysis import paper_table
  from vidmodels.cli.terminal import Reporter
  from vidmodels.typing import InputError, unknown_name

  rows = counted_rows()
  papers = list(dict.fromkeys(t.name.partition('/')[0] for t, _ in rows))
  if args.paper and args.paper not in papers:
    raise InputError(unknown_name('--paper', args.paper, papers))
  if args.paper:
    rows = [(t, r) for t, r in rows if t.name.startswith(f'{args.paper}/')]
  lines: list[paper_table.ComparedRow] = []
  with Reporter('counting') as report:
    for table, row in rows:
      report(len(lines), len(rows))
      lines.append(compare(table, row))
  if args.json:
    tree = [{**dataclasses.asdict(x), 'agrees': x.agrees} for x in lines]
    print(json.dumps(tree))
  else:
    print(paper_table.markdown(lines), end='')


def counted_rows() -> list[tuple[Any, Any]]:
  """(table, row) of all rows with a printed or a known size or cost.

  And of the readings of a paper's text, of which no table prints one.
  """
  from vidmodels.analysis import paper_rows

  return [
    (table, row)
    for table, row in paper_rows.all_rows()
    if row.ours
    and (
      row.params_m
      or row.gmacs is not None
      or row.reference_params is not None
      or row.reference_gmacs is not None
      or table.name.endswith('/readings')
    )
  ]


def counted_models(table: Any, row: Any) -> list[Any]:
  """A row's `CountedModel` of a view; of an ensemble, those of all members."""
  from vidmodels.analysis import paper_rows
  from vidmodels.analysis.model_cost import CountedModel
  from vidmodels.cli import recipe

  if row.parts:
    members = [paper_rows.find_row(part, table) for part in row.parts]
    return [model for pair in members for model in counted_models(*pair)]
  config = recipe.of_row(row)
  T, size = config.clip.frames, config.views.size or config.clip.size
  classes = recipe.classes_of(row)
  return [CountedModel(config.family, config.model, (T, size, size), classes)]


def compare(table: Any, row: Any) -> Any:
  """Our counts of a row beside the printed ones: a `ComparedRow`."""
  from vidmodels.analysis import paper_table

  return paper_table.compare_row(table, row, counted_models(table, row))
