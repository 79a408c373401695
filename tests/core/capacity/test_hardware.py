"""What the catalogue says, and how a table changes it.

Holds: core/capacity/hardware.py
"""

from decimal import Decimal

import pytest

from preamar.core.capacity.hardware import CATALOGUE, SHIPPED, BadFleet, device_of, read


def test_every_row_names_its_source_and_no_price():
    for device in CATALOGUE:
        assert device.source
        assert device.products
        assert device.price is None
        assert min(device.flops, device.flops32, device.memory, device.bandwidth, device.watts) > 0
    names = [name for device in CATALOGUE for name in (device.name, *device.products)]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("product", "name"),
    [
        ("NVIDIA-H100-80GB-HBM3", "H100"),
        ("h100", "H100"),
        ("NVIDIA-L4", "L4"),
        ("NVIDIA-A100-SXM4-80GB-MIG-1g.10gb", None),
        ("Tesla-T4", None),
    ],
)
def test_a_row_is_found_by_label_or_name_and_a_slice_is_not_the_whole(product, name):
    found = device_of(product)
    assert (found.name if found else None) == name


def test_a_table_adds_prices_and_rows():
    new = {"name": "X1", "products": ["ACME-X1"], "teraflops": 100, "memoryGB": 32, "watts": 200}
    table = {
        "pue": 1.2,
        "storageGBPerSecond": 4,
        "devices": [{"name": "H100", "pricePerHour": "2.50", "currency": "EUR"}, new | {"source": "ACME"}],
    }  # fmt: skip
    fleet = read(table)
    h100, x1 = fleet.of("H100"), fleet.of("ACME-X1")
    assert (h100.price, h100.currency, h100.memory) == (Decimal("2.50"), "EUR", 80 * 10**9)
    assert (x1.flops, x1.memory, x1.price) == (100e12, 32 * 10**9, None)
    assert (fleet.pue, fleet.storage) == (1.2, 4e9)
    assert read(None) == read({}) == SHIPPED


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        ([], "has keys|no key|write devices"),
        ({"device": []}, "no key 'device'"),
        ({"devices": {}}, "list of rows"),
        ({"devices": [{}]}, "needs a name"),
        ({"devices": [{"name": "H100", "price": 2}]}, "'price' is not one of teraflops"),
        ({"devices": [{"name": "X1"}]}, "needs teraflops, memoryGB, watts, source"),
        ({"devices": [{"name": "H100", "pricePerHour": "cheap"}]}, "amount such as"),
        ({"devices": [{"name": "H100", "pricePerHour": -1}]}, "amount such as"),
        ({"devices": [{"name": "H100", "watts": "700"}]}, "must be a number"),
        ({"devices": [{"name": "H100", "products": "x"}]}, "list of labels"),
        ({"pue": 0.9}, "at least 1"),
    ],
)
def test_a_table_that_makes_no_sense_is_told_where(table, sentence):
    with pytest.raises(BadFleet, match=sentence):
        read(table)
