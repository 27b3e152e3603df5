/*
 * Random numbers for choices that nobody gains by guessing: which backend, where the search for a source port begins.
 * Include after maps.h.
 *
 * xorshift64* (Vigna 2016), for the kernel's own generator costs more than choosing a backend; it gives the first
 * state. tc and XDP share one state a CPU: what XDP leaves to tc draws the same number there, if XDP puts the state
 * back. A test that sets the state knows what will be chosen.
 */
#ifndef SLUICE_PROGS_RANDOM_H
#define SLUICE_PROGS_RANDOM_H

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64); /* 0: not drawn yet */
} sluice_random SEC(".maps");

/* This CPU's state, which no other program on it changes meanwhile: packets run with softirqs off. */
SLUICE_ALWAYS_INLINE __u64 *sluice_random_state(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&sluice_random, &zero);
}

SLUICE_ALWAYS_INLINE __u32 sluice_draw(void)
{
	__u64 *state = sluice_random_state();
	__u64 x;

	if (!state)
		return bpf_get_prandom_u32();
	x = *state;
	if (!x)
		x = (__u64)bpf_get_prandom_u32() << 32 | bpf_get_prandom_u32() | 1;
	x ^= x >> 12;
	x ^= x << 25;
	x ^= x >> 27;
	*state = x;
	return (__u32)(x * 0x2545f4914f6cdd1dULL >> 32);
}

#endif
