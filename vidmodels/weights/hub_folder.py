"""The folder of a model for the Hugging Face hub: its two JSON documents.

  for name, text in documents(model, description).items(): ...

`config.json` is the configuration of transformers' class for the family, with
the names of the classes; `preprocessor_config.json` says how frames are scaled
and cut. The weights beside them are `model.safetensors`, by the hub's names.
"""

import json
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

from vidmodels.typing import InputError
from vidmodels.weights.description import Description
from vidmodels.weights.formats import hub_config
from vidmodels.weights.formats.open_file import HUB_WEIGHTS

WEIGHTS = HUB_WEIGHTS
# transformers' words for the attention schemes that it has.
ATTENTION_TYPES = {
  'divided': 'divided_space_time',
  'joint': 'joint_space_time',
  'space': 'space_only',
}
# Fields that transformers' classes have no place for, and what they must be.
FIXED: dict[str, dict[str, Any]] = {
  'vit': {'distilled': False, 'pre_logits': False, 'class_position': True},
  'timesformer': {
    'positions': 'space_time',
    'temporal_class_key': False,
  },
  'focalnet': {},
}


def holds_weights(folder: pathlib.Path) -> bool:
  """Whether a folder is one of the hub, with weights that can be opened."""
  return (folder / WEIGHTS).is_file()


def documents(model: Any, description: Description) -> dict[str, str]:
  """The text of each document by its name.

  A model that transformers has no class for is refused.
  """
  family, config = description.config.family, description.config
  make = _FAMILIES.get(family)
  if make is None:
    raise InputError(
      f'got {family} for a folder of the hub, which has no such model; '
      f'expected one of {", ".join(_FAMILIES)}; try other names'
    )
  _check_fields(family, model)
  names = description.classes.names
  content = {
    **make(model),
    'image_size': config.clip.size,
    'num_channels': 3,
    'id2label': {str(k): name for k, name in enumerate(names)},
    'label2id': {name: k for k, name in enumerate(names)},
  }
  if family == 'timesformer':
    content['num_frames'] = config.clip.frames
  return {
    'config.json': _to_text(content),
    'preprocessor_config.json': _to_text(_preprocessor(description)),
  }


def _check_fields(family: str, model: Any) -> None:
  """Refuses a model whose fields transformers' class cannot have."""
  for name, value in FIXED[family].items():
    if getattr(model, name) != value:
      raise InputError(
        f'got {name}={getattr(model, name)!r} for the hub, whose {family} has '
        f'{value!r}; expected the same; try other names'
      )


def _vit_blocks(model: Any) -> dict[str, Any]:
  return {
    'hidden_size': model.width,
    'num_hidden_layers': model.layers,
    'num_attention_heads': model.heads,
    'intermediate_size': round(model.width * model.mlp_ratio),
    'patch_size': model.patch,
    'qkv_bias': model.qkv_bias,
  }


def _vit(model: Any) -> dict[str, Any]:
  words = {ours: theirs for theirs, ours in hub_config.ACTIVATIONS.items()}
  words['gelu'] = 'gelu'
  return {
    'model_type': 'vit',
    'architectures': ['ViTForImageClassification'],
    **_vit_blocks(model),
    'hidden_act': words[model.activation],
    'layer_norm_eps': model.epsilon,
  }


def _timesformer(model: Any) -> dict[str, Any]:
  if model.attention not in ATTENTION_TYPES:
    raise InputError(
      f'got attention={model.attention!r} for the hub; expected one of '
      f'{", ".join(ATTENTION_TYPES)}, which its TimeSformer has; try other '
      'names'
    )
  return {
    'model_type': 'timesformer',
    'architectures': ['TimesformerForVideoClassification'],
    **_vit_blocks(model),
    'attention_type': ATTENTION_TYPES[model.attention],
    'hidden_act': 'gelu',
    'layer_norm_eps': 1e-6,
    'drop_path_rate': 0.0,
  }


def _focalnet(model: Any) -> dict[str, Any]:
  return {
    'model_type': 'focalnet',
    'architectures': ['FocalNetForImageClassification'],
    'patch_size': model.patch,
    'embed_dim': model.width,
    'use_conv_embed': model.overlap,
    'hidden_sizes': [model.width << s for s in range(len(model.layers))],
    'depths': list(model.layers),
    'focal_levels': list(model.levels),
    'focal_windows': list(model.windows),
    'mlp_ratio': model.mlp_ratio,
    'hidden_act': 'gelu',
    'layer_norm_eps': 1e-5,
    'use_layerscale': model.layer_scale,
    'use_post_layernorm': model.post_norm,
    'use_post_layernorm_in_modulation': model.modulation_norm,
    'normalize_modulator': model.normalize,
  }


_FAMILIES: dict[str, Callable[[Any], dict[str, Any]]] = {
  'vit': _vit,
  'timesformer': _timesformer,
  'focalnet': _focalnet,
}
PROCESSORS = {
  'vit': 'ViTImageProcessor',
  'timesformer': 'VideoMAEImageProcessor',
  'focalnet': 'BitImageProcessor',
}


def _preprocessor(description: Description) -> dict[str, Any]:
  """How a frame is resized, cut and scaled, in transformers' words."""
  config = description.config
  size = config.views.size or config.clip.size
  crop = {'height': size, 'width': size}
  side = {'shortest_edge': config.views.short_side or size}
  whole = config.family == 'vit'  # its processor has no crop
  return {
    'image_processor_type': PROCESSORS[config.family],
    'do_resize': True,
    'size': crop if whole else side,
    **({} if whole else {'do_center_crop': True, 'crop_size': crop}),
    'resample': 2,
    'do_rescale': True,
    'rescale_factor': 1 / 255,
    'do_normalize': True,
    'image_mean': list(config.data.mean),
    'image_std': list(config.data.std),
  }


def _to_text(document: Mapping[str, Any]) -> str:
  return f'{json.dumps(document, indent=2)}\n'
