"""What can an accelerator do, what does it draw, and what does it cost?

The catalogue holds what vendors publish: peak dense FLOP/s (without sparsity), memory, bandwidths
and the power that a board may draw. Prices are nobody's to guess: a fleet table adds them, and may
replace or add rows (``read``). Wherever a row says nothing, nothing is concluded from it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from decimal import Decimal, InvalidOperation
from types import MappingProxyType
from typing import Any, NamedTuple

GB, TERA = 10**9, 10**12


class BadFleet(Exception):
    """A fleet table that cannot be read; the message says where and what to write."""


@dataclass(frozen=True, slots=True)
class Device:
    """One accelerator. FLOP/s, bytes and bytes per second. ``link`` is what its links to the others
    of its machine carry in both directions together, 0 where it has none; ``network`` what one
    accelerator has of its machine's network in one direction, None where that is not known."""

    name: str
    products: tuple[str, ...]
    flops: float
    """In 16 bits, accumulated in FP32."""
    flops32: float
    """In FP32 proper: PyTorch uses TF32 only where a program asks for it."""
    memory: int
    bandwidth: float
    link: float
    watts: float
    source: str
    network: float | None = None
    price: Decimal | None = None
    """For one accelerator and hour."""
    currency: str = "USD"


class HardwareCatalog(NamedTuple):
    """All rows, and what holds for the whole machine room."""

    devices: tuple[Device, ...]
    pue: float = 1.0
    """Power of the whole site over that of its computers; 1 where nobody has said."""
    storage: float = 0.0
    """Bytes per second at which all ranks together write a checkpoint; 0 where it is not known."""

    def of(self, product: str) -> Device | None:
        """The row of a product, by the label of its node or by the row's name; None without one.
        A slice of an accelerator (MIG) is not that accelerator."""
        for device in self.devices:
            if product in device.products or product.lower() == device.name.lower():
                return device
        return None


def _row(  # the columns of the table below
    name: str, products: str, tera: float, tera32: float, memory: int, bandwidth: float,
    link: float, watts: float, source: str,
) -> Device:  # fmt: skip
    return Device(
        name, tuple(products.split()), tera * TERA, tera32 * TERA, memory * GB, bandwidth * GB,
        link * GB, watts, source,
    )  # fmt: skip


_A100 = "NVIDIA A100 Tensor Core GPU, data sheet, 2021"
_H100 = "NVIDIA H100 Tensor Core GPU, data sheet, 2023; half of the figures with sparsity"
# name, nvidia.com/gpu.product, TFLOP/s dense in BF16 and FP32, GB, GB/s, GB/s of links, W, source
CATALOGUE: tuple[Device, ...] = (
    _row("A100-80GB", "NVIDIA-A100-SXM4-80GB", 312, 19.5, 80, 2039, 600, 400, _A100),
    _row("A100-40GB", "NVIDIA-A100-SXM4-40GB", 312, 19.5, 40, 1555, 600, 400, _A100),
    _row("A100-80GB-PCIe", "NVIDIA-A100-80GB-PCIe", 312, 19.5, 80, 1935, 0, 300, _A100),
    _row("H100", "NVIDIA-H100-80GB-HBM3", 989.5, 67, 80, 3350, 900, 700, _H100),
    _row("H100-PCIe", "NVIDIA-H100-PCIe", 756, 51, 80, 2000, 0, 350, _H100),
    _row("H200", "NVIDIA-H200", 989.5, 67, 141, 4800, 900, 700,
         "NVIDIA H200 Tensor Core GPU, data sheet, 2024; half of the figures with sparsity"),
    _row("B200", "NVIDIA-B200", 2250, 75, 180, 7700, 1800, 1000,
         "NVIDIA HGX B200, data sheet, 2025; an eighth of the board, half of that with sparsity"),
    _row("L4", "NVIDIA-L4", 121, 30.3, 24, 300, 0, 72,
         "NVIDIA L4 Tensor Core GPU, data sheet, 2023; half of the figures with sparsity"),
    _row("L40S", "NVIDIA-L40S", 362, 91.6, 48, 864, 0, 350,
         "NVIDIA L40S, data sheet, 2023; without sparsity"),
    _row("MI300X", "AMD-Instinct-MI300X", 1307.4, 163.4, 192, 5300, 896, 750,
         "AMD Instinct MI300X accelerator, data sheet, 2023; seven links of 128 GB/s"),
)  # fmt: skip
SHIPPED = HardwareCatalog(CATALOGUE)


