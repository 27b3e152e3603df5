/*
 * Two tables of a family, while flows move from one to the other ("Growth" in bpf/lib/README.md).
 * Part of
 * bpf/lib/flow.h, which includes it.
 *
 * Here is the view's own table, there is the other. A flow is put here before it leaves there, so
 * one that is neither here,
 * nor there, nor then here, is nowhere. Of several that carry one flow at once the insert lets one
 * in; and that one stays
 * only if it is also the one that takes the flow out of the other table. So a flow that was
 * forgotten or displaced by a new
 * one in between does not come back.
 */
#ifndef SLUICE_LIB_FLOW_MOVE_H
#define SLUICE_LIB_FLOW_MOVE_H

/* As sluice_flow_may_know, of both tables. */
SLUICE_ALWAYS_INLINE int sluice_flow_may_know_any(const struct sluice_flow_view *view, __u64 hash,
						  const int v6)
{
	return sluice_flow_may_know(view, hash, v6) ||
	       (view->mode && sluice_flow_may_know(view, hash, v6 | SLUICE_FLOW_OTHER));
}

/* Both halves of the flow that `hit` is one half of, there. `tuple` is its key. Returns 0 if the other half is gone. */
SLUICE_ALWAYS_INLINE int sluice_flow_pair_of(const struct sluice_flow_view *view,
					     const struct sluice_tuple *tuple,
					     const struct sluice_flow_hit *hit, const int v6)
{
	struct sluice_flow_room *room = (struct sluice_flow_room *)sluice_flow_room_at();
	struct sluice_flow_pair *pair;
	const int reverse = hit->meta.flags & SLUICE_FLOW_REVERSE;
	struct sluice_flow_set *peer_set = sluice_flow_head(
		view, hit->meta.peer / SLUICE_FLOW_WAYS, v6 | SLUICE_FLOW_OTHER);
	__u32 peer_slot = hit->meta.peer & (SLUICE_FLOW_WAYS - 1);
	struct sluice_tuple other = {};
	__u8 peer_flags;
	__u32 word;

	if (!peer_set || !room)
		return 0;
	pair = &room->pair;
	peer_flags = sluice_flow_meta_of(peer_set, peer_slot, v6)->flags;
	sluice_read_barrier();
	word = SLUICE_READ_ONCE(peer_set->word[peer_slot]);
	if ((word & SLUICE_FLOW_ID_MASK) != hit->meta.peer_id ||
	    (word & SLUICE_FLOW_STATE_MASK) <= SLUICE_FLOW_BUSY)
		return 0;
	/* The key of the other half is what this one becomes, turned round. */
	other.src = hit->new_dst;
	other.dst = hit->new_src;
	other.ports.port_be[SLUICE_SOURCE] = hit->new_ports.port_be[SLUICE_DESTINATION];
	other.ports.port_be[SLUICE_DESTINATION] = hit->new_ports.port_be[SLUICE_SOURCE];
	other.protocol = tuple->protocol;
	pair->forward = reverse ? other : *tuple;
	pair->reverse = reverse ? *tuple : other;
	pair->service = hit->meta.service;
	pair->backend = hit->meta.backend;
	pair->incarnation = hit->meta.incarnation;
	pair->random = 0;
	pair->port_min = 0;
	pair->port_max = 0;
	pair->snat = (hit->meta.flags & SLUICE_FLOW_SNAT) != 0;
	pair->fixed_port = 1;
	pair->state = hit->state;
	pair->flags = hit->meta.flags &
		      (SLUICE_FLOW_DIRECT | SLUICE_FLOW_ONE_WAY | SLUICE_FLOW_RETURN);
	pair->seen = hit->seen;
	pair->fin = reverse ? (__u8)((hit->meta.flags & SLUICE_FLOW_FIN) << 1 |
				     (peer_flags & SLUICE_FLOW_FIN)) :
			      (__u8)((hit->meta.flags & SLUICE_FLOW_FIN) |
				     (peer_flags & SLUICE_FLOW_FIN) << 1);
	pair->carried = 1;
	/* All who carry the flow agree on the forward half to take it out by. */
	room->from_slot = reverse ? hit->meta.peer : hit->slot;
	room->from_id = reverse ? hit->meta.peer_id : hit->id;
	room->from_peer = reverse ? hit->slot : hit->meta.peer;
	room->from_peer_id = reverse ? hit->id : hit->meta.peer_id;
	return 1;
}

