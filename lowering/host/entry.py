"""The native entry of a host program, as LLVM IR: it runs steps with its own threads.

The object exports (`state` is `network_state_bytes` bytes, zeroed, aligned to 64):

    i64  network_state_bytes                                       constant
    void network_initialise(ptr state, i32 threads)                threads >= 1, the caller is one of them
    void network_run(ptr state, ptr buffers, i32 begin, i32 end)   steps [begin, end), one caller at a time
    ptr  network_worker(ptr state)                                 body of each of the threads - 1 other threads
    void network_stop(ptr state)                                   the workers return

and __truncsfbf2, which code for CPUs without bfloat16 instructions calls.

`buffers` is an array of base pointers, one per slot. A step is a row of a constant table: the kernel,
its arguments as (slot, offset) pairs, and the function that loads that many arguments and calls the
kernel for a range of tiles; so the code does not grow with the network. With one thread `network_run`
just walks the table.

With several, the caller publishes the run by raising `generation`; workers wait for that, spinning
for a moment and then sleeping on a futex. Within a run every thread walks the step table: the tiles
of a step are claimed in chunks from the step's counter, a step of one tile belongs to the caller, and
a step flagged `barrier` starts only when every thread has arrived there. `arrived` counts up over the
whole run, so no barrier has to be reset; the caller leaves when all have arrived at the end.
"""

import platform
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["NativeStep", "entry_ir"]


@dataclass(frozen=True)
class NativeStep:
    """`symbol(buffers[slot] + offset..., tile)` for each tile; `symbol` None copies `copy_bytes` from the first
    argument to the second. `barrier`: it may not overlap with the steps before it."""

    symbol: str | None
    tiles: int
    arguments: tuple[tuple[int, int], ...]
    barrier: bool
    copy_bytes: int = 0


# state: byte offsets; fields that different threads write are 64 bytes apart
_GENERATION = 0
_ARRIVED = 64
_SLEEPERS = 128
_STOP = 192
_BUFFERS = 256
_BEGIN = 264
_END = 268
_THREADS = 272
_NEXT_ID = 320
_COUNTERS = 384
_COUNTER_STRIDE = 64

_SPINS_BEFORE_YIELD = 1024
_SPINS_BEFORE_SLEEP = 4096
_CHUNKS_PER_THREAD = 8

# of a step: run_<number of arguments>, kernel, arguments, tiles, barrier
_ROW = "{ ptr, ptr, ptr, i32, i32 }"
_ARGUMENT = "{ i64, i64 }"  # slot, byte offset
_MACHINES = {
    # (pause, its declaration, number of the futex system call)
    "x86_64": ("call void @llvm.x86.sse2.pause()", "declare void @llvm.x86.sse2.pause()", 202),
    "aarch64": ("call void @llvm.aarch64.hint(i32 1)", "declare void @llvm.aarch64.hint(i32)", 98),
}


def entry_ir(steps: Sequence[NativeStep]) -> str:
    """LLVM IR text of the entry for `steps`, whose symbols are external functions."""
    pause, pause_declaration, futex = _MACHINES[platform.machine()]
    symbols = {s.symbol: len(s.arguments) for s in steps if s.symbol}
    declarations = "\n".join(
        f'declare void @"{name}"({", ".join(["ptr"] * count + ["i64"])})' for name, count in sorted(symbols.items())
    )
    arities = sorted({len(s.arguments) for s in steps if s.symbol})
    copies = sorted({s.copy_bytes for s in steps if not s.symbol})
    callers = "\n".join([*map(_caller, arities), *map(_copier, copies)])
    arguments = "\n".join(_arguments(index, step) for index, step in enumerate(steps))
    rows = ", ".join(_row(index, step) for index, step in enumerate(steps))
    return f"""{declarations}
{pause_declaration}
declare i32 @sched_yield()
declare i64 @syscall(i64, ...)
declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)

@network_state_bytes = constant i64 {_COUNTERS + _COUNTER_STRIDE * len(steps)}
{arguments}
@steps = internal constant [{len(steps)} x {_ROW}] {f"[ {rows} ]" if steps else "zeroinitializer"}

{callers}
{_DRIVER.replace("PAUSE", pause).replace("FUTEX", str(futex))}"""


def _arguments(index: int, step: NativeStep) -> str:
    pairs = ", ".join(f"{_ARGUMENT} {{ i64 {slot}, i64 {offset} }}" for slot, offset in step.arguments)
    return f"@arguments_{index} = internal constant [{len(step.arguments)} x {_ARGUMENT}] [ {pairs} ]"


