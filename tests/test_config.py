"""Recipes: what is locked, typed, checked, and equal to its golden text."""

import json
import math
import pathlib

import pytest
import recipes_page

from vidmodels import config as cfg
from vidmodels.cli import recipe
from vidmodels.data.datasets import registry
from vidmodels.typing import InputError

GOLDEN = pathlib.Path(__file__).parent / 'golden_configs'
RECIPES = [name for r in recipe.names() for name in recipe.in_both_words(r)]
IN_TWO_WORDS = [name for name in recipe.names() if recipe.sources(name)]
# Text of `paper` is that of `released`, with these fields changed.
IN_PAPER = [name for name in RECIPES if name.endswith((':paper', ',paper'))]
RELEASED = [name for name in RECIPES if name not in IN_PAPER]


@pytest.mark.parametrize('name', RELEASED)
def test_every_recipe_resolves_and_equals_its_golden_text(name):
  text = json.dumps(cfg.as_dict(recipe.load(name)), indent=1) + '\n'
  path = GOLDEN / f'{name.replace(":", "-").replace(",", "-")}.json'
  if not path.exists():
    path.write_text(text)
    pytest.fail(f'{path.name} is new: read it, commit it, run again')
  assert text == path.read_text(), f'the recipe changed; delete {path} if meant'


@pytest.mark.parametrize('name', IN_TWO_WORDS)
def test_what_a_paper_changes_in_each_recipe_equals_its_golden_text(name):
  own = [each for each in IN_PAPER if each.partition(':')[0] == name]
  changes = {
    each: {
      k: there for k, (_, there) in recipes_page.differences(other).items()
    }
    for each, other in zip(own, map(recipe.in_other_word, own), strict=True)
  }
  text = json.dumps(changes, indent=1) + '\n'
  path = GOLDEN / 'paper' / f'{name}.json'
  if not path.exists():
    path.write_text(text)
    pytest.fail(f'{path.name} is new: read it, commit it, run again')
  assert text == path.read_text(), f'the recipe changed; delete {path} if meant'


def test_every_golden_text_is_of_a_recipe_that_exists():
  stems = {name.replace(':', '-').replace(',', '-') for name in RELEASED}
  assert stems == {path.stem for path in GOLDEN.glob('*.json')}
  papers = {path.stem for path in GOLDEN.glob('paper/*.json')}
  assert papers == set(IN_TWO_WORDS)


@pytest.mark.parametrize('name', recipe.names())
def test_words_differ_in_the_fields_whose_sources_a_recipe_names(name):
  """And in no other; no source is of a field in which none of them differs."""
  found = {
    field
    for each in recipe.published(name)
    if recipe.word(each) == 'released'
    for field in recipes_page.differences(each)
  }
  assert found == recipe.sources(name).keys()


def test_a_word_is_found_in_any_place_and_its_other_is_the_same_run():
  assert recipe.word('demo') == recipe.word('small:scratch') == ''
  assert recipe.word('xvit:ssv2,released') == recipe.word('xvit') == 'released'
  assert recipe.word('xvit:paper, ssv2') == 'paper'
  assert recipe.in_other_word('xvit:paper, ssv2') == 'xvit:ssv2'
  assert recipe.in_other_word('xvit:paper') == 'xvit'
  assert recipe.in_other_word('xvit') == 'xvit:paper'
  assert recipe.load('xvit:ssv2,released') == recipe.load('xvit:ssv2')


def test_the_page_of_words_has_what_the_recipes_have():
  again = 'run `python tests/recipes_page.py --write` and read what changed'
  assert recipes_page.documented() == recipes_page.write(), again


def test_a_checked_recipe_survives_json():
  config = recipe.load('timesformer:long,ssv2')
  again = cfg.check(json.loads(json.dumps(cfg.as_dict(config))))
  assert cfg.as_dict(again) == cfg.as_dict(config)
  assert again == config


