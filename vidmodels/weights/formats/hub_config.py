"""The config that the Hugging Face hub keeps beside a weight file.

`config.json`, by transformers or by timm, says what no tensor tells: heads,
epsilon, the form of GELU, the names of the classes. `preprocessor_config.json`,
or timm's `pretrained_cfg`, says how pixels were scaled. A copy beside
`NAME.bin` may be called `NAME_config.json`.
"""

import collections
import dataclasses
import os
import pathlib
from collections.abc import Mapping
from typing import Any

from vidmodels import checked_json
from vidmodels.object_store import in_store
from vidmodels.typing import InputError, brief

FAMILIES = {
  'vit': 'vit',
  'deit': 'vit',
  'timesformer': 'timesformer',
  'focalnet': 'focalnet',
  'twins': 'twins_svt',
}
# transformers' names of what JAX calls the exact and the tanh form.
ACTIVATIONS = {
  'gelu': 'gelu',
  'gelu_new': 'gelu_tanh',
  'gelu_pytorch_tanh': 'gelu_tanh',
  'gelu_fast': 'gelu_tanh',
  'relu': 'relu',
}
_LARGEST = 1 << 24  # bytes; the names of 21,841 classes are 1 MB
PLACEHOLDER = 'LABEL_0'  # transformers, where nobody named the classes
BAD_VALUE = TypeError, ValueError, AttributeError, LookupError, ArithmeticError


@dataclasses.dataclass(frozen=True, kw_only=True)
class HubConfig:
  """The config beside a file; all of it is empty if there is none."""

  files: tuple[str, ...] = ()  # names of the files that were read
  family: str = ''  # that they are about
  # trained: 'heads', 'epsilon', 'activation', as far as they say
  trained: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  labels: tuple[str, ...] = ()  # the classes' names, in order
  # mean: of RGB in 0..1; None if they do not say
  mean: tuple[float, float, float] | None = None
  std: tuple[float, float, float] | None = None  # likewise


def read_hub_config(path: pathlib.Path) -> HubConfig:
  """Reads the config beside a weight file; refuses one that is no config."""
  try:
    return _read_config(path)
  except InputError:
    raise
  except BAD_VALUE as error:
    raise InputError(
      f'got a config.json or preprocessor_config.json beside {path} with a '
      f'value that no config has ({error!s:.120}); expected that of the '
      'weights; try fetching it again, or move the weights away from it'
    ) from error


def _read_config(path: pathlib.Path) -> HubConfig:
  """As `read_hub_config`; a bad value is any error."""
  config, name = _read_json(path, 'config.json')
  kind = config.get('model_type') or config.get('architecture') or ''
  family = FAMILIES.get(str(kind).partition('_')[0].rstrip('0123456789'), '')
  if not family:
    return HubConfig()
  trained = {
    'heads': config.get('num_attention_heads'),
    'epsilon': config.get('layer_norm_eps'),
    'activation': ACTIVATIONS.get(str(config.get('hidden_act'))),
  }
  timm = config.get('pretrained_cfg') or {}
  pixels, pixels_name = _read_json(path, 'preprocessor_config.json')
  return HubConfig(
    files=tuple(filter(None, (name, pixels_name))),
    family=family,
    trained={name: v for name, v in trained.items() if v is not None},
    labels=_read_labels(config, timm),
    mean=_read_rgb(pixels.get('image_mean') or timm.get('mean')),
    std=_read_std(pixels.get('image_std') or timm.get('std')),
  )


def compare_with_model(
  trained: Mapping[str, Any], model: Any, labels: int, classes: int
) -> list[str]:
  """Notes on how a file was trained that its new model differs from.

  A family whose paper fixes a number has no field for it, and gets no note. A
  different number of heads is an InputError: no shape tells it, and every
  answer would be wrong.

  Args:
    trained: 'heads', 'epsilon', 'activation', as far as they are known.
    model: that takes the file's weights.
    labels: number of class names beside the file.
    classes: number of classes of the file's head.
  """
  heads = trained.get('heads')
  if heads is not None and getattr(model, 'heads', heads) != heads:
    raise InputError(
      f'got a model with {model.heads} heads; expected {heads}, as the config '
      f'beside the file says; try heads={heads}'
    )
  notes = [
    f'the file was trained with {name} {trained[name]} and the model has '
    f'{getattr(model, name)}; give {name}={trained[name]} for its own answers'
    for name in ('activation', 'epsilon')
    if name in trained and getattr(model, name, trained[name]) != trained[name]
  ]
  if labels and labels != classes:
    notes.append(
      f'the config beside the file names {labels} classes and its head has '
      f'{classes}: the names are left out'
    )
  return notes


def _read_json(path: pathlib.Path, name: str) -> tuple[dict[str, Any], str]:
  """A JSON object beside a file, and the name it has; ({}, '') if none."""
  for candidate in (f'{path.stem}_{name}', name):
    beside = path.with_name(candidate)
    # os.path's own: with a name that is too long there is no file either.
    if beside.is_file() if in_store(beside) else os.path.isfile(beside):
      content = checked_json.read(
        beside,
        largest=_LARGEST,
        advice='try fetching it again, or move the weights away from it',
      )
      return (content, candidate) if isinstance(content, dict) else ({}, '')
  return {}, ''


def _read_labels(
  config: Mapping[str, Any], timm: Mapping[str, Any]
) -> tuple[str, ...]:
  """Class names in the order of the head; () if there are none."""
  names = config.get('id2label') or {}
  if isinstance(names, Mapping) and names:
    keys = sorted(names, key=int)
    in_order = list(map(int, keys)) == list(range(len(keys)))
    if not in_order or names[keys[0]] == PLACEHOLDER:
      return ()
    names = [names[key] for key in keys]
  else:
    names = config.get('label_names') or timm.get('label_names') or []
  if not isinstance(names, list):
    raise TypeError(f'label_names is {brief(names)}, not a list')
  names = list(map(str, names))
  counts = collections.Counter(names)
  # Equal names get numbers: ImageNet has two classes called crane.
  return tuple(
    f'{name} ({k})' if counts[name] > 1 else name
    for k, name in enumerate(names)
  )


def _read_std(values: Any) -> tuple[float, float, float] | None:
  std = _read_rgb(values)
  if std and min(std) <= 0:
    raise ValueError(f'std is {brief(values)}, not above 0')
  return std


def _read_rgb(values: Any) -> tuple[float, float, float] | None:
  if isinstance(values, list | tuple) and len(values) == 3:
    return float(values[0]), float(values[1]), float(values[2])
  return None
