/*
 * What dataplane/packet/packet_bench.cc runs packet programs under, ours and others' alike and unchanged. A test run
 * with repeat does not restore the packet: the wrapper takes off what the last turn has put in front, writes the frame
 * of the next flow and tail-calls the program. What that costs is measured with stubs in the program's place.
 *
 * Words are stored where packet programs load them: a load that spans two young stores waits until both have reached
 * the cache, which no frame from a device makes it do.
 */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

/* Of every frame: IPv6 with TCP, or IPv4 with TCP and 20 bytes. */
#define BENCH_FRAME 74
/* Two bytes before the frame, so that the words of its IP header are words of the plan. */
#define BENCH_PAD 2
#define BENCH_WORD(offset) (((offset) + BENCH_PAD) / 4)

#define BENCH_INLINE static __attribute__((always_inline)) inline

struct bench_plan {
	__u64 next; /* turns so far */
	__u32 mask; /* flows less one; all ones: every turn is a new flow */
	__u32 reserved;
	__u32 frame[20]; /* BENCH_PAD, then BENCH_FRAME bytes */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct bench_plan);
} bench_plan SEC(".maps");

/* The program that is measured, or a stub. */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
} bench_subject SEC(".maps");

BENCH_INLINE struct bench_plan *bench_the_plan(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&bench_plan, &zero);
}

/* The header's checksum when one word of it has become another (RFC 1624). All as they lie in memory. */
BENCH_INLINE __u32 bench_check(__u32 check, __u32 before, __u32 after)
{
	__u64 sum = (__u64)(~check & 0xffff) + (~before & 0xffffffffU) + after;

	sum = (sum & 0xffffffffU) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~(__u32)sum & 0xffff;
}

/* The next flow's low 14 bits are in the source port, the others in the source address. */
BENCH_INLINE int bench_turn(struct xdp_md *ctx, const int v6)
{
	struct bench_plan *plan = bench_the_plan();
	__u32 flow, port_be, word, source_be;
	__u8 *frame;
	int i;

	if (ctx->data_end - ctx->data > BENCH_FRAME && bpf_xdp_adjust_head(ctx, v6 ? 40 : 20))
		return XDP_ABORTED;
	frame = (__u8 *)(long)ctx->data;
	if (!plan || frame + BENCH_FRAME > (__u8 *)(long)ctx->data_end)
		return XDP_ABORTED;
	flow = (__u32)plan->next++ * 0x9e3779b1U & plan->mask;
	port_be = __builtin_bswap16((__u16)(1024 + (flow & 16383)));
	*(__u16 *)frame = (__u16)(plan->frame[0] >> 16);
	source_be = __builtin_bswap32((flow >> 14) + 0x0a800000);
#pragma unroll
	for (i = 2; i < (v6 ? 54 : 34); i += 4) {
		word = plan->frame[BENCH_WORD(i)];
		if (v6 && i == 34)
			word = __builtin_bswap32(flow >> 14 | 0x10000);
		if (!v6 && i == 22)
			word = (word & 0xffff) | bench_check(word >> 16, plan->frame[BENCH_WORD(26)], source_be) << 16;
		if (!v6 && i == 26)
			word = source_be;
		*(__u32 *)(frame + i) = word;
	}
	i = v6 ? 54 : 34;
	*(__u32 *)(frame + i) = (plan->frame[BENCH_WORD(i)] & 0xffff0000U) | port_be;
	bpf_tail_call(ctx, &bench_subject, 0);
	return XDP_ABORTED;
}

SEC("xdp")
int bench_wrapper4(struct xdp_md *ctx)
{
	return bench_turn(ctx, 0);
}

SEC("xdp")
int bench_wrapper6(struct xdp_md *ctx)
{
	return bench_turn(ctx, 1);
}

SEC("xdp")
int bench_stub(struct xdp_md *ctx)
{
	return XDP_TX;
}

