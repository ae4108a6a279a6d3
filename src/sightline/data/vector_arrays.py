"""Tables of numbers that lie in a file as they lie in memory: .npy, .npz, .fvecs.

N rows of D numbers. Files are mapped: nothing is read before it is used, and nothing is unpickled.
"""

from __future__ import annotations

import shutil
import tempfile
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from sightline.data.vector_names import choose_name
from sightline.errors import DataError

_LOCAL_HEADER = 30
_HEADERS_AT_ONCE = 1 << 16


class Header(NamedTuple):
    """What the first bytes of a .npy file say."""

    shape: tuple[int, ...]
    is_fortran: bool
    dtype: np.dtype[Any]
    size: int
    """Bytes of the header: the numbers begin there."""


def map_npy(file: Path) -> npt.NDArray[Any]:
    """Return the table of a .npy file (N, D) as a memory map.

    Raises DataError for another shape, objects, an empty, cut or broken file.
    """
    return _mapped(file, 0, file.stat().st_size, file)


def map_fvecs(file: Path) -> npt.NDArray[Any]:
    """Return the vectors of an .fvecs file (N, D) as a view of a memory map.

    Each is its length D as a little-endian int32, then D float32 (Jegou, Douze & Schmid, Product
    quantization for nearest neighbor search, 2011, data sets of section V). Every length is looked
    at. Raises DataError for one that differs and for a cut file.
    """
    size = file.stat().st_size
    with file.open("rb") as handle:
        start = handle.read(4)
    numbers = int.from_bytes(start, "little", signed=True)
    width = 4 * (numbers + 1)
    if len(start) < 4 or numbers < 1 or width > size:
        raise DataError(
            "This is no .fvecs file, or it is cut.",
            expected="vectors, each its length as an int32 and as many float32",
            got=f"{size:,} bytes that begin with the length {numbers}",
            where=file,
        )
    words = np.memmap(file, dtype="<i4", mode="r", shape=(size // width, numbers + 1))
    for first in range(0, len(words), _HEADERS_AT_ONCE):
        other = np.flatnonzero(words[first : first + _HEADERS_AT_ONCE, 0] != numbers)
        if len(other):
            row = first + int(other[0])
            raise DataError(
                "Not every vector of the .fvecs file has the same length.",
                expected=f"{numbers} numbers, as in row 0",
                got=f"the length {int(words[row, 0])}",
                where=f"{file}, row {row}",
                remedy="write the file anew; from there on nothing in it can be told apart",
            )
    if size % width:
        raise DataError(
            "The last vector of the .fvecs file is cut.",
            expected=f"a multiple of {width:,} bytes, {numbers} numbers in each row",
            got=f"{size:,} bytes",
            where=f"{file}, row {len(words)}",
            remedy="copy or download the file again",
        )
    return words.view("<f4")[:, 1:]


def choose_member(file: Path, wanted: str | None) -> str:
    """Return the name of the array of an .npz file that holds vectors.

    The wanted one; else the one called embedding, embeddings, vector or vectors; else the only one
    of two dimensions. Raises DataError that lists what there is.
    """
    with _opened(file) as archive:
        names = [name.removesuffix(".npy") for name in archive.namelist()]
        chosen = choose_name(names, wanted, file, what="array")
        if chosen is not None:
            return chosen
        shapes = {name: _member_header(archive, name, file).shape for name in names}
    tables = [name for name, shape in shapes.items() if len(shape) == 2]
    if len(tables) != 1:
        raise DataError(
            "It is not clear which array of the .npz file holds the vectors.",
            expected="one called embedding or vector, or a single one of two dimensions",
            got=", ".join(f"{name} {shape}" for name, shape in shapes.items()) or "no array",
            where=file,
            remedy="name it: data.column=NAME",
        )
    return tables[0]


def map_member(file: Path, name: str) -> npt.NDArray[Any] | None:
    """Return an array of an .npz file as a memory map, or None where it is compressed."""
    with _opened(file) as archive:
        information = archive.getinfo(f"{name}.npy")
        _member_header(archive, name, file)
    if information.compress_type != zipfile.ZIP_STORED:
        return None
    with file.open("rb") as handle:
        handle.seek(information.header_offset)
        local = handle.read(_LOCAL_HEADER)
    extra = sum(int.from_bytes(local[at : at + 2], "little") for at in (26, 28))
    begin = information.header_offset + _LOCAL_HEADER + extra
    return _mapped(file, begin, information.file_size, f"{file}, array {name}")


def extract_member(file: Path, name: str, into: IO[bytes]) -> None:
    """Write an array of an .npz file as a .npy file, a block at a time."""
    with _opened(file) as archive:
        try:
            with archive.open(f"{name}.npy") as stream:
                shutil.copyfileobj(stream, into, 1 << 20)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
            raise _broken(file, error) from error


def load_member(file: Path, name: str) -> npt.NDArray[Any]:
    """Return an array of an .npz file (N, D) in memory."""
    with tempfile.TemporaryFile() as handle:
        extract_member(file, name, handle)
        handle.seek(0)
        check_shape(_header(handle, f"{file}, array {name}").shape, f"{file}, array {name}")
        handle.seek(0)
        return np.asarray(np.load(handle, allow_pickle=False))


def _opened(file: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(file)
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise _broken(file, error) from error


def _member_header(archive: zipfile.ZipFile, name: str, file: Path) -> Header:
    try:
        with archive.open(f"{name}.npy") as stream:
            return _header(stream, f"{file}, array {name}")
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, KeyError) as error:
        raise _broken(file, error) from error


def _mapped(file: Path, begin: int, size: int, where: object) -> npt.NDArray[Any]:
    """The table of the .npy content that begins at a byte of the file and has so many bytes."""
    with file.open("rb") as handle:
        handle.seek(begin)
        header = _header(handle, where)
    check_shape(header.shape, where)
    needed = header.size + int(np.prod(header.shape, dtype=object)) * header.dtype.itemsize
    if needed > size:
        raise DataError(
            "The file is cut: it holds fewer numbers than it says.",
            expected=f"{needed:,} bytes for the shape {header.shape} of {header.dtype}",
            got=f"{size:,} bytes",
            where=where,
            remedy="copy or download the file again",
        )
    order: Any = "F" if header.is_fortran else "C"
    return np.memmap(
        file, header.dtype, "r", offset=begin + header.size, shape=header.shape, order=order
    )


def check_shape(shape: tuple[int, ...], where: object) -> None:
    """Raise DataError unless the shape is that of a table with rows and columns."""
    if len(shape) != 2 or not all(shape):
        raise DataError(
            "These are no vectors." if all(shape) and shape else "There are no vectors.",
            expected="a table (N, D): N vectors of D numbers, one or more of each",
            got=f"shape {shape}",
            where=where,
            remedy="make it one row for each vector" if all(shape) and shape else None,
        )


def _header(stream: IO[bytes], where: object) -> Header:
    form = np.lib.format
    begin = stream.tell()
    try:
        version = form.read_magic(stream)
        read = {(1, 0): form.read_array_header_1_0, (2, 0): form.read_array_header_2_0}
        shape, is_fortran, dtype = read[version](stream)
    # A header is parsed as Python's literals, which can fail in every way that Python has.
    except (ValueError, KeyError, EOFError, SyntaxError, TypeError, MemoryError) as error:
        raise DataError(
            "This is no array of numpy.",
            expected="what numpy.save or numpy.savez wrote",
            got=str(error).splitlines()[0][:200] if str(error) else type(error).__name__,
            where=where,
        ) from error
    if dtype.hasobject:
        raise DataError(
            "The array holds Python objects, which are never unpickled: it could run a program.",
            expected="numbers",
            got="dtype object",
            where=where,
            remedy="save np.stack(list_of_vectors).astype(np.float32) instead",
        )
    return Header(shape, is_fortran, dtype, stream.tell() - begin)


def _broken(file: Path, error: Exception) -> DataError:
    return DataError(
        "The .npz file cannot be read.",
        expected="an archive that numpy.savez wrote",
        got=f"{type(error).__name__}: {error}",
        where=file,
        remedy="copy or download the file again",
    )
