"""What the README says that the server can do is what its routes are."""

from tests.status import README, STATUS, Area, areas, measure, page, table, with_table


def test_the_status_is_true() -> None:
    """Run `make status` after adding or removing a route."""
    measured = measure()
    assert STATUS.read_text() == page(measured)
    assert README.read_text() == with_table(README.read_text(), table(measured))


def test_names_of_variables_do_not_matter() -> None:
    """An operation is there when its method and path are, whatever a variable is called."""
    wanted = {"Client API: Rooms": ["GET /rooms/{roomId}", "PUT /rooms/{roomId}"]}
    (area,) = areas(wanted, {"GET /rooms/{}", "GET /rooms"})
    assert area == Area("Client API: Rooms", ["GET /rooms/{roomId}"], ["PUT /rooms/{roomId}"])
    assert "| **Client API**: 1 of 2 | - | Rooms | - |" in table([area])
