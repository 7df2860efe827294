"""Which node classes are outputs, as the server says."""

import pytest

from gateway.demo.server import Simulator
from gateway.errors import UpstreamFault
from gateway.jobs.catalogue import Catalogue
from tests.jobs.house import House


async def test_a_class_is_asked_for_once_until_the_server_restarts(house: House) -> None:
    """Each class is asked for once, and again when the server may be another."""
    catalogue = Catalogue(house.server)
    for _ in range(2):
        assert await catalogue.output_classes({"SaveImage", "EmptyImage", "No such/class"}) == {"SaveImage"}
    assert house.requests("GET", "/object_info/SaveImage") == 1
    assert house.requests("GET", "/object_info/No%20such%2Fclass") == 1
    catalogue.forget()
    await catalogue.output_classes({"SaveImage"})
    assert house.requests("GET", "/object_info/SaveImage") == 2


async def test_no_answer_is_not_remembered(house: House, sim: Simulator) -> None:
    """A server that does not say is a fault, and asked again the next time."""
    catalogue = Catalogue(house.server)
    sim.faults.refuse_status = 500
    with pytest.raises(UpstreamFault):
        await catalogue.output_classes({"SaveImage", "PreviewImage"})
    sim.faults.refuse_status = None
    assert await catalogue.output_classes({"SaveImage"}) == {"SaveImage"}
