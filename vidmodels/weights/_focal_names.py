"""What the three namings of FocalNet's weights call each tensor."""

import dataclasses
from collections.abc import Mapping
from typing import Literal

import numpy as np

from vidmodels.typing import InputError

Naming = Literal['microsoft', 'hf', 'timm']


@dataclasses.dataclass(frozen=True)
class KeyNames:
  """What one naming calls each thing; {s} is a stage, {i} one of its blocks.

  Attributes:
    patch: the first convolution.
    patch_norm: the norm after it.
    block: a block's prefix.
    down: the convolution after stage {s}, {n} being {s} + 1.
    down_norm: the norm after it.
    f: projection to query, context and gates, in this order.
    h: projection of the gathered context.
    out: last projection of a modulation.
    mod_norm: norm before it.
    pre: the two norms of a block that has them first.
    post: the two norms of a block that has them last.
    gammas: of layer scale.
    norm: the last norm.
    head: the classifier.
    ones: axes of size 1 at the end of linear weights.
  """

  patch: str = 'patch_embed.proj'
  patch_norm: str = 'patch_embed.norm'
  block: str = 'layers.{s}.blocks.{i}'
  down: str = 'layers.{s}.downsample.proj'
  down_norm: str = 'layers.{s}.downsample.norm'
  f: str = 'f'
  h: str = 'h'
  out: str = 'proj'
  mod_norm: str = 'ln'
  pre: tuple[str, str] = ('norm1', 'norm2')
  post: tuple[str, str] = ('norm1', 'norm2')
  gammas: tuple[str, str] = ('gamma_1', 'gamma_2')
  norm: str = 'norm'
  head: str = 'head'
  ones: int = 0


NAMES: dict[Naming, KeyNames] = {
  'microsoft': KeyNames(),
  'hf': KeyNames(
    patch='focalnet.embeddings.patch_embeddings.projection',
    patch_norm='focalnet.embeddings.norm',
    block='focalnet.encoder.stages.{s}.layers.{i}',
    down='focalnet.encoder.stages.{s}.downsample.projection',
    down_norm='focalnet.encoder.stages.{s}.downsample.norm',
    f='projection_in',
    h='projection_context',
    out='projection_out',
    mod_norm='layernorm',
    norm='focalnet.layernorm',
    head='classifier',
  ),
  'timm': KeyNames(
    patch='stem.proj',
    patch_norm='stem.norm',
    down='layers.{n}.downsample.proj',
    down_norm='layers.{n}.downsample.norm',
    mod_norm='norm',
    post=('norm1_post', 'norm2_post'),
    gammas=('ls1.gamma', 'ls2.gamma'),
    head='head.fc',
    ones=2,
  ),
}


def naming_of(state: Mapping[str, np.ndarray]) -> Naming:
  """Which naming a file's keys are in.

  Raises:
    InputError: if it is none of the three.
  """
  for naming, names in NAMES.items():
    if f'{names.patch}.weight' in state:
      return naming
  wanted = ', '.join(f'{n.patch}.weight' for n in NAMES.values())
  raise InputError(
    f'the file is no FocalNet: its keys start {list(state)[:3]} and none is '
    f'{wanted}; give a state dict, without prefixes'
  )
