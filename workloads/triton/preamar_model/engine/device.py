"""Which GPU is here, and how do numbers get there and back? By the driver's own library.

A dozen of its functions suffice for that, and it is in every pod that was given a GPU: nothing has to be
installed that must match the driver's version.
"""

import ctypes
from dataclasses import dataclass

LIBRARY = "libcuda.so.1"
NAME_BYTES = 256
MAJOR, MINOR = 75, 76
"""CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR."""


class NoGpu(Exception):
    """There is no GPU in this pod, or it does not do what it is told; a fault of the world."""


@dataclass(frozen=True, slots=True)
class Gpu:
    product: str
    """As the node label nvidia.com/gpu.product says it, such as NVIDIA-L4."""
    capability: str
    """Its compute capability, such as 8.9."""
    driver: str
    """The CUDA version that the driver knows, such as 13.0."""


class Driver:
    """The first GPU of this pod; its memory and its name."""

    def __init__(self) -> None:
        try:
            self.library = ctypes.CDLL(LIBRARY)
        except OSError as error:
            raise NoGpu(f"there is no GPU driver in this pod: {error}") from error
        self.call("cuInit", 0)
        self.device = ctypes.c_int()
        self.call("cuDeviceGet", ctypes.byref(self.device), 0)
        context = ctypes.c_void_p()
        self.call("cuDevicePrimaryCtxRetain", ctypes.byref(context), self.device)
        self.call("cuCtxSetCurrent", context)

    def call(self, name: str, *arguments: object) -> None:
        """Raises `NoGpu` with the driver's error number."""
        code = getattr(self.library, name)(*arguments)
        if code != 0:
            raise NoGpu(f"{name} failed with CUDA error {code}")

    def gpu(self) -> Gpu:
        name = ctypes.create_string_buffer(NAME_BYTES)
        self.call("cuDeviceGetName", name, NAME_BYTES, self.device)
        numbers = [ctypes.c_int() for _ in range(3)]
        for number, what in zip(numbers, (MAJOR, MINOR), strict=False):
            self.call("cuDeviceGetAttribute", ctypes.byref(number), what, self.device)
        self.call("cuDriverGetVersion", ctypes.byref(numbers[2]))
        major, minor, version = (number.value for number in numbers)
        return Gpu(
            product="-".join(name.value.decode().split()),
            capability=f"{major}.{minor}",
            driver=f"{version // 1000}.{version % 1000 // 10}",
        )

    def take(self, size: int) -> int:
        """The address of ``size`` bytes on the GPU, at least one."""
        address = ctypes.c_uint64()
        self.call("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(max(size, 1)))
        return int(address.value)

    def give_back(self, address: int) -> None:
        self.call("cuMemFree_v2", ctypes.c_uint64(address))

    def put(self, address: int, data: ctypes.c_void_p, size: int) -> None:
        if size:
            self.call("cuMemcpyHtoD_v2", ctypes.c_uint64(address), data, ctypes.c_size_t(size))

    def get(self, data: ctypes.c_void_p, address: int, size: int) -> None:
        if size:
            self.call("cuMemcpyDtoH_v2", data, ctypes.c_uint64(address), ctypes.c_size_t(size))

    def finish(self) -> None:
        """Wait until the GPU has done what it was told."""
        self.call("cuCtxSynchronize")
