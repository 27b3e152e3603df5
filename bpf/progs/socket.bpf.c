/*
 * Socket hooks: local clients are translated once, when they connect or send, instead of on every
 * packet.
 *
 *   connect      service address -> backend; the socket remembers the service for getpeername
 *   sendmsg      the same per datagram, sticky per (socket, service) while the backend serves
 *   recvmsg      backend -> service in the source of what is received
 *   getpeername  backend -> service
 *   sock_release the socket is gone: its peer is forgotten
 *
 * Refused traffic fails at once with ECONNREFUSED. What is to be dropped goes on unchanged and is
 * dropped by tc, since a failing connect() would not be silent. An IPv6 socket reaches IPv4
 * services by mapped addresses, which are the form in which the image holds IPv4.
 *
 * Left to tc as well: what asks for the client's address, and from namespaces other than the node's
 * what is to be masqueraded (bpf/lib/hook_path.h, docs/adr/0010). SCTP sockets have no such hook. An
 * MPTCP socket connects by a TCP subflow, which comes through here.
 * External addresses and NodePorts give a local client the service's INSIDE set. ClientIP affinity
 * knows the node's processes here by their network namespace.
 */
#include <linux/bpf.h>
#include <linux/in.h>

#include <bpf/bpf_helpers.h>

#include "bpf/progs/maps.h"
#include "bpf/lib/select.h"
#include "bpf/lib/hook_path.h"
#include "bpf/progs/affinity.h"
#include "bpf/progs/socket_maps.h"
#include "bpf/progs/socket_peers.h"
#include "bpf/progs/socket_udp.h"
#include "bpf/progs/socket_events.h"

#define SLUICE_ECONNREFUSED 111
#define SLUICE_HOOK_REFUSE 0
#define SLUICE_HOOK_PROCEED 1

/* Set by the loader. */
const volatile struct sluice_socket_facts sluice_facts = {};

SLUICE_ALWAYS_INLINE void load4(const struct bpf_sock_addr *ctx, struct sluice_endpoint *at)
{
	at->address.word_be[0] = 0;
	at->address.word_be[1] = 0;
	at->address.word_be[2] = __builtin_bswap32(0xffff);
	at->address.word_be[3] = ctx->user_ip4;
	at->port_be = (__u16)ctx->user_port;
}

SLUICE_ALWAYS_INLINE void store4(struct bpf_sock_addr *ctx, const struct sluice_endpoint *at)
{
	ctx->user_ip4 = at->address.word_be[3];
	ctx->user_port = at->port_be;
}

SLUICE_ALWAYS_INLINE void load6(const struct bpf_sock_addr *ctx, struct sluice_endpoint *at)
{
	at->address.word_be[0] = ctx->user_ip6[0];
	at->address.word_be[1] = ctx->user_ip6[1];
	at->address.word_be[2] = ctx->user_ip6[2];
	at->address.word_be[3] = ctx->user_ip6[3];
	at->port_be = (__u16)ctx->user_port;
}

SLUICE_ALWAYS_INLINE void store6(struct bpf_sock_addr *ctx, const struct sluice_endpoint *at)
{
	ctx->user_ip6[0] = at->address.word_be[0];
	ctx->user_ip6[1] = at->address.word_be[1];
	ctx->user_ip6[2] = at->address.word_be[2];
	ctx->user_ip6[3] = at->address.word_be[3];
	ctx->user_port = at->port_be;
}

SLUICE_ALWAYS_INLINE int refuse(void)
{
	if (sluice_facts.has_set_retval)
		bpf_set_retval(-SLUICE_ECONNREFUSED);
	return SLUICE_HOOK_REFUSE;
}

/* What becomes of traffic that has no backend; counted for the service and by reason. */
SLUICE_ALWAYS_INLINE int turn_away(const struct sluice_view *view, const struct sluice_match *match,
				   const struct sluice_endpoint *at, __u8 protocol)
{
	if (match->verdict == SLUICE_VERDICT_PASS)
		return SLUICE_HOOK_PROCEED;
	/* Silence is tc's work, and tc counts it. */
	if (match->verdict == SLUICE_VERDICT_DROP)
		return SLUICE_HOOK_PROCEED;
	if (match->has_service)
		sluice_count_refused(view, match->service);
	sluice_count_drop(match->reason);
	if (sluice_log_wants(SLUICE_EVENT_REFUSED))
		log_hook(match, at, 0, SLUICE_EVENT_REFUSED, protocol);
	return refuse();
}

