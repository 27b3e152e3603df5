/*
 * Inserting a flow: both halves, or nothing. Part of bpf/lib/flow.h, which includes it.
 */
#ifndef SLUICE_LIB_FLOW_INSERT_H
#define SLUICE_LIB_FLOW_INSERT_H

enum sluice_flow_result {
	SLUICE_FLOW_INSERTED = 0,
	SLUICE_FLOW_EXISTS,  /* another CPU was first: find it again */
	SLUICE_FLOW_FULL,    /* its buckets hold only flows that are in use */
	SLUICE_FLOW_NO_PORT, /* every source port tried was taken; see SLUICE_SNAT_ROUNDS */
	SLUICE_FLOW_CLAIMED, /* another CPU works on the bucket: try again */
};

/* What to insert. Only the two keys are needed, for each half becomes the other's key turned round. */
struct sluice_flow_pair {
	struct sluice_tuple forward; /* what the client sends */
	/* What the backend answers with; its destination port may be changed by the insert, to one that is free. */
	struct sluice_tuple reverse;
	__u32 service;
	__u32 backend;
	__u32 incarnation;
	__u32 random;
	__u16 port_min; /* host order, both ends included: where a changed source port comes from */
	__u16 port_max;
	__u8 snat; /* the source address is the node's: its own sockets' ports are off limits */
	__u8 fixed_port; /* the protocol cannot change ports */
	__u8 state;
	__u8 flags; /* SLUICE_FLOW_DIRECT, or one of SLUICE_FLOW_ONE_WAY: then `reverse` only says where it goes */

	/* The insert's own. After INSERTED: where the halves are. */
	__u32 slot;
	__u32 id;
	__u32 peer;
	__u32 peer_id;
	__u16 seen;   /* tick of the last packet */
	__u8 fin;     /* SLUICE_FLOW_FIN of the forward half, and shifted by one of the reverse half */
	__u8 carried; /* it comes from the other table, which therefore knows it */
};

/* A slot made ready for one half. */
struct sluice_flow_place {
	__u32 bucket;
	__u32 slot; /* before it is reserved: the one that the key prefers */
	__u32 id;
	__u32 tag; /* of the key, in bits 16-31 */
	__u64 best; /* the search's own: the rank of the slot to give up, above the slot's 3 bits */
	__u32 home; /* the key's bucket, which is claimed; `bucket` is another one if the half is in its second */
	__u32 least; /* rank of what may be given up */
};

/* Where the search for a source port walks: ports first .. first + span - 1, from `next`, in steps of `step`. */
struct sluice_flow_walk {
	__u32 first;
	__u32 span; /* 1 .. 65536 */
	__u32 next; /* below span */
	__u32 step; /* 1 .. span */
};

/* What the stack of a BPF program cannot hold. One user at a time on each CPU. */
struct sluice_flow_room {
	struct sluice_flow_pair pair; /* of sluice_flow_carry */
	struct sluice_flow_hit hit;   /* of sluice_flow_taken and sluice_flow_move_slot */
	struct sluice_tuple tuple;    /* of sluice_flow_move_slot */
	struct sluice_flow_place forward, reverse; /* of sluice_flow_insert */
	__u32 from_slot, from_id; /* the forward half there, of sluice_flow_carry */
	__u32 from_peer, from_peer_id; /* the reverse half there */
	struct sluice_flow_walk walk;
};
SLUICE_STATIC_ASSERT(sizeof(struct sluice_flow_room) <= SLUICE_FLOW_ROOM, "flow room");

SLUICE_ALWAYS_INLINE int sluice_flow_claim(struct sluice_flow_set *set)
{
	int i;

	for (i = 0; i < SLUICE_FLOW_CLAIM_LOOKS; i++) {
		if (SLUICE_READ_ONCE(set->claim) == 0 &&
		    SLUICE_FLOW_SWAP(&set->claim, 0, 1) == 0)
			return 1;
	}
	return 0;
}

SLUICE_ALWAYS_INLINE void sluice_flow_release(struct sluice_flow_set *set)
{
	SLUICE_STORE_RELEASE(&set->claim, 1, 0);
}

/* Whether the half that a record points at is still there. */
SLUICE_ALWAYS_INLINE int sluice_flow_peer_lives(const struct sluice_flow_view *view,
						const struct sluice_flow_meta *meta, const int v6)
{
	struct sluice_flow_set *set = sluice_flow_head(view, meta->peer / SLUICE_FLOW_WAYS, v6);
	__u32 word;

	if (!set)
		return 0;
	word = SLUICE_READ_ONCE(set->word[meta->peer & (SLUICE_FLOW_WAYS - 1)]);
	return (word & SLUICE_FLOW_ID_MASK) == meta->peer_id &&
	       (word & SLUICE_FLOW_STATE_MASK) != SLUICE_FLOW_FREE;
}

