"""What a backend tells the compiler: targets, instruction rows and their meanings.

A backend package builds these values and returns them from the hook `lumen_backends`; core reads
them and knows no machine by name. The meaning of an instruction is a function in Lumen's own
language, so that a generic test can execute every row against it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class Instruction:
    """One machine instruction: what the compiler may ask for, and the intrinsic that does it.

    op         the semantic operation of the kernel IR, e.g. `dot4_u8s8`, `dot4_s8s8`
    types      LLVM types of result and operands, e.g. ("<16 x i32>", "<16 x i32>", "<64 x i8>", "<64 x i8>")
    intrinsic  the LLVM intrinsic's name
    signature  LLVM types that the intrinsic itself declares, result first (bitcasts bridge a difference)
    features   CPU features that it needs, as LLVM spells them
    meaning    a `fn` in Lumen's language over the operands
    bound      the largest unsigned operand for which the row is exact (0: no bound)
    immediates constants appended to the operands, as LLVM text
    """

    op: str
    types: tuple[str, ...]
    intrinsic: str
    signature: tuple[str, ...]
    features: tuple[str, ...]
    meaning: str
    bound: int = 0
    immediates: tuple[str, ...] = ()


@dataclass(frozen=True)
class Row:
    """A row of a backend's table: an instruction and the bytes of the vectors it works on (0: none)."""

    width: int
    instruction: Instruction


def usable_rows(rows: Iterable[Row], features: Iterable[str], vector_bytes: int) -> tuple[Instruction, ...]:
    """Return the instructions that these features allow and whose vectors fit, widest first."""
    has = frozenset(features)
    usable = [row for row in rows if has.issuperset(row.instruction.features) and row.width <= vector_bytes]
    return tuple(row.instruction for row in sorted(usable, key=lambda row: -row.width))


@dataclass(frozen=True)
class Target:
    """A machine as the compiler sees it.

    vector_bytes    width of the vectors that kernels use
    registers       vector registers of that width
    broadcast_memory  an arithmetic operand may be a scalar in memory, spread over the lanes
    lane_operands   an arithmetic operand may be one 32-bit lane of a register, spread over the lanes
    byte_shifts     bytes can be shifted each for itself
    spare_units     vector units that do not multiply take apart what others multiply
    cheap_loads     a load takes no more of what a core takes in than a product, which copying a register is
    fast_conversion  vectors of integers become floats as fast as they are multiplied
    tuning          what LLVM knows as a feature, but is about speed alone: no host must have it
    attributes      LLVM attributes of every function, e.g. how long a vector of unknown length is here
    facts           what a host must have besides `features`, in the words of its backend's `detect`
    cache_bytes     data cache sizes per core, nearest first
    multiplies      vectors that are multiplied (and added up) in a cycle
    loads           vectors that are loaded in a cycle
    latency         cycles until such a sum can be added to again
    instructions    the rows whose features this target has, preferred first
    """

    name: str
    triple: str
    cpu: str
    features: tuple[str, ...]
    vector_bytes: int
    registers: int
    broadcast_memory: bool
    cache_bytes: tuple[int, ...]
    instructions: tuple[Instruction, ...] = field(repr=False)
    lane_operands: bool = False
    byte_shifts: bool = False
    spare_units: bool = True
    cheap_loads: bool = True
    fast_conversion: bool = True
    multiplies: int = 2
    loads: int = 2
    latency: int = 4
    tuning: tuple[str, ...] = ()
    attributes: str = ""
    facts: tuple[str, ...] = ()

    @property
    def lanes(self) -> int:
        """32-bit lanes of a vector."""
        return self.vector_bytes // 4

    @property
    def depth(self) -> int:
        """Elements of a row that lie side by side in a vector of codes: as many as a dot product takes."""
        return 8 if self.find("dot8_s8s8") is not None else 4

    @property
    def feature_string(self) -> str:
        return ",".join(f"+{name}" for name in (*self.features, *self.tuning))

    def find(self, op: str, types: tuple[str, ...] | None = None) -> Instruction | None:
        """Return the preferred row for `op` (with exactly these types, when given)."""
        for row in self.instructions:
            if row.op == op and (types is None or row.types == types):
                return row
        return None


@dataclass(frozen=True)
class Backend:
    """A family of targets.

    machines  names that `platform.machine()` gives for it, lower case
    targets   every target it can compile for, best first; a host can run those whose features it has
    detect    gives what this host has beside the CPU features that the compiler's own detection finds
    systems   target triples by the name of an operating system
    """

    name: str
    machines: tuple[str, ...]
    targets: tuple[Target, ...]
    detect: Callable[[], frozenset[str]] = frozenset
    systems: Mapping[str, str] = field(default_factory=dict)

    def usable(self, machine: str, features: frozenset[str]) -> tuple[Target, ...]:
        """Return the targets that a host with these CPU features can run, best first."""
        if machine.lower() not in self.machines:
            return ()
        found = features | self.detect()
        return tuple(target for target in self.targets if found.issuperset((*target.features, *target.facts)))

    @property
    def features(self) -> list[str]:
        """Every feature and fact that distinguishes targets, in order of the alphabet."""
        return sorted({name for target in self.targets for name in (*target.features, *target.facts)})

    @property
    def example(self) -> str:
        """How the least target but one is described."""
        *_, more, least = (frozenset(), *(target.features for target in self.targets))
        own = [f"+{name}" for name in more if name not in least][:1]
        return f"{self.machines[0]}-{next(iter(self.systems), '')}{''.join(own)}"

    def described(self, text: str) -> Target | None:
        """Return the least target that `machine-system+feature+...` describes, for that system."""
        place, *wanted = text.lower().split("+")
        machine, _, system = place.partition("-")
        if machine not in self.machines or system not in self.systems:
            return None
        for target in reversed(self.targets):
            if set(wanted) <= {*target.features, *target.facts}:
                return replace(target, triple=self.systems[system])
        return None
