"""Persistent disks: sparse files of the disk's size behind loop devices, with a real file system that can be full.

A disk's file is `disks/PROJECT/NAME.img` in the state. The kernel takes a device away with its last user, so nothing
stays attached when the sandbox is killed; what was written is in the file.
"""

from __future__ import annotations

import dataclasses
import errno
import fcntl
import os
import shutil
import struct
import subprocess
import threading
import time
from pathlib import Path

from gcp_openemr.sandbox.interfaces import Refused
from gcp_openemr.sandbox.runtime import namespaces
from gcp_openemr.sandbox.runtime.cgroups import Groups

__all__ = ["Disk", "Disks"]

# linux/loop.h
_GET_FREE, _CONFIGURE, _AUTOCLEAR = 0x4C82, 0x4C0A, 4
_FLAGS_OFFSET, _INFO_SIZE, _RESERVED = 52, 232, 64
_NO_ATIME = 1024
_MAGIC = (1080, b"\x53\xef")  # of ext4's superblock
_ATTACH_SECONDS = 30.0
_SLOW_WRITES = 4  # a second
_BALLAST = ".full"


@dataclasses.dataclass(kw_only=True)
class Disk:
    """An attached disk. `key` is `PROJECT/NAME`, `place` where the daemon has it mounted, once it has."""

    key: str
    device: Path
    descriptor: int
    place: Path
    mounted: bool = False

    @property
    def number(self) -> int:
        return os.stat(self.device).st_rdev

    def mount(self, options: str = "") -> Path:
        """The file system's root in the daemon's own mounts. Raises OSError: it has none."""
        if not self.mounted:
            self.place.mkdir(parents=True, exist_ok=True)
            namespaces.mount(str(self.device), str(self.place), "ext4", _NO_ATIME, options)
            self.mounted = True
        return self.place

    def format(self) -> None:
        """Make an empty file system, unless there is one."""
        if os.pread(self.descriptor, len(_MAGIC[1]), _MAGIC[0]) == _MAGIC[1]:
            return
        subprocess.run(["mkfs.ext4", "-q", "-F", "-m", "0", str(self.device)], check=True, capture_output=True)

    def fill(self, full: bool) -> None:
        """Take all free space, or give it back."""
        ballast = self.mount() / _BALLAST
        ballast.unlink(missing_ok=True)
        if not full:
            return
        with ballast.open("wb") as out:
            step = 1 << 36
            while step >= 4096:
                try:
                    os.posix_fallocate(out.fileno(), out.seek(0, os.SEEK_END), step)
                except OSError:
                    step //= 2


class Disks:
    """All disks of the sandbox by `PROJECT/NAME`."""

    def __init__(self, directory: Path, mounts: Path, groups: Groups) -> None:
        self.directory = directory
        self._mounts = mounts
        self._groups = groups
        self._attached: dict[str, Disk] = {}
        self._lock = threading.Lock()

    def _image(self, key: str) -> Path:
        return self.directory / f"{key}.img"

    def exists(self, key: str) -> bool:
        return self._image(key).is_file()

    def attach(self, key: str, size: int) -> Disk:
        """Attach a disk of at least `size` bytes; it is made when there is none.

        Raises:
            Refused: this machine has no loop devices.
        """
        with self._lock:
            if key not in self._attached:
                image = self._image(key)
                image.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                with image.open("ab") as out:
                    out.truncate(max(size, out.tell()))
                self._attached[key] = self._configure(key, image)
            return self._attached[key]

    def _configure(self, key: str, image: Path) -> Disk:
        try:
            self._wait_until_free(image)
            with image.open("r+b") as backing:
                device, descriptor = self._claim(backing.fileno())
        except OSError as error:
            raise Refused(f"This machine gives the sandbox no loop device for disk {key}: {error}.", code=13) from error
        return Disk(key=key, device=device, descriptor=descriptor, place=self._mounts / key)

    @staticmethod
    def _claim(backing: int) -> tuple[Path, int]:
        """A loop device for an open file. The kernel says which is free; another program may be quicker to take it."""
        info = bytearray(_INFO_SIZE)
        struct.pack_into("=I", info, _FLAGS_OFFSET, _AUTOCLEAR)
        deadline = time.monotonic() + _ATTACH_SECONDS
        with open("/dev/loop-control", "rb") as control:
            while True:
                device = Path(f"/dev/loop{fcntl.ioctl(control, _GET_FREE)}")
                descriptor = os.open(device, os.O_RDWR | os.O_CLOEXEC)
                try:
                    fcntl.ioctl(descriptor, _CONFIGURE, struct.pack("=II", backing, 0) + info + bytes(_RESERVED))
                    return device, descriptor
                except OSError as error:
                    os.close(descriptor)
                    if error.errno != errno.EBUSY or time.monotonic() > deadline:
                        raise
                    time.sleep(0.02)

    @staticmethod
    def _wait_until_free(image: Path) -> None:
        """A sandbox that was killed a moment ago may still be writing to the file."""
        deadline = time.monotonic() + _ATTACH_SECONDS
        while subprocess.run(["losetup", "-j", str(image)], capture_output=True, check=True).stdout.strip():
            if time.monotonic() > deadline:
                raise TimeoutError(f"{image} is still attached")
            time.sleep(0.05)

    def detach(self, key: str) -> None:
        """Unmount and let go; nothing happens when it is not attached."""
        with self._lock:
            disk = self._attached.pop(key, None)
        if disk is None:
            return
        if disk.mounted:
            namespaces.unmount(str(disk.place))
        os.close(disk.descriptor)

    def slow(self, disk: Disk, slow: bool) -> None:
        """Let every write of a container to this disk wait for its turn, or no longer.

        Raises:
            Refused: this machine cannot.
        """
        namespaces.remount(str(disk.mount()), synchronous=slow)
        if not self._groups.slow_writes(disk.number, _SLOW_WRITES if slow else 0) and slow:
            raise Refused("This machine does not let the sandbox slow a disk down.", code=12)

    def copy(self, source: str, target: str) -> None:
        """Copy a disk's content, whole or not at all. Who writes to it has to be held still."""
        disk = self._attached.get(source)
        if disk and disk.mounted:
            descriptor = os.open(disk.place, os.O_RDONLY)
            try:
                namespaces.sync(descriptor)
            finally:
                os.close(descriptor)
        if not self.exists(source):
            raise Refused(f"The disk {source} holds nothing yet.", code=5)
        if disk is None:
            self._wait_until_free(self._image(source))
        image = self._image(target)
        image.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        partial = image.with_suffix(".partial")
        subprocess.run(["cp", "--sparse=always", str(self._image(source)), str(partial)], check=True)
        partial.replace(image)

    def delete(self, key: str) -> None:
        self.detach(key)
        self._image(key).unlink(missing_ok=True)
        shutil.rmtree(self._mounts / key, ignore_errors=True)
