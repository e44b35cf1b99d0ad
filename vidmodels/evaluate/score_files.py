"""Which file of scores is meant, and what is told of one that is none.

Before `scored`, which reads it.
"""

import pathlib
import zipfile

from vidmodels.typing import InputError

FORMAT = 'vidmodels-scores-1'


def find(path: str | pathlib.Path) -> pathlib.Path:
  """The file of scores that is meant: the path, or the one in a folder.

  Raises:
    InputError: if it is a folder that holds none, or several.
  """
  path = pathlib.Path(path)
  if not path.is_dir():
    return path
  found = sorted(path.glob('*.npz'))
  if len(found) != 1:
    names = ', '.join(file.name for file in found) or 'no .npz'
    raise InputError(
      f'{path} holds {names}; wanted one .npz of scores in a folder, or the '
      'name of a file; '
      + ('name one of them' if found else 'evaluate the model first')
    )
  return found[0]


def check_zip(path: pathlib.Path) -> None:
  """Raises InputError for what is no .npz, which is a zip.

  NumPy would take it for a pickle, and say how to run it.
  """
  try:
    with open(path, 'rb') as file:
      start = file.read(4)
      whole = zipfile.is_zipfile(file)
  except OSError as e:
    raise unusable(path, e.strerror or str(e)) from e
  except ValueError as e:  # a name with a NUL
    raise unusable(path, str(e)) from e
  if not start:
    raise unusable(path, 'it is empty')
  if start[:2] != b'PK':
    raise unusable(path, 'it is no .npz file')
  if not whole:
    raise unusable(path, 'it is an .npz or zip file that is cut short')


def unusable(path: str | pathlib.Path, why: str) -> InputError:
  """What is told of a file that scores cannot be read from."""
  return InputError(
    f'{path} cannot be used: {why}; wanted an .npz that `vidmodels evaluate` '
    f'wrote, of format {FORMAT}; name that file, or evaluate again'
  )