def _row(index: int, step: NativeStep) -> str:
    function = f"run_{len(step.arguments)}" if step.symbol else f"copy_{step.copy_bytes}"
    kernel = f'@"{step.symbol}"' if step.symbol else "null"
    return (
        f"{_ROW} {{ ptr @{function}, ptr {kernel}, ptr @arguments_{index}, i32 {step.tiles}, i32 {int(step.barrier)} }}"
    )


def _pointers(count: int) -> str:
    """%p0, %p1, ...: the addresses of a step's arguments."""
    lines = []
    for k in range(count):
        lines += [
            f"  %s{k} = getelementptr {_ARGUMENT}, ptr %arguments, i64 {k}",
            f"  %n{k} = load i64, ptr %s{k}, align 8",
            f"  %q{k} = getelementptr ptr, ptr %buffers, i64 %n{k}",
            f"  %b{k} = load ptr, ptr %q{k}, align 8",
            f"  %f{k} = getelementptr i8, ptr %s{k}, i64 8",
            f"  %o{k} = load i64, ptr %f{k}, align 8",
            f"  %p{k} = getelementptr i8, ptr %b{k}, i64 %o{k}",
        ]
    return "\n".join(lines)


def _caller(count: int) -> str:
    """Call a kernel of `count` buffers for tiles [low, high)."""
    pointers = "".join(f"ptr %p{k}, " for k in range(count))
    return f"""define internal void @run_{count}(ptr %kernel, ptr %arguments, ptr %buffers, i64 %low, i64 %high) {{
entry:
{_pointers(count)}
  %some = icmp slt i64 %low, %high
  br i1 %some, label %loop, label %done
loop:
  %tile = phi i64 [ %low, %entry ], [ %next, %loop ]
  call void %kernel({pointers}i64 %tile)
  %next = add i64 %tile, 1
  %more = icmp slt i64 %next, %high
  br i1 %more, label %loop, label %done
done:
  ret void
}}
"""


def _copier(size: int) -> str:
    """Copy `size` bytes from the first argument to the second."""
    return f"""define internal void @copy_{size}(ptr %kernel, ptr %arguments, ptr %buffers, i64 %low, i64 %high) {{
{_pointers(2)}
  call void @llvm.memcpy.p0.p0.i64(ptr %p1, ptr %p0, i64 {size}, i1 false)
  ret void
}}
"""


