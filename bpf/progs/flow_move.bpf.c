/*
 * Carries flows from the old table to the new one, at user space's leisure: one slot index of each
 * family a run, for
 * BPF_PROG_TEST_RUN with `repeat`. It is the kernel that does it, for a program runs to its end,
 * while a process may be
 * killed at any instruction and would leave buckets claimed.
 *
 * Program type SCHED_CLS; the frame is not looked at. Where it is, and what became of what it saw,
 * stands in sluice_move.
 */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_helpers.h>

#include "bpf/progs/maps.h"
#include "bpf/progs/flow_maps.h"
#include "bpf/lib/flow.h"

SLUICE_FLOW_MAP(sluice_move, struct sluice_flow_mover, 1);

SLUICE_SUBPROGRAM int step4(const struct sluice_flow_view *view, struct sluice_flow_mover *mover)
{
	__u32 bucket;
	int i;

	if (!view || !mover || mover->next4 >= view->other_count4)
		return 0;
	bucket = mover->next4;
	for (i = 0; i < SLUICE_FLOW_WAYS; i++)
		mover->count[sluice_flow_move4(view, bucket * SLUICE_FLOW_WAYS + i) & 7]++;
	mover->next4 = bucket + 1;
	return 1;
}

SLUICE_SUBPROGRAM int step6(const struct sluice_flow_view *view, struct sluice_flow_mover *mover)
{
	__u32 bucket;
	int i;

	if (!view || !mover || mover->next6 >= view->other_count6)
		return 0;
	bucket = mover->next6;
	for (i = 0; i < SLUICE_FLOW_WAYS; i++)
		mover->count[sluice_flow_move6(view, bucket * SLUICE_FLOW_WAYS + i) & 7]++;
	mover->next6 = bucket + 1;
	return 1;
}

/* Returns 1 while there is more to look at. */
SEC("tc/move_flows")
int move_flows(struct __sk_buff *ctx)
{
	struct sluice_flow_mover *mover;
	struct sluice_flow_view view;
	__u32 zero = 0;
	int more;

	mover = bpf_map_lookup_elem(&sluice_move, &zero);
	if (!mover || !sluice_flow_view_open(&view) || view.mode != SLUICE_FLOW_MOVE)
		return 0;
	more = step4(&view, mover);
	more |= step6(&view, mover);
	return more;
}

char sluice_license[] SEC("license") = "GPL";
