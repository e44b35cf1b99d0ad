"""docs/weights.md: every command's recipe is there and takes its file."""

import pathlib
import re
import shlex

import manifests
import pytest
import test_load_weights

from vidmodels.cli import recipe
from vidmodels.weights import load_weights

PAGE = pathlib.Path(__file__).resolve().parents[2] / 'docs' / 'weights.md'
FILES = test_load_weights.SHARED / 'manifests'
# Files whose keys and shapes are known, by the recipe that the page gives.
RECIPES = {
  'timesformer_k400_8x32_224': 'timesformer',
  'timesformer_k400_hr_16x16_448': 'timesformer:high',
  'timesformer_k400_l_96x4_224': 'timesformer:long',
  'timesformer_k600_8x32_224': 'timesformer:k600',
  'timesformer_ssv2_hr_16_448': 'timesformer:high,ssv2',
  'timesformer_ssv2_l_64_224': 'timesformer:long,ssv2',
  'timesformer_howto100m_32x32_224': 'timesformer:32x32,howto100m',
  'timesformer_hf_hr_k400': 'timesformer:high',
  'xvit_k600_b16_16x16': 'xvit:k600',
  'xvit_ssv2_b16_16': 'xvit:ssv2',
  'vidtr_vidtr_s': 'vidtr',
  'vidtr_vidtr_m': 'vidtr:m',
  'vidtr_vidtr_l': 'vidtr:l',
  'vidtr_cvidtr_s': 'vidtr:compact-s',
  'vidtr_cvidtr_m': 'vidtr:compact-m',
  'dualformer_tiny_k400': 'dualformer',
  'dualformer_small_k400': 'dualformer:small',
  'dualformer_base_k600': 'dualformer:base,k600',
  'dualformer_small_diving48': 'dualformer:small,diving48',
  'video_focalnet_tiny_kinetics400': 'video_focalnet',
  'video_focalnet_small_kinetics400': 'video_focalnet:small',
  'video_focalnet_base_ssv2': 'video_focalnet:base,ssv2',
  'i3d_r50_mmaction2_light': 'i3d',
  'i3d_r50_mmaction2_heavy': 'i3d:heavy',
  'i3d_r50_slowfast': 'i3d:slowfast',
  'vit_b16_google_npz_i21k': 'vit',
  'vit_b32_google_npz_i21k': 'vit:b32',
  'vit_s16_google_npz_i21k': 'vit:s16',
  'vit_l16_google_npz_i21k': 'vit:l16',
  'vit_b16_google_npz_i21k_paper_prelogits': (
    'vit --config.model.pre_logits=true'
  ),
  'vit_b16_bigvision_npz': 'vit --config.model.class_position=false',
  'vit_timm_jx_vit_base_patch16_224_in21k': (
    'vit --config.model.pre_logits=true'
  ),
  'deit_s16_distilled': 'vit:deit_s16',
  'deit_b16_distilled': 'vit:deit_b16',
  'focalnet_image_tiny_srf_microsoft': 'focalnet',
  'focalnet_image_tiny_lrf_microsoft': 'focalnet:lrf',
  'focalnet_image_small_lrf_microsoft': 'focalnet:small,lrf',
  'focalnet_image_base_srf_hf': 'focalnet:base',
  'dualformer_alt_image_source_twins_svt_small': 'twins_svt',
  'dualformer_alt_image_source_twins_svt_base': 'twins_svt:base',
  'dualformer_alt_image_source_twins_svt_large': 'twins_svt:large',
}
# What a recipe starts from, as the page's table of image models says.
STARTS = {
  'vit_b16_google_npz_i21k': ('timesformer', 'xvit', 'vidtr'),
  'vit_b16_timm': ('timesformer',),
  'vit_b16_bigvision_npz_i21k': ('timesformer',),
  'vit_b16_hf_i21k': ('xvit',),
  'vidtr_vit_inflate_inferred': ('vidtr', 'vidtr:compact-s'),
  'dualformer_alt_image_source_twins_svt_small': ('dualformer',),
  'dualformer_image_source_tiny_in1k_derived': ('dualformer',),
  'focalnet_image_tiny_srf_timm': ('video_focalnet',),
}


def commands() -> list[str]:
  """Every recipe on the page, with its overrides."""
  found = []
  for each in re.findall(r'`([^`]*--config=[^`]*)`', PAGE.read_text()):
    words = [w for w in shlex.split(each) if w.startswith('--config')]
    name = next(w for w in words if w.startswith('--config='))
    more = [w for w in words if w != name and not w.endswith('=FILE')]
    found.append(' '.join([name.removeprefix('--config='), *more]))
  return [each for each in found if each not in ('...', 'RECIPE')]


def test_every_recipe_on_the_page_is_one():
  assert len(commands()) > 50
  for each in dict.fromkeys(commands()):
    name, *overrides = each.split()
    recipe.load(name, overrides)


def test_every_recipe_that_was_tried_is_on_the_page():
  assert set(RECIPES.values()) <= set(commands())


def take(path: pathlib.Path, command: str, **options):
  if not path.is_file():
    pytest.skip(f'{path} is not here')
  name, *overrides = command.split()
  config = recipe.load(name, overrides)
  size = config.clip.size
  return load_weights.load_file(
    manifests.file(path),
    config.family,
    model=config.model,
    clip=(config.clip.frames, size, size),
    **options,
  )


@pytest.mark.slow
@pytest.mark.slow_every(3)
@pytest.mark.parametrize('stem', RECIPES)
def test_a_published_file_fits_the_recipe_that_the_page_gives(stem):
  made = take(FILES / f'{stem}.json', RECIPES[stem])
  assert not made.report.random


@pytest.mark.slow
@pytest.mark.parametrize(
  ('stem', 'command'), [(s, c) for s, of in STARTS.items() for c in of]
)
def test_an_image_file_starts_the_recipe_that_the_page_gives(stem, command):
  made = take(FILES / f'{stem}.json', command, classes=400)
  assert {'head'} <= {path.split('/')[0] for path in made.report.random}
  assert all(made.report.random.values())
  assert all(made.report.dropped.values())
  assert made.model.classes == 400
