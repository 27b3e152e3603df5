/*
 * How many refusals and errors one CPU or lcore answers in a tick (about a second); more are dropped and counted.
 */
#ifndef SLUICE_LIB_BUDGET_H
#define SLUICE_LIB_BUDGET_H

#include "bpf/lib/hash.h"

#define SLUICE_RESETS_PER_TICK 20000
#define SLUICE_UNREACHABLES_PER_TICK 1000

struct sluice_reply_budget {
	__u32 tick;
	__u32 answered;
};

/* Takes one answer of the budget. Returns 0 if there is none left in this tick. */
SLUICE_ALWAYS_INLINE int sluice_reply_allowed(struct sluice_reply_budget *budget, __u16 tick, __u32 limit)
{
	if (budget->tick != tick) {
		budget->tick = tick;
		budget->answered = 0;
	}
	if (budget->answered >= limit)
		return 0;
	budget->answered++;
	return 1;
}

#endif