SLUICE_SUBPROGRAM int sluice_flow_pair4(const struct sluice_flow_view *view,
					const struct sluice_tuple *tuple,
					const struct sluice_flow_hit *hit)
{
	return view && tuple && hit ? sluice_flow_pair_of(view, tuple, hit, 0) : 0;
}

SLUICE_SUBPROGRAM int sluice_flow_pair6(const struct sluice_flow_view *view,
					const struct sluice_tuple *tuple,
					const struct sluice_flow_hit *hit)
{
	return view && tuple && hit ? sluice_flow_pair_of(view, tuple, hit, 1) : 0;
}

/* Carries the flow that `hit` is one half of from there to here. Returns enum sluice_flow_carried. */
SLUICE_ALWAYS_INLINE int sluice_flow_carry(const struct sluice_flow_view *view,
					   const struct sluice_tuple *tuple,
					   const struct sluice_flow_hit *hit, const int v6)
{
	struct sluice_flow_room *room = (struct sluice_flow_room *)sluice_flow_room_at();
	struct sluice_flow_pair *pair;
	int result;

	if (!room)
		return SLUICE_FLOW_CARRIED_AGAIN;
	pair = &room->pair;
	if (!(v6 ? sluice_flow_pair6(view, tuple, hit) : sluice_flow_pair4(view, tuple, hit))) {
		sluice_flow_set_state(view, hit->slot, hit->id, SLUICE_FLOW_FREE,
				      v6 | SLUICE_FLOW_OTHER);
		return SLUICE_FLOW_CARRIED_OVER;
	}
	result = sluice_flow_insert(view, pair, 0, v6);
	if (result == SLUICE_FLOW_EXISTS)
		return SLUICE_FLOW_CARRIED_EXISTS;
	if (result == SLUICE_FLOW_FULL)
		return SLUICE_FLOW_CARRIED_FULL;
	if (result != SLUICE_FLOW_INSERTED)
		return SLUICE_FLOW_CARRIED_AGAIN;
	if (!sluice_flow_set_state(view, room->from_slot, room->from_id, SLUICE_FLOW_FREE,
				   v6 | SLUICE_FLOW_OTHER)) {
		sluice_flow_set_state(view, pair->slot, pair->id, SLUICE_FLOW_FREE, v6);
		sluice_flow_set_state(view, pair->peer, pair->peer_id, SLUICE_FLOW_FREE, v6);
		return SLUICE_FLOW_CARRIED_AGAIN;
	}
	sluice_flow_set_state(view, room->from_peer, room->from_peer_id, SLUICE_FLOW_FREE,
			      v6 | SLUICE_FLOW_OTHER);
	return SLUICE_FLOW_CARRIED_MOVED;
}

SLUICE_SUBPROGRAM int sluice_flow_carry4(const struct sluice_flow_view *view,
					 const struct sluice_tuple *tuple,
					 const struct sluice_flow_hit *hit)
{
	return view && tuple && hit ? sluice_flow_carry(view, tuple, hit, 0) :
				      SLUICE_FLOW_CARRIED_AGAIN;
}

SLUICE_SUBPROGRAM int sluice_flow_carry6(const struct sluice_flow_view *view,
					 const struct sluice_tuple *tuple,
					 const struct sluice_flow_hit *hit)
{
	return view && tuple && hit ? sluice_flow_carry(view, tuple, hit, 1) :
				      SLUICE_FLOW_CARRIED_AGAIN;
}

/* A flow there is in use: carried later, it must not pass for one that was silent meanwhile, and be displaced. */
SLUICE_ALWAYS_INLINE void sluice_flow_touch(const struct sluice_flow_view *view,
					    const struct sluice_flow_hit *hit, const int v6)
{
	struct sluice_flow_set *set;

	if (hit->seen == view->now)
		return;
	set = sluice_flow_head(view, hit->slot / SLUICE_FLOW_WAYS, v6 | SLUICE_FLOW_OTHER);
	if (set)
		SLUICE_WRITE_ONCE(set->seen[hit->slot & (SLUICE_FLOW_WAYS - 1)], view->now);
	set = sluice_flow_head(view, hit->meta.peer / SLUICE_FLOW_WAYS, v6 | SLUICE_FLOW_OTHER);
	if (set)
		SLUICE_WRITE_ONCE(set->seen[hit->meta.peer & (SLUICE_FLOW_WAYS - 1)], view->now);
}