/* Makes room as a program does that puts an outer header in front. */
SEC("xdp")
int bench_stub_grow4(struct xdp_md *ctx)
{
	return bpf_xdp_adjust_head(ctx, -20) ? XDP_ABORTED : XDP_TX;
}

SEC("xdp")
int bench_stub_grow6(struct xdp_md *ctx)
{
	return bpf_xdp_adjust_head(ctx, -40) ? XDP_ABORTED : XDP_TX;
}

/* What the kernel's own things cost here, to tell this machine from the peers'. */
struct bench_key {
	__u32 word[10];
};

#define BENCH_MAP_OF(name, kind, key_type, value_type, entries) \
	struct {                                                \
		__uint(type, kind);                             \
		__uint(max_entries, entries);                   \
		__type(key, key_type);                          \
		__type(value, value_type);                      \
	} name SEC(".maps")
#define BENCH_MAP(name, kind, key_type, entries) BENCH_MAP_OF(name, kind, key_type, __u64, entries)

BENCH_MAP(bench_array, BPF_MAP_TYPE_ARRAY, __u32, 16);
BENCH_MAP(bench_hash, BPF_MAP_TYPE_HASH, __u64, 1024);
BENCH_MAP(bench_lru, BPF_MAP_TYPE_LRU_HASH, struct bench_key, 65536);

SEC("xdp")
int bench_empty(struct xdp_md *ctx)
{
	return XDP_PASS;
}

/* Eight at a time: one is about a nanosecond. */
SEC("xdp")
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

SEC("xdp")
int bench_hash_hot(struct xdp_md *ctx)
{
	__u64 key = 7;
	__u64 *value = bpf_map_lookup_elem(&bench_hash, &key);

	return value && *value == 1 ? XDP_DROP : XDP_PASS;
}

SEC("xdp")
int bench_lru_hot(struct xdp_md *ctx)
{
	struct bench_key key = {};
	__u64 *value = bpf_map_lookup_elem(&bench_lru, &key);

	return value && *value == 1 ? XDP_DROP : XDP_PASS;
}

SEC("xdp")
int bench_lru_new(struct xdp_md *ctx)
{
	struct bench_plan *plan = bench_the_plan();
	struct bench_key key = {};
	__u64 value = 0;

	if (!plan)
		return XDP_ABORTED;
	key.word[0] = 1;
	key.word[1] = (__u32)plan->next++;
	return bpf_map_update_elem(&bench_lru, &key, &value, BPF_ANY) ? XDP_DROP : XDP_PASS;
}

SEC("xdp")
int bench_ktime(struct xdp_md *ctx)
{
	return bpf_ktime_get_ns() == 1 ? XDP_DROP : XDP_PASS;
}

/*
 * What one place of memory costs that was not touched for as long as one flow among `mask` + 1 was not: the floor of
 * whatever keeps state of its own for each flow. The places lie at random in a table of a flow table's size, and each
 * look waits for the one before.
 */
#define BENCH_FAR_PLACES (1 << 20)
#define BENCH_FAR_LOOKS 4

struct bench_line {
	__u64 word[8];
};

BENCH_MAP_OF(bench_far, BPF_MAP_TYPE_ARRAY, __u32, struct bench_line, BENCH_FAR_PLACES);

SEC("xdp")
int bench_far_read4(struct xdp_md *ctx)
{
	struct bench_plan *plan = bench_the_plan();
	struct bench_line *line;
	__u64 place, seen = 0;
	__u32 index;
	int i;

	if (!plan)
		return XDP_ABORTED;
#pragma unroll
	for (i = 0; i < BENCH_FAR_LOOKS; i++) {
		place = ((__u32)plan->next++ * 0x9e3779b1U & plan->mask) + seen;
		place = (place + 1) * 0xd6e8feb86659fd93ULL;
		index = (__u32)(place >> 40) & (BENCH_FAR_PLACES - 1);
		line = bpf_map_lookup_elem(&bench_far, &index);
		if (line)
			seen = line->word[0];
	}
	return seen ? XDP_DROP : XDP_PASS;
}

char bench_license[] SEC("license") = "GPL";
