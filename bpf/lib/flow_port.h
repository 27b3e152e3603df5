/*
 * The source port of a new flow: one whose reverse half is free. Claiming the reverse half is what
 * makes it unique;
 * this file is the order of the search. Part of bpf/lib/flow_insert.h, which includes it.
 */
#ifndef SLUICE_LIB_FLOW_PORT_H
#define SLUICE_LIB_FLOW_PORT_H

/*
 * One round: walks until a port is in all likelihood free, SLUICE_SNAT_ROUND ports at most, and
 * puts it into the pair's
 * reverse tuple. Only the first line of each bucket is read, and none is claimed. Returns 0 if all
 * were taken.
 */
SLUICE_ALWAYS_INLINE int sluice_flow_walk_round(const struct sluice_flow_view *view,
						struct sluice_flow_pair *pair,
						struct sluice_flow_walk *walk, const int v6)
{
	__u32 port;
	int i;

	for (i = 0; i < SLUICE_SNAT_ROUND; i++) {
		port = walk->first + walk->next;
		walk->next += walk->step;
		if (walk->next >= walk->span)
			walk->next -= walk->span;
		pair->reverse.ports.port_be[SLUICE_DESTINATION] = SLUICE_HTON16(port);
		if (!sluice_flow_may_know(view, sluice_flow_hash(view, &pair->reverse, v6), v6))
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
 * Puts the port to try in round i into the pair's reverse tuple. Round 0 is the client's own port,
 * unless a socket of the
 * node could be using it; round 1 looks in this CPU's share of the range; the others look in the
 * whole range. Returns 1, 0
 * if there is none to try in this round, or -1 if there are no more rounds.
 */
SLUICE_ALWAYS_INLINE int sluice_flow_next_port(const struct sluice_flow_view *view,
					       struct sluice_flow_pair *pair,
					       struct sluice_flow_walk *walk, __u32 i, const int v6)
{
	__u16 own_port_be = pair->forward.ports.port_be[SLUICE_SOURCE];
	__u16 own_port = SLUICE_NTOH16(own_port_be);
	__u32 span = (__u32)pair->port_max - pair->port_min + 1;
	__u32 share = span / SLUICE_SNAT_SHARES;

	if (!i) {
		pair->reverse.ports.port_be[SLUICE_DESTINATION] = own_port_be;
		return !pair->snat || pair->fixed_port ||
		       (own_port >= pair->port_min && own_port <= pair->port_max);
	}
	if (pair->fixed_port)
		return -1;
	if (i == 1) {
		if (!share)
			return 0;
		sluice_flow_walk_begin(walk,
				       pair->port_min + (sluice_flow_cpu(view) &
							 (SLUICE_SNAT_SHARES - 1)) * share,
				       share, pair->random);
	} else {
		if ((i - 2) * SLUICE_SNAT_ROUND >= span)
			return -1;
		/* A step may share a factor with the span, and then comes back to where it was. */
		if (i == 2 || walk->step != 1)
			sluice_flow_walk_begin(walk, pair->port_min, span,
					       sluice_flow_scatter(pair->random + i));
	}
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

	for (i = 0; i < 2 + SLUICE_SNAT_ROUNDS; i++) {
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