/* Between functions here: the flow is there, and to be carried here. */
#define SLUICE_FLOW_CARRY 2

/* After a miss here, with a second table: looks there, and here again. `carried`: what an attempt to carry it gave. */
SLUICE_ALWAYS_INLINE int sluice_flow_fetch(const struct sluice_flow_view *view,
					   const struct sluice_tuple *tuple,
					   struct sluice_flow_hit *hit, int carried, const int v6)
{
	__u64 hash = sluice_flow_hash(view, tuple, v6);

	if (carried != SLUICE_FLOW_CARRIED_NONE && sluice_flow_find(view, tuple, hash, hit, v6))
		return 1;
	if (carried == SLUICE_FLOW_CARRIED_MOVED || carried == SLUICE_FLOW_CARRIED_EXISTS ||
	    carried == SLUICE_FLOW_CARRIED_OVER)
		return 0;
	if (!sluice_flow_find(view, tuple, hash, hit, v6 | SLUICE_FLOW_OTHER))
		return sluice_flow_find(view, tuple, hash, hit, v6);
	if (carried == SLUICE_FLOW_CARRIED_NONE && view->mode == SLUICE_FLOW_MOVE)
		return SLUICE_FLOW_CARRY;
	if (carried == SLUICE_FLOW_CARRIED_FULL)
		sluice_flow_touch(view, hit, v6);
	hit->slot = SLUICE_FLOW_NOWHERE;
	hit->meta.peer = SLUICE_FLOW_NOWHERE;
	return 1;
}

SLUICE_SUBPROGRAM int sluice_flow_fetch4(const struct sluice_flow_view *view,
					 const struct sluice_tuple *tuple,
					 struct sluice_flow_hit *hit, int carried)
{
	return view && tuple && hit ? sluice_flow_fetch(view, tuple, hit, carried, 0) : 0;
}

SLUICE_SUBPROGRAM int sluice_flow_fetch6(const struct sluice_flow_view *view,
					 const struct sluice_tuple *tuple,
					 struct sluice_flow_hit *hit, int carried)
{
	return view && tuple && hit ? sluice_flow_fetch(view, tuple, hit, carried, 1) : 0;
}

/*
 * As sluice_flow_find, of both tables; what packets use. Without a second table it costs a branch
 * more on a miss. While
 * flows move, a flow that is found there is brought here; one that cannot be at this moment is
 * used where it is, for
 * this packet: neither following nor forgetting it does anything.
 */
SLUICE_ALWAYS_INLINE int sluice_flow_find_or_move(const struct sluice_flow_view *view,
						  const struct sluice_tuple *tuple, __u64 hash,
						  struct sluice_flow_hit *hit, const int v6)
{
	int found, carried;

	if (sluice_flow_find(view, tuple, hash, hit, v6))
		return 1;
	if (!view->mode)
		return 0;
	found = v6 ? sluice_flow_fetch6(view, tuple, hit, SLUICE_FLOW_CARRIED_NONE) :
		     sluice_flow_fetch4(view, tuple, hit, SLUICE_FLOW_CARRIED_NONE);
	if (found != SLUICE_FLOW_CARRY)
		return found;
	carried = v6 ? sluice_flow_carry6(view, tuple, hit) : sluice_flow_carry4(view, tuple, hit);
	return v6 ? sluice_flow_fetch6(view, tuple, hit, carried) :
		    sluice_flow_fetch4(view, tuple, hit, carried);
}

/* As sluice_flow_find, of both tables, and carries nothing: what is there stays there. */
SLUICE_ALWAYS_INLINE int sluice_flow_find_any(const struct sluice_flow_view *view,
					      const struct sluice_tuple *tuple, __u64 hash,
					      struct sluice_flow_hit *hit, const int v6)
{
	if (sluice_flow_find(view, tuple, hash, hit, v6))
		return 1;
	if (!view->mode)
		return 0;
	if (v6 ? sluice_flow_look_other6(view, tuple, hit) : sluice_flow_look_other4(view, tuple, hit)) {
		hit->slot = SLUICE_FLOW_NOWHERE;
		hit->meta.peer = SLUICE_FLOW_NOWHERE;
		return 1;
	}
	return v6 ? sluice_flow_look6(view, tuple, hit) : sluice_flow_look4(view, tuple, hit);
}