/*
 * Higher goes first; 0 must stay. Free, expired, closed, half-open, closed by one side and idle, then connections that
 * have long been idle; older before younger.
 */
SLUICE_ALWAYS_INLINE __u32 sluice_flow_rank(__u32 state, __u32 age, __u32 timeout)
{
	if (age > timeout)
		return 0x800000 + age;
	if (state == SLUICE_FLOW_CLOSED)
		return 0x400000 + age;
	if (state == SLUICE_FLOW_NEW || state == SLUICE_FLOW_ANSWERED)
		return 0x200000 + age;
	if (state == SLUICE_FLOW_CLOSING)
		return age > SLUICE_FLOW_PROTECTED_CLOSING_TICKS ? 0x100000 + age : 0;
	return age > SLUICE_FLOW_PROTECTED_TICKS ? age : 0;
}
/* Of less than this are connections: before one of them goes, the second bucket is asked. */
#define SLUICE_FLOW_RANK_NO_CONNECTION 0x100000U

#define SLUICE_FLOW_RANK_FREE 0x1000000U
#define SLUICE_FLOW_RANK_SAME_KEY 0x2000000U
#define SLUICE_FLOW_RANK_ALIVE 0xffffffffU

/*
 * How readily a slot is given up, by the bucket's head alone: its records lie in lines of their own, and an insert into
 * a full table would wait for each of them. The bucket is claimed, so what the head says of protocols is settled.
 */
SLUICE_ALWAYS_INLINE __u32 sluice_flow_rank_head(const struct sluice_flow_view *view,
						 struct sluice_flow_set *set, __u32 slot)
{
	__u32 state = SLUICE_READ_ONCE(set->word[slot]) & SLUICE_FLOW_STATE_MASK;

	if (state == SLUICE_FLOW_FREE)
		return SLUICE_FLOW_RANK_FREE;
	if (state == SLUICE_FLOW_BUSY)
		return 0;
	return sluice_flow_rank(state, sluice_flow_age(view, SLUICE_READ_ONCE(set->seen[slot])),
				sluice_flow_timeout(state, set->protocol[slot]));
}

/* The slots in the order in which they are filled: first the one beside the head, then those within one line. */
SLUICE_ALWAYS_INLINE __u32 sluice_flow_nth(__u32 i)
{
	return 0x65217430U >> 4 * i & (SLUICE_FLOW_WAYS - 1);
}
#define SLUICE_FLOW_IN_ONE_LINE 0x99U /* the first four of them, a bit each; these and the others each rise */

/* How readily an occupied slot is given up for the key; SLUICE_FLOW_RANK_ALIVE if it holds the key itself. */
SLUICE_ALWAYS_INLINE __u32 sluice_flow_rank_slot(const struct sluice_flow_view *view,
						 const struct sluice_tuple *key,
						 const struct sluice_flow_place *place, __u32 slot,
						 const int v6)
{
	struct sluice_flow_set *set = sluice_flow_head(view, place->bucket, v6);
	__u32 word, state, age, timeout;
	struct sluice_flow_meta *meta;

	if (!set)
		return 0;
	slot &= SLUICE_FLOW_WAYS - 1;
	word = SLUICE_READ_ONCE(set->word[slot]);
	state = word & SLUICE_FLOW_STATE_MASK;
	if (state == SLUICE_FLOW_BUSY)
		return 0;
	if (state == SLUICE_FLOW_FREE)
		return SLUICE_FLOW_RANK_FREE;
	meta = sluice_flow_meta_of(set, slot, v6);
	timeout = sluice_flow_timeout(state, meta->protocol);
	age = sluice_flow_age(view, SLUICE_READ_ONCE(set->seen[slot]));
	if (((word ^ place->tag) & 0xffff0000U) == 0 && sluice_flow_key_equal(set, slot, key, v6))
		return age <= timeout && sluice_flow_peer_lives(view, meta, v6) ?
			       SLUICE_FLOW_RANK_ALIVE :
			       SLUICE_FLOW_RANK_SAME_KEY;
	return sluice_flow_rank(state, age, timeout);
}

