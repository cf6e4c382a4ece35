"""What is known of one device: the limits a schedule must respect and the rates a cost model divides by."""

import re
from dataclasses import dataclass, field

KIB = 1024
MIB = 1024 * KIB
# Bytes a second in one direction over 16 lanes (PCI Express Base Specification 3.0, 4.0, 5.0)
PCIE_3, PCIE_4, PCIE_5 = 15.75e9, 31.5e9, 63e9


@dataclass(frozen=True)
class Device:
    """Facts about one GPU or CPU. Sizes are bytes, rates are per second, times are seconds.

    A field that has no meaning for the kind of device is 0 (a CPU has no shared memory). On a CPU
    a "multiprocessor" is a core that this process may use, and the registers are vector registers.
    """

    name: str
    kind: str  # "gpu" or "cpu"
    chip: str  # "sm_90", "x86_64", ...
    multiprocessors: int
    dram_bandwidth: float
    l2_bytes: int  # the last cache shared by all GPU multiprocessors; a CPU core's own second level
    fp32_flops: float  # a fused multiply-add counts two
    launch_seconds: float  # from one kernel to the next in a replayed graph, or one parallel region on the CPU
    registers_per_thread: int
    # GPU limits
    max_threads_per_block: int = 0
    max_threads_per_sm: int = 0
    max_blocks_per_sm: int = 0
    warp_size: int = 0
    subgroup: int = 0  # neighbouring threads that exchange values in every shader; 0 where it is not promised
    stores_halves: bool = True  # kernels load and store float16 as such; else as parts of words, by atomic operations
    shared_bytes_per_block: int = 0  # with the opt-in for more than 48 KiB
    shared_bytes_per_sm: int = 0
    shared_bytes_reserved: int = 0  # taken by the driver for each resident block
    registers_per_sm: int = 0
    register_unit: int = 0  # registers are given to a warp in multiples of this
    l2_bandwidth: float = 0.0  # bytes a second that all multiprocessors together read from it
    l2_latency: float = 0.0  # seconds until it answers
    dram_latency: float = 0.0
    cluster_blocks: int = 1  # the most that share what they have in shared memory
    cluster_multiprocessors: int = 0  # among which the blocks of a cluster are; 0 where there are no clusters
    cluster_bandwidth: float = 0.0  # bytes a second that all multiprocessors together store in others' shared memory
    cluster_latency: float = 0.0  # seconds of a barrier of all blocks of a cluster
    host_bandwidth: float = 0.0  # bytes a second from the host or to it; 0 where both have one memory
    tf32_flops: float = 0.0  # dense tensor cores, fp32 accumulation; 0 where there are none
    fp16_flops: float = 0.0
    bf16_flops: float = 0.0
    # CPU facts
    vector_bytes: int = 0
    l1_bytes: int = 0
    l3_bytes: int = 0
    features: frozenset[str] = field(default_factory=frozenset)

    @property
    def capability(self) -> tuple[int, int]:
        """The compute capability (9, 0) of a GPU; (0, 0) for a CPU."""
        found = re.fullmatch(r"sm_(\d+)(\d)[af]?", self.chip)
        return (int(found[1]), int(found[2])) if found else (0, 0)

    @property
    def has_blocks(self) -> bool:
        """Whether threads run in blocks that share memory, as on every GPU."""
        return self.max_threads_per_block > 0

    @property
    def shares_memory(self) -> bool:
        """Whether nodes on the host read and write its memory where it is, as on CPUs and integrated GPUs."""
        return self.host_bandwidth == 0

    @property
    def has_tensor_cores(self) -> bool:
        """Whether tf32 contractions have hardware of their own (compute capability 8.0 and later)."""
        return self.tf32_flops > 0

    def multiprocessors_of_clusters(self, blocks: int) -> int:
        """Multiprocessors that clusters of so many blocks keep busy: none lies across two parts of the device."""
        if blocks == 1 or not self.cluster_multiprocessors:
            return self.multiprocessors
        parts = self.multiprocessors // self.cluster_multiprocessors
        return max(blocks, parts * (self.cluster_multiprocessors // blocks) * blocks)

    @property
    def machine_balance(self) -> float:
        """fp32 operations that take as long as one byte from memory."""
        return self.fp32_flops / self.dram_bandwidth

    def flops(self, precision: str) -> float:
        """The peak rate of a contraction in "fp32", "tf32", "fp16" or "bf16"; fp32's where the type has no unit."""
        rates = {"tf32": self.tf32_flops, "fp16": self.fp16_flops, "bf16": self.bf16_flops}
        return rates.get(precision, 0.0) or self.fp32_flops
