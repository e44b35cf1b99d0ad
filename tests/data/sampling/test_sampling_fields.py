"""Which fields of a recipe a sampling rule reads, and what it refuses."""

import itertools

import numpy as np
import pytest
from sampling import pyslowfast, stamps, train_indices

from vidmodels import config as cfg
from vidmodels.config import Clip
from vidmodels.data.sampling import rules
from vidmodels.typing import InputError

FIELDS = ('stride', 'unit', 'fps', 'short')


class Spy:
  """A clip that knows which of its fields were read."""

  def __init__(self, clip):
    self.clip, self.read = clip, set()

  def __getattr__(self, name):
    self.read.add(name)
    return getattr(self.clip, name)


@pytest.mark.parametrize('rule', rules.names())
def test_a_rule_reads_the_fields_that_recipes_may_set(rule):
  read = set()
  for n, unit in itertools.product((3, 50), ('frame', 'second')):
    spy = Spy(Clip(frames=4, sampling=rule, unit=unit, fps=30.0))
    train_indices(stamps(n), spy, np.random.default_rng(0))
    rules.view_indices(stamps(n), spy, 0, 2)
    read |= spy.read
  assert read & set(FIELDS) == set(rules.find(rule).READS)


@pytest.mark.parametrize('rule', rules.names())
def test_a_rule_that_reads_clip_short_treats_short_videos_so(rule):
  own = rules.find(rule)
  assert (own.SHORT == 'clip.short') == ('short' in own.READS)


def test_an_unknown_rule_is_refused_with_the_nearest():
  with pytest.raises(InputError, match=r"'pyslowfost'.*try 'pyslowfast'"):
    cfg.check(recipe(sampling='pyslowfost'))


def recipe(**clip):
  c = cfg.skeleton(family='timesformer')
  c.data.dir = 'x'
  c.optim.epochs = 1.0
  c.clip.update(clip)
  return c


SET = {'stride': 3.0, 'unit': 'second', 'fps': 30.0, 'short': 'loop'}


@pytest.mark.parametrize(
  ('rule', 'field'), list(itertools.product(rules.names(), FIELDS))
)
def test_a_field_that_a_rule_does_not_read_is_refused(rule, field):
  c = recipe(sampling=rule, **{field: SET[field]})
  if field in rules.find(rule).READS:
    cfg.check(c)
  else:
    with pytest.raises(InputError, match=rf'clip\.{field}=.*nothing reads'):
      cfg.check(c)


@pytest.mark.parametrize(
  'rule', ['dmvr', 'mmaction', 'mmaction_segment', 'vidtr']
)
def test_rules_that_count_whole_frames_refuse_fractions(rule):
  with pytest.raises(InputError, match=r'stride=1.5 .* whole frames'):
    cfg.check(recipe(sampling=rule, stride=1.5))
  clip = Clip(frames=4, stride=1.5, sampling=rule)
  with pytest.raises(InputError, match=r'stride=1.5 .* whole frames'):
    rules.view_indices(stamps(20), clip, 0, 1)
  with pytest.raises(InputError, match=r'stride=1.5 .* whole frames'):
    train_indices(stamps(20), clip, np.random.default_rng(0))


def test_a_recipe_with_views_that_its_rule_lacks_is_refused():
  c = recipe(sampling='pyslowfast_segment')
  c.views.temporal = 3
  cfg.check(c)
  c.views.temporal = 4
  with pytest.raises(InputError, match=r'views.temporal=4 .* at most 3'):
    cfg.check(c)


@pytest.mark.parametrize(
  ('times', 'said'),
  [
    ([-1, -1, -1], r'no time stamps; .*clip.fps=30; set clip.fps=0, or prep'),
    ([0, 50_000, 40_000], r'do not rise; .*clip.fps=30; set clip.fps=0'),
    ([0, 0, 0], 'do not rise'),
  ],
)
@pytest.mark.parametrize('rule', ['pyslowfast', 'uniform'])
def test_a_rate_that_nobody_knows_is_refused(rule, times, said):
  times = np.array(times)
  for sample in (
    lambda c: train_indices(times, c, np.random.default_rng(0)),
    lambda c: rules.view_indices(times, c, 0, 1),
  ):
    with pytest.raises(InputError, match=said):
      sample(pyslowfast(2, 1, sampling=rule))
    sample(pyslowfast(2, 1, 0.0, rule))  # frames need no times


def test_what_counts_by_time_is_known():
  assert rules.by_time(pyslowfast(8, 32))
  assert rules.by_time(Clip(unit='second'))
  assert not rules.by_time(pyslowfast(8, 32, 0.0))
  assert not rules.by_time(Clip())
