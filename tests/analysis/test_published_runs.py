"""Figures are shown beside recipes of their own setting, and of no other."""

import functools
import json
import re

import pytest

from vidmodels.analysis import paper_rows, published_runs
from vidmodels.cli import main, recipe, recipes

RECIPES = [name for r in recipe.names() for name in recipe.in_both_words(r)]
# What each recipe is aimed at: the figures (the first metric) that its page
# shows. A recipe that is not here shows none.
AIMS = {
  'dualformer': {79.5},
  'dualformer:small,k400': {80.6},
  'dualformer:base,k400': {81.1},
  'dualformer:base,k600': {85.2},
  'dualformer:small,diving48': {81.8},
  'dualformer:small,hmdb51': {76.4},
  'dualformer:small,ucf101': {97.5},
  'dualformer:paper': {79.5},
  'dualformer:small,k400,paper': {80.6},
  'dualformer:base,k400,paper': {81.1},
  'dualformer:base,k600,paper': {85.2},
  'dualformer:small,diving48,paper': {81.2},
  'dualformer:small,hmdb51,paper': {76.2},
  'dualformer:small,ucf101,paper': {97.4},
  'dualformer:tiny,ucf101,paper': {96.6},
  'dualformer:tiny,hmdb51,paper': {75.0},
  'dualformer:tiny,diving48,paper': {75.9},
  'i3d': {73.47},
  'i3d:heavy': {75.0, 76.21},
  'i3d:slowfast': {73.5},
  'i3d:heavy,r101,charades': {40.3},
  'i3d:paper': {73.47},
  'i3d:slowfast,paper': {73.4},
  'i3d:heavy,r101,charades,paper': {40.3},
  'timesformer': {77.9, 78.0},
  'timesformer:high,k600': {81.8},
  'timesformer:long,ssv2': {62.0},
  'timesformer:base,k400,joint': {77.4},
  'timesformer:base,k400,space': {76.9},
  'timesformer:base,ssv2,local_global': {56.3},
  'timesformer:base,ssv2,axial': {56.2},
  'timesformer:base,ssv2,no_pos': {45.8},
  'timesformer:high,diving48': {78.0},
  'timesformer:high,k400': {79.6, 79.7},
  'timesformer:long,k400': {80.6, 80.7},
  'timesformer:base,k600': {79.1},
  'timesformer:long,k600': {82.2},
  'timesformer:base,ssv2': {59.1, 59.5},
  'timesformer:high,ssv2': {61.8, 62.2},
  'timesformer:base,diving48': {74.9},
  'timesformer:long,diving48': {81.0},
  'timesformer:base,k400,local_global': {75.9},
  'timesformer:base,k400,axial': {73.5},
  'timesformer:base,ssv2,joint': {58.5},
  'timesformer:base,ssv2,space': {36.6},
  'timesformer:base,k400,no_pos': {75.4},
  'timesformer:base,k400,space_pos': {77.8},
  'timesformer:base,ssv2,space_pos': {52.5},
  'timesformer:paper': {77.9, 78.0},
  'timesformer:high,k600,paper': {81.8},
  'timesformer:long,ssv2,paper': {62.4},
  'timesformer:base,k400,joint,paper': {77.4},
  'timesformer:base,k400,space,paper': {76.9},
  'timesformer:base,ssv2,local_global,paper': {56.3},
  'timesformer:base,ssv2,axial,paper': {56.2},
  'timesformer:base,ssv2,no_pos,paper': {45.8},
  'timesformer:high,diving48,paper': {78.0},
  'timesformer:high,k400,paper': {79.6, 79.7},
  'timesformer:long,k400,paper': {80.6, 80.7},
  'timesformer:base,k600,paper': {79.1},
  'timesformer:long,k600,paper': {82.2},
  'timesformer:base,ssv2,paper': {59.1, 59.5},
  'timesformer:high,ssv2,paper': {61.8, 62.2},
  'timesformer:base,diving48,paper': {74.9},
  'timesformer:long,diving48,paper': {81.0},
  'timesformer:base,k400,local_global,paper': {75.9},
  'timesformer:base,k400,axial,paper': {73.5},
  'timesformer:base,ssv2,joint,paper': {58.5},
  'timesformer:base,ssv2,space,paper': {36.6},
  'timesformer:base,k400,no_pos,paper': {75.4},
  'timesformer:base,k400,space_pos,paper': {77.8},
  'timesformer:base,ssv2,space_pos,paper': {52.5},
  'video_focalnet': {79.8},
  'video_focalnet:small': {81.4},
  'video_focalnet:base': {83.6},
  'video_focalnet:base,k600': {86.7},
  'video_focalnet:base,ssv2': {71.1},
  'video_focalnet:base,diving48': {90.8},
  'video_focalnet:base,activitynet_untrimmed': {89.8},
  'video_focalnet:paper': {79.8},
  'video_focalnet:small,paper': {81.4},
  'video_focalnet:base,paper': {83.6},
  'video_focalnet:base,k600,paper': {86.7},
  'video_focalnet:base,ssv2,paper': {71.1},
  'video_focalnet:base,diving48,paper': {90.8},
  'video_focalnet:base,activitynet_untrimmed,paper': {89.8},
  'vidtr': {77.7},
  'vidtr:m': {78.6},
  'vidtr:l': {79.1},
  'vidtr:compact-s': {75.7},
  'vidtr:compact-m': {76.7},
  'vidtr:m,k700': {69.5},
  'vidtr:l,charades': {43.5},
  'vidtr:l,hmdb51': {74.4},
  'vidtr:l,k700': {70.2},
  'vidtr:m,ucf101': {96.6},
  'vidtr:l,ucf101': {96.7},
  'vidtr:m,hmdb51': {74.4},
  'vidtr:paper': {77.7},
  'vidtr:compact-s,paper': {75.7},
  'vidtr:vanilla': {77.5},
  'vidtr:space': {74.7},
  'vidtr:axial': {72.3},
  'vidtr:cubic-4': {73.1},
  'vidtr:cubic-2': {75.5},
  'vidtr:square-32': {71.2},
  'vidtr:t2t': {76.3},
  'vidtr:vit-l': {77.5},
  'vidtr:m,paper': {78.6},
  'vidtr:l,paper': {79.1},
  'vidtr:compact-m,paper': {76.7},
  'vidtr:m,k700,paper': {69.5},
  'vidtr:m,ssv2,paper': {61.9},
  'vidtr:l,charades,paper': {43.5},
  'vidtr:l,hmdb51,paper': {74.4},
  'vidtr:l,k700,paper': {70.2},
  'vidtr:l,ssv2,paper': {63.0},
  'vidtr:m,ucf101,paper': {96.6},
  'vidtr:l,ucf101,paper': {96.7},
  'vidtr:m,hmdb51,paper': {74.4},
  'vidtr:vanilla,paper': {77.5},
  'vidtr:space,paper': {74.7},
  'vidtr:axial,paper': {72.3},
  'vidtr:cubic-4,paper': {73.1},
  'vidtr:cubic-2,paper': {75.5},
  'vidtr:square-32,paper': {71.2},
  'vidtr:t2t,paper': {76.3},
  'vidtr:vit-l,paper': {77.5},
  'xvit': {80.2},
  'xvit:k600': {84.5, 84.51},
  'xvit:k400,8': {78.5},
  'xvit:k400,8,summary': {78.0},
  'xvit:k600,8': {82.5},
  'xvit:k400,8,average': {77.8},
  'xvit:k400,8,average,summary': {78.7},
  'xvit:paper': {80.2},
  'xvit:k600,paper': {84.5, 84.51},
  'xvit:ssv2,paper': {66.2},
  'xvit:k400,8,paper': {78.5},
  'xvit:ssv2,8,paper': {64.4},
  'xvit:ssv2,32,paper': {66.4},
  'xvit:ssv2,8,b32,paper': {60.5},
  'xvit:ssv2,8,l32,paper': {61.8},
  'xvit:ssv2,8,average,paper': {62.4, 62.5, 62.6},
  'xvit:k400,8,summary,paper': {78.0},
  'xvit:epic100,paper': {44.3},
  'xvit:k600,8,paper': {82.5},
  'xvit:epic100,8,paper': {41.5},
  'xvit:k400,8,average,paper': {77.8},
  'xvit:k400,8,average,summary,paper': {78.7},
  'xvit:ssv2,8,summary,paper': {63.4},
  'xvit:ssv2,8,average,summary,paper': {63.7},
}


