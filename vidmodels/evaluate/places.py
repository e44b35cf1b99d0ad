"""Where results go: made and tried before hours of scoring, not after.

`run`, `per_class` and `submission` write there.
"""

import pathlib
import shutil
import tempfile
from collections.abc import Iterable

from vidmodels.data.tfrecord import check_place
from vidmodels.typing import InputError


def folder(path: str | pathlib.Path) -> pathlib.Path:
  """The folder, made if it is not there.

  Raises:
    InputError: if it cannot be, or nothing can be written to it.
  """
  path = pathlib.Path(path)
  try:
    path.mkdir(parents=True, exist_ok=True)
    # A disk that is read-only shows it only to who writes; leaves nothing.
    tempfile.TemporaryFile(dir=path).close()
  except OSError as error:
    raise InputError(
      f'{path} came as the folder for results, and nothing can be written '
      f'there ({error.strerror}); wanted a folder of yours, or the name of a '
      'new one; choose another place'
    ) from error
  return path


def room(path: pathlib.Path, size: int) -> None:
  """Raises InputError if a folder's disk has no room for so many bytes."""
  disk = shutil.disk_usage(path)
  if disk.total and disk.free < size:  # 0: the file system does not say
    raise InputError(
      f'the scores take {size / 1e6:.2f} MB and the disk of {path} has '
      f'{disk.free / 1e6:.2f} MB left; wanted room for them; make some, or '
      'choose another place with --out'
    )


def file(path: str | pathlib.Path) -> pathlib.Path:
  """The path of a file to be written, whose folder is made.

  Raises:
    InputError: if no file can be there.
  """
  path = pathlib.Path(path)
  folder(path.parent)
  check_place(path)
  return path


def spare(
  wanted: Iterable[str | pathlib.Path], inputs: Iterable[str | pathlib.Path]
) -> None:
  """Refuses to write over what is read, or two files over one another.

  Args:
    wanted: files to be written.
    inputs: files that are to stay as they are, and folders of such.

  Raises:
    InputError: if a file to be written is, or lies in, one of the inputs.
  """
  kept = {pathlib.Path(path).resolve(): path for path in inputs}
  new: set[pathlib.Path] = set()
  for path in wanted:
    place = pathlib.Path(path).resolve()
    found = [kept[p] for p in (place, *place.parents) if p in kept]
    if found:
      raise InputError(
        f'{path} came as a file to write, and would replace '
        f'{"" if place in kept else "a part of "}{found[0]}, which this '
        'evaluation reads or writes; wanted a file of its own; choose another '
        'name'
      )
    if place in new:
      raise InputError(
        f'{path} came as two files to write; wanted a name for each'
      )
    new.add(place)
