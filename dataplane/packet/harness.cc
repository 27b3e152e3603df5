#include "dataplane/packet/harness.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <sys/stat.h>

#include <cstdio>
#include <cstdlib>

namespace sluice::dataplane {
namespace {

void check(const Result<void>& result) {
    if (!result) {
        std::fprintf(stderr, "%s\n", result.error().to_string().c_str());
        std::abort();
    }
}

bool shell(const char* command) { return std::system(command) == 0; }  // NOLINT

}  // namespace

image::Node test_node(bool detect_local) {
    image::Node node;
    node.nodeport_addresses = {*IpAddress::parse("192.0.2.1"), *IpAddress::parse("2001:db8::1")};
    node.masquerade_v4 = *IpAddress::parse("192.0.2.1");
    node.masquerade_v6 = *IpAddress::parse("2001:db8::1");
    node.service_cidrs = {*IpPrefix::parse("10.96.0.0/16"), *IpPrefix::parse("fd00::/112")};
    if (detect_local) {
        node.cluster_cidrs = {*IpPrefix::parse("10.244.0.0/16"), *IpPrefix::parse("fd01::/64"),
                              *IpPrefix::parse("fd02::/64")};
    }
    return node;
}

std::unique_ptr<Harness> Harness::make(const image::Node& node, std::uint32_t flows,
                                       std::vector<image::Service> services) {
    std::unique_ptr<Harness> out(new Harness);
    out->services_ = std::move(services);
    out->sandbox_ = Sandbox::enter();
    if (!out->sandbox_) {
        return nullptr;
    }
    if (!shell("ip link set lo up && ip link add up0 type veth peer name up1 && "
               "ip link add pod0 type veth peer name pod1 && ip link set up1 up && "
               "ip link set pod1 up && ip link set up0 up && ip link set pod0 up && "
               "ip addr add 192.0.2.1/24 dev up0 && ip addr add 2001:db8::1/64 dev up0 nodad && "
               "ip addr add 10.244.1.1/24 dev pod0 && ip addr add fd01::1/64 dev pod0 nodad && "
               "ip route add default via 192.0.2.254 && ip route add default via 2001:db8::254 && "
               "ip route add 10.244.2.0/24 via 192.0.2.2 && ip route add fd02::/64 via 2001:db8::2 "
               "&& for ip in 192.0.2.2 192.0.2.254 2001:db8::2 2001:db8::254; do "
              "ip neigh add $ip lladdr 02:00:00:00:00:02 dev up0 nud permanent || exit 1; done "
              "&& echo 1 > /proc/sys/net/ipv4/ip_forward && "
               "echo 1 > /proc/sys/net/ipv6/conf/all/forwarding")) {
        std::fprintf(stderr, "cannot make the node's links\n");
        return nullptr;
    }
    out->pod_ifindex_ = if_nametoindex("pod0");
    out->node_ifindex_ = if_nametoindex("up0");
    out->options_.object_dir = SLUICE_BPF_DIR;
    out->options_.socket_hooks = false;
    out->options_.flow_entries = flows;
    out->options_.xdp = XdpMode::kNative;
    out->set_node(node);
    return out;
}

Harness::~Harness() = default;

void Harness::set_node(const image::Node& node) {
    image::Capacities least;
    least.counter_rows = image::counter_rows_for(64);
    least.ring_lines = 1U << 14U;
    const image::Capacities capacities =
        services_.empty() ? least : image::capacities_for(image::usage_of(node, services_), least);
    auto image = KernelImage::create(capacities);
    check(image ? Result<void>() : Result<void>(image.error()));
    image::HeaderFacts facts;
    facts.node = node;
    facts.hash_seed = 42;
    facts.cpus = static_cast<std::uint32_t>(libbpf_num_possible_cpus());
    check(image::write_header((*image)->tables(), (*image)->capacities(), facts, 2));
    auto publisher = std::make_unique<image::Publisher>((*image)->tables(), image::Carried{});
    check(publisher->set_node_addresses(node.nodeport_addresses));
    const std::string state = state_directory();
    ::mkdir(state.c_str(), 0700);
    programs_.reset();
    auto programs = Programs::load(options_, Features::probe(), **image, state);
    check(programs ? Result<void>() : Result<void>(programs.error()));
    publisher_ = std::move(publisher);
    image_ = std::move(*image);
    // Attached, so that the uplink has what a test run borrows of it.
    if (!(*programs)->xdp_refusal().empty()) {
        check(make_error(Code::kFailedPrecondition, "{}", (*programs)->xdp_refusal()));
    }
    if (bpf_xdp_attach(static_cast<int>(node_ifindex_), (*programs)->xdp_program(), XDP_FLAGS_DRV_MODE,
                       nullptr) != 0) {
        check(make_error(Code::kInternal, "cannot attach XDP to the uplink"));
    }
    programs_ = std::move(*programs);
    for (const auto& service : services_) {
        check(publisher_->upsert(service));
    }
}

void Harness::upsert(const image::Service& service) {
    std::erase_if(services_, [&](const image::Service& other) { return other.key == service.key; });
    services_.push_back(service);
    check(publisher_->upsert(service));
}

void Harness::remove(const image::ServiceKey& key) {
    std::erase_if(services_, [&](const image::Service& other) { return other.key == key; });
    check(publisher_->remove(key));
}

std::uint32_t Harness::device_of(TcProgram program) const {
    const bool pod = program == TcProgram::kPodIngress || program == TcProgram::kPodEgress;
    return pod ? pod_ifindex_ : node_ifindex_;
}

Outcome Harness::run(TcProgram program, const packets::Bytes& frame) {
    Outcome out;
    out.frame.resize(frame.size() + 512);
    __sk_buff context{};
    context.ifindex = device_of(program);
    LIBBPF_OPTS(bpf_test_run_opts, options);
    options.data_in = frame.data();
    options.data_size_in = static_cast<__u32>(frame.size());
    options.data_out = out.frame.data();
    options.data_size_out = static_cast<__u32>(out.frame.size());
    options.ctx_in = &context;
    options.ctx_size_in = sizeof(context);
    options.repeat = 1;
    const int error = bpf_prog_test_run_opts(programs_->tc_program(program), &options);
    if (error != 0) {
        std::fprintf(stderr, "BPF_PROG_TEST_RUN: error %d\n", error);
        return out;
    }
    out.action = static_cast<int>(options.retval);
    out.frame.resize(options.data_size_out);
    const bool ip = out.frame.size() >= 34 && !(out.frame[12] == 8 && out.frame[13] == 6);
    if (ip) {
        out.view = packets::read(out.frame);
    }
    return out;
}

Outcome Harness::run_xdp(const packets::Bytes& frame) {
    Outcome out;
    out.frame.resize(frame.size() + 512);
    xdp_md context{};
    context.data_end = static_cast<__u32>(frame.size());
    context.ingress_ifindex = node_ifindex_;
    LIBBPF_OPTS(bpf_test_run_opts, options);
    options.data_in = frame.data();
    options.data_size_in = static_cast<__u32>(frame.size());
    options.data_out = out.frame.data();
    options.data_size_out = static_cast<__u32>(out.frame.size());
    options.ctx_in = &context;
    options.ctx_size_in = sizeof(context);
    options.repeat = 1;
    const int error = bpf_prog_test_run_opts(programs_->xdp_program(), &options);
    if (error != 0) {
        std::fprintf(stderr, "BPF_PROG_TEST_RUN: error %d\n", error);
        return out;
    }
    out.action = static_cast<int>(options.retval);
    out.frame.resize(options.data_size_out);
    if (out.frame.size() >= 34 && !(out.frame[12] == 8 && out.frame[13] == 6)) {
        out.view = packets::read(out.frame);
    }
    return out;
}

std::uint32_t Harness::time_ns(TcProgram program, const packets::Bytes& frame,
                               std::uint32_t repeat) {
    __sk_buff context{};
    context.ifindex = device_of(program);
    LIBBPF_OPTS(bpf_test_run_opts, options);
    options.data_in = frame.data();
    options.data_size_in = static_cast<__u32>(frame.size());
    options.ctx_in = &context;
    options.ctx_size_in = sizeof(context);
    options.repeat = static_cast<int>(repeat);
    if (bpf_prog_test_run_opts(programs_->tc_program(program), &options) != 0) {
        return 0;
    }
    return options.duration;
}

std::string Harness::state_directory() const { return sandbox_->bpffs() + "/state"; }

std::uint64_t Harness::drops(std::uint32_t reason) const {
    return image::sum_drops(image_->tables(), reason);
}

sluice_service_counters Harness::counters(std::uint32_t service) const {
    return image::count_services(image_->tables())[service];
}

}  // namespace sluice::dataplane
