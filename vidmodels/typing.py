"""Names that every layer shares: axis letters, value ranges, the user's error.

Nothing here imports anything of ours; everything else may import this.
"""

from typing import Annotated

# A tensor's name ends in its axes (`h_BTND`); these are the letters in use.
AXES = {
  'B': 'clips of a batch',
  'T': 'frames of a clip',
  'H': 'rows: of pixels in a video, of patches in a token grid',
  'W': 'columns: of pixels in a video, of patches in a token grid',
  'N': 'patches of a frame, H * W',
  'L': 'all tokens of a sequence',
  'D': 'width of a token',
  'A': 'attention heads',
  'd': 'width of a head, D / A',
  'C': 'channels of a pixel',
  'K': 'classes',
  'V': 'views of a video',
  'F': 'hidden width of an MLP',
  'M': 'microbatches of a step',
  'P': 'pixels of a patch edge',
  'Q': 'query tokens',
  'S': 'key and value tokens',
  'R': 'rows of a table, or of the batch that one process feeds',
  'n': 'frames of a whole video',
  'x': 'any number of leading axes',
}


class InputError(ValueError):
  """What the user gave cannot be used; the command line exits with code 2.

  The message says what came, what was wanted, and the next move.
  """


# Ranges that `config.check` enforces; the string is what the user reads.
Positive = Annotated[int, 'at least 1', lambda v: v >= 1]
Count = Annotated[int, 'at least 0', lambda v: v >= 0]
PositiveFloat = Annotated[float, 'above 0', lambda v: v > 0]
NotNegative = Annotated[float, 'at least 0', lambda v: v >= 0]
Fraction = Annotated[float, 'from 0 to 1', lambda v: 0 <= v <= 1]
BelowOne = Annotated[float, 'from 0 to below 1', lambda v: 0 <= v < 1]
Seed = Annotated[int, 'from 0 to 2**32 - 1', lambda v: 0 <= v < 2**32]
