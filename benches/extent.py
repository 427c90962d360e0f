"""How much a run measures: everything in 10 minutes, or with `--quick` less of it in 3."""

import dataclasses


@dataclasses.dataclass
class Extent:
    # Rounds of one second.
    rounds: int = 3
    rounds_of_hits: int = 4
    connections: tuple[int, ...] = (1, 64, 512)
    # Appointments of one clinic.
    appointments: tuple[int, ...] = (1_000, 10_000, 100_000, 1_000_000)
    imported: int = 100_000
    clinics: tuple[int, ...] = (1_000, 100_000)
    entries: tuple[int, ...] = (100, 1_000, 10_000, 100_000, 1_000_000)


FULL = Extent()
QUICK = Extent(
    rounds=1,
    rounds_of_hits=2,
    connections=(1, 64),
    appointments=(1_000, 10_000, 100_000),
    imported=20_000,
    clinics=(1_000, 10_000),
    entries=(100, 1_000, 10_000, 100_000),
)