/* Chooses a backend and counts it. Returns 0 if the image gave none. */
SLUICE_ALWAYS_INLINE int choose(struct bpf_sock_addr *ctx, const struct sluice_view *view,
				const struct sluice_match *match, const struct sluice_endpoint *at,
				__u8 protocol, struct sluice_selection *selection)
{
	struct sluice_address client;
	__u64 cookie;
	int chosen;

	if (match->affinity_timeout_s) {
		cookie = bpf_get_netns_cookie(ctx);
		client.word_be[0] = 0xffffffff;
		client.word_be[1] = 0;
		client.word_be[2] = (__u32)(cookie >> 32);
		client.word_be[3] = (__u32)cookie;
		chosen = sluice_select_affine(view, match, &client, sluice_random_u32(), selection);
	} else {
		chosen = sluice_select(view, match->word, sluice_random_u32(), selection);
	}
	if (!chosen) {
		sluice_count_drop(SLUICE_DROP_STALE_IMAGE);
		return 0;
	}
	sluice_count_connection(view, selection->backend);
	if (sluice_log_wants(SLUICE_EVENT_OPENED))
		log_hook(match, at, selection, SLUICE_EVENT_OPENED, protocol);
	return 1;
}

/* Whether the socket is in another network namespace than the node's. Without packet programs none counts as such. */
SLUICE_ALWAYS_INLINE int elsewhere(struct bpf_sock_addr *ctx)
{
	return sluice_facts.node_netns && bpf_get_netns_cookie(ctx) != sluice_facts.node_netns;
}

SLUICE_ALWAYS_INLINE void classify(struct bpf_sock_addr *ctx, const struct sluice_view *view,
				   const struct sluice_endpoint *at, __u8 protocol,
				   struct sluice_match *match)
{
	struct sluice_frontend_key key = {
	    .address = at->address,
	    .port_be = at->port_be,
	    .protocol = protocol,
	    .scope = SLUICE_SCOPE_ADDRESS,
	};
	__u32 path;

	sluice_classify(view, &key, 1, match);
	if (!match->has_service)
		return;
	path = sluice_hook_path(view, match);
	/* Source ranges come before any answer; for the others a refusal is the same here and in tc, and sooner. */
	if (sluice_hook_leaves_node(path) ||
	    (path && match->verdict == SLUICE_VERDICT_TRANSLATE && elsewhere(ctx)))
		match->verdict = SLUICE_VERDICT_PASS;
}

/*
 * Returns 1 if `at` became a backend; 0 if the hook's answer is in *answer. Without memory to
 * remember the service the socket is translated all the same; getpeername then names the backend.
 */
SLUICE_ALWAYS_INLINE int translate_connect(struct bpf_sock_addr *ctx, struct sluice_endpoint *at,
					   int *answer)
{
	struct sluice_selection selection;
	struct sluice_match match = {};
	__u32 protocol = ctx->protocol;
	struct bpf_sock *sk = ctx->sk;
	struct sluice_peer *peer;
	struct sluice_view view;

	*answer = SLUICE_HOOK_PROCEED;
	if ((protocol != IPPROTO_TCP && protocol != IPPROTO_UDP) || !sk)
		return 0;
	if (!sluice_view_open(&view))
		return 0;
	if (sluice_may_be_ours(&view, &at->address))
		classify(ctx, &view, at, (__u8)protocol, &match);
	if (match.verdict != SLUICE_VERDICT_TRANSLATE) {
		/* A TCP socket connects once; a datagram socket may go on elsewhere. */
		if (protocol == IPPROTO_UDP)
			peer_forget(ctx, sk);
		*answer = turn_away(&view, &match, at, (__u8)protocol);
		return 0;
	}
	if (!choose(ctx, &view, &match, at, (__u8)protocol, &selection))
		return 0;
	peer = peer_place(ctx, sk);
	if (peer) {
		peer->service.address = at->address;
		peer->service.port_be = at->port_be;
		peer->backend.address = selection.address;
		peer->backend.port_be = selection.port_be;
	}
	at->address = selection.address;
	at->port_be = selection.port_be;
	return 1;
}

/* As translate_connect, for one datagram. What cannot be remembered is left to tc, which keeps
 * flows. */
SLUICE_ALWAYS_INLINE int translate_send(struct bpf_sock_addr *ctx, struct sluice_endpoint *at,
					int *answer)
{
	struct sluice_udp_choice choice = {};
	struct sluice_udp_choice stale = {};
	struct sluice_udp_choice *known;
	struct sluice_selection selection;
	struct sluice_match match = {};
	struct bpf_sock *sk = ctx->sk;
	struct sluice_udp_socket *udp;
	struct sluice_udp_key key = {};
	struct sluice_view view;
	int had_overflow = 0;

	*answer = SLUICE_HOOK_PROCEED;
	if (ctx->protocol != IPPROTO_UDP || !sk)
		return 0;
	if (!sluice_view_open(&view))
		return 0;
	if (!sluice_may_be_ours(&view, &at->address))
		return 0;
	classify(ctx, &view, at, IPPROTO_UDP, &match);
	if (match.verdict != SLUICE_VERDICT_TRANSLATE) {
		*answer = turn_away(&view, &match, at, IPPROTO_UDP);
		return 0;
	}
	udp = bpf_sk_storage_get(&sluice_udp, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!udp)
		return 0;
	if (sluice_udp_recall(udp, at, &stale)) {
		if (sluice_backend_serves(&view, stale.backend, stale.incarnation)) {
			*at = stale.backend_at;
			return 1;
		}
	} else if (udp->overflowed) {
		key.cookie = bpf_get_socket_cookie(ctx);
		key.at = *at;
		known = bpf_map_lookup_elem(&sluice_udp_over, &key);
		if (known) {
			stale = *known;
			if (sluice_backend_serves(&view, stale.backend, stale.incarnation)) {
				*at = stale.backend_at;
				return 1;
			}
			had_overflow = 1;
		}
	}
	if (!choose(ctx, &view, &match, at, IPPROTO_UDP, &selection))
		return 0;
	choice.backend_at.address = selection.address;
	choice.backend_at.port_be = selection.port_be;
	choice.backend = selection.backend;
	choice.incarnation = selection.incarnation;
	if (had_overflow || !sluice_udp_record(udp, at, &stale, &choice))
		sluice_udp_record_overflow(bpf_get_socket_cookie(ctx), at, had_overflow, &choice);
	*at = choice.backend_at;
	return 1;
}

