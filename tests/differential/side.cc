#include "tests/differential/side.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace sluice::differential {
namespace {

// A scenario's services are valid and fit.
void must(const Result<void>& result) {
    if (!result) {
        std::fprintf(stderr, "%s\n", result.error().to_string().c_str());
        std::abort();
    }
}

}  // namespace

image::Capacities capacities() {
    image::Capacities out;
    out.backends = 2048;
    out.set_slots = 8192;
    out.frontends = 4096;
    out.buckets = 1024;
    out.services = 512;
    out.ring_lines = 1U << 14U;
    out.ranges = 1024;
    out.name_bytes = 1U << 18U;
    out.counter_rows = image::counter_rows_for(64);
    return out;
}

void Side::hold(const image::Tables* tables, const image::Capacities& sizes, std::uint64_t hash_seed,
                std::uint32_t cpus) {
    tables_ = tables;
    capacities_ = sizes;
    hash_seed_ = hash_seed;
    cpus_ = cpus;
}

// The header is rewritten, which no engine in use would do: no packet is under way.
void Side::begin(const oracle::World& world, std::uint64_t random_state) {
    const auto zero = [](auto* table, std::size_t entries) { std::memset(table, 0, sizeof(*table) * entries); };
    const image::Capacities& sizes = capacities_;
    zero(tables_->buckets, sizes.buckets);
    zero(tables_->services, sizes.services);
    zero(tables_->backends, sizes.backends);
    zero(tables_->counters, sizes.services);
    zero(tables_->served, std::size_t{sizes.backends} * sizes.counter_rows);
    zero(tables_->drops, std::size_t{SLUICE_DROP_STRIDE} * sizes.counter_rows);
    image::HeaderFacts facts;
    facts.node = world.node;
    facts.snat_port_min = world.port_min;
    facts.snat_port_max = world.port_max;
    facts.hash_seed = hash_seed_;
    facts.cpus = cpus_;
    must(image::write_header(*tables_, sizes, facts, 2));
    publisher_ = std::make_unique<image::Publisher>(*tables_, image::Carried{});
    must(publisher_->set_node_addresses(world.node.nodeport_addresses));
    travel(world);
    forget(random_state);
}

// What is unpublished stays retired: an index is one backend's as long as a scenario lasts.
void Side::upsert(const image::Service& service) { must(publisher_->upsert(service)); }
void Side::remove(const image::ServiceKey& key) { must(publisher_->remove(key)); }

View packet_of(View frame) {
    std::size_t l3 = 14;
    while (frame.size() >= l3 && (oracle::get16(frame, l3 - 2) == oracle::kEtherVlan ||
                                  oracle::get16(frame, l3 - 2) == oracle::kEtherQinq)) {
        l3 += 4;
    }
    return frame.size() > l3 ? frame.subspan(l3) : View{};
}

}  // namespace sluice::differential
