"""What the Hugging Face hub keeps beside a weight file: its model's config.

`config.json`, by transformers or by timm, says what no tensor tells: heads,
epsilon, the form of GELU, the names of the classes; `preprocessor_config.json`,
or timm's `pretrained_cfg`, how pixels were scaled. A copy beside `NAME.bin` may
be called `NAME_config.json`.
"""

import dataclasses
import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

from vidmodels.typing import InputError

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
PLACEHOLDER = 'LABEL_0'  # transformers, where nobody named the classes


@dataclasses.dataclass(frozen=True, kw_only=True)
class Told:
  """What lies beside a file; all of it empty where nothing does.

  Attributes:
    files: names of the files that were read.
    family: that they are about.
    trained: 'heads', 'epsilon', 'activation', as far as they say.
    labels: the classes' names, in order.
    mean: of RGB in 0..1; None if they do not say.
    std: likewise.
  """

  files: tuple[str, ...] = ()
  family: str = ''
  trained: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  labels: tuple[str, ...] = ()
  mean: tuple[float, float, float] | None = None
  std: tuple[float, float, float] | None = None


def beside(path: pathlib.Path) -> Told:
  """Reads what lies beside a weight file.

  Raises:
    InputError: if a file of that name is no JSON, or no config.
  """
  try:
    return _told(path)
  except (TypeError, AttributeError, LookupError, ArithmeticError) as error:
    raise _odd(path, error) from error
  except ValueError as error:
    if isinstance(error, InputError):
      raise
    raise _odd(path, error) from error


def _odd(path: pathlib.Path, error: Exception) -> InputError:
  return InputError(
    f'the config.json or preprocessor_config.json beside {path} says what no '
    f'config says ({error}); fetch it again or move the weights away from it'
  )


def _told(path: pathlib.Path) -> Told:
  """As `beside`, of configs that are as they should be."""
  config, name = _read(path, 'config.json')
  kind = config.get('model_type') or config.get('architecture') or ''
  family = FAMILIES.get(str(kind).partition('_')[0].rstrip('0123456789'), '')
  if not family:
    return Told()
  cfg = config.get('pretrained_cfg') or {}
  pixels, more = _read(path, 'preprocessor_config.json')
  return Told(
    files=tuple(filter(None, (name, more))),
    family=family,
    trained=_trained(config),
    labels=_labels(config, cfg),
    mean=_three(pixels.get('image_mean') or cfg.get('mean')),
    std=_three(pixels.get('image_std') or cfg.get('std')),
  )


def differences(
  trained: Mapping[str, Any], model: Any, labels: int, classes: int
) -> list[str]:
  """What a file was trained with and a model is not, a sentence each.

  A family whose paper fixes a number has no field for it and is not asked.

  Args:
    trained: 'heads', 'epsilon', 'activation', as far as they are known.
    model: that takes the file's weights.
    labels: names of classes beside the file.
    classes: answers of the file's head.

  Raises:
    InputError: if the heads differ: no shape tells, and no answer would be
      right.
  """
  heads = trained.get('heads')
  if heads is not None and getattr(model, 'heads', heads) != heads:
    raise InputError(
      f'the config beside the file says {heads} heads and the model has '
      f'{model.heads}; give the model heads={heads}'
    )
  found = [
    f'the file was trained with {name} {trained[name]} and the model has '
    f'{getattr(model, name)}; give {name}={trained[name]} for its own answers'
    for name in ('activation', 'epsilon')
    if name in trained and getattr(model, name, trained[name]) != trained[name]
  ]
  if labels and labels != classes:
    found.append(
      f'the config beside the file names {labels} classes and its head has '
      f'{classes}: the names are left out'
    )
  return found


def _read(path: pathlib.Path, name: str) -> tuple[dict[str, Any], str]:
  """A JSON object beside the file and the name it has; ({}, '') for none."""
  for each in (f'{path.stem}_{name}', name):
    # os.path's own: a name that becomes too long is no file either.
    if os.path.isfile(found := path.with_name(each)):
      try:
        read = json.loads(found.read_text())
      except (OSError, ValueError, RecursionError) as error:
        raise InputError(
          f'{found} lies beside the weights and is no JSON ({error}); fetch it '
          'again or move the weights away from it'
        ) from error
      return (read, each) if isinstance(read, dict) else ({}, '')
  return {}, ''


def _trained(config: Mapping[str, Any]) -> dict[str, Any]:
  """Fields of ours that transformers' config has."""
  found = {
    'heads': config.get('num_attention_heads'),
    'epsilon': config.get('layer_norm_eps'),
    'activation': ACTIVATIONS.get(str(config.get('hidden_act'))),
  }
  return {name: value for name, value in found.items() if value is not None}


def _labels(config: Mapping[str, Any], cfg: Mapping[str, Any]):
  """Class names in the order of the head; () if there are none."""
  names = config.get('id2label') or {}
  if isinstance(names, Mapping) and names:
    keys = sorted(names, key=int)
    if list(map(int, keys)) != list(range(len(keys))):
      return ()
    if names[keys[0]] == PLACEHOLDER:
      return ()
    return _apart([str(names[key]) for key in keys])
  names = config.get('label_names') or cfg.get('label_names') or []
  if not isinstance(names, list):
    raise TypeError(f'label_names is {names!r:.80}, no list')
  return _apart(list(map(str, names)))


def _apart(names: list[str]) -> tuple[str, ...]:
  """Names all different: ImageNet has a crane that flies and one that lifts."""
  return tuple(
    f'{name} ({k})' if names.count(name) > 1 else name
    for k, name in enumerate(names)
  )


def _three(values: Any) -> tuple[float, float, float] | None:
  if isinstance(values, list | tuple) and len(values) == 3:
    return tuple(map(float, values))
  return None