SLUICE_SUBPROGRAM __u32 sluice_flow_rank4(const struct sluice_flow_view *view,
					  const struct sluice_tuple *key,
					  const struct sluice_flow_place *place, __u32 slot)
{
	return view && key && place ? sluice_flow_rank_slot(view, key, place, slot, 0) : 0;
}

SLUICE_SUBPROGRAM __u32 sluice_flow_rank6(const struct sluice_flow_view *view,
					  const struct sluice_tuple *key,
					  const struct sluice_flow_place *place, __u32 slot)
{
	return view && key && place ? sluice_flow_rank_slot(view, key, place, slot, 1) : 0;
}

/*
 * In the claimed bucket place->bucket: makes a slot for the key BUSY and fills in slot and id.
 * What was in it is
 * forgotten, with its other half. EXISTS if the key is there and alive.
 */
SLUICE_ALWAYS_INLINE int sluice_flow_reserve(const struct sluice_flow_view *view,
					     const struct sluice_tuple *key,
					     struct sluice_flow_place *place, const int v6)
{
	struct sluice_flow_set *set = sluice_flow_head(view, place->bucket, v6);
	__u32 tag = place->tag;
	__u32 best = 0, victim = 0;
	struct sluice_flow_meta *meta;
	__u32 slot, word, next, rank;
	int same_tag = 0;
#ifndef __bpf__
	__u32 free_slots = 0;
#endif
	__u32 i;

	if (!set)
		return SLUICE_FLOW_FULL;
	/* The common case needs the head of the bucket only: a free slot, and no key that could be this one. */
	slot = place->slot & (SLUICE_FLOW_WAYS - 1);
	if ((SLUICE_READ_ONCE(set->word[slot]) & SLUICE_FLOW_STATE_MASK) == SLUICE_FLOW_FREE) {
		victim = slot;
		best = SLUICE_FLOW_RANK_FREE;
	}
#ifdef __bpf__
	for (i = 0; i < SLUICE_FLOW_WAYS; i++) {
		slot = sluice_flow_nth(i);
		word = SLUICE_READ_ONCE(set->word[slot]);
		if ((word & SLUICE_FLOW_STATE_MASK) == SLUICE_FLOW_FREE) {
			if (!best)
				victim = slot;
			best = SLUICE_FLOW_RANK_FREE;
		} else if (((word ^ tag) & 0xffff0000U) == 0) {
			same_tag = 1;
		}
	}
#else
	/* The same without branches, which would be guessed wrong every few slots. */
	for (i = 0; i < SLUICE_FLOW_WAYS; i++) {
		word = SLUICE_READ_ONCE(set->word[i]);
		next = (word & SLUICE_FLOW_STATE_MASK) == SLUICE_FLOW_FREE;
		free_slots |= next << i;
		same_tag |= (int)(!next & (((word ^ tag) & 0xffff0000U) == 0));
	}
	if (!best && free_slots) {
		if (free_slots & SLUICE_FLOW_IN_ONE_LINE)
			free_slots &= SLUICE_FLOW_IN_ONE_LINE;
		victim = (__u32)__builtin_ctz(free_slots);
		best = SLUICE_FLOW_RANK_FREE;
	}
#endif
	if (!best && !same_tag) {
		/* Rank and slot in one number, and that in memory, where the BPF verifier need not follow it. */
		*(volatile __u64 *)&place->best = 0;
		for (i = 0; i < SLUICE_FLOW_WAYS; i++) {
			slot = (*(volatile __u32 *)&place->slot ^ i) & (SLUICE_FLOW_WAYS - 1);
			rank = sluice_flow_rank_head(view, set, slot);
			if (rank > *(volatile __u64 *)&place->best >> 3)
				*(volatile __u64 *)&place->best = (__u64)rank << 3 | slot;
		}
		best = (__u32)(*(volatile __u64 *)&place->best >> 3);
		victim = *(volatile __u64 *)&place->best & (SLUICE_FLOW_WAYS - 1);
	}
	if (same_tag) {
		best = 0;
		for (slot = 0; slot < SLUICE_FLOW_WAYS; slot++) {
			rank = v6 ? sluice_flow_rank6(view, key, place, slot) :
				    sluice_flow_rank4(view, key, place, slot);
			if (rank == SLUICE_FLOW_RANK_ALIVE)
				return SLUICE_FLOW_EXISTS;
			if (rank > best) {
				best = rank;
				victim = slot;
			}
		}
	}
	if (best < place->least)
		return SLUICE_FLOW_FULL;

