/*
 * Datagrams in fragments: only the first fragment holds the ports, so they are remembered for those that follow.
 *
 * A set-associative array in plain memory, shared by all CPUs, since the fragments of one datagram need not
 * meet the same. The protocol is the flow table's (bpf/lib/README.md) without its second half: a slot's word is
 * made BUSY by compare-and-swap under a new generation, written, and made READY; who reads looks at the word
 * again afterwards. An entry serves for as long as hosts wait for a datagram's rest. Within its set the oldest
 * gives way, which the set counts: what follows it is then dropped as FRAGMENT.
 *
 * The includer defines BEFORE including this header, beside the view of flow.h:
 *
 *   struct sluice_datagram_set *sluice_datagrams_at(const struct sluice_flow_view *, __u32 index);
 *
 * of SLUICE_DATAGRAM_SETS sets, zeroed at the start; NULL outside.
 *
 * Source NAT keeps a datagram's identification, as RFC 791 lets a router do. Two clients that by chance use the
 * same one towards one backend are told apart there by the checksum alone; so it is with every translator that
 * does not reassemble.
 */
#ifndef SLUICE_LIB_FRAGMENT_H
#define SLUICE_LIB_FRAGMENT_H

#include "bpf/lib/flow.h"

#define SLUICE_DATAGRAM_WAYS 4
#define SLUICE_DATAGRAM_SETS 1024 /* a power of two; 4,096 datagrams at a time */
/* Ticks, about seconds: as Linux waits for the rest of a datagram. */
#define SLUICE_DATAGRAM_TIMEOUT 30

/* A slot's word: state in bits 0-1, generation in 2-15, tag of the key in 16-31. */
#define SLUICE_DATAGRAM_FREE 0U
#define SLUICE_DATAGRAM_BUSY 1U
#define SLUICE_DATAGRAM_READY 2U
#define SLUICE_DATAGRAM_STATE_MASK 3U
#define SLUICE_DATAGRAM_GENERATION_ONE 4U
#define SLUICE_DATAGRAM_GENERATION_MASK 0xfffcU

enum sluice_datagram_use {
	SLUICE_DATAGRAM_SEEN = 0,       /* by who spreads packets over lcores: what follows goes where it went */
	SLUICE_DATAGRAM_TRANSLATED = 1, /* by a flow: what follows is that flow's */
};

struct sluice_datagram {
	struct sluice_address src;
	struct sluice_address dst;
	__u32 id;
	__u32 ports_be;
	__u8 protocol;
	__u8 use; /* enum sluice_datagram_use */
	__u8 reserved[2];
};
SLUICE_STATIC_ASSERT(sizeof(struct sluice_datagram) == 44, "datagram");

struct sluice_datagram_set {
	__u32 word[SLUICE_DATAGRAM_WAYS];
	__u16 seen[SLUICE_DATAGRAM_WAYS]; /* tick of the first fragment */
	__u32 displaced; /* before their time; approximate, for people */
	__u32 reserved;
	struct sluice_datagram entry[SLUICE_DATAGRAM_WAYS];
};
SLUICE_STATIC_ASSERT(sizeof(struct sluice_datagram_set) == 208, "datagram set");

SLUICE_ALWAYS_INLINE __u64 sluice_datagram_hash(const struct sluice_flow_view *view,
						const struct sluice_packet *packet, const int v6)
{
	__u64 h = sluice_flow_end(view, &packet->tuple.src, (__u16)packet->fragment_id, v6) *
		  0x9e3779b97f4a7c15ULL;

	h ^= h >> 32;
	h += sluice_flow_end(view, &packet->tuple.dst, (__u16)(packet->fragment_id >> 16), v6);
	h *= 0xa0761d6478bd642fULL;
	return h ^ h >> 29;
}

/* RFC 8200, 4.5: in IPv6 the next header need not be the same in all fragments, and is no part of what they share. */
SLUICE_ALWAYS_INLINE int sluice_datagram_equal(const struct sluice_datagram *entry,
					       const struct sluice_packet *packet, const int v6)
{
	return entry->id == packet->fragment_id &&
	       (v6 || entry->protocol == packet->tuple.protocol) &&
	       sluice_flow_words_equal(entry->src.word_be, packet->tuple.src.word_be) &&
	       sluice_flow_words_equal(entry->dst.word_be, packet->tuple.dst.word_be);
}

/* The slot for a datagram: its own, if its first fragment came before, else the one that is missed least. */
SLUICE_ALWAYS_INLINE __u32 sluice_datagram_slot(const struct sluice_flow_view *view,
						const struct sluice_packet *packet,
						struct sluice_datagram_set *set, __u32 tag, const int v6)
{
	__u32 best = 0, victim = 0, slot, word, rank;

