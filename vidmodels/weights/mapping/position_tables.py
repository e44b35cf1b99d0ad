"""Which frames a table of positions is for: it counts places, and no sides.

Between a file's shapes and the `Guess` that `naming` makes of them.
"""

import dataclasses
import math
import typing

from vidmodels.typing import InputError

if typing.TYPE_CHECKING:
  from vidmodels.weights.mapping.identify import Guess

Clip = tuple[int, int, int]  # frames, height and width in pixels


def square(rows: int, what: str) -> int:
  """The side of a table of `rows` patches, taken as a square.

  Raises:
    InputError: if it is none.
  """
  side = math.isqrt(max(rows, 0))
  if side < 1 or side * side != rows:
    raise InputError(
      f'{what} has {rows} places, which is no square; the clip it was made for '
      'must be said'
    )
  return side


def size(places: int, patch: int) -> tuple[int, int]:
  """Height and width of square frames of so many places; (0, 0) for none."""
  side = math.isqrt(max(places, 0))
  return (side * patch,) * 2 if side * side == places else (0, 0)


def settled(guess: 'Guess', clip: Clip | None) -> 'Guess':
  """A guess whose frames have sides, those of `clip` if they are no square.

  Args:
    guess: its `clip` has sides of 0 where the places of its table are no
      square.
    clip: that the file is wanted for; None if nobody says.

  Raises:
    InputError: if the places are no square, and not those of the clip either.
  """
  if guess.clip[1]:
    return guess
  said = ''
  if clip:
    (_, H, W), P = clip, guess.model['patch']
    if not (H % P or W % P) and guess.places == (H // P) * (W // P):
      note = (
        f'the table of places has {guess.places}, which is no square: it is '
        f'taken to be for {H // P} x {W // P} patches, as the clip has'
      )
      sides = (guess.clip[0], H, W, guess.clip[3])
      return dataclasses.replace(guess, clip=sides, notes=(*guess.notes, note))
    said = f'; frames of {H} x {W} pixels have {H / P:g} x {W / P:g}'
  raise InputError(
    f'the table of places has {guess.places} places, which is no square; the '
    f'clip it was made for must be said{said}'
  )
