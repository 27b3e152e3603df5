/*
 * Memory that several CPUs read and write at once: every access that a protocol of bpf/lib relies
 * on goes through one
 * of these. A test that runs the protocols under a scheduler of its own (flow_model_test.cc)
 * defines them first, so that
 * it may switch actors at each.
 */
#ifndef SLUICE_LIB_SHARED_H
#define SLUICE_LIB_SHARED_H

#include "bpf/lib/hash.h"

#ifndef SLUICE_SHARED_ACCESS
#define SLUICE_SHARED_ACCESS
#define SLUICE_READ_ONCE(x) (*(const volatile __typeof__(x) *)&(x))
#define SLUICE_WRITE_ONCE(x, value) (*(volatile __typeof__(x) *)&(x) = (value))
/* Returns what was there; equal to `before` if it was changed. Orders everything before and after it. */
#define SLUICE_COMPARE_AND_SWAP(cell, before, after) \
	__sync_val_compare_and_swap(cell, before, after)
/* Plain memory that others may be writing: what was read counts only if a later look at a word confirms it. */
#define SLUICE_ABOUT_TO_READ(cell) ((void)0)
#define SLUICE_ABOUT_TO_WRITE(cell) ((void)0)
#ifndef __bpf__
#define SLUICE_STORE_RELEASE(cell, before, after) __atomic_store_n(cell, after, __ATOMIC_RELEASE)
#endif
#endif

/*
 * A store after which others see what was written before it. x86 keeps stores in order by itself;
 * elsewhere BPF has only atomic operations for that, so the caller says what stands there.
 */
#ifndef SLUICE_STORE_RELEASE
#if defined(__bpf__) && defined(__TARGET_ARCH_x86_64)
#define SLUICE_STORE_RELEASE(cell, before, after)         \
	do {                                              \
		__asm__ volatile("" ::: "memory");        \
		SLUICE_WRITE_ONCE(*(cell), after);        \
	} while (0)
#else
#define SLUICE_STORE_RELEASE(cell, before, after) \
	((void)SLUICE_COMPARE_AND_SWAP(cell, before, after))
#endif
#endif

/*
 * Stores a word that nobody else may set meanwhile, but that others may try to compare and swap: after this they fail.
 * Ordered before all that is written next, and after what was written before. Needs no bus lock where stores are seen
 * in their order.
 */
#ifndef SLUICE_STORE_OVER
#if defined(__bpf__) && defined(__TARGET_ARCH_x86_64)
#define SLUICE_STORE_OVER(cell, value)                    \
	do {                                              \
		__asm__ volatile("" ::: "memory");        \
		SLUICE_WRITE_ONCE(*(cell), value);        \
		__asm__ volatile("" ::: "memory");        \
	} while (0)
#elif defined(__bpf__)
#define SLUICE_STORE_OVER(cell, value) ((void)__sync_lock_test_and_set(cell, value))
#else
#define SLUICE_STORE_OVER(cell, value)                           \
	do {                                                     \
		__atomic_store_n(cell, value, __ATOMIC_RELEASE); \
		__atomic_thread_fence(__ATOMIC_RELEASE);         \
	} while (0)
#endif
#endif

/*
 * Compare and swap of the flow tables' words and claims. Who defines SLUICE_FLOW_ONE_WRITER is the only one who writes
 * the tables that it hands to this code, as an lcore is, and pays for no atomic operation. Others may read them: they
 * see what is stored in its order.
 */
#ifdef SLUICE_FLOW_ONE_WRITER
SLUICE_ALWAYS_INLINE __u32 sluice_flow_swap_alone(__u32 *cell, __u32 before, __u32 after)
{
	__u32 found = SLUICE_READ_ONCE(*cell);

	if (found == before) {
		__atomic_store_n(cell, after, __ATOMIC_RELEASE);
		__atomic_thread_fence(__ATOMIC_RELEASE);
	}
	return found;
}
#define SLUICE_FLOW_SWAP(cell, before, after) sluice_flow_swap_alone(cell, before, after)
#else
#define SLUICE_FLOW_SWAP(cell, before, after) SLUICE_COMPARE_AND_SWAP(cell, before, after)
#endif

/*
 * Orders what a reader copied before its second look at the word. x86 keeps loads in order by
 * itself; elsewhere BPF
 * has no cheaper barrier than an atomic operation.
 */
SLUICE_ALWAYS_INLINE void sluice_read_barrier(void)
{
#ifndef __bpf__
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
#elif defined(__TARGET_ARCH_x86_64)
	__asm__ volatile("" ::: "memory");
#else
	__u64 cell = 0;

	__sync_fetch_and_add(&cell, 1);
#endif
}

/*
 * A function that the BPF verifier checks once, by itself, and not on every path that leads to it:
 * what loops over
 * slots multiplies otherwise. Its pointer arguments may be NULL for all the verifier knows.
 */
#ifdef __bpf__
#define SLUICE_SUBPROGRAM __attribute__((noinline))
#else
#define SLUICE_SUBPROGRAM static inline
#endif

#endif