	/*
	 * Who holds the claim gives words their ids. Others only change the state, so whatever this word becomes
	 * meanwhile is lost with the half that is given up.
	 */
	victim &= SLUICE_FLOW_WAYS - 1;
	word = SLUICE_READ_ONCE(set->word[victim]);
	next = ((word + SLUICE_FLOW_GENERATION_ONE) & SLUICE_FLOW_GENERATION_MASK) | tag;
	SLUICE_STORE_OVER(&set->word[victim], next | SLUICE_FLOW_BUSY);
	if ((word & SLUICE_FLOW_STATE_MASK) != SLUICE_FLOW_FREE) {
		meta = sluice_flow_meta_of(set, victim, v6);
		sluice_flow_set_state(view, meta->peer, meta->peer_id, SLUICE_FLOW_FREE, v6);
		if (best < 0x400000)
			SLUICE_WRITE_ONCE(set->evicted, SLUICE_READ_ONCE(set->evicted) + 1);
	}
	place->slot = victim;
	place->id = next;
	return SLUICE_FLOW_INSERTED;
}

/* Fills a BUSY slot. The new tuple is `other` turned round. */
SLUICE_ALWAYS_INLINE void sluice_flow_write(struct sluice_flow_set *set, __u32 slot,
					    const struct sluice_tuple *key,
					    const struct sluice_tuple *other,
					    const struct sluice_flow_pair *pair, __u32 peer,
					    __u32 peer_id, __u8 flags, const int v6)
{
	struct sluice_flow_meta *meta;
	__u32 turned = other->ports.both_be << 16 | other->ports.both_be >> 16;

	slot &= SLUICE_FLOW_WAYS - 1;
	meta = sluice_flow_meta_of(set, slot, v6);
	SLUICE_ABOUT_TO_WRITE(meta);
	if (v6 & 1) {
		struct sluice_flow6 *record = sluice_flow_record6(set, slot);

		__builtin_memcpy(record->src_be, key->src.word_be, 16);
		__builtin_memcpy(record->dst_be, key->dst.word_be, 16);
		record->ports_be = key->ports.both_be;
		__builtin_memcpy(record->new_src_be, other->dst.word_be, 16);
		__builtin_memcpy(record->new_dst_be, other->src.word_be, 16);
		record->new_ports_be = turned;
	} else {
		struct sluice_flow4 *record = sluice_flow_record4(set, slot);

		record->src_be = key->src.word_be[3];
		record->dst_be = key->dst.word_be[3];
		record->ports_be = key->ports.both_be;
		record->new_src_be = other->dst.word_be[3];
		record->new_dst_be = other->src.word_be[3];
		record->new_ports_be = turned;
	}
	SLUICE_ABOUT_TO_WRITE(meta);
	meta->service = pair->service;
	meta->backend = pair->backend;
	meta->incarnation = pair->incarnation;
	meta->peer = peer;
	meta->peer_id = peer_id;
	meta->protocol = key->protocol;
	meta->flags = flags;
	meta->reserved = 0;
	set->protocol[slot] = key->protocol;
	SLUICE_WRITE_ONCE(set->seen[slot], pair->seen);
}

/* BUSY to the state; the compare-and-swap orders the record before it. 0 if somebody forgot the half meanwhile. */
SLUICE_ALWAYS_INLINE int sluice_flow_publish(struct sluice_flow_set *set, __u32 slot, __u32 id,
					     __u32 state)
{
	slot &= SLUICE_FLOW_WAYS - 1;
	return SLUICE_FLOW_SWAP(&set->word[slot], id | SLUICE_FLOW_BUSY, id | state) ==
	       (id | SLUICE_FLOW_BUSY);
}

/* The same for a half that nobody else knows of: nobody can have forgotten it. */
SLUICE_ALWAYS_INLINE void sluice_flow_publish_unknown(struct sluice_flow_set *set, __u32 slot, __u32 id, __u32 state)
{
	SLUICE_STORE_OVER(&set->word[slot & (SLUICE_FLOW_WAYS - 1)], id | state);
}

/*
 * Begins to read the record that a key is likely to get, so that it comes together with the head of its bucket: a claim
 * waits for the head, and writing the record would wait for it once more.
 */
SLUICE_ALWAYS_INLINE void sluice_flow_expect(struct sluice_flow_set *set,
					     const struct sluice_flow_place *place, const int v6)
{
	if (v6 & 1) {
		struct sluice_flow6 *record = sluice_flow_record6(set, place->slot);

		(void)SLUICE_READ_ONCE(record->src_be[0]);
		(void)SLUICE_READ_ONCE(record->meta.peer_id);
	} else {
		(void)SLUICE_READ_ONCE(sluice_flow_record4(set, place->slot)->src_be);
	}
}

