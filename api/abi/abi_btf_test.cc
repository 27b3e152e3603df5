// The structs of api/abi as the BPF objects were built with them (their BTF), against C++: same
// sizes, same offsets.
#include <bpf/btf.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <map>
#include <memory>
#include <string>

#include "api/abi/affinity.h"
#include "api/abi/event.h"
#include "api/abi/image.h"
#include "api/abi/socket.h"

namespace
{

struct Layout {
	std::size_t size = 0;
	std::map<std::string, std::size_t> offsets;
};

// None if the object does not use the struct.
Layout layout_in(const btf *types, const char *name)
{
	Layout out;
	const int id = btf__find_by_name_kind(types, name, BTF_KIND_STRUCT);
	if (id < 0) {
		return out;
	}
	const btf_type *type = btf__type_by_id(types, static_cast<std::uint32_t>(id));
	out.size = type->size;
	const btf_member *members = btf_members(type);
	for (std::uint32_t i = 0; i < btf_vlen(type); ++i) {
		out.offsets[btf__name_by_offset(types, members[i].name_off)] =
		    btf_member_bit_offset(type, i) / 8;
	}
	return out;
}

#define EXPECT_FIELD(type, field)                                                                  \
	EXPECT_EQ(layout.offsets.at(#field), offsetof(struct type, field)) << #type "." #field

class AbiTest : public testing::Test
{
      protected:
	void SetUp() override
	{
		types_.reset(btf__parse(SLUICE_BPF_DIR "/socket.o", nullptr));
		ASSERT_TRUE(types_);
	}
	Layout of(const char *name)
	{
		return layout_in(types_.get(), name);
	}

	struct Free {
		void operator()(btf *types) const
		{
			btf__free(types);
		}
	};
	std::unique_ptr<btf, Free> types_;
};

TEST_F(AbiTest, Header)
{
	const Layout layout = of("sluice_header");
	ASSERT_EQ(layout.size, sizeof(sluice_header));
	EXPECT_FIELD(sluice_header, magic);
	EXPECT_FIELD(sluice_header, layout_version);
	EXPECT_FIELD(sluice_header, flags);
	EXPECT_FIELD(sluice_header, generation);
	EXPECT_FIELD(sluice_header, bucket_count);
	EXPECT_FIELD(sluice_header, frontend_capacity);
	EXPECT_FIELD(sluice_header, service_capacity);
	EXPECT_FIELD(sluice_header, set_slot_capacity);
	EXPECT_FIELD(sluice_header, backend_capacity);
	EXPECT_FIELD(sluice_header, name_bytes);
	EXPECT_FIELD(sluice_header, counter_rows);
	EXPECT_FIELD(sluice_header, ring_line_capacity);
	EXPECT_FIELD(sluice_header, range_capacity);
	EXPECT_FIELD(sluice_header, cidr_count);
	EXPECT_FIELD(sluice_header, node_address);
	EXPECT_FIELD(sluice_header, snat_port_min);
	EXPECT_FIELD(sluice_header, snat_port_max);
	EXPECT_FIELD(sluice_header, hash_seed);
	EXPECT_FIELD(sluice_header, cidr);
	EXPECT_FIELD(sluice_header, filter);
}

TEST_F(AbiTest, Frontends)
{
	Layout layout = of("sluice_frontend");
	ASSERT_EQ(layout.size, sizeof(sluice_frontend));
	EXPECT_FIELD(sluice_frontend, key);
	EXPECT_FIELD(sluice_frontend, flags);
	EXPECT_FIELD(sluice_frontend, service);
	layout = of("sluice_frontend_key");
	ASSERT_EQ(layout.size, sizeof(sluice_frontend_key));
	EXPECT_FIELD(sluice_frontend_key, address);
	EXPECT_FIELD(sluice_frontend_key, port_be);
	EXPECT_FIELD(sluice_frontend_key, protocol);
	EXPECT_FIELD(sluice_frontend_key, scope);
	EXPECT_EQ(of("sluice_bucket").size, sizeof(sluice_bucket));
}

TEST_F(AbiTest, ServicesAndBackends)
{
	Layout layout = of("sluice_service");
	ASSERT_EQ(layout.size, sizeof(sluice_service));
	EXPECT_FIELD(sluice_service, word);
	EXPECT_FIELD(sluice_service, flags);
	EXPECT_FIELD(sluice_service, affinity_timeout_s);
	EXPECT_FIELD(sluice_service, name);
	EXPECT_FIELD(sluice_service, port_be);
	EXPECT_FIELD(sluice_service, protocol);
	EXPECT_FIELD(sluice_service, family);
	layout = of("sluice_backend");
	ASSERT_EQ(layout.size, sizeof(sluice_backend));
	EXPECT_FIELD(sluice_backend, address);
	EXPECT_FIELD(sluice_backend, port_be);
	EXPECT_FIELD(sluice_backend, flags);
	EXPECT_FIELD(sluice_backend, incarnation);
	EXPECT_FIELD(sluice_backend, service);
	EXPECT_FIELD(sluice_backend, name);
	layout = of("sluice_set_slot");
	ASSERT_EQ(layout.size, sizeof(sluice_set_slot));
	EXPECT_FIELD(sluice_set_slot, backend);
	EXPECT_FIELD(sluice_set_slot, incarnation);
	layout = of("sluice_service_counters");
	ASSERT_EQ(layout.size, sizeof(sluice_service_counters));
	EXPECT_FIELD(sluice_service_counters, connections);
	EXPECT_FIELD(sluice_service_counters, packets);
	EXPECT_FIELD(sluice_service_counters, bytes);
	EXPECT_FIELD(sluice_service_counters, refused);
}

TEST_F(AbiTest, Sockets)
{
	Layout layout = of("sluice_udp_socket");
	ASSERT_EQ(layout.size, sizeof(sluice_udp_socket));
	EXPECT_FIELD(sluice_udp_socket, lock);
	EXPECT_FIELD(sluice_udp_socket, overflowed);
	EXPECT_FIELD(sluice_udp_socket, clock);
	EXPECT_FIELD(sluice_udp_socket, entry);
	layout = of("sluice_socket_facts");
	ASSERT_EQ(layout.size, sizeof(sluice_socket_facts));
	EXPECT_FIELD(sluice_socket_facts, node_netns);
	EXPECT_FIELD(sluice_socket_facts, has_set_retval);
	EXPECT_EQ(of("sluice_peer_bucket").size, sizeof(sluice_peer_bucket));
	EXPECT_EQ(of("sluice_peer").size, sizeof(sluice_peer));
	EXPECT_EQ(of("sluice_udp_key").size, sizeof(sluice_udp_key));
	EXPECT_EQ(of("sluice_udp_choice").size, sizeof(sluice_udp_choice));
	EXPECT_EQ(of("sluice_affinity_bucket").size, sizeof(sluice_affinity_bucket));
	EXPECT_EQ(of("sluice_affinity_config").size, sizeof(sluice_affinity_config));
	EXPECT_EQ(of("sluice_affinity").size, sizeof(sluice_affinity));
}

TEST_F(AbiTest, Events)
{
	Layout layout = of("sluice_event");
	ASSERT_EQ(layout.size, sizeof(sluice_event));
	EXPECT_FIELD(sluice_event, time_ns);
	EXPECT_FIELD(sluice_event, client);
	EXPECT_FIELD(sluice_event, destination);
	EXPECT_FIELD(sluice_event, backend);
	EXPECT_FIELD(sluice_event, source);
	EXPECT_FIELD(sluice_event, client_port_be);
	EXPECT_FIELD(sluice_event, source_port_be);
	EXPECT_FIELD(sluice_event, service);
	EXPECT_FIELD(sluice_event, backend_index);
	EXPECT_FIELD(sluice_event, kind);
	EXPECT_FIELD(sluice_event, flags);
	layout = of("sluice_log_config");
	ASSERT_EQ(layout.size, sizeof(sluice_log_config));
	EXPECT_FIELD(sluice_log_config, until_ns);
	EXPECT_FIELD(sluice_log_config, kinds);
	EXPECT_FIELD(sluice_log_config, below);
	EXPECT_FIELD(sluice_log_config, lost);
}

} // namespace
