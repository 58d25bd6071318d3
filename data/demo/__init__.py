"""The demo world: pictures with known faults, a classifier and a judge trained for them."""
