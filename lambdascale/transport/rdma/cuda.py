"""Memory of an NVIDIA GPU as `gpu.GpuMemory`, by cuda-python's driver interface. Never run on a GPU yet."""

from types import ModuleType
from typing import Any

from lambdascale.errors import ConfigError


def _driver() -> ModuleType:
    try:
        from cuda.bindings import driver
    except ImportError as error:
        raise ConfigError(
            f"GPU memory needs cuda-python ({error}); pip install cuda-python"
        ) from error
    return driver  # type: ignore[no-any-return]


class CudaMemory:
    """`nbytes` at the device pointer `address`, whoever allocated them (torch, say)."""

    def __init__(self, address: int, nbytes: int) -> None:
        self.address = address
        self.nbytes = nbytes

    def export(self) -> int:
        """Return a dma-buf descriptor; the driver wants the range to begin and end on whole pages."""
        cuda = _driver()
        kind = cuda.CUmemRangeHandleType.CU_MEM_RANGE_HANDLE_TYPE_DMA_BUF_FD
        pointer = cuda.CUdeviceptr(self.address)
        return int(
            _checked(cuda, cuda.cuMemGetHandleForAddressRange(pointer, self.nbytes, kind, 0))
        )


def _checked(cuda: ModuleType, answer: tuple[Any, ...]) -> Any:
    """Return the result of a call; ConfigError with the driver's word if it failed."""
    status, *results = answer
    if status != cuda.CUresult.CUDA_SUCCESS:
        raise ConfigError(f"the CUDA driver cannot export GPU memory ({status.name})")
    return results[0]
