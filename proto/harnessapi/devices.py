"""The devices that a program of ours can be told to compute on; light, as the client is."""

from typing import Final

AUTO: Final = "auto"
CPU: Final = "cpu"
CUDA: Final = "cuda"
DEVICES: Final = (AUTO, CPU, CUDA)


class DeviceError(Exception):
    """A device that is not there, or that a program cannot take; the text says what would help."""


def choose_device(wanted: str, *, has_cuda: bool, without_cuda: str) -> str:
    """CPU or CUDA; AUTO is CUDA where there is one.

    Raises DeviceError, which says `without_cuda`, where CUDA is wanted and there is none.
    """
    if wanted == CUDA and not has_cuda:
        raise DeviceError(f"--device {wanted}: {without_cuda}")
    return CUDA if has_cuda and wanted != CPU else CPU