SLUICE_SUBPROGRAM int sluice_flow_reserve4(const struct sluice_flow_view *view,
					   const struct sluice_tuple *key,
					   struct sluice_flow_place *place)
{
	return view && key && place ? sluice_flow_reserve(view, key, place, 0) : SLUICE_FLOW_FULL;
}

SLUICE_SUBPROGRAM int sluice_flow_reserve6(const struct sluice_flow_view *view,
					   const struct sluice_tuple *key,
					   struct sluice_flow_place *place)
{
	return view && key && place ? sluice_flow_reserve(view, key, place, 1) : SLUICE_FLOW_FULL;
}

SLUICE_ALWAYS_INLINE int sluice_flow_reserve_any(const struct sluice_flow_view *view, const struct sluice_tuple *key,
						 struct sluice_flow_place *place, const int v6)
{
	return v6 ? sluice_flow_reserve6(view, key, place) : sluice_flow_reserve4(view, key, place);
}

/*
 * Whether the key, whose home is claimed, is alive in its second bucket. What is not is forgotten. That bucket need not
 * be claimed: nobody inserts this key without its home.
 */
SLUICE_ALWAYS_INLINE int sluice_flow_elsewhere(const struct sluice_flow_view *view, const struct sluice_tuple *key,
					       struct sluice_flow_place *place, const int v6)
{
	__u32 second = sluice_flow_second_of(view, sluice_flow_hash(view, key, v6), v6);
	struct sluice_flow_set *set = sluice_flow_head(view, second, v6);
	__u32 rank = 0, slot, word;

	if (!set || second == place->home)
		return 0;
	place->bucket = second;
	for (slot = 0; slot < SLUICE_FLOW_WAYS; slot++) {
		word = SLUICE_READ_ONCE(set->word[slot]);
		if ((word ^ place->tag) & 0xffff0000U)
			continue;
		rank = v6 ? sluice_flow_rank6(view, key, place, slot) : sluice_flow_rank4(view, key, place, slot);
		if (rank == SLUICE_FLOW_RANK_ALIVE)
			break;
		if (rank == SLUICE_FLOW_RANK_SAME_KEY)
			sluice_flow_set_state(view, second * SLUICE_FLOW_WAYS + slot, word & SLUICE_FLOW_ID_MASK,
					      SLUICE_FLOW_FREE, v6);
	}
	place->bucket = place->home;
	return rank == SLUICE_FLOW_RANK_ALIVE;
}

SLUICE_SUBPROGRAM int sluice_flow_elsewhere4(const struct sluice_flow_view *view, const struct sluice_tuple *key,
					     struct sluice_flow_place *place)
{
	return view && key && place ? sluice_flow_elsewhere(view, key, place, 0) : 0;
}

SLUICE_SUBPROGRAM int sluice_flow_elsewhere6(const struct sluice_flow_view *view, const struct sluice_tuple *key,
					     struct sluice_flow_place *place)
{
	return view && key && place ? sluice_flow_elsewhere(view, key, place, 1) : 0;
}

/*
 * The key's home is claimed and has only connections. Claims its second bucket and leads the place there; if there is
 * none to be had, the home may give up a connection that has long been idle. Returns 0 if another CPU has the bucket.
 */
SLUICE_ALWAYS_INLINE int sluice_flow_go_second(const struct sluice_flow_view *view, const struct sluice_tuple *key,
					       struct sluice_flow_place *place, const int v6)
{
	struct sluice_flow_room *room = (struct sluice_flow_room *)sluice_flow_room_at();
	__u32 second = sluice_flow_second_of(view, sluice_flow_hash(view, key, v6), v6);
	struct sluice_flow_set *set = sluice_flow_head(view, second, v6);

	/* Nor is it one that this insert has claimed already. */
	if (!room || !set || second == place->home || second == room->forward.home ||
	    second == room->forward.bucket) {
		place->least = 1;
		return 1;
	}
	if (!sluice_flow_claim(set))
		return 0;
	place->bucket = second;
	return 1;
}

SLUICE_SUBPROGRAM int sluice_flow_go_second4(const struct sluice_flow_view *view, const struct sluice_tuple *key,
					     struct sluice_flow_place *place)
{
	return view && key && place ? sluice_flow_go_second(view, key, place, 0) : 0;
}

SLUICE_SUBPROGRAM int sluice_flow_go_second6(const struct sluice_flow_view *view, const struct sluice_tuple *key,
					     struct sluice_flow_place *place)
{
	return view && key && place ? sluice_flow_go_second(view, key, place, 1) : 0;
}

