"""Video-FocalNet's files: the authors'."""

import dataclasses

from vidmodels.weights import video_focalnet_weights
from vidmodels.weights.known import focalnet
from vidmodels.weights.mapping.identify import IMAGENET, Guess, Naming, Specs

SOURCES = video_focalnet_weights.SOURCES
FRAMES = 8  # tokens over time of every published model


def guess(specs: Specs) -> Guess:
  """What keys and shapes tell of a model."""
  found = focalnet.guess('microsoft', specs)
  model = {**found.model, **video_focalnet_weights.fields_of(specs)}
  return dataclasses.replace(
    found,
    model=model,
    clip=(FRAMES * model['tubelet'], *found.clip[1:]),
    notes=('published models were trained on 8 frames of 224 x 224 pixels',),
  )


NAMINGS = (
  Naming(
    family='video_focalnet',
    name='release',
    has=('patch_embed.proj.weight', focalnet.F, focalnet.F_TEMPORAL),
    guess=guess,
    rules=video_focalnet_weights.rules,
    pixels=IMAGENET,
    trained={'activation': 'gelu', 'epsilon': 1e-5},
    adapt=focalnet.adapt,
    under='model',
  ),
)
