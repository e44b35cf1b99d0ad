"""Recognises whose key names a file has, and guesses its model from the shapes.

  match = identify(open_file('TimeSformer.pyth').tensors)[0]
  match.naming.family, match.guess.model, match.guess.clip

Every `weights/<family>_weights.py` lists the `NAMINGS` of a family, the image
families that it can start from as `SOURCES`, a regex of its classifier's paths
as `HEAD`, and as `class_rows` which of its tables have rows of class tokens. A
file is recognised by keys that all such files have and others do not, never by
its file name. Several namings may match: a space-only TimeSformer has exactly
the keys of an image ViT.
"""

import dataclasses
import math
import re
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from vidmodels import fields
from vidmodels.typing import InputError
from vidmodels.weights.formats.tensors import Spec, Tensors
from vidmodels.weights.mapping.apply import KeyReport, match_rules
from vidmodels.weights.mapping.key_rules import Rule
from vidmodels.weights.mapping.prefixes import Unwrapped, unwrap

Specs = Mapping[str, Spec]
State = Mapping[str, np.ndarray]
Clip = tuple[int, int, int]  # frames, height and width in pixels


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pixels:
  """How the frames that a file was trained on were scaled."""

  mean: tuple[float, float, float]  # of RGB scaled to 0..1
  std: tuple[float, float, float]  # likewise
  order: str = 'RGB'  # order of the channels that the weights take


