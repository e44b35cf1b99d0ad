"""Lists the recipes, or says what one sets and what is published of it.

  vidmodels recipes
  vidmodels recipes --config=timesformer:long,ssv2
  vidmodels recipes --config=xvit:ssv2 --config.views.temporal=1

The second prints the recipe's text, its setting with all overrides, what its
paper or its release has otherwise, and the figures of both that belong to this
setting: to its data set,
model, frames, stride, size, views and start weights. Of others it says what
differs, and no figure.
"""

import argparse
import json

HELP = 'the recipes, their settings, and the figures that belong to them'
TAKES_CONFIG = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds this command's flags."""
  parser.add_argument('--config', help='a recipe, NAME or PATH, with :ARG')


def run(args: argparse.Namespace) -> int:
  """Prints the list or the page, or the JSON."""
  from vidmodels.cli import DONE, recipe
  from vidmodels.typing import InputError

  if args.config:
    _page(args)
    return DONE
  if args.overrides:
    raise InputError(
      f'got {" ".join(args.overrides)} without --config; expected a recipe; '
      'try --config=NAME'
    )
  first = {
    name: recipe.text(name).partition('\n')[0] for name in recipe.names()
  }
  if args.json:
    print(json.dumps(first))
  else:
    print('\n'.join(f'{name:15} {line}' for name, line in first.items()))
  return DONE


def _page(args: argparse.Namespace) -> None:
  """Prints one recipe's text, setting and published runs."""
  from vidmodels import config as cfg
  from vidmodels.analysis import published_runs
  from vidmodels.cli import recipe

  config = recipe.load(args.config, args.overrides)
  dataset = recipe.dataset(args.config)
  page = published_runs.compare(config, dataset, published(config.family))
  if args.json:
    tree = {
      'config': cfg.as_dict(config),
      'word': recipe.word(args.config),
      'dataset': dataset,
      'own': [_as_json(each) for each in page.own],
      'others': [_as_json(each) for each in page.others],
    }
    print(json.dumps(tree))
    return
  lines = [recipe.text(args.config), '', f'--config={args.config}']
  lines += [f'  {line}' for line in setting_lines(config, dataset)]
  lines += [f'  {line}' for line in word_lines(args.config)]
  lines += ['', 'Published (top1 and the like in %)']
  lines += [f'  {line}' for line in published_runs.lines(page)]
  print('\n'.join(lines))


def published(family: str) -> list:
  """The `PublishedRun`s of a family: its rows of all papers and releases.

  Of a paper, those with figures; of a release, also those only described.
  """
  from vidmodels.analysis import paper_rows, published_runs
  from vidmodels.cli import recipe

  return [
    published_runs.of_row(
      table, row, recipe.of_row(row), recipe.dataset(row.recipe)
    )
    for table, row in paper_rows.all_rows()
    if row.recipe.partition(':')[0] == family
    and (row.figures or table.origin == 'release')
    and not row.figures_from
  ]


def _as_json(each) -> dict:
  """A compared run; its figures only if they belong to the recipe."""
  run = each.run
  return {
    **{name: getattr(run, name) for name in ('origin', 'source', 'dataset')},
    'figures': dict(each.figures),
    'setting': each.setting,
    'training': each.training,
  }


def word_lines(where: str) -> list[str]:
  """A recipe's word, and what the other word has in place of its fields.

  The fields are those of the recipe itself, before overrides.
  """
  from vidmodels.cli import recipe

  own = recipe.word(where)
  if not own:
    return []
  other = 'paper' if own == 'released' else 'released'
  sources = recipe.sources(where)
  changes = [
    f'{field}={there} (here {here}; {sources[field][other == "released"]})'
    for field, (here, there) in recipe.differences(where).items()
  ]
  command = f'--config={recipe.in_other_word(where)}'
  if not changes:
    return [f'{own}; {other} has the same ({command})']
  return [f'{own}; {other} ({command}) has {", ".join(changes)}']


def setting_lines(config, dataset: str) -> list[str]:
  """A recipe's setting in words."""
  from vidmodels.data.datasets import registry
  from vidmodels.data.sampling import rules

  clip, views, optim = config.clip, config.views, config.optim
  strided = 'stride' in rules.find(clip.sampling).READS
  spacing = f', stride {clip.stride:g}' if strided else ''
  length = f'{optim.steps} steps' if optim.steps else f'{optim.epochs:g} epochs'
  lines = [
    f'data {config.data.dir}: {clip.frames} frames of {clip.size} x '
    f'{clip.size} pixels ({clip.sampling}{spacing}), tested on '
    f'{views.temporal} x {views.spatial} views'
    + (f' of {views.size} x {views.size} pixels' if views.size else ''),
    f'{optim.name}, rate {optim.lr:g} for batch {config.batch}, {length}, '
    f'warm-up {optim.warmup:g}, weight decay {optim.weight_decay:g}, flips '
    f'{config.augment.flip:g}, computed in {config.dtype}',
  ]
  if config.init_from:
    lines.append(f'starts from {config.init_from}')
  elif config.init_expects:
    lines.append(
      f'to be started from {config.init_expects} weights by '
      f'--config.init_from=FILE ({config.init_files}); without, all parameters '
      'are random and no figure below is to be expected'
    )
  seconds = clip.frames * clip.stride
  if clip.unit == 'frame':
    seconds /= clip.fps or 30
  usual = registry.find(dataset).usual_s if dataset else 0.0
  if strided and usual and seconds > usual:
    lines.append(
      f'a clip spans {seconds:.1f} s, and a video of {dataset} about '
      f'{usual:.0f} s: what is missing is repeated'
    )
  return lines
