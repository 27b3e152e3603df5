/*
 * The source port of a new flow: one whose reverse half is free. Claiming the reverse half is what
 * makes it unique;
 * this file is the order of the search. Part of bpf/lib/flow_insert.h, which includes it.
 */
#ifndef SLUICE_LIB_FLOW_PORT_H
#define SLUICE_LIB_FLOW_PORT_H

/*
 * Whether a flow that is not over may have the key of this hash. Reads the bucket's first cache line only; one
 * stranger in some thousands is taken for it. What is left of flows that are over, or were forgotten, does not count:
 * the insert takes its place.
 */
SLUICE_ALWAYS_INLINE int sluice_flow_may_hold(const struct sluice_flow_view *view, __u64 hash,
					      const int v6)
{
	struct sluice_flow_set *set = sluice_flow_head(view, sluice_flow_bucket_of(view, hash, v6), v6);
	__u32 tag = sluice_flow_tag_of(hash);
	__u32 word, state;
	int i;

	if (!set)
		return 0;
	for (i = 0; i < SLUICE_FLOW_WAYS; i++) {
		word = SLUICE_READ_ONCE(set->word[i]);
		state = word & SLUICE_FLOW_STATE_MASK;
		if (((word ^ tag) & 0xffff0000U) || state == SLUICE_FLOW_FREE)
			continue;
		if (state == SLUICE_FLOW_BUSY ||
		    sluice_flow_age(view, SLUICE_READ_ONCE(set->seen[i])) <=
			    sluice_flow_timeout(state, set->protocol[i]))
			return 1;
	}
	return 0;
}

/* Functions of their own, so that the BPF verifier looks into a bucket once and not once for each port of a round. */
SLUICE_SUBPROGRAM int sluice_flow_may_hold4(const struct sluice_flow_view *view, __u64 hash)
{
	return view ? sluice_flow_may_hold(view, hash, 0) : 0;
}

SLUICE_SUBPROGRAM int sluice_flow_may_hold6(const struct sluice_flow_view *view, __u64 hash)
{
	return view ? sluice_flow_may_hold(view, hash, 1) : 0;
}

/*
 * One round: walks until a port is in all likelihood free, SLUICE_SNAT_ROUND ports at most, and puts it into the
 * pair's reverse tuple. No bucket is claimed. Returns 0 if all were taken.
 */
SLUICE_ALWAYS_INLINE int sluice_flow_walk_round(const struct sluice_flow_view *view,
						struct sluice_flow_pair *pair,
						struct sluice_flow_walk *walk, const int v6)
{
	__u32 port;
	__u64 hash;
	int i;

	for (i = 0; i < SLUICE_SNAT_ROUND; i++) {
		port = walk->first + walk->next;
		walk->next += walk->step;
		if (walk->next >= walk->span)
			walk->next -= walk->span;
		pair->reverse.ports.port_be[SLUICE_DESTINATION] = SLUICE_HTON16(port);
		hash = sluice_flow_hash(view, &pair->reverse, v6);
		if (!(v6 ? sluice_flow_may_hold6(view, hash) : sluice_flow_may_hold4(view, hash)))
			return 1;
	}
	return 0;
}

/* Another number, for which neighbours are strangers. */
SLUICE_ALWAYS_INLINE __u32 sluice_flow_scatter(__u32 x)
{
	x = (x ^ x >> 16) * 0x85ebca6bU;
	x = (x ^ x >> 13) * 0xc2b2ae35U;
	return x ^ x >> 16;
}

/*
 * Begins a walk of the ports first .. first + span - 1, with the place and the step that the
 * random number gives: what
 * is taken clusters where steps are all the same. Ranges that can be walked to the end are, one by
 * one.
 */
SLUICE_ALWAYS_INLINE void sluice_flow_walk_begin(struct sluice_flow_walk *walk, __u32 first,
						 __u32 span, __u32 random)
{
	walk->first = first;
	walk->span = span & 0x1ffff;
	walk->next = (__u32)((__u64)random * walk->span >> 32);
	walk->step = 1;
	if (walk->span > SLUICE_SNAT_ROUND * SLUICE_SNAT_ROUNDS)
		walk->step = (__u32)((__u64)sluice_flow_scatter(random) * (walk->span - 2) >> 32) + 2;
}

/*
 * Puts the port to try in round i into the pair's reverse tuple. Round 0 is the client's own port, unless a socket of
 * the node could be using it; the others look in the whole range, each from another place. (Two CPUs that look at
 * once seldom look at the same port; shares of their own would be full long before the range is, and then cost each new
 * flow a round.) Returns 1, 0 if there is none to try in this round, or -1 if there are no more rounds.
 */
SLUICE_ALWAYS_INLINE int sluice_flow_next_port(const struct sluice_flow_view *view,
					       struct sluice_flow_pair *pair,
					       struct sluice_flow_walk *walk, __u32 i, const int v6)
{
	__u16 own_port_be = pair->forward.ports.port_be[SLUICE_SOURCE];
	__u16 own_port = SLUICE_NTOH16(own_port_be);
	__u32 span = (__u32)pair->port_max - pair->port_min + 1;

	if (!i) {
		pair->reverse.ports.port_be[SLUICE_DESTINATION] = own_port_be;
		return !pair->snat || pair->fixed_port ||
		       (own_port >= pair->port_min && own_port <= pair->port_max);
	}
	if (pair->fixed_port || (i - 1) * SLUICE_SNAT_ROUND >= span)
		return -1;
	/* A step may share a factor with the span, and then comes back to where it was. */
	if (i == 1 || walk->step != 1)
		sluice_flow_walk_begin(walk, pair->port_min, span,
				       sluice_flow_scatter(pair->random + i));
	return sluice_flow_walk_round(view, pair, walk, v6);
}

SLUICE_SUBPROGRAM int sluice_flow_port4(const struct sluice_flow_view *view,
					struct sluice_flow_pair *pair,
					struct sluice_flow_walk *walk, __u32 i)
{
	return view && pair && walk ? sluice_flow_next_port(view, pair, walk, i, 0) : -1;
}

SLUICE_SUBPROGRAM int sluice_flow_port6(const struct sluice_flow_view *view,
					struct sluice_flow_pair *pair,
					struct sluice_flow_walk *walk, __u32 i)
{
	return view && pair && walk ? sluice_flow_next_port(view, pair, walk, i, 1) : -1;
}

/* With the forward half's bucket claimed and its slot BUSY: finds a source port whose reverse half is free. */
SLUICE_ALWAYS_INLINE int sluice_flow_bind_port(const struct sluice_flow_view *view,
					       struct sluice_flow_pair *pair,
					       struct sluice_flow_room *room, const int v6)
{
	int result = SLUICE_FLOW_EXISTS;
	int found;
	__u32 i;

	for (i = 0; i <= SLUICE_SNAT_ROUNDS; i++) {
		found = v6 ? sluice_flow_port6(view, pair, &room->walk, i) :
			     sluice_flow_port4(view, pair, &room->walk, i);
		if (found < 0)
			break;
		if (!found)
			continue;
		result = v6 ? sluice_flow_put_reverse6(view, pair, &room->forward, &room->reverse) :
			      sluice_flow_put_reverse4(view, pair, &room->forward, &room->reverse);
		if (result == SLUICE_FLOW_INSERTED)
			break;
	}
	return result == SLUICE_FLOW_EXISTS ? SLUICE_FLOW_NO_PORT : result;
}

#endif