# Heads of the published ViTs and T2T-ViTs, by width and layers.
VIT_HEADS = {
  (192, 12): 3,
  (384, 12): 6,
  (384, 14): 6,
  (448, 19): 7,
  (512, 24): 8,
  (768, 12): 12,
  (1024, 24): 16,
  (1280, 32): 16,
  (1408, 40): 16,
  (1664, 48): 16,
}
# A key of every T2T-ViT, whose other keys are those of timm's ViT.
T2T_KEY = 'tokens_to_token.attention1.kqv.weight'
HALF = Pixels(mean=(0.5,) * 3, std=(0.5,) * 3)
IMAGENET = Pixels(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Guess:
  """What names and shapes tell about the model that a file is for."""

  model: Mapping[str, Any]  # fields of the family, as far as shapes tell them
  # clip: shape (T, H, W, C) of the clip that the file's tables are for. A
  # naming gives H = W = 0 if the number of rows in its table of patches is not
  # a square; `identify` then takes H and W from the caller, or refuses.
  clip: tuple[int, int, int, int]
  classes: int  # of its head; 0 if it has no head
  assumed: tuple[str, ...] = ()  # fields that shapes do not tell (heads)
  # free: fields that shapes tell and that the model may have otherwise
  free: tuple[str, ...] = ()
  size: str = ''  # name of the published size, e.g. 'B/16'; '' for any other.
  notes: tuple[str, ...] = ()  # what a user should know, a sentence each
  pixels: Pixels | None = None  # how frames were scaled, if the shapes tell it
  patches: int = 0  # rows of a frame's table of patches; 0 if there is none


@dataclasses.dataclass(frozen=True, kw_only=True)
class Naming:
  """One set of key names under which a family's weights are published."""

  family: str  # of the models
  name: str  # 'release', 'hf', 'timm', 'google', ...
  has: tuple[str, ...]  # keys of all such files; '{i}' is any whole number
  lacks: tuple[str, ...] = ()  # keys that no such file has
  guess: Callable[[Specs], Guess]  # from keys and shapes to the model
  rules: Callable[[Any], Sequence[Rule]]  # from the model to its key rules
  pixels: Pixels | None = None  # if all such files agree
  # trained: 'activation' and 'epsilon' that all such files were trained with
  trained: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  # adapt: from the model and the guess to the model that the file fills, where
  # a field has to follow the file's tables
  adapt: Callable[[Any, Guess], Any] = lambda model, guess: model
  # could_be_for: whether the file's tables could be for a clip (T, H, W, C)
  # just as well as for the clip of the guess, where shapes leave it open
  could_be_for: Callable[[Guess, tuple[int, int, int, int]], bool] = (
    lambda guess, video: False
  )
  # extras: from the model and its tensors by file key to further tensors that
  # published files have and that nothing of ours fills
  extras: Callable[[Any, State], State] = lambda model, state: {}
  # random: (regex, reason) of parameters that such a file does not fill
  random: tuple[tuple[str, str], ...] = ()
  licence: str = ''  # of the authors' own files of this kind, where known
  prefix: str = ''  # what published files put in front of every key
  under: str = ''  # the name under which published files keep their tensors

  def matches(self, keys: Iterable[str]) -> bool:
    """Whether a file with these keys has these names."""
    keys = list(keys)
    return all(_has_key(name, keys) for name in self.has) and not any(
      _has_key(name, keys) for name in self.lacks
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Match:
  """A naming that matches a file."""

  naming: Naming
  unwrapped: Unwrapped  # the file's tensors by the naming's keys
  guess: Guess  # what the file tells about its model


# Starts a video model from an image model. Arguments: the image model's
# variables, the image model, the video model, the shape (T, H, W, C) of the
# clips that it is for, and a report. Returns variables of the video model.
# Those that keep their initial value are left out; the report says why, and
# what of the image model is dropped or changed.
ImageSource = Callable[
  [Any, Any, Any, tuple[int, ...], KeyReport], dict[str, Any]
]


def family_modules() -> dict[str, types.ModuleType]:
  """The module `weights/<family>_weights.py` of every family that has one."""
  modules = fields.modules_with('weights', 'NAMINGS')
  return {name.removesuffix('_weights'): m for name, m in modules.items()}


def list_namings(family: str = '') -> tuple[Naming, ...]:
  """All namings, or a family's: its own file's, then those of other files."""
  namings = [
    (name != naming.family, naming)
    for name, module in family_modules().items()
    for naming in module.NAMINGS
    if family in ('', naming.family)
  ]
  return tuple(n for _, n in sorted(namings, key=lambda pair: pair[0]))


def image_sources(family: str) -> dict[str, ImageSource]:
  """The image families that a video family can start from, by name."""
  return dict(getattr(family_modules().get(family), 'SOURCES', {}))


def class_rows(family: str, model: Any, path: str) -> tuple[int, ...]:
  """Rows in front of each axis of a table that are class tokens, or ()."""
  find = getattr(family_modules().get(family), 'class_rows', None)
  return find(model, path) if find else ()


def head_pattern(family: str) -> str:
  """A regex that matches our paths of the classifier."""
  return getattr(family_modules().get(family), 'HEAD', '^head/')


def identify(
  tensors: Tensors, failed: list[str] | None = None, clip: Clip | None = None
) -> list[Match]:
  """Finds every naming that matches a file, those with most keys first.

  Args:
    tensors: of the file.
    failed: collects the reason why a naming that matches by its keys cannot be
      read. Without it such a file is an error.
    clip: the clip that the file is needed for. It tells height and width if the
      number of rows in a table of patches is not a square.
  """
  matches = []
  for unwrapped in unwrap(tensors):
    for naming in list_namings():
      if not naming.matches(unwrapped.tensors):
        continue
      try:
        guess = _complete_frame_size(_guess(naming, unwrapped.tensors), clip)
      except InputError as error:
        if failed is None:
          raise
        failed.append(f'{naming.family} ({naming.name}): {error}')
      else:
        matches.append(Match(naming=naming, unwrapped=unwrapped, guess=guess))
  return sorted(matches, key=lambda m: -len(m.naming.has) - len(m.naming.lacks))


def _guess(naming: Naming, tensors: Tensors) -> Guess:
  """The naming's guess; shapes that no model has become an InputError."""
  try:
    return naming.guess(tensors.specs)
  except InputError:
    raise
  except (LookupError, ArithmeticError, ValueError, StopIteration) as error:
    cause = ' '.join(str(error).split()) or type(error).__name__
    raise InputError(
      f'the file has keys of {naming.family} ({naming.name}), but others are '
      f'missing or have a wrong shape ({cause}); the file is incomplete: try '
      'fetching it again'
    ) from error


def _complete_frame_size(guess: Guess, clip: Clip | None) -> Guess:
  """A guess with height and width, taken from `clip` if rows are no square."""
  if guess.clip[1]:
    return guess
  comparison, count = '', f'{guess.patches} patches, which is not a square'
  if clip:
    (_, H, W), P = clip, guess.model['patch']
    if not (H % P or W % P) and guess.patches == (H // P) * (W // P):
      note = (
        f'the position table has {count}: it is taken to be for {H // P} x '
        f'{W // P} patches, as in the clip'
      )
      shape = (guess.clip[0], H, W, guess.clip[3])
      return dataclasses.replace(guess, clip=shape, notes=(*guess.notes, note))
    comparison = f'; frames of {H} x {W} pixels have {H / P:g} x {W / P:g}'
  raise InputError(
    f'got a position table of {count}; expected to be told the clip that it '
    f'was made for{comparison}; try clip=(frames, height, width), or a recipe '
    'for that clip'
  )


# --- For the guesses of the families: shapes to fields


def shapes_by_path(
  rules: Sequence[Rule], specs: Specs
) -> dict[str, tuple[int, ...]]:
  """Shapes as they are in a file, by our path of what they would become.

  Keys that no rule matches are left out. A rule of several keys or paths gives
  the first key's shape to every path. The first rule of a path wins.
  """
  shapes: dict[str, tuple[int, ...]] = {}
  for _, keys, paths in reversed([*match_rules(rules, specs)]):
    shapes |= dict.fromkeys(paths, specs[keys[0]][0])
  return shapes


def find_shape(
  shapes: Mapping[str, tuple[int, ...]], path: str
) -> tuple[int, ...]:
  """The shape at a path of `shapes_by_path`, or at a key; refuses if none."""
  if path not in shapes:
    raise InputError(
      f'the file has nothing that becomes {path}; it is incomplete: try '
      'fetching it again'
    )
  return shapes[path]


def count_classes(
  shapes: Mapping[str, tuple[int, ...]], bias: str = 'head/bias'
) -> int:
  """Number of classes that a head's bias has; 0 without a head."""
  return shapes[bias][0] if bias in shapes else 0


def count_layers(paths: Iterable[str], path: str = 'block_{i}/') -> int:
  """Counts the numbers that '{i}' takes at the start of paths; refuses gaps."""
  pattern = _number_pattern(path)
  numbers = sorted({int(m[1]) for p in paths if (m := pattern.match(p))})
  if numbers != list(range(len(numbers))):
    raise InputError(
      f'got the numbers {numbers} for {path}; expected no gaps: the file is '
      'incomplete; try fetching it again'
    )
  return len(numbers)


def vit_fields(
  shapes: Mapping[str, tuple[int, ...]],
  *,
  width: int,
  patch: int,
  block: str = 'block_{i}/',
) -> dict[str, Any]:
  """The fields of a ViT's blocks; for its heads see `assumed_heads`."""
  hidden = find_shape(shapes, f'{block.format(i=0)}mlp/up/bias')[0]
  layers = count_layers(shapes, block)
  return {
    'layers': layers,
    'width': width,
    'heads': VIT_HEADS.get((width, layers), max(width // 64, 1)),
    'mlp_ratio': hidden / width,
    'patch': patch,
  }


def assumed_heads(fields: Mapping[str, Any]) -> tuple[str, ...]:
  """('heads',) if no tensor tells the heads and no published size does."""
  known = (fields['width'], fields['layers']) in VIT_HEADS
  return () if known else ('heads',)


def vit_size(fields: Mapping[str, Any]) -> str:
  """'B/16' and the like; '' if no such ViT was published."""
  letters = {(384, 12): 'S', (768, 12): 'B', (1024, 24): 'L'}
  letter = letters.get((fields['width'], fields['layers']))
  return f'{letter}/{fields["patch"]}' if letter else ''


def square_frame(patches: int, patch: int) -> tuple[int, int]:
  """Height and width of a square frame of so many patches; (0, 0) if none."""
  side = math.isqrt(max(patches, 0))
  return (side * patch,) * 2 if side * side == patches else (0, 0)


def read_patch_kernel(kernel: tuple[int, ...]) -> tuple[int, int]:
  """Channels C and edge P of a patch, from its kernel's shape in the file.

  torch's kernel is [D, C, P, P]; in timm's oldest files it is [D, 3 P P].
  """
  if len(kernel) != 2:
    _, C, _, P = kernel
    return C, P
  C, P = 3, math.isqrt(kernel[1] // 3)
  if P < 1 or kernel[1] != C * P * P:
    raise InputError(
      f"got {kernel[1]} inputs for the patches' kernel; expected 3 x P x P; "
      'the file is damaged: try fetching it again'
    )
  return C, P


def _number_pattern(name: str) -> re.Pattern[str]:
  return re.compile(re.escape(name).replace(r'\{i\}', r'(\d+)'))


def _has_key(name: str, keys: Sequence[str]) -> bool:
  if '{i}' not in name:
    return name in keys
  pattern = _number_pattern(name)
  return any(pattern.fullmatch(key) for key in keys)