/*
 * A BUSY slot for the key, whose home `set` is claimed. After INSERTED in place->bucket; if that is not the home it is
 * claimed as well.
 */
SLUICE_ALWAYS_INLINE int sluice_flow_find_place(const struct sluice_flow_view *view, struct sluice_flow_set *set,
						const struct sluice_tuple *key, struct sluice_flow_place *place,
						const int v6)
{
	struct sluice_flow_set *second;
	int result;

	if (sluice_flow_spilled(set) &&
	    (v6 ? sluice_flow_elsewhere6(view, key, place) : sluice_flow_elsewhere4(view, key, place)))
		return SLUICE_FLOW_EXISTS;
	result = sluice_flow_reserve_any(view, key, place, v6);
	if (result != SLUICE_FLOW_FULL)
		return result;
	if (!(v6 ? sluice_flow_go_second6(view, key, place) : sluice_flow_go_second4(view, key, place)))
		return SLUICE_FLOW_CLAIMED;
	result = sluice_flow_reserve_any(view, key, place, v6);
	if (place->bucket == place->home)
		return result;
	if (result == SLUICE_FLOW_INSERTED) {
		SLUICE_WRITE_ONCE(set->evicted, SLUICE_READ_ONCE(set->evicted) | SLUICE_FLOW_SPILLED);
		return result;
	}
	second = sluice_flow_head(view, place->bucket, v6);
	if (second)
		sluice_flow_release(second);
	place->bucket = place->home;
	place->least = 1;
	return sluice_flow_reserve_any(view, key, place, v6);
}

/* The head of the bucket that the place is in; `set` is its home's. */
SLUICE_ALWAYS_INLINE struct sluice_flow_set *sluice_flow_set_of(const struct sluice_flow_view *view,
								struct sluice_flow_set *set,
								const struct sluice_flow_place *place, const int v6)
{
	return place->bucket == place->home ? set : sluice_flow_head(view, place->bucket, v6);
}

SLUICE_ALWAYS_INLINE void sluice_flow_aim(const struct sluice_flow_view *view,
					  const struct sluice_tuple *key,
					  struct sluice_flow_place *place, const int v6)
{
	__u64 hash = sluice_flow_hash(view, key, v6);

	place->bucket = sluice_flow_bucket_of(view, hash, v6);
	place->tag = sluice_flow_tag_of(hash);
	place->home = place->bucket;
	place->slot = sluice_flow_home(hash);
	place->id = 0;
	place->least = SLUICE_FLOW_RANK_NO_CONNECTION;
}

/*
 * Whether the other table has a flow of this tuple that is not over. Whoever sees it there no
 * more, and then looks here,
 * misses nobody: flows are put here before they leave there.
 */
SLUICE_ALWAYS_INLINE int sluice_flow_taken(const struct sluice_flow_view *view,
					   const struct sluice_tuple *tuple, const int v6)
{
	struct sluice_flow_room *room = (struct sluice_flow_room *)sluice_flow_room_at();

	return room &&
	       sluice_flow_find(view, tuple, sluice_flow_hash(view, tuple, v6), &room->hit,
				v6 | SLUICE_FLOW_OTHER) &&
	       !sluice_flow_expired(view, &room->hit);
}

SLUICE_SUBPROGRAM int sluice_flow_taken4(const struct sluice_flow_view *view,
					 const struct sluice_tuple *tuple)
{
	return view && tuple ? sluice_flow_taken(view, tuple, 0) : 0;
}

SLUICE_SUBPROGRAM int sluice_flow_taken6(const struct sluice_flow_view *view,
					 const struct sluice_tuple *tuple)
{
	return view && tuple ? sluice_flow_taken(view, tuple, 1) : 0;
}

SLUICE_ALWAYS_INLINE int sluice_flow_find_taken(const struct sluice_flow_view *view,
						const struct sluice_tuple *tuple, const int v6)
{
	return v6 ? sluice_flow_taken6(view, tuple) : sluice_flow_taken4(view, tuple);
}