@functools.cache
def published(family: str) -> list[published_runs.PublishedRun]:
  return recipes.published(family)


def page_of(name: str, *overrides: str) -> published_runs.RecipePage:
  config = recipe.load(name, [f'--config.{o}' for o in overrides])
  runs = published(config.family)
  return published_runs.compare(config, recipe.dataset(name), runs)


def aims(page: published_runs.RecipePage) -> set[float]:
  return {next(iter(c.figures.values())) for c in page.own if c.figures}


@pytest.mark.parametrize('name', RECIPES)
def test_every_recipe_shows_the_figures_of_its_setting_alone(name):
  config, dataset = recipe.load(name), recipe.dataset(name)
  page = published_runs.compare(config, dataset, published(config.family))
  assert aims(page) == AIMS.get(name, set())
  for each in page.own:
    setting = each.run.setting
    assert each.run.dataset == dataset
    for field, ours in (
      ('clip.frames', config.clip.frames),
      ('clip.stride', config.clip.stride),
      ('clip.size', config.clip.size),
      ('views.temporal', config.views.temporal),
      ('views.spatial', config.views.spatial),
      ('init_expects', config.init_expects),
    ):
      assert setting.get(field, ours) == ours
  for each in page.others:
    assert each.setting
    assert not each.figures


@pytest.mark.parametrize(
  ('name', 'override', 'figure'),
  [
    ('timesformer:long,ssv2', 'clip.frames=96', 62.4),
    ('xvit:ssv2', 'views.temporal=1', 66.2),
    ('xvit:ssv2', 'init_expects=k600', 67.19),
    ('dualformer:base,k400', 'init_expects=imagenet-21k', 82.9),
    ('dualformer:tiny,ucf101', 'views.spatial=1', 96.6),
    ('vidtr:m,ssv2', 'views.temporal=10', 61.9),
    ('timesformer', 'model.positions=none', 75.4),
  ],
)
def test_a_figure_comes_with_the_setting_that_it_needs(name, override, figure):
  assert figure not in aims(page_of(name))
  assert figure in aims(page_of(name, override))


