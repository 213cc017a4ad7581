"""The promises of a stage, proved before it, during it and after it."""

from gradatim.guards.after import check_frozen, check_moved
from gradatim.guards.before import check_reached
from gradatim.guards.during import Drift, LossBand, Patience, Spike, Trouble

__all__ = ["Drift", "LossBand", "Patience", "Spike", "Trouble", "check_frozen", "check_moved", "check_reached"]