/* Writes and publishes the reverse half in the slot made ready for it. If it is in its second bucket, releases that. */
SLUICE_ALWAYS_INLINE int sluice_flow_set_down(const struct sluice_flow_view *view, const struct sluice_flow_pair *pair,
					      const struct sluice_flow_place *forward,
					      const struct sluice_flow_place *reverse, const int v6)
{
	struct sluice_flow_set *set = sluice_flow_head(view, reverse->bucket, v6);

	if (!set)
		return SLUICE_FLOW_FULL;
	sluice_flow_write(set, reverse->slot, &pair->reverse, &pair->forward, pair,
			  forward->bucket * SLUICE_FLOW_WAYS + forward->slot, forward->id,
			  (__u8)(SLUICE_FLOW_REVERSE | pair->flags | (pair->fin >> 1 & SLUICE_FLOW_FIN) |
				 (pair->snat ? SLUICE_FLOW_SNAT : 0)),
			  v6);
	sluice_flow_publish_unknown(set, reverse->slot, reverse->id, pair->state);
	if (reverse->bucket != reverse->home)
		sluice_flow_release(set);
	return SLUICE_FLOW_INSERTED;
}

SLUICE_SUBPROGRAM int sluice_flow_set_down4(const struct sluice_flow_view *view, const struct sluice_flow_pair *pair,
					    const struct sluice_flow_place *forward,
					    const struct sluice_flow_place *reverse)
{
	return view && pair && forward && reverse ? sluice_flow_set_down(view, pair, forward, reverse, 0) :
						    SLUICE_FLOW_FULL;
}

SLUICE_SUBPROGRAM int sluice_flow_set_down6(const struct sluice_flow_view *view, const struct sluice_flow_pair *pair,
					    const struct sluice_flow_place *forward,
					    const struct sluice_flow_place *reverse)
{
	return view && pair && forward && reverse ? sluice_flow_set_down(view, pair, forward, reverse, 1) :
						    SLUICE_FLOW_FULL;
}

/* Publishes the reverse half, which points at the forward half's place. Its bucket is claimed but for the case that
 * a claim of the forward half's covers it. */
SLUICE_ALWAYS_INLINE int sluice_flow_put_reverse(const struct sluice_flow_view *view,
						 const struct sluice_flow_pair *pair,
						 const struct sluice_flow_place *forward,
						 struct sluice_flow_place *reverse, const int v6)
{
	struct sluice_flow_set *set;
	int result, covered;

	sluice_flow_aim(view, &pair->reverse, reverse, v6);
	set = sluice_flow_head(view, reverse->home, v6);
	if (!set)
		return SLUICE_FLOW_FULL;
	sluice_flow_expect(set, reverse, v6);
	covered = reverse->home == forward->home || reverse->home == forward->bucket;
	if (!covered && !sluice_flow_claim(set))
		return SLUICE_FLOW_CLAIMED;
	/* While flows move, who has not come over keeps his port. (After the claim: whoever comes over needs it.) */
	if (view->mode && !pair->carried && sluice_flow_find_taken(view, &pair->reverse, v6))
		result = SLUICE_FLOW_EXISTS;
	else
		result = sluice_flow_find_place(view, set, &pair->reverse, reverse, v6);
	if (result == SLUICE_FLOW_INSERTED)
		result = v6 ? sluice_flow_set_down6(view, pair, forward, reverse) :
			      sluice_flow_set_down4(view, pair, forward, reverse);
	if (!covered)
		sluice_flow_release(set);
	return result;
}

SLUICE_SUBPROGRAM int sluice_flow_put_reverse4(const struct sluice_flow_view *view,
					       const struct sluice_flow_pair *pair,
					       const struct sluice_flow_place *forward,
					       struct sluice_flow_place *reverse)
{
	return view && pair && forward && reverse ?
		       sluice_flow_put_reverse(view, pair, forward, reverse, 0) :
		       SLUICE_FLOW_FULL;
}

SLUICE_SUBPROGRAM int sluice_flow_put_reverse6(const struct sluice_flow_view *view,
					       const struct sluice_flow_pair *pair,
					       const struct sluice_flow_place *forward,
					       struct sluice_flow_place *reverse)
{
	return view && pair && forward && reverse ?
		       sluice_flow_put_reverse(view, pair, forward, reverse, 1) :
		       SLUICE_FLOW_FULL;
}

#include "bpf/lib/flow_port.h"

/*
 * Both halves, or nothing. `walk` 0: with the source port that the pair has, whatever it is.
 */