@pytest.mark.parametrize(
  'override',
  [
    'clip.frames=16',
    'clip.stride=16.0',
    'clip.size=448',
    'views.temporal=10',
    'views.spatial=1',
    'model.layers=6',
    'model.attention=joint',
    'init_expects=imagenet-1k',
  ],
)
def test_any_change_of_the_setting_takes_the_figure_away(override):
  assert 78.0 in aims(page_of('timesformer'))
  assert 78.0 not in aims(page_of('timesformer', override))


def test_changes_of_training_keep_the_figure_and_are_said():
  page = page_of('timesformer', 'optim.epochs=5.0', 'model.drop_path=0.3')
  assert 78.0 in aims(page)
  (text,) = (x for x in published_runs.lines(page) if x.startswith('paper'))
  assert 'top1 78, top5 93.7; trained there with batch=16' in text
  assert 'optim.epochs=15.0 (here 5.0)' in text
  assert 'batch=16 (here 64)' in text


@pytest.mark.parametrize(
  ('name', 'says', 'says_not'),
  [
    ('timesformer:long,ssv2', 'clip.frames=96 (here 64)', '62.4'),
    ('timesformer', 'dtype=float32 (here bfloat16)', '59.5'),
    ('video_focalnet:base,ssv2', 'views.temporal=1 (here 4)', '69.6'),
    ('video_focalnet:base,diving48', 'augment.flip=0.0 (here 0.5)', '89.8'),
    ('video_focalnet:base,activitynet', 'data set=activitynet_unt', '89.8'),
    ('video_focalnet', 'batch=512 (here 32', '83.6'),
    ('dualformer', 'optim.warmup=2.5 (here 3.0; section 4.1)', '82.9'),
    ('dualformer:paper', 'optim.warmup=3.0 (here 2.5; configs/rec', '82.9'),
    ('twins_svt', 'released; paper has the same (--config=tw', '82.9'),
    ('dualformer:tiny,ucf101', 'views.spatial=1 (here 3)', '96.6'),
    ('xvit:ssv2', 'views.temporal=1 (here 2)', '66.2'),
    ('xvit:epic100', '1 x 3 views', '41.5'),
    ('vidtr:m,k700', 'started from k400 weights', '78.6'),
    ('timesformer:96x32', 'a clip spans 102.4 s, and a video of k400', '62.6'),
    ('timesformer:base,k400,s32', 'nothing is published', '78'),
    ('timesformer:96x32,howto100m', 'as no field can say (here 4)', '62.6'),
  ],
)
def test_a_page_says_what_differs(name, says, says_not, capsys):
  assert main(['recipes', f'--config={name}']) == 0
  page = capsys.readouterr().out
  assert says in page
  assert not re.search(rf'\b{re.escape(says_not)}\b', page)


def test_recipes_lists_all_and_a_page_is_one_json_document(capsys):
  assert main(['recipes']) == 0
  listed = capsys.readouterr().out
  assert [line.split()[0] for line in listed.splitlines()] == recipe.names()
  assert main(['recipes', '--config=xvit:ssv2', '--json']) == 0
  tree = json.loads(capsys.readouterr().out)
  assert tree['dataset'] == 'ssv2'
  assert {'views.temporal': [1, 2]} in [o['setting'] for o in tree['others']]
  assert main(['recipes', '--config.batch=3']) == 2


def test_no_text_of_a_recipe_prints_a_figure_by_itself():
  """A text is of all settings of a recipe at once."""
  figures = {
    f'{v:g}' for _, row in paper_rows.all_rows() for v in row.figures.values()
  }
  for name in recipe.names():
    for number in re.findall(r'(?<![\d.])\d\d\.\d+', recipe.text(name)):
      assert number not in figures, (name, number)