/* If the socket is connected to exactly this backend, as the hook chose: the service instead. */
SLUICE_ALWAYS_INLINE int translate_by_peer(struct bpf_sock_addr *ctx, struct bpf_sock *sk,
					   struct sluice_endpoint *at)
{
	struct sluice_peer *peer = peer_find(ctx, sk);

	if (!peer || !peer->service.port_be || !sluice_endpoint_equal(&peer->backend, at))
		return 0;
	*at = peer->service;
	return 1;
}

/* Returns 1 if `at`, a backend, became the service that the application knows. */
SLUICE_ALWAYS_INLINE int translate_back(struct bpf_sock_addr *ctx, struct sluice_endpoint *at)
{
	struct bpf_sock *sk = ctx->sk;
	struct sluice_udp_socket *udp;

	if (ctx->protocol != IPPROTO_UDP || !sk)
		return 0;
	if (translate_by_peer(ctx, sk, at))
		return 1;
	udp = bpf_sk_storage_get(&sluice_udp, sk, 0, 0);
	return udp && sluice_udp_origin(udp, ctx, at);
}

SLUICE_ALWAYS_INLINE int translate_peer(struct bpf_sock_addr *ctx, struct sluice_endpoint *at)
{
	__u32 protocol = ctx->protocol;
	struct bpf_sock *sk = ctx->sk;

	if ((protocol != IPPROTO_TCP && protocol != IPPROTO_UDP) || !sk)
		return 0;
	return translate_by_peer(ctx, sk, at);
}

#define SLUICE_FORWARD_HOOK(section, name, translate, family)                                      \
	SEC(section)                                                                               \
	int name(struct bpf_sock_addr *ctx)                                                        \
	{                                                                                          \
		struct sluice_endpoint at = {};                                                    \
		int answer;                                                                        \
                                                                                                   \
		load##family(ctx, &at);                                                            \
		if (!translate(ctx, &at, &answer))                                                 \
			return answer;                                                             \
		store##family(ctx, &at);                                                           \
		return SLUICE_HOOK_PROCEED;                                                        \
	}

#define SLUICE_BACKWARD_HOOK(section, name, translate, family)                                     \
	SEC(section)                                                                               \
	int name(struct bpf_sock_addr *ctx)                                                        \
	{                                                                                          \
		struct sluice_endpoint at = {};                                                    \
                                                                                                   \
		load##family(ctx, &at);                                                            \
		if (translate(ctx, &at))                                                           \
			store##family(ctx, &at);                                                   \
		return SLUICE_HOOK_PROCEED;                                                        \
	}

SLUICE_FORWARD_HOOK("cgroup/connect4", sluice_connect4, translate_connect, 4)
SLUICE_FORWARD_HOOK("cgroup/connect6", sluice_connect6, translate_connect, 6)
SLUICE_FORWARD_HOOK("cgroup/sendmsg4", sluice_sendmsg4, translate_send, 4)
SLUICE_FORWARD_HOOK("cgroup/sendmsg6", sluice_sendmsg6, translate_send, 6)
SLUICE_BACKWARD_HOOK("cgroup/recvmsg4", sluice_recvmsg4, translate_back, 4)
SLUICE_BACKWARD_HOOK("cgroup/recvmsg6", sluice_recvmsg6, translate_back, 6)
SLUICE_BACKWARD_HOOK("cgroup/getpeername4", sluice_peername4, translate_peer, 4)
SLUICE_BACKWARD_HOOK("cgroup/getpeername6", sluice_peername6, translate_peer, 6)

SEC("cgroup/sock_release")
int sluice_release(struct bpf_sock *ctx)
{
	peer_release(bpf_get_socket_cookie(ctx));
	return SLUICE_HOOK_PROCEED;
}

char sluice_license[] SEC("license") = "GPL";