def test_a_misspelt_field_fails_on_its_own_line():
  c = cfg.skeleton(family='timesformer')
  with pytest.raises(AttributeError, match='milestones'):
    c.optim.milestone = (1.0,)
  with pytest.raises(InputError, match=r"'model.attention'"):
    cfg.skeleton(family='timesformer', atention='joint')
  with pytest.raises(InputError, match='timesformer'):
    cfg.skeleton(family='timesfomer')


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    ({'clip': {'frames': 0}}, 'got 0 for clip.frames; expected at least 1'),
    (
      {'clip': {'frames': 8.0}},
      'got float 8.0 for clip.frames; expected an',
    ),
    ({'clip': {'unit': 'hour'}}, "got 'hour' for clip.unit"),
    ({'clip': {'sampling': 'segment', 'stride': 4.0}}, 'clip.stride=4.0'),
    ({'clip': 8}, 'got int 8 for clip; expected the fields'),
    ({'data': {'dir': ''}}, "got data.dir=''"),
    ({'data': {'std': [1.0, 0.0, 1.0]}}, 'std above 0'),
    ({'views': {'spatial': 2}}, 'got 2 for views.spatial'),
    ({'views': {'short_side': 100}}, 'under the crop of 224'),
    ({'augment': {'short_side': [256]}}, 'expected 2 values'),
    ({'optim': {'steps': 5}}, 'epochs=15.0 and steps=5; expected one'),
    ({'optim': {'schedule': 'cosine'}}, 'without optim.schedule=step'),
    ({'optim': {'factors': [0.1]}}, 'one value each'),
    ({'mesh': {'data': -1, 'fsdp': -1}}, 'at most one of them -1'),
    ({'accumulate': 3}, 'which does not divide into accumulate=3'),
    ({'dtype': 'float16'}, "got 'float16' for dtype"),
    ({'seed': 2**32}, 'from 0 to 2**32 - 1'),
    (
      {'optim': {'lr': math.inf}},
      'got inf for optim.lr; expected a finite',
    ),
    (
      {'optim': {'lr': math.nan}},
      'got nan for optim.lr; expected a finite',
    ),
    ({'optim': {'lr': 10**400}}, '0 for optim.lr; expected a finite number'),
    ({'mix': {'mixup': math.inf}}, 'got inf for mix.mixup; expected a finite'),
    (
      {'data': {'std': [1.0, math.inf, 1.0]}},
      'got inf for data.std; ',
    ),
    ({'optim': {'lr': True}}, 'got bool True for optim.lr; expected a float'),
    (
      {'optim': {'ema': 1.0}},
      'got 1.0 for optim.ema; expected from 0 to b',
    ),
    ({'optim': {'final_lr': 1e-5}}, 'nothing reads it without optim.schedule'),
    ({'optim': {'b1': 0.5}}, 'nothing reads it without optim.name=adam'),
    ({'sead': 1}, "got unknown field 'sead'; expected one of "),
  ],
)
def test_fields_that_are_wrong_or_disagree_are_named(change, message):
  tree = cfg.as_dict(recipe.load('timesformer'))
  for name, value in change.items():
    if isinstance(value, dict):
      tree[name].update(value)
    else:
      tree[name] = value
  with pytest.raises(InputError) as error:
    cfg.check(tree)
  assert message in str(error.value)


TWO_OF_A_KIND = {
  'demo': 'joint,space',
  'dualformer': 'tiny,base',
  'focalnet': 'srf,lrf',
  'i3d': 'light,heavy',
  'small': 'tiny,scratch',
  'timesformer': 'base,high',
  'twins_svt': 'base,large',
  'video_focalnet': 'k400,ssv2',
  'vidtr': 'vanilla,axial',
  'vit': 'b16,l16',
  'xvit': '8,32',
}


@pytest.mark.parametrize('name', recipe.names())
def test_two_words_of_one_kind_are_refused_by_both_names(name):
  one, other = TWO_OF_A_KIND[name].split(',')
  for arg in (f'{one},{other}', f'{other},{one}', f'{one},{one}'):
    first, second = arg.split(',')
    with pytest.raises(InputError, match=f"got '{first}' and '{second}'; "):
      recipe.load(f'{name}:{arg}')


@pytest.mark.parametrize('name', recipe.names())
def test_a_misspelt_word_of_a_recipe_is_answered_with_the_nearest(name):
  word = TWO_OF_A_KIND[name].split(',')[0]
  with pytest.raises(InputError, match=f"got '{word}x'; .*try '{word}'"):
    recipe.load(f'{name}:{word}x')


def test_a_recipe_is_of_its_release_or_of_its_paper_and_not_of_both():
  with pytest.raises(InputError, match="got 'released' and 'paper'; "):
    recipe.load('xvit:released,paper')


def test_words_of_a_recipe_come_in_any_order_with_defaults():
  kinds = dict(size=('s', 'l'), set=('k400', 'ssv2'), extra=('', 'plus'))
  assert cfg.choose('', **kinds) == ('s', 'k400', '')
  assert cfg.choose('plus,ssv2,l', **kinds) == ('l', 'ssv2', 'plus')
  assert cfg.choose(' ssv2 , l', **kinds) == ('l', 'ssv2', '')


def test_recipes_name_data_sets_and_splits_that_prepare_knows():
  asked = set()
  for name in recipe.names():
    for arg in recipe.published(name):
      data = recipe.load(arg).data
      folder, _, dataset = data.dir.partition('/')
      if folder == 'records' and dataset:
        asked.add(dataset)
        assert {data.train, data.test} <= set(registry.find(dataset).splits)
  assert asked <= set(registry.all_datasets())  # names, not aliases
  assert {'epic100', 'charades', 'howto100m', 'activitynet'} <= asked
