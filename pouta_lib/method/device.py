"""Where a run computes, and in which precision: chosen once, recorded, never guessed again."""

import contextlib
import ctypes
import os
import platform
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from pouta_lib.ground.errors import TooLittleMemory, in_a_line, lacks_memory, problem
from pouta_lib.ground.methods import find_method
from pouta_lib.ground.profiles import Profile


@dataclass(frozen=True)
class Compute:
    """A device with the precision that pays on it."""

    device: torch.device
    precision: str  # "fp32", "tf32" or "bf16"

    @contextlib.contextmanager
    def autocast(self) -> Iterator[None]:
        """bf16 autocast where it was chosen, and TF32 in a card's convolutions but in fp32.

        So the members of a pair compute in a precision each: what is set for all is the last one's.
        """
        before = torch.backends.cudnn.allow_tf32
        torch.backends.cudnn.allow_tf32 = self.precision != "fp32"
        try:
            if self.precision != "bf16":
                yield
                return
            with torch.autocast(self.device.type, dtype=torch.bfloat16):
                yield
        finally:
            torch.backends.cudnn.allow_tf32 = before

    def describe(self) -> str:
        """The device's own name, for the run record."""
        if self.device.type == "cuda":
            return torch.cuda.get_device_name(self.device)
        return f"{self.device.type} {platform.machine()} {cpu_name()}".strip()


def cpu_name() -> str:
    """The processor's name where the system tells it."""
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as lines:
        for line in lines:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


def cpu_has_bf16_units() -> bool:
    """Whether this CPU multiplies bf16 in hardware (AMX, or AVX-512 with its bf16 extension).

    Asked of the processor, not timed, so that the same kind of machine always chooses the same
    precision and a run repeats bit for bit. ``make bench`` says what it gains.
    """
    probes = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return any(getattr(torch.cpu, probe, bool)() for probe in probes)


def choose_compute(device: str = "auto", precision: str = "auto") -> Compute:
    """The device and precision to use.

    ``device="auto"`` takes CUDA, else Apple's MPS, else the CPU; ``$POUTA_DEVICE`` overrides it.
    ``precision="auto"`` takes bf16 on a CUDA card that has units for it (Ampere and later) and on
    such a CPU, else fp32. Only CUDA has TF32: what was made in it is computed in fp32 elsewhere,
    and so called. Torch is told, for the whole process, which card is meant, and whether it may
    compute in TF32.

    *Raises* :class:`PoutaError` when the named device is not there.
    """
    name = (os.environ.get("POUTA_DEVICE") or device) if device == "auto" else device
    cards = torch.cuda.device_count() if torch.cuda.is_available() else 0
    present = ["cuda", *(f"cuda:{k}" for k in range(cards))] if cards else []
    present += ["mps"] if torch.backends.mps.is_available() else []
    present += ["cpu"]
    if name == "auto":
        name = present[0]
    if name not in present:
        there = ["auto", *present]
        raise problem(f"a device out of {there}", repr(name), "device", "name one that is here")
    kind, _, number = name.partition(":")
    if number:  # streams and graphs are those of the process's own card
        torch.cuda.set_device(name)
    if precision == "auto":
        # torch says yes for older cards too, which make do without: slowly, or not at all
        fast = kind == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        fast = fast or (kind == "cpu" and cpu_has_bf16_units())
        precision = "bf16" if fast else "fp32"
    if precision == "tf32" and kind != "cuda":
        precision = "fp32"
    if kind == "cuda":
        # convolutions only: SSIM's variances, small differences of matrix products, need float32
        torch.backends.cudnn.allow_tf32 = precision != "fp32"
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.benchmark = True  # the sizes never change within a run
    return Compute(torch.device(name), precision)


def compute_of(method: str, profile: Profile, device: str = "auto") -> Compute:
    """Where `method` computes, in the profile's precision or in the only one it is meant for."""
    return choose_compute(device, find_method(method).precision or profile.precision)


def keep_freed_memory() -> None:
    """Lets this process keep what it frees for its next step, where its C library is glibc.

    Else large tensors are mapped from the system and given back at once, page by page: at the
    paper's size that is a fifth of a training step, and of a map of 2,048 px half.
    """
    if sys.platform == "linux":
        with contextlib.suppress(AttributeError):  # another C library
            adjust = ctypes.CDLL(None).mallopt
            adjust(-4, 0)  # M_MMAP_MAX: no allocation has a mapping of its own
            adjust(-1, 2**31 - 1)  # M_TRIM_THRESHOLD: nothing is given back
            adjust(-2, 64 << 20)  # M_TOP_PAD: what is asked for at once, bytes


def give_back_memory() -> None:
    """Gives back what torch keeps of a card's memory, where it has used one: others may need it."""
    torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()


@contextlib.contextmanager
def within_memory(profile: Profile) -> Iterator[None]:
    """*Raises* :class:`TooLittleMemory` where the block asks for more than the device has."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not lacks_memory(error):
            raise
        wanted = f"{profile.size_px} px, width {profile.width}, batch {profile.batch_size} to fit"
        todo = f"lower one of them, say --set batch_size={max(1, profile.batch_size // 2)}"
        where = "the device's memory"
        told = problem(wanted, in_a_line(error) or "not enough memory", where, todo)
        raise TooLittleMemory(str(told)) from error
