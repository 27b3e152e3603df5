/*
 * Packets of tunnelled flows that had another one in this tick: done without a look at the flow table
 * (bpf/lib/recent.h). Include after xdp_send.h.
 *
 * Only where the table would say the same: it is the only one of its family, the flow is established, and the packet
 * neither begins nor ends a connection. Datagrams leave a backend that no longer serves at once, here too.
 */
#ifndef SLUICE_PROGS_XDP_RECENT_H
#define SLUICE_PROGS_XDP_RECENT_H

/* Where this packet's flow is or would be. */
struct sluice_recent_spot {
	struct sluice_recent_set *set; /* NULL: it was not looked for */
	__u64 tag;
	__u32 cpu;
};

SLUICE_ALWAYS_INLINE struct sluice_recent_place *sluice_recent_place_at(const struct sluice_recent_spot *spot,
									__u32 number)
{
	__u32 index = spot->cpu * SLUICE_RECENT_PLACES + number;

	return bpf_map_lookup_elem(&sluice_recent_to, &index);
}

/* Whether a packet with these flags leaves the flow as it is. */
SLUICE_ALWAYS_INLINE int sluice_recent_quiet(__u8 tcp_flags)
{
	return !(tcp_flags & (SLUICE_TCP_SYN | SLUICE_TCP_FIN | SLUICE_TCP_RST));
}

/*
 * Returns where the packet goes, or NULL. `to`: sluice_hash_address of its destination. Packets that may change their
 * flow are not looked for: if they do, the flow's group tells of it.
 */
SLUICE_ALWAYS_INLINE const struct sluice_recent_place *
sluice_recent_look(const struct sluice_flow_view *flows, const struct sluice_tuple *tuple,
		   const struct sluice_plain *plain, __u64 to, struct sluice_recent_spot *spot, const int v6)
{
	const struct sluice_recent_place *place;
	struct sluice_recent_key key;
	__u32 left, index;

	spot->set = 0;
	if (tuple->protocol == SLUICE_IPPROTO_SCTP || !sluice_recent_quiet(plain->tcp_flags))
		return 0;
	if (SLUICE_READ_ONCE(sluice_recent_fronts.ticks[sluice_recent_front_of(tuple)]) != flows->ticks)
		return 0;
	left = SLUICE_READ_ONCE(
		sluice_flow_left.count[sluice_flow_group_of(tuple->src.word_be[3], tuple->ports.both_be)]);
	key = sluice_recent_key_of(&sluice_recent_keys, tuple, to, flows->ticks, left, v6);
	spot->tag = key.tag;
	spot->cpu = bpf_get_smp_processor_id();
	index = spot->cpu * sluice_recent_sets + (__u32)((__u64)key.point * sluice_recent_sets >> 32);
	spot->set = bpf_map_lookup_elem(&sluice_recent, &index);
	if (!spot->set)
		return 0;
	index = sluice_recent_find(spot->set, key.tag);
	if (index == SLUICE_RECENT_PLACES)
		return 0;
	place = sluice_recent_place_at(spot, index);
	/* Who points at a place was made in its tick. What does not is somebody else's digest. */
	return place && place->ticks == flows->ticks ? place : 0;
}

/* Whether the packet may go by what is remembered; if not, the flow table is asked. */
SLUICE_ALWAYS_INLINE int sluice_recent_usable(const struct sluice_view *image, const struct sluice_tuple *tuple,
					      const struct sluice_plain *plain,
					      const struct sluice_recent_place *place, const int v6)
{
	return (tuple->protocol != SLUICE_IPPROTO_UDP ||
		sluice_backend_serves(image, place->backend, place->incarnation)) &&
	       sluice_has_tunnel(image, SLUICE_FLOW_TUNNEL, v6) &&
	       sluice_can_send(&place->hop, plain, tuple->protocol, SLUICE_FLOW_TUNNEL, 0, v6);
}

/* Remembers the flow of a packet that is about to be sent, if its next ones may go by that. */
SLUICE_ALWAYS_INLINE void sluice_recent_note(const struct sluice_flow_view *flows, const struct sluice_tuple *tuple,
					     const struct sluice_flow_hit *hit, const struct sluice_plain *plain,
					     const struct sluice_view *image, const struct sluice_hop *hop,
					     const struct sluice_recent_spot *spot)
{
	__u32 number = hit->meta.backend & (SLUICE_RECENT_PLACES - 1);
	struct sluice_recent_place *place;

	if (!(hit->meta.flags & SLUICE_FLOW_TUNNEL) || hit->state != SLUICE_FLOW_ESTABLISHED ||
	    !sluice_recent_quiet(plain->tcp_flags) || flows->mode != SLUICE_FLOW_ALONE ||
	    tuple->protocol == SLUICE_IPPROTO_SCTP)
		return;
	if (!spot->set) {
		/* The frontend's first in this tick. From the next one on they are looked for. */
		SLUICE_WRITE_ONCE(sluice_recent_fronts.ticks[sluice_recent_front_of(tuple)], flows->ticks);
		return;
	}
	place = sluice_recent_place_at(spot, number);
	if (place && sluice_recent_settle(place, flows->ticks, hop, hit->meta.backend, hit->meta.incarnation,
					  hit->new_ports.port_be[SLUICE_DESTINATION],
					  sluice_served_cell(image, hit->meta.backend)))
		sluice_recent_put(spot->set, spot->tag, number);
}

#endif
