"""X-ViT's files, as the authors publish them."""

import dataclasses

from vidmodels.models import xvit as models
from vidmodels.weights import xvit_weights
from vidmodels.weights.mapping import identify, position_tables
from vidmodels.weights.mapping.identify import HALF, Guess, Naming, Specs

SOURCES = xvit_weights.SOURCES
HEAD = r'^head(_\d+)?/'
FRAMES = 16  # every published model takes so many, whatever its table has
NOTE = (
  'how channels are mixed is in no tensor: the release has mix_share .25 and '
  'segments of 8 frames for Kinetics, .5 and one of 16 for Something-Something'
)


def guess(specs: Specs) -> Guess:
  """What a file's keys and shapes say of its model."""
  rules = (*xvit_weights.rules(models.Model(classes=1)), *_averaged())
  paths = identify.by_path(rules, specs)
  width = identify.shape(paths, 'patch/bias')[0]
  _, C, _, P = identify.shape(paths, 'patch/kernel')
  rows = identify.shape(paths, 'space_pos/table')[1]
  layers = identify.layers(paths)
  ta_layers = identify.layers(paths, 'temporal/block_{i}/')
  fields = {
    'layers': layers,
    'width': width,
    'heads': identify.heads(width),
    'mlp_ratio': identify.shape(paths, 'block_0/mlp/up/bias')[0] / width,
    'patch': P,
    'time_rows': identify.shape(paths, 'time_pos/table')[1],
    'ta_layers': ta_layers,
    'qkv_bias': 'block_0/attn/qkv/bias' in paths,
  }
  if 'head/up/bias' in paths and paths['head/up/bias'][0] != width:
    fields['ta_hidden'] = paths['head/up/bias'][0]
  answer = 'head/linear/bias' if ta_layers else 'head/bias'
  return Guess(
    model=fields,
    # The file's rows are taken as they are, whatever the recipe starts with.
    assumed=('heads', 'time_rows'),
    clip=(FRAMES, *position_tables.size(rows - 1, P), C),
    places=rows - 1,
    classes=identify.shape(paths, answer)[0] if answer in paths else 0,
    size=identify.vit_size(width, layers, P),
    notes=(NOTE,),
  )


def _averaged():
  """Rules of a model that averages frames, whose head has other names."""
  return xvit_weights.rules(models.Model(classes=1, ta_layers=0))


def _adapt(model: models.Model, guess: Guess) -> models.Model:
  """The model with as many rows of frame positions as the file has."""
  return dataclasses.replace(model, time_rows=guess.model['time_rows'])


NAMINGS = (
  Naming(
    family='xvit',
    name='release',
    has=('base_model.temp_embed', 'base_model.pos_embed'),
    guess=guess,
    rules=xvit_weights.rules,
    pixels=HALF,
    trained={'activation': 'gelu', 'epsilon': 1e-6},
    adapt=_adapt,
    extras=xvit_weights.unread,
    under='model_state',
  ),
)