_DRIVER = f"""
; float to bfloat, to nearest even; a NaN becomes a quiet one
define bfloat @__truncsfbf2(float %x) {{
  %bits = bitcast float %x to i32
  %high = lshr i32 %bits, 16
  %odd = and i32 %high, 1
  %bias = add i32 %odd, 32767
  %rounded = add i32 %bits, %bias
  %near = lshr i32 %rounded, 16
  %quiet = or i32 %high, 64
  %is_nan = fcmp uno float %x, %x
  %result = select i1 %is_nan, i32 %quiet, i32 %near
  %short = trunc i32 %result to i16
  %value = bitcast i16 %short to bfloat
  ret bfloat %value
}}

define void @network_initialise(ptr %state, i32 %threads) {{
  %p = getelementptr i8, ptr %state, i64 {_THREADS}
  store i32 %threads, ptr %p, align 4
  %next = getelementptr i8, ptr %state, i64 {_NEXT_ID}
  store i32 1, ptr %next, align 4
  ret void
}}

define internal void @wake(ptr %state) {{
  %generation = getelementptr i8, ptr %state, i64 {_GENERATION}
  %old = atomicrmw add ptr %generation, i32 1 seq_cst
  %sleepers = getelementptr i8, ptr %state, i64 {_SLEEPERS}
  %asleep = load atomic i32, ptr %sleepers seq_cst, align 4
  %any = icmp ne i32 %asleep, 0
  br i1 %any, label %call, label %done
call: ; FUTEX_WAKE_PRIVATE
  %r = call i64 (i64, ...) @syscall(i64 FUTEX, ptr %generation, i32 129, i32 2147483647, ptr null, ptr null, i32 0)
  br label %done
done:
  ret void
}}

define void @network_stop(ptr %state) {{
  %stop = getelementptr i8, ptr %state, i64 {_STOP}
  store atomic i32 1, ptr %stop seq_cst, align 4
  call void @wake(ptr %state)
  ret void
}}

; Return once the i32 at %counter, which only grows, has reached %goal.
define internal void @await(ptr %counter, i32 %goal) {{
entry:
  br label %check
check:
  %spins = phi i32 [ 0, %entry ], [ %more, %next ]
  %value = load atomic i32, ptr %counter acquire, align 4
  %ready = icmp sge i32 %value, %goal
  br i1 %ready, label %done, label %wait
wait:
  %patient = icmp ult i32 %spins, {_SPINS_BEFORE_YIELD}
  br i1 %patient, label %spin, label %yield
spin:
  PAUSE
  %count = add i32 %spins, 1
  br label %next
yield:
  %r = call i32 @sched_yield()
  br label %next
next:
  %more = phi i32 [ %count, %spin ], [ %spins, %yield ]
  br label %check
done:
  ret void
}}

define internal void @run_step(ptr %row, ptr %buffers, i64 %low, i64 %high) {{
  %function = load ptr, ptr %row, align 8
  %kernel_p = getelementptr i8, ptr %row, i64 8
  %kernel = load ptr, ptr %kernel_p, align 8
  %arguments_p = getelementptr i8, ptr %row, i64 16
  %arguments = load ptr, ptr %arguments_p, align 8
  call void %function(ptr %kernel, ptr %arguments, ptr %buffers, i64 %low, i64 %high)
  ret void
}}

; Claim chunks of a step's tiles until none is left.
define internal void @share_step(ptr %row, i32 %tiles, ptr %counter, ptr %buffers, i32 %threads) {{
entry:
  %parts = mul i32 %threads, {_CHUNKS_PER_THREAD}
  %quotient = udiv i32 %tiles, %parts
  %none = icmp eq i32 %quotient, 0
  %chunk = select i1 %none, i32 1, i32 %quotient
  br label %claim
claim:
  %low = atomicrmw add ptr %counter, i32 %chunk monotonic
  %left = icmp ult i32 %low, %tiles
  br i1 %left, label %work, label %done
work:
  %end = add i32 %low, %chunk
  %within = icmp ult i32 %end, %tiles
  %high = select i1 %within, i32 %end, i32 %tiles
  %low64 = zext i32 %low to i64
  %high64 = zext i32 %high to i64
  call void @run_step(ptr %row, ptr %buffers, i64 %low64, i64 %high64)
  br label %claim
done:
  ret void
}}

; One thread's share of the published run; returns the `arrived` at which the run is complete.
define internal i32 @share_run(ptr %state, i32 %id) {{
entry:
  %buffers_p = getelementptr i8, ptr %state, i64 {_BUFFERS}
  %buffers = load ptr, ptr %buffers_p, align 8
  %begin_p = getelementptr i8, ptr %state, i64 {_BEGIN}
  %begin = load i32, ptr %begin_p, align 4
  %end_p = getelementptr i8, ptr %state, i64 {_END}
  %end = load i32, ptr %end_p, align 4
  %threads_p = getelementptr i8, ptr %state, i64 {_THREADS}
  %threads = load i32, ptr %threads_p, align 4
  %arrived = getelementptr i8, ptr %state, i64 {_ARRIVED}
  %caller = icmp eq i32 %id, 0
  br label %head
head:
  %k = phi i32 [ %begin, %entry ], [ %k_next, %advance ]
  %goal = phi i32 [ 0, %entry ], [ %goal_now, %advance ]
  %more = icmp slt i32 %k, %end
  br i1 %more, label %step, label %finish
step:
  %k64 = zext i32 %k to i64
  %row = getelementptr {_ROW}, ptr @steps, i64 %k64
  %tiles_p = getelementptr i8, ptr %row, i64 24
  %tiles = load i32, ptr %tiles_p, align 4
  %flag_p = getelementptr i8, ptr %row, i64 28
  %flag = load i32, ptr %flag_p, align 4
  %flagged = icmp ne i32 %flag, 0
  %first = icmp eq i32 %k, %begin
  %ordered = xor i1 %first, true
  %must_wait = and i1 %flagged, %ordered
  br i1 %must_wait, label %barrier, label %execute
barrier:
  %goal_here = add i32 %goal, %threads
  %seen = atomicrmw add ptr %arrived, i32 1 acq_rel
  call void @await(ptr %arrived, i32 %goal_here)
  br label %execute
execute:
  %goal_now = phi i32 [ %goal, %step ], [ %goal_here, %barrier ]
  %one = icmp eq i32 %tiles, 1
  br i1 %one, label %single, label %shared
single:
  br i1 %caller, label %alone, label %advance
alone:
  call void @run_step(ptr %row, ptr %buffers, i64 0, i64 1)
  br label %advance
shared:
  %slot = mul i64 %k64, {_COUNTER_STRIDE}
  %at = add i64 %slot, {_COUNTERS}
  %counter = getelementptr i8, ptr %state, i64 %at
  call void @share_step(ptr %row, i32 %tiles, ptr %counter, ptr %buffers, i32 %threads)
  br label %advance
advance:
  %k_next = add i32 %k, 1
  br label %head
finish:
  %last = atomicrmw add ptr %arrived, i32 1 acq_rel
  %complete = add i32 %goal, %threads
  ret i32 %complete
}}

define void @network_run(ptr %state, ptr %buffers, i32 %begin, i32 %end) {{
entry:
  %threads_p = getelementptr i8, ptr %state, i64 {_THREADS}
  %threads = load i32, ptr %threads_p, align 4
  %alone = icmp ule i32 %threads, 1
  br i1 %alone, label %serial, label %reset
serial:
  %k = phi i32 [ %begin, %entry ], [ %k_next, %serial_step ]
  %more = icmp slt i32 %k, %end
  br i1 %more, label %serial_step, label %done
serial_step:
  %k64 = zext i32 %k to i64
  %row = getelementptr {_ROW}, ptr @steps, i64 %k64
  %tiles_p = getelementptr i8, ptr %row, i64 24
  %tiles = load i32, ptr %tiles_p, align 4
  %tiles64 = zext i32 %tiles to i64
  call void @run_step(ptr %row, ptr %buffers, i64 0, i64 %tiles64)
  %k_next = add i32 %k, 1
  br label %serial
reset: ; the workers are idle: all of them arrived at the end of the last run
  %r = phi i32 [ %begin, %entry ], [ %r_next, %clear ]
  %pending = icmp slt i32 %r, %end
  br i1 %pending, label %clear, label %publish
clear:
  %r64 = zext i32 %r to i64
  %slot = mul i64 %r64, {_COUNTER_STRIDE}
  %at = add i64 %slot, {_COUNTERS}
  %counter = getelementptr i8, ptr %state, i64 %at
  store atomic i32 0, ptr %counter monotonic, align 4
  %r_next = add i32 %r, 1
  br label %reset
publish:
  %arrived = getelementptr i8, ptr %state, i64 {_ARRIVED}
  store atomic i32 0, ptr %arrived monotonic, align 4
  %buffers_p = getelementptr i8, ptr %state, i64 {_BUFFERS}
  store ptr %buffers, ptr %buffers_p, align 8
  %begin_p = getelementptr i8, ptr %state, i64 {_BEGIN}
  store i32 %begin, ptr %begin_p, align 4
  %end_p = getelementptr i8, ptr %state, i64 {_END}
  store i32 %end, ptr %end_p, align 4
  call void @wake(ptr %state)
  %complete = call i32 @share_run(ptr %state, i32 0)
  call void @await(ptr %arrived, i32 %complete)
  br label %done
done:
  ret void
}}

define ptr @network_worker(ptr %state) {{
entry:
  %next_p = getelementptr i8, ptr %state, i64 {_NEXT_ID}
  %id = atomicrmw add ptr %next_p, i32 1 seq_cst
  %generation = getelementptr i8, ptr %state, i64 {_GENERATION}
  %sleepers = getelementptr i8, ptr %state, i64 {_SLEEPERS}
  %stop_p = getelementptr i8, ptr %state, i64 {_STOP}
  br label %idle
idle:
  %seen = phi i32 [ 0, %entry ], [ %now, %run ]
  br label %check
check:
  %spins = phi i32 [ 0, %idle ], [ %more, %spin ], [ 0, %sleep ]
  %now = load atomic i32, ptr %generation seq_cst, align 4
  %called = icmp ne i32 %now, %seen
  br i1 %called, label %leave, label %wait
wait:
  %patient = icmp ult i32 %spins, {_SPINS_BEFORE_SLEEP}
  br i1 %patient, label %spin, label %sleep
spin:
  PAUSE
  %more = add i32 %spins, 1
  br label %check
sleep: ; FUTEX_WAIT_PRIVATE: the kernel compares again, so a call cannot be missed
  %up = atomicrmw add ptr %sleepers, i32 1 seq_cst
  %r = call i64 (i64, ...) @syscall(i64 FUTEX, ptr %generation, i32 128, i32 %seen, ptr null, ptr null, i32 0)
  %down = atomicrmw sub ptr %sleepers, i32 1 seq_cst
  br label %check
leave:
  %stop = load atomic i32, ptr %stop_p seq_cst, align 4
  %stopped = icmp ne i32 %stop, 0
  br i1 %stopped, label %exit, label %run
run:
  %complete = call i32 @share_run(ptr %state, i32 %id)
  br label %idle
exit:
  ret ptr null
}}
"""
