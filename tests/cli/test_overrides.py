"""What follows from a field that the command line names."""

import pytest

from vidmodels.cli import recipe
from vidmodels.train import optim
from vidmodels.typing import InputError

RECIPES = [name for r in recipe.names() for name in recipe.published(r)]
# A few are a program of their own; all have one of these schedules.
SCHEDULES = ('timesformer', 'i3d', 'i3d:slowfast', 'vidtr', 'xvit', 'demo')


def load(name: str, *fields: str):
  return recipe.load(name, [f'--config.{field}' for field in fields])


def shape(config, examples: int) -> list[float]:
  """The rate at ten places of a run, as shares of the peak."""
  sizes = dict(examples=examples, batch=config.batch)
  total = optim.total_steps(config.optim, **sizes)
  rate = optim.make_schedule(config.optim, **sizes)
  peak = optim.peak_lr(config.optim, batch=config.batch)
  return [float(rate(round(k / 10 * total))) / peak for k in range(10)]


@pytest.mark.parametrize('name', SCHEDULES)
def test_steps_alone_shorten_a_run_in_proportion(name):
  """600 steps of a rate have the shape of the whole run."""
  whole = load(name)
  short = load(name, 'optim.steps=600')
  examples = 100 * whole.batch
  assert optim.total_steps(short.optim, examples=1, batch=1) == 600
  assert shape(short, examples) == pytest.approx(
    shape(whole, examples), abs=0.02
  )
  assert short.checkpoint.every <= 150
  assert short.log.every <= 60


@pytest.mark.fast_every(4)
@pytest.mark.parametrize('name', RECIPES)
@pytest.mark.parametrize('length', ['optim.steps=1', 'optim.steps=7'])
def test_any_recipe_can_be_shortened_to_a_few_steps(name, length):
  config = load(name, length)
  steps = config.optim.steps
  sizes = dict(examples=10_000, batch=config.batch)
  optim.make_schedule(config.optim, **sizes)  # raises if a part is outside
  assert config.checkpoint.every <= steps
  assert config.log.every <= steps


@pytest.mark.parametrize('name', SCHEDULES)
def test_epochs_alone_do_so_too(name):
  whole, short = load(name), load(name, 'optim.epochs=3.0')
  assert (short.optim.epochs, short.optim.steps) == (3.0, 0)
  examples = 2000 * whole.batch
  assert shape(short, examples) == pytest.approx(
    shape(whole, examples), abs=0.02
  )


def test_validation_is_not_lost_in_a_short_run():
  short = load('demo', 'log.validate=400', 'optim.steps=40')
  assert short.log.validate == 400  # as named
  assert load('demo', 'optim.steps=40').log.validate == 0


def test_what_is_named_stays_as_named():
  config = load(
    'timesformer',
    *('optim.steps=100', 'optim.warmup=7.0', 'optim.milestones=(50.0, 60.0)'),
    *('checkpoint.every=90', 'log.every=30'),
  )
  assert config.optim.warmup == 7
  assert config.optim.milestones == (50, 60)
  assert (config.checkpoint.every, config.log.every) == (90, 30)
  with pytest.raises(InputError, match=r'epochs=2.0 and steps=5; expected one'):
    load('timesformer', 'optim.epochs=2.0', 'optim.steps=5')


@pytest.mark.parametrize(
  ('name', 'size', 'training', 'tests'),
  [
    ('timesformer', 112, (128, 160), 0),
    ('timesformer:high', 224, (224, 256), 0),
    ('video_focalnet', 32, (37, 37), 32),
    ('i3d:slowfast', 112, (128, 160), 128),
    ('xvit', 112, (0, 0), 0),  # as stored
    ('demo', 64, (64, 72), 0),
  ],
)
def test_short_sides_follow_the_size_of_the_crop(name, size, training, tests):
  config = load(name, f'clip.size={size}')
  assert config.augment.short_side == training
  assert config.views.short_side == tests
  assert load(name, f'clip.size={size}', 'optim.lr=0.1').clip == config.clip


@pytest.mark.fast_every(4)
@pytest.mark.parametrize('name', RECIPES)
def test_a_small_crop_of_any_recipe_sees_as_much_as_the_whole_one(name):
  from vidmodels.train import start_notes

  whole = load(name)
  # A quarter, which no patch or window needs to divide: nothing is built.
  small = load(name, f'clip.size={whole.clip.size // 4}')
  assert start_notes.seen_share(small) == pytest.approx(
    start_notes.seen_share(whole), rel=0.03
  )
  assert start_notes.small_crops(whole) == ''


def test_the_size_of_test_crops_follows_that_of_training():
  config = load('i3d', 'clip.size=112')
  assert (config.views.size, config.views.short_side) == (128, 128)
  assert load('i3d', 'clip.size=112', 'views.size=112').views.size == 112


def test_a_named_short_side_stays():
  config = load(
    'video_focalnet', 'clip.size=32', 'augment.short_side=(40,50)',
    'views.short_side=36',
  )  # fmt: skip
  assert config.augment.short_side == (40, 50)
  assert config.views.short_side == 36


@pytest.mark.parametrize(
  ('unknown', 'says'),
  [
    ('optim.learning_rate', "try 'optim.lr'"),
    ('learning-rate', "try 'optim.lr'"),
    ('lr', "try 'optim.lr'"),
    ('optim.batch_size', "try 'batch'"),
    ('data.num_workers', "try 'data.threads'"),
    ('optim.linear_probe', "try 'optim.train'"),
    ('model.freeze_backbone', "try 'optim.freeze'"),
    ('num_classes', 'the classes are those of the records'),
    ('model.num_classes', 'the classes are those of the records'),
    ('epochs', "try 'optim.epochs'"),
    ('num_frames', "try 'clip.frames'"),
    ('clip.img_size', "try 'clip.size'"),
    ('weight_decay', "try 'optim.weight_decay'"),
    ('optim.weigth_decay', "try 'optim.weight_decay'"),
    ('pretrained', "try 'init_from'"),
    ('model.hidden_size', "try 'model.width'"),
    ('fp16', "try 'dtype'"),
    ('wd', "try 'optim.weight_decay'"),
    ('workdir', 'try --workdir=FOLDER'),
    ('optim.Warmup', "try 'optim.warmup'"),
  ],
)
def test_names_of_other_toolboxes_are_answered_with_ours(unknown, says):
  with pytest.raises(InputError) as error:
    load('timesformer', f'{unknown}=1')
  assert str(error.value).startswith(f'got unknown field {unknown!r}; expected')
  assert str(error.value).endswith(says) or f'{says};' in str(error.value)


def test_a_name_is_not_answered_with_a_field_of_another_model():
  with pytest.raises(InputError, match=r"try 'model.widths'"):
    load('dualformer', 'model.hidden_size=1')


def test_a_word_for_what_decays_takes_the_place_of_the_recipes_pairs():
  assert load('dualformer').optim.decays
  assert load('dualformer', 'optim.decay=all').optim.decays == ()
  assert load('dualformer', 'optim.steps=9').optim.rate_by == 'update'