SLUICE_ALWAYS_INLINE int sluice_flow_insert(const struct sluice_flow_view *view,
					    struct sluice_flow_pair *pair, const int walk,
					    const int v6)
{
	struct sluice_flow_room *room = (struct sluice_flow_room *)sluice_flow_room_at();
	struct sluice_flow_place *forward, *reverse;
	struct sluice_flow_set *set, *at;
	int result;

	if (!room)
		return SLUICE_FLOW_FULL;
	forward = &room->forward;
	reverse = &room->reverse;
	sluice_flow_aim(view, &pair->forward, forward, v6);
	set = sluice_flow_head(view, forward->home, v6);
	if (!set || pair->port_min > pair->port_max)
		return SLUICE_FLOW_FULL;
	sluice_flow_expect(set, forward, v6);
	if (!sluice_flow_claim(set))
		return SLUICE_FLOW_CLAIMED;
	result = sluice_flow_find_place(view, set, &pair->forward, forward, v6);
	at = sluice_flow_set_of(view, set, forward, v6);
	if (result != SLUICE_FLOW_INSERTED || !at)
		goto out;
	if (pair->flags & SLUICE_FLOW_ONE_WAY) {
		reverse = forward;
	} else {
		if (walk)
			result = sluice_flow_bind_port(view, pair, room, v6);
		else
			result = v6 ? sluice_flow_put_reverse6(view, pair, forward, reverse) :
				      sluice_flow_put_reverse4(view, pair, forward, reverse);
		if (result != SLUICE_FLOW_INSERTED) {
			sluice_flow_publish(at, forward->slot, forward->id, SLUICE_FLOW_FREE);
			goto give_back;
		}
	}
	pair->slot = forward->bucket * SLUICE_FLOW_WAYS + forward->slot;
	pair->id = forward->id;
	pair->peer = reverse->bucket * SLUICE_FLOW_WAYS + reverse->slot;
	pair->peer_id = reverse->id;
	sluice_flow_write(at, forward->slot, &pair->forward, &pair->reverse, pair, pair->peer,
			  pair->peer_id,
			  (__u8)(pair->flags | (pair->fin & SLUICE_FLOW_FIN) |
				 (pair->snat ? SLUICE_FLOW_SNAT : 0)),
			  v6);
	if (pair->flags & SLUICE_FLOW_ONE_WAY) {
		sluice_flow_publish_unknown(at, forward->slot, forward->id, pair->state);
	} else if (!sluice_flow_publish(at, forward->slot, forward->id, pair->state)) {
		/* The new reverse half was displaced already, and took this one with it. */
		sluice_flow_set_state(view, pair->peer, pair->peer_id, SLUICE_FLOW_FREE, v6);
		result = SLUICE_FLOW_CLAIMED;
	}
give_back:
	if (at != set)
		sluice_flow_release(at);
out:
	sluice_flow_release(set);
	return result;
}

/*
 * Inserts both halves. On INSERTED, pair->reverse says which source port the flow got. On any other result nothing
 * of the pair is in the table.
 */
SLUICE_SUBPROGRAM int sluice_flow_insert4(const struct sluice_flow_view *view,
					  struct sluice_flow_pair *pair)
{
	if (!view || !pair)
		return SLUICE_FLOW_FULL;
	pair->seen = view->now;
	pair->fin = 0;
	pair->carried = 0;
	return sluice_flow_insert(view, pair, 1, 0);
}

SLUICE_SUBPROGRAM int sluice_flow_insert6(const struct sluice_flow_view *view,
					  struct sluice_flow_pair *pair)
{
	if (!view || !pair)
		return SLUICE_FLOW_FULL;
	pair->seen = view->now;
	pair->fin = 0;
	pair->carried = 0;
	return sluice_flow_insert(view, pair, 1, 1);
}

/* After INSERTED: what sluice_flow_find would now say of the forward tuple, without looking. */
SLUICE_ALWAYS_INLINE void sluice_flow_hit_of(const struct sluice_flow_pair *pair,
					     struct sluice_flow_hit *hit)
{
	hit->new_src = pair->reverse.dst;
	hit->new_dst = pair->reverse.src;
	hit->new_ports.port_be[SLUICE_SOURCE] = pair->reverse.ports.port_be[SLUICE_DESTINATION];
	hit->new_ports.port_be[SLUICE_DESTINATION] = pair->reverse.ports.port_be[SLUICE_SOURCE];
	hit->meta.service = pair->service;
	hit->meta.backend = pair->backend;
	hit->meta.incarnation = pair->incarnation;
	hit->meta.peer = pair->peer;
	hit->meta.peer_id = pair->peer_id;
	hit->meta.protocol = pair->forward.protocol;
	hit->meta.flags = (__u8)(pair->flags | (pair->snat ? SLUICE_FLOW_SNAT : 0));
	hit->meta.reserved = 0;
	hit->slot = pair->slot;
	hit->id = pair->id;
	hit->state = pair->state;
	hit->reserved = 0;
	hit->seen = pair->seen;
}

#endif