/* The key of a half, as a tuple. */
SLUICE_ALWAYS_INLINE void sluice_flow_key(struct sluice_flow_set *set, __u32 slot,
					  struct sluice_tuple *tuple, const int v6)
{
	__builtin_memset(tuple, 0, sizeof(*tuple));
	if (v6 & 1) {
		const struct sluice_flow6 *record = sluice_flow_record6(set, slot);

		__builtin_memcpy(tuple->src.word_be, record->src_be, 16);
		__builtin_memcpy(tuple->dst.word_be, record->dst_be, 16);
		tuple->ports.both_be = record->ports_be;
		tuple->protocol = record->meta.protocol;
	} else {
		const struct sluice_flow4 *record = sluice_flow_record4(set, slot);

		sluice_set_v4(&tuple->src, record->src_be);
		sluice_set_v4(&tuple->dst, record->dst_be);
		tuple->ports.both_be = record->ports_be;
		tuple->protocol = record->meta.protocol;
	}
}

/*
 * What movers do at leisure: carries the flow whose forward half is in slot `index` of the other
 * table, if there is
 * one. Returns enum sluice_flow_carried. Takes a few hundred nanoseconds, and claims buckets for
 * that long: whoever runs it
 * must not be stopped in between (BPF programs are not; a process that could be killed asks the
 * kernel to do it,
 * bpf/progs/flow_move.bpf.c).
 */
SLUICE_ALWAYS_INLINE int sluice_flow_move_slot(const struct sluice_flow_view *view, __u32 index,
					       const int v6)
{
	struct sluice_flow_set *set = sluice_flow_head(view, index / SLUICE_FLOW_WAYS,
						       v6 | SLUICE_FLOW_OTHER);
	__u32 slot = index & (SLUICE_FLOW_WAYS - 1);
	struct sluice_flow_room *room = (struct sluice_flow_room *)sluice_flow_room_at();
	struct sluice_flow_hit *hit;
	__u32 word;

	if (!set || !room)
		return SLUICE_FLOW_CARRIED_NONE;
	hit = &room->hit;
	word = SLUICE_READ_ONCE(set->word[slot]);
	if ((word & SLUICE_FLOW_STATE_MASK) <= SLUICE_FLOW_BUSY)
		return SLUICE_FLOW_CARRIED_NONE;
	sluice_read_barrier();
	sluice_flow_key(set, slot, &room->tuple, v6);
	sluice_flow_copy(set, slot, hit, v6);
	hit->seen = SLUICE_READ_ONCE(set->seen[slot]);
	hit->id = word & SLUICE_FLOW_ID_MASK;
	hit->slot = index;
	sluice_read_barrier();
	word = SLUICE_READ_ONCE(set->word[slot]);
	hit->state = word & SLUICE_FLOW_STATE_MASK;
	if ((word & SLUICE_FLOW_ID_MASK) != hit->id || hit->state <= SLUICE_FLOW_BUSY)
		return SLUICE_FLOW_CARRIED_AGAIN;
	if (sluice_flow_expired(view, hit)) {
		sluice_flow_set_state(view, hit->slot, hit->id, SLUICE_FLOW_FREE,
				      v6 | SLUICE_FLOW_OTHER);
		sluice_flow_set_state(view, hit->meta.peer, hit->meta.peer_id, SLUICE_FLOW_FREE,
				      v6 | SLUICE_FLOW_OTHER);
		return SLUICE_FLOW_CARRIED_OVER;
	}
	if (hit->meta.flags & SLUICE_FLOW_REVERSE)
		return SLUICE_FLOW_CARRIED_NONE;
	return v6 ? sluice_flow_carry6(view, &room->tuple, hit) : sluice_flow_carry4(view, &room->tuple, hit);
}

SLUICE_SUBPROGRAM int sluice_flow_move4(const struct sluice_flow_view *view, __u32 index)
{
	return view ? sluice_flow_move_slot(view, index, 0) : SLUICE_FLOW_CARRIED_NONE;
}

SLUICE_SUBPROGRAM int sluice_flow_move6(const struct sluice_flow_view *view, __u32 index)
{
	return view ? sluice_flow_move_slot(view, index, 1) : SLUICE_FLOW_CARRIED_NONE;
}

#endif
