"""Files that are whole or not there: written beside their name and renamed into place."""

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

__all__ = ["replacing", "umask", "write_file"]


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A new name beside `path`: what is written there takes the place of `path`, or after an error is gone."""
    target = Path(path)
    if not target.parent.is_dir():  # else the error would tell of a name that nobody gave
        raise FileNotFoundError(errno.ENOENT, "its folder does not exist", str(target))
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(8)}")
    try:
        yield temporary
        os.replace(temporary, target)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_file(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a file so that its name never stands for half of it. Devices and pipes are written to as they are."""
    target = Path(path)
    if target.exists() and not target.is_file():
        target.write_bytes(data)
        return
    with replacing(target) as temporary:
        temporary.write_bytes(data)


def umask() -> int:
    """The mask of permissions that new files do not get."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