def device_of(product: str) -> Device | None:
    """The row that is shipped for a product."""
    return SHIPPED.of(product)


# What a table may say of a row, and in which unit: number x factor is what ``Device`` holds.
UNITS: Mapping[str, tuple[str, float]] = MappingProxyType(
    {
        "teraflops": ("flops", TERA),
        "teraflopsFP32": ("flops32", TERA),
        "memoryGB": ("memory", GB),
        "bandwidthGBPerSecond": ("bandwidth", GB),
        "linkGBPerSecond": ("link", GB),
        "networkGBPerSecond": ("network", GB),
        "watts": ("watts", 1),
    }
)
TEXTS = frozenset({"name", "products", "currency", "source", "pricePerHour"})
_KEYS = frozenset({"devices", "pue", "storageGBPerSecond"})
_NEEDED = ("teraflops", "memoryGB", "watts", "source")


def read(table: object, base: HardwareCatalog = SHIPPED) -> HardwareCatalog:
    """The fleet that a table describes, on top of ``base``: ``{devices: [{name, …}], pue,
    storageGBPerSecond}``. A row whose name is known changes only what it says. Raises ``BadFleet``."""
    if table is None:
        return base
    if not isinstance(table, Mapping) or (strange := sorted(set(table) - _KEYS)):
        what = f"no key {strange[0]!r}" if isinstance(table, Mapping) else "keys"
        raise BadFleet(
            f"a fleet table has {what}: write devices (a list of rows), pue and storageGBPerSecond"
        )
    rows = table.get("devices", [])
    if not isinstance(rows, list):
        raise BadFleet("devices must be a list of rows, each with a name")
    devices = {device.name: device for device in base.devices}
    for row in rows:
        device = _device(row, devices)
        devices[device.name] = device
    pue = _number("pue", table.get("pue", base.pue))
    if pue < 1:
        raise BadFleet("pue is at least 1: the site's power over its computers'")
    storage = _number("storageGBPerSecond", table.get("storageGBPerSecond", base.storage / GB)) * GB
    return HardwareCatalog(tuple(devices.values()), pue, storage)


def _device(row: object, known: Mapping[str, Device]) -> Device:
    if not isinstance(row, Mapping) or not isinstance(row.get("name"), str) or not row["name"]:
        raise BadFleet("each row of devices needs a name, such as H100")
    name = row["name"]
    if strange := sorted(set(row) - set(UNITS) - TEXTS):
        choices = ", ".join([*UNITS, *sorted(TEXTS)])
        raise BadFleet(f"{name}: {strange[0]!r} is not one of {choices}")
    before = known.get(name)
    if before is None and (missing := [key for key in _NEEDED if key not in row]):
        raise BadFleet(f"{name} is not in the catalogue, so its row needs {', '.join(missing)}")
    values: dict[str, Any] = {
        field: _number(f"{name}: {key}", row[key]) * factor
        for key, (field, factor) in UNITS.items()
        if key in row
    }
    if "memory" in values:
        values["memory"] = int(values["memory"])
    if "products" in row:
        if not isinstance(row["products"], list):
            raise BadFleet(f"{name}: products is a list of labels, such as [NVIDIA-L4]")
        values["products"] = tuple(str(each) for each in row["products"])
    values |= {key: str(row[key]) for key in ("currency", "source") if key in row}
    if "pricePerHour" in row:
        values["price"] = _money(name, row["pricePerHour"])
    if before is not None:
        return replace(before, **values)
    empty: dict[str, Any] = {"products": (), "flops32": 0.0, "bandwidth": 0.0, "link": 0.0}
    allowed = {field.name for field in fields(Device)}
    return Device(**{k: v for k, v in ({"name": name} | empty | values).items() if k in allowed})


def _number(what: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e9:
        raise BadFleet(f"{what} must be a number of at least 0, not {value!r}")
    return float(value)


def _money(name: str, value: object) -> Decimal:
    try:
        price = Decimal(str(value))
    except InvalidOperation:
        price = Decimal(-1)
    if not price.is_finite() or not 0 <= price < 10**6 or isinstance(value, bool):
        raise BadFleet(f'{name}: pricePerHour must be an amount such as "2.50", not {value!r}')
    return price