	for (slot = 0; slot < SLUICE_DATAGRAM_WAYS; slot++) {
		word = SLUICE_READ_ONCE(set->word[slot]);
		if ((word & SLUICE_DATAGRAM_STATE_MASK) == SLUICE_DATAGRAM_READY) {
			rank = sluice_flow_age(view, SLUICE_READ_ONCE(set->seen[slot])) + 1;
			if (!((word ^ tag) & 0xffff0000U) &&
			    sluice_datagram_equal(&set->entry[slot], packet, v6))
				rank = 0x40000;
		} else {
			/* Somebody else's write is not waited for, and rather not disturbed. */
			rank = (word & SLUICE_DATAGRAM_STATE_MASK) == SLUICE_DATAGRAM_FREE ? 0x20000 : 0;
		}
		if (rank > best) {
			best = rank;
			victim = slot;
		}
	}
	if (best && best <= SLUICE_DATAGRAM_TIMEOUT)
		set->displaced++;
	return best ? victim : SLUICE_DATAGRAM_WAYS;
}

/*
 * Notes the ports of a first fragment for a use. If another CPU takes the slot at the same moment nothing is
 * remembered, and the datagram's rest is dropped.
 */
SLUICE_ALWAYS_INLINE void sluice_datagram_note(const struct sluice_flow_view *view,
					       const struct sluice_packet *packet, __u8 use, const int v6)
{
	__u64 hash = sluice_datagram_hash(view, packet, v6);
	struct sluice_datagram_set *set =
		sluice_datagrams_at(view, (__u32)(hash >> 32) & (SLUICE_DATAGRAM_SETS - 1));
	__u32 tag = (__u32)hash << 16;
	struct sluice_datagram *entry;
	__u32 slot, word, next;

	if (!set)
		return;
	slot = sluice_datagram_slot(view, packet, set, tag, v6);
	if (slot >= SLUICE_DATAGRAM_WAYS)
		return;
	word = SLUICE_READ_ONCE(set->word[slot]);
	next = ((word + SLUICE_DATAGRAM_GENERATION_ONE) & SLUICE_DATAGRAM_GENERATION_MASK) | tag;
	if ((word & SLUICE_DATAGRAM_STATE_MASK) == SLUICE_DATAGRAM_BUSY ||
	    SLUICE_COMPARE_AND_SWAP(&set->word[slot], word, next | SLUICE_DATAGRAM_BUSY) != word)
		return;
	entry = &set->entry[slot];
	entry->src = packet->tuple.src;
	entry->dst = packet->tuple.dst;
	entry->id = packet->fragment_id;
	entry->ports_be = packet->tuple.ports.both_be;
	entry->protocol = packet->tuple.protocol;
	entry->use = use;
	SLUICE_WRITE_ONCE(set->seen[slot], view->now);
	SLUICE_COMPARE_AND_SWAP(&set->word[slot], next | SLUICE_DATAGRAM_BUSY,
				next | SLUICE_DATAGRAM_READY);
}

/* Remembers the ports of a first fragment that a flow has translated. */
SLUICE_ALWAYS_INLINE void sluice_datagram_remember(const struct sluice_flow_view *view,
						   const struct sluice_packet *packet, const int v6)
{
	sluice_datagram_note(view, packet, SLUICE_DATAGRAM_TRANSLATED, v6);
}

/*
 * Gives a later fragment its ports and its transport protocol. Returns 0 if its first part is not known, for this use
 * or a later one of enum sluice_datagram_use.
 */
SLUICE_ALWAYS_INLINE int sluice_datagram_find(const struct sluice_flow_view *view,
					      struct sluice_packet *packet, __u8 use, const int v6)
{
	__u64 hash = sluice_datagram_hash(view, packet, v6);
	struct sluice_datagram_set *set =
		sluice_datagrams_at(view, (__u32)(hash >> 32) & (SLUICE_DATAGRAM_SETS - 1));
	__u32 tag = (__u32)hash << 16;
	__u32 slot, word, ports_be;
	__u8 protocol;

	if (!set)
		return 0;
	for (slot = 0; slot < SLUICE_DATAGRAM_WAYS; slot++) {
		word = SLUICE_READ_ONCE(set->word[slot]);
		if (((word ^ tag) & 0xffff0000U) ||
		    (word & SLUICE_DATAGRAM_STATE_MASK) != SLUICE_DATAGRAM_READY)
			continue;
		sluice_read_barrier();
		if (set->entry[slot].use < use || !sluice_datagram_equal(&set->entry[slot], packet, v6))
			continue;
		ports_be = set->entry[slot].ports_be;
		protocol = set->entry[slot].protocol;
		if (sluice_flow_age(view, SLUICE_READ_ONCE(set->seen[slot])) > SLUICE_DATAGRAM_TIMEOUT)
			continue;
		sluice_read_barrier();
		if (SLUICE_READ_ONCE(set->word[slot]) != word)
			continue;
		packet->tuple.ports.both_be = ports_be;
		packet->tuple.protocol = protocol;
		return 1;
	}
	return 0;
}

/* The same of a datagram whose first fragment a flow has translated. */
SLUICE_ALWAYS_INLINE int sluice_datagram_recall(const struct sluice_flow_view *view,
						struct sluice_packet *packet, const int v6)
{
	return sluice_datagram_find(view, packet, SLUICE_DATAGRAM_TRANSLATED, v6);
}

#endif
