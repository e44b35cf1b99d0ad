"""Twins-SVT's public weights, by timm's keys."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from vidmodels.models import twins_svt
from vidmodels.weights.dualformer_weights import channels, conv, level, levels
from vidmodels.weights.mapping import layers
from vidmodels.weights.mapping.layers import dense, norm
from vidmodels.weights.mapping.rules import (
  Arrays,
  Layout,
  Rule,
  Shapes,
  convolution,
  rule,
  vector,
)


def one_frame() -> Layout:
  """torch's [out, in, h, w] to our [1, h, w, in, out]."""
  flat = convolution()

  def load(arrays: Arrays, shapes: Shapes) -> Arrays:
    return (flat.load(arrays, shapes)[0][None],)

  def save(arrays: Arrays) -> Arrays:
    return flat.save((arrays[0][0],))

  return Layout(load, save)


def rules(model: twins_svt.Model) -> tuple[Rule, ...]:
  """The key rules of a model; timm counts a stage's levels through."""
  found = [*norm('norm', 'norm'), *dense('head', 'head')]
  for s in range(len(model.widths)):
    key, path = f'patch_embeds.{s}', f'stage_{s}'
    found += [
      rule(f'{key}.proj.weight', f'{path}/patch/kernel', convolution()),
      rule(f'{key}.proj.bias', f'{path}/patch/bias', vector()),
      *norm(f'{key}.norm', f'{path}/patch_norm'),
      *conv(f'pos_block.{s}.proj.0', f'{path}/block_0/peg'),
    ]
  patterns = (twins_svt.PATTERN,) * len(model.widths)
  for key, path, kind in levels(model.layers, patterns):
    pool = f'{path}/attn/pyramid/fine/kernel'
    # Before the rule of kernels that have a frame axis: the first is taken.
    found += [
      rule(f'{key}.attn.sr.weight', pool, one_frame()),
      *level(key, path, kind),
    ]
  return tuple(found)


def load(
  state: Mapping[str, np.ndarray], model: twins_svt.Model
) -> dict[str, Any]:
  """Turns timm's state dict into our variables.

  Args:
    state: tensors by timm's key, every one of which is used once.
    model: the model that they are for.

  Returns:
    Variables of `model`: numpy arrays, most of them views of `state`.

  Raises:
    InputError: if a key is left over, a parameter is not filled, or a shape is
      not the model's.
  """
  # Any frame does that leaves a pooled token in every stage.
  edge = max(
    model.patch * 2**s * each for s, each in enumerate(model.reductions)
  )
  video = (1, edge, edge, channels(state, ''))
  return layers.load(rules(model), state, model, video=video)


def save(
  variables: Mapping[str, Any], model: twins_svt.Model
) -> dict[str, np.ndarray]:
  """Turns our variables into timm's state dict: `load` undone."""
  return layers.save(rules(model), variables)
