"""Recipes whose augmentation contradicts itself, or is read by nothing."""

import pytest

from vidmodels import config as cfg
from vidmodels.cli import recipe
from vidmodels.typing import InputError


def tree(**augment):
  fields = cfg.as_dict(recipe.load('timesformer'))
  fields['augment'].update(augment)
  return fields


IDLE = [
  (dict(short_side=(256, 256), short_draw='inverse'), 'two ends of augment'),
  (dict(crop='area', zoom=(1.0, 1.25)), 'without augment.crop=square'),
  (dict(area=(0.1, 1.0)), 'without augment.crop=area'),
  (dict(crop='multi_scale', aspect=(1.0, 1.0)), 'without augment.crop=area'),
  (dict(scales=(1.0,)), 'without augment.crop=multi_scale'),
  (dict(crop='area', scale_gap=0), 'without augment.crop=multi_scale'),
  (dict(places=5), 'without augment.crop=multi_scale'),
  (dict(rand_m=7.0), 'without augment.rand_n;'),
  (dict(rand_mstd=0.5), 'without augment.rand_n;'),
  (dict(auto='v0', rand_inc=True), 'without augment.rand_n;'),
  (dict(rand_p=1.0), 'without augment.rand_n;'),
  (dict(policy_on='crop'), 'without augment.auto or augment.rand_n'),
  (dict(grey=0.2, jitter_each='frame'), 'without augment.jitter;'),
  (dict(brightness=0.1), 'without augment.jitter;'),
  (dict(contrast=0.1), 'without augment.jitter;'),
  (dict(saturation=0.1), 'without augment.jitter;'),
  (dict(hue=0.0), 'without augment.jitter;'),
  (dict(erase_area=(0.1, 0.2)), 'without augment.erase;'),
  (dict(erase_aspect=(1.0, 1.0)), 'without augment.erase;'),
  (dict(erase_count=2), 'without augment.erase;'),
  (dict(erase_with='noise'), 'without augment.erase;'),
]
WRONG = [
  (dict(short_side=(200, 320)), 'with crops of 224 pixels'),
  (dict(short_side=(320, 256)), 'with crops of 224 pixels'),
  (dict(short_side=(0, 0)), 'with crops of 224 pixels'),
  (dict(crop='area', short_side=(0, 320)), '(0, 0) for frames as they are'),
  (dict(crop='area', short_side=(320, 256)), 'expected 1 <= low <= high'),
  (dict(zoom=(0.8, 1.25)), 'factors of at least 1'),
  (dict(zoom=(1.25, 1.0)), 'two numbers above 0, the lower first'),
  (dict(crop='area', area=(0.5, 1.5)), 'at most 1, the lower first'),
  (dict(crop='area', area=(0.0, 1.0)), 'above 0 and at most 1'),
  (dict(crop='area', aspect=(2.0, 1.0)), 'the lower first'),
  (dict(crop='multi_scale', scales=(1.0, 1.2)), 'above 0 and at most 1'),
  (dict(crop='multi_scale', scales=()), 'augment.scales=(), which is empty'),
  (dict(crop='multi_scale', places=9), 'got 9 for augment.places'),
  (dict(crop='round'), 'for augment.crop;'),
  (dict(auto='v0', rand_n=2), 'two policies'),
  (dict(auto='v1'), 'for augment.auto;'),
  (dict(rand_n=2, rand_m=20.0), 'from 0 to 10'),
  (dict(jitter=1.1), 'from 0 to 1'),
  (dict(jitter=0.8, hue=0.6), 'from 0 to 0.5'),
  (
    dict(jitter=0.8, brightness=0, contrast=0, saturation=0, hue=0),
    'are all 0',
  ),
  (dict(erase=0.5, erase_count=0), 'at least 1'),
  (dict(erase=0.5, erase_area=(0.5, 0.1)), 'the lower first'),
  (dict(repeats=0), 'at least 1'),
  (dict(repeats=3), 'batch 64, which does not divide into examples of'),
]


@pytest.mark.parametrize(('augment', 'said'), [*IDLE, *WRONG], ids=str)
def test_contradictions_and_idle_fields_are_named(augment, said):
  with pytest.raises(InputError) as error:
    cfg.check(tree(**augment))
  assert said in str(error.value)
  assert 'augment.' in str(error.value)


GOOD = [
  dict(crop='area', short_side=(0, 0), area=(0.5, 1.0), aspect=(1.0, 1.0)),
  dict(crop='area', short_side=(100, 120), short_draw='inverse'),
  dict(crop='multi_scale', scales=(1.0, 0.5), scale_gap=0, places=5),
  # What only says how something is rounded stays, whatever reads it.
  dict(short_side=(256, 256), short_draw='rounded', last_offset=False),
  dict(crop='area', short_side=(0, 0), long_side='round', last_offset=False),
  dict(zoom=(1.0, 1.25), short_draw='inverse'),
  dict(auto='v0', policy_on='crop'),
  dict(rand_n=2, rand_m=7.0, rand_mstd=0.5, rand_inc=True, rand_p=1.0),
  dict(jitter=0.8, jitter_each='frame', brightness=0, hue=0.5, grey=0.2),
  dict(erase=0.25, erase_area=(0.1, 0.2), erase_count=3, erase_with='noise'),
  dict(repeats=4),
]


@pytest.mark.parametrize('augment', GOOD, ids=str)
def test_fields_that_agree_pass(augment):
  found = cfg.check(tree(**augment)).augment
  assert all(getattr(found, name) == value for name, value in augment.items())
