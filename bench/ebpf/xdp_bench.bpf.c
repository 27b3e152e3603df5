/*
 * The XDP program under a wrapper, for dataplane/packet/packet_bench.cc. A test run with repeat does not restore the
 * packet: the wrapper writes the frame of the next flow before each turn and takes off what was put in front after it.
 * What that costs is measured by wrappers around nothing. The code measured is that of bpf/progs/xdp.bpf.c itself.
 */
#include "bpf/progs/xdp.bpf.c"

/* Of every frame: IPv6 with TCP, or IPv4 with TCP and 20 bytes. */
#define BENCH_FRAME 74

struct bench_plan {
	__u64 next; /* turns so far */
	__u32 mask; /* flows less one; all ones: every turn is a new flow */
	__u32 reserved;
	__u32 frame[20]; /* BENCH_FRAME bytes of it */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct bench_plan);
} bench_plan SEC(".maps");

/* Writes the frame of the next flow: its low 14 bits are in the source port, the others in the source address. */
SLUICE_ALWAYS_INLINE int bench_prepare(struct xdp_md *ctx, const int v6)
{
	__u8 *frame = (__u8 *)(long)ctx->data;
	__u32 zero = 0, flow, i;
	struct bench_plan *plan = bpf_map_lookup_elem(&bench_plan, &zero);

	if (!plan || frame + BENCH_FRAME > (__u8 *)(long)ctx->data_end)
		return 0;
	flow = (__u32)plan->next++ * 0x9e3779b1U & plan->mask;
#pragma unroll
	for (i = 0; i < (v6 ? 14 : 9); i++)
		*(__u32 *)(frame + 4 * i) = plan->frame[i];
	if (v6) {
		*(__u32 *)(frame + 34) = __builtin_bswap32(flow >> 14 | 0x10000);
		*(__u16 *)(frame + 54) = __builtin_bswap16((__u16)(1024 + (flow & 16383)));
		*(__u16 *)(frame + 56) = (__u16)plan->frame[14];
		return 1;
	}
	*(__u32 *)(frame + 26) = __builtin_bswap32((flow >> 14) + 0x0a800000);
	*(__u16 *)(frame + 34) = __builtin_bswap16((__u16)(1024 + (flow & 16383)));
	*(__u16 *)(frame + 36) = (__u16)plan->frame[9];
	return 1;
}

SLUICE_ALWAYS_INLINE int bench_undo(struct xdp_md *ctx, int action, const int v6)
{
	if (ctx->data_end - ctx->data > BENCH_FRAME)
		bpf_xdp_adjust_head(ctx, v6 ? 40 : 20);
	return action;
}

#define BENCH_PROGRAMS(family, v6)                                                    \
	SEC("xdp/bench_restore" #family) int bench_restore##family(struct xdp_md *ctx) \
	{                                                                             \
		return bench_prepare(ctx, v6) ? XDP_TX : XDP_ABORTED;                 \
	}                                                                             \
	SEC("xdp/bench_pair" #family) int bench_pair##family(struct xdp_md *ctx)       \
	{                                                                             \
		if (!bench_prepare(ctx, v6) || bpf_xdp_adjust_head(ctx, v6 ? -40 : -20)) \
			return XDP_ABORTED;                                           \
		return bench_undo(ctx, XDP_TX, v6);                                   \
	}                                                                             \
	SEC("xdp/bench_frame" #family) int bench_frame##family(struct xdp_md *ctx)     \
	{                                                                             \
		if (!bench_prepare(ctx, v6))                                          \
			return XDP_ABORTED;                                           \
		return bench_undo(ctx, sluice_xdp_frame(ctx), v6);                    \
	}                                                                             \
	SEC("xdp/bench_begin" #family) int bench_begin##family(struct xdp_md *ctx)     \
	{                                                                             \
		return bench_undo(ctx, sluice_begin_frame(ctx), v6);                  \
	}

BENCH_PROGRAMS(4, 0)
BENCH_PROGRAMS(6, 1)

/* What the kernel's own things cost here, to tell this machine from the peers'. */
struct bench_key {
	__u32 word[10];
};

#define BENCH_MAP(name, kind, key_type, entries)   \
	struct {                                   \
		__uint(type, kind);                \
		__uint(max_entries, entries);      \
		__type(key, key_type);             \
		__type(value, __u64);              \
	} name SEC(".maps")

BENCH_MAP(bench_array, BPF_MAP_TYPE_ARRAY, __u32, 16);
BENCH_MAP(bench_hash, BPF_MAP_TYPE_HASH, __u64, 1024);
BENCH_MAP(bench_lru, BPF_MAP_TYPE_LRU_HASH, struct bench_key, 65536);

SEC("xdp/bench_empty")
int bench_empty(struct xdp_md *ctx)
{
	return XDP_PASS;
}

/* Eight at a time: one is about a nanosecond. */
SEC("xdp/bench_array8")
int bench_array8(struct xdp_md *ctx)
{
	volatile __u32 key;
	__u64 sum = 0;
	__u64 *value;
	__u32 k;
	int i;

#pragma unroll
	for (i = 0; i < 8; i++) {
		key = i;
		k = key;
		value = bpf_map_lookup_elem(&bench_array, &k);
		if (value)
			sum += *value;
	}
	return sum == 1 ? XDP_DROP : XDP_PASS;
}

SEC("xdp/bench_hash_hot")
int bench_hash_hot(struct xdp_md *ctx)
{
	__u64 key = 7;
	__u64 *value = bpf_map_lookup_elem(&bench_hash, &key);

	return value && *value == 1 ? XDP_DROP : XDP_PASS;
}

SEC("xdp/bench_lru_hot")
int bench_lru_hot(struct xdp_md *ctx)
{
	struct bench_key key = {};
	__u64 *value = bpf_map_lookup_elem(&bench_lru, &key);

	return value && *value == 1 ? XDP_DROP : XDP_PASS;
}

SEC("xdp/bench_lru_new")
int bench_lru_new(struct xdp_md *ctx)
{
	__u32 zero = 0;
	struct bench_plan *plan = bpf_map_lookup_elem(&bench_plan, &zero);
	struct bench_key key = {};
	__u64 value = 0;

	if (!plan)
		return XDP_ABORTED;
	key.word[0] = 1;
	key.word[1] = (__u32)plan->next++;
	return bpf_map_update_elem(&bench_lru, &key, &value, BPF_ANY) ? XDP_DROP : XDP_PASS;
}

SEC("xdp/bench_ktime")
int bench_ktime(struct xdp_md *ctx)
{
	return bpf_ktime_get_ns() == 1 ? XDP_DROP : XDP_PASS;
}
